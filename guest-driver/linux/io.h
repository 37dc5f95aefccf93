/* SPDX-License-Identifier: GPL-2.0-only */
/* What becomes of bios: exits, I/O to the backing device, and the end of the bio. */
#ifndef TMEM_IO_H
#define TMEM_IO_H

#include <linux/bio.h>

#include "backing.h"
#include "drain.h"
#include "slots.h"
#include "span.h"

struct tmem_store {
	struct tmem_slots slots;
	struct tmem_drain drain;
	struct tmem_backing backing;
};

/* Does one bio, of any size and operation. */
void tmem_io_bio(struct tmem_store *store, struct bio *bio);

/* Spans that will be one exit: reads or writes of small bios, collected in the order of their slots. */
#define TMEM_GROUP_SPANS	32

struct tmem_group {
	unsigned int n;
	unsigned int slots;
	struct tmem_span span[TMEM_GROUP_SPANS];
};

/* Does the bios of the list, which it empties, in as few exits as it can. The group is space to work in. */
void tmem_io_list(struct tmem_store *store, struct bio_list *bios, struct tmem_group *group);

/* The order in which tmem_io_list() makes the best of a list: reads, then writes, each by slot. */
void tmem_io_list_add(struct bio_list *bios, struct bio *bio);

#endif /* TMEM_IO_H */
