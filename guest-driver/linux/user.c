// SPDX-License-Identifier: GPL-2.0-only
/* /dev/tmem: a private pool for each program that opens it. What runs in it is user_run.c's, how much fits into it quota.c's. */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "host.h"
#include "key.h"
#include "user.h"

static_assert(TMEM_USER_PERSISTENT == TMEM_POOL_PERSISTENT && TMEM_USER_EPHEMERAL == TMEM_POOL_EPHEMERAL);
static_assert(sizeof(struct tmem_user_op) == 48 && sizeof(struct tmem_user_pool) == 32);

static bool tmem_user_on;

/*
 * Copies n operations, and marks them as not run where the program has them: from then on their status can be told, unless
 * another thread takes the memory away meanwhile.
 */
static int tmem_user_load(struct tmem_user *user, struct tmem_user_op __user *from, unsigned int n)
{
	unsigned int i;

	if (copy_from_user(user->op, from, n * sizeof(*from)))
		return -EFAULT;
	for (i = 0; i < n; i++) {
		if (put_user((s64)-ECANCELED, &from[i].status))
			return -EFAULT;
	}
	return 0;
}

static int tmem_user_tell(const struct tmem_user *user, struct tmem_user_op __user *to, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (put_user(user->op[i].status, &to[i].status))
			return -EFAULT;
	}
	return 0;
}

static int tmem_user_some(struct tmem_user *user, struct tmem_user_op __user *ops, unsigned int n)
{
	int err = tmem_user_load(user, ops, n);

	if (err)
		return err;
	tmem_user_run(user, n);
	return tmem_user_tell(user, ops, n);
}

static long tmem_user_ops(struct tmem_user *user, const struct tmem_user_ops __user *from)
{
	struct tmem_user_ops ops;
	struct tmem_user_op __user *to;
	unsigned int n, done;
	int err;

	if (copy_from_user(&ops, from, sizeof(ops)))
		return -EFAULT;
	if (ops.reserved)
		return -EINVAL;
	if (ops.n > TMEM_USER_OPS_MAX)
		return -E2BIG;
	to = u64_to_user_ptr(ops.ops);
	/* Signals are looked at between exits only, so that each call makes some progress and is never undone. */
	for (done = 0; done < ops.n && !(done && signal_pending(current)); done += n) {
		n = min_t(unsigned int, ops.n - done, TMEM_USER_CHUNK);
		err = tmem_user_some(user, to + done, n);
		if (err)
			return done ? done : err;
		cond_resched();
	}
	return done;
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

static long tmem_user_info(const struct tmem_user *user, struct tmem_user_pool __user *to)
{
	const struct tmem_user_pool info = {
		.flags = user->flags,
		.pages_max = tmem_group_pages_max(),
		.pages_group = tmem_group_pages(user->group),
		.pages_held = user->held,
	};

	return copy_to_user(to, &info, sizeof(info)) ? -EFAULT : 0;
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
	err = tmem_group_add_pool(user->group);
	if (err)
		return err;
	err = tmem_user_alloc(user);
	if (!err)
		err = tmem_pool_new(info.flags, &user->pool);
	if (err) {
		tmem_user_free(user);
		tmem_group_remove_pool(user->group);
		return err;
	}
	user->flags = info.flags;
	user->has_pool = true;
	/* If this fails, the pool is there all the same and INFO tells about it. */
	return tmem_user_info(user, to);
}

static long tmem_user_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct tmem_user *user = file->private_data;
	void __user *to = (void __user *)arg;
	long answer;

	/* Nothing has been done, so that the call can be made again after the signal's handler. */
	if (mutex_lock_interruptible(&user->lock))
		return -ERESTARTSYS;
	if (cmd == TMEM_USER_IOC_POOL)
		answer = tmem_user_new(user, to);
	else if (!user->has_pool)
		answer = -ENODEV;
	else if (cmd == TMEM_USER_IOC_INFO)
		answer = tmem_user_info(user, to);
	else if (cmd == TMEM_USER_IOC_OP)
		answer = tmem_user_some(user, to, 1);
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
	user->group = tmem_group_join();
	if (IS_ERR(user->group)) {
		int err = PTR_ERR(user->group);

		kfree(user);
		return err;
	}
	mutex_init(&user->lock);
	file->private_data = user;
	return nonseekable_open(inode, file);
}

static int tmem_user_release(struct inode *inode, struct file *file)
{
	struct tmem_user *user = file->private_data;

	if (user->has_pool) {
		tmem_pool_destroy(user->pool);
		tmem_group_give(user->group, user->taken);
		tmem_group_remove_pool(user->group);
		tmem_user_free(user);
	}
	tmem_group_leave(user->group);
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
