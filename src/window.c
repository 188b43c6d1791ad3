// SPDX-License-Identifier: GPL-2.0
/*
 * One try to serve the faults of a window: ask for what they want, migrate, and
 * have the driver map what is there then.
 */
#include <linux/oom.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "onewalk.h"

static unsigned long request(const struct onewalk_window *window, u8 page)
{
	bool migrate = window->policy == ONEWALK_POLICY_MIGRATE &&
		       !(page & ONEWALK_PAGE_STAYS);
	u8 access = page & ONEWALK_PAGE_ACCESS;
	unsigned long req = 0;

	if (access)
		req |= ONEWALK_PFN_REQ_FAULT;
	if (onewalk_writes(access))
		req |= ONEWALK_PFN_REQ_WRITE;
	if (migrate && (access || window->around))
		req |= ONEWALK_PFN_REQ_MIGRATE;
	return req;
}

/* Anew for each try: nothing of an earlier one is relied on. */
static void init_try(struct onewalk_window *window)
{
	struct onewalk_service_arrays *arrays = window->service->arrays;
	const struct onewalk_space *space = window->space;
	bool alike = true;
	unsigned long i;

	window->reach = window->end;
	window->migrating = window->policy == ONEWALK_POLICY_MIGRATE;
	window->migrate = (struct onewalk_migrate){
		.src = arrays->src,
		.dst = arrays->dst,
		.pgmap_owner = space->pgmap_owner,
		.flags = space->select,
	};
	window->range = (struct onewalk_range){
		.notifier = space->notifier,
		.start = window->start,
		.end = window->end,
		.hmm_pfns = arrays->pfns,
		.pfn_flags_mask = ONEWALK_PFN_REQ_FLAGS,
		.dev_private_owner = window->upgrade ? NULL : space->pgmap_owner,
		.p2p = window->upgrade ? NULL : space->p2p,
		.migrate = window->migrating ? &window->migrate : NULL,
		.status = arrays->status,
	};
	/* Peers cannot be asked about. */
	if (!window->range.p2p)
		window->migrate.flags &=
			~(unsigned long)ONEWALK_MIGRATE_SELECT_DEVICE_P2P;
	window->pfns = arrays->pfns;
	for (i = 0; i < onewalk_window_pages(window); i++) {
		window->pfns[i] = request(window, window->pages[i]);
		alike &= window->pfns[i] == window->pfns[0];
	}
	/* the usual window, of which the whole is wanted, takes a shorter look */
	if (alike) {
		window->range.default_flags = window->pfns[0];
		window->range.pfn_flags_mask = 0;
	}
}

/* What is there now, of @nr pages that have moved. */
static void note_moved(struct onewalk_window *window, unsigned long i,
		       unsigned long nr)
{
	const struct onewalk_migrate *migrate = &window->migrate;
	unsigned long mpfn = migrate->src[i];
	unsigned long pfn = page_to_pfn(migrate_pfn_to_page(migrate->dst[i]));
	unsigned long flags = ONEWALK_PFN_VALID;
	unsigned long j;

	if (nr > 1)
		flags |= (unsigned long)(PMD_SHIFT - PAGE_SHIFT) <<
			 ONEWALK_PFN_ORDER_SHIFT;
	/* What fills a hole is mapped with all that the VMA allows. */
	if (mpfn & MIGRATE_PFN_VALID ? mpfn & MIGRATE_PFN_WRITE :
				       migrate->vma->vm_flags & VM_WRITE)
		flags |= ONEWALK_PFN_WRITE;
	for (j = 0; j < nr; j++)
		window->pfns[i + j] = flags | (pfn + j);
	onewalk_bounces_note(window->space->bounces,
			     window->start + (i << PAGE_SHIFT), nr);
}

/* A huge page was taken apart, and not all of it may have moved. */
static void forget_order(unsigned long *pfns)
{
	const unsigned long order = 0x1fUL << ONEWALK_PFN_ORDER_SHIFT;
	unsigned long i;

	for (i = 0; i < ONEWALK_PMD_NR; i++)
		pfns[i] &= ~order;
}

/*
 * A page that was prepared and did not move is about to be given back: as it was
 * reported.
 */
static void note_result(struct onewalk_window *window)
{
	const struct onewalk_migrate *migrate = &window->migrate;
	unsigned long i, nr;

	for (i = 0; i < migrate->npages; i += nr) {
		nr = 1;
		if ((window->pfns[i] & ONEWALK_PFN_COMPOUND) &&
		    !(migrate->src[i] & MIGRATE_PFN_COMPOUND))
			forget_order(window->pfns + i);
		if (!(migrate->src[i] & MIGRATE_PFN_MIGRATE) ||
		    !(migrate->dst[i] & MIGRATE_PFN_VALID)) {
			window->pfns[i] &= ~(ONEWALK_PFN_MIGRATE |
					     ONEWALK_PFN_COMPOUND);
			continue;
		}
		if (migrate->dst[i] & MIGRATE_PFN_COMPOUND)
			nr = ONEWALK_PMD_NR;
		note_moved(window, i, nr);
	}
}

/* A report is used while it is known to be true. */
static int map(struct onewalk_window *window)
{
	const struct onewalk_service_ops *ops = window->service->ops;
	const struct onewalk_range *range = &window->range;
	int ret = -EBUSY;

	onewalk_pause(ONEWALK_POINT_MAPPING, range->notifier);
	ops->lock(window->space);
	if (!mmu_interval_read_retry(range->notifier, range->notifier_seq))
		ret = ops->map(window);
	ops->unlock(window->space);
	return ret;
}

static int migrate_and_map(struct onewalk_window *window)
{
	struct onewalk_migrate *migrate = &window->migrate;
	int ret;

	onewalk_migrate_range_setup(&window->range);
	window->service->ops->copy(window);
	onewalk_migrate_pages(migrate);
	note_result(window);
	ret = map(window);
	onewalk_migrate_finalize(migrate);
	mmap_read_unlock(window->space->notifier->mm);
	return ret;
}

static int try_locked(struct onewalk_window *window, bool *waited)
{
	int ret;

	window->service->walks++;
	init_try(window);
	ret = onewalk_range_fault_once(&window->range, waited);
	if (ret)
		return ret;
	return window->migrating ? migrate_and_map(window) : map(window);
}

static int lock_space(const struct onewalk_window *window)
{
	struct rw_semaphore *service = window->space->service;

	if (!service)
		return 0;
	return window->policy == ONEWALK_POLICY_MIGRATE ?
		down_write_killable(service) : down_read_killable(service);
}

static void unlock_space(const struct onewalk_window *window)
{
	struct rw_semaphore *service = window->space->service;

	if (!service)
		return;
	if (window->policy == ONEWALK_POLICY_MIGRATE)
		up_write(service);
	else
		up_read(service);
}

/*
 * onewalk_try_window() - serve the faults of a window
 * @window: what they want is noted
 * @waited: out: the mmap lock was dropped, to wait for a page
 *
 * The process is held no longer than for one try: if it dies, the next one finds
 * it gone.
 *
 * Return: 0, with what is there now in &onewalk_window.pfns, and mapped; -ESRCH
 * when the process is gone; or as onewalk_range_fault() and the driver's map().
 */
int onewalk_try_window(struct onewalk_window *window, bool *waited)
{
	struct mm_struct *mm = window->space->notifier->mm;
	int ret;

	*waited = false;
	if (fatal_signal_pending(current))
		return -EINTR;
	cond_resched();
	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = check_stable_address_space(mm) ? -ESRCH : lock_space(window);
	if (!ret) {
		ret = try_locked(window, waited);
		unlock_space(window);
	}
	/* It was reaped meanwhile. */
	if (ret == -EFAULT && check_stable_address_space(mm))
		ret = -ESRCH;
	mmput(mm);
	return ret;
}
