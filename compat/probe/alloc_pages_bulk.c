// SPDX-License-Identifier: GPL-2.0
/*
 * Is the function that allocates pages into an array called alloc_pages_bulk()?
 *
 * Since 6.14: "mm: alloc_pages_bulk: rename API".
 */
#include <linux/gfp.h>

unsigned long probe(struct page **pages);
unsigned long probe(struct page **pages)
{
	return alloc_pages_bulk(GFP_KERNEL, 2, pages);
}
