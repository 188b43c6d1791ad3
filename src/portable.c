// SPDX-License-Identifier: GPL-2.0
/*
 * The engine that runs on exported symbols alone: after the look-ahead has made
 * everything present, migrate_vma_setup() collects it, in a walk of its own.
 *
 * It is given stretches of pages that the look-ahead found fit to migrate, each
 * inside one PTE table, so that it does not touch, lock and restore what would
 * be refused anyway.
 */
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/pagemap.h>

#include "onewalk.h"

#define CHUNK		(PMD_SIZE / PAGE_SIZE)

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
static enum onewalk_status recheck(const struct onewalk_migrate *migrate,
				   unsigned long mpfn)
{
	struct page *page = migrate_pfn_to_page(mpfn);

	if (!page || is_zone_device_page(page))
		return ONEWALK_STATUS_MIGRATING;
	return onewalk_page_status(migrate, page);
}

/* Why migrate_vma_setup() would not have a page, as far as can be seen. */
static enum onewalk_status refusal(unsigned long pfn)
{
	struct folio *folio;

	if (!(pfn & ONEWALK_PFN_VALID))
		return ONEWALK_STATUS_UNKNOWN;

	folio = page_folio(onewalk_pfn_to_page(pfn & ~ONEWALK_PFN_PRIVATE));
	if (folio_test_locked(folio))
		return ONEWALK_STATUS_LOCKED;
	if (!folio_is_zone_device(folio) && !folio_test_lru(folio))
		return ONEWALK_STATUS_NOT_ON_LRU;
	return ONEWALK_STATUS_UNKNOWN;
}

/*
 * The kernel left this page out. Look at it again: it may have become something
 * that has to be faulted once more, or that has a reason of its own to stay.
 */
static int not_collected(struct onewalk_call *call, unsigned long i)
{
	unsigned long addr = call->range->start + (i << PAGE_SHIFT);
	unsigned long *pfn = &call->range->hmm_pfns[i];
	unsigned long saved = *pfn;
	int ret;

	*pfn = onewalk_input_of(saved);
	ret = onewalk_scan(call, addr, addr + PAGE_SIZE);
	if (ret) {
		*pfn = saved;
		return -EAGAIN;
	}

	if (*pfn & ONEWALK_PFN_COLLECT)
		onewalk_set_status(call, i, refusal(*pfn));
	return 0;
}

/* Take over what was collected, and leave in @args what has to go back. */
static unsigned long take_over(struct onewalk_call *call,
			       struct migrate_vma *args)
{
	unsigned long first = onewalk_index(call, args->start);
	unsigned long npages = (args->end - args->start) >> PAGE_SHIFT;
	unsigned long *pfns = call->range->hmm_pfns + first;
	unsigned long nr = 1, refused = 0, i, j;
	enum onewalk_status status;

	for (i = 0; i < npages; i += nr) {
		nr = 1;
		if (!(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		if (args->src[i] & MIGRATE_PFN_COMPOUND)
			nr = npages - i;

		status = recheck(call->migrate, args->src[i]);
		for (j = i; j < i + nr; j++) {
			onewalk_set_status(call, first + j, status);
			pfns[j] &= ~ONEWALK_PFN_COLLECT;
		}
		if (status != ONEWALK_STATUS_MIGRATING) {
			args->src[i] &= ~MIGRATE_PFN_MIGRATE;
			refused++;
			continue;
		}

		pfns[i] = onewalk_output_over(onewalk_input_of(pfns[i]),
					      from_migrate_pfn(args->src[i]));
		args->src[i] = 0;
		call->migrate->cpages += nr;
	}
	return refused;
}

static int collect_stretch(struct onewalk_call *call, struct migrate_vma *args)
{
	unsigned long first = onewalk_index(call, args->start);
	unsigned long npages = (args->end - args->start) >> PAGE_SHIFT;
	struct onewalk_own own;
	unsigned long i;
	int ret;

	args->dst = call->migrate->dst + first;
	onewalk_own_begin(&own, call->migrate->notifier, args);
	ret = migrate_vma_setup(args);
	onewalk_own_end(&own);
	if (ret)
		return ret;

	if (take_over(call, args))
		migrate_vma_finalize(args);

	for (i = first; i < first + npages && !ret; i++)
		if (call->range->hmm_pfns[i] & ONEWALK_PFN_COLLECT)
			ret = not_collected(call, i);
	return ret;
}

static unsigned long kernel_flags(unsigned long flags)
{
	unsigned long kernel = 0;

	if (flags & ONEWALK_MIGRATE_SELECT_SYSTEM)
		kernel |= MIGRATE_VMA_SELECT_SYSTEM;
	if (flags & ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE)
		kernel |= MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
	if (flags & ONEWALK_MIGRATE_SELECT_DEVICE_COHERENT)
		kernel |= MIGRATE_VMA_SELECT_DEVICE_COHERENT;
	if (flags & ONEWALK_MIGRATE_SELECT_COMPOUND)
		kernel |= MIGRATE_VMA_SELECT_COMPOUND;
	return kernel;
}

static struct migrate_vma kernel_args(const struct onewalk_migrate *migrate)
{
	return (struct migrate_vma){
		.vma = migrate->vma,
		.src = migrate->src,
		.dst = migrate->dst,
		.cpages = migrate->cpages,
		.npages = migrate->npages,
		.start = migrate->start,
		.end = migrate->end,
		.pgmap_owner = migrate->pgmap_owner,
		.flags = kernel_flags(migrate->flags),
		.fault_page = migrate->fault_page,
	};
}

/* Give back what the stretches before @end left prepared. */
static void restore(struct onewalk_call *call, struct migrate_vma *args,
		    unsigned long end)
{
	unsigned long addr, i, n;

	for (addr = call->range->start; addr < end; addr = args->end) {
		args->start = addr;
		args->end = pmd_addr_end(addr, end);
		args->npages = (args->end - addr) >> PAGE_SHIFT;
		args->dst = call->migrate->dst + onewalk_index(call, addr);

		i = onewalk_index(call, addr);
		for (n = 0; n < args->npages; n++, i++)
			args->src[n] = onewalk_pfn_to_migrate(call->range->hmm_pfns[i] &
							      ~ONEWALK_PFN_PRIVATE);
		migrate_vma_finalize(args);
	}
	call->migrate->cpages = 0;
}

static int portable_collect(struct onewalk_call *call)
{
	struct migrate_vma args = kernel_args(call->migrate);
	unsigned long end = call->range->end;
	unsigned long addr;
	int ret = 0;

	addr = next_collect(call, call->range->start);
	if (addr == end)
		return 0;

	/* hmm_pfns may be the caller's src: the kernel gets another array. */
	args.src = kcalloc(CHUNK, sizeof(*args.src), GFP_KERNEL);
	if (!args.src)
		return -ENOMEM;

	for (; addr < end; addr = next_collect(call, args.end)) {
		args.start = addr;
		args.end = end_collect(call, addr);
		ret = collect_stretch(call, &args);
		if (ret) {
			restore(call, &args, args.end);
			break;
		}
	}
	call->addr = end;
	kfree(args.src);
	return ret;
}

static void portable_pages(struct onewalk_migrate *migrate)
{
	struct migrate_vma args = kernel_args(migrate);
	struct onewalk_own own;

	onewalk_own_begin(&own, migrate->notifier, &args);
	migrate_vma_pages(&args);
	onewalk_own_end(&own);
}

static void portable_finalize(struct onewalk_migrate *migrate)
{
	struct migrate_vma args = kernel_args(migrate);

	migrate_vma_finalize(&args);
}

static int portable_init(void)
{
	return 0;
}

const struct onewalk_engine onewalk_portable = {
	.name		= "portable",
	.init		= portable_init,
	.collect	= portable_collect,
	.pages		= portable_pages,
	.finalize	= portable_finalize,
};
