/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether the host keeps what it is given: one page there and back, before any other. */
#ifndef TMEM_PROOF_H
#define TMEM_PROOF_H

#include <linux/compiler.h>
#include <linux/types.h>

extern bool tmem_host_is_proven;

/* True once a page has made the round trip, and for good. */
static inline bool tmem_proven(void)
{
	return READ_ONCE(tmem_host_is_proven);
}

/* Fails if the host fails the test; not if it has no room for a page. */
int tmem_proof_init(u32 pool);
/* Nobody offers pages any more. */
void tmem_proof_exit(void);

/* A page would have been put. From any context. */
void tmem_proof_wanted(void);

#endif /* TMEM_PROOF_H */
