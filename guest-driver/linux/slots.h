/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the page of each slot is, and who may move it.
 *
 * A slot's page is in tmem, on the backing device, or nowhere: it then reads as zeros. A chunk has one word of 64 bits
 * for each of these facts:
 *
 *   busy        the slot is locked: one CPU is in a call about it and will say where the page is now
 *   in_tmem     tmem has the page
 *   in_backing  the backing device has the page (never both)
 *   stale       tmem has a page that nobody will read: the swap code freed the slot
 *
 * Protocol
 *
 * 1. in_tmem and in_backing of a slot change only under its lock. The lock of any set of slots of a chunk is taken by
 *    one compare-and-exchange, all or nothing, so there is no order to keep and no deadlock. It is held with
 *    preemption off, over one exit, and never while sleeping or in I/O to the backing device.
 * 2. The swap code reports a free slot under its spinlocks. tmem_slots_free() then takes no lock and makes no call: it
 *    sets the stale bit. It may read in_tmem without the lock, because the slot was in nobody's hands.
 * 3. A flush of a stale slot (drain.c, or a passenger of a put to the same chunk) takes the lock, *then* the stale bit
 *    by fetch-and-clear, and calls the host before it unlocks.
 * 4. A put takes the lock, then drops the stale bit, then calls the host. A slot is freed before it is used again, so
 *    a bit found here speaks of an older page, which the put replaces.
 *
 * So a late flush never kills a newer put: if the flush has the lock first, the put waits for it and stores after it;
 * if the put is first, the flush finds no stale bit and leaves the slot alone.
 *
 * A put that is refused has dropped the older page (guest-driver/abi/README.md, 5); the in_tmem bit goes with it. Even
 * a host that kept the older page could not hand it out: without in_tmem no get is asked for.
 */
#ifndef TMEM_SLOTS_H
#define TMEM_SLOTS_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/types.h>

#include "batch.h"
#include "key.h"

struct tmem_chunk {
	atomic64_t busy;
	atomic64_t in_tmem;
	atomic64_t in_backing;
	atomic64_t stale;
};

struct tmem_slots {
	u32 pool;
	u64 nr_slots;
	u64 nr_chunks;
	struct tmem_chunk *chunk;
	/* One bit for each chunk that may have stale slots. */
	unsigned long *stale_chunks;
	atomic_long_t nr_stale;
};

int tmem_slots_init(struct tmem_slots *slots, u32 pool, u64 nr_slots);
void tmem_slots_exit(struct tmem_slots *slots);

void tmem_slots_lock(struct tmem_chunk *chunk, u64 mask);
u64 tmem_slots_lock_stale(struct tmem_slots *slots, struct tmem_chunk *chunk, u64 mask);
void tmem_slots_unlock(struct tmem_chunk *chunk, u64 mask);

/* All slots of the mask are locked by the caller. */
u64 tmem_slots_take_stale(struct tmem_slots *slots, struct tmem_chunk *chunk, u64 mask);
void tmem_slots_set(struct tmem_chunk *chunk, u64 in_tmem, u64 in_backing, u64 nowhere);

/* Returns how many stale slots there are now, 0 if this one is not. Never sleeps, takes no lock. */
unsigned long tmem_slots_free(struct tmem_slots *slots, u64 slot);

void tmem_batch_add_flushes(struct tmem_batch *batch, struct tmem_slots *slots, u64 chunk_nr, u64 mask);
void tmem_batch_check_flushes(const struct tmem_batch *batch, unsigned int first);

static inline u64 tmem_mask(unsigned int first, unsigned int n)
{
	return GENMASK_ULL(first + n - 1, first);
}

static inline u64 tmem_read_mask(const atomic64_t *word)
{
	return (u64)atomic64_read(word);
}

#endif /* TMEM_SLOTS_H */
