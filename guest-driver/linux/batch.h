/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Many operations in one exit.
 *
 * Each CPU owns one page of batch entries, so building a batch allocates nothing and needs no stack (which may be
 * vmalloc memory that the host cannot address). tmem_batch_begin() keeps the caller on its CPU until tmem_batch_end();
 * nothing in between may sleep, and no interrupt handler uses batches.
 */
#ifndef TMEM_BATCH_H
#define TMEM_BATCH_H

#include <linux/limits.h>
#include <linux/mm.h>

#include "key.h"

#define TMEM_BATCH_ENTRIES	(PAGE_SIZE / sizeof(struct tmem_batch_entry))

struct tmem_batch {
	struct tmem_batch_entry *entry;
	/* A whole page for the I/O that does not come in whole pages. */
	void *bounce;
	unsigned int n;
};

int tmem_batch_init(unsigned int limit);
void tmem_batch_exit(void);
unsigned int tmem_batch_max(void);

struct tmem_batch *tmem_batch_begin(void);
void tmem_batch_end(struct tmem_batch *batch);
unsigned int tmem_batch_run(struct tmem_batch *batch);

static inline void tmem_batch_add(struct tmem_batch *batch, u32 op, u32 pool, u64 slot, u64 r9)
{
	struct tmem_regs regs = tmem_key(op, pool, slot);

	batch->entry[batch->n++] = (struct tmem_batch_entry) {
		.rdi = regs.rdi,
		.rsi = regs.rsi,
		.r8 = regs.r8,
		.r9 = r9,
	};
}

/* What the host answered to an entry of a batch that has run. */
static inline s64 tmem_batch_status(const struct tmem_batch *batch, unsigned int i)
{
	return READ_ONCE(batch->entry[i].status);
}

#endif /* TMEM_BATCH_H */
