/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * Frames of 4 KiB for pages as they are. The first core, too, kept freed frames on a list of its own, under one lock for all.
 * They are faster than malloc, which joins neighbours at each free, and whose threads wait for each other's heaps.
 */
#pragma once
#include <stdlib.h>

#include "lock.h"

enum {
	FRAME = 4096,
	CHUNK = 2 << 20, /* what frames are cut from */
};

/* Each free frame begins with the address of the next. */
struct frames {
	_Alignas(64) lock_t lock;
	void *free;
	void *chunks; /* their first frames are not given out, and link them */
};

static void frames_init(struct frames *frames)
{
	frames->free = frames->chunks = NULL;
	lock_init(&frames->lock);
}

/* Frees all memory, whether or not frames are in use. */
static void frames_end(struct frames *frames)
{
	while (frames->chunks) {
		void *chunk = frames->chunks;

		frames->chunks = *(void **)chunk;
		free(chunk);
	}
	lock_end(&frames->lock);
}

static void frame_free(struct frames *frames, void *frame)
{
	lock_take(&frames->lock);
	*(void **)frame = frames->free;
	frames->free = frame;
	lock_drop(&frames->lock);
}

/* NULL when there is no memory. */
static void *frame_new(struct frames *frames)
{
	lock_take(&frames->lock);
	char *chunk = frames->free ? NULL : aligned_alloc(CHUNK, CHUNK);
	if (chunk) {
		*(void **)chunk = frames->chunks;
		frames->chunks = chunk;
		for (char *frame = chunk + CHUNK - FRAME; frame > chunk; frame -= FRAME) {
			*(void **)frame = frames->free;
			frames->free = frame;
		}
	}
	void *frame = frames->free;
	if (frame)
		frames->free = *(void **)frame;
	lock_drop(&frames->lock);
	return frame;
}
