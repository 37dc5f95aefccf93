// SPDX-License-Identifier: GPL-2.0-only
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/tmem.h>

#include "batch.h"
#include "hooks.h"
#include "host.h"
#include "stats.h"

/* A range that is longer than this is flushed as the whole object where the host has no ranges. */
#define TMEM_HOOKS_SINGLE_FLUSHES	TMEM_OBJECT_SLOTS

static_assert(TMEM_CALL_PAGES <= TMEM_BATCH_ENTRIES);

static bool tmem_hooks_on;

/* Gives the pages their status, where the answer is one that a good host gives; otherwise an error that says nothing. */
static void tmem_hooks_call(u32 op, s64 most, struct tmem_page *pages, unsigned int n)
{
	struct tmem_batch *batch = tmem_batch_begin();
	unsigned int i;

	for (i = 0; i < n; i++)
		batch->entry[batch->n++] = (struct tmem_batch_entry) {
			.rdi = op | (u64)pages[i].pool << TMEM_POOL_SHIFT,
			.rsi = pages[i].oid[0],
			.rdx = pages[i].oid[1],
			.r10 = pages[i].oid[2],
			.r8 = pages[i].index,
			.r9 = pages[i].page ? page_to_phys(pages[i].page) : 0,
		};
	tmem_count(TMEM_STAT_HOOK_EXITS, tmem_batch_run(batch));
	for (i = 0; i < n; i++) {
		s64 answer = tmem_batch_status(batch, i);
		bool refused = answer == -ENOMEM || answer == -EBUSY;

		/* -EFAULT may be about the batch, of which then nothing ran. */
		pages[i].status = refused || (answer >= 0 && answer <= most) ? answer : -EIO;
	}
	tmem_batch_end(batch);
}

static void tmem_hooks_put(struct tmem_page *pages, unsigned int n)
{
	tmem_hooks_call(TMEM_OP_PUT, 0, pages, n);
}

static void tmem_hooks_get(struct tmem_page *pages, unsigned int n)
{
	tmem_hooks_call(TMEM_OP_GET, 1, pages, n);
}

static void tmem_hooks_flush(struct tmem_page *pages, unsigned int n)
{
	tmem_hooks_call(TMEM_OP_FLUSH_PAGE, 1, pages, n);
}

static s64 tmem_hooks_flush_call(u32 op, int pool, const u64 oid[3], u32 index, u64 count)
{
	struct tmem_regs regs = {
		.rdi = op | (u64)pool << TMEM_POOL_SHIFT,
		.rsi = oid[0],
		.rdx = oid[1],
		.r10 = oid[2],
		.r8 = index,
		.r9 = count,
	};
	s64 answer = tmem_call(&regs);

	tmem_count(TMEM_STAT_HOOK_EXITS, 1);
	/* A trap that nobody served leaves rax as it was. */
	return answer == TMEM_CALL_NUMBER ? -EIO : answer;
}

/* May be called with interrupts off and from interrupts, so no batches here. */
static int tmem_hooks_flush_range(int pool, const u64 oid[3], u32 first, u64 count)
{
	u64 i;

	if (count == 1)
		return tmem_hooks_flush_call(TMEM_OP_FLUSH_PAGE, pool, oid, first, 0) < 0 ? -EIO : 0;
	if (tmem_host_has(TMEM_FEATURE_FLUSH_RANGE))
		return tmem_hooks_flush_call(TMEM_OP_FLUSH_RANGE, pool, oid, first, count) < 0 ? -EIO : 0;
	if (count > TMEM_HOOKS_SINGLE_FLUSHES)
		return tmem_hooks_flush_call(TMEM_OP_FLUSH_OBJECT, pool, oid, 0, 0) < 0 ? -EIO : 0;
	for (i = 0; i < count; i++)
		if (tmem_hooks_flush_call(TMEM_OP_FLUSH_PAGE, pool, oid, first + i, 0) < 0)
			return -EIO;
	return 0;
}

static void tmem_hooks_destroy_pool(int pool)
{
	tmem_pool_destroy(pool);
	tmem_count(TMEM_STAT_HOOK_EXITS, 1);
}

static int tmem_hooks_new_pool(bool persistent)
{
	u32 pool;
	/* Without a word: the kernel says what it makes of a refusal. */
	int err = tmem_pool_new(persistent ? TMEM_POOL_PERSISTENT : 0, &pool);

	tmem_count(TMEM_STAT_HOOK_EXITS, 1);
	if (!err && pool > INT_MAX) {
		tmem_hooks_destroy_pool(pool);
		err = -ENOSPC;
	}
	return err ? err : pool;
}

static struct tmem_ops tmem_hooks_ops = {
	.owner = THIS_MODULE,
	.new_pool = tmem_hooks_new_pool,
	.destroy_pool = tmem_hooks_destroy_pool,
	.put = tmem_hooks_put,
	.get = tmem_hooks_get,
	.flush = tmem_hooks_flush,
	.flush_range = tmem_hooks_flush_range,
};

/* Without them the disk is there all the same. */
void tmem_hooks_init(bool swap, bool clean)
{
	int err;

	if (clean && !tmem_host_has(TMEM_FEATURE_EPHEMERAL)) {
		pr_info("the host has no ephemeral pools, clean pages stay here\n");
		clean = false;
	}
	tmem_hooks_ops.uses = (swap ? TMEM_USE_SWAP : 0) | (clean ? TMEM_USE_CLEAN : 0);
	if (!tmem_hooks_ops.uses)
		return;
	err = tmem_register_backend(&tmem_hooks_ops);
	if (err)
		pr_err("the kernel does not take the host as a back end: error %d; what is left is /dev/tmem0\n", err);
	else
		tmem_hooks_on = true;
}

void tmem_hooks_exit(void)
{
	if (tmem_hooks_on)
		tmem_unregister_backend(&tmem_hooks_ops);
	tmem_hooks_on = false;
}
