// SPDX-License-Identifier: GPL-2.0
/*
 * Does migrate_vma_setup() take large folios whole?
 *
 * Yes since 6.19: "mm/migrate_device: handle partially mapped folios during
 * collection" and the series around it.
 */
#include <linux/migrate.h>

unsigned long probe(void);
unsigned long probe(void)
{
	return MIGRATE_VMA_SELECT_COMPOUND | MIGRATE_PFN_COMPOUND;
}
