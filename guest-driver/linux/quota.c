// SPDX-License-Identifier: GPL-2.0-only
/*
 * Quota by memory cgroup.
 *
 * No kernel lets a module charge a memory cgroup for pages that are not this machine's, but every one tells whose a program
 * is. So pools and pages are counted here, in one entry for each group that has /dev/tmem open. An opening counts where its
 * opener was, whoever uses it later and wherever that program is moved: its entry, and through it the group, lives until the
 * last opening is closed, even if the group is removed before.
 *
 * A program that may make groups of its own (systemd gives each user a subtree) must not have a quota for each. So groups
 * deeper than group_level count as the one above them at that level: 2 is a user or a service where systemd makes the groups.
 *
 * Pages are taken before a put is made and given back if it comes to nothing, without a lock, so that the sum is never above
 * the limit and nobody waits for another's call of the host.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/atomic.h>
#include <linux/hashtable.h>
#include <linux/memcontrol.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "quota.h"

static ulong group_pages = 16384;
module_param(group_pages, ulong, 0644);
MODULE_PARM_DESC(group_pages, "Most pages that the programs of one memory cgroup may hold through /dev/tmem (default 16384: 64 MiB)");

static uint group_pools = 4;
module_param(group_pools, uint, 0644);
MODULE_PARM_DESC(group_pools, "Most pools that the programs of one memory cgroup may have at a time (default 4)");

static uint group_level = 2;
module_param(group_level, uint, 0644);
MODULE_PARM_DESC(group_level, "Groups deeper than this below the root count as the one above them that is not (default 2; 0: all are one)");

static uint user_pools = 8;
module_param(user_pools, uint, 0644);
MODULE_PARM_DESC(user_pools, "Most pools that all programs may have at a time (default 8; 0: none)");

struct tmem_group {
	struct hlist_node node;
	/* Held. NULL where the kernel has no memory cgroups, or they are off: then all programs are one group. */
	struct mem_cgroup *memcg;
	unsigned int openings;
	unsigned int pools;
	/* Pages of its pools, and those that puts under way have taken. */
	atomic64_t pages;
};

/* Entries, their openings and all pools. */
static DEFINE_MUTEX(tmem_groups_lock);
static DEFINE_HASHTABLE(tmem_groups, 6);
static unsigned int tmem_pools;

/* The group that the calling program counts as, with a reference. */
static struct mem_cgroup *tmem_group_of_caller(void)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(current->mm);
#ifdef CONFIG_MEMCG
	struct mem_cgroup *own = memcg;
	int level = min_t(uint, READ_ONCE(group_level), INT_MAX);

	/* A group holds those above it, and the root is at level 0. */
	while (memcg && memcg->css.cgroup->level > level)
		memcg = parent_mem_cgroup(memcg);
	if (memcg != own) {
		css_get(&memcg->css);
		mem_cgroup_put(own);
	}
#endif
	return memcg;
}

static struct tmem_group *tmem_group_find(const struct mem_cgroup *memcg)
{
	struct tmem_group *group;

	hash_for_each_possible(tmem_groups, group, node, (unsigned long)memcg) {
		if (group->memcg == memcg)
			return group;
	}
	return NULL;
}

/* One opening more, of the calling program's group. */
struct tmem_group *tmem_group_join(void)
{
	struct mem_cgroup *memcg = tmem_group_of_caller();
	struct tmem_group *group;

	mutex_lock(&tmem_groups_lock);
	group = tmem_group_find(memcg);
	if (group) {
		/* The entry has a reference of its own. */
		mem_cgroup_put(memcg);
	} else {
		group = kzalloc(sizeof(*group), GFP_KERNEL_ACCOUNT);
		if (!group) {
			mem_cgroup_put(memcg);
			group = ERR_PTR(-ENOMEM);
			goto out;
		}
		group->memcg = memcg;
		hash_add(tmem_groups, &group->node, (unsigned long)memcg);
	}
	group->openings++;
out:
	mutex_unlock(&tmem_groups_lock);
	return group;
}

/* One opening less; it has given back all that it took. */
void tmem_group_leave(struct tmem_group *group)
{
	mutex_lock(&tmem_groups_lock);
	if (--group->openings) {
		group = NULL;
	} else {
		hash_del(&group->node);
		WARN_ON_ONCE(group->pools || atomic64_read(&group->pages));
	}
	mutex_unlock(&tmem_groups_lock);
	if (!group)
		return;
	mem_cgroup_put(group->memcg);
	kfree(group);
}

int tmem_group_add_pool(struct tmem_group *group)
{
	int err = -EUSERS;

	mutex_lock(&tmem_groups_lock);
	if (tmem_pools < READ_ONCE(user_pools) && group->pools < READ_ONCE(group_pools) && READ_ONCE(group_pages)) {
		tmem_pools++;
		group->pools++;
		err = 0;
	}
	mutex_unlock(&tmem_groups_lock);
	return err;
}

void tmem_group_remove_pool(struct tmem_group *group)
{
	mutex_lock(&tmem_groups_lock);
	tmem_pools--;
	group->pools--;
	mutex_unlock(&tmem_groups_lock);
}

/* Takes as many pages as there are below the limit, up to what is wanted, and says how many. */
u64 tmem_group_take(struct tmem_group *group, u64 wanted)
{
	const u64 most = READ_ONCE(group_pages);
	s64 held = atomic64_read(&group->pages);
	u64 n;

	do {
		n = held < most ? min(wanted, most - held) : 0;
	} while (n && !atomic64_try_cmpxchg(&group->pages, &held, held + n));
	return n;
}

void tmem_group_give(struct tmem_group *group, u64 pages)
{
	atomic64_sub(pages, &group->pages);
}

u64 tmem_group_pages(const struct tmem_group *group)
{
	return atomic64_read(&group->pages);
}

u64 tmem_group_pages_max(void)
{
	return READ_ONCE(group_pages);
}
