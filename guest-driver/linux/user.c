// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/tmem: a private pool for each program that opens it.
 *
 * A program's memory is only touched with nothing but this descriptor's mutex held: pages to be put are copied to pages of
 * the descriptor's own, then the host is called with preemption off, then pages that were found are copied out. So a page
 * fault may sleep, swap through this very driver, or never end, and nobody else waits for it.
 *
 * How much a program may have at the host is counted here, exactly for persistent pools: a put is preceded by a flush of the
 * same key in the same exit, whose answer tells whether the page is a new one. A pool of ephemeral pages counts those that the
 * host has evicted as well; at its limit it is replaced by an empty one, which loses nothing that it promised to keep. A memory
 * cgroup cannot be charged: no kernel exports that for pages that are not this machine's (README.md).
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/fs.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "batch.h"
#include "host.h"
#include "stats.h"
#include "tmem_user.h"
#include "user.h"

static ulong user_pages = 16384;
module_param(user_pages, ulong, 0644);
MODULE_PARM_DESC(user_pages, "Most pages that a program may hold through one opening of /dev/tmem (default 16384: 64 MiB)");

static uint user_pools = 8;
module_param(user_pools, uint, 0644);
MODULE_PARM_DESC(user_pools, "Most pools that programs may have at a time (default 8; 0: none)");

/* A put is two entries of a batch. */
#define TMEM_USER_CHUNK	32

static_assert(2 * TMEM_USER_CHUNK <= TMEM_BATCH_ENTRIES);
static_assert(TMEM_USER_PUT == TMEM_OP_PUT && TMEM_USER_GET == TMEM_OP_GET);
static_assert(TMEM_USER_FLUSH == TMEM_OP_FLUSH_PAGE && TMEM_USER_FLUSH_RANGE == TMEM_OP_FLUSH_RANGE);
static_assert(TMEM_USER_PERSISTENT == TMEM_POOL_PERSISTENT && TMEM_USER_EPHEMERAL == TMEM_POOL_EPHEMERAL);
static_assert(sizeof(struct tmem_user_op) == 48 && sizeof(struct tmem_user_pool) == 24);

struct tmem_user {
	struct mutex lock;
	bool has_pool;
	u32 pool;
	struct tmem_user_pool info;
	void *page[TMEM_USER_CHUNK];
	/* The operations at hand, and what came of copying each one's page. */
	struct tmem_user_op op[TMEM_USER_CHUNK];
	int fault[TMEM_USER_CHUNK];
};

static atomic_t tmem_user_count = ATOMIC_INIT(0);
static bool tmem_user_on;

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
		user->info.pages_held -= min_t(u64, gone, user->info.pages_held);
}

static void tmem_user_take_put(struct tmem_user *user, struct tmem_user_op *op, s64 answer)
{
	op->status = tmem_user_answer(answer, 0);
	tmem_count(TMEM_STAT_PUTS, 1);
	if (!op->status)
		user->info.pages_held++;
	else
		tmem_count(op->status == -EIO ? TMEM_STAT_PUTS_FAILED : TMEM_STAT_PUTS_REFUSED, 1);
}

static void tmem_user_take_get(struct tmem_user *user, struct tmem_user_op *op, s64 answer)
{
	op->status = tmem_user_answer(answer, 1);
	tmem_count(TMEM_STAT_GETS, 1);
	if (op->status == 1 && user->info.flags == TMEM_USER_EPHEMERAL)
		tmem_user_forget(user, 1);
}

/* Asks the host about the first n operations at hand. */
static void tmem_user_call(struct tmem_user *user, unsigned int n)
{
	struct tmem_batch *batch = tmem_batch_begin();
	unsigned int i, at = 0;

	for (i = 0; i < n; i++) {
		const struct tmem_user_op *op = &user->op[i];

		if (op->status)
			continue;
		if (op->op == TMEM_USER_PUT) {
			tmem_user_add(batch, user->pool, op, TMEM_OP_FLUSH_PAGE, 0);
			if (!user->fault[i])
				tmem_user_add(batch, user->pool, op, TMEM_OP_PUT, virt_to_phys(user->page[i]));
		} else {
			tmem_user_add(batch, user->pool, op, op->op, tmem_user_r9(user, i));
		}
	}
	tmem_batch_run(batch);
	for (i = 0; i < n; i++) {
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
		else if (user->fault[i])
			op->status = -EFAULT;
		else
			tmem_user_take_put(user, op, tmem_batch_status(batch, at++));
	}
	tmem_batch_end(batch);
}

/* The pool is at its limit, and one operation is at hand. */
static int tmem_user_call_at_limit(struct tmem_user *user)
{
	struct tmem_user_op *op = user->op;
	u32 pool;
	int err;

	if (op->op != TMEM_USER_PUT || op->status) {
		tmem_user_call(user, 1);
		return 0;
	}
	/* An older page under the key makes room for the new one. If not, it is gone all the same, as after any failed put. */
	op->op = TMEM_USER_FLUSH;
	tmem_user_call(user, 1);
	op->op = TMEM_USER_PUT;
	op->status = 0;
	if (user->info.pages_held >= user->info.pages_max && user->info.flags == TMEM_USER_EPHEMERAL) {
		err = tmem_pool_new(TMEM_POOL_EPHEMERAL, &pool);
		if (err)
			return err;
		tmem_pool_destroy(user->pool);
		user->pool = pool;
		user->info.pages_held = 0;
	}
	if (user->info.pages_held >= user->info.pages_max) {
		op->status = user->fault[0] ? user->fault[0] : -ENOMEM;
		return 0;
	}
	tmem_user_call(user, 1);
	return 0;
}

/* Runs the first n operations at hand, which fit into the pool or are one. */
static int tmem_user_run(struct tmem_user *user, unsigned int n)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < n; i++) {
		struct tmem_user_op *op = &user->op[i];

		op->status = tmem_user_check(op);
		user->fault[i] = 0;
		if (op->op == TMEM_USER_PUT && copy_from_user(user->page[i], u64_to_user_ptr(op->page), PAGE_SIZE))
			user->fault[i] = -EFAULT;
	}
	if (user->info.pages_held + n > user->info.pages_max)
		err = tmem_user_call_at_limit(user);
	else
		tmem_user_call(user, n);
	for (i = 0; !err && i < n; i++) {
		struct tmem_user_op *op = &user->op[i];

		if (op->op == TMEM_USER_GET && op->status == 1 &&
		    copy_to_user(u64_to_user_ptr(op->page), user->page[i], PAGE_SIZE))
			op->status = -EFAULT;
	}
	return err;
}

static long tmem_user_op(struct tmem_user *user, struct tmem_user_op __user *to)
{
	int err;

	if (copy_from_user(user->op, to, sizeof(*to)))
		return -EFAULT;
	err = tmem_user_run(user, 1);
	if (err)
		return err;
	return put_user(user->op[0].status, &to->status);
}

static long tmem_user_ops(struct tmem_user *user, const struct tmem_user_ops __user *from)
{
	struct tmem_user_ops ops;
	struct tmem_user_op __user *to;
	unsigned int i, n, done;
	long err = 0;

	if (copy_from_user(&ops, from, sizeof(ops)))
		return -EFAULT;
	if (ops.reserved)
		return -EINVAL;
	if (ops.n > TMEM_USER_OPS_MAX)
		return -E2BIG;
	to = u64_to_user_ptr(ops.ops);
	for (done = 0; done < ops.n && !err; done += n, to += n) {
		n = min_t(unsigned int, ops.n - done, TMEM_USER_CHUNK);
		if (user->info.pages_held + n > user->info.pages_max)
			n = 1;
		if (signal_pending(current))
			err = -EINTR;
		else if (copy_from_user(user->op, to, n * sizeof(*to)))
			err = -EFAULT;
		else
			err = tmem_user_run(user, n);
		for (i = 0; !err && i < n; i++)
			err = put_user(user->op[i].status, &to[i].status);
		if (err)
			break;
		cond_resched();
	}
	return done ? done : err;
}

static void tmem_user_free(struct tmem_user *user)
{
	unsigned int i;

	for (i = 0; i < TMEM_USER_CHUNK; i++) {
		free_page((unsigned long)user->page[i]);
		user->page[i] = NULL;
	}
}

/* The pages are this machine's, so they are charged to the memory cgroup of whoever makes the pool. */
static int tmem_user_alloc(struct tmem_user *user)
{
	unsigned int i;

	for (i = 0; i < TMEM_USER_CHUNK; i++) {
		user->page[i] = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
		if (!user->page[i])
			return -ENOMEM;
	}
	return 0;
}

static long tmem_user_new(struct tmem_user *user, struct tmem_user_pool __user *to)
{
	struct tmem_user_pool info;
	int err;

	if (copy_from_user(&info, to, sizeof(info)))
		return -EFAULT;
	if (info.reserved || info.flags > TMEM_USER_PERSISTENT)
		return -EINVAL;
	if (user->has_pool)
		return -EBUSY;
	if (info.flags == TMEM_USER_EPHEMERAL && !tmem_host_has(TMEM_FEATURE_EPHEMERAL))
		return -EOPNOTSUPP;
	info.pages_max = READ_ONCE(user_pages);
	info.pages_held = 0;
	if (atomic_inc_return(&tmem_user_count) > READ_ONCE(user_pools) || !info.pages_max) {
		err = -EUSERS;
		goto count;
	}
	err = tmem_user_alloc(user);
	if (err)
		goto pages;
	err = tmem_pool_new(info.flags, &user->pool);
	if (err)
		goto pages;
	user->info = info;
	user->has_pool = true;
	/* If this fails, the pool is there all the same and INFO tells about it. */
	return copy_to_user(to, &info, sizeof(info)) ? -EFAULT : 0;
pages:
	tmem_user_free(user);
count:
	atomic_dec(&tmem_user_count);
	return err;
}

static long tmem_user_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct tmem_user *user = file->private_data;
	void __user *to = (void __user *)arg;
	long answer;

	if (mutex_lock_interruptible(&user->lock))
		return -EINTR;
	if (cmd == TMEM_USER_IOC_POOL)
		answer = tmem_user_new(user, to);
	else if (!user->has_pool)
		answer = -ENODEV;
	else if (cmd == TMEM_USER_IOC_INFO)
		answer = copy_to_user(to, &user->info, sizeof(user->info)) ? -EFAULT : 0;
	else if (cmd == TMEM_USER_IOC_OP)
		answer = tmem_user_op(user, to);
	else if (cmd == TMEM_USER_IOC_OPS)
		answer = tmem_user_ops(user, to);
	else
		answer = -ENOTTY;
	mutex_unlock(&user->lock);
	return answer;
}

static int tmem_user_open(struct inode *inode, struct file *file)
{
	struct tmem_user *user = kzalloc(sizeof(*user), GFP_KERNEL_ACCOUNT);

	if (!user)
		return -ENOMEM;
	mutex_init(&user->lock);
	file->private_data = user;
	return nonseekable_open(inode, file);
}

static int tmem_user_release(struct inode *inode, struct file *file)
{
	struct tmem_user *user = file->private_data;

	if (user->has_pool) {
		tmem_pool_destroy(user->pool);
		tmem_user_free(user);
		atomic_dec(&tmem_user_count);
	}
	kfree(user);
	return 0;
}

static const struct file_operations tmem_user_fops = {
	.owner = THIS_MODULE,
	.open = tmem_user_open,
	.release = tmem_user_release,
	.unlocked_ioctl = tmem_user_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice tmem_user_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "tmem",
	.fops = &tmem_user_fops,
	.mode = 0600,
};

/* Without it the kernel's own use of tmem goes on. */
void tmem_user_init(void)
{
	int err = misc_register(&tmem_user_device);

	if (err)
		pr_err("/dev/tmem cannot be added: error %d\n", err);
	else
		tmem_user_on = true;
}

/* Nobody has it open: whoever has holds the module. */
void tmem_user_exit(void)
{
	if (tmem_user_on)
		misc_deregister(&tmem_user_device);
}
