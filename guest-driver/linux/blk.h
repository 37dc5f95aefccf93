/* SPDX-License-Identifier: GPL-2.0-only */
/* The block device /dev/tmem0. */
#ifndef TMEM_BLK_H
#define TMEM_BLK_H

#include <linux/blkdev.h>

#include "backing.h"
#include "drain.h"
#include "slots.h"

struct tmem_device {
	struct tmem_slots slots;
	struct tmem_drain drain;
	struct tmem_backing backing;
	struct gendisk *disk;
	int major;
};

int tmem_blk_add(struct tmem_device *dev);
void tmem_blk_remove(struct tmem_device *dev);

#endif /* TMEM_BLK_H */
