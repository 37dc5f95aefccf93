// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bio is taken apart into spans, each of which is one exit; small bios that came together share one. What tmem has or
 * takes is done here; what is on the backing device goes on as clones of the bio, chained to it, or as the bio itself.
 *
 * This is the context of reclaim: nothing allocates, but for clones from their reserve.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/sched.h>

#include "io.h"
#include "stats.h"

static void tmem_io_spans(struct tmem_store *store, struct tmem_span *spans, unsigned int n, bool write)
{
	bool backed = store->backing.bdev;
	unsigned int i;

	if (!write) {
		tmem_spans_get(&store->slots, spans, n);
		return;
	}
	tmem_spans_put(&store->slots, spans, n, backed);
	for (i = 0; i < n; i++) {
		/* Dead pages may be what fills the guest's cap: one more try without them. */
		if (spans[i].elsewhere && !spans[i].failed && tmem_drain_for_put(&store->drain))
			tmem_spans_put(&store->slots, &spans[i], 1, backed);
	}
}

/* After the exit: the rest of the span is the backing device's, or the bio fails. Returns false if it failed. */
static bool tmem_io_span_done(struct tmem_store *store, const struct tmem_span *span, struct tmem_run *run)
{
	if (span->elsewhere && store->backing.bdev) {
		tmem_run_add(&store->backing, run, span->chunk_nr, span->elsewhere);
		/* A put that failed is there as well; a page that was lost is nowhere. */
		if (op_is_write(bio_op(span->bio)) || !span->failed)
			return true;
	} else if (!span->elsewhere && !span->failed) {
		return true;
	}
	span->bio->bi_status = span->failed ? BLK_STS_IOERR : BLK_STS_NOSPC;
	return false;
}

/* The backing device counts its own part, so that the time of this one is that of the exits. */
static void tmem_io_end(struct tmem_store *store, struct bio *bio, struct tmem_run *run, unsigned long start)
{
	bio_end_io_acct(bio, start);
	if (!run->n || !tmem_run_finish(&store->backing, run))
		bio_endio(bio);
}

static void tmem_io_rw(struct tmem_store *store, struct bio *bio, struct tmem_run *run)
{
	struct bvec_iter iter = bio->bi_iter;

	while (iter.bi_size) {
		struct tmem_span span;

		tmem_span_next(&span, bio, &iter);
		tmem_io_spans(store, &span, 1, op_is_write(bio_op(bio)));
		if (!tmem_io_span_done(store, &span, run))
			break;
	}
}

/* Discard and write zeroes are the same here: an absent slot reads as zeros. */
static void tmem_io_discard(struct tmem_store *store, struct bio *bio)
{
	u64 slot = bio->bi_iter.bi_sector >> PAGE_SECTORS_SHIFT;
	u64 end = slot + (bio->bi_iter.bi_size >> PAGE_SHIFT);

	while (slot < end) {
		unsigned int first = slot % TMEM_CHUNK_SLOTS;
		unsigned int n = min_t(u64, TMEM_CHUNK_SLOTS - first, end - slot);

		tmem_slots_discard(&store->slots, slot / TMEM_CHUNK_SLOTS, tmem_mask(first, n));
		slot += n;
		cond_resched();
	}
}

void tmem_io_bio(struct tmem_store *store, struct bio *bio)
{
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
		tmem_io_rw(store, bio, &run);
		break;
	case REQ_OP_DISCARD:
	case REQ_OP_WRITE_ZEROES:
		tmem_io_discard(store, bio);
		break;
	default:
		bio->bi_status = BLK_STS_NOTSUPP;
	}
	tmem_io_end(store, bio, &run, start);
}

/* Whether this bio is for exits of its own: it is no single span of whole pages. */
static bool tmem_io_goes_alone(struct bio *bio)
{
	struct bvec_iter iter = bio->bi_iter;
	struct tmem_span span;

	if (!bio->bi_iter.bi_size || bio->bi_iter.bi_size > TMEM_CHUNK_SLOTS * PAGE_SIZE ||
	    bio->bi_iter.bi_size % PAGE_SIZE || bio->bi_iter.bi_sector % PAGE_SECTORS)
		return true;
	if (bio_op(bio) != REQ_OP_READ && bio_op(bio) != REQ_OP_WRITE)
		return true;
	tmem_span_next(&span, bio, &iter);
	return span.bounce || iter.bi_size;
}

/* Whether a span of n slots from this one on may join. */
static bool tmem_group_takes(const struct tmem_group *group, u64 slot, unsigned int n, bool write)
{
	const struct tmem_span *last = &group->span[group->n - 1];

	if (!group->n)
		return true;
	return group->n < TMEM_GROUP_SPANS && group->slots + n <= tmem_batch_max() &&
	       op_is_write(bio_op(last->bio)) == write && tmem_span_slot(last) + last->n <= slot;
}

static void tmem_group_run(struct tmem_store *store, struct tmem_group *group)
{
	unsigned int i;

	if (!group->n)
		return;
	tmem_io_spans(store, group->span, group->n, op_is_write(bio_op(group->span[0].bio)));
	for (i = 0; i < group->n; i++) {
		struct tmem_span *span = &group->span[i];
		struct tmem_run run = { .bio = span->bio };

		tmem_io_span_done(store, span, &run);
		tmem_io_end(store, span->bio, &run, bio_start_io_acct(span->bio));
	}
	group->n = 0;
	group->slots = 0;
}

void tmem_io_list(struct tmem_store *store, struct bio_list *bios, struct tmem_group *group)
{
	struct bio *bio;

	group->n = 0;
	group->slots = 0;
	while ((bio = bio_list_pop(bios))) {
		u64 slot = bio->bi_iter.bi_sector >> PAGE_SECTORS_SHIFT;
		unsigned int n = bio->bi_iter.bi_size >> PAGE_SHIFT;
		struct bvec_iter iter = bio->bi_iter;

		if (tmem_io_goes_alone(bio)) {
			tmem_io_bio(store, bio);
			continue;
		}
		if (!tmem_group_takes(group, slot, n, op_is_write(bio_op(bio))))
			tmem_group_run(store, group);
		tmem_span_next(&group->span[group->n++], bio, &iter);
		group->slots += n;
	}
	tmem_group_run(store, group);
}

static bool tmem_io_before(const struct bio *a, const struct bio *b)
{
	bool a_writes = op_is_write(bio_op(a)), b_writes = op_is_write(bio_op(b));

	return a_writes != b_writes ? b_writes : a->bi_iter.bi_sector < b->bi_iter.bi_sector;
}

/* Swap slots mostly ascend, so the end of the list is looked at first. */
void tmem_io_list_add(struct bio_list *bios, struct bio *bio)
{
	struct bio **at;

	if (bio_list_empty(bios) || !tmem_io_before(bio, bios->tail)) {
		bio_list_add(bios, bio);
		return;
	}
	for (at = &bios->head; !tmem_io_before(bio, *at); at = &(*at)->bi_next)
		;
	bio->bi_next = *at;
	*at = bio;
}
