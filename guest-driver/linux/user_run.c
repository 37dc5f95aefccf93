// SPDX-License-Identifier: GPL-2.0-only
/*
 * What programs ask of their pools: operations at hand go to the host, in as few exits as their group's quota lets them.
 *
 * A program's memory is only touched with nothing but its descriptor's mutex held: pages to be put are copied to pages of
 * the descriptor's own, then the host is called with preemption off, then pages that were found are copied out. So a page
 * fault may sleep, swap through this very driver, or never end, and nobody else waits for it.
 *
 * Pages of persistent pools are counted exactly: a put is preceded by a flush of the same key in the same exit, whose answer
 * tells whether the page is a new one. A pool of ephemeral pages counts those that the host has evicted as well; where its
 * group is at the limit, it is replaced by an empty one, which loses nothing that it promised to keep.
 */
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/uaccess.h>

#include "batch.h"
#include "host.h"
#include "stats.h"
#include "user.h"

static_assert(2 * TMEM_USER_CHUNK <= TMEM_BATCH_ENTRIES);
static_assert(TMEM_USER_PUT == TMEM_OP_PUT && TMEM_USER_GET == TMEM_OP_GET);
static_assert(TMEM_USER_FLUSH == TMEM_OP_FLUSH_PAGE && TMEM_USER_FLUSH_RANGE == TMEM_OP_FLUSH_RANGE);

static int tmem_user_check(const struct tmem_user_op *op)
{
	switch (op->op) {
	case TMEM_USER_PUT:
	case TMEM_USER_GET:
		return 0;
	case TMEM_USER_FLUSH:
		return op->page ? -EINVAL : 0;
	case TMEM_USER_FLUSH_RANGE:
		if (op->page > 1ULL << 32 || op->index + op->page > 1ULL << 32)
			return -EINVAL;
		return tmem_host_has(TMEM_FEATURE_FLUSH_RANGE) ? 0 : -EOPNOTSUPP;
	default:
		return -EINVAL;
	}
}

/* What an operation has in r9: the address of the page, or how many indexes a range has. */
static u64 tmem_user_r9(const struct tmem_user *user, unsigned int i)
{
	switch (user->op[i].op) {
	case TMEM_USER_GET:
		return virt_to_phys(user->page[i]);
	case TMEM_USER_FLUSH_RANGE:
		return user->op[i].page;
	default:
		return 0;
	}
}

static void tmem_user_add(struct tmem_batch *batch, u32 pool, const struct tmem_user_op *op, u32 what, u64 r9)
{
	batch->entry[batch->n++] = (struct tmem_batch_entry) {
		.rdi = what | (u64)pool << TMEM_POOL_SHIFT,
		.rsi = op->oid[0],
		.rdx = op->oid[1],
		.r10 = op->oid[2],
		.r8 = op->index,
		.r9 = r9,
	};
}

/* What the program is told about an answer: what a good host may say, or -EIO. */
static s64 tmem_user_answer(s64 answer, s64 most)
{
	if ((answer >= 0 && answer <= most) || answer == -ENOMEM || answer == -EBUSY)
		return answer;
	return -EIO;
}

static void tmem_user_forget(struct tmem_user *user, s64 gone)
{
	if (gone > 0)
		user->held -= min_t(u64, gone, user->held);
}

static void tmem_user_take_put(struct tmem_user *user, struct tmem_user_op *op, s64 answer)
{
	op->status = tmem_user_answer(answer, 0);
	tmem_count(TMEM_STAT_PUTS, 1);
	if (!op->status)
		user->held++;
	else
		tmem_count(op->status == -EIO ? TMEM_STAT_PUTS_FAILED : TMEM_STAT_PUTS_REFUSED, 1);
}

static void tmem_user_take_get(struct tmem_user *user, struct tmem_user_op *op, s64 answer)
{
	op->status = tmem_user_answer(answer, 1);
	tmem_count(TMEM_STAT_GETS, 1);
	if (op->status == 1 && user->flags == TMEM_USER_EPHEMERAL)
		tmem_user_forget(user, 1);
}

/* Asks the host about the operations at hand from first up to end. There is room for what they put. */
static void tmem_user_call(struct tmem_user *user, unsigned int first, unsigned int end)
{
	struct tmem_batch *batch = tmem_batch_begin();
	unsigned int i, at = 0;

	for (i = first; i < end; i++) {
		const struct tmem_user_op *op = &user->op[i];

		if (op->status)
			continue;
		if (op->op == TMEM_USER_PUT) {
			tmem_user_add(batch, user->pool, op, TMEM_OP_FLUSH_PAGE, 0);
			if (!user->refusal[i])
				tmem_user_add(batch, user->pool, op, TMEM_OP_PUT, virt_to_phys(user->page[i]));
		} else {
			tmem_user_add(batch, user->pool, op, op->op, tmem_user_r9(user, i));
		}
	}
	tmem_batch_run(batch);
	for (i = first; i < end; i++) {
		struct tmem_user_op *op = &user->op[i];

		if (op->status)
			continue;
		if (op->op == TMEM_USER_GET) {
			tmem_user_take_get(user, op, tmem_batch_status(batch, at++));
			continue;
		}
		op->status = tmem_user_answer(tmem_batch_status(batch, at++), op->op == TMEM_USER_FLUSH_RANGE ? S64_MAX : 1);
		tmem_user_forget(user, op->status);
		if (op->op != TMEM_USER_PUT)
			tmem_count(TMEM_STAT_FLUSHES, max(op->status, 0LL));
		else if (user->refusal[i])
			op->status = user->refusal[i];
		else
			tmem_user_take_put(user, op, tmem_batch_status(batch, at++));
	}
	tmem_batch_end(batch);
}

/* Makes room for up to n pages more in the pool, and says for how many there is. */
static u64 tmem_user_room(struct tmem_user *user, u64 n)
{
	u64 room = user->taken - user->held;

	if (room < n) {
		u64 more = tmem_group_take(user->group, n - room);

		user->taken += more;
		room += more;
	}
	return min(room, n);
}

/* A host without room for another pool has none for another page either: then nothing changes. */
static void tmem_user_start_anew(struct tmem_user *user)
{
	u32 pool;

	if (tmem_pool_new(user->flags, &pool))
		return;
	tmem_pool_destroy(user->pool);
	user->pool = pool;
	user->held = 0;
}

/* A put, and the group is at its limit. */
static void tmem_user_put_at_limit(struct tmem_user *user, unsigned int i)
{
	/* An older page under the key makes room for the new one. If not, it is gone all the same, as after any failed put. */
	user->refusal[i] = -ENOMEM;
	tmem_user_call(user, i, i + 1);
	if (!tmem_user_room(user, 1) && user->flags == TMEM_USER_EPHEMERAL && user->held)
		tmem_user_start_anew(user);
	if (!tmem_user_room(user, 1))
		return;
	user->refusal[i] = 0;
	user->op[i].status = 0;
	tmem_user_call(user, i, i + 1);
}

static bool tmem_user_puts(const struct tmem_user *user, unsigned int i)
{
	return user->op[i].op == TMEM_USER_PUT && !user->refusal[i];
}

/* Runs operations from first on: up to end, or to the first put that there is no room for, or that put. Says where it ended. */
static unsigned int tmem_user_run_some(struct tmem_user *user, unsigned int first, unsigned int end)
{
	unsigned int i, puts = 0;
	u64 room;

	for (i = first; i < end; i++)
		puts += tmem_user_puts(user, i);
	room = tmem_user_room(user, puts);
	for (i = first; i < end; i++) {
		if (!tmem_user_puts(user, i))
			continue;
		if (!room)
			break;
		room--;
	}
	if (i > first) {
		tmem_user_call(user, first, i);
		return i;
	}
	tmem_user_put_at_limit(user, first);
	return first + 1;
}

/* Runs the first n operations at hand. */
void tmem_user_run(struct tmem_user *user, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct tmem_user_op *op = &user->op[i];

		op->status = tmem_user_check(op);
		user->refusal[i] = 0;
		if (op->op == TMEM_USER_PUT && copy_from_user(user->page[i], u64_to_user_ptr(op->page), PAGE_SIZE))
			user->refusal[i] = -EFAULT;
	}
	for (i = 0; i < n; )
		i = tmem_user_run_some(user, i, n);
	/* What was taken for puts that came to nothing: nobody waits for it while pages are copied out. */
	tmem_group_give(user->group, user->taken - user->held);
	user->taken = user->held;
	for (i = 0; i < n; i++) {
		struct tmem_user_op *op = &user->op[i];

		if (op->op == TMEM_USER_GET && op->status == 1 &&
		    copy_to_user(u64_to_user_ptr(op->page), user->page[i], PAGE_SIZE))
			op->status = -EFAULT;
	}
}
