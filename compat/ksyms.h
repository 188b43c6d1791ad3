/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel functions that modules are not given.
 *
 * The table: a function's name, what it is called as, the file of src/ that
 * needs it, and, where no header that distributions ship declares it, its
 * prototype as BTF has it; NULL where one does, and the compiler has checked the
 * call. Prototypes that changed over time are separated by bars, newest first.
 */
#ifndef _ONEWALK_KSYMS_H
#define _ONEWALK_KSYMS_H

#include <linux/errno.h>
#include <linux/static_call.h>
#include <linux/types.h>

struct folio;

/* A type alone: the widest that folio_isolate_lru() returned over time. */
int onewalk_isolate_lru(struct folio *folio);

#ifdef CONFIG_X86
/* Likewise: the kernel's own declaration is not for modules. */
struct mm_struct;
void flush_tlb_mm_range(struct mm_struct *mm, unsigned long start,
			unsigned long end, unsigned int stride_shift,
			bool freed_tables);

#define ONEWALK_KSYMS_ARCH(X)						\
	X(flush_tlb_mm_range, flush_tlb_mm_range, "collect.c",		\
	  "void(struct mm_struct*,long unsigned int,long unsigned int,unsigned int,bool)")
#else
#define ONEWALK_KSYMS_ARCH(X)
#endif

#ifdef CONFIG_SWAP
#define ONEWALK_KSYMS_SWAP(X)						\
	X(folio_free_swap, folio_free_swap, "unmap.c", NULL)
#else
#define ONEWALK_KSYMS_SWAP(X)
#endif

#ifdef ONEWALK_HAVE_FOLIO_REMOVE_RMAP_PTE
#define ONEWALK_KSYMS_RMAP(X)						\
	X(folio_remove_rmap_ptes, folio_remove_rmap_ptes, "collect.c", NULL) \
	X(folio_add_anon_rmap_ptes, folio_add_anon_rmap_ptes, "finalize.c", NULL)
#else
#define ONEWALK_KSYMS_RMAP(X)						\
	X(page_remove_rmap, page_remove_rmap, "collect.c", NULL)	\
	X(page_add_anon_rmap, page_add_anon_rmap, "finalize.c", NULL)
#endif

#if defined(ONEWALK_HAVE_PTE_OFFSET_MAP_LOCK_INLINE)
#define ONEWALK_KSYMS_LOCK(X)						\
	X(__pte_offset_map_lock, __pte_offset_map_lock, "collect.c", NULL)
#elif defined(ONEWALK_HAVE_PTE_OFFSET_MAP_LOCK)
#define ONEWALK_KSYMS_LOCK(X)						\
	X(pte_offset_map_lock, pte_offset_map_lock, "collect.c", NULL)
#else
#define ONEWALK_KSYMS_LOCK(X)
#endif

#if defined(ONEWALK_HAVE_SPLIT_TO_ORDER)
#define ONEWALK_KSYMS_SPLIT(X)						\
	X(__split_huge_page_to_list_to_order,				\
	  __split_huge_page_to_list_to_order, "fault.c", NULL)
#elif defined(ONEWALK_HAVE_SPLIT_TO_LIST)
#define ONEWALK_KSYMS_SPLIT(X)						\
	X(split_huge_page_to_list, split_huge_page_to_list, "fault.c", NULL)
#else
#define ONEWALK_KSYMS_SPLIT(X)						\
	X(split_huge_page_to_list_to_order,				\
	  split_huge_page_to_list_to_order, "fault.c", NULL)
#endif

#ifdef ONEWALK_HAVE_SELECT_COMPOUND
#define ONEWALK_KSYMS_WHOLE(X)						\
	X(set_pmd_migration_entry, set_pmd_migration_entry, "huge.c", NULL) \
	X(split_huge_pmd_locked, split_huge_pmd_locked, "huge.c", NULL)	\
	X(folio_remove_rmap_pmd, folio_remove_rmap_pmd, "huge.c", NULL)	\
	X(folio_split_unmapped, folio_split_unmapped, "huge.c", NULL)
#else
#define ONEWALK_KSYMS_WHOLE(X)
#endif

#define ONEWALK_KSYMS(X)						\
	X(folio_isolate_lru, onewalk_isolate_lru, "unmap.c",		\
	  "bool(struct folio*)|int(struct folio*)")			\
	X(folio_putback_lru, folio_putback_lru, "unmap.c",		\
	  "void(struct folio*)")					\
	X(try_to_migrate, try_to_migrate, "unmap.c", NULL)		\
	X(remove_migration_ptes, remove_migration_ptes, "unmap.c", NULL) \
	X(lru_add_drain_all, lru_add_drain_all, "fault.c", NULL)	\
	X(__mmu_notifier_invalidate_range_start,			\
	  __mmu_notifier_invalidate_range_start, "collect.c", NULL)	\
	X(__mmu_notifier_invalidate_range_end,				\
	  __mmu_notifier_invalidate_range_end, "collect.c", NULL)	\
	X(__split_huge_pmd, __split_huge_pmd, "fault.c", NULL)		\
	ONEWALK_KSYMS_ARCH(X)						\
	ONEWALK_KSYMS_SWAP(X)						\
	ONEWALK_KSYMS_RMAP(X)						\
	ONEWALK_KSYMS_LOCK(X)						\
	ONEWALK_KSYMS_SPLIT(X)						\
	ONEWALK_KSYMS_WHOLE(X)

#define ONEWALK_DECLARE_KSYM(name, as, user, protos)			\
	DECLARE_STATIC_CALL(ksym_##name, as);

int onewalk_ksyms_init(bool by_name);
const char *onewalk_ksyms_reason(void);
int onewalk_ksyms_refuse(int err, const char *format, ...) __printf(2, 3);
unsigned long onewalk_ksym_lookup(const char *name);

#ifdef CONFIG_DEBUG_INFO_BTF
int onewalk_btf_init(void);
int onewalk_btf_check(const char *name, const char *protos);
#else
static inline int onewalk_btf_init(void)
{
	return -EOPNOTSUPP;
}

static inline int onewalk_btf_check(const char *name, const char *protos)
{
	return -EOPNOTSUPP;
}
#endif

#endif /* _ONEWALK_KSYMS_H */
