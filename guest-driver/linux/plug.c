// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that travel together. Reclaim and swap readahead submit their pages one bio each, but within a plug
 * (blk_start_plug): the bios are kept until the plug is pulled, and then share exits. This needs a device that is not
 * synchronous, as for such a one the kernel waits for every single page.
 *
 * Work on what was kept may sleep, for a clone or in the backing device's driver, and a task that sleeps has its plug
 * pulled. So nothing is worked on while the plug still has it: the block layer unlinks the callback before it pulls it,
 * and whoever works earlier (tmem_plug_bio) unlinks it as well. From then on it is the worker's alone.
 *
 * Why the sleep ends, although reclaim may be waiting for it: it waits for one of the clones before it (backing.c), and
 * each of these is on its way to the backing device or at it. Outside of submit_bio() a clone is sent as soon as it is
 * made, and one that was put aside in the task's plug goes when the task sleeps (io_schedule_prepare). Inside of
 * submit_bio(), where clones queue up on current->bio_list until it returns, the reserve's rescuer takes them from
 * there. None of them needs this device, memory of which there is no reserve, or a bio that is still kept here.
 */
#include <linux/blkdev.h>
#include <linux/slab.h>

#include "blk.h"
#include "plug.h"

struct tmem_plug {
	struct blk_plug_cb cb;
	struct bio_list bios;
	unsigned int n;
	struct tmem_group group;
};

/* The callback is in no plug any more. */
static void tmem_unplug(struct blk_plug_cb *cb, bool from_schedule)
{
	struct tmem_plug *plug = container_of(cb, struct tmem_plug, cb);
	struct tmem_device *dev = cb->data;

	if (from_schedule) {
		/* The task is on its way to sleep, and I/O to the backing device might sleep itself. */
		spin_lock(&dev->later_lock);
		bio_list_merge(&dev->later, &plug->bios);
		spin_unlock(&dev->later_lock);
		queue_work(dev->workqueue, &dev->later_work);
	} else {
		tmem_io_list(&dev->store, &plug->bios, &plug->group);
	}
	kfree(plug);
}

/* Returns false if there is no plug: then the bio is still the caller's. */
bool tmem_plug_bio(struct tmem_device *dev, struct bio *bio)
{
	/* Allocates once for so many bios, without waiting. */
	struct blk_plug_cb *cb = blk_check_plugged(tmem_unplug, dev, sizeof(struct tmem_plug));
	struct tmem_plug *plug;

	if (!cb)
		return false;
	plug = container_of(cb, struct tmem_plug, cb);
	tmem_io_list_add(&plug->bios, bio);
	if (++plug->n == TMEM_GROUP_SPANS) {
		list_del(&cb->list);
		tmem_unplug(cb, false);
	}
	return true;
}

static void tmem_later(struct work_struct *work)
{
	struct tmem_device *dev = container_of(work, struct tmem_device, later_work);
	struct bio_list bios;

	spin_lock(&dev->later_lock);
	bios = dev->later;
	bio_list_init(&dev->later);
	spin_unlock(&dev->later_lock);
	tmem_io_list(&dev->store, &bios, &dev->later_group);
}

int tmem_plug_init(struct tmem_device *dev)
{
	spin_lock_init(&dev->later_lock);
	bio_list_init(&dev->later);
	INIT_WORK(&dev->later_work, tmem_later);
	/* Reclaim waits for these bios. */
	dev->workqueue = alloc_workqueue("tmem", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	return dev->workqueue ? 0 : -ENOMEM;
}

void tmem_plug_exit(struct tmem_device *dev)
{
	destroy_workqueue(dev->workqueue);
}
