// SPDX-License-Identifier: GPL-2.0
/*
 * Eviction: device pages come back to system memory, by their pfns, whoever maps
 * them. Chunks that are unplugged have all of theirs evicted, and a device that
 * may have no more chunks evicts some of its pages in turn; see chunk.c.
 */
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include <onewalk/pgmap.h>

#include "dummy.h"

/**
 * struct dummy_eviction - one eviction
 * @evict: for onewalk
 * @mirror: whose allocations fail when it was told so, or NULL
 */
struct dummy_eviction {
	struct onewalk_evict	evict;
	struct dummy_mirror	*mirror;
};

/* A large page without a large destination stays: nothing splits it here. */
static struct page *evict_alloc(struct onewalk_evict *evict, struct page *src,
				unsigned int order)
{
	struct dummy_eviction *eviction =
		container_of(evict, struct dummy_eviction, evict);

	if (dummy_fails_on_purpose(eviction->mirror))
		return NULL;
	return dummy_system_alloc(NULL, 0, order, NULL);
}

static void evict_one(struct page *src, struct page *dst, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr; i++)
		copy_highpage(folio_page(page_folio(dst), i),
			      dummy_backing(folio_page(page_folio(src), i)));
}

static int evict_copy(struct onewalk_evict *evict, const unsigned long *src,
		      const unsigned long *dst, unsigned long npages)
{
	unsigned long i, nr;

	for (i = 0; i < npages; i += nr) {
		nr = dummy_step(src[i]);
		if ((src[i] & MIGRATE_PFN_MIGRATE) && dst[i])
			evict_one(migrate_pfn_to_page(src[i]),
				  migrate_pfn_to_page(dst[i]), nr);
	}
	return 0;
}

static const struct onewalk_evict_ops evict_ops = {
	.alloc = evict_alloc,
	.copy = evict_copy,
};

/**
 * dummy_evict_pgmap() - evict all of a piece of device memory
 * @pgmap: the piece, which stays meanwhile
 * @scratch: see &onewalk_evict.scratch
 * @killable: see &onewalk_evict.killable
 */
int dummy_evict_pgmap(const struct dev_pagemap *pgmap, unsigned long *scratch,
		      bool killable)
{
	struct dummy_eviction eviction = {
		.evict.ops = &evict_ops,
		.evict.scratch = scratch,
		.evict.killable = killable,
	};

	return onewalk_evict_range(&eviction.evict, pgmap);
}

/**
 * dummy_evict_pages() - evict some pages of device memory
 * @pfns: which; their struct pages stay meanwhile
 * @npages: how many
 * @scratch: see &onewalk_evict.scratch
 *
 * Return: how many came back.
 */
unsigned long dummy_evict_pages(const unsigned long *pfns,
				unsigned long npages, unsigned long *scratch)
{
	struct dummy_eviction eviction = {
		.evict.ops = &evict_ops,
		.evict.scratch = scratch,
		.evict.killable = true,
	};

	onewalk_evict_pages(&eviction.evict, pfns, npages);
	return eviction.evict.evicted;
}

/* --- ONEWALK_DUMMY_EVICT --- */

/*
 * As the process has them now. The answer is not used as if it were still true,
 * so no lock of the mirror is needed, behind which a userfault may be waited for.
 */
static int find_pages(struct dummy_mirror *mirror,
		      const struct onewalk_dummy_evict *arg,
		      unsigned long *pfns)
{
	struct onewalk_range range = {
		.notifier = &mirror->notifier,
		.start = arg->addr,
		.end = arg->addr + (arg->npages << PAGE_SHIFT),
		.hmm_pfns = pfns,
		.dev_private_owner = dummy_owner(mirror->device),
	};
	unsigned long deadline = jiffies + DUMMY_PATIENCE;
	int ret;

	if (!mmget_not_zero(mirror->notifier.mm))
		return -ESRCH;
	do {
		ret = dummy_fault_once(mirror, &range, onewalk_range_fault);
	} while (ret == -EBUSY && !dummy_expired(deadline, &ret));
	mmput(mirror->notifier.mm);
	return ret;
}

/* Number @i in the order that is asked for, if it is to be evicted. */
static bool is_wanted(const struct dummy_mirror *mirror,
		      const struct onewalk_dummy_evict *arg,
		      const unsigned long *found, unsigned long i,
		      unsigned long *pfn)
{
	unsigned long n = i;

	if (arg->flags & ONEWALK_DUMMY_EVICT_BACKWARD)
		n = arg->npages - 1 - i;
	if ((arg->flags & ONEWALK_DUMMY_EVICT_EVEN) && n % 2)
		return false;
	*pfn = found[n] & ~ONEWALK_PFN_FLAGS;
	return (found[n] & ONEWALK_PFN_VALID) &&
	       dummy_chunks_own(mirror->device, *pfn);
}

/* @pfns has room for each page twice. */
static unsigned long put_in_order(const struct dummy_mirror *mirror,
				  const struct onewalk_dummy_evict *arg,
				  const unsigned long *found,
				  unsigned long *pfns)
{
	unsigned long i, n = 0;

	for (i = 0; i < arg->npages; i++)
		if (is_wanted(mirror, arg, found, i, &pfns[n]))
			n++;
	if (!(arg->flags & ONEWALK_DUMMY_EVICT_TWICE))
		return n;
	memcpy(pfns + n, pfns, n * sizeof(*pfns));
	return 2 * n;
}

static int find_and_evict(struct dummy_mirror *mirror,
			  struct onewalk_dummy_evict *arg,
			  unsigned long *found, unsigned long *pfns,
			  unsigned long *scratch)
{
	struct dummy_eviction eviction = {
		.evict.ops = &evict_ops,
		.evict.scratch = scratch,
		.evict.killable = true,
		.mirror = mirror,
	};
	int ret;

	ret = find_pages(mirror, arg, found);
	if (ret)
		return ret;
	ret = mutex_lock_killable(&mirror->device->growth);
	if (ret)
		return ret;
	ret = onewalk_evict_pages(&eviction.evict, pfns,
				  put_in_order(mirror, arg, found, pfns));
	mutex_unlock(&mirror->device->growth);
	arg->tried = eviction.evict.tried;
	arg->evicted = eviction.evict.evicted;
	return ret;
}

/**
 * dummy_evict() - ONEWALK_DUMMY_EVICT
 * @mirror: the mirror
 * @arg: the argument
 *
 * Between finding the pages and evicting them nothing is held: the process, or
 * a device, may do with them what they like, and their chunk may be unplugged.
 */
int dummy_evict(struct dummy_mirror *mirror, struct onewalk_dummy_evict *arg)
{
	const u32 known = ONEWALK_DUMMY_EVICT_BACKWARD |
			  ONEWALK_DUMMY_EVICT_TWICE | ONEWALK_DUMMY_EVICT_EVEN;
	unsigned long *found, *pfns, *scratch;
	int ret;

	arg->tried = 0;
	arg->evicted = 0;
	ret = dummy_check_table(arg->addr, arg->npages);
	if (ret)
		return ret;
	if ((arg->flags & ~known) || arg->pad)
		return -EINVAL;

	found = kvcalloc(arg->npages, sizeof(*found), GFP_KERNEL | __GFP_NOWARN);
	pfns = kvcalloc(2 * arg->npages, sizeof(*pfns),
			GFP_KERNEL | __GFP_NOWARN);
	scratch = kvcalloc(ONEWALK_EVICT_SCRATCH, sizeof(*scratch),
			   GFP_KERNEL | __GFP_NOWARN);
	ret = -ENOMEM;
	if (found && pfns && scratch)
		ret = find_and_evict(mirror, arg, found, pfns, scratch);
	kvfree(scratch);
	kvfree(pfns);
	kvfree(found);
	return ret;
}
