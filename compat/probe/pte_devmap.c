// SPDX-License-Identifier: GPL-2.0
/*
 * Does a PTE tell that it maps a DAX page?
 *
 * No since 6.17: "mm: remove devmap related functions and page table bits".
 */
#include <linux/mm.h>

int probe(pte_t pte);
int probe(pte_t pte)
{
	return pte_devmap(pte);
}
