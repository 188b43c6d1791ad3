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
#define try_to_migrate		onewalk_k_try_to_migrate
#define lru_add_drain_all	onewalk_k_lru_add_drain_all
#define lru_add_drain		onewalk_k_lru_add_drain

#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/swap.h>

#include <onewalk/pgmap.h>

/* Declared in mm/internal.h alone, the last of them since 7.3. */
bool folio_isolate_lru(struct folio *folio);
void folio_putback_lru(struct folio *folio);
void lru_add_drain(void);

#ifndef ONEWALK_HAVE_PMDP_GET_LOCKLESS
#define pmdp_get_lockless(pmdp)	pmd_read_atomic(pmdp)
#endif

#ifdef ONEWALK_HAVE_SELECT_COMPOUND
#define ONEWALK_MIGRATE_VMA_SPLITS	1
#else
/*
 * Before 6.19 migrate_vma_setup() splits a large folio that a PMD maps, asked or
 * not, and leaves alone one that PTEs map.
 */
#define MIGRATE_VMA_SELECT_COMPOUND	0
#define ONEWALK_MIGRATE_VMA_SPLITS	0
#endif

#ifndef ONEWALK_HAVE_PTE_UFFD
#define pte_uffd(pte)			pte_uffd_wp(pte)
#define pmd_uffd(pmd)			pmd_uffd_wp(pmd)
#endif

#ifndef ONEWALK_HAVE_PTE_DEVMAP
/* No PTE is marked so any more: DAX pages are like all others. */
#define pte_devmap(pte)			((void)(pte), 0)
#endif

#endif /* _ONEWALK_COMPAT_H */
