// SPDX-License-Identifier: GPL-2.0
/*
 * Is pte_offset_map_lock() a function, which looks at the PMD under the lock and
 * fails if there is no PTE table any more?
 *
 * Yes since 6.5: "mm/pgtable: allow pte_offset_map[_lock]() to fail". Before it
 * is a macro, which believes its caller.
 */
#include <linux/mm.h>

pte_t *(*probe(void))(struct mm_struct *, pmd_t *, unsigned long, spinlock_t **);
pte_t *(*probe(void))(struct mm_struct *, pmd_t *, unsigned long, spinlock_t **)
{
	return pte_offset_map_lock;
}
