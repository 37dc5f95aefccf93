// SPDX-License-Identifier: GPL-2.0-only
/*
 * The disk. A bio is taken apart into spans, each of which is one exit; what tmem has or takes is done when
 * submit_bio() returns, what is on the backing device goes on as clones of the bio, chained to it.
 *
 * submit_bio() runs in the context of reclaim. Nothing here allocates, but for clones from their reserve.
 */
#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched.h>

#include "blk.h"
#include "span.h"
#include "stats.h"

static struct tmem_span_result tmem_write_span(struct tmem_device *dev, const struct tmem_span *span)
{
	struct tmem_span_result result = tmem_span_put(&dev->slots, span, tmem_span_mask(span), dev->backing.bdev);

	/* Dead pages may be what fills the guest's cap: one more try without them. */
	if (result.elsewhere && !result.failed && tmem_drain_now(&dev->drain))
		result = tmem_span_put(&dev->slots, span, result.elsewhere, dev->backing.bdev);
	return result;
}

/* What is left in the run has not been sent. */
static void tmem_rw(struct tmem_device *dev, struct bio *bio, struct tmem_run *run)
{
	bool write = op_is_write(bio_op(bio));
	struct bvec_iter iter = bio->bi_iter;

	while (iter.bi_size) {
		struct tmem_span_result result;
		struct tmem_span span;

		tmem_span_next(&span, bio, &iter);
		result = write ? tmem_write_span(dev, &span) : tmem_span_get(&dev->slots, &span);
		if (result.elsewhere && dev->backing.bdev) {
			tmem_run_add(&dev->backing, run, span.chunk_nr, result.elsewhere);
		} else if (result.elsewhere) {
			bio->bi_status = result.failed ? BLK_STS_IOERR : BLK_STS_NOSPC;
			break;
		} else if (result.failed) {
			bio->bi_status = BLK_STS_IOERR;
			break;
		}
	}
}

/* Discard and write zeroes are the same here: an absent slot reads as zeros. */
static void tmem_discard(struct tmem_device *dev, struct bio *bio)
{
	u64 slot = bio->bi_iter.bi_sector >> PAGE_SECTORS_SHIFT;
	u64 end = slot + (bio->bi_iter.bi_size >> PAGE_SHIFT);

	while (slot < end) {
		unsigned int first = slot % TMEM_CHUNK_SLOTS;
		unsigned int n = min_t(u64, TMEM_CHUNK_SLOTS - first, end - slot);

		tmem_slots_discard(&dev->slots, slot / TMEM_CHUNK_SLOTS, tmem_mask(first, n));
		slot += n;
		cond_resched();
	}
}

static void tmem_submit_bio(struct bio *bio)
{
	struct tmem_device *dev = bio->bi_bdev->bd_disk->private_data;
	struct tmem_run run = { .bio = bio };
	unsigned long start;

	/* The block layer keeps users to the logical block size, but not every submitter in the kernel. */
	if (bio->bi_iter.bi_sector % PAGE_SECTORS || bio->bi_iter.bi_size % PAGE_SIZE) {
		bio_io_error(bio);
		return;
	}
	start = bio_start_io_acct(bio);
	switch (bio_op(bio)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		tmem_rw(dev, bio, &run);
		break;
	case REQ_OP_DISCARD:
	case REQ_OP_WRITE_ZEROES:
		tmem_discard(dev, bio);
		break;
	default:
		bio->bi_status = BLK_STS_NOTSUPP;
	}
	/* The backing device counts its own part. */
	bio_end_io_acct(bio, start);
	if (!tmem_run_finish(&dev->backing, &run))
		bio_endio(bio);
}

static void tmem_slot_free_notify(struct block_device *bdev, unsigned long slot)
{
	struct tmem_device *dev = bdev->bd_disk->private_data;

	tmem_count(TMEM_STAT_SLOTS_FREED, 1);
	tmem_drain_slot(&dev->drain, slot);
}

#if TMEM_HAVE_RW_PAGE
/* One page with no bio of the caller's. Whatever is not all tmem's is left to submit_bio() by an error. */
static int tmem_rw_page(struct block_device *bdev, sector_t sector, struct page *page, enum req_op op)
{
	struct tmem_device *dev = bdev->bd_disk->private_data;
	struct tmem_span_result result;
	struct tmem_span span;
	struct bvec_iter iter;
	struct bio_vec vec;
	struct bio bio;

	if (PageTransHuge(page) || sector % PAGE_SECTORS)
		return -EOPNOTSUPP;
	/* Never submitted, only a way to say where the page is. */
	bio_init(&bio, NULL, &vec, 1, op);
	bio.bi_iter.bi_sector = sector;
	__bio_add_page(&bio, page, PAGE_SIZE, 0);
	iter = bio.bi_iter;
	tmem_span_next(&span, &bio, &iter);
	if (op_is_write(op))
		result = tmem_span_put(&dev->slots, &span, tmem_span_mask(&span), dev->backing.bdev);
	else
		result = tmem_span_get(&dev->slots, &span);
	bio_uninit(&bio);
	if (result.elsewhere || result.failed)
		return -EIO;
	page_endio(page, op_is_write(op), 0);
	return 0;
}
#endif

static const struct block_device_operations tmem_fops = {
	.owner = THIS_MODULE,
	.submit_bio = tmem_submit_bio,
	.swap_slot_free_notify = tmem_slot_free_notify,
#if TMEM_HAVE_RW_PAGE
	.rw_page = tmem_rw_page,
#endif
};

int tmem_blk_add(struct tmem_device *dev)
{
	struct gendisk *disk;
	int err;

	dev->major = register_blkdev(0, "tmem");
	if (dev->major < 0)
		return dev->major;
	disk = tmem_alloc_disk();
	if (IS_ERR(disk)) {
		err = PTR_ERR(disk);
		goto unregister;
	}
	disk->major = dev->major;
	disk->first_minor = 0;
	disk->minors = 1;
	/* The swap code counts slots from the start of the whole device. */
	disk->flags |= GENHD_FL_NO_PART;
	disk->fops = &tmem_fops;
	disk->private_data = dev;
	strscpy(disk->disk_name, "tmem0", sizeof(disk->disk_name));
	set_capacity(disk, dev->slots.nr_slots << PAGE_SECTORS_SHIFT);
	err = device_add_disk(NULL, disk, NULL);
	if (err)
		goto put;
	dev->disk = disk;
	return 0;
put:
	put_disk(disk);
unregister:
	unregister_blkdev(dev->major, "tmem");
	return err;
}

void tmem_blk_remove(struct tmem_device *dev)
{
	del_gendisk(dev->disk);
	put_disk(dev->disk);
	unregister_blkdev(dev->major, "tmem");
}
