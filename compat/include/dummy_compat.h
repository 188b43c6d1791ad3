/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the dummy device needs of the newest kernel and an older one lacks.
 */
#ifndef _ONEWALK_DUMMY_COMPAT_H
#define _ONEWALK_DUMMY_COMPAT_H

#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/rmap.h>

#include <onewalk/features.h>

#ifndef ONEWALK_HAVE_MAKE_DEVICE_EXCLUSIVE
/* The older function leaves out a page that it cannot lock. */
static inline struct page *make_device_exclusive(struct mm_struct *mm,
						 unsigned long addr,
						 void *owner,
						 struct folio **foliop)
{
	struct page *page = NULL;
	int ret;

	ret = make_device_exclusive_range(mm, addr, addr + PAGE_SIZE, &page,
					  owner);
	if (ret < 0)
		return ERR_PTR(ret);
	if (!page)
		return ERR_PTR(-EBUSY);
	*foliop = page_folio(page);
	return page;
}
#endif

#ifndef ONEWALK_HAVE_ALLOC_PAGES_BULK
#define alloc_pages_bulk(gfp, nr, pages)	\
	alloc_pages_bulk_array(gfp, nr, pages)
#endif

#endif /* _ONEWALK_DUMMY_COMPAT_H */
