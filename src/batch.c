// SPDX-License-Identifier: GPL-2.0
/*
 * A device's fault buffer: sort, serve neighbours together, and tell of each
 * fault what the device is to do.
 *
 * Every fault gets the verdict that it would have got alone. So an error is the
 * verdict on a window of one page. A larger one that meets an error is cut in
 * front of the page which the error is about, or behind it if that is its first.
 * Faults that have no verdict yet are the work that is left: each window takes
 * its own from there, and whatever cut it short, the next one takes the rest.
 */
#include <linux/export.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "onewalk.h"

/**
 * struct batch - one call
 * @service: the caller's
 * @faults: the caller's, in their own order
 * @nr: how many
 * @next: all faults before this one, as sorted, have their verdict
 * @last: the first fault behind the window, as sorted
 * @first: address of the window's first fault
 * @window: what is being served
 * @fruitless: how often in a row it was tried in vain
 * @waits: how often of late a try dropped the mmap lock, to wait for a page
 * @deadline: when to give up trying again, in jiffies
 */
struct batch {
	struct onewalk_service	*service;
	struct onewalk_fault	*faults;
	unsigned int		nr;
	unsigned int		next;
	unsigned int		last;
	unsigned long		first;
	struct onewalk_window	window;
	unsigned int		fruitless;
	unsigned int		waits;
	unsigned long		deadline;
};

static const char * const reason_names[] = {
	[ONEWALK_REASON_SERVED]		= "served",
	[ONEWALK_REASON_SKIPPED]	= "skipped by policy",
	[ONEWALK_REASON_BUSY]		= "memory kept changing",
	[ONEWALK_REASON_STOPPED]	= "stopped early",
	[ONEWALK_REASON_BAD_ADDRESS]	= "bad address",
	[ONEWALK_REASON_NO_PERMISSION]	= "no write permission",
	[ONEWALK_REASON_NO_MEMORY]	= "out of memory",
	[ONEWALK_REASON_DRIVERS_OWN]	= "the driver's own range",
	[ONEWALK_REASON_DYING]		= "process is dying",
	[ONEWALK_REASON_NOT_MAPPED]	= "not mapped by the driver",
};

static_assert(ARRAY_SIZE(reason_names) == ONEWALK_NR_REASONS);

/* --- faults --- */

static struct onewalk_fault *fault_at(const struct batch *batch, unsigned int n)
{
	return &batch->faults[batch->service->arrays->order[n]];
}

static unsigned long page_of(const struct onewalk_fault *fault)
{
	return fault->addr & PAGE_MASK;
}

static bool is_pending(const struct onewalk_fault *fault)
{
	return fault->reason == ONEWALK_REASON_STOPPED;
}

static bool cancels(enum onewalk_reason reason)
{
	switch (reason) {
	case ONEWALK_REASON_SERVED:
	case ONEWALK_REASON_SKIPPED:
	case ONEWALK_REASON_BUSY:
	case ONEWALK_REASON_STOPPED:
		return false;
	default:
		return true;
	}
}

static void judge(struct batch *batch, struct onewalk_fault *fault,
		  enum onewalk_reason reason)
{
	fault->reason = reason;
	fault->verdict = cancels(reason) &&
			 fault->access != ONEWALK_ACCESS_PREFETCH ?
			 ONEWALK_CANCEL : ONEWALK_REPLAY;
	batch->fruitless = 0;
	batch->waits = 0;
}

/* All faults of this address space that have no verdict yet, up to @last. */
static void judge_until(struct batch *batch, const struct onewalk_space *space,
			unsigned long last, enum onewalk_reason reason)
{
	struct onewalk_fault *fault;
	unsigned int n;

	for (n = batch->next; n < batch->nr; n++) {
		fault = fault_at(batch, n);
		if (fault->space != space || fault->addr > last)
			break;
		if (is_pending(fault))
			judge(batch, fault, reason);
	}
}

/* Of the window: from number *@n on, which becomes that fault's; or NULL. */
static struct onewalk_fault *next_pending(const struct batch *batch,
					  unsigned int *n)
{
	for (; *n < batch->last; (*n)++)
		if (is_pending(fault_at(batch, *n)))
			return fault_at(batch, *n);
	return NULL;
}

static void judge_window(struct batch *batch, enum onewalk_reason reason)
{
	judge_until(batch, batch->window.space, batch->window.end - 1, reason);
}

/* --- the window --- */

static unsigned long index_of(const struct onewalk_window *window,
			      const struct onewalk_fault *fault)
{
	return (page_of(fault) - window->start) >> PAGE_SHIFT;
}

/* Where @addr is in its block. */
static u8 *page_at(const struct batch *batch, unsigned long addr)
{
	unsigned long size = batch->service->window;

	return &batch->service->arrays->pages[(addr & (size - 1)) >> PAGE_SHIFT];
}

static int look_at_vma(struct batch *batch)
{
	struct onewalk_window *window = &batch->window;
	struct mm_struct *mm = window->space->notifier->mm;
	struct vm_area_struct *vma;
	unsigned long last;
	int ret;

	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;
	vma = find_vma(mm, window->start);
	if (vma && vma->vm_start <= window->start) {
		window->lower = vma->vm_start;
		window->upper = vma->vm_end;
		mmap_read_unlock(mm);
		return 0;
	}
	last = vma ? vma->vm_start - 1 : ULONG_MAX;
	mmap_read_unlock(mm);
	judge_until(batch, window->space, last, ONEWALK_REASON_BAD_ADDRESS);
	return -EFAULT;
}

static bool is_inside(const struct onewalk_window *window)
{
	return window->lower <= window->start &&
	       window->upper >= window->start + PAGE_SIZE;
}

/* What the driver has the notifier, and no range of its own, for. */
static int look_at_bounds(struct batch *batch)
{
	const struct onewalk_service_ops *ops = batch->service->ops;
	struct onewalk_window *window = &batch->window;
	const struct interval_tree_node *interval =
		&window->space->notifier->interval_tree;
	unsigned long end = window->start + PAGE_SIZE, limit;

	window->lower = max(window->lower, PAGE_ALIGN(interval->start));
	window->upper = min(window->upper - 1, interval->last) + 1;
	limit = window->upper;
	if (is_inside(window)) {
		if (ops->bounds && !ops->bounds(window))
			end = clamp(window->upper, end, limit);
		else if (is_inside(window))
			return 0;
	}
	judge_until(batch, window->space, end - 1, ONEWALK_REASON_DRIVERS_OWN);
	return -EFAULT;
}

/* The window proper is within its block. */
static void stay_in_block(struct onewalk_window *window, unsigned long size)
{
	unsigned long block = window->start & ~(size - 1);

	window->limit = window->upper & PAGE_MASK;
	window->lower = max(PAGE_ALIGN(window->lower), block);
	window->upper = min(window->limit, block + size);
}

/*
 * Take what is pending up to @upper, and note what it wants.
 *
 * Return: is there anything?
 */
static bool take_faults(struct batch *batch, unsigned long upper)
{
	struct onewalk_window *window = &batch->window;
	u8 *pages = batch->service->arrays->pages;
	struct onewalk_fault *fault;
	bool any = false;
	unsigned int i;
	u8 *page;

	for (i = 0; i < ONEWALK_PMD_NR; i++)
		pages[i] &= ~ONEWALK_PAGE_ACCESS;
	for (batch->last = batch->next; batch->last < batch->nr; batch->last++) {
		fault = fault_at(batch, batch->last);
		if (fault->space != window->space || fault->addr >= upper)
			break;
		if (!is_pending(fault))
			continue;
		if (!any)
			batch->first = page_of(fault);
		any = true;
		window->end = page_of(fault) + PAGE_SIZE;
		page = page_at(batch, fault->addr);
		if (fault->access > (*page & ONEWALK_PAGE_ACCESS))
			*page = (*page & ~ONEWALK_PAGE_ACCESS) | fault->access;
	}
	window->start = batch->first;
	window->pages = page_at(batch, window->start);
	return any;
}

/* With the first fault that has no verdict. */
static int begin_window(struct batch *batch)
{
	const struct onewalk_fault *first = fault_at(batch, batch->next);
	struct onewalk_window *window = &batch->window;
	struct mm_struct *mm;
	int ret;

	*window = (struct onewalk_window){
		.service = batch->service,
		.space = first->space,
		.start = page_of(first),
	};

	mm = window->space->notifier->mm;
	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = look_at_vma(batch);
	mmput(mm);
	if (!ret)
		ret = look_at_bounds(batch);
	if (ret)
		return ret;

	stay_in_block(window, batch->service->window);
	memset(batch->service->arrays->pages, 0,
	       sizeof(batch->service->arrays->pages));
	take_faults(batch, window->upper);
	return 0;
}

static enum onewalk_policy ask_policy(struct batch *batch)
{
	const struct onewalk_service_ops *ops = batch->service->ops;
	struct onewalk_window *window = &batch->window;
	unsigned long start = window->start, end = window->end;
	enum onewalk_policy policy;

	if (!ops->policy)
		return onewalk_first_touch(window);

	policy = ops->policy(window);
	/* No less than the faults, no more than may be. */
	window->start = clamp(window->start & PAGE_MASK, window->lower, start);
	window->end = clamp(PAGE_ALIGN(window->end), end, window->upper);
	window->pages = page_at(batch, window->start);
	return policy;
}

/* --- what came of it --- */

static bool is_granted(unsigned long pfn, u8 access)
{
	return (pfn & ONEWALK_PFN_VALID) &&
	       (!onewalk_writes(access) || (pfn & ONEWALK_PFN_WRITE));
}

/*
 * Faults behind the window, as far as the driver has mapped the large mapping
 * there. It was not asked whether the device can do atomic access there.
 */
static void judge_reach(struct batch *batch)
{
	const struct onewalk_window *window = &batch->window;
	unsigned long last = window->pfns[onewalk_window_pages(window) - 1];
	unsigned long size = PAGE_SIZE << onewalk_pfn_to_map_order(last);
	unsigned long end = min3(window->reach, window->limit,
				 ALIGN(window->end, size));
	struct onewalk_fault *fault;
	unsigned int n;

	for (n = batch->last; n < batch->nr; n++) {
		fault = fault_at(batch, n);
		if (fault->space != window->space || fault->addr >= end)
			break;
		if (is_pending(fault) && is_granted(last, fault->access) &&
		    fault->access != ONEWALK_ACCESS_ATOMIC)
			judge(batch, fault, ONEWALK_REASON_SERVED);
	}
}

/*
 * The device does not have yet what it wants. A page in its own memory that
 * fork() left read-only has to come back for its COW to be broken; one that
 * found no destination is mapped in place.
 */
static bool find_other_way(struct onewalk_window *window, bool lacks_write)
{
	if (lacks_write && !window->upgrade) {
		window->upgrade = true;
		return true;
	}
	if (window->policy == ONEWALK_POLICY_MIGRATE) {
		window->policy = ONEWALK_POLICY_MAP;
		return true;
	}
	return false;
}

/* What is weaker gets another chance. */
static void judge_strongest(struct batch *batch, enum onewalk_reason reason)
{
	struct onewalk_window *window = &batch->window;
	struct onewalk_fault *fault;
	unsigned int n;
	u8 page;

	for (n = batch->next; (fault = next_pending(batch, &n)); n++) {
		page = window->pages[index_of(window, fault)];
		if (fault->access == (page & ONEWALK_PAGE_ACCESS))
			judge(batch, fault, reason);
	}
}

static void succeed(struct batch *batch)
{
	struct onewalk_window *window = &batch->window;
	bool left = false, lacks_write = false;
	struct onewalk_fault *fault;
	unsigned long pfn;
	unsigned int n;

	for (n = batch->next; (fault = next_pending(batch, &n)); n++) {
		pfn = window->pfns[index_of(window, fault)];
		if (is_granted(pfn, fault->access)) {
			judge(batch, fault, ONEWALK_REASON_SERVED);
			continue;
		}
		left = true;
		lacks_write |= pfn & ONEWALK_PFN_VALID;
	}
	if (window->reach > window->end)
		judge_reach(batch);
	if (left && !find_other_way(window, lacks_write))
		judge_strongest(batch, ONEWALK_REASON_NOT_MAPPED);
}

/* Something was invalidated, or the VMA is not what it was. */
static bool may_try_again(struct batch *batch, bool waited)
{
	/* Each wait brings a page, which is not lost before its turn comes. */
	if (waited && batch->waits++ < 2 * onewalk_window_pages(&batch->window)) {
		batch->deadline = jiffies + batch->service->timeout;
		return true;
	}
	return ++batch->fruitless < batch->service->tries &&
	       time_before(jiffies, batch->deadline);
}

/* The page that an error was about, or the first one. */
static unsigned long culprit(const struct onewalk_window *window)
{
	const u8 *status = window->service->arrays->status;
	unsigned long i;

	for (i = 0; i < onewalk_window_pages(window); i++) {
		switch (status[i]) {
		case ONEWALK_STATUS_FAULT_EFAULT:
		case ONEWALK_STATUS_FAULT_EPERM:
		case ONEWALK_STATUS_FAULT_ENOMEM:
		case ONEWALK_STATUS_FAULT_POISONED:
		case ONEWALK_STATUS_POISONED:
			return window->start + (i << PAGE_SHIFT);
		}
	}
	return window->start;
}

/* What failed is the strongest access; a weaker one may do without a fault. */
static void fail(struct batch *batch, enum onewalk_reason reason)
{
	struct onewalk_window *window = &batch->window;
	unsigned long addr = culprit(window);

	if (onewalk_window_pages(window) == 1)
		judge_strongest(batch, reason);
	else
		window->upper = addr > batch->first ? addr :
						      batch->first + PAGE_SIZE;
}

/* Return: 0, or what ends the call. */
static int take_result(struct batch *batch, int ret)
{
	switch (ret) {
	case 0:
		succeed(batch);
		return 0;
	case -EBUSY:
		judge_window(batch, ONEWALK_REASON_BUSY);
		return 0;
	case -ERANGE:
		/* another VMA: another window */
		batch->window.upper = batch->first;
		return 0;
	case -EPERM:
		fail(batch, ONEWALK_REASON_NO_PERMISSION);
		return 0;
	case -EFAULT:
		fail(batch, ONEWALK_REASON_BAD_ADDRESS);
		return 0;
	case -ENOMEM:
		fail(batch, ONEWALK_REASON_NO_MEMORY);
		return 0;
	default:
		return ret;
	}
}

/* Return: 0 or an error that lasts; -ERANGE, or -EBUSY when the budget is spent. */
static int try_until_settled(struct batch *batch)
{
	bool waited;
	int ret;

	do {
		ret = onewalk_try_window(&batch->window, &waited);
		if (ret != -EBUSY && ret != -ERANGE)
			return ret;
		if (!may_try_again(batch, waited))
			return -EBUSY;
	} while (ret == -EBUSY);
	return ret;
}

static int serve(struct batch *batch)
{
	int ret;

	do {
		ret = take_result(batch, try_until_settled(batch));
	} while (!ret && take_faults(batch, batch->window.upper));
	return ret;
}

static int serve_window(struct batch *batch)
{
	const struct onewalk_service_ops *ops = batch->service->ops;
	struct onewalk_window *window = &batch->window;
	int ret = begin_window(batch);

	/* Judged already. */
	if (ret == -EFAULT)
		return 0;
	if (ret)
		return ret;

	batch->service->windows++;
	window->policy = ask_policy(batch);
	if (window->policy == ONEWALK_POLICY_SKIP) {
		judge_window(batch, ONEWALK_REASON_SKIPPED);
		return 0;
	}
	if (ops->prepare)
		ops->prepare(window);
	ret = serve(batch);
	if (ops->end)
		ops->end(window);
	return ret;
}

static int serve_all(struct batch *batch)
{
	int ret;

	for (; batch->next < batch->nr; batch->next++) {
		while (is_pending(fault_at(batch, batch->next))) {
			ret = serve_window(batch);
			if (ret == -ESRCH)
				judge_until(batch, batch->window.space,
					    ULONG_MAX, ONEWALK_REASON_DYING);
			else if (ret)
				return ret;
		}
	}
	return 0;
}

/* --- the call --- */

static int compare(const void *a, const void *b, const void *faults)
{
	const struct onewalk_fault *all = faults;
	const struct onewalk_fault *one = &all[*(const u32 *)a];
	const struct onewalk_fault *other = &all[*(const u32 *)b];

	if (one->space != other->space)
		return one->space < other->space ? -1 : 1;
	if (one->addr != other->addr)
		return one->addr < other->addr ? -1 : 1;
	return 0;
}

static bool is_valid(const struct onewalk_fault *fault)
{
	const unsigned long select = ONEWALK_MIGRATE_SELECT |
				     ONEWALK_MIGRATE_SELECT_COMPOUND;
	const struct onewalk_space *space = fault->space;

	return space && space->notifier && !(space->select & ~select) &&
	       (!space->p2p || (space->p2p->ops && space->p2p->ops->allow)) &&
	       fault->access > ONEWALK_ACCESS_NONE &&
	       fault->access < ONEWALK_NR_ACCESS;
}

static int check(const struct onewalk_service *service,
		 const struct onewalk_fault *faults, unsigned int nr)
{
	unsigned int n;

	if (!service || !service->arrays || nr > service->max_faults ||
	    (nr && !faults))
		return -EINVAL;
	for (n = 0; n < nr; n++)
		if (!is_valid(&faults[n]))
			return -EINVAL;
	return 0;
}

static bool any_busy(const struct batch *batch)
{
	unsigned int n;

	for (n = 0; n < batch->nr; n++)
		if (batch->faults[n].reason == ONEWALK_REASON_BUSY)
			return true;
	return false;
}

/**
 * onewalk_service_faults() - serve a fault buffer
 * @service: initialised by onewalk_service_init(); for one call at a time
 * @faults: array of @nr faults, in any order, of any address spaces
 * @nr: length of @faults; at most what onewalk_service_init() was given
 *
 * Every fault gets the verdict and the reason that it would have got alone. Those
 * in the same part of the same VMA are served with one onewalk_range_fault()
 * together, unless something goes wrong; a page that several want is asked for
 * with the strongest access. Each try has a fresh sequence number.
 *
 * A process that dies has its own faults cancelled, and nothing else.
 *
 * Context: Process context; may sleep, as long as faults of the processes take: a
 * page that userfaultfd serves is waited for (but for hugetlb, where userfaultfd
 * has the fault cancelled). Nothing is held that a callback takes, no mmap lock and
 * no folio lock. The driver keeps each &struct onewalk_space and its notifier;
 * references to processes are taken here. The last one of a process that dies
 * meanwhile may be dropped here, so that its mappings are closed in this task, and
 * notifiers released: nothing is held that the driver takes there.
 *
 * Return: 0 when every fault has a verdict of its own; or an error:
 *
 * * -EINVAL: an argument is NULL, @nr is too large, or a fault has no known
 *   access or no space, or one without a notifier, with a p2p that has no
 *   callback, or that selects what is no ONEWALK_MIGRATE_SELECT_*. Nothing was
 *   served, and no verdict written.
 * * -EBUSY: what some faults are about kept changing until the budget of
 *   &onewalk_service.tries and timeout was spent: ONEWALK_REASON_BUSY. All
 *   others have their verdict.
 * * -EINTR: a fatal signal is pending. What had no turn is to be replayed, with
 *   ONEWALK_REASON_STOPPED.
 */
int onewalk_service_faults(struct onewalk_service *service,
			   struct onewalk_fault *faults, unsigned int nr)
{
	struct batch batch = {
		.service = service,
		.faults = faults,
		.nr = nr,
	};
	int ret = check(service, faults, nr);
	unsigned int n;
	u32 *order;

	if (ret)
		return ret;

	order = service->arrays->order;
	service->windows = 0;
	service->walks = 0;
	batch.deadline = jiffies + service->timeout;
	for (n = 0; n < nr; n++) {
		order[n] = n;
		faults[n].verdict = ONEWALK_REPLAY;
		faults[n].reason = ONEWALK_REASON_STOPPED;
	}
	sort_r(order, nr, sizeof(*order), compare, NULL, faults);
	ret = serve_all(&batch);
	if (!ret && any_busy(&batch))
		ret = -EBUSY;
	return ret;
}
EXPORT_SYMBOL_GPL(onewalk_service_faults);

/**
 * onewalk_service_init() - make ready to serve fault buffers
 * @service: &onewalk_service.ops, window, tries and timeout are set
 * @max_faults: how many faults the largest buffer has
 *
 * Allocates what onewalk_service_faults() needs, which allocates nothing.
 *
 * Context: Process context; may sleep.
 *
 * Return: 0; -EINVAL when an argument is NULL or 0, a callback is missing or
 * window is no power of two that fits; or -ENOMEM.
 */
int onewalk_service_init(struct onewalk_service *service,
			 unsigned int max_faults)
{
	const struct onewalk_service_ops *ops = service ? service->ops : NULL;

	if (!ops || !ops->copy || !ops->lock || !ops->map || !ops->unlock ||
	    !max_faults || !service->tries)
		return -EINVAL;
	if (!is_power_of_2(service->window) || service->window < PAGE_SIZE ||
	    service->window > PMD_SIZE)
		return -EINVAL;

	service->max_faults = max_faults;
	service->arrays = kvzalloc(struct_size(service->arrays, order, max_faults),
				   GFP_KERNEL);
	return service->arrays ? 0 : -ENOMEM;
}
EXPORT_SYMBOL_GPL(onewalk_service_init);

/**
 * onewalk_service_exit() - the opposite of onewalk_service_init()
 * @service: no call is under way; may be zeroed
 */
void onewalk_service_exit(struct onewalk_service *service)
{
	kvfree(service->arrays);
	service->arrays = NULL;
}
EXPORT_SYMBOL_GPL(onewalk_service_exit);

/**
 * onewalk_reason_name() - why a fault got its verdict, in words
 * @reason: a fault's
 *
 * Any context.
 *
 * Return: a short constant string in English, for logs; never NULL.
 */
const char *onewalk_reason_name(enum onewalk_reason reason)
{
	if ((unsigned int)reason >= ONEWALK_NR_REASONS)
		return "invalid";
	return reason_names[reason];
}
EXPORT_SYMBOL_GPL(onewalk_reason_name);
