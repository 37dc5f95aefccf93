/* SPDX-License-Identifier: GPL-2.0-only */
/* The block device /dev/tmem0. */
#ifndef TMEM_BLK_H
#define TMEM_BLK_H

#include <linux/blkdev.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "io.h"

struct tmem_device {
	struct tmem_store store;
	struct gendisk *disk;
	int major;
	/* The kernel waits for each page, else pages travel together. */
	bool sync;

	/* Bios of a plug that had to be pulled where nothing may sleep. */
	spinlock_t later_lock;
	struct bio_list later;
	struct work_struct later_work;
	/* The work's own: it never runs twice at a time. */
	struct tmem_group later_group;
	struct workqueue_struct *workqueue;
};

int tmem_blk_add(struct tmem_device *dev);
void tmem_blk_remove(struct tmem_device *dev);

#endif /* TMEM_BLK_H */
