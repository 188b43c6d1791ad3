// SPDX-License-Identifier: GPL-2.0
/*
 * Is there make_device_exclusive(), in the place of
 * make_device_exclusive_range()?
 *
 * Yes since 6.15: "mm/rmap: convert make_device_exclusive_range() to
 * make_device_exclusive()".
 */
#include <linux/mm.h>
#include <linux/rmap.h>

struct page *probe(struct mm_struct *mm, struct folio **folio);
struct page *probe(struct mm_struct *mm, struct folio **folio)
{
	return make_device_exclusive(mm, 0, NULL, folio);
}
