// SPDX-License-Identifier: GPL-2.0
/*
 * Unmapping: a collected page leaves the LRU and every mapping that it still has
 * elsewhere. One that has references which its mappings do not explain goes
 * back to where it was.
 *
 * The folio locks of the whole range are held here, so nothing waits for another
 * folio, and no other CPU's LRU batches are drained: the worker that does it
 * could wait for somebody who waits for our folios.
 */
#include <linux/memremap.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/swap.h>

#include "onewalk.h"

/*
 * Put a collected folio back into the page table, and let go of it. Entries that
 * were zapped meanwhile stay gone.
 */
static void restore(struct onewalk_call *call, unsigned long i,
		    struct folio *folio)
{
	if (onewalk_is_hidden(folio))
		onewalk_show(call->migrate->vma,
			     call->range->start + (i << PAGE_SHIFT), folio);
	remove_migration_ptes(folio, folio, 0);
	if (!onewalk_is_fault_folio(call->migrate, folio))
		folio_unlock(folio);
	folio_put(folio);
	call->held--;
}

/*
 * Not mapped any more, and nobody has it but the @ours references. A page that
 * was swapped in to be read is in the swap cache still, from where it does not
 * migrate to a device, and which has a reference, too. It cannot leave while
 * another process has it swapped out.
 */
static bool is_ours(struct folio *folio, int ours)
{
	if (onewalk_fails(ONEWALK_POINT_PIN) || folio_mapped(folio))
		return false;
	if (folio_test_swapcache(folio) && !folio_free_swap(folio))
		return false;
	return folio_ref_count(folio) == ours;
}

/*
 * Its mapping has a reference, and who faults on it. When another thread zaps it
 * right now the sum may be wrong: then there is nothing left that could move.
 */
static enum onewalk_status unmap_hidden(const struct onewalk_call *call,
					struct folio *folio)
{
	int ours = 1 + folio_mapped(folio) +
		   onewalk_is_fault_folio(call->migrate, folio);

	if (onewalk_fails(ONEWALK_POINT_PIN) || folio_ref_count(folio) != ours)
		return ONEWALK_STATUS_BUSY;
	return ONEWALK_STATUS_MIGRATING;
}

/*
 * An isolated folio has a reference for it; device memory has no LRU. In the end
 * one of the two is left, as migrate_vma_finalize() expects.
 */
static enum onewalk_status unmap(const struct onewalk_call *call,
				 struct folio *folio)
{
	bool lru = !folio_is_zone_device(folio);
	enum onewalk_status status;

	if (onewalk_is_hidden(folio))
		return unmap_hidden(call, folio);

	if (lru && (onewalk_fails(ONEWALK_POINT_ISOLATE) ||
		    !folio_isolate_lru(folio)))
		return ONEWALK_STATUS_NOT_ON_LRU;

	if (folio_mapped(folio))
		try_to_migrate(folio, 0);
	if (is_ours(folio, 1 + lru +
		    onewalk_is_fault_folio(call->migrate, folio))) {
		if (lru)
			folio_put(folio);
		return ONEWALK_STATUS_MIGRATING;
	}

	status = folio_maybe_dma_pinned(folio) ? ONEWALK_STATUS_PINNED :
						 ONEWALK_STATUS_BUSY;
	if (lru)
		folio_putback_lru(folio);
	return status;
}

static struct folio *collected_folio(unsigned long pfn)
{
	const unsigned long collected = ONEWALK_PFN_MIGRATE | ONEWALK_PFN_VALID;

	if ((pfn & collected) != collected)
		return NULL;
	return page_folio(onewalk_pfn_to_page(pfn & ~ONEWALK_PFN_PRIVATE));
}

/*
 * onewalk_unmap() - make what was collected ready to be copied
 * @call: the call
 *
 * May sleep, for the locks of reverse mappings and for other processes'
 * notifiers. Raises MMU_NOTIFY_CLEAR for pages that are mapped elsewhere.
 */
void onewalk_unmap(struct onewalk_call *call)
{
	unsigned long npages = onewalk_index(call, call->range->end);
	unsigned long *pfns = call->range->hmm_pfns;
	enum onewalk_status status;
	unsigned long i, j, nr;
	struct folio *folio;

	/* What this CPU's LRU batches hold has a reference from there. */
	lru_add_drain();

	for (i = 0; i < npages; i += nr) {
		folio = collected_folio(pfns[i]);
		nr = pfns[i] & ONEWALK_PFN_COMPOUND ? ONEWALK_PMD_NR : 1;
		onewalk_resched(nr > 1 ? 0 : i);
		status = folio ? unmap(call, folio) : ONEWALK_STATUS_MIGRATING;
		if (status == ONEWALK_STATUS_MIGRATING) {
			if (pfns[i] & ONEWALK_PFN_MIGRATE)
				call->migrate->cpages += nr;
			continue;
		}

		for (j = i; j < i + nr; j++)
			onewalk_set_status(call, j, status);
		pfns[i] = onewalk_report(call, pfns[i]);
		restore(call, i, folio);
	}
}

/*
 * onewalk_restore() - give back all that was collected, and not unmapped yet
 * @call: the call
 */
void onewalk_restore(struct onewalk_call *call)
{
	unsigned long npages = onewalk_index(call, call->range->end);
	unsigned long *pfns = call->range->hmm_pfns;
	struct folio *folio;
	unsigned long i;

	for (i = 0; i < npages; i++) {
		onewalk_resched(i);
		folio = collected_folio(pfns[i]);
		if (folio)
			restore(call, i, folio);
	}
}
