// SPDX-License-Identifier: GPL-2.0
/*
 * The descent: from the PGD to each PMD entry of a range, one function per
 * level, and the look-ahead, which goes on to each PTE.
 *
 * The mmap lock keeps the upper levels of a VMA where they are. The look-ahead
 * takes no lock of a PTE table: one may be freed or replaced by a huge page at
 * any time, and RCU keeps it readable while it is looked at. So what is seen
 * is a snapshot. It becomes the truth in one of two ways: a page that is only
 * reported is the driver's to check with mmu_interval_read_retry(), and a page
 * that migrates is looked at again, under the page table lock, when it is
 * collected.
 */
#include <linux/huge_mm.h>
#include <linux/leafops.h>
#include <linux/memremap.h>
#include <linux/pgtable.h>

#include "onewalk.h"

/*
 * onewalk_owner() - whose device memory this is
 * @page: a page of a device's, without a reference
 *
 * A large device folio that is being split has, for a moment, pages without a
 * pgmap: so one look, and NULL is an answer.
 */
const void *onewalk_owner(const struct page *page)
{
	const struct dev_pagemap *pgmap = page_pgmap(page);

	return pgmap ? pgmap->owner : NULL;
}

static void look_at_leaf(softleaf_t leaf, struct onewalk_entry *entry)
{
	if (softleaf_is_device_private(leaf)) {
		entry->kind = ONEWALK_DEVICE;
		entry->pfn = softleaf_to_pfn(leaf);
		entry->write = softleaf_is_device_private_write(leaf);
		entry->owner = onewalk_owner(pfn_to_page(entry->pfn));
	} else if (softleaf_is_swap(leaf)) {
		entry->kind = ONEWALK_SWAP;
	} else if (softleaf_is_migration(leaf)) {
		entry->kind = ONEWALK_MIGRATION;
	} else if (softleaf_is_device_exclusive(leaf)) {
		entry->kind = ONEWALK_EXCLUSIVE;
	} else if (softleaf_is_uffd_wp_marker(leaf)) {
		entry->kind = ONEWALK_UFFD;
	} else {
		entry->kind = ONEWALK_POISON;
	}
}

/*
 * onewalk_look_at_pte() - what a PTE says
 * @pte: the PTE
 * @entry: is filled
 *
 * Under RCU, or the page table lock.
 */
void onewalk_look_at_pte(pte_t pte, struct onewalk_entry *entry)
{
	*entry = (struct onewalk_entry){ .kind = ONEWALK_HOLE };

	if (pte_none(pte))
		return;

	if (!pte_present(pte)) {
		look_at_leaf(softleaf_from_pte(pte), entry);
		return;
	}

	entry->pfn = pte_pfn(pte);
	entry->write = pte_write(pte);
	entry->uffd = pte_uffd(pte);
	if (is_zero_pfn(entry->pfn))
		/* userfaultfd may wait for a read of it (7.3) */
		entry->kind = pte_protnone(pte) ? ONEWALK_PROTNONE :
						  ONEWALK_ZERO;
	else if ((pte_special(pte) && !pte_devmap(pte)) ||
		 (!IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL) &&
		  !pfn_valid(entry->pfn)))
		entry->kind = ONEWALK_SPECIAL;
	else if (pte_protnone(pte))
		entry->kind = ONEWALK_PROTNONE;
	else
		entry->kind = ONEWALK_PAGE;
}

/*
 * The huge zero page has no name that modules may use, but it is the one huge
 * page of an anonymous VMA that is not anonymous.
 */
static bool huge_zero(struct vm_area_struct *vma, unsigned long pfn)
{
	return vma_is_anonymous(vma) &&
	       !folio_test_anon(page_folio(pfn_to_page(pfn)));
}

/*
 * onewalk_look_at_pmd() - what a PMD entry says that is neither none nor a table
 * @vma: what it is part of
 * @pmd: the entry
 * @addr: the address in question
 * @entry: is filled
 *
 * Under RCU, or the page table lock.
 */
void onewalk_look_at_pmd(struct vm_area_struct *vma, pmd_t pmd,
			 unsigned long addr, struct onewalk_entry *entry)
{
	*entry = (struct onewalk_entry){
		.kind = ONEWALK_BAD,
		.order = PMD_SHIFT - PAGE_SHIFT,
	};

	if (!pmd_present(pmd)) {
		softleaf_t leaf = softleaf_from_pmd(pmd);

		if (softleaf_is_migration(leaf) ||
		    softleaf_is_device_private(leaf))
			look_at_leaf(leaf, entry);
		if (entry->kind == ONEWALK_DEVICE)
			entry->pfn += (addr & ~PMD_MASK) >> PAGE_SHIFT;
		return;
	}

	if (!pmd_leaf(pmd))
		return;

	entry->pfn = pmd_pfn(pmd) + ((addr & ~PMD_MASK) >> PAGE_SHIFT);
	entry->write = pmd_write(pmd);
	entry->uffd = pmd_uffd(pmd);
	if (!pfn_valid(entry->pfn))
		entry->kind = ONEWALK_SPECIAL;
	else if (!pmd_protnone(pmd) && huge_zero(vma, entry->pfn))
		entry->kind = ONEWALK_ZERO;
	else if (pmd_protnone(pmd))
		entry->kind = ONEWALK_PROTNONE;
	else
		entry->kind = ONEWALK_PAGE;
}

/* One entry that covers all of @addr to @end. */
static int scan_same(struct onewalk_call *call, unsigned long addr,
		     unsigned long end, struct onewalk_entry *entry)
{
	unsigned long next;
	int ret;

	for (; addr < end; addr = next) {
		ret = onewalk_look(call, addr, entry);
		if (ret)
			return ret;
		next = onewalk_look_alike(call, addr, end);
		if (entry->pfn)
			entry->pfn += (next - addr) >> PAGE_SHIFT;
	}
	return 0;
}

static int scan_hole(struct onewalk_call *call, unsigned long addr,
		     unsigned long end)
{
	struct onewalk_entry entry = { .kind = ONEWALK_HOLE };

	return scan_same(call, addr, end, &entry);
}

/* A hole above the PMD level, which may be a large one. */
static int scan_large_hole(struct onewalk_call *call, unsigned long addr,
			   unsigned long end)
{
	unsigned long next;
	int ret;

	for (; addr < end; addr = next) {
		next = pmd_addr_end(addr, end);
		ret = scan_hole(call, addr, next);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

static int scan_pte_table(struct onewalk_call *call, pmd_t pmd,
			  unsigned long addr, unsigned long end)
{
	struct onewalk_entry entry;
	pte_t *ptep = pte_offset_kernel(&pmd, addr);
	pte_t pte;
	int ret;

	lockdep_assert(rcu_read_lock_held());

	for (; addr < end; addr += PAGE_SIZE, ptep++) {
		pte = ptep_get_lockless(ptep);
		if (onewalk_look_at_usual(call, addr, pte))
			continue;
		if (onewalk_is_swapped(call, addr, pte))
			return ONEWALK_NEED_FAULT;
		onewalk_look_at_pte(pte, &entry);
		ret = onewalk_look(call, addr, &entry);
		if (ret)
			return ret;
	}
	return 0;
}

static pmd_t look_if_huge(const struct onewalk_call *call, pmd_t *pmdp,
			  unsigned long addr, struct onewalk_entry *entry)
{
	pmd_t pmd = pmdp_get_lockless(pmdp);

	if (onewalk_is_huge(pmd))
		onewalk_look_at_pmd(call->vma, pmd, addr, entry);
	return pmd;
}

/*
 * A huge page may become a table, or a hole, at any time. Where it is to move
 * whole, what is asked about it has to be asked under the page table lock.
 */
static pmd_t look_at_huge(const struct onewalk_call *call, pmd_t *pmdp,
			  unsigned long addr, unsigned long end,
			  struct onewalk_entry *entry)
{
	spinlock_t *ptl;	/* of the PMD entry */
	pmd_t pmd;

	if (!onewalk_asks_whole(call, addr, end))
		return look_if_huge(call, pmdp, addr, entry);

	ptl = pmd_lock(call->mm, pmdp);
	pmd = look_if_huge(call, pmdp, addr, entry);
	entry->whole = onewalk_is_huge(pmd) && onewalk_fit_for_whole(call, entry);
	spin_unlock(ptl);
	return pmd;
}

static int scan_below(struct onewalk_call *call, pmd_t pmd, unsigned long addr,
		      unsigned long end)
{
	struct onewalk_entry entry;

	if (pmd_none(pmd))
		return scan_hole(call, addr, end);
	if (onewalk_is_table(pmd))
		return scan_pte_table(call, pmd, addr, end);

	onewalk_look_at_pmd(call->vma, pmd, addr, &entry);
	entry.whole = onewalk_asks_whole(call, addr, end) &&
		      onewalk_fit_for_whole(call, &entry);
	return scan_same(call, addr, end, &entry);
}

/*
 * For a driver that is asked about device pages, which must not go meanwhile.
 * -EAGAIN when the table, or what was in its place, has gone.
 */
static int scan_pmd_locked(struct onewalk_call *call, pmd_t *pmdp,
			   unsigned long addr, unsigned long end)
{
	pmd_t pmd = pmdp_get_lockless(pmdp);
	spinlock_t *ptl;	/* of the table, or of the entry */
	int ret = -EAGAIN;

	ptl = onewalk_is_table(pmd) ? pte_lockptr(call->mm, &pmd) :
				      pmd_lockptr(call->mm, pmdp);
	spin_lock(ptl);
	if (pmd_same(pmd, pmdp_get_lockless(pmdp)))
		ret = scan_below(call, pmd, addr, end);
	spin_unlock(ptl);
	return ret;
}

static int scan_pmd_asking(struct onewalk_call *call, pmd_t *pmdp,
			   unsigned long addr, unsigned long end)
{
	int ret;

	rcu_read_lock();
	do {
		ret = scan_pmd_locked(call, pmdp, addr, end);
	} while (ret == -EAGAIN);
	rcu_read_unlock();
	return ret;
}

/*
 * onewalk_scan_pmd() - show each entry below a PMD entry to onewalk_look()
 * @call: the call; its vma is not a hugetlb one
 * @pmdp: the PMD entry, of whatever kind
 * @addr: where to begin
 * @end: where to end
 *
 * The mmap lock is held. Does not sleep.
 *
 * Return: as onewalk_scan().
 */
int onewalk_scan_pmd(struct onewalk_call *call, pmd_t *pmdp, unsigned long addr,
		     unsigned long end)
{
	struct onewalk_entry entry;
	pmd_t pmd;
	int ret;

	if (call->range->p2p)
		return scan_pmd_asking(call, pmdp, addr, end);

	rcu_read_lock();
	pmd = pmdp_get_lockless(pmdp);
	if (onewalk_is_huge(pmd))
		pmd = look_at_huge(call, pmdp, addr, end, &entry);
	if (pmd_none(pmd))
		ret = scan_hole(call, addr, end);
	else if (onewalk_is_table(pmd))
		ret = scan_pte_table(call, pmd, addr, end);
	else
		ret = scan_same(call, addr, end, &entry);
	rcu_read_unlock();
	return ret;
}

/* Left to the kernel. */
static int scan_exotic(struct onewalk_call *call, unsigned long addr,
		       unsigned long end)
{
	struct onewalk_entry entry = { .kind = ONEWALK_EXOTIC };

	return scan_same(call, addr, end, &entry);
}

/* What is missing below is faulted in from here: most often more follows. */
static int scan_pmd_and_fault(struct onewalk_call *call, pmd_t *pmdp,
			      unsigned long addr, unsigned long end)
{
	int ret = onewalk_scan_pmd(call, pmdp, addr, end);

	while (ret == ONEWALK_NEED_FAULT) {
		ret = onewalk_fault(call);
		if (!ret)
			ret = onewalk_scan_pmd(call, pmdp, call->addr, end);
	}
	return ret;
}

static int walk_pud(struct onewalk_call *call, const struct onewalk_walk *walk,
		    pud_t *pudp, unsigned long addr, unsigned long end)
{
	pud_t pud = READ_ONCE(*pudp);
	unsigned long next;
	pmd_t *pmdp;
	int ret;

	if (pud_none(pud))
		return walk->hole(call, addr, end);
	if (pud_leaf(pud) || pud_bad(pud))
		return walk->exotic(call, addr, end);

	/* Not of the copy: a folded PMD entry is the PUD entry itself. */
	pmdp = pmd_offset(pudp, addr);
	for (; addr < end; addr = next, pmdp++) {
		next = pmd_addr_end(addr, end);
		ret = walk->pmd(call, pmdp, addr, next);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

static int walk_p4d(struct onewalk_call *call, const struct onewalk_walk *walk,
		    p4d_t *p4dp, unsigned long addr, unsigned long end)
{
	unsigned long next;
	pud_t *pudp;
	int ret;

	if (p4d_none(READ_ONCE(*p4dp)))
		return walk->hole(call, addr, end);

	pudp = pud_offset(p4dp, addr);
	for (; addr < end; addr = next, pudp++) {
		next = pud_addr_end(addr, end);
		ret = walk_pud(call, walk, pudp, addr, next);
		if (ret)
			return ret;
	}
	return 0;
}

static int walk_pgd(struct onewalk_call *call, const struct onewalk_walk *walk,
		    pgd_t *pgdp, unsigned long addr, unsigned long end)
{
	unsigned long next;
	p4d_t *p4dp;
	int ret;

	if (pgd_none(READ_ONCE(*pgdp)))
		return walk->hole(call, addr, end);

	p4dp = p4d_offset(pgdp, addr);
	for (; addr < end; addr = next, p4dp++) {
		next = p4d_addr_end(addr, end);
		ret = walk_p4d(call, walk, p4dp, addr, next);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * onewalk_walk() - descend to each PMD entry of a range
 * @call: the call
 * @walk: what to do there
 * @addr: where to begin
 * @end: where to end
 *
 * The range lies in one VMA, and the mmap lock has been held since that was
 * found: nobody frees the tables that are descended through, not even a munmap()
 * beside it that goes on under the lock for reading. What @walk does may sleep.
 *
 * Return: 0 at the end, or what stopped the walk.
 */
int onewalk_walk(struct onewalk_call *call, const struct onewalk_walk *walk,
		 unsigned long addr, unsigned long end)
{
	pgd_t *pgdp = pgd_offset(call->mm, addr);
	unsigned long next;
	int ret;

	mmap_assert_locked(call->mm);

	for (; addr < end; addr = next, pgdp++) {
		next = pgd_addr_end(addr, end);
		ret = walk_pgd(call, walk, pgdp, addr, next);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * onewalk_scan() - show each entry of a range to onewalk_look()
 * @call: the call; its vma covers the range and is not a hugetlb one
 * @addr: where to begin
 * @end: where to end
 *
 * The mmap lock is held. Does not sleep but at cond_resched().
 *
 * Return: 0 at the end, or what onewalk_look() returned when it stopped; then
 * call->addr tells where.
 */
int onewalk_scan(struct onewalk_call *call, unsigned long addr,
		 unsigned long end)
{
	static const struct onewalk_walk scan = {
		.pmd = onewalk_scan_pmd,
		.hole = scan_large_hole,
		.exotic = scan_exotic,
	};

	return onewalk_walk(call, &scan, addr, end);
}

/*
 * onewalk_scan_and_fault() - the same, and fault in what has to be there
 * @call: the call; its vma covers the range and is not a hugetlb one
 * @addr: where to begin
 * @end: where to end
 *
 * The mmap lock is held, and nothing else. May sleep.
 *
 * Return: as onewalk_scan(), where ONEWALK_NEED_FAULT is still an answer; or as
 * onewalk_fault() when that failed.
 */
int onewalk_scan_and_fault(struct onewalk_call *call, unsigned long addr,
			   unsigned long end)
{
	static const struct onewalk_walk scan = {
		.pmd = scan_pmd_and_fault,
		.hole = scan_large_hole,
		.exotic = scan_exotic,
	};

	return onewalk_walk(call, &scan, addr, end);
}

/* The page that this PMD entry, or the PTE below it, maps now. */
static struct page *mapped_page(pmd_t *pmdp, struct vm_area_struct *vma,
				unsigned long addr)
{
	struct onewalk_entry entry;
	pmd_t pmd = pmdp_get_lockless(pmdp);

	if (pmd_none(pmd))
		return NULL;
	if (onewalk_is_table(pmd))
		onewalk_look_at_pte(ptep_get_lockless(pte_offset_kernel(&pmd, addr)),
				    &entry);
	else
		onewalk_look_at_pmd(vma, pmd, addr, &entry);

	switch (entry.kind) {
	case ONEWALK_PAGE:
	case ONEWALK_PROTNONE:
	case ONEWALK_DEVICE:
		return pfn_to_page(entry.pfn);
	default:
		return NULL;
	}
}

/*
 * onewalk_get_folio() - a reference to the folio that is mapped at call->addr
 * @call: the call
 * @pmdp: the PMD entry there
 *
 * A reference that is taken without locks counts if the entry still maps the
 * page afterwards: then the page was not freed and used anew in between.
 *
 * Return: the folio, or NULL if there is none any more.
 */
struct folio *onewalk_get_folio(const struct onewalk_call *call, pmd_t *pmdp)
{
	struct folio *folio = NULL;
	struct page *page;

	rcu_read_lock();
	page = mapped_page(pmdp, call->vma, call->addr);
	if (page)
		folio = page_folio(page);
	if (folio && !folio_try_get(folio))
		folio = NULL;
	if (folio && (page_folio(page) != folio ||
		      mapped_page(pmdp, call->vma, call->addr) != page)) {
		folio_put(folio);
		folio = NULL;
	}
	rcu_read_unlock();
	return folio;
}
