// SPDX-License-Identifier: GPL-2.0
/*
 * Collecting: present entries become migration entries, one PTE table after the
 * other, each under one hold of its lock and with one TLB flush.
 *
 * What the look-ahead saw was a snapshot: each entry is looked at again here, and
 * if what has to be there is not, all that was collected goes back. Nothing here
 * waits for anybody: a folio that cannot be locked at once stays.
 *
 * A collected page is locked and has one more reference, and where it was mapped
 * in this process there is a migration entry, which keeps faults and everybody
 * else who wants the page waiting. It is stable from here on.
 */
#include <linux/leafops.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/swapops.h>

#include "onewalk.h"

/**
 * struct table - a PTE table under its lock
 * @vma: what it is part of
 * @ptl: its lock
 * @ptep: the entry of @start
 * @start: first address of ours in it
 * @end: first address behind
 * @first: lowest address whose entry may be in a TLB and was changed
 * @last: first address behind the highest one; 0 when there is none
 */
struct table {
	struct vm_area_struct	*vma;
	spinlock_t		*ptl;		/* the page table's own */
	pte_t			*ptep;
	unsigned long		start;
	unsigned long		end;
	unsigned long		first;
	unsigned long		last;
};

static void must_flush(struct table *table, unsigned long addr)
{
	if (!table->last)
		table->first = addr;
	table->last = addr + PAGE_SIZE;
}

/* Takes the place of @old and keeps what it knew. */
static pte_t migration_pte(pte_t old, unsigned long pfn, bool write,
			   bool exclusive)
{
	bool present = pte_present(old);
	swp_entry_t entry;
	pte_t pte;

	if (write)
		entry = make_writable_migration_entry(pfn);
	else if (exclusive)
		entry = make_readable_exclusive_migration_entry(pfn);
	else
		entry = make_readable_migration_entry(pfn);
	if (present && pte_young(old))
		entry = make_migration_entry_young(entry);
	if (present && pte_dirty(old))
		entry = make_migration_entry_dirty(entry);

	pte = swp_entry_to_pte(entry);
	if (present ? pte_soft_dirty(old) : pte_swp_soft_dirty(old))
		pte = pte_swp_mksoft_dirty(pte);
	if (present ? pte_uffd(old) : pte_swp_uffd(old))
		pte = pte_swp_mkuffd(pte);
	return pte;
}

/*
 * Replace the mapping of a locked folio by a migration entry. Fails, with the
 * entry as it was, when the page is exclusive to this process and pinned.
 *
 * The TLB is flushed once for the whole table, before its lock is dropped. Until
 * then another thread may go on writing through a stale translation: the folio
 * is dirty already if that could write without looking at the entry again, and
 * nobody copies yet. GUP-fast does look at the entry again after it has taken its
 * reference; the barriers for that are in folio_try_share_anon_rmap_pte().
 */
static bool replace_entry(struct table *table, unsigned long addr, pte_t *ptep,
			  const struct onewalk_entry *entry)
{
	struct page *page = pfn_to_page(entry->pfn);
	struct mm_struct *mm = table->vma->vm_mm;
	struct folio *folio = page_folio(page);
	bool exclusive = folio_test_anon(folio) && PageAnonExclusive(page);
	pte_t old = ptep_get(ptep);

	lockdep_assert_held(table->ptl);
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	if (pte_present(old)) {
		flush_cache_page(table->vma, addr, entry->pfn);
		must_flush(table, addr);
	}
	old = ptep_get_and_clear(mm, addr, ptep);
	if (exclusive && (onewalk_fails(ONEWALK_POINT_SHARE) ||
			  folio_try_share_anon_rmap_pte(folio, page))) {
		set_pte_at(mm, addr, ptep, old);
		return false;
	}
	if (pte_present(old) && pte_dirty(old))
		folio_mark_dirty(folio);
	set_pte_at(mm, addr, ptep, migration_pte(old, entry->pfn, entry->write,
						 exclusive));

	/* The mapping's reference; the caller has one of its own. */
	folio_remove_rmap_pte(folio, page, table->vma);
	folio_put(folio);
	return true;
}

/*
 * A reference and the lock. The entry has a reference, and cannot lose it under
 * the page table lock. Who faults on the folio, and calls us, has locked it.
 */
static bool get_locked(const struct onewalk_call *call, struct folio *folio)
{
	folio_get(folio);
	if (onewalk_is_fault_folio(call->migrate, folio))
		return true;
	if (!onewalk_fails(ONEWALK_POINT_TRYLOCK) && folio_trylock(folio))
		return true;
	folio_put(folio);
	return false;
}

static void put_locked(const struct onewalk_call *call, struct folio *folio)
{
	if (!onewalk_is_fault_folio(call->migrate, folio))
		folio_unlock(folio);
	folio_put(folio);
}

/* One page that is fit to migrate, as it seems. */
static enum onewalk_status collect_page(const struct onewalk_call *call,
					struct table *table, unsigned long addr,
					pte_t *ptep,
					const struct onewalk_entry *entry)
{
	enum onewalk_status status = ONEWALK_STATUS_MIGRATING;
	struct page *page = pfn_to_page(entry->pfn);
	struct folio *folio = page_folio(page);

	if (!get_locked(call, folio))
		return ONEWALK_STATUS_LOCKED;

	/* Now that the folio is locked, what was a guess is certain. */
	if (entry->kind != ONEWALK_DEVICE)
		status = onewalk_page_status(call, page);
	if (status == ONEWALK_STATUS_MIGRATING &&
	    !replace_entry(table, addr, ptep, entry))
		status = ONEWALK_STATUS_PINNED;
	if (status != ONEWALK_STATUS_MIGRATING)
		put_locked(call, folio);
	return status;
}

/*
 * Look at a page again. A large folio that the look-ahead could not split stays
 * large; but one that it did not see is another matter.
 */
static int look_again(struct onewalk_call *call, unsigned long addr,
		      const struct onewalk_entry *entry)
{
	unsigned long *pfn =
		&call->range->hmm_pfns[onewalk_index(call, addr)];
	unsigned long saved = *pfn;
	int ret;

	call->was_fit = saved & ONEWALK_PFN_COLLECT;
	*pfn = onewalk_input_of(saved);
	ret = onewalk_look(call, addr, entry);
	call->was_fit = false;
	if (ret)
		*pfn = saved;
	return ret;
}

static bool is_fit_page(unsigned long pfn)
{
	const unsigned long fit = ONEWALK_PFN_COLLECT | ONEWALK_PFN_VALID;

	return (pfn & fit) == fit;
}

static bool is_fit_hole(unsigned long pfn)
{
	return (pfn & ONEWALK_PFN_COLLECT) && !(pfn & ONEWALK_PFN_VALID) &&
	       !onewalk_noted_pfn(pfn);
}

/*
 * The usual case: a page was found fit, and its entry says now what it said then.
 * What the entry does not tell is asked when the folio is locked.
 */
static bool says_what_it_said(const struct onewalk_call *call,
			      unsigned long pfn,
			      const struct onewalk_entry *entry)
{
	if (entry->kind != ONEWALK_PAGE && entry->kind != ONEWALK_DEVICE)
		return false;
	if (entry->kind == ONEWALK_DEVICE &&
	    (call->range->p2p || entry->owner != call->migrate->pgmap_owner))
		return false;
	return is_fit_page(pfn) && entry->pfn == onewalk_noted_pfn(pfn) &&
	       entry->write == !!(pfn & ONEWALK_PFN_WRITE);
}

/* What is there, and whether it can be collected. */
static int look_before(struct onewalk_call *call, unsigned long addr, pte_t pte,
		       unsigned long pfn, struct onewalk_entry *entry)
{
	onewalk_look_at_pte(pte, entry);
	if (says_what_it_said(call, pfn, entry) &&
	    !PageCompound(pfn_to_page(entry->pfn)))
		return 0;
	if (entry->kind == ONEWALK_HOLE && is_fit_hole(pfn))
		return 0;
	return look_again(call, addr, entry);
}

static int collect_entry(struct onewalk_call *call, struct table *table,
			 unsigned long addr, pte_t *ptep)
{
	unsigned long i = onewalk_index(call, addr);
	unsigned long *pfn = &call->range->hmm_pfns[i];
	unsigned long output = ONEWALK_PFN_MIGRATE;
	enum onewalk_status status;
	struct onewalk_entry entry;
	int ret;

	ret = look_before(call, addr, ptep_get(ptep), *pfn, &entry);
	if (ret || !(*pfn & ONEWALK_PFN_COLLECT))
		return ret;

	*pfn &= ~ONEWALK_PFN_COLLECT;

	/* For the driver to fill: there is nothing to collect. */
	if (entry.kind != ONEWALK_HOLE && entry.kind != ONEWALK_ZERO) {
		status = collect_page(call, table, addr, ptep, &entry);
		onewalk_set_status(call, i, status);
		if (status != ONEWALK_STATUS_MIGRATING)
			return 0;
		call->held++;
		output |= ONEWALK_PFN_VALID | entry.pfn;
		if (entry.write)
			output |= ONEWALK_PFN_WRITE;
	}
	*pfn = onewalk_output_over(onewalk_input_of(*pfn), output);
	return 0;
}

static int collect_entries(struct onewalk_call *call, struct table *table)
{
	unsigned long addr = table->start;
	pte_t *ptep = table->ptep;
	int ret = 0;

	lockdep_assert_held(table->ptl);

	for (; addr < table->end && !ret; addr += PAGE_SIZE, ptep++)
		ret = collect_entry(call, table, addr, ptep);
	if (table->last)
		flush_tlb_range(table->vma, table->first, table->last);
	/*
	 * Unmapping mlocked pages leaves references to them in a batch of this
	 * CPU's, which would count as pins.
	 */
	if (table->vma->vm_flags & VM_LOCKED)
		lru_add_drain();
	return ret;
}

static bool is_fit(const struct onewalk_call *call, unsigned long addr)
{
	return call->range->hmm_pfns[onewalk_index(call, addr)] &
	       ONEWALK_PFN_COLLECT;
}

/* Look at all of a huge page again, or at a hole of that size. */
static int look_at_all_again(struct onewalk_call *call, unsigned long addr,
			     const struct onewalk_entry *entry)
{
	unsigned long pfn = call->range->hmm_pfns[onewalk_index(call, addr)];
	int ret;

	if (entry->whole && says_what_it_said(call, pfn, entry))
		return 0;
	ret = look_again(call, addr, entry);
	if (!ret)
		onewalk_look_alike(call, addr, addr + PMD_SIZE);
	return ret;
}

/* For the driver to fill with one large page instead of small ones. */
static void mark_huge_hole(const struct onewalk_call *call, unsigned long addr)
{
	unsigned long *pfns = &call->range->hmm_pfns[onewalk_index(call, addr)];
	unsigned long i;

	for (i = 0; i < ONEWALK_PMD_NR; i++)
		pfns[i] = onewalk_output_over(onewalk_input_of(pfns[i]), 0);
	pfns[0] |= ONEWALK_PFN_MIGRATE | ONEWALK_PFN_COMPOUND;
	call->migrate->huge = true;
}

static int collect_small_holes(struct onewalk_call *call, unsigned long addr,
			       unsigned long end)
{
	const struct onewalk_entry hole = { .kind = ONEWALK_HOLE };
	unsigned long *pfns = call->range->hmm_pfns;
	unsigned long i;
	int ret;

	for (; addr < end; addr += PAGE_SIZE) {
		i = onewalk_index(call, addr);
		if (!(pfns[i] & ONEWALK_PFN_COLLECT))
			continue;
		ret = is_fit_hole(pfns[i]) ? 0 : look_again(call, addr, &hole);
		if (ret)
			return ret;
		if (pfns[i] & ONEWALK_PFN_COLLECT)
			pfns[i] = onewalk_output_over(onewalk_input_of(pfns[i]),
						      ONEWALK_PFN_MIGRATE);
	}
	return 0;
}

/* A stretch without a PTE table: all of it is holes now. */
static int collect_hole(struct onewalk_call *call, unsigned long addr,
			unsigned long end)
{
	const struct onewalk_entry hole = { .kind = ONEWALK_HOLE };
	int ret;

	if (!is_fit(call, addr) || !onewalk_asks_whole(call, addr, end))
		return collect_small_holes(call, addr, end);

	ret = look_at_all_again(call, addr, &hole);
	if (!ret && is_fit(call, addr))
		mark_huge_hole(call, addr);
	return ret;
}

/* A hole above the PMD level, which may be a large one. */
static int collect_large_hole(struct onewalk_call *call, unsigned long addr,
			      unsigned long end)
{
	unsigned long next;
	int ret;

	for (; addr < end; addr = next) {
		next = pmd_addr_end(addr, end);
		ret = collect_hole(call, addr, next);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

/* What does not move whole, and what is left to the kernel: not for us. */
static int collect_nothing(struct onewalk_call *call, unsigned long addr,
			   unsigned long end)
{
	const unsigned long *pfns = call->range->hmm_pfns;

	for (; addr < end; addr += PAGE_SIZE)
		if (pfns[onewalk_index(call, addr)] & ONEWALK_PFN_COLLECT)
			return ONEWALK_NEED_LOOK;
	return 0;
}

/* As collect_page() does for a small one. */
static enum onewalk_status
collect_huge_page(const struct onewalk_call *call, pmd_t *pmdp, spinlock_t *ptl,
		  unsigned long addr, const struct onewalk_entry *entry)
{
	enum onewalk_status status = ONEWALK_STATUS_MIGRATING;
	struct page *page = pfn_to_page(entry->pfn);
	struct folio *folio = page_folio(page);

	if (!get_locked(call, folio))
		return ONEWALK_STATUS_LOCKED;

	if (entry->kind != ONEWALK_DEVICE)
		status = onewalk_page_status(call, page);
	/* Out of the swap cache somebody else may have mapped it just now. */
	if (status == ONEWALK_STATUS_MIGRATING && folio_mapcount(folio) != 1)
		status = ONEWALK_STATUS_BUSY;
	if (status == ONEWALK_STATUS_MIGRATING &&
	    !onewalk_collect_huge(call->migrate->vma, addr, pmdp, ptl, folio))
		status = ONEWALK_STATUS_PINNED;
	if (status != ONEWALK_STATUS_MIGRATING)
		put_locked(call, folio);
	return status;
}

/*
 * The first page's entry speaks for all that is collected; the others report what
 * is there. A huge page that does not migrate now stays as it is.
 */
static void mark_huge_page(struct onewalk_call *call, unsigned long addr,
			   const struct onewalk_entry *entry,
			   enum onewalk_status status)
{
	unsigned long first = onewalk_index(call, addr);
	unsigned long *pfns = &call->range->hmm_pfns[first];
	unsigned long output = entry->pfn | ONEWALK_PFN_VALID |
			       ONEWALK_PFN_MIGRATE | ONEWALK_PFN_COMPOUND;
	unsigned long i;

	for (i = 0; i < ONEWALK_PMD_NR; i++) {
		pfns[i] &= ~ONEWALK_PFN_COLLECT;
		onewalk_set_status(call, first + i, status);
	}
	if (status != ONEWALK_STATUS_MIGRATING)
		return;

	call->held++;
	call->migrate->huge = true;
	if (entry->write)
		output |= ONEWALK_PFN_WRITE;
	output |= (unsigned long)entry->order << ONEWALK_PFN_ORDER_SHIFT;
	pfns[0] = onewalk_output_over(onewalk_input_of(pfns[0]), output);
}

static int collect_huge_locked(struct onewalk_call *call, pmd_t *pmdp,
			       spinlock_t *ptl, unsigned long addr)
{
	struct vm_area_struct *vma = call->migrate->vma;
	enum onewalk_status status;
	struct onewalk_entry entry;
	int ret;

	lockdep_assert_held(ptl);

	if (!onewalk_is_huge(*pmdp) || onewalk_fails(ONEWALK_POINT_TABLE))
		return ONEWALK_NEED_LOOK;
	onewalk_look_at_pmd(vma, *pmdp, addr, &entry);
	entry.whole = onewalk_fit_for_whole(call, &entry);
	ret = look_at_all_again(call, addr, &entry);
	if (ret || !is_fit(call, addr))
		return ret;

	if (entry.kind == ONEWALK_ZERO) {
		mark_huge_hole(call, addr);
		return 0;
	}
	status = collect_huge_page(call, pmdp, ptl, addr, &entry);
	mark_huge_page(call, addr, &entry, status);
	return 0;
}

static int collect_huge(struct onewalk_call *call, pmd_t *pmdp,
			unsigned long addr, unsigned long end)
{
	spinlock_t *ptl;	/* of the PMD entry */
	int ret;

	if (!is_fit(call, addr) || !onewalk_asks_whole(call, addr, end))
		return collect_nothing(call, addr, end);

	ptl = pmd_lock(call->mm, pmdp);
	ret = collect_huge_locked(call, pmdp, ptl, addr);
	spin_unlock(ptl);
	return ret;
}

static int collect_pmd(struct onewalk_call *call, pmd_t *pmdp,
		       unsigned long addr, unsigned long end)
{
	struct table table = {
		.vma = call->migrate->vma,
		.start = addr,
		.end = end,
	};
	pte_t *ptep;
	int ret;

	if (fatal_signal_pending(current))
		return -EINTR;

	ptep = onewalk_fails(ONEWALK_POINT_TABLE) ? NULL :
	       pte_offset_map_lock(call->mm, pmdp, addr, &table.ptl);
	if (!ptep)
		return pmd_none(pmdp_get_lockless(pmdp)) ?
			collect_hole(call, addr, end) :
			collect_huge(call, pmdp, addr, end);

	table.ptep = ptep;
	ret = collect_entries(call, &table);
	pte_unmap_unlock(ptep, table.ptl);
	return ret;
}

/*
 * The bracket tells secondary page tables to let go of the range, and covers
 * every entry that changes. It is closed before unmapping, which may sleep.
 */
static void open_bracket(struct onewalk_call *call,
			 struct mmu_notifier_range *bracket)
{
	*bracket = (struct mmu_notifier_range){
		.mm = call->mm,
		.start = call->range->start,
		.end = call->range->end,
		.event = MMU_NOTIFY_MIGRATE,
		.owner = call->migrate->pgmap_owner,
	};
	onewalk_may_wait(call);
	call->bracket = true;
	mmu_notifier_invalidate_range_start(bracket);
}

static void close_bracket(struct onewalk_call *call,
			  struct mmu_notifier_range *bracket)
{
	mmu_notifier_invalidate_range_end(bracket);
	call->bracket = false;
}

/*
 * All of the range, in one descent: the look-ahead, and then, if nothing has to
 * be done first and something is to migrate, the rest. Else no other device shall
 * lose what it maps: who faults for it would make ours lose it in turn.
 */
static int collect_at_once(struct onewalk_call *call, pmd_t *pmdp,
			   unsigned long addr, unsigned long end)
{
	struct mmu_notifier_range bracket;
	int ret;

	onewalk_assert(addr == call->range->start && end == call->range->end);

	ret = onewalk_scan_pmd(call, pmdp, addr, end);
	if (ret)
		return ret;

	ret = onewalk_end_look(call);
	if (ret || onewalk_nothing_fit(call))
		return ret;

	open_bracket(call, &bracket);
	ret = collect_pmd(call, pmdp, addr, end);
	close_bracket(call, &bracket);
	return ret;
}

static int need_look(struct onewalk_call *call, unsigned long addr,
		     unsigned long end)
{
	return ONEWALK_NEED_LOOK;
}

static int collect_looked(struct onewalk_call *call)
{
	static const struct onewalk_walk collect = {
		.pmd = collect_pmd,
		.hole = collect_large_hole,
		.exotic = collect_nothing,
	};
	struct mmu_notifier_range bracket;
	int ret;

	open_bracket(call, &bracket);
	ret = onewalk_walk(call, &collect, bracket.start, bracket.end);
	close_bracket(call, &bracket);
	return ret;
}

static int collect_range(struct onewalk_call *call)
{
	static const struct onewalk_walk at_once = {
		.pmd = collect_at_once,
		.hole = need_look,
		.exotic = need_look,
	};
	int ret;

	if (call->looked)
		ret = collect_looked(call);
	else
		ret = onewalk_walk(call, &at_once, call->range->start,
				   call->range->end);
	onewalk_pause(ONEWALK_POINT_COLLECTED, call->range->notifier);
	return ret;
}

/*
 * Whether the folio of fault_page is locked by our caller only the kernel at hand
 * knows. But those that know of large ones all lock it.
 */
static bool left_to_the_kernel(const struct onewalk_call *call)
{
	return call->migrate->fault_page && !onewalk_may_move_whole(call);
}

static bool unified_at_once(const struct onewalk_call *call)
{
	return !left_to_the_kernel(call);
}

/*
 * Nothing is collected before all entries have been looked at: from then on they
 * are output, and say what there is to restore.
 */
static int unified_collect(struct onewalk_call *call)
{
	struct onewalk_own own;
	int ret;

	if (left_to_the_kernel(call))
		return onewalk_portable.collect(call);

	own = (struct onewalk_own){
		.collected = ONEWALK_PFN_VALID | ONEWALK_PFN_MIGRATE,
	};
	onewalk_own_begin(&own, call->migrate->notifier, call->range->start,
			  call->range->end);
	ret = collect_range(call);
	if (!ret) {
		own.pfns = call->range->hmm_pfns;
		onewalk_unmap(call);
	} else if (call->looked) {
		call->addr = call->range->end;
		onewalk_restore(call);
	}
	onewalk_own_end(&own);
	return call->looked && ret > 0 ? -EAGAIN : ret;
}

const struct onewalk_engine onewalk_unified = {
	.name		= "unified",
	.whole		= true,
	.peers		= true,
	.init		= onewalk_ksyms_init,
	.reason		= onewalk_ksyms_reason,
	.at_once	= unified_at_once,
	.split		= onewalk_split,
	.drain_all	= lru_add_drain_all,
	.collect	= unified_collect,
	.finalize	= onewalk_finalize,
	.map_by_ptes	= onewalk_map_by_ptes,
};
