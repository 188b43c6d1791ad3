// SPDX-License-Identifier: GPL-2.0
/*
 * Is userfaultfd's bit in a page table entry called after more than its use for
 * write protection?
 *
 * Yes since 7.3, which has it protect against reads too (RWP).
 */
#include <linux/mm.h>

int probe(pte_t pte, pmd_t pmd);
int probe(pte_t pte, pmd_t pmd)
{
	return pte_uffd(pte) || pmd_uffd(pmd);
}
