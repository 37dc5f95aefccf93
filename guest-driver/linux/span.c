// SPDX-License-Identifier: GPL-2.0-only
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/bio.h>
#include <linux/bvec.h>
#include <linux/highmem.h>
#include <linux/io.h>
#include <linux/printk.h>

#include "batch.h"
#include "span.h"
#include "stats.h"

void tmem_span_next(struct tmem_span *span, struct bio *bio, struct bvec_iter *iter)
{
	u64 slot = iter->bi_sector >> PAGE_SECTORS_SHIFT;
	unsigned int most;

	span->bio = bio;
	span->iter = *iter;
	span->chunk_nr = slot / TMEM_CHUNK_SLOTS;
	span->first = slot % TMEM_CHUNK_SLOTS;
	span->n = 0;
	span->bounce = false;
	span->failed = 0;
	most = min_t(u64, TMEM_CHUNK_SLOTS - span->first, iter->bi_size >> PAGE_SHIFT);
	while (span->n < most) {
		struct bio_vec bv = bio_iter_iovec(bio, *iter);

		if (bv.bv_offset || bv.bv_len != PAGE_SIZE)
			break;
		bio_advance_iter(bio, iter, PAGE_SIZE);
		span->n++;
	}
	if (!span->n) {
		span->bounce = true;
		span->n = 1;
		bio_advance_iter(bio, iter, PAGE_SIZE);
		tmem_count(TMEM_STAT_BOUNCES, 1);
	}
	span->elsewhere = tmem_span_mask(span);
}

static void tmem_span_add(const struct tmem_span *span, struct tmem_batch *batch, u32 op, u32 pool, u64 mask)
{
	struct bvec_iter iter = span->iter;
	unsigned int i;

	for (i = 0; i < span->n; i++) {
		if (mask & BIT_ULL(span->first + i)) {
			phys_addr_t page = span->bounce ? virt_to_phys(batch->bounce) :
					   page_to_phys(bio_iter_iovec(span->bio, iter).bv_page);

			tmem_batch_add(batch, op, pool, tmem_span_slot(span) + i, page);
		}
		bio_advance_iter(span->bio, &iter, PAGE_SIZE);
	}
}

/* The data of the only slot of a bounced span. */
static void tmem_span_from_bio(const struct tmem_span *span, void *page)
{
	struct bvec_iter iter = span->iter;
	unsigned int done, n;

	for (done = 0; done < PAGE_SIZE; done += n) {
		struct bio_vec bv = bio_iter_iovec(span->bio, iter);

		n = min_t(unsigned int, bv.bv_len, PAGE_SIZE - done);
		bv.bv_len = n;
		memcpy_from_bvec(page + done, &bv);
		bio_advance_iter(span->bio, &iter, n);
	}
}

static void tmem_span_to_bio(const struct tmem_span *span, const void *page)
{
	struct bvec_iter iter = span->iter;
	unsigned int done, n;

	for (done = 0; done < PAGE_SIZE; done += n) {
		struct bio_vec bv = bio_iter_iovec(span->bio, iter);

		n = min_t(unsigned int, bv.bv_len, PAGE_SIZE - done);
		bv.bv_len = n;
		memcpy_to_bvec(&bv, page + done);
		bio_advance_iter(span->bio, &iter, n);
	}
}

static void tmem_span_zero(const struct tmem_span *span, u64 mask)
{
	struct bvec_iter iter = span->iter;
	unsigned int done, n;

	for (done = 0; mask && done < span->n * PAGE_SIZE; done += n) {
		struct bio_vec bv = bio_iter_iovec(span->bio, iter);

		n = min_t(unsigned int, bv.bv_len, PAGE_SIZE - offset_in_page(done));
		bv.bv_len = n;
		if (mask & BIT_ULL(span->first + done / PAGE_SIZE))
			memzero_bvec(&bv);
		bio_advance_iter(span->bio, &iter, n);
	}
	tmem_count(TMEM_STAT_ZERO_READS, hweight64(mask));
}

/* Stale slots of the chunks of a put ride along while there is room. What is taken is locked. */
static u64 tmem_put_passengers(struct tmem_slots *slots, struct tmem_batch *batch, u64 chunk_nr)
{
	struct tmem_chunk *chunk = &slots->chunk[chunk_nr];
	u64 stale = tmem_read_mask(&chunk->stale);

	if (!stale || batch->n + hweight64(stale) > TMEM_BATCH_ENTRIES || tmem_batch_max() == 1)
		return 0;
	stale = tmem_slots_lock_stale(slots, chunk, stale);
	tmem_batch_add_flushes(batch, slots, chunk_nr, stale);
	return stale;
}

/* Reads the answers to the puts of a span, from the batch's entry i on; says where its slots are now. */
static void tmem_span_put_done(struct tmem_span *span, struct tmem_chunk *chunk, const struct tmem_batch *batch,
			       unsigned int i, bool backed)
{
	u64 asked = span->elsewhere, stored = 0, bit, rest;

	for (rest = asked; rest; rest &= ~bit) {
		s64 answer = tmem_batch_status(batch, i++);

		bit = rest & -rest;
		if (answer == 0) {
			stored |= bit;
		} else if (answer != -ENOMEM && answer != -EBUSY) {
			span->failed |= bit;
			pr_err_ratelimited("the host answered a put with %lld\n", answer);
		}
	}
	span->elsewhere = asked & ~stored;
	if (backed)
		tmem_slots_set(chunk, stored, span->elsewhere, 0);
	else
		tmem_slots_set(chunk, stored, 0, span->elsewhere);
	tmem_count(TMEM_STAT_PUTS, hweight64(asked));
	tmem_count(TMEM_STAT_PUTS_REFUSED, hweight64(span->elsewhere & ~span->failed));
	tmem_count(TMEM_STAT_PUTS_FAILED, hweight64(span->failed));
}

void tmem_spans_put(struct tmem_slots *slots, struct tmem_span *spans, unsigned int n, bool backed)
{
	struct tmem_batch *batch = tmem_batch_begin();
	unsigned int i, entry = 0, puts, passengers_of = 0;
	u64 passengers = 0;

	for (i = 0; i < n; i++) {
		struct tmem_chunk *chunk = &slots->chunk[spans[i].chunk_nr];

		if (spans[i].bounce)
			tmem_span_from_bio(&spans[i], batch->bounce);
		spans[i].failed = 0;
		tmem_slots_lock(chunk, spans[i].elsewhere);
		tmem_slots_take_stale(slots, chunk, spans[i].elsewhere);
		tmem_span_add(&spans[i], batch, TMEM_OP_PUT, slots->pool, spans[i].elsewhere);
	}
	puts = batch->n;
	/* Of the first chunk that has any; one mask is enough to remember. */
	for (i = 0; i < n && !passengers; i++) {
		passengers_of = i;
		passengers = tmem_put_passengers(slots, batch, spans[i].chunk_nr);
	}
	tmem_batch_run(batch);

	for (i = 0; i < n; i++) {
		struct tmem_chunk *chunk = &slots->chunk[spans[i].chunk_nr];
		u64 asked = spans[i].elsewhere;

		tmem_span_put_done(&spans[i], chunk, batch, entry, backed);
		tmem_slots_unlock(chunk, asked);
		entry += hweight64(asked);
	}
	if (passengers) {
		struct tmem_chunk *chunk = &slots->chunk[spans[passengers_of].chunk_nr];

		tmem_batch_check_flushes(batch, puts);
		tmem_slots_set(chunk, 0, 0, passengers);
		tmem_slots_unlock(chunk, passengers);
	}
	tmem_batch_end(batch);
}

void tmem_spans_get(struct tmem_slots *slots, struct tmem_span *spans, unsigned int n)
{
	struct tmem_batch *batch = tmem_batch_begin();
	unsigned int i, entry = 0;

	for (i = 0; i < n; i++) {
		struct tmem_chunk *chunk = &slots->chunk[spans[i].chunk_nr];
		u64 mask = tmem_span_mask(&spans[i]);

		tmem_slots_lock(chunk, mask);
		/* Until the answers are in: what is asked for. */
		spans[i].failed = tmem_read_mask(&chunk->in_tmem) & mask;
		spans[i].elsewhere = tmem_read_mask(&chunk->in_backing) & mask;
		tmem_span_add(&spans[i], batch, TMEM_OP_GET, slots->pool, spans[i].failed);
	}
	tmem_batch_run(batch);

	for (i = 0; i < n; i++) {
		struct tmem_span *span = &spans[i];
		u64 mask = tmem_span_mask(span), asked = span->failed, bit, rest;

		tmem_slots_unlock(&slots->chunk[span->chunk_nr], mask);
		for (rest = asked; rest; rest &= ~bit) {
			s64 answer = tmem_batch_status(batch, entry++);

			bit = rest & -rest;
			if (answer == 1)
				span->failed &= ~bit;
			else
				pr_err_ratelimited("a page is lost: the host answered a get with %lld\n", answer);
		}
		if (span->bounce && asked)
			tmem_span_to_bio(span, batch->bounce);
		tmem_span_zero(span, mask & ~asked & ~span->elsewhere);
		tmem_count(TMEM_STAT_GETS, hweight64(asked));
		tmem_count(TMEM_STAT_GETS_FAILED, hweight64(span->failed));
	}
	tmem_batch_end(batch);
}

void tmem_slots_discard(struct tmem_slots *slots, u64 chunk_nr, u64 mask)
{
	struct tmem_chunk *chunk = &slots->chunk[chunk_nr];
	struct tmem_batch *batch;

	/* Most of a discarded area was never written. */
	if (!((tmem_read_mask(&chunk->in_tmem) | tmem_read_mask(&chunk->in_backing)) & mask))
		return;
	batch = tmem_batch_begin();
	tmem_slots_lock(chunk, mask);
	tmem_slots_take_stale(slots, chunk, mask);
	tmem_batch_add_flushes(batch, slots, chunk_nr, tmem_read_mask(&chunk->in_tmem) & mask);
	tmem_batch_run(batch);
	tmem_batch_check_flushes(batch, 0);
	tmem_slots_set(chunk, 0, 0, mask);
	tmem_slots_unlock(chunk, mask);
	tmem_batch_end(batch);
}
