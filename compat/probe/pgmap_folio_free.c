// SPDX-License-Identifier: GPL-2.0
/*
 * Is a device page given back by &dev_pagemap_ops.folio_free, no longer by
 * page_free?
 *
 * Yes since 6.19: "mm/zone_device: support large zone device private folios".
 */
#include <linux/memremap.h>

void probe(struct dev_pagemap_ops *ops, void (*free)(struct folio *folio));
void probe(struct dev_pagemap_ops *ops, void (*free)(struct folio *folio))
{
	ops->folio_free = free;
}
