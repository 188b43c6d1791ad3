/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Included before everything else in every file: makes the kernel at hand look
 * like the newest one with everything exported.
 *
 * The names come first, so that the kernel's own headers declare, and their
 * inlines call, our versions under our names. Kprobe users are not disturbed,
 * and the compiler checks our versions against the kernel's prototypes.
 */
#ifndef _ONEWALK_COMPAT_H
#define _ONEWALK_COMPAT_H

#include <onewalk/features.h>

/* Here, since the headers below use it. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#define folio_isolate_lru	onewalk_k_folio_isolate_lru
#define folio_putback_lru	onewalk_k_folio_putback_lru
#define folio_free_swap		onewalk_k_folio_free_swap
#define try_to_migrate		onewalk_k_try_to_migrate
#define lru_add_drain_all	onewalk_k_lru_add_drain_all
#define lru_add_drain		onewalk_k_lru_add_drain
#define flush_tlb_mm_range	onewalk_k_flush_tlb_mm_range
#define folio_remove_rmap_ptes	onewalk_k_folio_remove_rmap_ptes
#define page_remove_rmap	onewalk_k_page_remove_rmap
#define folio_add_anon_rmap_ptes	onewalk_k_folio_add_anon_rmap_ptes
#define page_add_anon_rmap	onewalk_k_page_add_anon_rmap
#define swap_migration_ad_supported		\
	onewalk_k_swap_migration_ad_supported
#define __split_huge_pmd	onewalk_k_split_huge_pmd
#define set_pmd_migration_entry	onewalk_k_set_pmd_migration_entry
#define split_huge_pmd_locked	onewalk_k_split_huge_pmd_locked
#define folio_remove_rmap_pmd	onewalk_k_folio_remove_rmap_pmd
#define folio_split_unmapped	onewalk_k_folio_split_unmapped
#define __mmu_notifier_invalidate_range_start	\
	onewalk_k_mmu_notifier_invalidate_range_start
#define __mmu_notifier_invalidate_range_end	\
	onewalk_k_mmu_notifier_invalidate_range_end

#ifdef CONFIG_LOCKDEP
/* The header's declaration of this variable becomes one of a pointer to it. */
#define __mmu_notifier_invalidate_range_start_map	\
	(*onewalk_k_mmu_notifier_map)
#endif

#if defined(ONEWALK_HAVE_PTE_OFFSET_MAP_LOCK_INLINE)
#define __pte_offset_map_lock	onewalk_k_pte_offset_map_lock
#elif defined(ONEWALK_HAVE_PTE_OFFSET_MAP_LOCK)
#define pte_offset_map_lock	onewalk_k_pte_offset_map_lock
#endif

#if defined(ONEWALK_HAVE_SPLIT_TO_ORDER)
#define __split_huge_page_to_list_to_order	onewalk_k_split_huge_page
#elif defined(ONEWALK_HAVE_SPLIT_TO_LIST)
#define split_huge_page_to_list			onewalk_k_split_huge_page
#else
#define split_huge_page_to_list_to_order	onewalk_k_split_huge_page
#endif

#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include <asm/tlbflush.h>

#include <onewalk/pgmap.h>

#include "ksyms.h"

/* Declared in mm/internal.h alone, the last of them since 7.3. */
bool folio_isolate_lru(struct folio *folio);
void folio_putback_lru(struct folio *folio);
void lru_add_drain(void);

#ifdef CONFIG_X86
/* Hidden from modules, in the same shape on every kernel. */
#undef flush_tlb_range
#define flush_tlb_range(vma, start, end)				\
	flush_tlb_mm_range((vma)->vm_mm, start, end, PAGE_SHIFT, false)
#endif

ONEWALK_KSYMS(ONEWALK_DECLARE_KSYM)

/* What is 0 to us was a bool, then an int, then an enum. */
#define remove_migration_ptes(src, dst, flags)				\
	static_call(ksym_remove_migration_ptes)(src, dst, flags)

#ifndef ONEWALK_HAVE_PTE_OFFSET_MAP_LOCK
#undef pte_offset_map_lock
pte_t *onewalk_k_pte_offset_map_lock(struct mm_struct *mm, pmd_t *pmdp,
				     unsigned long addr, spinlock_t **ptlp);
static inline pte_t *pte_offset_map_lock(struct mm_struct *mm, pmd_t *pmdp,
					 unsigned long addr, spinlock_t **ptlp)
{
	pte_t *ptep;

	__cond_lock(*ptlp, ptep = onewalk_k_pte_offset_map_lock(mm, pmdp, addr,
								ptlp));
	return ptep;
}
#endif

#ifndef ONEWALK_HAVE_FOLIO_REMOVE_RMAP_PTE
#define folio_remove_rmap_pte(folio, page, vma)				\
	page_remove_rmap(page, vma, false)
#define folio_add_anon_rmap_pte(folio, page, vma, addr, flags)		\
	page_add_anon_rmap(page, vma, addr, flags)
#define folio_try_share_anon_rmap_pte(folio, page)			\
	page_try_share_anon_rmap(page)
#endif

#ifndef ONEWALK_HAVE_PTE_MKWRITE_NOVMA
#define pte_mkwrite_novma(pte)	pte_mkwrite(pte)
#endif

#ifndef FOLIO_MAPPING_ANON
#define FOLIO_MAPPING_ANON	PAGE_MAPPING_ANON
#define FOLIO_MAPPING_FLAGS	PAGE_MAPPING_FLAGS
#endif

#ifndef VM_SHADOW_STACK
#define VM_SHADOW_STACK		VM_NONE
#endif

#ifndef ONEWALK_HAVE_PMDP_GET_LOCKLESS
#define pmdp_get_lockless(pmdp)	READ_ONCE(*(pmdp))
#endif

#ifdef ONEWALK_HAVE_SELECT_COMPOUND
#define ONEWALK_MIGRATE_VMA_SPLITS	1

static inline int onewalk_begin_setup(struct mm_struct *mm, unsigned long addr)
{
	return 0;
}

static inline int onewalk_begin_split(struct mm_struct *mm, unsigned long addr)
{
	return 0;
}

static inline void onewalk_end_setup(int begun)
{
}
#else
/*
 * Before 6.19 migrate_vma_setup() splits a large folio that a PMD maps, asked or
 * not, and leaves alone one that PTEs map.
 */
#define MIGRATE_VMA_SELECT_COMPOUND	0
#define ONEWALK_MIGRATE_VMA_SPLITS	0

int onewalk_begin_setup(struct mm_struct *mm, unsigned long addr);
int onewalk_begin_split(struct mm_struct *mm, unsigned long addr);
void onewalk_end_setup(int begun);

/* What moves large folios whole: never called there. */
#undef set_pmd_migration_entry
#undef split_huge_pmd_locked
#undef folio_remove_rmap_pmd
#undef folio_split_unmapped
#undef folio_mapcount
#define folio_mapcount(folio)			((void)(folio), 0)
#define set_pmd_migration_entry(pvmw, page)	((void)(pvmw), -EOPNOTSUPP)
#define split_huge_pmd_locked(vma, addr, pmdp, freeze)	((void)(vma))
#define folio_remove_rmap_pmd(folio, page, vma)	((void)(folio))
#define folio_split_unmapped(folio, order)	((void)(folio), -EOPNOTSUPP)
#endif

#ifndef ONEWALK_HAVE_MIGRATE_DEVICE_PFNS
#define migrate_device_pfns	onewalk_k_migrate_device_pfns
int migrate_device_pfns(unsigned long *pfns, unsigned long npages);
#endif

#ifndef ONEWALK_HAVE_PTE_UFFD
#define pte_uffd(pte)			pte_uffd_wp(pte)
#define pmd_uffd(pmd)			pmd_uffd_wp(pmd)
#define pte_swp_uffd(pte)		pte_swp_uffd_wp(pte)
#define pte_swp_mkuffd(pte)		pte_swp_mkuffd_wp(pte)
#define pmd_swp_uffd(pmd)		pmd_swp_uffd_wp(pmd)
#define pmd_swp_mkuffd(pmd)		pmd_swp_mkuffd_wp(pmd)
#define userfaultfd_rwp(vma)		((void)(vma), false)
#endif

#ifndef ONEWALK_HAVE_PTE_DEVMAP
/* No PTE is marked so any more: DAX pages are like all others. */
#define pte_devmap(pte)			((void)(pte), 0)
#endif

#ifndef ONEWALK_HAVE_PIN_REMOTE_WITHOUT_VMAS
#define pin_user_pages_remote(mm, start, nr, flags, pages, locked)	\
	pin_user_pages_remote(mm, start, nr, flags, pages, NULL, locked)
#endif

#endif /* _ONEWALK_COMPAT_H */
