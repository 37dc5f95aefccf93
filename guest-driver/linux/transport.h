/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the driver needs of the machine: a CPUID leaf, one trap that carries seven registers, and whether the host can read
 * memory at all. Everything above this line is the same for every transport, and for the host in test/selfhost.c.
 */
#ifndef TMEM_TRANSPORT_H
#define TMEM_TRANSPORT_H

#include <linux/types.h>

enum tmem_transport {
	TMEM_TRANSPORT_AUTO,
	TMEM_TRANSPORT_HYPERCALL,
	TMEM_TRANSPORT_PORT,
};

/* The argument registers of a call, as guest-driver/abi/README.md section 3 names them. */
struct tmem_regs {
	u64 rdi;
	u64 rsi;
	u64 rdx;
	u64 r10;
	u64 r8;
	u64 r9;
};

struct tmem_cpuid_leaf {
	u32 eax;
	u32 ebx;
	u32 ecx;
	u32 edx;
};

struct tmem_cpuid_leaf tmem_cpuid(u32 leaf);
/* SEV, TDX and their like. */
bool tmem_memory_is_encrypted(void);
s64 tmem_trap_hypercall(const struct tmem_regs *regs);
s64 tmem_trap_port(u16 port, const struct tmem_regs *regs);

#endif /* TMEM_TRANSPORT_H */
