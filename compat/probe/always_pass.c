// SPDX-License-Identifier: GPL-2.0
/*
 * Compiles on every kernel that we support: the compiler works, and the headers
 * that the other probes include are there.
 */
#include <linux/hmm.h>
#include <linux/huge_mm.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

int probe(struct migrate_vma *args);
int probe(struct migrate_vma *args)
{
	return migrate_vma_setup(args);
}
