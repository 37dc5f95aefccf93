// SPDX-License-Identifier: GPL-2.0-only
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <linux/uuid.h>

#include "header.h"

#define TMEM_SWAP_MAGIC		"SWAPSPACE2"
/* Where btrfs has its magic (fs/btrfs/fs.h); it leaves page 0 blank. */
#define TMEM_BTRFS_PAGE		16
#define TMEM_BTRFS_OFFSET	0x40
#define TMEM_BTRFS_MAGIC	"_BHRfS_M"

static int tmem_page_io(struct block_device *bdev, enum req_op op, u64 page_nr, void *page)
{
	struct bio_vec vec;
	struct bio bio;
	int err;

	bio_init(&bio, bdev, &vec, 1, op | REQ_SYNC);
	bio.bi_iter.bi_sector = page_nr << PAGE_SECTORS_SHIFT;
	__bio_add_page(&bio, virt_to_page(page), PAGE_SIZE, 0);
	err = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return err;
}

static bool tmem_is_swap(const union swap_header *header)
{
	return !memcmp(header->magic.magic, TMEM_SWAP_MAGIC, sizeof(header->magic.magic));
}

int tmem_header_check(struct block_device *bdev)
{
	void *page = (void *)get_zeroed_page(GFP_KERNEL);
	int err;

	if (!page)
		return -ENOMEM;
	err = tmem_page_io(bdev, REQ_OP_READ, 0, page);
	if (err || tmem_is_swap(page))
		goto out;
	if (memchr_inv(page, 0, PAGE_SIZE)) {
		err = -EEXIST;
		goto out;
	}
	if (bdev_nr_bytes(bdev) >> PAGE_SHIFT <= TMEM_BTRFS_PAGE)
		goto out;
	err = tmem_page_io(bdev, REQ_OP_READ, TMEM_BTRFS_PAGE, page);
	if (!err && !memcmp(page + TMEM_BTRFS_OFFSET, TMEM_BTRFS_MAGIC, strlen(TMEM_BTRFS_MAGIC)))
		err = -EEXIST;
out:
	free_page((unsigned long)page);
	return err;
}

int tmem_header_write(struct block_device *bdev, u64 nr_slots)
{
	union swap_header *header = (union swap_header *)get_zeroed_page(GFP_KERNEL);
	int err;

	if (!header)
		return -ENOMEM;
	header->info.version = 1;
	header->info.last_page = nr_slots - 1;
	generate_random_uuid(header->info.sws_uuid);
	memcpy(header->magic.magic, TMEM_SWAP_MAGIC, sizeof(header->magic.magic));
	err = tmem_page_io(bdev, REQ_OP_WRITE, 0, header);
	free_page((unsigned long)header);
	return err;
}
