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

struct tmem_span_result tmem_span_put(struct tmem_slots *slots, const struct tmem_span *span, u64 mask, bool backed)
{
	struct tmem_chunk *chunk = &slots->chunk[span->chunk_nr];
	struct tmem_batch *batch = tmem_batch_begin();
	struct tmem_span_result result = { 0 };
	u64 stored = 0, flushed = 0, bit, rest;
	unsigned int i = 0, puts;
	s64 bad = 0;

	if (span->bounce)
		tmem_span_from_bio(span, batch->bounce);
	tmem_slots_lock(chunk, mask);
	tmem_slots_take_stale(slots, chunk, mask);
	tmem_span_add(span, batch, TMEM_OP_PUT, slots->pool, mask);
	puts = batch->n;
	/* No slot is twice in the batch, so a chunk always fits. */
	if (tmem_batch_max() > puts) {
		flushed = tmem_slots_lock_stale(slots, chunk, ~mask);
		tmem_batch_add_flushes(batch, slots, span->chunk_nr, flushed);
	}
	tmem_batch_run(batch);

	for (rest = mask; rest; rest &= ~bit) {
		s64 answer = tmem_batch_status(batch, i++);

		bit = rest & -rest;
		if (answer == 0) {
			stored |= bit;
			continue;
		}
		result.elsewhere |= bit;
		if (answer == -ENOMEM || answer == -EBUSY)
			continue;
		result.failed |= bit;
		bad = answer;
	}
	if (backed)
		tmem_slots_set(chunk, stored, result.elsewhere, flushed);
	else
		tmem_slots_set(chunk, stored, 0, result.elsewhere | flushed);
	tmem_batch_check_flushes(batch, puts);
	tmem_slots_unlock(chunk, mask | flushed);
	tmem_batch_end(batch);

	tmem_count(TMEM_STAT_PUTS, puts);
	tmem_count(TMEM_STAT_PUTS_REFUSED, hweight64(result.elsewhere & ~result.failed));
	if (result.failed) {
		tmem_count(TMEM_STAT_PUTS_FAILED, hweight64(result.failed));
		pr_err_ratelimited("the host answered a put with %lld\n", bad);
	}
	return result;
}

struct tmem_span_result tmem_span_get(struct tmem_slots *slots, const struct tmem_span *span)
{
	struct tmem_chunk *chunk = &slots->chunk[span->chunk_nr];
	struct tmem_batch *batch = tmem_batch_begin();
	struct tmem_span_result result = { 0 };
	u64 mask = tmem_span_mask(span);
	u64 here, bit, rest;
	unsigned int i = 0;
	s64 bad = 0;

	tmem_slots_lock(chunk, mask);
	here = tmem_read_mask(&chunk->in_tmem) & mask;
	result.elsewhere = tmem_read_mask(&chunk->in_backing) & mask;
	tmem_span_add(span, batch, TMEM_OP_GET, slots->pool, here);
	tmem_batch_run(batch);
	tmem_slots_unlock(chunk, mask);

	for (rest = here; rest; rest &= ~bit) {
		s64 answer = tmem_batch_status(batch, i++);

		bit = rest & -rest;
		if (answer == 1)
			continue;
		result.failed |= bit;
		bad = answer;
	}
	if (span->bounce && here)
		tmem_span_to_bio(span, batch->bounce);
	tmem_batch_end(batch);

	tmem_span_zero(span, mask & ~here & ~result.elsewhere);
	tmem_count(TMEM_STAT_GETS, hweight64(here));
	if (result.failed) {
		tmem_count(TMEM_STAT_GETS_FAILED, hweight64(result.failed));
		pr_err_ratelimited("the host has lost %lu pages, a get answered %lld\n",
				   hweight64(result.failed), bad);
	}
	return result;
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
