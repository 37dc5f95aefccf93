/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/tmem, for programs: a private pool at the host for whoever opens it, gone when it is closed. See README.md; functions
 * around it are in guest-driver/user/c/tmem.h.
 *
 * A page is 4096 bytes at any address. Its key is (oid, index). One descriptor, one pool; it may be shared by threads and
 * inherited, and each call is then as if the others came before or after it.
 *
 * What fails with EINTR was interrupted by a signal before it began, while it waited for another call: it can be made again,
 * which the kernel does by itself for handlers with SA_RESTART.
 */
#ifndef TMEM_USER_H
#define TMEM_USER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define TMEM_USER_EPHEMERAL	0
#define TMEM_USER_PERSISTENT	1

struct tmem_user_pool {
	__u32 flags;
	__u32 reserved;		/* 0 */
	/* Set by the driver. */
	__u64 pages_max;	/* that the pools of the opener's memory cgroup may hold together */
	__u64 pages_group;	/* that they hold at most: the host may have evicted ephemeral ones, a put under way may be refused */
	__u64 pages_held;	/* that this pool holds at most */
};

#define TMEM_USER_PUT		4
#define TMEM_USER_GET		5
#define TMEM_USER_FLUSH		6
#define TMEM_USER_FLUSH_RANGE	16

struct tmem_user_op {
	__u32 op;
	__u32 index;		/* of FLUSH_RANGE: the first */
	__u64 oid[3];
	__u64 page;		/* address of 4096 bytes; of FLUSH: 0; of FLUSH_RANGE: how many indexes, index + page <= 2^32 */
	/*
	 * Set by the driver. PUT 0; GET 1 found, 0 not; FLUSH and FLUSH_RANGE: pages that went (of ephemeral pools: that were
	 * still there). -ENOMEM, -EBUSY: the put was refused, by the group's limit or the host; -EFAULT: the page cannot be read
	 * or written; -EINVAL: no such operation; -EOPNOTSUPP: the host has no FLUSH_RANGE; -EIO: the host failed; -ECANCELED:
	 * not run. A put that ends with -ENOMEM, -EBUSY or -EFAULT leaves no older page. A GET from an ephemeral pool removes
	 * the page, even if it ends with -EFAULT.
	 */
	__s64 status;
};

/*
 * Run in order, in as few exits as can be. Of 32 operations at a time, the pages to be put are read before the first runs, and
 * those that were found written after the last.
 */
struct tmem_user_ops {
	__u64 ops;		/* address of an array of struct tmem_user_op */
	__u32 n;		/* at most TMEM_USER_OPS_MAX */
	__u32 reserved;		/* 0 */
};
#define TMEM_USER_OPS_MAX	65536

/*
 * Makes the pool: once for each descriptor, before anything else. EUSERS: there are as many pools as there may be, of the
 * opener's memory cgroup or in all; anything else but EBUSY, EINVAL and EFAULT: the host has none to give.
 */
#define TMEM_USER_IOC_POOL	_IOWR(0xe7, 1, struct tmem_user_pool)
/* What the pool is and holds. */
#define TMEM_USER_IOC_INFO	_IOR(0xe7, 2, struct tmem_user_pool)
/* One operation; its status is in the structure. If that cannot be written, it does not run: EFAULT. */
#define TMEM_USER_IOC_OP	_IOWR(0xe7, 3, struct tmem_user_op)
/*
 * Many; returns how many were run: fewer than n only if a signal came, or the array is not all memory that can be read and
 * written; then those of its 32 do not run, and if they are the first, it is EFAULT. (Memory that another thread takes away
 * meanwhile makes 32 more that have run, and of which nobody learns.)
 */
#define TMEM_USER_IOC_OPS	_IOW(0xe7, 4, struct tmem_user_ops)

#endif /* TMEM_USER_H */
