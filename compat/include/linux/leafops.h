/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What <linux/leafops.h> calls a leaf entry (6.19 and newer), in terms of the
 * swap entries of the kernels before it. The kernel's own header, where there is
 * one, is found first.
 */
#ifndef _ONEWALK_LEAFOPS_H
#define _ONEWALK_LEAFOPS_H

#include <linux/swapops.h>

typedef swp_entry_t softleaf_t;

/* Some stable kernels have these two as macros, for a fix that needed them. */
#ifndef softleaf_from_pte
static inline softleaf_t softleaf_from_pte(pte_t pte)
{
	return pte_to_swp_entry(pte);
}
#endif

#ifndef softleaf_to_pfn
static inline unsigned long softleaf_to_pfn(softleaf_t entry)
{
	return swp_offset_pfn(entry);
}
#endif

static inline softleaf_t softleaf_from_pmd(pmd_t pmd)
{
	return pmd_to_swp_entry(pmd);
}

static inline bool softleaf_is_swap(softleaf_t entry)
{
	return !non_swap_entry(entry);
}

static inline bool softleaf_is_migration(softleaf_t entry)
{
	return is_migration_entry(entry);
}

static inline bool softleaf_is_migration_write(softleaf_t entry)
{
	return is_writable_migration_entry(entry);
}

static inline bool softleaf_is_migration_read(softleaf_t entry)
{
	return is_readable_migration_entry(entry);
}

static inline bool softleaf_is_migration_young(softleaf_t entry)
{
	return is_migration_entry_young(entry);
}

static inline bool softleaf_is_migration_dirty(softleaf_t entry)
{
	return is_migration_entry_dirty(entry);
}

static inline bool softleaf_is_device_private(softleaf_t entry)
{
	return is_device_private_entry(entry);
}

static inline bool softleaf_is_device_private_write(softleaf_t entry)
{
	return is_writable_device_private_entry(entry);
}

static inline bool softleaf_is_device_exclusive(softleaf_t entry)
{
	return is_device_exclusive_entry(entry);
}

static inline bool softleaf_is_uffd_wp_marker(softleaf_t entry)
{
	return is_pte_marker_entry(entry) &&
	       (pte_marker_get(entry) & PTE_MARKER_UFFD_WP);
}

#endif /* _ONEWALK_LEAFOPS_H */
