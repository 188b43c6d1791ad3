// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of the process that stay where they are, as for DMA.
 */
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include <dummy_compat.h>

#include "dummy.h"

/* Pages that are pinned under one hold of the mmap lock. */
#define PIN_BATCH	512UL

/**
 * struct pin - what one ONEWALK_DUMMY_PIN pinned
 * @list: on &dummy_mirror.pins
 * @npages: how many are in @pages
 * @pages: they
 */
struct pin {
	struct list_head	list;
	unsigned long		npages;
	struct page		*pages[];
};

static void free_pin(struct pin *pin)
{
	unpin_user_pages(pin->pages, pin->npages);
	kvfree(pin);
}

static long pin_batch(struct mm_struct *mm, unsigned long addr,
		      unsigned long npages, struct page **pages)
{
	long ret;

	if (fatal_signal_pending(current))
		return -EINTR;
	cond_resched();
	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;
	ret = pin_user_pages_remote(mm, addr, npages,
				    FOLL_WRITE | FOLL_LONGTERM, pages, NULL);
	mmap_read_unlock(mm);
	return ret ? ret : -EFAULT;
}

static int pin_all(struct dummy_mirror *mirror, struct pin *pin,
		   const struct onewalk_dummy_pin *arg)
{
	long n;

	while (pin->npages < arg->npages) {
		n = pin_batch(mirror->notifier.mm,
			      arg->addr + (pin->npages << PAGE_SHIFT),
			      min_t(u64, PIN_BATCH, arg->npages - pin->npages),
			      pin->pages + pin->npages);
		if (n < 0)
			return n;
		pin->npages += n;
	}
	return 0;
}

/**
 * dummy_pin() - ONEWALK_DUMMY_PIN
 * @mirror: the mirror
 * @arg: the argument
 *
 * All of the range or, with an errno, nothing.
 */
int dummy_pin(struct dummy_mirror *mirror, struct onewalk_dummy_pin *arg)
{
	struct pin *pin;
	int ret;

	ret = dummy_check_table(arg->addr, arg->npages);
	if (ret)
		return ret;
	pin = kvzalloc(struct_size(pin, pages, arg->npages),
		       GFP_KERNEL | __GFP_NOWARN);
	if (!pin)
		return -ENOMEM;

	ret = pin_all(mirror, pin, arg);
	if (ret) {
		free_pin(pin);
		return ret;
	}
	mutex_lock(&mirror->pin_lock);
	list_add(&pin->list, &mirror->pins);
	mirror->pinned += pin->npages;
	mutex_unlock(&mirror->pin_lock);
	return 0;
}

/**
 * dummy_unpin_all() - ONEWALK_DUMMY_UNPIN_ALL
 * @mirror: the mirror
 */
void dummy_unpin_all(struct dummy_mirror *mirror)
{
	struct pin *pin, *next;

	mutex_lock(&mirror->pin_lock);
	list_for_each_entry_safe(pin, next, &mirror->pins, list) {
		list_del(&pin->list);
		free_pin(pin);
	}
	mirror->pinned = 0;
	mutex_unlock(&mirror->pin_lock);
}

/**
 * dummy_lock() - ONEWALK_DUMMY_LOCK
 * @mirror: the mirror
 * @arg: the argument
 *
 * For tests of who meets a locked page: it has one more reference, and no pin.
 */
int dummy_lock(struct dummy_mirror *mirror,
	       const struct onewalk_dummy_lock *arg)
{
	struct folio *folio;
	struct page *page;
	long ret;

	ret = dummy_check_range(arg->addr, 1);
	if (!ret && arg->msec > ONEWALK_DUMMY_LOCK_MAX_MSEC)
		ret = -EINVAL;
	if (ret)
		return ret;

	ret = pin_batch(mirror->notifier.mm, arg->addr, 1, &page);
	if (ret < 0)
		return ret;
	folio = page_folio(page);
	folio_get(folio);
	unpin_user_page(page);

	ret = folio_lock_killable(folio);
	if (!ret) {
		schedule_timeout_killable(msecs_to_jiffies(arg->msec));
		folio_unlock(folio);
	}
	folio_put(folio);
	return ret;
}
