// SPDX-License-Identifier: GPL-2.0-only
/*
 * One page there and back.
 *
 * A host that is full, or that has frozen this guest, takes no page for the test when the module is loaded, and says so as a
 * good host does. Swap should be there all the same, so the module stays, but gives the host nothing: each put is refused
 * here, as the host would. While pages are offered, the test is made again once a second, until the host takes the page.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include "host.h"
#include "proof.h"

#define TMEM_PROOF_DELAY	HZ

bool tmem_host_is_proven;

/* The host has failed the test: it is not asked again. */
static bool tmem_host_is_bad;
static u32 tmem_proof_pool;

/* The key is no slot's (key.h): the device may be in use. */
static s64 tmem_proof_call(u32 op, void *page)
{
	struct tmem_regs regs = {
		.rdi = op | (u64)tmem_proof_pool << TMEM_POOL_SHIFT,
		.rsi = U64_MAX,
		.rdx = U64_MAX,
		.r10 = U64_MAX,
		.r9 = page ? virt_to_phys(page) : 0,
	};

	return tmem_call(&regs);
}

/* 0 if the page is as it was; -ENOMEM or -EBUSY if the host takes none now. */
static int tmem_proof_round_trip(u8 *page, u8 *back)
{
	s64 put, get, flush, again;
	int i;

	for (i = 0; i < PAGE_SIZE; i++)
		page[i] = i ^ (i >> 8) ^ 0x5a;
	memset(back, 0, PAGE_SIZE);

	put = tmem_proof_call(TMEM_OP_PUT, page);
	if (put == -ENOMEM || put == -EBUSY)
		return put;
	get = tmem_proof_call(TMEM_OP_GET, back);
	flush = tmem_proof_call(TMEM_OP_FLUSH_PAGE, NULL);
	again = tmem_proof_call(TMEM_OP_GET, back);
	if (put == 0 && get == 1 && flush == 1 && again == 0 && !memcmp(page, back, PAGE_SIZE))
		return 0;
	pr_err("the host failed the test of one page: put %lld, get %lld, flush %lld, get %lld, page %s\n",
	       put, get, flush, again, memcmp(page, back, PAGE_SIZE) ? "differs" : "is right");
	return -EIO;
}

static int tmem_prove(void)
{
	u8 *pages = (u8 *)__get_free_pages(GFP_KERNEL, 1);
	int err;

	if (!pages)
		return -ENOMEM;
	err = tmem_proof_round_trip(pages, pages + PAGE_SIZE);
	free_pages((unsigned long)pages, 1);
	if (!err)
		WRITE_ONCE(tmem_host_is_proven, true);
	return err;
}

static void tmem_proof_work(struct work_struct *work)
{
	int err = tmem_prove();

	if (!err) {
		pr_info("the host has kept a page: from now on it is given others\n");
	} else if (err == -EIO) {
		WRITE_ONCE(tmem_host_is_bad, true);
		pr_err("the host is given no pages\n");
	}
}

static DECLARE_DELAYED_WORK(tmem_proof_later, tmem_proof_work);

void tmem_proof_wanted(void)
{
	if (!READ_ONCE(tmem_host_is_bad))
		schedule_delayed_work(&tmem_proof_later, TMEM_PROOF_DELAY);
}

int tmem_proof_init(u32 pool)
{
	int err;

	tmem_proof_pool = pool;
	err = tmem_prove();
	if (err != -ENOMEM && err != -EBUSY)
		return err;
	pr_warn("the host takes no pages now (error %d): it is given none until it has kept one for a test\n", err);
	return 0;
}

void tmem_proof_exit(void)
{
	cancel_delayed_work_sync(&tmem_proof_later);
}
