// SPDX-License-Identifier: GPL-2.0
/*
 * Can pages that do not lie in a row be brought back from a device in one go?
 *
 * Yes since 6.17: "mm/migrate_device: add migrate_device_pfns()".
 */
#include <linux/migrate.h>

int probe(unsigned long *pfns);
int probe(unsigned long *pfns)
{
	return migrate_device_pfns(pfns, 1);
}
