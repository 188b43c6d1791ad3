// SPDX-License-Identifier: GPL-2.0
/*
 * Does pin_user_pages_remote() do without an array of VMAs?
 *
 * Yes since 6.5: "mm/gup: remove vmas parameter from pin_user_pages_remote()".
 */
#include <linux/mm.h>

long probe(struct mm_struct *mm, struct page **pages);
long probe(struct mm_struct *mm, struct page **pages)
{
	return pin_user_pages_remote(mm, 0, 1, FOLL_WRITE, pages, NULL);
}
