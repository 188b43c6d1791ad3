// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel functions that are not exported, as if they were: each under the name
 * that compat.h gives it, in the shape in which the kernel's headers declare it.
 */
#include <linux/huge_mm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>

void folio_putback_lru(struct folio *folio)
{
	static_call(ksym_folio_putback_lru)(folio);
}

#ifdef CONFIG_SWAP
bool folio_free_swap(struct folio *folio)
{
	return static_call(ksym_folio_free_swap)(folio);
}
#endif

void try_to_migrate(struct folio *folio, enum ttu_flags flags)
{
	static_call(ksym_try_to_migrate)(folio, flags);
}

void lru_add_drain_all(void)
{
	static_call(ksym_lru_add_drain_all)();
}

int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	return static_call(ksym___mmu_notifier_invalidate_range_start)(range);
}

#ifdef ONEWALK_HAVE_INVALIDATE_ONLY_END
void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range,
					 bool only_end)
{
	static_call(ksym___mmu_notifier_invalidate_range_end)(range, only_end);
}
#else
void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
	static_call(ksym___mmu_notifier_invalidate_range_end)(range);
}
#endif

#ifdef CONFIG_X86
void flush_tlb_mm_range(struct mm_struct *mm, unsigned long start,
			unsigned long end, unsigned int stride_shift,
			bool freed_tables)
{
	static_call(ksym_flush_tlb_mm_range)(mm, start, end, stride_shift,
					     freed_tables);
}
#endif

#ifdef ONEWALK_HAVE_FOLIO_REMOVE_RMAP_PTE
void folio_remove_rmap_ptes(struct folio *folio, struct page *page,
			    int nr_pages, struct vm_area_struct *vma)
{
	static_call(ksym_folio_remove_rmap_ptes)(folio, page, nr_pages, vma);
}

void folio_add_anon_rmap_ptes(struct folio *folio, struct page *page,
			      int nr_pages, struct vm_area_struct *vma,
			      unsigned long addr, rmap_t flags)
{
	static_call(ksym_folio_add_anon_rmap_ptes)(folio, page, nr_pages, vma,
						   addr, flags);
}
#else
void page_remove_rmap(struct page *page, struct vm_area_struct *vma,
		      bool compound)
{
	static_call(ksym_page_remove_rmap)(page, vma, compound);
}

void page_add_anon_rmap(struct page *page, struct vm_area_struct *vma,
			unsigned long addr, rmap_t flags)
{
	static_call(ksym_page_add_anon_rmap)(page, vma, addr, flags);
}
#endif

#if defined(ONEWALK_HAVE_PTE_OFFSET_MAP_LOCK_INLINE)
pte_t *__pte_offset_map_lock(struct mm_struct *mm, pmd_t *pmdp,
			     unsigned long addr, spinlock_t **ptlp)
{
	return static_call(ksym___pte_offset_map_lock)(mm, pmdp, addr, ptlp);
}
#elif defined(ONEWALK_HAVE_PTE_OFFSET_MAP_LOCK)
pte_t *pte_offset_map_lock(struct mm_struct *mm, pmd_t *pmdp,
			   unsigned long addr, spinlock_t **ptlp)
{
	return static_call(ksym_pte_offset_map_lock)(mm, pmdp, addr, ptlp);
}
#else
/* Under the mmap lock a PTE table of these kernels stays what it is. */
pte_t *onewalk_k_pte_offset_map_lock(struct mm_struct *mm, pmd_t *pmdp,
				     unsigned long addr, spinlock_t **ptlp)
{
	pmd_t pmd = pmdp_get_lockless(pmdp);

	if (!pmd_present(pmd) || pmd_leaf(pmd) || pmd_bad(pmd))
		return NULL;
	*ptlp = pte_lockptr(mm, &pmd);
	spin_lock(*ptlp);
	/* sparse: the caller counts it */
	__release(*ptlp);
	return pte_offset_map(&pmd, addr);
}
#endif

#if defined(ONEWALK_HAVE_SPLIT_TO_ORDER)
int __split_huge_page_to_list_to_order(struct page *page,
				       struct list_head *list,
				       unsigned int new_order)
{
	return static_call(ksym___split_huge_page_to_list_to_order)(page, list,
								    new_order);
}
#elif defined(ONEWALK_HAVE_SPLIT_TO_LIST)
int split_huge_page_to_list(struct page *page, struct list_head *list)
{
	return static_call(ksym_split_huge_page_to_list)(page, list);
}
#else
int split_huge_page_to_list_to_order(struct page *page, struct list_head *list,
				     unsigned int new_order)
{
	return static_call(ksym_split_huge_page_to_list_to_order)(page, list,
								  new_order);
}
#endif

#ifdef ONEWALK_HAVE_SPLIT_PMD_FOLIO
void __split_huge_pmd(struct vm_area_struct *vma, pmd_t *pmdp,
		      unsigned long addr, bool freeze, struct folio *folio)
{
	static_call(ksym___split_huge_pmd)(vma, pmdp, addr, freeze, folio);
}
#else
void __split_huge_pmd(struct vm_area_struct *vma, pmd_t *pmdp,
		      unsigned long addr, bool freeze)
{
	static_call(ksym___split_huge_pmd)(vma, pmdp, addr, freeze);
}
#endif

#ifndef ONEWALK_HAVE_MIGRATE_DEVICE_PFNS
/* Row by row. */
int migrate_device_pfns(unsigned long *pfns, unsigned long npages)
{
	unsigned long i, nr;

	for (i = 0; i < npages; i += nr) {
		for (nr = 1; i + nr < npages; nr++)
			if (pfns[i + nr] != pfns[i] + nr)
				break;
		migrate_device_range(&pfns[i], pfns[i], nr);
	}
	return 0;
}
#endif

#ifdef ONEWALK_HAVE_SELECT_COMPOUND
int set_pmd_migration_entry(struct page_vma_mapped_walk *pvmw,
			    struct page *page)
{
	return static_call(ksym_set_pmd_migration_entry)(pvmw, page);
}

void split_huge_pmd_locked(struct vm_area_struct *vma, unsigned long addr,
			   pmd_t *pmdp, bool freeze)
{
	static_call(ksym_split_huge_pmd_locked)(vma, addr, pmdp, freeze);
}

void folio_remove_rmap_pmd(struct folio *folio, struct page *page,
			   struct vm_area_struct *vma)
{
	static_call(ksym_folio_remove_rmap_pmd)(folio, page, vma);
}

int folio_split_unmapped(struct folio *folio, unsigned int new_order)
{
	return static_call(ksym_folio_split_unmapped)(folio, new_order);
}
#endif
