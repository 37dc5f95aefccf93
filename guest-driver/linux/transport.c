// SPDX-License-Identifier: GPL-2.0-only
/*
 * The traps.
 *
 * Memory: the host reads and writes guest pages during the call, through another mapping but on the processor that
 * trapped, or on one that the host synchronised with it. The asm clobbers "memory", so the compiler has stored all
 * that the host shall read and reloads all that it may have written. For the processor, leaving and entering guest
 * mode are serialising (Intel SDM 3A 9.3, AMD APM 2 15.5-15.6), so no store is still in flight when the host looks,
 * and no load ran ahead of the answer. That other processors' earlier stores to the page are visible follows from how
 * this one came to own the page (a lock, or the bio's completion). So no fence is needed here.
 *
 * All seven registers are declared as changed. The ABI promises that only rax is, and a host that breaks the promise
 * shall not break this kernel.
 */
#include <linux/cc_platform.h>
#include <linux/kernel.h>

#include <asm/alternative.h>
#include <asm/cpufeatures.h>
#include <asm/processor.h>

#include "tmem_abi.h"
#include "transport.h"

struct tmem_cpuid_leaf tmem_cpuid(u32 leaf)
{
	struct tmem_cpuid_leaf l;

	cpuid(leaf, &l.eax, &l.ebx, &l.ecx, &l.edx);
	return l;
}

/* Each attribute is missing in one kernel or under one hypervisor that has the other. */
bool tmem_memory_is_encrypted(void)
{
	return cc_platform_has(CC_ATTR_MEM_ENCRYPT) || cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT);
}

/*
 * The instruction is the vendor's own: KVM would patch the other one into the right one, which faults on read-only
 * kernel text.
 */
s64 tmem_trap_hypercall(const struct tmem_regs *regs)
{
	u64 rax = TMEM_CALL_NUMBER;
	u64 rdi = regs->rdi, rsi = regs->rsi, rdx = regs->rdx;
	register u64 r10 asm("r10") = regs->r10;
	register u64 r8 asm("r8") = regs->r8;
	register u64 r9 asm("r9") = regs->r9;

	asm volatile(ALTERNATIVE("vmcall", "vmmcall", X86_FEATURE_VMMCALL)
		     : "+a" (rax), "+D" (rdi), "+S" (rsi), "+d" (rdx), "+r" (r10), "+r" (r8), "+r" (r9)
		     : : "memory", "cc");
	return (s64)rax;
}

/* An out that answers in rax. The port number takes rdx, so that argument travels in r11. */
s64 tmem_trap_port(u16 port, const struct tmem_regs *regs)
{
	u64 rax = TMEM_CALL_NUMBER;
	u64 rdi = regs->rdi, rsi = regs->rsi, rdx = port;
	register u64 r10 asm("r10") = regs->r10;
	register u64 r8 asm("r8") = regs->r8;
	register u64 r9 asm("r9") = regs->r9;
	register u64 r11 asm("r11") = regs->rdx;

	asm volatile("outl %%eax, %%dx"
		     : "+a" (rax), "+D" (rdi), "+S" (rsi), "+d" (rdx), "+r" (r10), "+r" (r8), "+r" (r9), "+r" (r11)
		     : : "memory", "cc");
	return (s64)rax;
}
