/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lets a driver's device memory build on kernels old and new.
 */
#ifndef _ONEWALK_PGMAP_H
#define _ONEWALK_PGMAP_H

#include <linux/bug.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>

#include <onewalk/features.h>

/**
 * DOC: Device memory across kernels
 *
 * The calls that a driver makes to give its memory struct pages changed their
 * shape more than once. Include this header and write for the newest kernel:
 * page_pgmap() and zone_device_folio_init() are there on every kernel. What
 * cannot be given an old kernel under its new name is the callback that takes
 * a device page back, so that one is named by a macro::
 *
 *	static void my_folio_free(struct folio *folio)
 *	{
 *		...
 *	}
 *	ONEWALK_DEFINE_FOLIO_FREE(my_folio_free);
 *
 *	static const struct dev_pagemap_ops my_pgmap_ops = {
 *		ONEWALK_FOLIO_FREE(my_folio_free),
 *		.migrate_to_ram = my_migrate_to_ram,
 *	};
 *
 * Between a device page and its place in the device's memory, convert with
 * onewalk_pgmap_index() and onewalk_pgmap_page() and with nothing else: device
 * pages are about to leave the physical address space, and their pfn with them.
 */

/*
 * ONEWALK_DEFINE_FOLIO_FREE() takes a void (*)(struct folio *); it makes of it
 * what ONEWALK_FOLIO_FREE() then puts into &struct dev_pagemap_ops: folio_free,
 * or before 6.19 page_free.
 */
#ifdef ONEWALK_HAVE_PGMAP_FOLIO_FREE
#define ONEWALK_DEFINE_FOLIO_FREE(fn)					\
	static_assert(__same_type(&(fn), (void (*)(struct folio *))0))
#define ONEWALK_FOLIO_FREE(fn)	.folio_free = (fn)
#else
#define ONEWALK_DEFINE_FOLIO_FREE(fn)					\
	static void fn##_page(struct page *page)			\
	{								\
		void (*folio_free)(struct folio *folio) = fn;		\
									\
		folio_free(page_folio(page));				\
	}								\
	static_assert(true)
#define ONEWALK_FOLIO_FREE(fn)	.page_free = fn##_page
#endif

#ifndef ONEWALK_HAVE_PAGE_PGMAP
/**
 * page_pgmap() - the pgmap that a device page belongs to
 * @page: a ZONE_DEVICE page
 *
 * Return: its pgmap.
 */
static inline struct dev_pagemap *page_pgmap(const struct page *page)
{
	return page->pgmap;
}
#endif

#ifndef ONEWALK_HAVE_ZONE_DEVICE_FOLIO_INIT
/**
 * zone_device_folio_init() - take a free device page into use
 * @folio: the page
 * @pgmap: the pgmap that it belongs to
 * @order: of the folio; these kernels have single device pages only
 *
 * The page comes out locked and with one reference.
 */
static inline void zone_device_folio_init(struct folio *folio,
					  struct dev_pagemap *pgmap,
					  unsigned int order)
{
	WARN_ON_ONCE(order);
	zone_device_page_init(&folio->page);
}
#endif

/**
 * onewalk_pgmap_index() - where in its pgmap a device page is
 * @page: a page of a pgmap with one range
 *
 * Return: 0 for the pgmap's first page, and so on.
 */
static inline unsigned long onewalk_pgmap_index(const struct page *page)
{
	return page_to_pfn(page) - PHYS_PFN(page_pgmap(page)->range.start);
}

/**
 * onewalk_pgmap_page() - the opposite of onewalk_pgmap_index()
 * @pgmap: a pgmap with one range
 * @index: number of a page in it
 *
 * Return: that page.
 */
static inline struct page *onewalk_pgmap_page(const struct dev_pagemap *pgmap,
					      unsigned long index)
{
	return pfn_to_page(PHYS_PFN(pgmap->range.start) + index);
}

/**
 * onewalk_page_to_migrate() - what dst[] holds for a destination page
 * @page: a locked page with one reference, ordinary or of a device
 *
 * Return: its migrate pfn, without further flags.
 */
static inline unsigned long onewalk_page_to_migrate(const struct page *page)
{
	return migrate_pfn(page_to_pfn(page));
}

#endif /* _ONEWALK_PGMAP_H */
