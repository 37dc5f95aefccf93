// SPDX-License-Identifier: GPL-2.0-only
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/printk.h>

#include "backing.h"
#include "header.h"
#include "key.h"
#include "stats.h"

int tmem_backing_open(struct tmem_backing *backing, const char *path)
{
	int err;

	backing->handle = tmem_bdev_open(path, backing);
	if (IS_ERR(backing->handle)) {
		err = PTR_ERR(backing->handle);
		pr_err("backing=%s cannot be opened for this driver alone: error %d\n", path, err);
		return err;
	}
	backing->bdev = tmem_bdev(backing->handle);
	if (bdev_logical_block_size(backing->bdev) > PAGE_SIZE) {
		pr_err("backing=%s has blocks of %u bytes, more than a page\n", path,
		       bdev_logical_block_size(backing->bdev));
		err = -EINVAL;
		goto close;
	}
	err = tmem_header_check(backing->bdev);
	if (err == -EEXIST)
		pr_err("backing=%s holds something that is not swap, and it would be lost: mkswap it first\n", path);
	else if (err)
		pr_err("backing=%s cannot be read: error %d\n", path, err);
	if (err)
		goto close;
	/*
	 * A bio with several runs needs several clones from one reserve, and they are sent only when submit_bio()
	 * returns to its caller. The rescuer sends them earlier when the reserve is empty.
	 */
	err = bioset_init(&backing->bios, BIO_POOL_SIZE, 0, BIOSET_NEED_RESCUER);
	if (err)
		goto close;
	return 0;
close:
	tmem_bdev_close(backing->handle, backing);
	backing->bdev = NULL;
	return err;
}

void tmem_backing_close(struct tmem_backing *backing)
{
	if (!backing->bdev)
		return;
	bioset_exit(&backing->bios);
	tmem_bdev_close(backing->handle, backing);
	backing->bdev = NULL;
}

u64 tmem_backing_slots(const struct tmem_backing *backing)
{
	return bdev_nr_bytes(backing->bdev) >> PAGE_SHIFT;
}

static void tmem_run_count(const struct tmem_run *run)
{
	tmem_count(op_is_write(bio_op(run->bio)) ? TMEM_STAT_BACKING_WRITES : TMEM_STAT_BACKING_READS, run->n);
}

static void tmem_run_send(struct tmem_backing *backing, struct tmem_run *run)
{
	struct bio *clone;
	sector_t offset;

	if (!run->n)
		return;
	tmem_run_count(run);
	offset = (run->slot << PAGE_SECTORS_SHIFT) - run->bio->bi_iter.bi_sector;
	/* May wait for an earlier clone to end, never for memory: GFP_NOIO from a reserve. */
	clone = bio_alloc_clone(backing->bdev, run->bio, GFP_NOIO, &backing->bios);
	bio_trim(clone, offset, (sector_t)run->n << PAGE_SECTORS_SHIFT);
	bio_chain(clone, run->bio);
	submit_bio_noacct(clone);
	run->n = 0;
}

void tmem_run_add(struct tmem_backing *backing, struct tmem_run *run, u64 chunk_nr, u64 mask)
{
	while (mask) {
		unsigned int first = __ffs64(mask);
		u64 from = mask >> first;
		unsigned int n = ~from ? __ffs64(~from) : TMEM_CHUNK_SLOTS;
		u64 slot = chunk_nr * TMEM_CHUNK_SLOTS + first;

		if (run->n && run->slot + run->n != slot)
			tmem_run_send(backing, run);
		if (!run->n)
			run->slot = slot;
		run->n += n;
		mask &= ~GENMASK_ULL(first + n - 1, first);
	}
}

bool tmem_run_finish(struct tmem_backing *backing, struct tmem_run *run)
{
	struct bio *bio = run->bio;

	if (!run->n || (u64)run->n << PAGE_SHIFT != bio->bi_iter.bi_size) {
		tmem_run_send(backing, run);
		return false;
	}
	/* The whole bio, which is the usual case for swap: no clone. */
	tmem_run_count(run);
	bio_set_dev(bio, backing->bdev);
	submit_bio_noacct(bio);
	return true;
}
