// SPDX-License-Identifier: GPL-2.0
/*
 * The engine that runs on exported symbols alone: after the look-ahead has made
 * everything present, migrate_vma_setup() collects it, in a walk of its own.
 *
 * It is given stretches of pages that the look-ahead found fit to migrate, each
 * inside one PTE table, so that it does not touch, lock and restore what would
 * be refused anyway.
 */
#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "onewalk.h"

/*
 * A stretch has at most as many pages as a PTE table. The kernel is given room
 * for twice as many: in 7.2 and 7.3 migrate_vma_setup() begins a table anew after
 * it has dropped its lock to split a folio, and if another thread has zapped the
 * whole table meanwhile it appends the new one to what it has.
 */
#define STRETCH		ONEWALK_PMD_NR
#define SCRATCH		(2 * STRETCH)

/* The first page from @addr on that is to be collected, or the end. */
static unsigned long next_collect(const struct onewalk_call *call,
				  unsigned long addr)
{
	const unsigned long *pfns = call->range->hmm_pfns;

	while (addr < call->range->end &&
	       !(pfns[onewalk_index(call, addr)] & ONEWALK_PFN_COLLECT))
		addr += PAGE_SIZE;
	return addr;
}

/* The end of the stretch that begins at @addr: a gap, or its PTE table's end. */
static unsigned long end_collect(const struct onewalk_call *call,
				 unsigned long addr)
{
	const unsigned long *pfns = call->range->hmm_pfns;
	unsigned long end = pmd_addr_end(addr, call->range->end);

	while (addr < end &&
	       (pfns[onewalk_index(call, addr)] & ONEWALK_PFN_COLLECT))
		addr += PAGE_SIZE;
	return addr;
}

static unsigned long from_migrate_pfn(unsigned long mpfn)
{
	unsigned long pfn = ONEWALK_PFN_MIGRATE;

	if (mpfn & MIGRATE_PFN_COMPOUND)
		pfn |= ONEWALK_PFN_COMPOUND;
	if (!(mpfn & MIGRATE_PFN_VALID))
		return pfn;
	if (mpfn & MIGRATE_PFN_WRITE)
		pfn |= ONEWALK_PFN_WRITE;
	return pfn | ONEWALK_PFN_VALID | page_to_pfn(migrate_pfn_to_page(mpfn));
}

/*
 * The page is locked and isolated, so what is seen now stays so. Everything
 * that the look-ahead refuses may have come about since.
 */
static enum onewalk_status recheck(const struct onewalk_call *call,
				   unsigned long mpfn)
{
	struct page *page = migrate_pfn_to_page(mpfn);

	if (!page)
		return onewalk_hole_status(call);
	/* The kernel goes by the owner, which another device may share. */
	if (is_device_private_page(page) &&
	    !onewalk_reaches(call, onewalk_owner(page), page_to_pfn(page)))
		return ONEWALK_STATUS_FOREIGN_DEVICE;
	if (is_zone_device_page(page))
		return ONEWALK_STATUS_MIGRATING;
	if (mpfn & MIGRATE_PFN_COMPOUND &&
	    folio_test_has_hwpoisoned(page_folio(page)))
		return ONEWALK_STATUS_POISONED;
	return onewalk_page_status(call, page);
}

/* Has somebody write-protected a page that must come out writable? */
static bool lost_write(const struct onewalk_call *call, unsigned long pfn,
		       unsigned long mpfn)
{
	const unsigned long both = ONEWALK_PFN_REQ_FAULT | ONEWALK_PFN_REQ_WRITE;
	unsigned long req = onewalk_request(call, onewalk_input_of(pfn));
	struct page *page = migrate_pfn_to_page(mpfn);

	return (req & both) == both && page && !is_zone_device_page(page) &&
	       !(mpfn & MIGRATE_PFN_WRITE);
}

/* Why migrate_vma_setup() would not have a page, as far as can be seen. */
static enum onewalk_status refusal(unsigned long pfn)
{
	struct page *page;

	pfn = onewalk_noted_pfn(pfn);
	if (!pfn)
		return ONEWALK_STATUS_UNKNOWN;

	/*
	 * No reference is held, so what is seen is a guess. Device memory may
	 * have been unplugged since, and its struct pages with it.
	 */
	page = pfn_to_online_page(pfn);
	if (!page)
		return ONEWALK_STATUS_LOCKED;
	if (PageLocked(page))
		return ONEWALK_STATUS_LOCKED;
	if (!PageLRU(page))
		return ONEWALK_STATUS_NOT_ON_LRU;
	return ONEWALK_STATUS_UNKNOWN;
}

/*
 * The kernel left this page out. Look at it again: it may have become something
 * that has to be faulted or split once more, or that has a reason of its own to
 * stay. A hole that the driver was to fill, and that must come out present, is
 * for another round.
 */
static int not_collected(struct onewalk_call *call, unsigned long i)
{
	unsigned long addr = call->range->start + (i << PAGE_SHIFT);
	unsigned long *pfn = &call->range->hmm_pfns[i];
	unsigned long saved = *pfn;
	unsigned long req;
	int ret;

	*pfn = onewalk_input_of(saved);
	req = onewalk_request(call, *pfn);
	ret = onewalk_scan(call, addr, addr + PAGE_SIZE);
	if (ret) {
		*pfn = saved;
		return -EAGAIN;
	}

	if (!(*pfn & ONEWALK_PFN_COLLECT)) {
		/* It was to move whole: nobody has tried to split it. */
		if (call->status &&
		    call->status[i] == ONEWALK_STATUS_SPLIT_FAILED)
			onewalk_set_status(call, i, refusal(saved));
		return 0;
	}
	onewalk_set_status(call, i, refusal(*pfn));
	if ((req & ONEWALK_PFN_REQ_FAULT) && !(*pfn & ONEWALK_PFN_VALID))
		return -EAGAIN;
	return 0;
}

/*
 * Take over what was collected, and leave in @args what has to go back: that
 * much is returned, or -EAGAIN when it has to be collected anew after that.
 */
static long take_over(struct onewalk_call *call, struct migrate_vma *args)
{
	unsigned long first = onewalk_index(call, args->start);
	unsigned long *pfns = call->range->hmm_pfns + first;
	unsigned long nr, i, j;
	enum onewalk_status status;
	bool again = false, lost;
	long refused = 0;

	for (i = 0; i < args->npages; i += nr) {
		nr = 1;
		if (!(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		if (args->src[i] & MIGRATE_PFN_COMPOUND)
			nr = args->npages - i;

		status = recheck(call, args->src[i]);
		for (j = i; j < i + nr; j++) {
			onewalk_set_status(call, first + j, status);
			pfns[j] &= ~ONEWALK_PFN_COLLECT;
		}
		lost = lost_write(call, pfns[i], args->src[i]);
		if (lost || status != ONEWALK_STATUS_MIGRATING) {
			args->src[i] &= ~MIGRATE_PFN_MIGRATE;
			again |= lost;
			refused++;
			continue;
		}

		pfns[i] = onewalk_output_over(onewalk_input_of(pfns[i]),
					      from_migrate_pfn(args->src[i]));
		args->src[i] = 0;
		call->migrate->cpages += nr;
	}
	return again ? -EAGAIN : refused;
}

static int setup(const struct onewalk_call *call, struct migrate_vma *args)
{
	struct onewalk_own own;
	int ret;

	onewalk_own_begin_kernel(&own, call->migrate, args);
	ret = migrate_vma_setup(args);
	onewalk_own_end(&own);
	return ret;
}

/* Whole pages are prepared only where the same is asked of all of it. */
static unsigned long stretch_flags(const struct onewalk_call *call,
				   const struct migrate_vma *args)
{
	if (onewalk_asks_whole(call, args->start, args->end))
		return args->flags | MIGRATE_VMA_SELECT_COMPOUND;
	return args->flags & ~(unsigned long)MIGRATE_VMA_SELECT_COMPOUND;
}

static int collect_stretch(struct onewalk_call *call, struct migrate_vma *args)
{
	unsigned long first = onewalk_index(call, args->start);
	unsigned long end = args->end;
	unsigned long npages = (end - args->start) >> PAGE_SHIFT;
	unsigned long i;
	int begun, ret;
	long refused;

	begun = onewalk_begin_setup(call->mm, args->start);
	if (begun < 0)
		return begun;
	ret = setup(call, args);
	onewalk_end_setup(begun);
	if (ret)
		return ret;

	/* See SCRATCH. Nothing of it is of use. */
	if (args->npages != npages) {
		migrate_vma_finalize(args);
		args->end = end;
		return -EAGAIN;
	}

	refused = take_over(call, args);
	if (refused)
		migrate_vma_finalize(args);
	if (refused < 0)
		return refused;

	/* What the kernel has just put back is in this CPU's batch. */
	if (next_collect(call, args->start) < end)
		lru_add_drain();
	for (i = first; i < first + npages && !ret; i++)
		if (call->range->hmm_pfns[i] & ONEWALK_PFN_COLLECT)
			ret = not_collected(call, i);
	return ret;
}

/* The kernel's arguments, with arrays of our own: hmm_pfns may be src. */
static int scratch_args(const struct onewalk_call *call,
			struct migrate_vma *args)
{
	unsigned long *scratch = kcalloc(2 * SCRATCH, sizeof(*scratch),
					 GFP_KERNEL);

	if (!scratch)
		return -ENOMEM;

	*args = onewalk_kernel_args(call->migrate);
	args->src = scratch;
	args->dst = scratch + SCRATCH;
	return 0;
}

/*
 * Preparing a page of a large folio splits the folio, and then the page goes
 * back. Kernels before 6.19 leave alone a folio that PTEs map. Later ones wait
 * for its lock, which who holds that of fault_page must not.
 */
static int portable_split(struct onewalk_call *call)
{
	struct migrate_vma args;
	int begun, ret;

	if (call->migrate->fault_page)
		return 0;
	if (!call->order && !ONEWALK_MIGRATE_VMA_SPLITS)
		return 0;

	ret = scratch_args(call, &args);
	if (ret)
		return ret;

	args.start = call->addr;
	args.end = call->addr + PAGE_SIZE;
	args.flags &= ~(unsigned long)MIGRATE_VMA_SELECT_COMPOUND;
	begun = onewalk_begin_split(call->mm, call->addr);
	if (begun >= 0) {
		ret = setup(call, &args);
		if (!ret)
			migrate_vma_finalize(&args);
		onewalk_end_setup(begun);
	} else if (begun == -EINTR) {
		ret = begun;
	}
	kfree(args.src);
	return ret;
}

/* Give back what the stretches before @end left prepared. */
static void restore(struct onewalk_call *call, struct migrate_vma *args,
		    unsigned long end)
{
	unsigned long addr, i, n;

	memset(args->dst, 0, SCRATCH * sizeof(*args->dst));
	for (addr = call->range->start; addr < end; addr = args->end) {
		args->start = addr;
		args->end = pmd_addr_end(addr, end);
		args->npages = (args->end - addr) >> PAGE_SHIFT;

		i = onewalk_index(call, addr);
		for (n = 0; n < args->npages; n++, i++)
			args->src[n] = onewalk_pfn_to_migrate(call->range->hmm_pfns[i] &
							      ~ONEWALK_PFN_PRIVATE);
		migrate_vma_finalize(args);
	}
	call->migrate->cpages = 0;
}

/* Take a reference to each page that is still what the look-ahead saw. */
static int hold_pages(struct onewalk_call *call, pmd_t *pmdp,
		      unsigned long addr, unsigned long end)
{
	struct folio *folio;
	unsigned long *pfn;

	for (; addr < end; addr += PAGE_SIZE) {
		pfn = &call->range->hmm_pfns[onewalk_index(call, addr)];
		if (!(*pfn & ONEWALK_PFN_COLLECT))
			continue;

		call->addr = addr;
		folio = onewalk_get_folio(call, pmdp);
		if (folio && folio_pfn(folio) == onewalk_noted_pfn(*pfn) &&
		    folio_is_device_coherent(folio))
			continue;
		*pfn &= ~ONEWALK_PFN_COLLECT;
		if (folio)
			folio_put(folio);
	}
	return 0;
}

static int hold_nothing(struct onewalk_call *call, unsigned long addr,
			unsigned long end)
{
	unsigned long *pfns = call->range->hmm_pfns;

	for (; addr < end; addr += PAGE_SIZE)
		pfns[onewalk_index(call, addr)] &= ~ONEWALK_PFN_COLLECT;
	return 0;
}

/*
 * For a pin, whoever owns the pages. migrate_vma_setup() would have to be given
 * each owner, whose driver may then take it for a migration of its own, and keep
 * what it maps. So they go by their pfns, as in eviction, which names nobody.
 *
 * Our references keep the pages what they are: their devices may be unplugged, and
 * the pages used for somebody else, at any time. The kernel puts up with one more
 * of a device page, until the page moves.
 */
static void collect_for_pin(struct onewalk_call *call, struct migrate_vma *args)
{
	static const struct onewalk_walk hold = {
		.pmd = hold_pages,
		.hole = hold_nothing,
		.exotic = hold_nothing,
	};
	unsigned long *pfns = call->range->hmm_pfns;
	unsigned long npages = onewalk_index(call, call->range->end);
	unsigned long i, nr = 0;

	onewalk_assert(npages <= STRETCH);
	onewalk_walk(call, &hold, call->range->start, call->range->end);
	for (i = 0; i < npages; i++)
		if (pfns[i] & ONEWALK_PFN_COLLECT)
			args->src[nr++] = onewalk_noted_pfn(pfns[i]);

	migrate_device_pfns(args->src, nr);

	for (i = 0, nr = 0; i < npages; i++) {
		if (!(pfns[i] & ONEWALK_PFN_COLLECT))
			continue;
		pfns[i] &= ~ONEWALK_PFN_COLLECT;
		put_page(pfn_to_page(onewalk_noted_pfn(pfns[i])));
		if (!(args->src[nr++] & MIGRATE_PFN_MIGRATE))
			continue;
		pfns[i] = onewalk_output_over(onewalk_input_of(pfns[i]),
					      from_migrate_pfn(args->src[nr - 1]));
		call->migrate->cpages++;
	}
}

static int collect_by_walks(struct onewalk_call *call, struct migrate_vma *args)
{
	unsigned long addr = next_collect(call, call->range->start);
	int ret = 0;

	for (; !ret && addr < call->range->end;
	     addr = next_collect(call, args->end)) {
		args->start = addr;
		args->end = end_collect(call, addr);
		args->flags = stretch_flags(call, args);
		ret = fatal_signal_pending(current) ?
			-EINTR : collect_stretch(call, args);
		if (ret)
			restore(call, args, args->end);
		cond_resched();
	}
	return ret;
}

static int portable_collect(struct onewalk_call *call)
{
	struct migrate_vma args;
	int ret;

	ret = scratch_args(call, &args);
	if (ret)
		return ret;

	if (call->pin)
		collect_for_pin(call, &args);
	else
		ret = collect_by_walks(call, &args);
	call->addr = call->range->end;
	kfree(args.src);
	return ret;
}

static void portable_finalize(struct onewalk_migrate *migrate)
{
	struct migrate_vma args = onewalk_kernel_args(migrate);

	migrate_vma_finalize(&args);
}

const struct onewalk_engine onewalk_portable = {
	.name		= "portable",
	.split		= portable_split,
	.collect	= portable_collect,
	.finalize	= portable_finalize,
};
