// SPDX-License-Identifier: GPL-2.0
/*
 * What does split_huge_page() call?
 *
 * __split_huge_page_to_list_to_order() since 6.19.
 */
#include <linux/mm.h>

int probe(struct page *page);
int probe(struct page *page)
{
	return __split_huge_page_to_list_to_order(page, NULL, 0);
}
