// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finding the host.
 *
 * A host that is not there, or that is not what it says, must never look like success: pages given to it would be
 * lost. So the CPUID signature comes first, every answer is compared with the exact value that the ABI names, and one
 * page makes the round trip before any other is given to it (proof.c).
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "host.h"
#include "stats.h"

/* Pools looked for when those of an earlier boot are removed; a host with larger tables keeps the rest. */
#define TMEM_POOLS_SCANNED	1024

struct tmem_host tmem_host;

s64 tmem_call(const struct tmem_regs *regs)
{
	tmem_count(TMEM_STAT_EXITS, 1);
	if (tmem_host.transport == TMEM_TRANSPORT_PORT)
		return tmem_trap_port(tmem_host.port, regs);
	return tmem_trap_hypercall(regs);
}

const char *tmem_transport_name(void)
{
	return tmem_host.transport == TMEM_TRANSPORT_PORT ? "port" : "hypercall";
}

static u32 tmem_find_base(void)
{
	u32 base;

	for (base = TMEM_CPUID_BASE_FIRST; base <= TMEM_CPUID_BASE_LAST; base += TMEM_CPUID_BASE_STEP) {
		struct tmem_cpuid_leaf leaf = tmem_cpuid(base);
		u32 signature[3] = { leaf.ebx, leaf.ecx, leaf.edx };

		if (leaf.eax > base && !memcmp(signature, TMEM_SIGNATURE, sizeof(signature)))
			return base;
	}
	return 0;
}

static int tmem_choose_transport(const char *wanted)
{
	bool hypercall = tmem_host_has(TMEM_FEATURE_HYPERCALL);
	bool port = tmem_host.port;

	if (!strcmp(wanted, "auto")) {
		tmem_host.transport = hypercall ? TMEM_TRANSPORT_HYPERCALL : TMEM_TRANSPORT_PORT;
	} else if (!strcmp(wanted, "hypercall")) {
		tmem_host.transport = TMEM_TRANSPORT_HYPERCALL;
	} else if (!strcmp(wanted, "port")) {
		tmem_host.transport = TMEM_TRANSPORT_PORT;
	} else {
		pr_err("transport=%s is unknown: use auto, hypercall or port\n", wanted);
		return -EINVAL;
	}
	/* A hypercall that is not served may be #UD or never return, so it is not tried. */
	if (tmem_host.transport == TMEM_TRANSPORT_HYPERCALL ? hypercall : port)
		return 0;
	pr_err("the host does not offer the transport %s (hypercall: %s, port: %#x)\n",
	       wanted, hypercall ? "yes" : "no", tmem_host.port);
	return -ENODEV;
}

/* Fills tmem_host, or says in one line why there is no tmem. */
int tmem_host_find(const char *transport)
{
	struct tmem_cpuid_leaf leaf;
	u32 base = tmem_find_base();

	if (!base) {
		pr_err("this machine's host has no tmem (no CPUID leaf says " TMEM_SIGNATURE ")\n");
		return -ENODEV;
	}
	/*
	 * No parameter insists: the host would read and write ciphertext, of batches too, and a page that comes back at
	 * another address would be decrypted to something else. Memory that is shared with the host on purpose would have
	 * to be in between, and then the host could read what this guest was made to hide from it.
	 */
	if (tmem_memory_is_encrypted()) {
		pr_err("this guest's memory is encrypted, so that the host cannot keep its pages\n");
		return -EOPNOTSUPP;
	}
	leaf = tmem_cpuid(base + 1);
	tmem_host.major = leaf.eax >> 16;
	tmem_host.minor = leaf.eax & 0xffff;
	tmem_host.features = leaf.ebx;
	tmem_host.port = leaf.ecx <= U16_MAX ? leaf.ecx : 0;
	tmem_host.batch_max = tmem_host_has(TMEM_FEATURE_BATCH) ? leaf.edx : 0;
	if (tmem_host.major != TMEM_VERSION_MAJOR) {
		pr_err("the host speaks tmem ABI %u, this driver %u: update the older one\n",
		       tmem_host.major, TMEM_VERSION_MAJOR);
		return -EPROTONOSUPPORT;
	}
	if (!tmem_host_has(TMEM_FEATURE_PERSISTENT)) {
		pr_err("the host has no persistent pools, swap cannot use it\n");
		return -EOPNOTSUPP;
	}
	return tmem_choose_transport(transport);
}

int tmem_query(struct tmem_query_reply *reply)
{
	struct tmem_regs regs = { .rdi = TMEM_OP_QUERY };
	void *page;
	s64 answer;

	if (!tmem_host_has(TMEM_FEATURE_QUERY))
		return -EOPNOTSUPP;
	page = (void *)get_zeroed_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	regs.r9 = virt_to_phys(page);
	answer = tmem_call(&regs);
	if (answer >= (s64)sizeof(*reply) && answer <= PAGE_SIZE)
		memcpy(reply, page, sizeof(*reply));
	free_page((unsigned long)page);
	if (answer < (s64)sizeof(*reply) || answer > PAGE_SIZE)
		return -EIO;
	return 0;
}

/*
 * After kexec, or a reboot that the host did not see, pools of the kernel before are still charged to this guest.
 * They hold nothing that this kernel could name, and nobody but this driver makes pools.
 */
void tmem_pools_of_earlier_boot(void)
{
	struct tmem_query_reply reply;
	u32 pool, gone = 0;

	if (tmem_query(&reply) || !reply.pools)
		return;
	for (pool = 0; pool < min_t(u32, reply.max_pools, TMEM_POOLS_SCANNED) && gone < reply.pools; pool++) {
		struct tmem_regs regs = { .rdi = TMEM_OP_DESTROY_POOL | (u64)pool << TMEM_POOL_SHIFT };

		gone += !tmem_call(&regs);
		cond_resched();
	}
	pr_info("destroyed %u of %u pools that an earlier boot left\n", gone, reply.pools);
}

int tmem_pool_new(u64 flags, u32 *pool)
{
	struct tmem_regs regs = { .rdi = TMEM_OP_NEW_POOL, .rsi = flags };
	s64 answer = tmem_call(&regs);

	/* A trap that nobody served leaves rax as it was. */
	if (answer == TMEM_CALL_NUMBER || answer > U32_MAX || answer < -MAX_ERRNO)
		return -EIO;
	if (answer < 0)
		return answer;
	*pool = answer;
	return 0;
}

int tmem_pool_create(u64 flags, u32 *pool)
{
	int err = tmem_pool_new(flags, pool);

	if (err == -EIO)
		pr_err("what the host says to a new pool is no answer\n");
	else if (err)
		pr_err("the host refused %s pool: error %d\n",
		       flags & TMEM_POOL_PERSISTENT ? "a persistent" : "an ephemeral", err);
	return err;
}

void tmem_pool_destroy(u32 pool)
{
	struct tmem_regs regs = { .rdi = TMEM_OP_DESTROY_POOL | (u64)pool << TMEM_POOL_SHIFT };
	s64 answer = tmem_call(&regs);

	if (answer)
		pr_err_ratelimited("the host answered the end of pool %u with %lld\n", pool, answer);
}
