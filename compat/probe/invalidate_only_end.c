// SPDX-License-Identifier: GPL-2.0
/*
 * Does __mmu_notifier_invalidate_range_end() take a second argument, for those
 * who have told secondary TLBs already?
 *
 * Until 6.6: "mmu_notifiers: rename invalidate_range notifier" and the series
 * around it.
 */
#include <linux/mmu_notifier.h>

void probe(struct mmu_notifier_range *range);
void probe(struct mmu_notifier_range *range)
{
	__mmu_notifier_invalidate_range_end(range, false);
}
