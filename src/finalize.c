// SPDX-License-Identifier: GPL-2.0
/*
 * Mapping: each page, moved or not, gets its entry back.
 *
 * The kernel looks through the reverse mappings of every page for the places that
 * it was unmapped from. A page that was exclusive to this process had one, and we
 * know where: the entry that is there says whether it still holds. So such pages
 * are mapped in place, a PTE table at a time. Everything else is the kernel's.
 */
#include <linux/bitmap.h>
#include <linux/leafops.h>
#include <linux/memremap.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

#include "onewalk.h"

/**
 * struct table - the part of the migration that lies in one PTE table
 * @migrate: the migration
 * @first: its first page in @migrate
 * @nr: how many pages
 * @done: those that are mapped in place
 */
struct table {
	struct onewalk_migrate	*migrate;
	unsigned long		first;
	unsigned long		nr;
	DECLARE_BITMAP(done, ONEWALK_PMD_NR);
};

/**
 * struct place - where a page was, and where it is
 * @src: what its migration entry names
 * @page: what its entry has to name: the destination, or again @src
 */
struct place {
	struct page	*src;
	struct page	*page;
};

static bool find_place(const struct onewalk_migrate *migrate, unsigned long i,
		       struct place *place)
{
	unsigned long src = migrate->src[i];

	place->src = migrate_pfn_to_page(src);
	if (!place->src)
		return false;
	place->page = src & MIGRATE_PFN_MIGRATE ?
		migrate_pfn_to_page(migrate->dst[i]) : NULL;
	if (!place->page)
		place->page = place->src;
	return true;
}

/* A single anonymous page, which nobody but the migration has locked. */
static bool is_simple(const struct onewalk_migrate *migrate, unsigned long i,
		      struct place *place)
{
	if ((migrate->src[i] | migrate->dst[i]) & MIGRATE_PFN_COMPOUND)
		return false;
	return find_place(migrate, i, place) && !PageCompound(place->src) &&
	       !PageCompound(place->page) && PageAnon(place->page) &&
	       place->src != migrate->fault_page;
}

/* An entry for @page that knows what migration entry @old has kept. */
static pte_t mapping_pte(struct vm_area_struct *vma, struct page *page,
			 pte_t old)
{
	softleaf_t leaf = softleaf_from_pte(old);
	bool write = softleaf_is_migration_write(leaf);
	pte_t pte;

	if (is_device_private_page(page)) {
		pte = swp_entry_to_pte(write ?
			make_writable_device_private_entry(page_to_pfn(page)) :
			make_readable_device_private_entry(page_to_pfn(page)));
		return pte_swp_soft_dirty(old) ? pte_swp_mksoft_dirty(pte) : pte;
	}

	/* Dirty comes after writable: x86 keeps the two apart until then. */
	pte = mk_pte(page, READ_ONCE(vma->vm_page_prot));
	if (write)
		pte = pte_mkwrite_novma(pte);
	if (!softleaf_is_migration_young(leaf))
		pte = pte_mkold(pte);
	if (softleaf_is_migration_dirty(leaf) && PageDirty(page))
		pte = pte_mkdirty(pte);
	return pte_swp_soft_dirty(old) ? pte_mksoft_dirty(pte) :
					 pte_clear_soft_dirty(pte);
}

/*
 * Whatever has been done to the entry since it was collected, it still names the
 * page, as one that is exclusive to this process. fork() is the only one to take
 * that away from it, and the mmap lock keeps fork() out.
 */
static bool is_only_mapping(pte_t pte, struct page *src)
{
	softleaf_t leaf;

	if (pte_none(pte) || pte_present(pte) || pte_swp_uffd(pte))
		return false;
	leaf = softleaf_from_pte(pte);
	return softleaf_is_migration(leaf) &&
	       !softleaf_is_migration_read(leaf) &&
	       softleaf_to_pfn(leaf) == page_to_pfn(src);
}

/*
 * Takes the place of a migration entry, which counted as what it stands for:
 * neither the counters of the process change, nor is there anything to flush.
 */
static bool map_in_place(struct vm_area_struct *vma, unsigned long addr,
			 pte_t *ptep, const struct place *place)
{
	struct page *page = place->page;
	struct folio *folio = page_folio(page);
	pte_t old = ptep_get(ptep);

	if (!is_only_mapping(old, place->src))
		return false;

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	VM_WARN_ON_ONCE_FOLIO(folio_mapped(folio), folio);
	folio_get(folio);
	folio_add_anon_rmap_pte(folio, page, vma, addr, RMAP_EXCLUSIVE);
	set_pte_at(vma->vm_mm, addr, ptep, mapping_pte(vma, page, old));
	update_mmu_cache(vma, addr, ptep);
	return true;
}

/* @first: the first of them that is a simple page, and @ptep its entry */
static void map_entries(struct table *table, unsigned long first, pte_t *ptep)
{
	const struct onewalk_migrate *migrate = table->migrate;
	unsigned long i, addr;
	struct place place;

	for (i = first; i < table->nr; i++, ptep++) {
		addr = migrate->start + ((table->first + i) << PAGE_SHIFT);
		if (is_simple(migrate, table->first + i, &place) &&
		    map_in_place(migrate->vma, addr, ptep, &place))
			__set_bit(i, table->done);
	}
}

static void map_table(struct table *table)
{
	const struct onewalk_migrate *migrate = table->migrate;
	struct mm_struct *mm = migrate->vma->vm_mm;
	struct place place;
	unsigned long i = 0, addr;
	spinlock_t *ptl;	/* the page table's own */
	pte_t *ptep;

	bitmap_zero(table->done, ONEWALK_PMD_NR);
	/* A huge page, or a hole of that size, is all there is. */
	if (migrate->src[table->first] & MIGRATE_PFN_COMPOUND)
		return;

	while (!is_simple(migrate, table->first + i, &place))
		if (++i == table->nr)
			return;

	/* What was collected had a PMD entry, and the mmap lock keeps that. */
	addr = migrate->start + ((table->first + i) << PAGE_SHIFT);
	ptep = pte_offset_map_lock(mm, pmd_off(mm, addr), addr, &ptl);
	if (!ptep)
		return;
	map_entries(table, i, ptep);
	pte_unmap_unlock(ptep, ptl);
}

/* The locks and references of a page that is mapped again. */
static void let_go(const struct onewalk_migrate *migrate, unsigned long i)
{
	struct page *dst = migrate_pfn_to_page(migrate->dst[i]);
	struct place place;

	find_place(migrate, i, &place);
	if (!is_zone_device_page(place.page))
		folio_add_lru(page_folio(place.page));
	folio_unlock(page_folio(place.src));
	folio_put(page_folio(place.src));
	if (dst) {
		folio_unlock(page_folio(dst));
		folio_put(page_folio(dst));
	}
}

static void leave_to_kernel(const struct onewalk_migrate *migrate,
			    unsigned long first, unsigned long nr)
{
	struct migrate_vma args = onewalk_kernel_args(migrate);

	args.src += first;
	args.dst += first;
	args.npages = nr;
	args.start += first << PAGE_SHIFT;
	args.end = args.start + (nr << PAGE_SHIFT);
	migrate_vma_finalize(&args);
}

static void finish_table(const struct table *table)
{
	unsigned long i = 0, run;

	while (i < table->nr) {
		if (test_bit(i, table->done)) {
			let_go(table->migrate, table->first + i++);
			continue;
		}
		run = find_next_bit(table->done, table->nr, i) - i;
		leave_to_kernel(table->migrate, table->first + i, run);
		i += run;
	}
}

/*
 * What its mapping has to do for mlock() or for userfaultfd, or on a shadow
 * stack, the kernel knows best.
 */
static bool is_plain(struct vm_area_struct *vma)
{
	return !(vma->vm_flags & (VM_LOCKED | VM_SHADOW_STACK)) &&
	       !userfaultfd_armed(vma);
}

/*
 * onewalk_finalize() - map what is there now, and let go of it
 * @migrate: as for onewalk_migrate_finalize()
 */
void onewalk_finalize(struct onewalk_migrate *migrate)
{
	struct table table = { .migrate = migrate };
	unsigned long end = migrate->start + (migrate->npages << PAGE_SHIFT);
	unsigned long addr, next;

	if (!is_plain(migrate->vma)) {
		leave_to_kernel(migrate, 0, migrate->npages);
		return;
	}
	for (addr = migrate->start; addr < end; addr = next) {
		next = pmd_addr_end(addr, end);
		table.first = (addr - migrate->start) >> PAGE_SHIFT;
		table.nr = (next - addr) >> PAGE_SHIFT;
		map_table(&table);
		finish_table(&table);
		cond_resched();
	}
}
