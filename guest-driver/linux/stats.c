// SPDX-License-Identifier: GPL-2.0-only
/* /sys/kernel/debug/tmem/stats: what this driver did. /sys/kernel/debug/tmem/host: what the host is and says. */
#include <linux/debugfs.h>
#include <linux/kernel.h>
#include <linux/seq_file.h>

#include "batch.h"
#include "host.h"
#include "proof.h"
#include "stats.h"

DEFINE_PER_CPU(struct tmem_counters, tmem_counters);

static struct dentry *tmem_debugfs;

#define TMEM_STAT_NAME(upper, lower) [TMEM_STAT_##upper] = #lower,
static const char * const tmem_stat_names[] = { TMEM_STATS(TMEM_STAT_NAME) };

static int tmem_stats_show(struct seq_file *m, void *unused)
{
	int stat, cpu;

	for (stat = 0; stat < TMEM_STAT_COUNT; stat++) {
		u64 sum = 0;

		for_each_possible_cpu(cpu)
			sum += READ_ONCE(per_cpu(tmem_counters, cpu).value[stat]);
		seq_printf(m, "%s %llu\n", tmem_stat_names[stat], sum);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(tmem_stats);

static int tmem_host_show(struct seq_file *m, void *unused)
{
	struct tmem_query_reply reply;
	int err = tmem_query(&reply);

	seq_printf(m, "abi %u.%u\n", tmem_host.major, tmem_host.minor);
	seq_printf(m, "transport %s\n", tmem_transport_name());
	seq_printf(m, "port %#x\n", tmem_host.port);
	seq_printf(m, "features %#x\n", tmem_host.features);
	seq_printf(m, "host_batch_max %u\n", tmem_host.batch_max);
	seq_printf(m, "batch_max %u\n", tmem_batch_max());
	seq_printf(m, "proven %d\n", tmem_proven());
	if (err) {
		seq_printf(m, "query_error %d\n", err);
		return 0;
	}
	seq_printf(m, "frozen %d\n", !!(reply.flags & TMEM_QUERY_FROZEN));
	seq_printf(m, "max_pools %u\n", reply.max_pools);
	seq_printf(m, "pools %u\n", reply.pools);
	/* A host without a cap says so with the largest number. */
	seq_printf(m, "cap_bytes %llu\n", reply.cap_bytes);
	seq_printf(m, "used_bytes %llu\n", reply.used_bytes);
	seq_printf(m, "metadata_bytes %llu\n", reply.metadata_bytes);
	seq_printf(m, "persistent_pages %llu\n", reply.persistent_pages);
	seq_printf(m, "ephemeral_pages %llu\n", reply.ephemeral_pages);
	seq_printf(m, "puts %llu\n", reply.puts);
	seq_printf(m, "puts_refused %llu\n", reply.puts_refused);
	seq_printf(m, "gets %llu\n", reply.gets);
	seq_printf(m, "gets_hit %llu\n", reply.gets_hit);
	seq_printf(m, "pages_flushed %llu\n", reply.pages_flushed);
	seq_printf(m, "pages_evicted %llu\n", reply.pages_evicted);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(tmem_host);

/* Without debugfs the driver works, unseen. */
void tmem_stats_init(void)
{
	tmem_debugfs = debugfs_create_dir("tmem", NULL);
	debugfs_create_file("stats", 0444, tmem_debugfs, NULL, &tmem_stats_fops);
	debugfs_create_file("host", 0444, tmem_debugfs, NULL, &tmem_host_fops);
}

void tmem_stats_exit(void)
{
	debugfs_remove(tmem_debugfs);
}
