/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * The structure of the first tmem core (Xen 4.0, zcache), to measure ours against. Written for that, from a description;
 * nothing is copied. A core is one pool of one client.
 *
 *   256 buckets, by a hash of the object id, each with a lock (lock.h)
 *     a red-black tree of objects, by the 192-bit id
 *       a radix tree of pages, by the 32-bit index: nodes of 64 slots, as high as the largest index needs
 *         a page: 4 KiB from malloc or from a list of free frames (frames.h), or what LZ4 made of it, from malloc
 *
 * As in the original's callbacks, a page is allocated, compressed, copied and freed under its bucket's lock. A put of a page
 * that is there frees the old one first. A get keeps the page, as in a persistent pool.
 *
 * Where the original had a choice, or the kernel differs from a process, this takes what is faster here:
 *   - buckets are 64 bytes, so that no two locks share a cache line;
 *   - neither counters, nor eviction lists, nor accounting to a client are kept; a slot is the page's address, without the
 *     original's descriptor;
 *   - metadata comes from malloc, without the original's preallocation before the lock.
 *
 * The red-black tree is glibc's tsearch. Its nodes stand beside the objects, not in them, one address more to follow a level
 * than in the kernel; with 1,000 objects a tree has four.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <search.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "lock.h"
#include "lz4.h"

enum {
	PAGE = FRAME,
	BUCKETS = 256,
	SLOT_BITS = 6,
	SLOTS = 1 << SLOT_BITS,
	MAX_HEIGHT = 6, /* 6 times 6 bits are enough for an index of 32 */
};

/* How pages are kept. */
enum pages { RAW_MALLOC = 0, LZ4_MALLOC = 1, RAW_FRAMES = 2 };

struct node {
	unsigned used; /* slots that are not null */
	void *slots[SLOTS]; /* nodes, or pages in the lowest level */
};

struct object {
	uint64_t id[3]; /* first, so that a bare id can be looked for */
	unsigned height; /* levels of nodes; 0 without a page */
	struct node *root;
};

struct bucket {
	_Alignas(64) lock_t lock;
	void *objects; /* tsearch's root */
};

struct first_core {
	enum pages pages;
	struct frames frames;
	struct bucket buckets[BUCKETS];
};

/* A page of a core with LZ4. */
struct squeezed {
	uint32_t length; /* PAGE: LZ4 made it no smaller, and it is kept as it is */
	char bytes[];
};

/* ---- pages ---- */

static void page_free(struct first_core *core, void *page)
{
	if (page && core->pages == RAW_FRAMES)
		frame_free(&core->frames, page);
	else
		free(page);
}

static void *page_new(struct first_core *core, const void *page)
{
	static _Thread_local char buffer[LZ4_COMPRESSBOUND(PAGE)];
	const void *from = page;
	int length = PAGE;

	if (core->pages != LZ4_MALLOC) {
		void *copy = core->pages == RAW_FRAMES ? frame_new(&core->frames) : malloc(PAGE);

		return copy ? memcpy(copy, page, PAGE) : NULL;
	}
	int small = LZ4_compress_default(page, buffer, PAGE, sizeof(buffer));
	if (small > 0 && small < PAGE) {
		from = buffer;
		length = small;
	}
	struct squeezed *kept = malloc(sizeof(*kept) + (size_t)length);
	if (!kept)
		return NULL;
	kept->length = (uint32_t)length;
	memcpy(kept->bytes, from, (size_t)length);
	return kept;
}

/* 0, or -EIO when the page cannot be decompressed. */
static int page_read(const struct first_core *core, const void *stored, void *page)
{
	const struct squeezed *kept = stored;

	if (core->pages != LZ4_MALLOC) {
		memcpy(page, stored, PAGE);
		return 0;
	}
	if (kept->length == PAGE) {
		memcpy(page, kept->bytes, PAGE);
		return 0;
	}
	return LZ4_decompress_safe(kept->bytes, page, (int)kept->length, PAGE) == PAGE ? 0 : -EIO;
}

/* ---- radix tree ---- */

static unsigned slot_of(uint32_t index, unsigned level)
{
	return ((uint64_t)index >> (level * SLOT_BITS)) & (SLOTS - 1);
}

static int fits(const struct object *object, uint32_t index)
{
	return object->height && (uint64_t)index >> (object->height * SLOT_BITS) == 0;
}

/* The lowest node on the way to an index, or NULL when it is not there. */
static struct node *leaf_find(const struct object *object, uint32_t index)
{
	struct node *node = fits(object, index) ? object->root : NULL;

	for (unsigned level = object->height; node && --level > 0;)
		node = node->slots[slot_of(index, level)];
	return node;
}

/* The same, made if it is not there. On NULL, no memory, the caller prunes. */
static struct node *leaf_make(struct object *object, uint32_t index)
{
	while (!fits(object, index)) {
		if (object->root) {
			struct node *root = calloc(1, sizeof(*root));

			if (!root)
				return NULL;
			root->slots[0] = object->root;
			root->used = 1;
			object->root = root;
		}
		object->height++;
	}
	if (!object->root)
		object->root = calloc(1, sizeof(*object->root));
	struct node *node = object->root;
	for (unsigned level = object->height; node && --level > 0;) {
		void **slot = &node->slots[slot_of(index, level)];

		if (!*slot) {
			*slot = calloc(1, sizeof(*node));
			node->used += *slot != NULL;
		}
		node = *slot;
	}
	return node;
}

/* Takes empty nodes out on the way to an index, from below. */
static void prune(struct object *object, uint32_t index)
{
	struct node *path[MAX_HEIGHT], *node = object->root;
	unsigned level = object->height;

	while (node && level > 0) {
		path[--level] = node;
		node = level ? node->slots[slot_of(index, level)] : NULL;
	}
	for (; level < object->height && path[level]->used == 0; level++) {
		free(path[level]);
		if (level + 1 < object->height) {
			path[level + 1]->slots[slot_of(index, level + 1)] = NULL;
			path[level + 1]->used--;
		} else {
			object->root = NULL;
		}
	}
	if (!object->root)
		object->height = 0;
}

/* Frees nodes and pages. */
static void node_free(struct first_core *core, struct node *node, unsigned height)
{
	for (unsigned n = 0; n < SLOTS; n++) {
		if (height > 1 && node->slots[n])
			node_free(core, node->slots[n], height - 1);
		else
			page_free(core, node->slots[n]);
	}
	free(node);
}

/* ---- objects ---- */

static int by_id(const void *left, const void *right)
{
	const uint64_t *a = left, *b = right;

	for (int n = 2; n >= 0; n--)
		if (a[n] != b[n])
			return a[n] < b[n] ? -1 : 1;
	return 0;
}

static struct bucket *bucket_of(struct first_core *core, const uint64_t id[3])
{
	uint64_t mixed = (id[0] ^ id[1] ^ id[2]) * 0x9e3779b97f4a7c15u; /* Knuth's multiplicative hash */

	return &core->buckets[mixed >> 56];
}

static struct object *object_find(const struct bucket *bucket, const uint64_t id[3])
{
	void *found = tfind(id, &bucket->objects, by_id);

	return found ? *(struct object **)found : NULL;
}

static struct object *object_make(struct bucket *bucket, const uint64_t id[3])
{
	struct object *object = object_find(bucket, id);

	if (object)
		return object;
	object = calloc(1, sizeof(*object));
	if (!object)
		return NULL;
	memcpy(object->id, id, sizeof(object->id));
	if (!tsearch(object, &bucket->objects, by_id)) {
		free(object);
		return NULL;
	}
	return object;
}

/* Nodes without pages do not stay, nor do such objects. */
static void object_prune(struct bucket *bucket, struct object *object, uint32_t index)
{
	prune(object, index);
	if (!object->root) {
		tdelete(object, &bucket->objects, by_id);
		free(object);
	}
}

/* ---- what a pool does ---- */

/* NULL when there is no memory. */
struct first_core *first_core_new(enum pages pages)
{
	struct first_core *core = aligned_alloc(64, sizeof(*core));

	if (!core)
		return NULL;
	core->pages = pages;
	frames_init(&core->frames);
	for (int n = 0; n < BUCKETS; n++) {
		lock_init(&core->buckets[n].lock);
		core->buckets[n].objects = NULL;
	}
	return core;
}

void first_core_free(struct first_core *core)
{
	for (struct bucket *bucket = core->buckets; bucket < core->buckets + BUCKETS; bucket++) {
		while (bucket->objects) {
			struct object *object = *(struct object **)bucket->objects;

			tdelete(object, &bucket->objects, by_id);
			node_free(core, object->root, object->height);
			free(object);
		}
		lock_end(&bucket->lock);
	}
	frames_end(&core->frames);
	free(core);
}

/* 0, or -ENOMEM: then no page is there, not even an older one. */
int first_core_put(struct first_core *core, const uint64_t id[3], uint32_t index, const void *page)
{
	struct bucket *bucket = bucket_of(core, id);
	int result = -ENOMEM;

	lock_take(&bucket->lock);
	struct object *object = object_make(bucket, id);
	struct node *leaf = object ? leaf_make(object, index) : NULL;
	if (leaf) {
		void **slot = &leaf->slots[slot_of(index, 0)];

		leaf->used -= *slot != NULL;
		page_free(core, *slot);
		*slot = page_new(core, page);
		leaf->used += *slot != NULL;
		result = *slot ? 0 : -ENOMEM;
	}
	if (object && result)
		object_prune(bucket, object, index);
	lock_drop(&bucket->lock);
	return result;
}

/* 1 found, 0 not there, -EIO not readable. */
int first_core_get(struct first_core *core, const uint64_t id[3], uint32_t index, void *page)
{
	struct bucket *bucket = bucket_of(core, id);
	int result = 0;

	lock_take(&bucket->lock);
	struct object *object = object_find(bucket, id);
	struct node *leaf = object ? leaf_find(object, index) : NULL;
	const void *kept = leaf ? leaf->slots[slot_of(index, 0)] : NULL;
	if (kept)
		result = page_read(core, kept, page) ? -EIO : 1;
	lock_drop(&bucket->lock);
	return result;
}

/* Pages that went: 1 or 0. */
uint64_t first_core_flush_page(struct first_core *core, const uint64_t id[3], uint32_t index)
{
	struct bucket *bucket = bucket_of(core, id);
	uint64_t pages = 0;

	lock_take(&bucket->lock);
	struct object *object = object_find(bucket, id);
	struct node *leaf = object ? leaf_find(object, index) : NULL;
	void **slot = leaf ? &leaf->slots[slot_of(index, 0)] : NULL;
	if (slot && *slot) {
		page_free(core, *slot);
		*slot = NULL;
		leaf->used--;
		object_prune(bucket, object, index);
		pages = 1;
	}
	lock_drop(&bucket->lock);
	return pages;
}
