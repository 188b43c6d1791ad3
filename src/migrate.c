// SPDX-License-Identifier: GPL-2.0
/*
 * From prepared pages to migrated ones: the calls that follow the walk.
 */
#include <linux/export.h>

#include "onewalk.h"

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

/*
 * onewalk_kernel_args() - a migration as the kernel wants it
 * @migrate: the migration
 */
struct migrate_vma onewalk_kernel_args(const struct onewalk_migrate *migrate)
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

static unsigned long pfn_to_migrate(unsigned long hmm_pfn)
{
	unsigned long mpfn = MIGRATE_PFN_MIGRATE;

	if (!(hmm_pfn & ONEWALK_PFN_MIGRATE))
		return 0;
	if (hmm_pfn & ONEWALK_PFN_COMPOUND)
		mpfn |= MIGRATE_PFN_COMPOUND;
	if (!(hmm_pfn & ONEWALK_PFN_VALID))
		return mpfn;
	if (hmm_pfn & ONEWALK_PFN_WRITE)
		mpfn |= MIGRATE_PFN_WRITE;
	return mpfn | migrate_pfn(page_to_pfn(onewalk_pfn_to_page(hmm_pfn)));
}

/**
 * onewalk_pfn_to_migrate() - what src[] holds for a page
 * @hmm_pfn: an entry of &onewalk_range.hmm_pfns after onewalk_range_fault()
 *
 * Any context. Mirrors the helper of "Migrate on fault for device pages" that
 * does the same.
 *
 * Return: the migrate pfn of a page that is prepared for migration, with
 * MIGRATE_PFN_MIGRATE, and where they apply MIGRATE_PFN_VALID, _WRITE and
 * _COMPOUND; 0 for any other page.
 */
unsigned long onewalk_pfn_to_migrate(unsigned long hmm_pfn)
{
	return pfn_to_migrate(hmm_pfn);
}
EXPORT_SYMBOL_GPL(onewalk_pfn_to_migrate);

/**
 * onewalk_migrate_range_setup() - hand what a range fault prepared to migration
 * @range: as onewalk_range_fault() returned it, with &onewalk_range.migrate set
 *
 * Fills &onewalk_migrate.src from &onewalk_range.hmm_pfns, which may be the same
 * array. Mirrors migrate_hmm_range_setup() of "Migrate on fault for device
 * pages", but that the pages are isolated and unmapped already, so that an entry
 * which says that it is migrating really is. After an onewalk_range_fault() that
 * failed it does nothing.
 *
 * Context: Process context; may sleep. The mmap lock is held since before
 * onewalk_range_fault(), and so are the folio locks of prepared pages.
 */
void onewalk_migrate_range_setup(struct onewalk_range *range)
{
	struct onewalk_migrate *migrate = range->migrate;
	unsigned long i;

	for (i = 0; migrate && i < migrate->npages; i++)
		migrate->src[i] = pfn_to_migrate(range->hmm_pfns[i]);
}
EXPORT_SYMBOL_GPL(onewalk_migrate_range_setup);

/*
 * For a hole that was collected whole, the kernel takes one large page or all of
 * the small ones. Small ones with gaps between them go page by page.
 */
static void take_holes_apart(struct onewalk_migrate *migrate)
{
	const unsigned long whole = MIGRATE_PFN_MIGRATE | MIGRATE_PFN_COMPOUND;
	unsigned long i, j;

	for (i = 0; i < migrate->npages; i++) {
		if (migrate->src[i] != whole ||
		    (migrate->dst[i] & MIGRATE_PFN_COMPOUND))
			continue;
		for (j = 0; j < ONEWALK_PMD_NR && i + j < migrate->npages; j++)
			migrate->src[i + j] = MIGRATE_PFN_MIGRATE;
	}
}

/* With a reference too many the kernel does not move a page: for tests. */
static struct folio *hold_first(const struct onewalk_migrate *migrate)
{
	struct page *page = migrate_pfn_to_page(migrate->src[0]);

	if (!page || !onewalk_fails(ONEWALK_POINT_REFUSE))
		return NULL;
	folio_get(page_folio(page));
	return page_folio(page);
}

/* Pages that were migrating, and did not move after all. */
static void settle_status(const struct onewalk_migrate *migrate)
{
	unsigned long i, j, nr;
	u8 why;

	for (i = 0; i < migrate->npages; i += nr) {
		nr = 1;
		if (migrate->status[i] != ONEWALK_STATUS_MIGRATING)
			continue;
		if (migrate->src[i] & MIGRATE_PFN_COMPOUND)
			nr = min(ONEWALK_PMD_NR, migrate->npages - i);
		if (migrate->src[i] & MIGRATE_PFN_MIGRATE)
			continue;

		why = migrate->dst[i] ? ONEWALK_STATUS_UNKNOWN :
					ONEWALK_STATUS_STOPPED;
		for (j = i; j < i + nr; j++)
			migrate->status[j] = why;
	}
}

/**
 * onewalk_migrate_pages() - move the pages' identity to their destinations
 * @migrate: set up, with &onewalk_migrate.dst filled for pages that are to move
 *
 * For each page with MIGRATE_PFN_MIGRATE in src[] and a destination in dst[],
 * the destination takes the source's place; a hole's destination is mapped
 * there. An entry with MIGRATE_PFN_COMPOUND gets one destination with that flag,
 * or up to as many single ones, in dst[] from there on, as it has pages; src[]
 * then holds the pages one by one afterwards, and the order in their entries of
 * &onewalk_range.hmm_pfns does not hold any more. Where there is no destination, or
 * the kernel refuses, MIGRATE_PFN_MIGRATE is cleared in src[]: the caller looks
 * there for what really moved; &onewalk_migrate.status follows. Mirrors
 * migrate_vma_pages(). Does nothing when npages is 0.
 *
 * Context: Process context; may sleep. The mmap lock and the folio locks are
 * held. Raises MMU_NOTIFY_MIGRATE for holes.
 */
void onewalk_migrate_pages(struct onewalk_migrate *migrate)
{
	struct migrate_vma args = onewalk_kernel_args(migrate);
	struct onewalk_own own;
	struct folio *held;

	if (!migrate->npages)
		return;

	if (migrate->flags & ONEWALK_MIGRATE_SELECT_COMPOUND)
		take_holes_apart(migrate);
	if (migrate->huge)
		onewalk_part_from_huge(migrate);
	onewalk_pause(ONEWALK_POINT_PARTED, migrate->notifier);
	held = hold_first(migrate);
	onewalk_own_begin_kernel(&own, migrate, &args);
	migrate_vma_pages(&args);
	onewalk_own_end(&own);
	if (held)
		folio_put(held);
	if (migrate->huge)
		onewalk_take_back_huge(migrate);
	migrate->moved = true;
	if (migrate->status)
		settle_status(migrate);
	onewalk_pause(ONEWALK_POINT_MOVED, migrate->notifier);
}
EXPORT_SYMBOL_GPL(onewalk_migrate_pages);

/*
 * The driver gave up before onewalk_migrate_pages(), and no destination has taken
 * anything over. The kernel would map them all the same, and free the pages.
 */
static void give_up(const struct onewalk_migrate *migrate)
{
	unsigned long i;

	for (i = 0; i < migrate->npages; i++)
		migrate->src[i] &= ~MIGRATE_PFN_MIGRATE;
	onewalk_stop_status(migrate->status, migrate->npages);
}

/**
 * onewalk_migrate_finalize() - map what is there now and let go of it
 * @migrate: set up; onewalk_migrate_pages() may have been called or not
 *
 * Every page that moved is mapped at its destination, every other one where it
 * was, and all folio locks and references are dropped, those of the
 * destinations too. The copying must be over, and visible to the CPU. Mirrors
 * migrate_vma_finalize(), but that one must not be given destinations when
 * migrate_vma_pages() was not called. This one must be given the very @migrate
 * that onewalk_migrate_pages() got: after a copy of it, or the kernel's own
 * functions, have moved the pages, it would put the old ones back. Does nothing
 * when npages is 0, and sets it to 0.
 *
 * Context: Process context; may sleep. The mmap lock is held, and may be
 * released afterwards.
 */
void onewalk_migrate_finalize(struct onewalk_migrate *migrate)
{
	if (!migrate->moved)
		give_up(migrate);
	if (migrate->huge)
		onewalk_settle_huge(migrate);
	if (migrate->npages)
		onewalk_engine->finalize(migrate);
	migrate->npages = 0;
}
EXPORT_SYMBOL_GPL(onewalk_migrate_finalize);
