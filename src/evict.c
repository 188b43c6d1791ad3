// SPDX-License-Identifier: GPL-2.0
/*
 * Eviction: pages of device memory come back to system memory, by their pfns,
 * whoever maps them and wherever. No address space is at hand, and no walk.
 */
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/rmap.h>
#include <linux/rwsem.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "onewalk.h"

/* Pages that are locked at a time; a huge page is one batch. */
#define BATCH	ONEWALK_PMD_NR

/**
 * struct eviction - one call
 * @evict: the caller's
 * @src: pfns, then migrate pfns, of the pages of a batch
 * @dst: the same pfns, then their destinations
 * @anon_vmas: of each folio, at its first page
 * @nr: how many are in the batch
 * @highest: the highest pfn of its folios
 * @no_memory: a destination was missing
 */
struct eviction {
	struct onewalk_evict	*evict;
	unsigned long		*src;
	unsigned long		*dst;
	struct anon_vma		**anon_vmas;
	unsigned long		nr;
	unsigned long		highest;
	bool			no_memory;
};

static struct anon_vma *anon_vma_of(const struct folio *folio)
{
	unsigned long mapping = (unsigned long)READ_ONCE(folio->mapping);

	if ((mapping & FOLIO_MAPPING_FLAGS) != FOLIO_MAPPING_ANON)
		return NULL;
	return (struct anon_vma *)(mapping - FOLIO_MAPPING_ANON);
}

/* Who holds its lock without a reference is waited for. */
static void free_anon_vma(struct anon_vma *anon_vma)
{
	struct rw_semaphore *sem = &anon_vma->root->rwsem;

	if (rwsem_is_locked(sem)) {
		down_write(sem);
		up_write(sem);
	}
	kfree(anon_vma);
}

/* As put_anon_vma(), which modules are not given. */
static void drop_anon_vma(struct anon_vma *anon_vma)
{
	struct anon_vma *root;

	if (!atomic_dec_and_test(&anon_vma->refcount))
		return;
	root = anon_vma->root;
	free_anon_vma(anon_vma);
	if (root != anon_vma && atomic_dec_and_test(&root->refcount))
		free_anon_vma(root);
}

/*
 * The anon_vma of a mapped folio, which is locked, or NULL.
 *
 * By it the kernel finds the page tables, first to unmap the folio and then to
 * map its destination. In between the process may end, and no mmap lock is held
 * that would keep its anon_vma. As long as the folio is mapped, it is there; and
 * under RCU it stays one, although perhaps another's. The folio gets another one
 * under its lock alone, and not if it has a reference like ours: but for
 * userfaultfd's UFFDIO_MOVE, which does not look.
 */
static struct anon_vma *hold_anon_vma(struct folio *folio)
{
	struct anon_vma *anon_vma;

	rcu_read_lock();
	anon_vma = folio_mapped(folio) ? anon_vma_of(folio) : NULL;
	if (anon_vma && !atomic_inc_not_zero(&anon_vma->refcount))
		anon_vma = NULL;
	rcu_read_unlock();

	if (!anon_vma || folio_mapped(folio))
		return anon_vma;
	drop_anon_vma(anon_vma);
	return NULL;
}

static unsigned long step(unsigned long mpfn)
{
	return mpfn & MIGRATE_PFN_COMPOUND ? ONEWALK_PMD_NR : 1;
}

static bool is_migrating(const struct eviction *eviction, unsigned long i)
{
	return (eviction->src[i] & MIGRATE_PFN_MIGRATE) && eviction->dst[i];
}

static void free_destination(struct page *page)
{
	unlock_page(page);
	put_page(page);
}

/* One of another size would be written behind its end. */
static struct page *destination(struct onewalk_evict *evict, struct page *src,
				unsigned int order)
{
	struct page *page = evict->ops->alloc(evict, src, order);

	if (!page || !WARN_ON_ONCE(folio_order(page_folio(page)) != order))
		return page;
	free_destination(page);
	return NULL;
}

static void allocate(struct eviction *eviction)
{
	unsigned long i, nr, mpfn;
	struct page *page;

	for (i = 0; i < eviction->nr; i += nr) {
		mpfn = eviction->src[i];
		nr = step(mpfn);
		if (!(mpfn & MIGRATE_PFN_MIGRATE))
			continue;
		page = destination(eviction->evict, migrate_pfn_to_page(mpfn),
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
		if (page)
			free_destination(page);
	}
}

/*
 * The kernel has locked it, or did not want it: our own reference is not needed
 * any more, and would keep it from moving. If the process has moved it to another
 * anon_vma, it goes back at once; nothing that modules are given makes sure that
 * it is still there.
 */
static void let_go(struct eviction *eviction, unsigned long i)
{
	struct folio *folio = page_folio(pfn_to_page(eviction->dst[i]));

	eviction->dst[i] = 0;
	if ((eviction->src[i] & MIGRATE_PFN_MIGRATE) &&
	    anon_vma_of(folio) != eviction->anon_vmas[i]) {
		migrate_device_finalize(&eviction->src[i], &eviction->dst[i],
					1);
		eviction->src[i] = 0;
	}
	folio_put(folio);
}

/*
 * The kernel locks what nobody else has locked, unmaps it everywhere, and leaves
 * out what has more references than that explains: ours is the one more that it
 * allows pages of devices until they are copied. A CPU that touches such a page
 * meanwhile waits for its lock, and then finds the page in system memory.
 */
static void lock_and_unmap(struct eviction *eviction)
{
	unsigned long i;

	migrate_device_pfns(eviction->src, eviction->nr);
	for (i = 0; i < eviction->nr; i++) {
		if (eviction->anon_vmas[i])
			let_go(eviction, i);
		else
			eviction->dst[i] = 0;
	}
}

static void drop_anon_vmas(struct eviction *eviction)
{
	unsigned long i;

	for (i = 0; i < eviction->nr; i++)
		if (eviction->anon_vmas[i])
			drop_anon_vma(eviction->anon_vmas[i]);
}

static int evict_batch(struct eviction *eviction)
{
	struct onewalk_evict *evict = eviction->evict;
	unsigned long i, nr;
	int ret;

	if (!eviction->nr)
		return 0;

	lock_and_unmap(eviction);
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
	drop_anon_vmas(eviction);
	eviction->nr = 0;
	eviction->highest = 0;
	cond_resched();
	return ret;
}

/* A second reference of ours would keep it from moving. */
static bool is_named(const struct eviction *eviction, unsigned long pfn)
{
	unsigned long i;

	if (pfn > eviction->highest)
		return false;
	for (i = eviction->nr; i--;)
		if (eviction->src[i] == pfn)
			return true;
	return false;
}

static void name(struct eviction *eviction, unsigned long first,
		 unsigned long nr, struct anon_vma *anon_vma)
{
	unsigned long i;

	for (i = 0; i < nr; i++) {
		eviction->src[eviction->nr] = first + i;
		eviction->dst[eviction->nr] = first + i;
		eviction->anon_vmas[eviction->nr++] = i ? NULL : anon_vma;
	}
	eviction->highest = max(eviction->highest, first);
}

/* Does a PMD entry map it that must not become a migration entry? */
static bool cannot_unmap(struct folio *folio)
{
	return onewalk_is_hidden(folio) && onewalk_engine->map_by_ptes &&
	       !onewalk_engine->map_by_ptes(folio);
}

/*
 * With a reference of ours, which goes with the batch if it does: that there is
 * room for @nr pages, and that the folio is not in it, was seen to. A page that was
 * not in use yet may have become a large one.
 *
 * Return: how many pages are dealt with: @nr, or none.
 */
static unsigned long name_or_put(struct eviction *eviction, struct folio *folio,
				 unsigned long nr)
{
	struct anon_vma *anon_vma = NULL;
	bool busy = true;

	if (folio_trylock(folio)) {
		if (folio_nr_pages(folio) != nr)
			nr = 0;
		else
			anon_vma = hold_anon_vma(folio);
		busy = anon_vma && cannot_unmap(folio);
		folio_unlock(folio);
	}
	if (anon_vma || busy)
		eviction->evict->tried += nr;
	if (anon_vma && !busy) {
		name(eviction, folio_pfn(folio), nr, anon_vma);
		return nr;
	}
	if (anon_vma)
		drop_anon_vma(anon_vma);
	folio_put(folio);
	return nr;
}

/*
 * The folio that this page is of, if it is in use and mapped. One that is not
 * comes back by itself, when its last reference goes; or is not yet what it will
 * be. With a reference of ours it stays what it is: it is not freed, nor used for
 * something else, nor split.
 *
 * What a large folio left in its pages when it was freed may still point to what
 * was its head.
 *
 * Return: how many pages from @pfn on are dealt with, 0 to look again, or an
 * errno.
 */
static long add(struct eviction *eviction, unsigned long pfn)
{
	struct folio *folio = page_folio(pfn_to_page(pfn));
	unsigned long first = folio_pfn(folio), nr;
	bool named, full = false;
	long ret = 1;

	if (!folio_try_get(folio))
		return 1;
	nr = folio_nr_pages(folio);
	if (page_folio(pfn_to_page(pfn)) != folio) {
		ret = 0;
	} else if (pfn - first < nr && (nr == 1 || nr == BATCH)) {
		ret = first + nr - pfn;
		named = is_named(eviction, first);
		full = !named && eviction->nr + nr > BATCH;
		if (!named && !full)
			return name_or_put(eviction, folio, nr) ? ret : 0;
	}
	folio_put(folio);
	/* It is not kept waiting: when there is room, it is looked at again. */
	return full ? evict_batch(eviction) : ret;
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
		onewalk_resched(pfn);
	}
	return 0;
}

static int begin(struct eviction *eviction, struct onewalk_evict *evict)
{
	BUILD_BUG_ON(ONEWALK_EVICT_SCRATCH != 3 * BATCH);

	if (!evict || !evict->scratch ||
	    !evict->ops || !evict->ops->alloc || !evict->ops->copy)
		return -EINVAL;

	evict->tried = 0;
	evict->evicted = 0;
	eviction->evict = evict;
	eviction->src = evict->scratch;
	eviction->dst = evict->scratch + BATCH;
	eviction->anon_vmas = (struct anon_vma **)(evict->scratch + 2 * BATCH);
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
 *	order. A page of a large folio stands for all of it. One that is given
 *	twice counts once, if the two are in one batch of 512 pages. What it names
 *	may have been freed, and used again, since it was looked up.
 * @npages: length of @pfns
 *
 * Pages that nobody maps are left alone: they are freed when their last reference
 * goes, or are on their way already. Works on migrate_device_pfns(), or on
 * migrate_device_range() where the kernel has no more; and unlike these it holds
 * the anon_vma of what it brings back, which the kernel reads even if the process
 * ends meanwhile; but for pages that UFFDIO_MOVE moves just then. Huge pages come
 * back as such, mapped by PTEs: with the portable engine by PMD entries, and then
 * the kernel, up to 7.3, drops a reference too many of one that is discarded while
 * it is brought back. One that does not come back stays mapped by PTEs, and a CPU
 * that touches it meanwhile may find it busy: &dev_pagemap_ops.migrate_to_ram then
 * collects nothing, and returns 0.
 *
 * Context: Process context; may sleep. No mmap lock, no folio lock, and nothing
 * is held that &dev_pagemap_ops.migrate_to_ram, a notifier callback or the freeing
 * of a device page takes. The pages' struct pages stay: the device is not
 * unplugged meanwhile. May run beside CPU faults on the same pages, migrations of
 * them and the end of the processes that map them. Two at once on the same pages
 * may each find them busy.
 *
 * Return: 0 when all pages that were mapped have come back; or an error, after
 * which &onewalk_evict.evicted says how many have:
 *
 * * -EINVAL: no @evict, or it lacks a callback or its scratch.
 * * -ENOMEM: &onewalk_evict_ops.alloc had nothing for some page.
 * * -EBUSY: pages were locked, or had references that their mappings do not
 *   explain. Try again, a bounded number of times.
 * * -EINTR: a fatal signal is pending, and &onewalk_evict.killable is set: what
 *   is locked by then, a batch of 512 pages at most, was still brought back.
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
