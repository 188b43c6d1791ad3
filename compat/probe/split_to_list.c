// SPDX-License-Identifier: GPL-2.0
/*
 * What does split_huge_page() call?
 *
 * split_huge_page_to_list() until 6.9, which learned to split to other orders:
 * "mm: thp: split huge page to any lower order pages".
 */
#include <linux/mm.h>

int probe(struct page *page);
int probe(struct page *page)
{
	return split_huge_page_to_list(page, NULL);
}
