/* SPDX-License-Identifier: GPL-2.0-only */
/* The host: found once, when the module is loaded, and asked for a pool. */
#ifndef TMEM_HOST_H
#define TMEM_HOST_H

#include "tmem_abi.h"
#include "transport.h"

struct tmem_host {
	enum tmem_transport transport;
	u16 major;
	u16 minor;
	u16 port;
	u32 features;
	/* Most entries of a batch, in one exit. Below 2 there are no batches. */
	u32 batch_max;
};

extern struct tmem_host tmem_host;

int tmem_host_find(const char *transport);
s64 tmem_call(const struct tmem_regs *regs);
const char *tmem_transport_name(void);

/* Before the first pool. */
void tmem_pools_of_earlier_boot(void);
/* Without a word in the log. */
int tmem_pool_new(u64 flags, u32 *pool);
int tmem_pool_create(u64 flags, u32 *pool);
void tmem_pool_destroy(u32 pool);
int tmem_query(struct tmem_query_reply *reply);

static inline bool tmem_host_has(u32 feature)
{
	return tmem_host.features & feature;
}

#endif /* TMEM_HOST_H */
