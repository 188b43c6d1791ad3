/* SPDX-License-Identifier: GPL-2.0 */
/*
 * <linux/migrate.h> as "Migrate on fault for device pages" (v9) has it: see
 * <linux/hmm.h> beside it.
 */
#ifndef _ONEWALK_UPSTREAM_MIGRATE_H
#define _ONEWALK_UPSTREAM_MIGRATE_H

#include_next <linux/migrate.h>

#include <onewalk/features.h>

#ifndef ONEWALK_HAVE_HMM_PFN_REQ_MIGRATE

#include <onewalk/onewalk.h>

#define MIGRATE_VMA_SELECT_SYSTEM		ONEWALK_MIGRATE_SELECT_SYSTEM
#define MIGRATE_VMA_SELECT_DEVICE_PRIVATE	ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE
#define MIGRATE_VMA_SELECT_DEVICE_COHERENT	ONEWALK_MIGRATE_SELECT_DEVICE_COHERENT
#define MIGRATE_VMA_SELECT_COMPOUND		ONEWALK_MIGRATE_SELECT_COMPOUND
#define MIGRATE_VMA_FAULT			ONEWALK_MIGRATE_FAULT

#define migrate_vma		onewalk_migrate
#define migrate_vma_direction	onewalk_migrate_flags
#define migrate_vma_info	onewalk_migrate_flags
#define migrate_vma_setup	onewalk_migrate_setup
#define migrate_vma_pages	onewalk_migrate_pages
#define migrate_vma_finalize	onewalk_migrate_finalize

#endif /* ONEWALK_HAVE_HMM_PFN_REQ_MIGRATE */
#endif /* _ONEWALK_UPSTREAM_MIGRATE_H */
