// SPDX-License-Identifier: GPL-2.0
/*
 * Is there pmdp_get_lockless(), in the place of pmd_read_atomic()?
 *
 * Yes since 6.2: "mm: Rename pmd_read_atomic()".
 */
#include <linux/mm.h>
#include <linux/pgtable.h>

pmd_t probe(pmd_t *pmdp);
pmd_t probe(pmd_t *pmdp)
{
	return pmdp_get_lockless(pmdp);
}
