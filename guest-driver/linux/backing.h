/* SPDX-License-Identifier: GPL-2.0-only */
/* The disk that takes what tmem refuses: slot n of the device is block n of the disk. */
#ifndef TMEM_BACKING_H
#define TMEM_BACKING_H

#include <linux/bio.h>

#include "compat.h"

struct tmem_backing {
	/* NULL if there is none. */
	struct block_device *bdev;
	tmem_bdev_handle handle;
	struct bio_set bios;
};

/* A run of slots of one bio that are on the disk, not yet sent to it. */
struct tmem_run {
	struct bio *bio;
	u64 slot;
	unsigned int n;
};

int tmem_backing_open(struct tmem_backing *backing, const char *path);
void tmem_backing_close(struct tmem_backing *backing);
u64 tmem_backing_slots(const struct tmem_backing *backing);

/* The slots of the mask join the run; what does not continue it is sent first. */
void tmem_run_add(struct tmem_backing *backing, struct tmem_run *run, u64 chunk_nr, u64 mask);
/* Sends the last run. Returns true if the bio itself went to the disk: then it is no longer the caller's to end. */
bool tmem_run_finish(struct tmem_backing *backing, struct tmem_run *run);

#endif /* TMEM_BACKING_H */
