// SPDX-License-Identifier: GPL-2.0
/*
 * Is pte_offset_map_lock() an inline around __pte_offset_map_lock()?
 *
 * From 6.5 until it went out of line in 6.19.
 */
#include <linux/mm.h>

pte_t *probe(struct mm_struct *mm, pmd_t *pmd, spinlock_t **ptlp);
pte_t *probe(struct mm_struct *mm, pmd_t *pmd, spinlock_t **ptlp)
{
	return __pte_offset_map_lock(mm, pmd, 0, ptlp);
}
