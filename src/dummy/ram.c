// SPDX-License-Identifier: GPL-2.0
/*
 * Back to system memory when a CPU touches a device-private page.
 *
 * That knows of no open file. The page's pgmap leads to its chunk and so to
 * its content; the file that brought it here may be closed long ago. Whatever
 * mirrors the process is told by the notifier, like of any other change.
 */
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include <onewalk/pgmap.h>

#include "dummy.h"

/*
 * A huge page table entry comes back as it is. One PTE comes back alone, also
 * out of a large folio, which is split then; or, when told so, with its
 * neighbours.
 */
static void fault_range(const struct vm_fault *vmf,
			struct onewalk_migrate *migrate)
{
	unsigned long size = PAGE_SIZE;

	if (!vmf->pte)
		size = folio_size(page_folio(vmf->page));
	else if (READ_ONCE(dummy_fault_around))
		size = PMD_SIZE;

	migrate->start = max(ALIGN_DOWN(vmf->address, size),
			     vmf->vma->vm_start);
	migrate->end = min(ALIGN_DOWN(vmf->address, size) + size,
			   vmf->vma->vm_end);
	if (size > PAGE_SIZE)
		migrate->flags |= ONEWALK_MIGRATE_SELECT_COMPOUND;
}

/*
 * The page that was touched was collected and got no destination. A hole, which
 * is what is left of one that another thread has discarded meanwhile, needs none.
 */
static bool out_of_memory(const struct onewalk_migrate *migrate)
{
	const unsigned long collected = MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE;
	struct folio *folio = page_folio(migrate->fault_page);
	unsigned long i;

	for (i = 0; i < migrate->npages; i += dummy_step(migrate->src[i]))
		if ((migrate->src[i] & collected) == collected &&
		    page_folio(migrate_pfn_to_page(migrate->src[i])) == folio)
			return !migrate->dst[i];
	return false;
}

static vm_fault_t bring_back(struct onewalk_migrate *migrate)
{
	vm_fault_t ret = 0;
	int err;

	err = onewalk_migrate_setup(migrate);
	if (err == -ENOMEM)
		return VM_FAULT_OOM;
	if (err == -EINVAL)
		return VM_FAULT_SIGBUS;
	/*
	 * Not collected: the page is on its way already, or somebody looks at
	 * it. The access is repeated, and faults again if it must.
	 */
	if (err || !migrate->cpages)
		goto out;

	dummy_copy(NULL, migrate, false);
	if (out_of_memory(migrate))
		ret = VM_FAULT_OOM;
	onewalk_migrate_pages(migrate);
out:
	onewalk_migrate_finalize(migrate);
	return ret;
}

/**
 * dummy_migrate_to_ram() - a CPU touches a device-private page
 * @vmf: the fault
 *
 * Runs under the mmap lock and under whatever the faulting task holds, which may
 * be &dummy_mirror.service. No lock of a mirror is taken here, and no notifier
 * is named in the migration: to every mirror it is somebody else's, so each
 * drops its mapping and takes note.
 */
vm_fault_t dummy_migrate_to_ram(struct vm_fault *vmf)
{
	struct onewalk_migrate migrate = {
		.vma = vmf->vma,
		.pgmap_owner = page_pgmap(vmf->page)->owner,
		.flags = ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE,
		.fault_page = vmf->page,
	};
	vm_fault_t ret = VM_FAULT_OOM;
	unsigned long npages;

	fault_range(vmf, &migrate);
	npages = (migrate.end - migrate.start) >> PAGE_SHIFT;
	migrate.src = kcalloc(2 * npages, sizeof(*migrate.src), GFP_KERNEL);
	if (!migrate.src)
		return ret;
	migrate.dst = migrate.src + npages;

	ret = bring_back(&migrate);
	kfree(migrate.src);
	return ret;
}

/**
 * dummy_drain() - have all CPUs let go of the pages in their batches
 *
 * A device page that mlock()ed memory let go of waits in a batch of the CPU
 * that unmapped it, with a reference, for that batch to be full. The kernel does
 * not export the function that empties them all, but calls it when a page that
 * is to migrate is on no LRU list: such as this one, which then stays.
 */
void dummy_drain(void)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_NOWARN);
	unsigned long src;

	if (!page)
		return;
	migrate_device_range(&src, page_to_pfn(page), 1);
	__free_page(page);
}
