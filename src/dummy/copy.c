// SPDX-License-Identifier: GPL-2.0
/*
 * Between setup and finalize: find a destination for each page that is
 * migrating, and copy.
 */
#include <linux/highmem.h>
#include <linux/memremap.h>

#include <onewalk/pgmap.h>

#include "dummy.h"

/**
 * dummy_step() - how many pages an entry of src[] or dst[] is about
 * @mpfn: the entry
 */
unsigned long dummy_step(unsigned long mpfn)
{
	return mpfn & MIGRATE_PFN_COMPOUND ? DUMMY_PMD_NR : 1;
}

static struct page *page_at(struct page *page, unsigned long i)
{
	return page && i ? folio_page(page_folio(page), i) : page;
}

static bool fails_on_purpose(struct dummy_mirror *mirror)
{
	return mirror && atomic_xchg(&mirror->fail_alloc, 0);
}

static struct page *destination(struct dummy_mirror *mirror,
				const struct onewalk_migrate *migrate,
				unsigned long i, unsigned int order,
				bool to_device)
{
	if (fails_on_purpose(mirror))
		return NULL;
	if (to_device)
		return dummy_memory_alloc(mirror->device, order);
	return dummy_system_alloc(migrate->vma,
				  migrate->start + (i << PAGE_SHIFT), order);
}

/* A hole and the zero page have no source: the destination is cleared. */
static void copy_page_to(struct page *dst, struct page *src)
{
	if (src)
		copy_highpage(dummy_backing(dst), dummy_backing(src));
	else
		clear_highpage(dummy_backing(dst));
}

static unsigned long dst_entry(struct page *page, unsigned long src)
{
	return onewalk_page_to_migrate(page) | (src & MIGRATE_PFN_WRITE);
}

static bool copy_whole(struct dummy_mirror *mirror,
		       struct onewalk_migrate *migrate, unsigned long i,
		       bool to_device)
{
	unsigned long src = migrate->src[i];
	struct page *page;
	unsigned long j;

	page = destination(mirror, migrate, i, DUMMY_PMD_ORDER, to_device);
	if (!page)
		return false;
	for (j = 0; j < DUMMY_PMD_NR; j++)
		copy_page_to(page_at(page, j),
			     page_at(migrate_pfn_to_page(src), j));
	migrate->dst[i] = dst_entry(page, src) | MIGRATE_PFN_COMPOUND;
	return true;
}

/*
 * Into @nr single pages; the kernel splits the source if it has to. All of them
 * or none, since a large hole is filled without a look at each entry.
 */
static void copy_single(struct dummy_mirror *mirror,
			struct onewalk_migrate *migrate, unsigned long i,
			unsigned long nr, bool to_device)
{
	unsigned long src = migrate->src[i];
	struct page *page;
	unsigned long j;

	for (j = 0; j < nr; j++) {
		page = destination(mirror, migrate, i + j, 0, to_device);
		if (!page)
			goto undo;
		copy_page_to(page, page_at(migrate_pfn_to_page(src), j));
		migrate->dst[i + j] = dst_entry(page, src);
	}
	return;
undo:
	while (j--) {
		dummy_page_free(migrate_pfn_to_page(migrate->dst[i + j]));
		migrate->dst[i + j] = 0;
	}
}

/**
 * dummy_copy() - allocate destinations and copy
 * @mirror: on whose behalf; NULL when a CPU fault brings pages back
 * @migrate: set up, for onewalk_migrate_pages()
 * @to_device: which way
 *
 * A page for which there is no destination keeps an empty entry in dst[], and
 * stays where it is.
 */
void dummy_copy(struct dummy_mirror *mirror, struct onewalk_migrate *migrate,
		bool to_device)
{
	unsigned long i, nr;

	for (i = 0; i < migrate->npages; i += nr) {
		unsigned long src = migrate->src[i];

		nr = dummy_step(src);
		if (!(src & MIGRATE_PFN_MIGRATE))
			continue;
		/* Holes are always offered, but nothing comes back from one. */
		if (!to_device && !(src & MIGRATE_PFN_VALID))
			continue;
		if (nr > 1 && copy_whole(mirror, migrate, i, to_device))
			continue;
		copy_single(mirror, migrate, i, nr, to_device);
	}
}

/**
 * dummy_is_moved() - did this page migrate
 * @migrate: after onewalk_migrate_pages()
 * @i: number of the page, or of the first of a large one
 */
bool dummy_is_moved(const struct onewalk_migrate *migrate, unsigned long i)
{
	return (migrate->src[i] & MIGRATE_PFN_MIGRATE) &&
	       (migrate->dst[i] & MIGRATE_PFN_VALID);
}

/**
 * dummy_moved() - how many pages did migrate
 * @migrate: after onewalk_migrate_pages()
 */
unsigned long dummy_moved(const struct onewalk_migrate *migrate)
{
	unsigned long i, nr, moved = 0;

	for (i = 0; i < migrate->npages; i += nr) {
		nr = dummy_step(migrate->dst[i]);
		if (dummy_is_moved(migrate, i))
			moved += nr;
	}
	return moved;
}
