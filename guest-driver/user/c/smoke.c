/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Uses every function of tmem.h once, in a guest: says `smoke: good`, or what was wrong and where, with exit status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tmem.h"

#define PAGES 100

static void expect(int fact, const char *what, int line)
{
	if (fact)
		return;
	printf("smoke: line %d: not %s\n", line, what);
	exit(1);
}

#define EXPECT(fact) expect(fact, #fact, __LINE__)

static unsigned char from[PAGES][TMEM_PAGE_SIZE], to[PAGES][TMEM_PAGE_SIZE];
static struct tmem_user_op ops[2 * PAGES];

static struct tmem_key key(uint32_t index)
{
	struct tmem_key key = { { 1, UINT64_MAX, 3 }, index };

	return key;
}

static void one_by_one(const struct tmem_pool *pool)
{
	EXPECT(tmem_get(pool, key(1), to[1]) == 0);
	EXPECT(tmem_put(pool, key(1), from[1]) == 0);
	EXPECT(tmem_get(pool, key(1), to[1]) == 1);
	EXPECT(!memcmp(from[1], to[1], TMEM_PAGE_SIZE));
	EXPECT(tmem_flush(pool, key(1)) == 1);
	EXPECT(tmem_flush(pool, key(1)) == 0);
	EXPECT(tmem_put(pool, key(1), NULL) == -EFAULT);
}

static void many(const struct tmem_pool *pool)
{
	struct tmem_user_pool info;
	uint32_t i;

	memset(to, 0, sizeof(to));
	for (i = 0; i < PAGES; i++) {
		ops[i] = tmem_op_put(key(i), from[i]);
		ops[PAGES + i] = tmem_op_get(key(i), to[i]);
	}
	EXPECT(tmem_run(pool, ops, 2 * PAGES) == 0);
	for (i = 0; i < PAGES; i++)
		EXPECT(ops[i].status == 0 && ops[PAGES + i].status == 1);
	EXPECT(!memcmp(from, to, sizeof(from)));
	EXPECT(tmem_info(pool, &info) == 0 && info.pages_held == PAGES && info.pages_group >= PAGES);
	EXPECT(tmem_flush_range(pool, key(10), 20) == 20);
	EXPECT(tmem_flush_range(pool, key(1), (uint64_t)1 << 32) == -EINVAL);
	ops[0] = tmem_op_flush(key(0));
	ops[1] = tmem_op_flush_range(key(0), (uint64_t)1 << 32);
	EXPECT(tmem_run(pool, ops, 2) == 0 && ops[0].status == 1 && ops[1].status == PAGES - 21);
	EXPECT(tmem_info(pool, &info) == 0 && info.pages_held == 0);
}

int main(void)
{
	struct tmem_pool pool, none;
	uint32_t i;

	for (i = 0; i < PAGES; i++)
		memset(from[i], (int)i + 1, TMEM_PAGE_SIZE);
	EXPECT(tmem_open(&none, "/dev/no-such-device", TMEM_USER_PERSISTENT) == -ENOENT);
	EXPECT(tmem_open(&none, "/dev/null", TMEM_USER_PERSISTENT) == -ENOTTY && none.fd == -1);
	EXPECT(tmem_open(&pool, "/dev/tmem", TMEM_USER_PERSISTENT) == 0);
	one_by_one(&pool);
	many(&pool);
	tmem_close(&pool);
	EXPECT(tmem_run(&pool, ops, 1) == -EBADF && ops[0].status == -ECANCELED);
	EXPECT(tmem_open(&pool, "/dev/tmem", TMEM_USER_EPHEMERAL) == 0);
	EXPECT(tmem_put(&pool, key(1), from[1]) == 0);
	EXPECT(tmem_get(&pool, key(1), to[1]) == 1 && tmem_get(&pool, key(1), to[1]) == 0);
	tmem_close(&pool);
	puts("smoke: good");
	return 0;
}
