// SPDX-License-Identifier: GPL-2.0
/*
 * Are there functions that take away one mapping of a folio, and that share an
 * exclusive anonymous page, by level of the page table?
 *
 * Yes since 6.8: "mm/rmap: introduce folio_remove_rmap_[pte|ptes|pmd]()" and
 * "mm/rmap: pass a folio and a page table level to try_share". Before there are
 * page_remove_rmap() and page_try_share_anon_rmap().
 */
#include <linux/mm.h>
#include <linux/rmap.h>

int probe(struct folio *folio, struct page *page, struct vm_area_struct *vma);
int probe(struct folio *folio, struct page *page, struct vm_area_struct *vma)
{
	folio_remove_rmap_pte(folio, page, vma);
	return folio_try_share_anon_rmap_pte(folio, page);
}
