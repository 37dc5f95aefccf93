/* SPDX-License-Identifier: GPL-2.0-only */
/* The swap header in page 0 of a device (include/linux/swap.h). */
#ifndef TMEM_HEADER_H
#define TMEM_HEADER_H

#include <linux/blk_types.h>

/* 0 if page 0 is blank or a swap header, so that nothing is lost when the device is overwritten. */
int tmem_header_check(struct block_device *bdev);

/* What mkswap does. */
int tmem_header_write(struct block_device *bdev, u64 nr_slots);

#endif /* TMEM_HEADER_H */
