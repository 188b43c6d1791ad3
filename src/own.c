// SPDX-License-Identifier: GPL-2.0
/*
 * Which invalidations are our own.
 *
 * A migration invalidates the very range that it works on, in the task that
 * does it, and the driver's notifier callback cannot tell by itself. So each
 * migration is registered while it can raise invalidations. Look-up is by task:
 * what a callback can match was put there by the task that it runs in, further
 * up on its stack, so a match stays valid; the lock guards the list alone.
 */
#include <linux/export.h>
#include <linux/hash.h>
#include <linux/hashtable.h>
#include <linux/sched.h>

#include "onewalk.h"

#define OWN_BITS	6

static struct own_bucket {
	spinlock_t		lock;	/* protects the list */
	struct hlist_head	list;
} own_buckets[1 << OWN_BITS] = {
	[0 ... (1 << OWN_BITS) - 1] = {
		.lock = __SPIN_LOCK_UNLOCKED(own_buckets.lock),
	},
};

static struct own_bucket *own_bucket(const struct task_struct *task)
{
	return &own_buckets[hash_ptr(task, OWN_BITS)];
}

/*
 * onewalk_own_begin() - from here on, invalidations may be our own
 * @own: on the caller's stack, until onewalk_own_end(); its pfns are set
 * @notifier: the driver's notifier; NULL when it has none
 * @start: first address of what migrates
 * @end: first address behind
 */
void onewalk_own_begin(struct onewalk_own *own,
		       const struct mmu_interval_notifier *notifier,
		       unsigned long start, unsigned long end)
{
	struct own_bucket *bucket = own_bucket(current);

	own->task = current;
	own->notifier = notifier;
	own->start = start;
	own->end = end;
	if (!notifier)
		return;

	spin_lock(&bucket->lock);
	hlist_add_head(&own->list, &bucket->list);
	spin_unlock(&bucket->lock);
}

void onewalk_own_end(struct onewalk_own *own)
{
	struct own_bucket *bucket = own_bucket(own->task);

	if (!own->notifier)
		return;

	spin_lock(&bucket->lock);
	hlist_del(&own->list);
	spin_unlock(&bucket->lock);
}

static bool own_page(const struct onewalk_own *own, unsigned long addr)
{
	unsigned long head = addr & PMD_MASK;
	unsigned long pfn;

	if (!own->pfns)
		return false;

	pfn = own->pfns[(addr - own->start) >> PAGE_SHIFT];
	if (!pfn && head >= own->start) {
		pfn = own->pfns[(head - own->start) >> PAGE_SHIFT];
		if (!(pfn & own->compound))
			return false;
	}
	return (pfn & own->collected) == own->collected;
}

/*
 * Unmapping a collected page elsewhere announces MMU_NOTIFY_CLEAR for our own
 * mapping of it too. But the same event comes from direct reclaim, which an
 * allocation in this task can enter and which can unmap any page that was not
 * collected: only where every page is a collected one is it our own.
 */
static bool own_pages(const struct onewalk_own *own,
		      const struct mmu_notifier_range *range)
{
	unsigned long addr;

	for (addr = range->start; addr < range->end; addr += PAGE_SIZE)
		if (!own_page(own, addr))
			return false;
	return true;
}

/**
 * onewalk_is_own_invalidate() - is this invalidation part of my own migration
 * @notifier: the notifier that is being called
 * @range: the invalidation that it is called for
 *
 * To be called from &mmu_interval_notifier_ops.invalidate. "Own" means: it is
 * raised in this very task by an onewalk call that was given @notifier, and it
 * changes nothing but pages that this call is migrating. The callback then
 * drops the device's mappings of the range, as always, but leaves the sequence
 * number as it is; see DOC: Locking. A page that the task's own faults or its
 * memory reclaim change does not count as own.
 *
 * Takes no lock that a caller could hold, does not sleep. Kernels have no such
 * function: their drivers compare &mmu_notifier_range.owner, which cannot tell
 * another thread or another open of the same device from themselves, and which
 * try_to_migrate() does not set.
 *
 * Return: true when it is.
 */
bool onewalk_is_own_invalidate(const struct mmu_interval_notifier *notifier,
			       const struct mmu_notifier_range *range)
{
	struct own_bucket *bucket = own_bucket(current);
	const struct onewalk_own *own;
	bool ret = false;

	spin_lock(&bucket->lock);
	hlist_for_each_entry(own, &bucket->list, list) {
		if (own->task != current || own->notifier != notifier)
			continue;
		if (range->start < own->start || range->end > own->end)
			continue;
		ret = range->event == MMU_NOTIFY_MIGRATE ||
		      own_pages(own, range);
		if (ret)
			break;
	}
	spin_unlock(&bucket->lock);
	return ret;
}
EXPORT_SYMBOL_GPL(onewalk_is_own_invalidate);
