// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of the process that stay where they are, as for DMA.
 */
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "dummy.h"

/* Pages that are pinned under one hold of the mmap lock. */
#define PIN_BATCH	512UL

/**
 * struct pin - what one ONEWALK_DUMMY_PIN, or PIN_LONGTERM, pinned
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

static struct pin *alloc_pin(u64 addr, u64 npages)
{
	struct pin *pin;
	int ret = dummy_check_table(addr, npages);

	if (ret)
		return ERR_PTR(ret);
	pin = kvzalloc(struct_size(pin, pages, npages),
		       GFP_KERNEL | __GFP_NOWARN);
	return pin ? pin : ERR_PTR(-ENOMEM);
}

static void keep_pin(struct dummy_mirror *mirror, struct pin *pin)
{
	mutex_lock(&mirror->pin_lock);
	list_add(&pin->list, &mirror->pins);
	mirror->pinned += pin->npages;
	mutex_unlock(&mirror->pin_lock);
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
	struct pin *pin = alloc_pin(arg->addr, arg->npages);
	int ret;

	if (IS_ERR(pin))
		return PTR_ERR(pin);
	ret = pin_all(mirror, pin, arg);
	if (ret)
		free_pin(pin);
	else
		keep_pin(mirror, pin);
	return ret;
}

/**
 * struct longterm - one ONEWALK_DUMMY_PIN_LONGTERM
 * @pin: for onewalk
 * @mirror: the mirror
 * @left: how many pages there are to move to, still
 */
struct longterm {
	struct onewalk_pin	pin;
	struct dummy_mirror	*mirror;
	unsigned long		left;
};

static struct page *alloc_destination(struct onewalk_pin *pin,
				      struct vm_area_struct *vma,
				      unsigned long addr)
{
	struct longterm *longterm = container_of(pin, struct longterm, pin);
	struct page *page;

	if (!longterm->left || dummy_fails_on_purpose(longterm->mirror))
		return NULL;
	page = alloc_page(GFP_USER);
	if (page) {
		longterm->left--;
		lock_page(page);
	}
	return page;
}

static int check_longterm(const struct onewalk_dummy_pin_longterm *arg)
{
	const u32 known = ONEWALK_DUMMY_PIN_WRITE | ONEWALK_DUMMY_PIN_ALLOC;

	if (arg->flags & ~known)
		return -EINVAL;
	return arg->limit && !(arg->flags & ONEWALK_DUMMY_PIN_ALLOC) ?
		-EINVAL : 0;
}

/**
 * dummy_pin_longterm() - ONEWALK_DUMMY_PIN_LONGTERM
 * @mirror: the mirror
 * @arg: the argument
 */
int dummy_pin_longterm(struct dummy_mirror *mirror,
		       struct onewalk_dummy_pin_longterm *arg)
{
	struct longterm longterm = {
		.pin.mm = mirror->notifier.mm,
		.pin.start = arg->addr,
		.pin.npages = arg->npages,
		.mirror = mirror,
		.left = arg->limit ? arg->limit : ULONG_MAX,
	};
	struct pin *pin;
	int ret;

	arg->moved = 0;
	ret = check_longterm(arg);
	if (ret)
		return ret;
	pin = alloc_pin(arg->addr, arg->npages);
	if (IS_ERR(pin))
		return PTR_ERR(pin);

	longterm.pin.pages = pin->pages;
	if (arg->flags & ONEWALK_DUMMY_PIN_WRITE)
		longterm.pin.gup_flags = FOLL_WRITE;
	if (arg->flags & ONEWALK_DUMMY_PIN_ALLOC)
		longterm.pin.alloc = alloc_destination;
	ret = onewalk_pin_longterm(&longterm.pin);
	arg->moved = longterm.pin.moved;
	if (ret) {
		free_pin(pin);
		return ret;
	}
	pin->npages = arg->npages;
	keep_pin(mirror, pin);
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
