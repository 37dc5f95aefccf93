// SPDX-License-Identifier: GPL-2.0-only
/*
 * The swap code frees slots one by one, under its spinlocks; the host is told in batches. A stale page costs the guest
 * nothing but room in its cap, so there is no hurry: when TMEM_DRAIN_SLOTS have come together, when one has waited
 * TMEM_DRAIN_DELAY, when a put to the same chunk has room for passengers, or when a put was refused.
 *
 * Nobody drains for long: a batch is built from so many chunks and so much of the bitmap at most, because its CPU cannot be
 * had meanwhile; a put that was refused and a run of the worker have so many batches at most, and who comes next goes on
 * where they stopped.
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/jiffies.h>
#include <linux/percpu.h>
#include <linux/sched.h>

#include "drain.h"
#include "host.h"

#define TMEM_DRAIN_SLOTS	256
#define TMEM_DRAIN_DELAY	HZ

/* Chunks that may have stale slots, and chunks in all, that one batch is built from: the latter are 64 GiB of the device. */
#define TMEM_DRAIN_CHUNKS	256
#define TMEM_DRAIN_WINDOW	BIT_ULL(18)

/*
 * For a put: one batch may end at the end of the device, and of the others two together flush as many slots as a chunk has,
 * which is as many as a span can have.
 */
#define TMEM_DRAIN_PUT_BATCHES	4
#define TMEM_DRAIN_WORK_BATCHES	64

/* Slots locked by the batch that a CPU is building. */
struct tmem_drain_held {
	unsigned int n;
	struct {
		struct tmem_chunk *chunk;
		u64 mask;
	} at[TMEM_BATCH_ENTRIES];
};

/* Used between tmem_batch_begin() and tmem_batch_end() only. */
static DEFINE_PER_CPU(struct tmem_drain_held, tmem_drain_held);

/* Adds stale slots from this chunk on, until the batch is full or a limit is reached. Returns the chunk to go on with. */
static u64 tmem_drain_collect(struct tmem_slots *slots, u64 chunk_nr, struct tmem_batch *batch,
			      struct tmem_drain_held *held)
{
	const u64 end = min(slots->nr_chunks, chunk_nr + TMEM_DRAIN_WINDOW);
	unsigned int looked;

	for (looked = 0; looked < TMEM_DRAIN_CHUNKS; looked++, chunk_nr++) {
		struct tmem_chunk *chunk;
		u64 stale, mask;

		chunk_nr = find_next_bit(slots->stale_chunks, end, chunk_nr);
		if (chunk_nr >= end)
			break;
		/* Cleared before the word is read, and fully ordered: see tmem_slots_free(). */
		if (!test_and_clear_bit(chunk_nr, slots->stale_chunks))
			continue;
		chunk = &slots->chunk[chunk_nr];
		stale = tmem_read_mask(&chunk->stale);
		/* What can be locked of it may have more runs than all of it has. */
		if (batch->n + hweight64(stale) > TMEM_BATCH_ENTRIES) {
			set_bit(chunk_nr, slots->stale_chunks);
			return chunk_nr;
		}
		mask = tmem_slots_lock_stale(slots, chunk, stale);
		/* Busy slots wait for the next time, unless a put takes the bit. */
		if (mask != stale)
			set_bit(chunk_nr, slots->stale_chunks);
		if (!mask)
			continue;
		tmem_batch_add_flushes(batch, slots, chunk_nr, mask);
		held->at[held->n].chunk = chunk;
		held->at[held->n].mask = mask;
		held->n++;
	}
	return chunk_nr < slots->nr_chunks ? chunk_nr : 0;
}

/* Flushes what one batch takes; returns the number of slots. */
static unsigned int tmem_drain_batch(struct tmem_drain *drain)
{
	struct tmem_batch *batch = tmem_batch_begin();
	struct tmem_drain_held *held = this_cpu_ptr(&tmem_drain_held);
	unsigned int i, pages = 0;

	held->n = 0;
	/* Where two drain at a time, one's place is lost, and what it passed is found in the next round. */
	WRITE_ONCE(drain->next, tmem_drain_collect(drain->slots, READ_ONCE(drain->next), batch, held));
	tmem_batch_run(batch);
	tmem_batch_check_flushes(batch, 0);
	for (i = 0; i < held->n; i++) {
		tmem_slots_set(held->at[i].chunk, 0, 0, held->at[i].mask);
		tmem_slots_unlock(held->at[i].chunk, held->at[i].mask);
		pages += hweight64(held->at[i].mask);
	}
	tmem_batch_end(batch);
	return pages;
}

static unsigned int tmem_drain_some(struct tmem_drain *drain, unsigned int batches)
{
	unsigned int pages = 0;

	for (; batches && atomic_long_read(&drain->slots->nr_stale) > 0; batches--) {
		pages += tmem_drain_batch(drain);
		cond_resched();
	}
	return pages;
}

unsigned int tmem_drain_for_put(struct tmem_drain *drain)
{
	return tmem_drain_some(drain, TMEM_DRAIN_PUT_BATCHES);
}

static void tmem_drain_work(struct work_struct *work)
{
	struct tmem_drain *drain = container_of(to_delayed_work(work), struct tmem_drain, work);
	bool some = tmem_drain_some(drain, TMEM_DRAIN_WORK_BATCHES);

	if (atomic_long_read(&drain->slots->nr_stale) > 0)
		schedule_delayed_work(&drain->work, some ? 0 : TMEM_DRAIN_DELAY);
}

void tmem_drain_slot(struct tmem_drain *drain, u64 slot)
{
	unsigned long stale = tmem_slots_free(drain->slots, slot);

	if (stale == 1)
		schedule_delayed_work(&drain->work, TMEM_DRAIN_DELAY);
	else if (stale == TMEM_DRAIN_SLOTS)
		mod_delayed_work(system_wq, &drain->work, 0);
}

void tmem_drain_init(struct tmem_drain *drain, struct tmem_slots *slots)
{
	drain->slots = slots;
	INIT_DELAYED_WORK(&drain->work, tmem_drain_work);
}

/* Nobody frees slots any more. What is still stale goes with the pool. */
void tmem_drain_exit(struct tmem_drain *drain)
{
	cancel_delayed_work_sync(&drain->work);
}
