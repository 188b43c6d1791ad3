// SPDX-License-Identifier: GPL-2.0
/*
 * The device misses a mapping: make the pages present, and map them.
 */
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/sched/signal.h>

#include "dummy.h"

/**
 * dummy_expired() - has an operation been retried long enough
 * @deadline: in jiffies
 * @ret: what it returned; becomes -EINTR when the task has to die
 *
 * Return: true when it is to end.
 */
bool dummy_expired(unsigned long deadline, int *ret)
{
	if (fatal_signal_pending(current)) {
		*ret = -EINTR;
		return true;
	}
	cond_resched();
	return time_after(jiffies, deadline);
}

static u8 pfn_access(unsigned long pfn)
{
	if (!(pfn & ONEWALK_PFN_VALID))
		return 0;
	return pfn & ONEWALK_PFN_WRITE ?
		ONEWALK_DUMMY_MAPPED_READ | ONEWALK_DUMMY_MAPPED_WRITE :
		ONEWALK_DUMMY_MAPPED_READ;
}

/**
 * struct mapping - what to map of a report, and what to do then
 * @device_only: only pages of the device's own memory
 * @access: NULL, or what the device does with each page then
 * @data: for @access
 */
struct mapping {
	bool			device_only;
	dummy_access_fn		access;
	void			*data;
};

static int map_pfns(struct dummy_mirror *mirror,
		    const struct onewalk_range *range, void *data)
{
	const struct mapping *mapping = data;
	unsigned long addr = range->start;
	const unsigned long *pfn;
	struct page *page;
	int ret;

	for (pfn = range->hmm_pfns; addr < range->end; pfn++, addr += PAGE_SIZE) {
		if (!pfn_access(*pfn))
			continue;
		page = onewalk_pfn_to_page(*pfn);
		if (mapping->device_only &&
		    !dummy_is_own(mirror->device, page))
			continue;
		ret = dummy_map(mirror, addr, page, pfn_access(*pfn));
		if (!ret && mapping->access)
			ret = mapping->access(addr, mapping->data);
		if (ret)
			return ret;
	}
	return 0;
}

/* What was reported is used while it is known to be true. */
static int use_report(struct dummy_mirror *mirror,
		      const struct onewalk_range *range, dummy_use_fn use,
		      void *data)
{
	int ret = -EBUSY;

	mutex_lock(&mirror->lock);
	if (!mmu_interval_read_retry(range->notifier, range->notifier_seq))
		ret = use(mirror, range, data);
	mutex_unlock(&mirror->lock);
	return ret;
}

/**
 * dummy_fault_once() - one call under the mmap lock
 * @mirror: the mirror
 * @range: what to ask for; without migration
 * @fault: onewalk_range_fault() or the kernel's
 *
 * Return: as @fault.
 */
int dummy_fault_once(struct dummy_mirror *mirror, struct onewalk_range *range,
		     dummy_fault_fn fault)
{
	struct mm_struct *mm = mirror->notifier.mm;
	int ret;

	range->notifier_seq = mmu_interval_read_begin(range->notifier);
	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;
	ret = fault(range);
	mmap_read_unlock(mm);
	return ret;
}

/* The shorter it takes, the less often something comes between. */
static void halve(struct onewalk_range *range)
{
	unsigned long half = (range->end - range->start) / 2;

	range->end = range->start + max(PAGE_SIZE, half & PAGE_MASK);
}

/**
 * dummy_fault_and_use() - fault, report and do something with the report
 * @mirror: the mirror
 * @range: what to ask for; without migration
 * @fault: onewalk_range_fault() or the kernel's
 * @use: what to do, under &dummy_mirror.lock, while the report is true
 * @data: for @use
 * @shrink: rather than to fail, do less: &onewalk_range.end tells how much
 *
 * Under &dummy_mirror.service, so that no migration of ours comes between.
 */
int dummy_fault_and_use(struct dummy_mirror *mirror,
			struct onewalk_range *range, dummy_fault_fn fault,
			dummy_use_fn use, void *data, bool shrink)
{
	unsigned long deadline;
	int ret;

	if (fatal_signal_pending(current))
		return -EINTR;
	cond_resched();
	ret = down_read_killable(&mirror->service);
	if (ret)
		return ret;
	deadline = jiffies + DUMMY_PATIENCE;
	do {
		ret = dummy_fault_once(mirror, range, fault);
		if (!ret)
			ret = use_report(mirror, range, use, data);
		if (ret == -EBUSY && shrink)
			halve(range);
	} while (ret == -EBUSY && !dummy_expired(deadline, &ret));
	up_read(&mirror->service);
	return ret;
}

static int fault_and_map(struct dummy_mirror *mirror,
			 struct onewalk_range *range, struct mapping *mapping)
{
	return dummy_fault_and_use(mirror, range, onewalk_range_fault, map_pfns,
				   mapping, true);
}

static void init_range(struct onewalk_range *range, struct dummy_mirror *mirror,
		       unsigned long *pfns, unsigned long start,
		       unsigned long end)
{
	*range = (struct onewalk_range){
		.notifier = &mirror->notifier,
		.start = start,
		.end = start + min(end - start, DUMMY_WINDOW * PAGE_SIZE),
		.hmm_pfns = pfns,
		.dev_private_owner = dummy_owner(mirror->device),
		.p2p = dummy_p2p(mirror),
	};
}

/*
 * A page of the device's own memory is reported as it is, also when write was
 * asked for and it is shared after fork(). No fault makes it writable where it
 * is: it goes back to system memory, as somebody else's would, and is copied
 * there.
 */
static int upgrade(struct dummy_mirror *mirror, const struct onewalk_range *range,
		   struct mapping *mapping)
{
	unsigned long pfn = 0;
	struct onewalk_range one = *range;
	unsigned long i, npages;
	int ret = 0;

	one.dev_private_owner = NULL;
	one.p2p = NULL;
	one.hmm_pfns = &pfn;
	npages = (range->end - range->start) >> PAGE_SHIFT;
	for (i = 0; i < npages && !ret; i++) {
		if (range->hmm_pfns[i] & ONEWALK_PFN_WRITE)
			continue;
		one.start = range->start + (i << PAGE_SHIFT);
		one.end = one.start + PAGE_SIZE;
		ret = fault_and_map(mirror, &one, mapping);
	}
	return ret;
}

static int fault_window(struct dummy_mirror *mirror, struct onewalk_range *range,
			struct mapping *mapping)
{
	int ret = fault_and_map(mirror, range, mapping);

	if (!ret && (range->default_flags & ONEWALK_PFN_REQ_WRITE))
		ret = upgrade(mirror, range, mapping);
	return ret;
}

/**
 * dummy_fault() - the device faults
 * @mirror: the mirror
 * @start: first user address
 * @end: first address behind
 * @write: for writing
 * @access: what it wants to do with each page, under &dummy_mirror.lock, as soon
 *	as it is mapped; for writing that may be twice, first when it is mapped
 *	for reading
 * @data: for @access
 */
int dummy_fault(struct dummy_mirror *mirror, unsigned long start,
		unsigned long end, bool write, dummy_access_fn access,
		void *data)
{
	struct mapping mapping = {
		.access = access,
		.data = data,
	};
	unsigned long pfns[DUMMY_WINDOW];
	struct onewalk_range range;
	int ret = 0;

	for (; start < end && !ret; start = range.end) {
		init_range(&range, mirror, pfns, start, end);
		range.default_flags = ONEWALK_PFN_REQ_FAULT;
		if (write)
			range.default_flags |= ONEWALK_PFN_REQ_WRITE;
		ret = fault_window(mirror, &range, &mapping);
	}
	return ret;
}

static int map_present(struct dummy_mirror *mirror, unsigned long start,
		       unsigned long end, struct mapping *mapping)
{
	unsigned long pfns[DUMMY_WINDOW];
	struct onewalk_range range;
	int ret = 0;

	for (; start < end && !ret; start = range.end) {
		init_range(&range, mirror, pfns, start, end);
		ret = fault_and_map(mirror, &range, mapping);
	}
	return ret;
}

/**
 * dummy_map_present() - map what is there, without faulting
 * @mirror: the mirror
 * @start: first user address
 * @end: first address behind
 * @device_only: only pages of the device's own memory
 */
int dummy_map_present(struct dummy_mirror *mirror, unsigned long start,
		      unsigned long end, bool device_only)
{
	struct mapping mapping = { .device_only = device_only };

	return map_present(mirror, start, end, &mapping);
}

/**
 * dummy_fault_unlocked() - the device faults where a fault may take very long
 * @mirror: the mirror
 * @start: first user address
 * @end: first address behind
 * @access: what it wants to do with each page, as for dummy_fault()
 * @data: for @access
 *
 * A userfaultfd handler may be what the fault waits for, and the handler may
 * use this very file: so &dummy_mirror.service is not held over it. The pages
 * are brought in first, without that lock, and are mapped as far as they are
 * still there when it is held.
 */
int dummy_fault_unlocked(struct dummy_mirror *mirror, unsigned long start,
			 unsigned long end, dummy_access_fn access, void *data)
{
	struct mapping mapping = { .access = access, .data = data };
	unsigned long pfns[DUMMY_WINDOW];
	struct onewalk_range range;
	int ret = 0;

	for (; start < end && !ret; start = range.end) {
		init_range(&range, mirror, pfns, start, end);
		range.default_flags = ONEWALK_PFN_REQ_FAULT;
		ret = onewalk_range_fault_unlocked(&range, DUMMY_PATIENCE);
		if (!ret)
			ret = map_present(mirror, start, range.end, &mapping);
	}
	return ret;
}
