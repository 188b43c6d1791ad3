// SPDX-License-Identifier: GPL-2.0
/*
 * Is there page_pgmap(), and no page->pgmap any more?
 *
 * Yes since 6.14: "mm: allow compound zone device pages".
 */
#include <linux/mm.h>
#include <linux/memremap.h>

void *probe(const struct page *page);
void *probe(const struct page *page)
{
	return page_pgmap(page);
}
