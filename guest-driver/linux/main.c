// SPDX-License-Identifier: GPL-2.0-only
/* Loading and unloading: find the host, make a pool, add the disk. See README.md. */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "batch.h"
#include "blk.h"
#include "header.h"
#include "hooks.h"
#include "host.h"
#include "plug.h"
#include "power.h"
#include "proof.h"
#include "stats.h"
#include "user.h"

static char *size = "";
module_param(size, charp, 0444);
MODULE_PARM_DESC(size, "Size of /dev/tmem0 in bytes, with K, M, G (default: the backing device's, else twice the RAM)");

static char *backing = "";
module_param(backing, charp, 0444);
MODULE_PARM_DESC(backing, "Block device, blank or made by mkswap, that takes the pages the host refuses");

static char *transport = "auto";
module_param(transport, charp, 0444);
MODULE_PARM_DESC(transport, "How to call the host: auto, hypercall or port");

static uint batch;
module_param(batch, uint, 0444);
MODULE_PARM_DESC(batch, "Most pages per exit (default 0: what the host allows, at most 64; 1: no batches)");

static bool sync;
module_param(sync, bool, 0444);
MODULE_PARM_DESC(sync, "1: swap waits for each page, one to an exit (default 0: those of one reclaim or readahead share exits)");

static bool mkswap;
module_param(mkswap, bool, 0444);
MODULE_PARM_DESC(mkswap, "Write a swap header, so that swapon works at once (default: no)");

#if IS_ENABLED(CONFIG_TMEM)
static bool swap = true;
module_param(swap, bool, 0444);
MODULE_PARM_DESC(swap, "Offer pages to the host before they go to any swap device (default: yes)");

static bool clean = true;
module_param(clean, bool, 0444);
MODULE_PARM_DESC(clean, "Offer clean pages of files that the kernel drops to the host (default: yes)");
#else
static const bool swap, clean;
#endif

static struct tmem_device tmem_device;

/* Slots of the device, or 0 if the parameters make no sense. */
static u64 tmem_choose_size(const struct tmem_backing *backing)
{
	u64 slots = backing->bdev ? tmem_backing_slots(backing) : totalram_pages() * 2;
	/* The swap header counts pages in 32 bits (include/linux/swap.h), and no table has more than INT_MAX bytes (mm/util.c). */
	const u64 most = (1ULL << 32) - TMEM_CHUNK_SLOTS;
	char *rest = size;

	if (*size) {
		u64 bytes = memparse(size, &rest);

		if (backing->bdev && bytes >> PAGE_SHIFT > slots) {
			pr_err("size=%s is more than the backing device's %llu bytes\n", size, slots << PAGE_SHIFT);
			return 0;
		}
		slots = bytes >> PAGE_SHIFT;
	}
	if (*rest || !slots || slots > most) {
		pr_err("a device of size=%s cannot be made: from one page to less than 16 TiB, as in size=512M\n", size);
		return 0;
	}
	return slots;
}

static int __init tmem_init(void)
{
	struct tmem_device *dev = &tmem_device;
	struct tmem_store *store = &dev->store;
	u64 nr_slots;
	u32 pool;
	int err;

	dev->sync = sync;
	err = tmem_host_find(transport);
	if (err)
		return err;
	err = tmem_batch_init(batch);
	if (err)
		return err;
	if (*backing) {
		err = tmem_backing_open(&store->backing, backing);
		if (err)
			goto batch;
	}
	nr_slots = tmem_choose_size(&store->backing);
	if (!nr_slots) {
		err = -EINVAL;
		goto backing;
	}
	tmem_pools_of_earlier_boot();
	err = tmem_pool_create(TMEM_POOL_PERSISTENT, &pool);
	if (err)
		goto backing;
	err = tmem_proof_init(pool);
	if (err)
		goto pool;
	err = tmem_slots_init(&store->slots, pool, nr_slots);
	if (err)
		goto proof;
	tmem_drain_init(&store->drain, &store->slots);
	err = tmem_plug_init(dev);
	if (err)
		goto slots;
	err = tmem_power_init();
	if (err)
		goto plug;
	err = tmem_blk_add(dev);
	if (err)
		goto power;
	/* From here on somebody may use what there is, and a module that fails to load goes regardless: nothing fails. */
	if (mkswap) {
		err = tmem_header_write(dev->disk->part0, nr_slots);
		if (err)
			pr_err("the swap header cannot be written: error %d; mkswap /dev/tmem0\n", err);
	}
	tmem_hooks_init(swap, clean);
	tmem_user_init();
	tmem_stats_init();
	pr_info("/dev/tmem0 of %llu MiB, ABI %u.%u over %s, up to %u pages per exit, backing device: %s\n",
		nr_slots >> (20 - PAGE_SHIFT), tmem_host.major, tmem_host.minor, tmem_transport_name(),
		tmem_batch_max(), *backing ? backing : "none");
	return 0;
power:
	tmem_power_exit();
plug:
	tmem_plug_exit(dev);
slots:
	tmem_drain_exit(&store->drain);
	tmem_slots_exit(&store->slots);
proof:
	tmem_proof_exit();
pool:
	tmem_pool_destroy(pool);
backing:
	tmem_backing_close(&store->backing);
batch:
	tmem_batch_exit();
	return err;
}

/* Not reached while anybody, swap included, has the disk open: it holds the module. */
static void __exit tmem_exit(void)
{
	struct tmem_device *dev = &tmem_device;
	struct tmem_store *store = &dev->store;

	tmem_user_exit();
	tmem_hooks_exit();
	tmem_stats_exit();
	tmem_blk_remove(dev);
	tmem_power_exit();
	tmem_plug_exit(dev);
	tmem_drain_exit(&store->drain);
	tmem_proof_exit();
	tmem_pool_destroy(store->slots.pool);
	tmem_slots_exit(&store->slots);
	tmem_backing_close(&store->backing);
	tmem_batch_exit();
}

module_init(tmem_init);
module_exit(tmem_exit);

MODULE_DESCRIPTION("Swap into the transcendent memory of the host");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
