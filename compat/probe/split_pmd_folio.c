// SPDX-License-Identifier: GPL-2.0
/*
 * Does __split_huge_pmd() take the folio that it is to be done for?
 *
 * Until 6.16: "mm/huge_memory: remove unused folio argument of PMD splitting".
 */
#include <linux/mm.h>

void probe(struct vm_area_struct *vma, pmd_t *pmd);
void probe(struct vm_area_struct *vma, pmd_t *pmd)
{
	__split_huge_pmd(vma, pmd, 0, false, NULL);
}
