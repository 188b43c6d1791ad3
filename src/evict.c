// SPDX-License-Identifier: GPL-2.0
/*
 * Eviction: pages of device memory come back to system memory, by their pfns,
 * whoever maps them and wherever. No address space is at hand, and no walk.
 */
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "onewalk.h"

/* Pages that are locked at a time; a huge page is one batch. */
#define BATCH	ONEWALK_PMD_NR

/**
 * struct eviction - one call
 * @evict: the caller's
 * @src: pfns, then migrate pfns, of the pages of a batch
 * @dst: their destinations
 * @nr: how many are in the batch
 * @no_memory: a destination was missing
 */
struct eviction {
	struct onewalk_evict	*evict;
	unsigned long		*src;
	unsigned long		*dst;
	unsigned long		nr;
	bool			no_memory;
};

static unsigned long step(unsigned long mpfn)
{
	return mpfn & MIGRATE_PFN_COMPOUND ? ONEWALK_PMD_NR : 1;
}

static bool is_migrating(const struct eviction *eviction, unsigned long i)
{
	return (eviction->src[i] & MIGRATE_PFN_MIGRATE) && eviction->dst[i];
}

static void allocate(struct eviction *eviction)
{
	struct onewalk_evict *evict = eviction->evict;
	unsigned long i, nr, mpfn;
	struct page *page;

	for (i = 0; i < eviction->nr; i += nr) {
		mpfn = eviction->src[i];
		nr = step(mpfn);
		if (!(mpfn & MIGRATE_PFN_MIGRATE))
			continue;
		page = evict->ops->alloc(evict, migrate_pfn_to_page(mpfn),
					 nr > 1 ? PMD_SHIFT - PAGE_SHIFT : 0);
		if (page)
			eviction->dst[i] = migrate_pfn(page_to_pfn(page)) |
					   (mpfn & MIGRATE_PFN_COMPOUND);
		else
			eviction->no_memory = true;
	}
}

/* What was not copied stays, and its destination is not needed. */
static void give_up(struct eviction *eviction)
{
	unsigned long i;
	struct page *page;

	for (i = 0; i < eviction->nr; i++) {
		page = migrate_pfn_to_page(eviction->dst[i]);
		eviction->dst[i] = 0;
		if (!page)
			continue;
		unlock_page(page);
		put_page(page);
	}
}

/*
 * The kernel locks what nobody else has locked, unmaps it everywhere, and leaves
 * out what has more references than that explains. A CPU that touches such a page
 * meanwhile waits for its lock, and then finds the page in system memory.
 */
static int evict_batch(struct eviction *eviction)
{
	struct onewalk_evict *evict = eviction->evict;
	unsigned long i, nr;
	int ret;

	if (!eviction->nr)
		return 0;

	memset(eviction->dst, 0, eviction->nr * sizeof(*eviction->dst));
	migrate_device_pfns(eviction->src, eviction->nr);
	allocate(eviction);
	ret = evict->ops->copy(evict, eviction->src, eviction->dst,
			       eviction->nr);
	if (ret)
		give_up(eviction);
	migrate_device_pages(eviction->src, eviction->dst, eviction->nr);
	for (i = 0; i < eviction->nr; i += nr) {
		nr = step(eviction->src[i]);
		if (is_migrating(eviction, i))
			evict->evicted += nr;
	}
	migrate_device_finalize(eviction->src, eviction->dst, eviction->nr);
	eviction->nr = 0;
	cond_resched();
	return ret;
}

/*
 * The folio of this page, or the page alone. It is not locked, and may be another
 * one at any time: so all of its pages are named, each of which can be had alone.
 *
 * One that is mapped nowhere comes back by itself, when its last reference goes;
 * the kernel would look where to map it by an anon_vma that may be gone.
 *
 * Return: how many pages from @pfn on are dealt with, or an errno.
 */
static long add(struct eviction *eviction, unsigned long pfn)
{
	struct folio *folio = page_folio(pfn_to_page(pfn));
	unsigned long nr = folio_nr_pages(folio);
	unsigned long first = folio_pfn(folio), i;
	int ret;

	/* What a large folio left when it was freed may still point to its head. */
	if (pfn - first >= nr || nr > BATCH || !folio_mapped(folio))
		return 1;

	if (eviction->nr + nr > BATCH) {
		ret = evict_batch(eviction);
		if (ret)
			return ret;
	}
	for (i = 0; i < nr; i++)
		eviction->src[eviction->nr++] = first + i;
	eviction->evict->tried += nr;
	return first + nr - pfn;
}

static int add_all(struct eviction *eviction, unsigned long pfn,
		   unsigned long end)
{
	long nr;

	for (; pfn < end; pfn += nr) {
		if (eviction->evict->killable && fatal_signal_pending(current))
			return -EINTR;
		nr = add(eviction, pfn);
		if (nr < 0)
			return nr;
	}
	return 0;
}

static int begin(struct eviction *eviction, struct onewalk_evict *evict)
{
	BUILD_BUG_ON(ONEWALK_EVICT_SCRATCH != 2 * BATCH);

	if (!evict || !evict->scratch ||
	    !evict->ops || !evict->ops->alloc || !evict->ops->copy)
		return -EINVAL;

	evict->tried = 0;
	evict->evicted = 0;
	eviction->evict = evict;
	eviction->src = evict->scratch;
	eviction->dst = evict->scratch + BATCH;
	return 0;
}

static int end(struct eviction *eviction, int ret)
{
	int last = evict_batch(eviction);

	if (ret || last)
		return ret ?: last;
	if (eviction->no_memory)
		return -ENOMEM;
	return eviction->evict->evicted < eviction->evict->tried ? -EBUSY : 0;
}

/**
 * onewalk_evict_pages() - bring pages of device memory back, by their pfns
 * @evict: how; &onewalk_evict.tried and evicted are out
 * @pfns: array of @npages pfns of device-private or device-coherent pages, in any
 *	order. A page of a large folio stands for all of it, where the kernel can
 *	bring it back whole; its pages that follow in the array count as the same.
 * @npages: length of @pfns
 *
 * Pages that nobody maps are left alone: they are freed when their last reference
 * goes. Works on migrate_device_pfns(), or on migrate_device_range() where the
 * kernel has no more.
 *
 * Context: Process context; may sleep. No mmap lock, no folio lock, and nothing
 * is held that &dev_pagemap_ops.migrate_to_ram, a notifier callback or the freeing
 * of a device page takes. The pages' struct pages stay: the device is not
 * unplugged meanwhile. May run beside CPU faults on the same pages, migrations of
 * them and the end of the processes that map them.
 *
 * Return: 0 when all pages that were mapped have come back; or an error, after
 * which &onewalk_evict.evicted says how many have:
 *
 * * -EINVAL: no @evict, or it lacks a callback or its scratch.
 * * -ENOMEM: &onewalk_evict_ops.alloc had nothing for some page.
 * * -EBUSY: pages were locked, or had references that their mappings do not
 *   explain. Try again, a bounded number of times.
 * * -EINTR: a fatal signal is pending, and &onewalk_evict.killable is set.
 * * what &onewalk_evict_ops.copy returned: those that it was about stay.
 */
int onewalk_evict_pages(struct onewalk_evict *evict, const unsigned long *pfns,
			unsigned long npages)
{
	struct eviction eviction = {};
	unsigned long i, nr;
	int ret = begin(&eviction, evict);

	if (ret)
		return ret;

	for (i = 0; i < npages && !ret; i += nr) {
		/* those of a row together */
		for (nr = 1; i + nr < npages; nr++)
			if (pfns[i + nr] != pfns[i] + nr)
				break;
		ret = add_all(&eviction, pfns[i], pfns[i] + nr);
	}
	return end(&eviction, ret);
}
EXPORT_SYMBOL_GPL(onewalk_evict_pages);

/**
 * onewalk_evict_range() - bring everything in a piece of device memory back
 * @evict: as for onewalk_evict_pages()
 * @pgmap: the piece: all ranges of it
 *
 * For a driver that unplugs its memory. Works on migrate_device_range().
 *
 * Context: as onewalk_evict_pages().
 *
 * Return: as onewalk_evict_pages().
 */
int onewalk_evict_range(struct onewalk_evict *evict,
			const struct dev_pagemap *pgmap)
{
	struct eviction eviction = {};
	const struct range *range;
	int i, ret = begin(&eviction, evict);

	if (ret)
		return ret;

	for (i = 0; i < pgmap->nr_range && !ret; i++) {
		range = &pgmap->ranges[i];
		ret = add_all(&eviction, PHYS_PFN(range->start),
			      PHYS_PFN(range->end + 1));
	}
	return end(&eviction, ret);
}
EXPORT_SYMBOL_GPL(onewalk_evict_range);
