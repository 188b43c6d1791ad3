/* SPDX-License-Identifier: GPL-2.0 */
/*
 * <linux/hmm.h> as "Migrate on fault for device pages" (v9) has it.
 */
#ifndef _ONEWALK_UPSTREAM_HMM_H
#define _ONEWALK_UPSTREAM_HMM_H

/**
 * DOC: Upstream's names
 *
 * A driver that is written for the kernel series "Migrate on fault for device
 * pages" compiles unmodified, and its calls go through onewalk, if this
 * directory comes before the kernel's own headers. In the driver's Kbuild::
 *
 *	LINUXINCLUDE := -I$(ONEWALK)/include/upstream -I$(ONEWALK)/include \
 *			-I/var/lib/onewalk/$(KERNELRELEASE) $(LINUXINCLUDE)
 *
 * On a kernel that has the series, these headers are the kernel's. The driver
 * then needs nothing of onewalk's but <onewalk/features.h>, which tells.
 *
 * What a driver should know beyond upstream's documentation is in <onewalk/onewalk.h>.
 */

#include_next <linux/hmm.h>

#include <onewalk/features.h>

#ifndef ONEWALK_HAVE_HMM_PFN_REQ_MIGRATE

#include <linux/migrate.h>
#include <onewalk/onewalk.h>

/* What the kernel has is an enum: these names come before it. */
#define HMM_PFN_VALID		ONEWALK_PFN_VALID
#define HMM_PFN_WRITE		ONEWALK_PFN_WRITE
#define HMM_PFN_ERROR		ONEWALK_PFN_ERROR
#define HMM_PFN_DMA_MAPPED	ONEWALK_PFN_DMA_MAPPED
#define HMM_PFN_P2PDMA		ONEWALK_PFN_P2PDMA
#define HMM_PFN_P2PDMA_BUS	ONEWALK_PFN_P2PDMA_BUS
#define HMM_PFN_MIGRATE		ONEWALK_PFN_MIGRATE
#define HMM_PFN_COMPOUND	ONEWALK_PFN_COMPOUND
#define HMM_PFN_ORDER_SHIFT	ONEWALK_PFN_ORDER_SHIFT
#define HMM_PFN_REQ_FAULT	ONEWALK_PFN_REQ_FAULT
#define HMM_PFN_REQ_WRITE	ONEWALK_PFN_REQ_WRITE
#define HMM_PFN_REQ_MIGRATE	ONEWALK_PFN_REQ_MIGRATE
#define HMM_PFN_FLAGS		ONEWALK_PFN_FLAGS

#define hmm_range			onewalk_range
#define hmm_pfn_to_page			onewalk_pfn_to_page
#define hmm_pfn_to_map_order		onewalk_pfn_to_map_order
#define hmm_range_fault			onewalk_range_fault
#define hmm_range_fault_unlocked_timeout	onewalk_range_fault_unlocked
#define migrate_hmm_range_setup		onewalk_migrate_range_setup

/* As the kernel's of that name, for the entries of struct onewalk_range. */
#define hmm_pfn_to_phys(pfn)	PFN_PHYS((pfn) & ~ONEWALK_PFN_FLAGS)

#ifndef HMM_RANGE_DEFAULT_TIMEOUT
#define HMM_RANGE_DEFAULT_TIMEOUT	1000
#endif

#endif /* ONEWALK_HAVE_HMM_PFN_REQ_MIGRATE */
#endif /* _ONEWALK_UPSTREAM_HMM_H */
