// SPDX-License-Identifier: GPL-2.0
/*
 * Can an entry be made writable without a VMA, which is asked for shadow stacks?
 *
 * Yes since 6.6: "mm: Make pte_mkwrite() take a VMA". Before, that is what
 * pte_mkwrite() does.
 */
#include <linux/mm.h>

pte_t probe(pte_t pte);
pte_t probe(pte_t pte)
{
	return pte_mkwrite_novma(pte);
}
