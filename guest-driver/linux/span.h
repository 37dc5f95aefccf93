/* SPDX-License-Identifier: GPL-2.0-only */
/* A part of a bio that one exit carries: slots of one chunk, and the pages that they are in. */
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
	/* One slot whose data is not one whole page in the bio. */
	bool bounce;
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

/* What became of the slots of a span. */
struct tmem_span_result {
	/* Puts: not stored. Gets: on the backing device. */
	u64 elsewhere;
	/* An answer that no good host gives, or a page that it lost. */
	u64 failed;
};

struct tmem_span_result tmem_span_put(struct tmem_slots *slots, const struct tmem_span *span, u64 mask, bool backed);
struct tmem_span_result tmem_span_get(struct tmem_slots *slots, const struct tmem_span *span);

/* The slots of the mask have no page any more, anywhere. */
void tmem_slots_discard(struct tmem_slots *slots, u64 chunk_nr, u64 mask);

#endif /* TMEM_SPAN_H */
