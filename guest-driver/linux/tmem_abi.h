/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT */
/*
 * The tmem hypercall ABI, version 1. Generated from the crate tmem-abi, do not edit:
 *   cargo run -p tmem-abi --example c-header > guest-driver/linux/tmem_abi.h
 * The specification is guest-driver/abi/README.md.
 */
#ifndef TMEM_ABI_H
#define TMEM_ABI_H

#include <linux/types.h>

#define TMEM_CALL_NUMBER		0x746d656dULL
#define TMEM_PAGE_SIZE		4096
#define TMEM_VERSION_MAJOR	1
#define TMEM_VERSION_MINOR	0

/* Discovery: base leaves FIRST, FIRST + STEP .. LAST; base + 1 describes the host. */
#define TMEM_CPUID_BASE_FIRST	0x40000000U
#define TMEM_CPUID_BASE_LAST	0x4000ff00U
#define TMEM_CPUID_BASE_STEP	0x100U
#define TMEM_SIGNATURE		"TmemTmemTmem"

#define TMEM_FEATURE_HYPERCALL	0x1U
#define TMEM_FEATURE_PERSISTENT	0x2U
#define TMEM_FEATURE_EPHEMERAL	0x4U
#define TMEM_FEATURE_SHARED	0x8U
#define TMEM_FEATURE_SUBPAGE	0x10U
#define TMEM_FEATURE_FLUSH_RANGE	0x20U
#define TMEM_FEATURE_BATCH	0x40U
#define TMEM_FEATURE_QUERY	0x80U
#define TMEM_FEATURE_XEN	0x100U

/* The port transport carries the argument rdx in r11, as dx holds the port. */
/* rdi: bits 0-7 operation, bits 8-31 zero, bits 32-63 pool id. */
#define TMEM_OP_NEW_POOL	1
#define TMEM_OP_DESTROY_POOL	2
#define TMEM_OP_PUT	4
#define TMEM_OP_GET	5
#define TMEM_OP_FLUSH_PAGE	6
#define TMEM_OP_FLUSH_OBJECT	7
#define TMEM_OP_READ	8
#define TMEM_OP_WRITE	9
#define TMEM_OP_XCHG	10
#define TMEM_OP_FLUSH_RANGE	16
#define TMEM_OP_BATCH	17
#define TMEM_OP_QUERY	18
#define TMEM_POOL_SHIFT		32

/* r8 of READ and WRITE. */
#define TMEM_OFFSET_SHIFT	32
#define TMEM_LENGTH_SHIFT	48

/* rsi of NEW_POOL. */
#define TMEM_POOL_EPHEMERAL	0
#define TMEM_POOL_PERSISTENT	1
#define TMEM_POOL_SHARED	2

/* One entry of a batch: the registers of the call it stands for, and its answer. */
struct tmem_batch_entry {
	__u64 rdi;
	__u64 rsi;
	__u64 rdx;
	__u64 r10;
	__u64 r8;
	__u64 r9;
	__s64 status;
	__u64 cookie;
};

/* What QUERY writes to the start of the page. */
struct tmem_query_reply {
	__u32 size;
	__u32 flags;
	__u32 max_pools;
	__u32 pools;
	__u64 cap_bytes;
	__u64 used_bytes;
	__u64 metadata_bytes;
	__u64 persistent_pages;
	__u64 ephemeral_pages;
	__u64 puts;
	__u64 puts_refused;
	__u64 gets;
	__u64 gets_hit;
	__u64 pages_flushed;
	__u64 pages_evicted;
	__u64 reserved[3];
};
#define TMEM_QUERY_FROZEN	1U

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
static_assert(sizeof(struct tmem_batch_entry) == 64);
static_assert(offsetof(struct tmem_batch_entry, status) == 48);
static_assert(sizeof(struct tmem_query_reply) == 128);
static_assert(offsetof(struct tmem_query_reply, pages_evicted) == 96);
#endif

#endif /* TMEM_ABI_H */
