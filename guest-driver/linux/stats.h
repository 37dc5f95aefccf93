/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters, one set for each CPU, shown in /sys/kernel/debug/tmem/. README.md says what each means. */
#ifndef TMEM_STATS_H
#define TMEM_STATS_H

#include <linux/percpu.h>
#include <linux/types.h>

#define TMEM_STATS(X)					\
	X(PUTS, puts)					\
	X(PUTS_REFUSED, puts_refused)			\
	X(PUTS_FAILED, puts_failed)			\
	X(GETS, gets)					\
	X(GETS_FAILED, gets_failed)			\
	X(FLUSHES, flushes)				\
	X(FLUSHES_FAILED, flushes_failed)		\
	X(SLOTS_FREED, slots_freed)			\
	X(EXITS, exits)					\
	X(HOOK_EXITS, hook_exits)			\
	X(BATCHES, batches)				\
	X(BATCH_ENTRIES, batch_entries)			\
	X(BATCHES_FAILED, batches_failed)		\
	X(ZERO_READS, zero_reads)			\
	X(BACKING_READS, backing_reads)			\
	X(BACKING_WRITES, backing_writes)		\
	X(BOUNCES, bounces)

#define TMEM_STAT_ENUM(upper, lower) TMEM_STAT_##upper,
enum tmem_stat {
	TMEM_STATS(TMEM_STAT_ENUM)
	TMEM_STAT_COUNT
};

struct tmem_counters {
	u64 value[TMEM_STAT_COUNT];
};

DECLARE_PER_CPU(struct tmem_counters, tmem_counters);

static inline void tmem_count(enum tmem_stat stat, u64 n)
{
	this_cpu_add(tmem_counters.value[stat], n);
}

void tmem_stats_init(void);
void tmem_stats_exit(void);

#endif /* TMEM_STATS_H */
