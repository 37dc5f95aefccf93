/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that this driver knows: 6.1, and 6.11 or later. The block layer of those in between
 * is half one and half the other; nobody needs the driver there.
 */
#ifndef TMEM_COMPAT_H
#define TMEM_COMPAT_H

#include <linux/blkdev.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)

#define TMEM_HAVE_RW_PAGE	0

typedef struct file *tmem_bdev_handle;

static inline tmem_bdev_handle tmem_bdev_open(const char *path, void *holder)
{
	return bdev_file_open_by_path(path, BLK_OPEN_READ | BLK_OPEN_WRITE, holder, NULL);
}

static inline void tmem_bdev_close(tmem_bdev_handle handle, void *holder)
{
	bdev_fput(handle);
}

static inline struct block_device *tmem_bdev(tmem_bdev_handle handle)
{
	return file_bdev(handle);
}

/* A disk of whole pages. Sync: swap waits for each page, bypassing readahead. */
static inline struct gendisk *tmem_alloc_disk(bool sync)
{
	struct queue_limits limits = {
		.logical_block_size = PAGE_SIZE,
		.physical_block_size = PAGE_SIZE,
		.io_min = PAGE_SIZE,
		.io_opt = PAGE_SIZE,
		.dma_alignment = PAGE_SIZE - 1,
		.max_hw_discard_sectors = UINT_MAX,
		.discard_granularity = PAGE_SIZE,
		.max_write_zeroes_sectors = UINT_MAX,
		.features = sync ? BLK_FEAT_SYNCHRONOUS : 0,
	};

	return blk_alloc_disk(&limits, NUMA_NO_NODE);
}

#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 0) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)

/* A device that has rw_page is what this kernel calls synchronous (mm/swapfile.c). */
#define TMEM_HAVE_RW_PAGE	1

typedef struct block_device *tmem_bdev_handle;

static inline tmem_bdev_handle tmem_bdev_open(const char *path, void *holder)
{
	return blkdev_get_by_path(path, FMODE_READ | FMODE_WRITE | FMODE_EXCL, holder);
}

static inline void tmem_bdev_close(tmem_bdev_handle handle, void *holder)
{
	blkdev_put(handle, FMODE_READ | FMODE_WRITE | FMODE_EXCL);
}

static inline struct block_device *tmem_bdev(tmem_bdev_handle handle)
{
	return handle;
}

static inline struct gendisk *tmem_alloc_disk(bool sync)
{
	struct gendisk *disk = blk_alloc_disk(NUMA_NO_NODE);
	struct request_queue *q;

	if (!disk)
		return ERR_PTR(-ENOMEM);
	q = disk->queue;
	blk_queue_logical_block_size(q, PAGE_SIZE);
	blk_queue_physical_block_size(q, PAGE_SIZE);
	blk_queue_io_min(q, PAGE_SIZE);
	blk_queue_io_opt(q, PAGE_SIZE);
	blk_queue_dma_alignment(q, PAGE_SIZE - 1);
	blk_queue_max_discard_sectors(q, UINT_MAX);
	q->limits.discard_granularity = PAGE_SIZE;
	blk_queue_max_write_zeroes_sectors(q, UINT_MAX);
	blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
	blk_queue_flag_clear(QUEUE_FLAG_ADD_RANDOM, q);
	return disk;
}

#else
#error "tmem: this driver knows Linux 6.1 and 6.11 or later"
#endif

#endif /* TMEM_COMPAT_H */
