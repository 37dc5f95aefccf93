/* SPDX-License-Identifier: GPL-2.0-only */
/* Flushing what the swap code freed, later and many at a time. */
#ifndef TMEM_DRAIN_H
#define TMEM_DRAIN_H

#include <linux/workqueue.h>

#include "slots.h"

struct tmem_drain {
	struct tmem_slots *slots;
	struct delayed_work work;
};

void tmem_drain_init(struct tmem_drain *drain, struct tmem_slots *slots);
void tmem_drain_exit(struct tmem_drain *drain);

/* From swap_slot_free_notify: under spinlocks. */
void tmem_drain_slot(struct tmem_drain *drain, u64 slot);

/* Flushes now what can be had without waiting; returns the number of slots. May sleep. */
unsigned long tmem_drain_now(struct tmem_drain *drain);

#endif /* TMEM_DRAIN_H */
