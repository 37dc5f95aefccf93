/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Pools of pages at the host, for C and C++ programs in a guest: functions around /dev/tmem (guest-driver/linux/tmem_user.h,
 * which says what each operation means). C11 or C++11 with POSIX.1-2008, nothing to link; `-I` the folders of both headers.
 *
 *	struct tmem_pool pool;
 *	struct tmem_key key = { { 7, 0, 0 }, 1 };
 *	char page[TMEM_PAGE_SIZE];
 *
 *	if (tmem_open(&pool, "/dev/tmem", TMEM_USER_PERSISTENT) < 0)
 *		...
 *	tmem_put(&pool, key, page);		0
 *	tmem_get(&pool, key, page);		1: found
 *	tmem_close(&pool);
 *
 * What fails returns a negative errno: -ENOMEM or -EBUSY a put that was refused, and then no page is under the key, an older
 * one neither; -EIO when the host failed. What a signal interrupts before it began is asked again. Threads may share a pool.
 */
#ifndef TMEM_H
#define TMEM_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tmem_user.h"

#ifndef O_CLOEXEC
#error "tmem.h needs POSIX.1-2008: compile with -std=gnu11, or with -D_POSIX_C_SOURCE=200809L"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define TMEM_PAGE_SIZE	4096

/* A pool; its descriptor takes the requests of tmem_user.h as well. */
struct tmem_pool {
	int fd;
};

/* What names a page in a pool: the object, and which page of it. */
struct tmem_key {
	uint64_t oid[3];
	uint32_t index;
};

static inline int tmem_ask(const struct tmem_pool *pool, unsigned long request, void *about)
{
	int answer;

	do
		answer = ioctl(pool->fd, request, about);
	while (answer < 0 && errno == EINTR);
	return answer < 0 ? -errno : answer;
}

/* Gives the pool back with all its pages. */
static inline void tmem_close(struct tmem_pool *pool)
{
	if (pool->fd >= 0)
		close(pool->fd);
	pool->fd = -1;
}

/* Makes a pool through a device, TMEM_USER_EPHEMERAL or TMEM_USER_PERSISTENT. 0, or why there is none: that of open(2), or of the request. */
static inline int tmem_open(struct tmem_pool *pool, const char *device, uint32_t kind)
{
	struct tmem_user_pool info = { kind, 0, 0, 0, 0 };
	int answer;

	pool->fd = open(device, O_RDWR | O_CLOEXEC);
	if (pool->fd < 0)
		return -errno;
	answer = tmem_ask(pool, TMEM_USER_IOC_POOL, &info);
	if (answer < 0)
		tmem_close(pool);
	return answer;
}

/* What the pool is, and what it and its memory cgroup hold. */
static inline int tmem_info(const struct tmem_pool *pool, struct tmem_user_pool *info)
{
	return tmem_ask(pool, TMEM_USER_IOC_INFO, info);
}

/* An operation that has not run; one of the array that tmem_run() takes. */
static inline struct tmem_user_op tmem_op(uint32_t what, struct tmem_key key, uint64_t page)
{
	struct tmem_user_op op = { what, key.index, { key.oid[0], key.oid[1], key.oid[2] }, page, -ECANCELED };

	return op;
}

static inline struct tmem_user_op tmem_op_put(struct tmem_key key, const void *page)
{
	return tmem_op(TMEM_USER_PUT, key, (uint64_t)(uintptr_t)page);
}

static inline struct tmem_user_op tmem_op_get(struct tmem_key key, void *page)
{
	return tmem_op(TMEM_USER_GET, key, (uint64_t)(uintptr_t)page);
}

static inline struct tmem_user_op tmem_op_flush(struct tmem_key key)
{
	return tmem_op(TMEM_USER_FLUSH, key, 0);
}

static inline struct tmem_user_op tmem_op_flush_range(struct tmem_key first, uint64_t count)
{
	return tmem_op(TMEM_USER_FLUSH_RANGE, first, count);
}

/* Runs one operation and returns its status. */
static inline int64_t tmem_one(const struct tmem_pool *pool, struct tmem_user_op op)
{
	int answer = tmem_ask(pool, TMEM_USER_IOC_OP, &op);

	return answer < 0 ? answer : op.status;
}

/* Stores a copy of the 4096 bytes at page. 0. */
static inline int tmem_put(const struct tmem_pool *pool, struct tmem_key key, const void *page)
{
	return (int)tmem_one(pool, tmem_op_put(key, page));
}

/* Copies the page under the key to the 4096 bytes at page. 1 if there is one, 0 if not. In an ephemeral pool it is gone then. */
static inline int tmem_get(const struct tmem_pool *pool, struct tmem_key key, void *page)
{
	return (int)tmem_one(pool, tmem_op_get(key, page));
}

/* Forgets the page under the key. 1 if there was one, 0 if not. */
static inline int tmem_flush(const struct tmem_pool *pool, struct tmem_key key)
{
	return (int)tmem_one(pool, tmem_op_flush(key));
}

/* Forgets the pages of count indexes from first.index on, up to 2^32 - 1. How many there were. */
static inline int64_t tmem_flush_range(const struct tmem_pool *pool, struct tmem_key first, uint64_t count)
{
	return tmem_one(pool, tmem_op_flush_range(first, count));
}

/*
 * Runs n operations in order, up to 32 of them to an exit. 0 if all have run: the status of each says what came of it, as the
 * function of its name returns it. Else a negative errno, and what has not run has the status -ECANCELED.
 */
static inline int tmem_run(const struct tmem_pool *pool, struct tmem_user_op *ops, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		ops[i].status = -ECANCELED;
	while (n) {
		uint32_t some = n < TMEM_USER_OPS_MAX ? (uint32_t)n : TMEM_USER_OPS_MAX;
		struct tmem_user_ops request = { (uint64_t)(uintptr_t)ops, some, 0 };
		int done = tmem_ask(pool, TMEM_USER_IOC_OPS, &request);

		if (done < 0)
			return done;
		ops += done;
		n -= (size_t)done;
	}
	return 0;
}

#ifdef __cplusplus
}
#endif

#endif /* TMEM_H */
