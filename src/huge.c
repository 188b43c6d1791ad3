// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages that move whole: what becomes of their entry in the page table.
 *
 * To collect a huge page of system memory, its entry becomes a migration entry,
 * as a small page's does. For one of device memory that would not do: whoever
 * zaps a migration entry that names a device's folio, takes that for a mapping of
 * the folio, and drops a mapping and a reference with it (zap_huge_pmd(), as of
 * 7.3). So the folio keeps the two as long as its migration entry can be met, and
 * counts as mapped: it is hidden. When it is clear where it goes, the entry is
 * handed over to the destination, if that is an ordinary folio, or else to PTEs,
 * both of which are zapped rightly.
 *
 * Other threads may zap a hidden folio's entry, which takes care of everything,
 * or, to zap a part, split it. Nobody else maps the folio: it had this one mapping
 * when it was collected, its lock keeps it from being mapped, and the mmap lock
 * keeps the mapping from being copied by fork().
 */
#include <linux/huge_mm.h>
#include <linux/leafops.h>
#include <linux/memremap.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "onewalk.h"

/* The other entry for the same page: with what only the page table knows. */
static pmd_t other_leaf(pmd_t old, swp_entry_t leaf)
{
	pmd_t pmd = swp_entry_to_pmd(leaf);

	if (pmd_swp_soft_dirty(old))
		pmd = pmd_swp_mksoft_dirty(pmd);
	if (pmd_swp_uffd(old))
		pmd = pmd_swp_mkuffd(pmd);
	return pmd;
}

static void hide(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmdp,
		 struct folio *folio)
{
	pmd_t old = *pmdp;
	struct page *page = folio_page(folio, 0);
	unsigned long pfn = folio_pfn(folio);
	swp_entry_t leaf;

	if (softleaf_is_device_private_write(softleaf_from_pmd(old)))
		leaf = make_writable_migration_entry(pfn);
	else if (PageAnonExclusive(page))
		leaf = make_readable_exclusive_migration_entry(pfn);
	else
		leaf = make_readable_migration_entry(pfn);

	/* Nobody can have a device's page pinned: there is nothing to ask. */
	if (PageAnonExclusive(page))
		ClearPageAnonExclusive(page);
	set_pmd_at(vma->vm_mm, addr, pmdp, other_leaf(old, leaf));
}

/*
 * onewalk_collect_huge() - replace the one mapping of a huge folio
 * @vma: where it is mapped
 * @addr: its address
 * @pmdp: its entry, locked by
 * @ptl: this lock
 * @folio: it, locked and with a reference of the caller's
 *
 * Return: true when there is a migration entry now; false when the folio is
 * pinned, and mapped as it was.
 */
bool onewalk_collect_huge(struct vm_area_struct *vma, unsigned long addr,
			  pmd_t *pmdp, spinlock_t *ptl, struct folio *folio)
{
	struct page_vma_mapped_walk pvmw = {
		.ptl = ptl,
		.address = addr,
		.pmd = pmdp,
		.vma = vma,
	};

	lockdep_assert_held(ptl);
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	VM_WARN_ON_ONCE_FOLIO(folio_mapcount(folio) != 1, folio);

	if (folio_is_device_private(folio)) {
		hide(vma, addr, pmdp, folio);
		return true;
	}
	return !onewalk_fails(ONEWALK_POINT_SHARE) &&
	       !set_pmd_migration_entry(&pvmw, folio_page(folio, 0));
}

/* The entry of this locked folio, whole: nobody has split or zapped it. */
static bool is_whole(pmd_t pmd, struct folio *folio)
{
	softleaf_t leaf;

	if (pmd_none(pmd) || pmd_present(pmd))
		return false;
	leaf = softleaf_from_pmd(pmd);
	return softleaf_is_migration(leaf) &&
	       softleaf_to_pfn(leaf) == folio_pfn(folio);
}

/* Unless a zap has done so already. */
static void drop_hidden(struct vm_area_struct *vma, struct folio *folio)
{
	if (!folio_mapped(folio))
		return;
	folio_remove_rmap_pmd(folio, folio_page(folio, 0), vma);
	folio_put(folio);
}

/*
 * onewalk_show() - map a hidden folio where it was
 * @vma: there
 * @addr: its address
 * @folio: it, locked and with a reference of the caller's; it was not handed over
 *
 * If somebody has split its entry, remove_migration_ptes() has to do the rest.
 */
void onewalk_show(struct vm_area_struct *vma, unsigned long addr,
		  struct folio *folio)
{
	pmd_t *pmdp = pmd_off(vma->vm_mm, addr);
	spinlock_t *ptl = pmd_lock(vma->vm_mm, pmdp);
	pmd_t pmd = *pmdp;
	softleaf_t leaf;

	if (is_whole(pmd, folio)) {
		leaf = softleaf_from_pmd(pmd);
		if (!softleaf_is_migration_read(leaf))
			SetPageAnonExclusive(folio_page(folio, 0));
		if (softleaf_is_migration_write(leaf))
			leaf = make_writable_device_private_entry(folio_pfn(folio));
		else
			leaf = make_readable_device_private_entry(folio_pfn(folio));
		set_pmd_at(vma->vm_mm, addr, pmdp, other_leaf(pmd, leaf));
	} else {
		drop_hidden(vma, folio);
	}
	spin_unlock(ptl);
}

/*
 * Give the entry of @src to @dst, an ordinary folio, or with NULL to PTEs that
 * name the pages of @src. From here on @src is not mapped.
 *
 * Who zaps the entry or waits for it finds in @dst what it needs: an anonymous
 * folio that is locked.
 */
static void hand_over(struct vm_area_struct *vma, unsigned long addr,
		      struct folio *src, struct folio *dst)
{
	pmd_t *pmdp = pmd_off(vma->vm_mm, addr);
	spinlock_t *ptl = pmd_lock(vma->vm_mm, pmdp);
	pmd_t pmd = *pmdp;
	softleaf_t leaf;

	if (dst) {
		dst->mapping = src->mapping;
		dst->index = src->index;
	}
	if (is_whole(pmd, src) && dst) {
		leaf = softleaf_from_pmd(pmd);
		leaf = swp_entry(swp_type(leaf), folio_pfn(dst));
		set_pmd_at(vma->vm_mm, addr, pmdp, other_leaf(pmd, leaf));
	} else if (is_whole(pmd, src)) {
		split_huge_pmd_locked(vma, addr, pmdp, false);
	}
	drop_hidden(vma, src);
	spin_unlock(ptl);
}

static unsigned long address(const struct onewalk_migrate *migrate,
			     unsigned long i)
{
	return migrate->start + (i << PAGE_SHIFT);
}

/* The huge page that begins at this entry of an array, or NULL. */
static struct folio *huge_folio(unsigned long mpfn)
{
	const unsigned long huge = MIGRATE_PFN_VALID | MIGRATE_PFN_COMPOUND;

	if ((mpfn & huge) != huge)
		return NULL;
	return page_folio(migrate_pfn_to_page(mpfn));
}

static struct folio *hidden_folio(unsigned long mpfn)
{
	struct folio *folio = huge_folio(mpfn);

	return folio && onewalk_is_hidden(folio) ? folio : NULL;
}

/*
 * The destination that gets the entry of a hidden folio before its identity. Not
 * so in locked memory, where a page has to be on the LRU when it is mapped.
 */
static struct folio *heir(const struct onewalk_migrate *migrate,
			  unsigned long i)
{
	struct folio *dst = huge_folio(migrate->dst[i]);

	if (!hidden_folio(migrate->src[i]) || !dst ||
	    folio_is_zone_device(dst) || (migrate->vma->vm_flags & VM_LOCKED))
		return NULL;
	return dst;
}

/* The folio stays where it was, and is not ours any more. */
static void give_back(struct onewalk_migrate *migrate, unsigned long i,
		      struct folio *folio)
{
	unsigned long j;

	if (!onewalk_is_fault_folio(migrate, folio))
		folio_unlock(folio);
	if (folio_is_zone_device(folio))
		folio_put(folio);
	else
		folio_putback_lru(folio);

	migrate->src[i] = 0;
	for (j = 0; migrate->status && j < ONEWALK_PMD_NR; j++)
		migrate->status[i + j] = ONEWALK_STATUS_UNKNOWN;
}

/*
 * Split a folio that is mapped nowhere: what it leaves is locked, and has one
 * reference each. Who faults on the folio has another, which does not count here.
 */
static bool split_unmapped(const struct onewalk_migrate *migrate,
			   struct folio *folio)
{
	bool fault = onewalk_is_fault_folio(migrate, folio);
	int ret;

	if (fault)
		folio_put(folio);
	ret = onewalk_fails(ONEWALK_POINT_SPLIT) ?
		-EAGAIN : folio_split_unmapped(folio, 0);
	if (fault)
		folio_get(page_folio(migrate->fault_page));
	return !ret;
}

static bool any_destination(const struct onewalk_migrate *migrate,
			    unsigned long i)
{
	return memchr_inv(migrate->dst + i, 0,
			  ONEWALK_PMD_NR * sizeof(*migrate->dst));
}

/* There are single destinations for a large source. */
static void split_source(struct onewalk_migrate *migrate, unsigned long i,
			 struct folio *folio)
{
	unsigned long pfn = folio_pfn(folio);
	unsigned long flags = migrate->src[i] & MIGRATE_PFN_WRITE;
	unsigned long j;

	hand_over(migrate->vma, address(migrate, i), folio, NULL);
	if (!split_unmapped(migrate, folio)) {
		remove_migration_ptes(folio, folio, 0);
		give_back(migrate, i, folio);
		return;
	}
	for (j = 0; j < ONEWALK_PMD_NR; j++)
		migrate->src[i + j] = migrate_pfn(pfn + j) | flags |
				      MIGRATE_PFN_MIGRATE;
}

/*
 * onewalk_part_from_huge() - huge sources part from their entries, or in pieces
 * @migrate: with destinations, about to move
 *
 * Splits a large source with single destinations itself: the kernel splits the
 * entry of one process whatever it is by then.
 */
void onewalk_part_from_huge(struct onewalk_migrate *migrate)
{
	unsigned long i, nr;

	for (i = 0; i < migrate->npages; i += nr) {
		struct folio *folio = huge_folio(migrate->src[i]);

		nr = folio ? ONEWALK_PMD_NR : 1;
		if (!folio || !any_destination(migrate, i))
			continue;
		cond_resched();
		if (!(migrate->dst[i] & MIGRATE_PFN_COMPOUND))
			split_source(migrate, i, folio);
		else if (folio_is_device_private(folio))
			hand_over(migrate->vma, address(migrate, i), folio,
				  heir(migrate, i));
	}
}

/*
 * onewalk_take_back_huge() - destinations that got an entry and nothing else
 * @migrate: after migrate_vma_pages()
 */
void onewalk_take_back_huge(struct onewalk_migrate *migrate)
{
	struct folio *src, *dst;
	unsigned long i, nr;

	for (i = 0; i < migrate->npages; i += nr) {
		src = huge_folio(migrate->src[i]);
		nr = src ? ONEWALK_PMD_NR : 1;
		dst = heir(migrate, i);
		if (!dst || (migrate->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		remove_migration_ptes(dst, src, 0);
		/* What was split before it was handed over names the source. */
		remove_migration_ptes(src, src, 0);
		dst->mapping = NULL;
		give_back(migrate, i, src);
	}
}

/*
 * onewalk_settle_huge() - what migrate_vma_finalize() must not find
 * @migrate: about to be finalized
 */
void onewalk_settle_huge(struct onewalk_migrate *migrate)
{
	struct folio *src, *dst;
	unsigned long i, nr;

	for (i = 0; i < migrate->npages; i += nr) {
		nr = huge_folio(migrate->src[i]) ? ONEWALK_PMD_NR : 1;
		src = hidden_folio(migrate->src[i]);
		dst = heir(migrate, i);
		if (src && !(migrate->src[i] & MIGRATE_PFN_MIGRATE))
			onewalk_show(migrate->vma, address(migrate, i), src);
		else if (dst)
			remove_migration_ptes(dst, dst, 0);
	}
}

/*
 * onewalk_map_by_ptes() - have PTEs map a huge page of a device
 * @folio: it, locked and held
 *
 * Up to 7.3, who discards a PMD migration entry of a device-private page takes it
 * for the page being mapped, and drops its mapping and a reference once more. With
 * PTEs they are told apart. A PMD entry becomes PTE migration entries in one hold
 * of the page table lock; 6.19 stops at the first one of several.
 *
 * Return: do only PTEs map it now?
 */
bool onewalk_map_by_ptes(struct folio *folio)
{
	int before, left = folio_entire_mapcount(folio);

	if (!left)
		return true;
	do {
		before = left;
		try_to_migrate(folio, TTU_SPLIT_HUGE_PMD);
		left = folio_entire_mapcount(folio);
	} while (left && left < before);
	remove_migration_ptes(folio, folio, 0);
	return !left;
}
