/* SPDX-License-Identifier: GPL-2.0-only */
/* /dev/tmem: pools for programs. */
#ifndef TMEM_USER_DRIVER_H
#define TMEM_USER_DRIVER_H

#include <linux/mutex.h>
#include <linux/types.h>

#include "quota.h"
#include "tmem_user.h"

/* Operations at hand at a time. A put is two entries of a batch. */
#define TMEM_USER_CHUNK	32

/* One opening. */
struct tmem_user {
	struct mutex lock;
	struct tmem_group *group;
	bool has_pool;
	u32 pool;
	u32 flags;
	/* Pages in the pool at most, and how many the group counts for it: more while puts are under way. */
	u64 held;
	u64 taken;
	void *page[TMEM_USER_CHUNK];
	/* The operations at hand, and for a put why its page is not put: 0 if it is. */
	struct tmem_user_op op[TMEM_USER_CHUNK];
	int refusal[TMEM_USER_CHUNK];
};

void tmem_user_init(void);
void tmem_user_exit(void);

/* user_run.c */
void tmem_user_run(struct tmem_user *user, unsigned int n);

#endif /* TMEM_USER_DRIVER_H */
