/* SPDX-License-Identifier: GPL-2.0-only */
/* How many pools and pages the programs of one memory cgroup have at the host, through all of their openings of /dev/tmem. */
#ifndef TMEM_QUOTA_H
#define TMEM_QUOTA_H

#include <linux/types.h>

struct tmem_group;

struct tmem_group *tmem_group_join(void);
void tmem_group_leave(struct tmem_group *group);

int tmem_group_add_pool(struct tmem_group *group);
void tmem_group_remove_pool(struct tmem_group *group);

u64 tmem_group_take(struct tmem_group *group, u64 wanted);
void tmem_group_give(struct tmem_group *group, u64 pages);

u64 tmem_group_pages(const struct tmem_group *group);
u64 tmem_group_pages_max(void);

#endif /* TMEM_QUOTA_H */
