// SPDX-License-Identifier: GPL-2.0
/*
 * Is there zone_device_folio_init(), which takes the pgmap and an order?
 *
 * Yes since 6.19: "mm/zone_device: reinitialize large zone device private
 * folios".
 */
#include <linux/memremap.h>

void probe(struct folio *folio, struct dev_pagemap *pgmap);
void probe(struct folio *folio, struct dev_pagemap *pgmap)
{
	zone_device_folio_init(folio, pgmap, 0);
}
