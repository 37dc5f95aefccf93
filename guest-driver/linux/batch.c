// SPDX-License-Identifier: GPL-2.0-only
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/percpu.h>
#include <linux/printk.h>
#include <linux/topology.h>

#include "batch.h"
#include "host.h"
#include "proof.h"
#include "stats.h"

/* No answer of any operation, so an entry that the host did not run is never taken for one that worked. */
#define TMEM_NOT_RUN	S64_MIN

static DEFINE_PER_CPU(struct tmem_batch, tmem_batches);
static unsigned int tmem_limit;

static_assert(TMEM_BATCH_ENTRIES >= TMEM_CHUNK_SLOTS);

/* Entries per exit, at least 1. */
unsigned int tmem_batch_max(void)
{
	return tmem_limit;
}

/* limit is the user's, 0 for none; the host's own and the size of a page count as well. */
int tmem_batch_init(unsigned int limit)
{
	int cpu;

	tmem_limit = min_t(unsigned int, tmem_host.batch_max, TMEM_BATCH_ENTRIES);
	if (limit)
		tmem_limit = min(tmem_limit, limit);
	tmem_limit = max(tmem_limit, 1U);

	for_each_possible_cpu(cpu) {
		struct tmem_batch *batch = per_cpu_ptr(&tmem_batches, cpu);
		/* The first page holds the entries, the second is the bounce page. */
		struct page *pages = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 1);

		if (!pages) {
			tmem_batch_exit();
			return -ENOMEM;
		}
		batch->entry = page_address(pages);
		batch->bounce = page_address(pages) + PAGE_SIZE;
	}
	return 0;
}

void tmem_batch_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct tmem_batch *batch = per_cpu_ptr(&tmem_batches, cpu);

		free_pages((unsigned long)batch->entry, 1);
		batch->entry = NULL;
	}
}

struct tmem_batch *tmem_batch_begin(void)
{
	struct tmem_batch *batch = get_cpu_ptr(&tmem_batches);

	batch->n = 0;
	return batch;
}

void tmem_batch_end(struct tmem_batch *batch)
{
	put_cpu_ptr(&tmem_batches);
}

static void tmem_run_singly(struct tmem_batch *batch, unsigned int first, unsigned int n)
{
	unsigned int i;

	for (i = first; i < first + n; i++) {
		struct tmem_batch_entry *entry = &batch->entry[i];
		struct tmem_regs regs = {
			.rdi = entry->rdi,
			.rsi = entry->rsi,
			.rdx = entry->rdx,
			.r10 = entry->r10,
			.r8 = entry->r8,
			.r9 = entry->r9,
		};

		entry->status = tmem_call(&regs);
	}
}

static void tmem_run_together(struct tmem_batch *batch, unsigned int first, unsigned int n)
{
	/* The array starts on a page boundary, so a part that does not is moved to the front before it runs. */
	struct tmem_regs regs = {
		.rdi = TMEM_OP_BATCH,
		.r8 = n,
		.r9 = virt_to_phys(batch->entry),
	};
	unsigned int i;
	s64 answer;

	for (i = 0; first && i < n; i++)
		swap(batch->entry[i], batch->entry[first + i]);
	for (i = 0; i < n; i++)
		batch->entry[i].status = TMEM_NOT_RUN;

	answer = tmem_call(&regs);
	tmem_count(TMEM_STAT_BATCHES, 1);
	tmem_count(TMEM_STAT_BATCH_ENTRIES, n);
	if (answer != n) {
		tmem_count(TMEM_STAT_BATCHES_FAILED, 1);
		pr_err_ratelimited("the host answered a batch of %u with %lld\n", n, answer);
		for (i = 0; i < n; i++)
			batch->entry[i].status = answer < 0 && answer >= -MAX_ERRNO ? answer : -EIO;
	}

	for (i = 0; first && i < n; i++)
		swap(batch->entry[i], batch->entry[first + i]);
}

/* The host has not shown yet that it keeps pages. What is left of the entries asks for none or drops some. */
static unsigned int tmem_run_unproven(struct tmem_batch *batch)
{
	unsigned int i, exits = 0;

	for (i = 0; i < batch->n; i++) {
		if ((batch->entry[i].rdi & 0xff) == TMEM_OP_PUT) {
			/* As a full host says; an older page it cannot have. */
			batch->entry[i].status = -ENOMEM;
			tmem_proof_wanted();
			continue;
		}
		tmem_run_singly(batch, i, 1);
		exits++;
	}
	return exits;
}

/*
 * Runs the entries in order, in as few exits as the limit allows. Each entry's status is then what the host answered;
 * where it did not answer, an error. Returns how many exits it took.
 */
unsigned int tmem_batch_run(struct tmem_batch *batch)
{
	unsigned int first, n, exits = 0;

	if (unlikely(!tmem_proven()))
		return tmem_run_unproven(batch);
	for (first = 0; first < batch->n; first += n, exits++) {
		n = min(batch->n - first, tmem_limit);
		if (n == 1)
			tmem_run_singly(batch, first, n);
		else
			tmem_run_together(batch, first, n);
	}
	return exits;
}
