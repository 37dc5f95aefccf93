// SPDX-License-Identifier: GPL-2.0-only
/*
 * A host inside the guest's kernel, in the place of transport.c (make TMEM_TEST_HOST=1): it answers CPUID and both
 * traps as guest-driver/abi/README.md says, from memory that it reserves when it is loaded, and misbehaves on request.
 * All its parameters are module parameters of tmem.ko and those that are not about discovery can be changed at any
 * time. It is strict: what a real host would refuse for form, it refuses and counts in test_malformed.
 */
#define pr_fmt(fmt) "tmem test host: " fmt

#include <linux/errno.h>
#include <linux/hash.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "tmem_abi.h"
#include "transport.h"

#define TEST_BASE	0x40000100U
#define TEST_PORT	0x7450
#define TEST_POOLS	8
#define TEST_HASH_BITS	14
#define TEST_NONE	U32_MAX

static uint test_pages = 16384;
module_param(test_pages, uint, 0444);
MODULE_PARM_DESC(test_pages, "Test host: pages it can hold, reserved at load");

static bool test_absent;
module_param(test_absent, bool, 0444);
MODULE_PARM_DESC(test_absent, "Test host: no signature in CPUID");

static bool test_encrypted;
module_param(test_encrypted, bool, 0444);
MODULE_PARM_DESC(test_encrypted, "Test host: it cannot read this guest's memory");

static uint test_major = TMEM_VERSION_MAJOR;
module_param(test_major, uint, 0444);
MODULE_PARM_DESC(test_major, "Test host: major version of its ABI");

static uint test_features = 0xff;
module_param(test_features, uint, 0444);
MODULE_PARM_DESC(test_features, "Test host: feature bits");

static uint test_batch_max = 512;
module_param(test_batch_max, uint, 0444);
MODULE_PARM_DESC(test_batch_max, "Test host: most entries in a batch");

static int test_new_pool;
module_param(test_new_pool, int, 0444);
MODULE_PARM_DESC(test_new_pool, "Test host: answer to NEW_POOL if it is not 0");

static bool test_dead;
module_param(test_dead, bool, 0644);
MODULE_PARM_DESC(test_dead, "Test host: no trap is served, rax comes back as it was");

static uint test_refuse_every;
module_param(test_refuse_every, uint, 0644);
MODULE_PARM_DESC(test_refuse_every, "Test host: every n-th put is refused with -ENOMEM (1: all)");

static uint test_fault_puts_every;
module_param(test_fault_puts_every, uint, 0644);
MODULE_PARM_DESC(test_fault_puts_every, "Test host: every n-th put answers -EFAULT and drops the page");

static uint test_fault_flushes_every;
module_param(test_fault_flushes_every, uint, 0644);
MODULE_PARM_DESC(test_fault_flushes_every, "Test host: every n-th flush answers -EFAULT and drops nothing");

static uint test_fault_gets_every;
module_param(test_fault_gets_every, uint, 0644);
MODULE_PARM_DESC(test_fault_gets_every, "Test host: every n-th get answers -EFAULT");

static uint test_lose_every;
module_param(test_lose_every, uint, 0644);
MODULE_PARM_DESC(test_lose_every, "Test host: every n-th get is a miss");

static uint test_break_batch_every;
module_param(test_break_batch_every, uint, 0644);
MODULE_PARM_DESC(test_break_batch_every, "Test host: every n-th batch runs nothing but says that it did");

static ulong test_malformed;
module_param(test_malformed, ulong, 0444);
MODULE_PARM_DESC(test_malformed, "Test host: calls that were refused for their form (must stay 0)");

static ulong test_held;
module_param(test_held, ulong, 0444);
MODULE_PARM_DESC(test_held, "Test host: pages that it holds");

struct test_page {
	u64 object[3];
	u32 index;
	u32 pool;
	u32 next;
};

static DEFINE_SPINLOCK(test_lock);
static u8 *test_arena;
static struct test_page *test_page;
static u32 test_bucket[1 << TEST_HASH_BITS];
static u32 test_free = TEST_NONE;
enum test_kind { TEST_NO_POOL, TEST_PERSISTENT, TEST_EPHEMERAL };

static enum test_kind test_pool[TEST_POOLS];
static unsigned int test_nr_pools;
static u32 test_nr_puts, test_nr_gets, test_nr_batches;
static u32 test_nr_fault_puts, test_nr_fault_flushes, test_nr_fault_gets;

struct tmem_cpuid_leaf tmem_cpuid(u32 leaf)
{
	u32 s[3];

	memcpy(s, TMEM_SIGNATURE, sizeof(s));
	if (test_absent)
		return (struct tmem_cpuid_leaf) { 0 };
	if (leaf == TEST_BASE)
		return (struct tmem_cpuid_leaf) { TEST_BASE + 1, s[0], s[1], s[2] };
	if (leaf == TEST_BASE + 1)
		return (struct tmem_cpuid_leaf) { test_major << 16, test_features, TEST_PORT, test_batch_max };
	/* As KVM's own leaf: a signature, but another one. */
	return (struct tmem_cpuid_leaf) { leaf + 1, 0x4b4d564b, 0x564b4d56, 0x4d };
}

bool tmem_memory_is_encrypted(void)
{
	return test_encrypted;
}

static bool test_nth(u32 *count, u32 every)
{
	return every && ++*count % every == 0;
}

static bool test_is_object(const struct test_page *page, const struct tmem_regs *r)
{
	return page->object[0] == r->rsi && page->object[1] == r->rdx && page->object[2] == r->r10;
}

static u32 *test_find(const struct tmem_regs *r, u32 index)
{
	u32 pool = r->rdi >> TMEM_POOL_SHIFT;
	u64 object = r->rsi ^ r->rdx << 13 ^ r->r10 << 26;
	u32 *at = &test_bucket[hash_64(object << 20 ^ index ^ (u64)pool << 56, TEST_HASH_BITS)];

	while (*at != TEST_NONE) {
		struct test_page *page = &test_page[*at];

		if (test_is_object(page, r) && page->index == index && page->pool == pool)
			break;
		at = &page->next;
	}
	return at;
}

static void test_drop(u32 *at)
{
	u32 nr = *at;

	*at = test_page[nr].next;
	test_page[nr].next = test_free;
	test_free = nr;
	test_held--;
}

static int test_flush(const struct tmem_regs *r, u32 index)
{
	u32 *at = test_find(r, index);

	if (*at == TEST_NONE)
		return 0;
	test_drop(at);
	return 1;
}

/* All pages of a pool, or, with range, those of an object's range. */
static s64 test_flush_pool(u32 pool, const struct tmem_regs *range)
{
	s64 gone = 0;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(test_bucket); i++) {
		u32 *at = &test_bucket[i];

		while (*at != TEST_NONE) {
			struct test_page *page = &test_page[*at];
			bool in = !range || (test_is_object(page, range) && page->index - range->r8 < range->r9);

			if (page->pool == pool && in) {
				test_drop(at);
				gone++;
			} else {
				at = &page->next;
			}
		}
	}
	return gone;
}

static s64 test_put(const struct tmem_regs *r)
{
	u32 index = r->r8, nr;
	u32 *at;

	test_flush(r, index);
	if (test_nth(&test_nr_fault_puts, test_fault_puts_every))
		return -EFAULT;
	if (test_nth(&test_nr_puts, test_refuse_every) || test_free == TEST_NONE)
		return -ENOMEM;
	nr = test_free;
	test_free = test_page[nr].next;
	at = test_find(r, index);
	test_page[nr] = (struct test_page) {
		.object = { r->rsi, r->rdx, r->r10 }, .index = index, .pool = r->rdi >> TMEM_POOL_SHIFT, .next = TEST_NONE,
	};
	*at = nr;
	memcpy(test_arena + (u64)nr * PAGE_SIZE, phys_to_virt(r->r9), PAGE_SIZE);
	test_held++;
	return 0;
}

static s64 test_get(const struct tmem_regs *r)
{
	u32 *at = test_find(r, r->r8);

	if (test_nth(&test_nr_fault_gets, test_fault_gets_every))
		return -EFAULT;
	if (*at == TEST_NONE || test_nth(&test_nr_gets, test_lose_every))
		return 0;
	memcpy(phys_to_virt(r->r9), test_arena + (u64)*at * PAGE_SIZE, PAGE_SIZE);
	if (test_pool[r->rdi >> TMEM_POOL_SHIFT] == TEST_EPHEMERAL)
		test_drop(at);
	return 1;
}

static s64 test_flush_range(const struct tmem_regs *r)
{
	s64 gone = 0;
	u64 i;

	if (r->r9 > ARRAY_SIZE(test_bucket))
		return test_flush_pool(r->rdi >> TMEM_POOL_SHIFT, r);
	for (i = 0; i < r->r9; i++)
		gone += test_flush(r, r->r8 + i);
	return gone;
}

static bool test_fault_flush(void)
{
	return test_nth(&test_nr_fault_flushes, test_fault_flushes_every);
}

static bool test_good_page(u64 gpa)
{
	return PAGE_ALIGNED(gpa) && pfn_valid(gpa >> PAGE_SHIFT);
}

/* Operations on pages: those that may stand in a batch. */
static s64 test_page_op(const struct tmem_regs *r)
{
	u32 pool = r->rdi >> TMEM_POOL_SHIFT;

	if (r->rdi & 0xffffff00 || r->r8 > U32_MAX)
		return -EINVAL;
	if (pool >= TEST_POOLS || !test_pool[pool])
		return -ENODEV;
	switch (r->rdi & 0xff) {
	case TMEM_OP_PUT:
		return test_good_page(r->r9) ? test_put(r) : -EFAULT;
	case TMEM_OP_GET:
		return test_good_page(r->r9) ? test_get(r) : -EFAULT;
	case TMEM_OP_FLUSH_PAGE:
		return r->r9 ? -EINVAL : test_fault_flush() ? -EFAULT : test_flush(r, r->r8);
	case TMEM_OP_FLUSH_RANGE:
		if (r->r8 + r->r9 > 1ULL << 32)
			return -EINVAL;
		return test_fault_flush() ? -EFAULT : test_flush_range(r);
	default:
		return -ENOSYS;
	}
}

static s64 test_batch(const struct tmem_regs *r)
{
	struct tmem_batch_entry *entry = phys_to_virt(r->r9);
	u64 i;

	if (r->rdi != TMEM_OP_BATCH || r->rsi || r->rdx || r->r10 || r->r8 > test_batch_max)
		return -EINVAL;
	if (!test_good_page(r->r9) || r->r8 * sizeof(*entry) > PAGE_SIZE)
		return -EFAULT;
	if (test_nth(&test_nr_batches, test_break_batch_every))
		return r->r8;
	for (i = 0; i < r->r8; i++) {
		struct tmem_regs regs = {
			entry[i].rdi, entry[i].rsi, entry[i].rdx, entry[i].r10, entry[i].r8, entry[i].r9,
		};

		entry[i].status = test_page_op(&regs);
		test_malformed += entry[i].status == -EINVAL || entry[i].status == -ENOSYS;
	}
	return r->r8;
}

static int test_start(void)
{
	u32 i;

	test_arena = vmalloc(array_size(test_pages, PAGE_SIZE));
	test_page = vmalloc(array_size(test_pages, sizeof(*test_page)));
	if (!test_arena || !test_page)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(test_bucket); i++)
		test_bucket[i] = TEST_NONE;
	for (i = 0; i < test_pages; i++)
		test_page[i].next = i + 1 < test_pages ? i + 1 : TEST_NONE;
	test_free = 0;
	return 0;
}

/* The reservation is made for the first pool, which is the driver's own: it is there before any other and goes last. */
static s64 test_new(const struct tmem_regs *r)
{
	s64 answer = -ENOSPC;
	unsigned long flags;
	u32 pool;

	if (r->rdi != TMEM_OP_NEW_POOL || r->rsi > TMEM_POOL_PERSISTENT || r->rdx || r->r10 || r->r8 || r->r9)
		return -EINVAL;
	if (test_new_pool)
		return test_new_pool;
	if (!test_arena && test_start())
		return -ENOMEM;
	spin_lock_irqsave(&test_lock, flags);
	for (pool = 1; pool < TEST_POOLS && answer < 0; pool++) {
		if (test_pool[pool])
			continue;
		test_pool[pool] = r->rsi == TMEM_POOL_PERSISTENT ? TEST_PERSISTENT : TEST_EPHEMERAL;
		test_nr_pools++;
		answer = pool;
	}
	spin_unlock_irqrestore(&test_lock, flags);
	return answer;
}

static s64 test_destroy(const struct tmem_regs *r)
{
	u32 pool = r->rdi >> TMEM_POOL_SHIFT;
	unsigned long flags;
	s64 held;

	if (pool >= TEST_POOLS || !test_pool[pool])
		return -ENODEV;
	spin_lock_irqsave(&test_lock, flags);
	test_pool[pool] = TEST_NO_POOL;
	test_nr_pools--;
	held = test_flush_pool(pool, NULL);
	spin_unlock_irqrestore(&test_lock, flags);
	pr_info("pool %u is gone, it held %lld pages, %lu calls were malformed\n", pool, held, test_malformed);
	if (!test_nr_pools) {
		vfree(test_page);
		vfree(test_arena);
		test_arena = NULL;
	}
	return 0;
}

static s64 test_query(const struct tmem_regs *r)
{
	struct tmem_query_reply *reply = phys_to_virt(r->r9);

	*reply = (struct tmem_query_reply) {
		.size = sizeof(*reply),
		.max_pools = TEST_POOLS,
		.pools = test_nr_pools,
		.cap_bytes = (u64)test_pages * PAGE_SIZE,
		.used_bytes = (u64)test_held * PAGE_SIZE,
		.persistent_pages = test_held,
	};
	return sizeof(*reply);
}

static s64 test_call(const struct tmem_regs *r)
{
	unsigned long flags;
	s64 answer;

	if (test_dead)
		return TMEM_CALL_NUMBER;
	switch (r->rdi & 0xff) {
	case TMEM_OP_NEW_POOL:
		return test_new(r);
	case TMEM_OP_DESTROY_POOL:
		return test_destroy(r);
	case TMEM_OP_QUERY:
		return test_query(r);
	}
	spin_lock_irqsave(&test_lock, flags);
	answer = (r->rdi & 0xff) == TMEM_OP_BATCH ? test_batch(r) : test_page_op(r);
	test_malformed += answer == -EINVAL || answer == -ENOSYS;
	spin_unlock_irqrestore(&test_lock, flags);
	return answer;
}

s64 tmem_trap_hypercall(const struct tmem_regs *regs)
{
	return test_call(regs);
}

s64 tmem_trap_port(u16 port, const struct tmem_regs *regs)
{
	return port == TEST_PORT ? test_call(regs) : (s64)TMEM_CALL_NUMBER;
}
