// SPDX-License-Identifier: GPL-2.0-only
/*
 * A back end for the front end's tests: a store in the guest's own memory, which keeps the contract of
 * include/linux/tmem.h to the letter where a host may be kind. It loses ephemeral pages at random, refuses and fails
 * on request, and warns when the front end calls it in a way that the contract rules out.
 */
#define pr_fmt(fmt) "fakestore: " fmt

#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pagemap.h>
#include <linux/prandom.h>
#include <linux/spinlock.h>
#include <linux/tmem.h>
#include <linux/vmalloc.h>

#define STORE_POOLS	8
#define STORE_HASH_BITS	14
#define STORE_NONE	U32_MAX

static uint pages = 16384;
module_param(pages, uint, 0444);
MODULE_PARM_DESC(pages, "Pages it can hold, reserved at load");

static uint uses = TMEM_USE_SWAP | TMEM_USE_CLEAN;
module_param(uses, uint, 0444);
MODULE_PARM_DESC(uses, "1: swap, 2: clean pages, 3: both");

static uint refuse_every;
module_param(refuse_every, uint, 0644);
MODULE_PARM_DESC(refuse_every, "Every n-th put is refused with -ENOMEM (1: all)");

static uint fail_every;
module_param(fail_every, uint, 0644);
MODULE_PARM_DESC(fail_every, "Every n-th put fails with -EIO and leaves the older page");

static uint lose_every;
module_param(lose_every, uint, 0644);
MODULE_PARM_DESC(lose_every, "Every n-th put makes an ephemeral page go");

static uint flush_fail_every;
module_param(flush_fail_every, uint, 0644);
MODULE_PARM_DESC(flush_fail_every, "Every n-th flush of an ephemeral pool fails and does nothing");

static bool ignore_flushes;
module_param(ignore_flushes, bool, 0644);
MODULE_PARM_DESC(ignore_flushes, "Flushes of ephemeral pools succeed and do nothing, which no store may do");

static bool no_room;
module_param(no_room, bool, 0644);
MODULE_PARM_DESC(no_room, "Pools are refused with -ENOMEM");

static ulong calls;
module_param(calls, ulong, 0444);
MODULE_PARM_DESC(calls, "Calls so far");

static ulong held;
module_param(held, ulong, 0444);
MODULE_PARM_DESC(held, "Pages held");

static ulong wrong;
module_param(wrong, ulong, 0444);
MODULE_PARM_DESC(wrong, "Calls that the contract rules out (must stay 0)");

struct store_page {
	u64 oid[3];
	u32 index;
	int pool;
	u32 next;
};

static DEFINE_SPINLOCK(store_lock);
static u8 *store_arena;
static struct store_page *store_page;
static u32 store_bucket[1 << STORE_HASH_BITS];
static u32 store_free, store_hand;
static enum { STORE_ABSENT, STORE_EPHEMERAL, STORE_PERSISTENT } store_pool[STORE_POOLS];
static u32 nr_refuse, nr_fail, nr_lose, nr_flush;

static bool store_nth(u32 *count, u32 every)
{
	return every && ++*count % every == 0;
}

static void store_check(bool good, const char *what)
{
	if (good)
		return;
	wrong++;
	WARN_ONCE(1, "fakestore: %s\n", what);
}

static u32 *store_find(int pool, const u64 oid[3], u32 index)
{
	u64 name = hash_64(oid[0], 64) ^ oid[1] << 17 ^ (u64)index << 3 ^ pool;
	u32 *at = &store_bucket[hash_64(name, STORE_HASH_BITS)];

	for (; *at != STORE_NONE; at = &store_page[*at].next) {
		const struct store_page *page = &store_page[*at];

		if (page->pool == pool && page->index == index && !memcmp(page->oid, oid, sizeof(page->oid)))
			break;
	}
	return at;
}

static void store_drop(u32 *at)
{
	u32 nr = *at;

	if (nr == STORE_NONE)
		return;
	*at = store_page[nr].next;
	store_page[nr].pool = -1;
	store_page[nr].next = store_free;
	store_free = nr;
	held--;
}

/* Drops the next ephemeral page after the hand, if there is any. */
static void store_evict(void)
{
	u32 i;

	for (i = 0; i < pages; i++) {
		struct store_page *page = &store_page[store_hand];

		store_hand = (store_hand + 1) % pages;
		if (page->pool >= 0 && store_pool[page->pool] == STORE_EPHEMERAL) {
			store_drop(store_find(page->pool, page->oid, page->index));
			return;
		}
	}
}

static int store_put_page(const struct tmem_page *p)
{
	u32 *at = store_find(p->pool, p->oid, p->index);
	void *from;
	u32 nr;

	if (store_nth(&nr_fail, fail_every))
		return -EIO;
	store_drop(at);
	if (store_nth(&nr_lose, lose_every))
		store_evict();
	if (store_nth(&nr_refuse, refuse_every))
		return -ENOMEM;
	if (store_free == STORE_NONE)
		store_evict();
	if (store_free == STORE_NONE)
		return -ENOMEM;

	nr = store_free;
	store_free = store_page[nr].next;
	/* Evicting may have changed the chain. */
	at = store_find(p->pool, p->oid, p->index);
	store_page[nr] = (struct store_page) { .index = p->index, .pool = p->pool, .next = STORE_NONE };
	memcpy(store_page[nr].oid, p->oid, sizeof(p->oid));
	*at = nr;
	held++;
	from = kmap_local_page(p->page);
	memcpy(store_arena + (u64)nr * PAGE_SIZE, from, PAGE_SIZE);
	kunmap_local(from);
	return 0;
}

static int store_get_page(const struct tmem_page *p)
{
	u32 *at = store_find(p->pool, p->oid, p->index);
	void *to;

	if (*at == STORE_NONE)
		return 0;
	to = kmap_local_page(p->page);
	memcpy(to, store_arena + (u64)*at * PAGE_SIZE, PAGE_SIZE);
	kunmap_local(to);
	if (store_pool[p->pool] == STORE_EPHEMERAL)
		store_drop(at);
	return 1;
}

enum store_call { STORE_PUT, STORE_GET, STORE_FLUSH };

static void store_check_call(const struct tmem_page *p, unsigned int n, enum store_call what)
{
	const struct folio *folio;
	unsigned int i;
	bool swap;

	store_check(!in_interrupt(), "called from an interrupt");
	store_check(preemptible() == 0, "called with preemption on");
	store_check(n >= 1 && n <= TMEM_CALL_PAGES, "wrong number of pages");
	for (i = 0; i < n; i++) {
		store_check(p[i].pool >= 0 && p[i].pool < STORE_POOLS && store_pool[p[i].pool], "no such pool");
		if (what == STORE_FLUSH)
			continue;
		folio = page_folio(p[i].page);
		/* Single pages on their way to swap are held by their writeback alone. */
		swap = store_pool[p[i].pool] == STORE_PERSISTENT && folio_test_writeback(folio);
		store_check(folio_test_locked(folio) || (swap && what == STORE_PUT), "page not locked");
		store_check(!folio_test_writeback(folio) || swap, "page under writeback");
	}
}

static int store_flush_page(const struct tmem_page *p)
{
	store_drop(store_find(p->pool, p->oid, p->index));
	return 0;
}

static void store_call(struct tmem_page *p, unsigned int n, enum store_call what,
		       int (*one)(const struct tmem_page *p))
{
	unsigned long flags;
	unsigned int i;

	store_check_call(p, n, what);
	spin_lock_irqsave(&store_lock, flags);
	calls++;
	for (i = 0; i < n; i++)
		p[i].status = one(&p[i]);
	spin_unlock_irqrestore(&store_lock, flags);
}

static void store_put(struct tmem_page *p, unsigned int n)
{
	store_call(p, n, STORE_PUT, store_put_page);
}

static void store_get(struct tmem_page *p, unsigned int n)
{
	store_call(p, n, STORE_GET, store_get_page);
}

static void store_flush(struct tmem_page *p, unsigned int n)
{
	store_call(p, n, STORE_FLUSH, store_flush_page);
}

static int store_flush_range(int pool, const u64 oid[3], u32 first, u64 count)
{
	unsigned long flags;
	int err = 0;
	u64 i;

	spin_lock_irqsave(&store_lock, flags);
	calls++;
	store_check(count && first / TMEM_RANGE_PAGES == (first + count - 1) / TMEM_RANGE_PAGES, "wrong range");
	store_check(pool >= 0 && pool < STORE_POOLS && store_pool[pool], "no such pool");
	if (store_pool[pool] == STORE_EPHEMERAL && store_nth(&nr_flush, flush_fail_every)) {
		err = -EIO;
	} else if (store_pool[pool] == STORE_EPHEMERAL && ignore_flushes) {
		;
	} else if (count <= pages) {
		for (i = 0; i < count; i++)
			store_drop(store_find(pool, oid, first + i));
	} else {
		for (i = 0; i < pages; i++) {
			struct store_page *page = &store_page[i];

			if (page->pool == pool && page->index >= first && page->index - first < count &&
			    !memcmp(page->oid, oid, sizeof(page->oid)))
				store_drop(store_find(pool, oid, page->index));
		}
	}
	spin_unlock_irqrestore(&store_lock, flags);
	return err;
}

static int store_new_pool(bool persistent)
{
	int pool;

	if (READ_ONCE(no_room))
		return -ENOMEM;
	for (pool = 0; pool < STORE_POOLS; pool++) {
		if (store_pool[pool])
			continue;
		store_pool[pool] = persistent ? STORE_PERSISTENT : STORE_EPHEMERAL;
		return pool;
	}
	return -ENOSPC;
}

static void store_destroy_pool(int pool)
{
	unsigned long flags;
	u32 i, left = 0;

	spin_lock_irqsave(&store_lock, flags);
	for (i = 0; i < pages; i++) {
		if (store_page[i].pool != pool)
			continue;
		left++;
		store_drop(store_find(pool, store_page[i].oid, store_page[i].index));
	}
	/* What swap has freed was flushed, so after swapoff nothing is left. */
	store_check(store_pool[pool] == STORE_EPHEMERAL || !left, "swapped pages were left behind");
	store_pool[pool] = STORE_ABSENT;
	spin_unlock_irqrestore(&store_lock, flags);
}

static struct tmem_ops store_ops = {
	.owner = THIS_MODULE,
	.new_pool = store_new_pool,
	.destroy_pool = store_destroy_pool,
	.put = store_put,
	.get = store_get,
	.flush = store_flush,
	.flush_range = store_flush_range,
};

static int __init store_init(void)
{
	u32 i;
	int err;

	store_arena = vmalloc(array_size(pages, PAGE_SIZE));
	store_page = vmalloc(array_size(pages, sizeof(*store_page)));
	if (!store_arena || !store_page) {
		vfree(store_arena);
		vfree(store_page);
		return -ENOMEM;
	}
	for (i = 0; i < ARRAY_SIZE(store_bucket); i++)
		store_bucket[i] = STORE_NONE;
	for (i = 0; i < pages; i++)
		store_page[i] = (struct store_page) { .pool = -1, .next = i + 1 < pages ? i + 1 : STORE_NONE };
	store_ops.uses = uses;
	err = tmem_register_backend(&store_ops);
	if (err) {
		vfree(store_arena);
		vfree(store_page);
	}
	return err;
}

static void __exit store_exit(void)
{
	tmem_unregister_backend(&store_ops);
	vfree(store_arena);
	vfree(store_page);
}

module_init(store_init);
module_exit(store_exit);

MODULE_DESCRIPTION("A store for tests of the tmem front end");
MODULE_LICENSE("GPL");
