// SPDX-License-Identifier: GPL-2.0
/*
 * Making missing pages present, one at a time, and leaving to the kernel what
 * the kernel alone can do.
 *
 * This is the part of a call that sleeps, for as long as it takes: for swap and
 * files, for another device to give a page back, for somebody else's migration.
 * Nothing is held here but the mmap lock.
 */
#include <linux/delay.h>
#include <linux/hmm.h>
#include <linux/huge_mm.h>
#include <linux/hugetlb.h>
#include <linux/memory_hotplug.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "onewalk.h"

/*
 * A fault may return without having got anywhere, for instance when another
 * task holds the folio's lock and copies. After some tries there is a pause
 * before each, and after many the caller should look at the world afresh.
 */
#define EAGER_TRIES	4
#define MAX_TRIES	64
#define PAUSE_US	50

/* How many pages the kernel is given at once. */
#define CHUNK		ONEWALK_PMD_NR

static enum onewalk_status fault_status(vm_fault_t fault, int err)
{
	if (fault & (VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE))
		return ONEWALK_STATUS_FAULT_POISONED;
	if (err == -ENOMEM)
		return ONEWALK_STATUS_FAULT_ENOMEM;
	return ONEWALK_STATUS_FAULT_EFAULT;
}

/*
 * onewalk_too_many_tries() - shall the page at call->addr not be tried again
 * @call: the call
 *
 * Counts, and may sleep.
 */
bool onewalk_too_many_tries(struct onewalk_call *call)
{
	if (call->tried != call->addr) {
		call->tried = call->addr;
		call->tries = 0;
	}
	if (++call->tries > EAGER_TRIES)
		usleep_range(PAUSE_US, 2 * PAUSE_US);
	return call->tries > MAX_TRIES;
}

/* The fault dropped the mmap lock, as it was allowed to. */
static int lock_dropped(struct onewalk_call *call)
{
	if (WARN_ON_ONCE(!call->locked))
		return -EBUSY;

	*call->locked = false;
	return fatal_signal_pending(current) ? -EINTR : -EBUSY;
}

static vm_fault_t injected_fault(const struct onewalk_call *call)
{
	if (onewalk_fails(ONEWALK_POINT_FAULT_OOM))
		return VM_FAULT_OOM;
	if (onewalk_fails(ONEWALK_POINT_FAULT_SIGBUS))
		return VM_FAULT_SIGBUS;
	if (onewalk_fails(ONEWALK_POINT_FAULT_HWPOISON))
		return VM_FAULT_HWPOISON;
	if (call->locked && onewalk_fails(ONEWALK_POINT_FAULT_RETRY)) {
		mmap_read_unlock(call->mm);
		return VM_FAULT_RETRY;
	}
	return 0;
}

/*
 * onewalk_fault() - fault in the page that the scan stopped at
 * @call: the call; addr, write and vma tell which page
 *
 * Return: 0 to look again; an errno, with the page's status set; after -EBUSY
 * or -EINTR the mmap lock may have been dropped, if *call->locked says so.
 */
int onewalk_fault(struct onewalk_call *call)
{
	unsigned long i = onewalk_index(call, call->addr);
	unsigned int flags = FAULT_FLAG_REMOTE;
	vm_fault_t fault;
	int err;

	if (fatal_signal_pending(current))
		return -EINTR;
	if (onewalk_too_many_tries(call))
		return -EBUSY;

	if (call->write) {
		if (!(call->vma->vm_flags & VM_WRITE)) {
			onewalk_set_status(call, i, ONEWALK_STATUS_FAULT_EPERM);
			return -EPERM;
		}
		flags |= FAULT_FLAG_WRITE;
	}
	if (call->locked)
		flags |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;

	call->faults++;
	onewalk_may_wait(call);
	fault = injected_fault(call) ?:
		handle_mm_fault(call->vma, call->addr, flags, NULL);
	if (fault & (VM_FAULT_COMPLETED | VM_FAULT_RETRY))
		return lock_dropped(call);
	if (!(fault & VM_FAULT_ERROR)) {
		cond_resched();
		return 0;
	}

	err = vm_fault_to_errno(fault, 0) ?: -EFAULT;
	onewalk_set_status(call, i, fault_status(fault, err));
	return err;
}

/*
 * By now the page may be another one. And of device memory the kernel splits the
 * private kind alone; the other it would put on the LRU.
 */
static bool can_split(struct folio *folio)
{
	if (!folio_test_large(folio) || !folio_test_anon(folio))
		return false;
	return !folio_is_zone_device(folio) || folio_is_device_private(folio);
}

/* Its caller has it locked, and the one reference that may be there. */
static void split_fault_folio(struct page *fault_page)
{
	if (can_split(page_folio(fault_page)) &&
	    !onewalk_fails(ONEWALK_POINT_SPLIT))
		split_huge_page(fault_page);
}

static int split_folio_locked(struct onewalk_call *call, struct folio *folio)
{
	int ret = 0;

	/* Who holds a folio lock already does not wait for another. */
	if (!call->migrate->fault_page)
		ret = folio_lock_killable(folio);
	else if (!folio_trylock(folio))
		return 0;
	if (ret)
		return ret;

	/* The page that is given stays locked, and keeps our reference. */
	if (can_split(folio) && !onewalk_fails(ONEWALK_POINT_SPLIT))
		split_huge_page(&folio->page);
	folio_unlock(folio);
	return 0;
}

static int split_pmd(struct onewalk_call *call, pmd_t *pmdp,
		     unsigned long addr, unsigned long end)
{
	struct folio *folio = onewalk_get_folio(call, pmdp);
	int ret = 0;

	if (folio && onewalk_is_fault_folio(call->migrate, folio)) {
		folio_put(folio);
		split_fault_folio(call->migrate->fault_page);
	} else if (folio) {
		ret = split_folio_locked(call, folio);
		folio_put(folio);
	} else if (call->order) {
		/* The huge zero page: only its mapping can be split. */
		split_huge_pmd(call->vma, pmdp, addr);
	}
	return ret;
}

static int split_nothing(struct onewalk_call *call, unsigned long addr,
			 unsigned long end)
{
	return 0;
}

/*
 * onewalk_split() - split the large folio that the scan stopped at
 * @call: the call; addr, order and vma tell where it is mapped
 *
 * May fail for reasons that pass and for some that do not: the next look at the
 * page tells.
 *
 * Return: 0, or -EINTR.
 */
int onewalk_split(struct onewalk_call *call)
{
	static const struct onewalk_walk split = {
		.pmd = split_pmd,
		.hole = split_nothing,
		.exotic = split_nothing,
	};

	onewalk_may_wait(call);
	return onewalk_walk(call, &split, call->addr, call->addr + PAGE_SIZE);
}

/* Is any page that is to be collected still in some CPU's LRU batch? */
static bool any_off_lru(const struct onewalk_call *call)
{
	unsigned long i, npages = onewalk_index(call, call->range->end);
	struct page *page;
	unsigned long pfn;

	for (i = call->off_lru - 1; i < npages; i++) {
		onewalk_resched(i);
		pfn = call->range->hmm_pfns[i];
		if (!(pfn & ONEWALK_PFN_COLLECT))
			continue;
		/* No reference is held: a guess. Device memory is not online. */
		pfn = onewalk_noted_pfn(pfn);
		/* a hole, or else a zero page */
		page = pfn ? pfn_to_online_page(pfn) : NULL;
		if (page && PageAnon(page) && !PageLRU(page))
			return true;
	}
	return false;
}

/*
 * onewalk_drain() - bring pages that are to be collected to the LRU
 * @call: the call, looked ahead
 *
 * Pages that were just faulted in are in this CPU's batch. Only if one is in
 * another CPU's are all CPUs drained, once in a call: nothing is held yet that
 * somebody on whom the draining waits could want.
 */
void onewalk_drain(struct onewalk_call *call)
{
	if (!call->off_lru)
		return;

	lru_add_drain();
	if (call->drained || !onewalk_engine->drain_all ||
	    call->migrate->fault_page || !any_off_lru(call))
		return;
	call->drained = true;
	onewalk_may_wait(call);
	onewalk_engine->drain_all();
}

/* The kernel's layout differs from ours, and between kernels. */
static unsigned long from_hmm_pfn(unsigned long hmm_pfn)
{
	unsigned long flags = hmm_pfn & (HMM_PFN_VALID | HMM_PFN_WRITE |
					 HMM_PFN_ERROR);
	unsigned long order = hmm_pfn_to_map_order(hmm_pfn);

	if (!(flags & HMM_PFN_VALID))
		return flags;
	return flags | order << ONEWALK_PFN_ORDER_SHIFT |
	       (hmm_pfn & ~HMM_PFN_FLAGS);
}

static void take_over(struct onewalk_call *call, const struct hmm_range *hmm)
{
	enum onewalk_status never = is_vm_hugetlb_page(call->vma) ?
		ONEWALK_STATUS_HUGETLB : ONEWALK_STATUS_SPECIAL;
	unsigned long first = onewalk_index(call, hmm->start);
	unsigned long i;

	for (i = 0; i < (hmm->end - hmm->start) >> PAGE_SHIFT; i++) {
		unsigned long *pfn = &call->range->hmm_pfns[first + i];
		unsigned long req = onewalk_request(call, *pfn);

		*pfn = onewalk_output_over(*pfn, from_hmm_pfn(hmm->hmm_pfns[i]));
		onewalk_set_status(call, first + i,
				   req & ONEWALK_PFN_REQ_MIGRATE ?
				   never : ONEWALK_STATUS_NOT_REQUESTED);
	}
}

/*
 * Of all pages of a hugetlb page the kernel looks at the request of the first, or
 * of the first that is in the range.
 */
static void fill_requests(struct onewalk_call *call, struct hmm_range *hmm)
{
	unsigned long first = onewalk_index(call, hmm->start);
	unsigned long size = is_vm_hugetlb_page(call->vma) ?
		huge_page_size(hstate_vma(call->vma)) : PAGE_SIZE;
	unsigned long addr, head, i = 0;

	memset(hmm->hmm_pfns, 0,
	       (hmm->end - hmm->start) / PAGE_SIZE * sizeof(*hmm->hmm_pfns));
	for (addr = hmm->start; addr < hmm->end; addr += PAGE_SIZE, i++) {
		head = max(addr & ~(size - 1), hmm->start);
		hmm->hmm_pfns[(head - hmm->start) >> PAGE_SHIFT] |=
			onewalk_request(call, call->range->hmm_pfns[first + i]) &
			(HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	}
}

static int delegate_chunk(struct onewalk_call *call, struct hmm_range *hmm)
{
	unsigned long first = onewalk_index(call, hmm->start);
	int ret;

	fill_requests(call, hmm);
	onewalk_may_wait(call);
	ret = hmm_range_fault(hmm);
	if (ret == -EFAULT)
		onewalk_set_status(call, first, ONEWALK_STATUS_FAULT_EFAULT);
	else if (ret == -EPERM)
		onewalk_set_status(call, first, ONEWALK_STATUS_FAULT_EPERM);
	else if (ret == -ENOMEM)
		onewalk_set_status(call, first, ONEWALK_STATUS_FAULT_ENOMEM);
	return ret;
}

/*
 * onewalk_delegate() - have the kernel report and fault what it knows best
 * @call: the call; from addr on, in vma, up to
 * @end: here
 *
 * hugetlb pages and PUD leaves. They never migrate, nor does anything else in a
 * VMA that has one.
 */
int onewalk_delegate(struct onewalk_call *call, unsigned long end)
{
	const struct onewalk_range *range = call->range;
	struct hmm_range hmm = {
		.notifier = range->notifier,
		.notifier_seq = range->notifier_seq,
		.pfn_flags_mask = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
		.dev_private_owner = range->dev_private_owner,
	};
	int ret = 0;

	/* onewalk_migrate_setup() has none, and refuses hugetlb and DAX. */
	if (!range->notifier)
		return onewalk_look_at_nothing(call, call->addr, end);

	hmm.hmm_pfns = kcalloc(CHUNK, sizeof(*hmm.hmm_pfns), GFP_KERNEL);
	if (!hmm.hmm_pfns)
		return -ENOMEM;

	while (!ret && call->addr < end) {
		hmm.start = call->addr;
		hmm.end = min(end, hmm.start + CHUNK * PAGE_SIZE);
		ret = delegate_chunk(call, &hmm);
		if (ret)
			break;
		take_over(call, &hmm);
		call->addr = hmm.end;
		cond_resched();
	}
	kfree(hmm.hmm_pfns);
	return ret;
}
