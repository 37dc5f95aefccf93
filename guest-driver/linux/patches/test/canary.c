// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does one thing that no module may do, so that the scenarios can see whether the kernel that they run on notices:
 *
 *   insmod canary.ko what=sleep
 *
 * It never stays loaded.
 */
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *what = "";
module_param(what, charp, 0444);
MODULE_PARM_DESC(what, "sleep, preempt, order or free");

static DEFINE_SPINLOCK(canary_spin);
static DEFINE_MUTEX(canary_first);
static DEFINE_MUTEX(canary_second);

static void canary_sleep(void)
{
	spin_lock(&canary_spin);
	might_sleep();
	spin_unlock(&canary_spin);
}

static void canary_preempt(void)
{
	pr_info("canary: on CPU %u\n", smp_processor_id());
}

static void canary_order(void)
{
	mutex_lock(&canary_first);
	mutex_lock(&canary_second);
	mutex_unlock(&canary_second);
	mutex_unlock(&canary_first);

	mutex_lock(&canary_second);
	mutex_lock(&canary_first);
	mutex_unlock(&canary_first);
	mutex_unlock(&canary_second);
}

static void canary_free(void)
{
	volatile char *bytes = kmalloc(64, GFP_KERNEL);

	if (!bytes)
		return;
	kfree((void *)bytes);
	bytes[7] = 1;
}

static int __init canary_init(void)
{
	if (!strcmp(what, "sleep"))
		canary_sleep();
	else if (!strcmp(what, "preempt"))
		canary_preempt();
	else if (!strcmp(what, "order"))
		canary_order();
	else if (!strcmp(what, "free"))
		canary_free();
	else
		return -EINVAL;
	return -ECANCELED;
}
module_init(canary_init);

MODULE_DESCRIPTION("What a kernel with lockdep and KASAN has to notice");
MODULE_LICENSE("GPL");
