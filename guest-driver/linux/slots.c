// SPDX-License-Identifier: GPL-2.0-only
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/processor.h>
#include <linux/vmalloc.h>

#include "host.h"
#include "slots.h"
#include "stats.h"

int tmem_slots_init(struct tmem_slots *slots, u32 pool, u64 nr_slots)
{
	/* The size is anybody's wish: nothing else shall die for it. */
	const gfp_t gfp = GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;

	slots->pool = pool;
	slots->nr_slots = nr_slots;
	slots->nr_chunks = DIV_ROUND_UP_ULL(nr_slots, TMEM_CHUNK_SLOTS);
	slots->chunk = kvcalloc(slots->nr_chunks, sizeof(*slots->chunk), gfp);
	slots->stale_chunks = kvcalloc(BITS_TO_LONGS(slots->nr_chunks), sizeof(long), gfp);
	atomic_long_set(&slots->nr_stale, 0);
	if (!slots->chunk || !slots->stale_chunks) {
		pr_err("there is no memory for the tables of a device of %llu MiB, which take %llu MiB: ask for less, as in size=512M\n",
		       nr_slots >> (20 - PAGE_SHIFT), slots->nr_chunks * sizeof(*slots->chunk) >> 20);
		tmem_slots_exit(slots);
		return -ENOMEM;
	}
	return 0;
}

void tmem_slots_exit(struct tmem_slots *slots)
{
	kvfree(slots->chunk);
	kvfree(slots->stale_chunks);
	slots->chunk = NULL;
	slots->stale_chunks = NULL;
}

/* The caller is on its CPU (tmem_batch_begin), so the holder that is waited for is running, on another one. */
void tmem_slots_lock(struct tmem_chunk *chunk, u64 mask)
{
	s64 busy = atomic64_read(&chunk->busy);

	for (;;) {
		if (busy & mask) {
			cpu_relax();
			busy = atomic64_read(&chunk->busy);
		} else if (atomic64_try_cmpxchg_acquire(&chunk->busy, &busy, busy | mask)) {
			return;
		}
	}
}

/* Locks those slots of the mask that are free, and returns them. */
static u64 tmem_slots_trylock(struct tmem_chunk *chunk, u64 mask)
{
	return mask & ~(u64)atomic64_fetch_or_acquire(mask, &chunk->busy);
}

void tmem_slots_unlock(struct tmem_chunk *chunk, u64 mask)
{
	atomic64_fetch_andnot_release(mask, &chunk->busy);
}

u64 tmem_slots_take_stale(struct tmem_slots *slots, struct tmem_chunk *chunk, u64 mask)
{
	u64 stale = tmem_read_mask(&chunk->stale) & mask;

	/* Mostly there are none, and the line stays shared. */
	if (!stale)
		return 0;
	stale = (u64)atomic64_fetch_andnot(stale, &chunk->stale) & stale;
	atomic_long_sub(hweight64(stale), &slots->nr_stale);
	return stale;
}

/* Locks those slots of the mask that are stale and not locked, and takes their stale bits. */
u64 tmem_slots_lock_stale(struct tmem_slots *slots, struct tmem_chunk *chunk, u64 mask)
{
	u64 locked, taken;

	mask &= tmem_read_mask(&chunk->stale);
	if (!mask)
		return 0;
	locked = tmem_slots_trylock(chunk, mask);
	taken = tmem_slots_take_stale(slots, chunk, locked);
	if (locked & ~taken)
		tmem_slots_unlock(chunk, locked & ~taken);
	return taken;
}

/* Other slots of the words change at the same time, hence the atomics. */
void tmem_slots_set(struct tmem_chunk *chunk, u64 in_tmem, u64 in_backing, u64 nowhere)
{
	u64 not_tmem = tmem_read_mask(&chunk->in_tmem) & (in_backing | nowhere);
	u64 not_backing = tmem_read_mask(&chunk->in_backing) & (in_tmem | nowhere);

	if (in_tmem & ~tmem_read_mask(&chunk->in_tmem))
		atomic64_or(in_tmem, &chunk->in_tmem);
	if (in_backing & ~tmem_read_mask(&chunk->in_backing))
		atomic64_or(in_backing, &chunk->in_backing);
	if (not_tmem)
		atomic64_andnot(not_tmem, &chunk->in_tmem);
	if (not_backing)
		atomic64_andnot(not_backing, &chunk->in_backing);
}

unsigned long tmem_slots_free(struct tmem_slots *slots, u64 slot)
{
	u64 chunk_nr = slot / TMEM_CHUNK_SLOTS;
	u64 bit = BIT_ULL(slot % TMEM_CHUNK_SLOTS);
	struct tmem_chunk *chunk;

	if (slot >= slots->nr_slots)
		return 0;
	chunk = &slots->chunk[chunk_nr];
	/* What is only on the backing device is dead there until it is overwritten; many slots were never written. */
	if (!(tmem_read_mask(&chunk->in_tmem) & bit))
		return 0;
	if ((u64)atomic64_fetch_or(bit, &chunk->stale) & bit)
		return 0;
	/*
	 * Fully ordered after the stale bit (fetch_or is). The drain clears the chunk's bit before it reads the stale
	 * word, so it either sees this slot or leaves the chunk's bit set for the next time.
	 */
	if (!test_bit(chunk_nr, slots->stale_chunks))
		set_bit(chunk_nr, slots->stale_chunks);
	return atomic_long_inc_return(&slots->nr_stale);
}

/* One entry for each run of slots if the host knows ranges, else for each slot. */
void tmem_batch_add_flushes(struct tmem_batch *batch, struct tmem_slots *slots, u64 chunk_nr, u64 mask)
{
	bool ranges = tmem_host_has(TMEM_FEATURE_FLUSH_RANGE);

	while (mask) {
		unsigned int first = __ffs64(mask);
		u64 from = mask >> first;
		unsigned int n = !ranges ? 1 : ~from ? __ffs64(~from) : TMEM_CHUNK_SLOTS;
		u64 slot = chunk_nr * TMEM_CHUNK_SLOTS + first;

		if (n == 1)
			tmem_batch_add(batch, TMEM_OP_FLUSH_PAGE, slots->pool, slot, 0);
		else
			tmem_batch_add(batch, TMEM_OP_FLUSH_RANGE, slots->pool, slot, n);
		mask &= ~tmem_mask(first, n);
	}
}

/* A flush that fails leaves a page that costs the host memory but that this driver will not read again. */
void tmem_batch_check_flushes(const struct tmem_batch *batch, unsigned int first)
{
	unsigned int i;

	for (i = first; i < batch->n; i++) {
		const struct tmem_batch_entry *entry = &batch->entry[i];
		s64 most = (entry->rdi & 0xff) == TMEM_OP_FLUSH_RANGE ? entry->r9 : 1;
		s64 answer = tmem_batch_status(batch, i);

		tmem_count(TMEM_STAT_FLUSHES, most);
		if (answer >= 0 && answer <= most)
			continue;
		tmem_count(TMEM_STAT_FLUSHES_FAILED, most);
		pr_err_ratelimited("the host answered a flush with %lld\n", answer);
	}
}
