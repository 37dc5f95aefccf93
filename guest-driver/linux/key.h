/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Slots, chunks and keys.
 *
 * A slot is one page of the device. 64 slots make a chunk: one word of every bitmap, one page of batch entries. 512
 * slots make an object: index = slot % 512, oid[0] = slot / 512. One object for the whole device would do (an object
 * has 2^32 indexes), but a host may lock by object, and then all vCPUs of a guest would meet in one place; an object
 * for each chunk would cost the host eight times as many. 512 is a swap cluster: a folio of 2 MiB is one object,
 * indexes in it are dense, and a run of slots in a chunk is always a range of one object. Chunks are aligned in their
 * objects, so that a host which keeps 64 pages together (tmem-core does) finds what one exit names in one place.
 */
#ifndef TMEM_KEY_H
#define TMEM_KEY_H

#include <linux/types.h>

#include "tmem_abi.h"
#include "transport.h"

#define TMEM_CHUNK_SLOTS	64
#define TMEM_OBJECT_SLOTS	512

static inline struct tmem_regs tmem_key(u32 op, u32 pool, u64 slot)
{
	return (struct tmem_regs) {
		.rdi = op | (u64)pool << TMEM_POOL_SHIFT,
		.rsi = slot / TMEM_OBJECT_SLOTS,
		.r8 = slot % TMEM_OBJECT_SLOTS,
	};
}

#endif /* TMEM_KEY_H */
