/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A span: slots of one chunk, and the pages of a bio that they are. Spans are what exits carry: one, or several that
 * came together.
 */
#ifndef TMEM_SPAN_H
#define TMEM_SPAN_H

#include <linux/bio.h>

#include "slots.h"

struct tmem_span {
	struct bio *bio;
	/* At the page of the first slot. */
	struct bvec_iter iter;
	u64 chunk_nr;
	unsigned int first;
	unsigned int n;
	/* One slot whose data is not one whole page in the bio. Such a span goes alone. */
	bool bounce;

	/* Answers. Puts: slots not stored. Gets: slots on the backing device. */
	u64 elsewhere;
	/* Puts and gets: an answer that no good host gives, or a page that it lost. */
	u64 failed;
};

static inline u64 tmem_span_mask(const struct tmem_span *span)
{
	return tmem_mask(span->first, span->n);
}

static inline u64 tmem_span_slot(const struct tmem_span *span)
{
	return span->chunk_nr * TMEM_CHUNK_SLOTS + span->first;
}

/* Takes the next span off the bio's iter; both are multiples of whole pages. */
void tmem_span_next(struct tmem_span *span, struct bio *bio, struct bvec_iter *iter);

/*
 * These make one exit for n spans, which are in ascending order, do not overlap, and have no more than
 * TMEM_BATCH_ENTRIES slots together. A put is for the slots in `elsewhere`, and leaves there those not stored.
 */
void tmem_spans_put(struct tmem_slots *slots, struct tmem_span *spans, unsigned int n, bool backed);
void tmem_spans_get(struct tmem_slots *slots, struct tmem_span *spans, unsigned int n);

/* The slots of the mask have no page any more, anywhere. */
void tmem_slots_discard(struct tmem_slots *slots, u64 chunk_nr, u64 mask);

#endif /* TMEM_SPAN_H */
