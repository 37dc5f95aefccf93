// SPDX-License-Identifier: GPL-2.0-only
/*
 * Suspend keeps the machine and what the host has of it, so it needs nothing here.
 *
 * Hibernation does not: the host's pages end with the machine that is powered off, and the image that comes back would look
 * for them in another one, or, where the host saw only a reset, in pools that the kernel in between may have made its own. So
 * it is refused while the module is loaded, pages or none: pools, too, are part of what comes back. Userspace snapshots
 * (/dev/snapshot) go the same way. A kernel that is about to be replaced by an image loses nothing that the image has.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/errno.h>
#include <linux/notifier.h>
#include <linux/printk.h>
#include <linux/suspend.h>

#include "power.h"

static int tmem_power_event(struct notifier_block *nb, unsigned long event, void *unused)
{
	if (event != PM_HIBERNATION_PREPARE)
		return NOTIFY_DONE;
	pr_err("no hibernation: pages in the host's memory would not come back; swapoff /dev/tmem0 and rmmod tmem first\n");
	return notifier_from_errno(-EBUSY);
}

static struct notifier_block tmem_power_notifier = {
	.notifier_call = tmem_power_event,
};

int tmem_power_init(void)
{
	return register_pm_notifier(&tmem_power_notifier);
}

void tmem_power_exit(void)
{
	unregister_pm_notifier(&tmem_power_notifier);
}
