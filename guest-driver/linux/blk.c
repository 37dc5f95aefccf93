// SPDX-License-Identifier: GPL-2.0-only
/* The disk, as the block layer and the swap code see it. */
#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/pagemap.h>

#include "blk.h"
#include "plug.h"
#include "stats.h"

static void tmem_submit_bio(struct bio *bio)
{
	struct tmem_device *dev = bio->bi_bdev->bd_disk->private_data;

	if (dev->sync || !tmem_plug_bio(dev, bio))
		tmem_io_bio(&dev->store, bio);
}

static void tmem_slot_free_notify(struct block_device *bdev, unsigned long slot)
{
	struct tmem_device *dev = bdev->bd_disk->private_data;

	tmem_count(TMEM_STAT_SLOTS_FREED, 1);
	tmem_drain_slot(&dev->store.drain, slot);
}

#if TMEM_HAVE_RW_PAGE
/* One page with no bio of the caller's. Whatever is not all tmem's is left to submit_bio() by an error. */
static int tmem_rw_page(struct block_device *bdev, sector_t sector, struct page *page, enum req_op op)
{
	struct tmem_device *dev = bdev->bd_disk->private_data;
	struct tmem_store *store = &dev->store;
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
		tmem_spans_put(&store->slots, &span, 1, store->backing.bdev);
	else
		tmem_spans_get(&store->slots, &span, 1);
	bio_uninit(&bio);
	if (span.elsewhere || span.failed)
		return -EIO;
	page_endio(page, op_is_write(op), 0);
	return 0;
}
#endif

static const struct block_device_operations tmem_fops = {
	.owner = THIS_MODULE,
	.submit_bio = tmem_submit_bio,
	.swap_slot_free_notify = tmem_slot_free_notify,
};

static const struct block_device_operations tmem_sync_fops = {
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
	disk = tmem_alloc_disk(dev->sync);
	if (IS_ERR(disk)) {
		err = PTR_ERR(disk);
		goto unregister;
	}
	disk->major = dev->major;
	disk->first_minor = 0;
	disk->minors = 1;
	/* The swap code counts slots from the start of the whole device. */
	disk->flags |= GENHD_FL_NO_PART;
	disk->fops = dev->sync ? &tmem_sync_fops : &tmem_fops;
	disk->private_data = dev;
	strscpy(disk->disk_name, "tmem0", sizeof(disk->disk_name));
	set_capacity(disk, dev->store.slots.nr_slots << PAGE_SECTORS_SHIFT);
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
