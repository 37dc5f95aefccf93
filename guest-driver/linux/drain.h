/* SPDX-License-Identifier: GPL-2.0-only */
/* Flushing what the swap code freed, later and many at a time. */
#ifndef TMEM_DRAIN_H
#define TMEM_DRAIN_H

#include <linux/workqueue.h>

#include "slots.h"

struct tmem_drain {
	struct tmem_slots *slots;
	struct delayed_work work;
	/* The chunk to go on with. */
	u64 next;
};

void tmem_drain_init(struct tmem_drain *drain, struct tmem_slots *slots);
void tmem_drain_exit(struct tmem_drain *drain);

/* From swap_slot_free_notify: under spinlocks. */
void tmem_drain_slot(struct tmem_drain *drain, u64 slot);

/* Flushes now as many slots as a chunk has, where there are so many that need no waiting; returns the number. May sleep. */
unsigned int tmem_drain_for_put(struct tmem_drain *drain);

#endif /* TMEM_DRAIN_H */
