// SPDX-License-Identifier: GPL-2.0
/*
 * Fault and migrate as a driver does it with the kernel's own calls, in two or
 * three walks. Here for comparison.
 *
 * All of it works on a struct onewalk_migrate, so that what comes between the
 * walks, and after them, is the same code for every method.
 */
#include <linux/hmm.h>
#include <linux/ktime.h>
#include <linux/migrate.h>
#include <linux/slab.h>

#include "dummy.h"

static unsigned long kernel_select(unsigned long flags)
{
	unsigned long compound = flags & ONEWALK_MIGRATE_SELECT_COMPOUND ?
		MIGRATE_VMA_SELECT_COMPOUND : 0;

	if (flags & ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE)
		return MIGRATE_VMA_SELECT_DEVICE_PRIVATE | compound;
	if (flags & ONEWALK_MIGRATE_SELECT_DEVICE_COHERENT)
		return MIGRATE_VMA_SELECT_DEVICE_COHERENT | compound;
	return MIGRATE_VMA_SELECT_SYSTEM | compound;
}

static struct migrate_vma kernel_args(const struct onewalk_migrate *migrate)
{
	return (struct migrate_vma){
		.vma = migrate->vma,
		.src = migrate->src,
		.dst = migrate->dst,
		.cpages = migrate->cpages,
		.npages = migrate->npages,
		.start = migrate->start,
		.end = migrate->end,
		.pgmap_owner = migrate->pgmap_owner,
		.flags = kernel_select(migrate->flags),
	};
}

/**
 * dummy_classic_setup() - migrate_vma_setup()
 * @migrate: as for onewalk_migrate_setup(), but that src and dst have room for
 *	DUMMY_CLASSIC_EXTRA entries more
 *
 * Return: as migrate_vma_setup(); -EBUSY when it lost its way.
 */
int dummy_classic_setup(struct onewalk_migrate *migrate)
{
	struct migrate_vma args = kernel_args(migrate);
	int ret = migrate_vma_setup(&args);

	if (ret)
		return ret;
	/* What it then says of addresses is wrong: see DUMMY_CLASSIC_EXTRA. */
	if (args.npages != (migrate->end - migrate->start) >> PAGE_SHIFT) {
		migrate_vma_finalize(&args);
		return -EBUSY;
	}
	migrate->npages = args.npages;
	migrate->cpages = args.cpages;
	return 0;
}

/**
 * dummy_classic_pages() - migrate_vma_pages()
 * @migrate: set up
 */
void dummy_classic_pages(struct onewalk_migrate *migrate)
{
	struct migrate_vma args = kernel_args(migrate);

	migrate_vma_pages(&args);
}

/**
 * dummy_classic_finalize() - migrate_vma_finalize()
 * @migrate: set up
 */
void dummy_classic_finalize(struct onewalk_migrate *migrate)
{
	struct migrate_vma args = kernel_args(migrate);

	migrate_vma_finalize(&args);
	migrate->npages = 0;
}

static unsigned long to_hmm(unsigned long request)
{
	unsigned long hmm = 0;

	if (request & ONEWALK_PFN_REQ_FAULT)
		hmm |= HMM_PFN_REQ_FAULT;
	if (request & ONEWALK_PFN_REQ_WRITE)
		hmm |= HMM_PFN_REQ_WRITE;
	return hmm;
}

static unsigned long from_hmm(unsigned long hmm)
{
	unsigned long pfn;

	if (hmm & HMM_PFN_ERROR)
		return ONEWALK_PFN_ERROR;
	if (!(hmm & HMM_PFN_VALID))
		return 0;
	pfn = page_to_pfn(hmm_pfn_to_page(hmm)) | ONEWALK_PFN_VALID;
	if (hmm & HMM_PFN_WRITE)
		pfn |= ONEWALK_PFN_WRITE;
	return pfn | (unsigned long)hmm_pfn_to_map_order(hmm) <<
		     ONEWALK_PFN_ORDER_SHIFT;
}

/**
 * dummy_classic_fault() - hmm_range_fault()
 * @range: as for onewalk_range_fault(), with neither migrate nor status
 * @ns: what the time that it took is added to; to translate its answer is our
 *	affair, and not in it
 *
 * Return: as hmm_range_fault(); the report is in the layout of &enum
 * onewalk_pfn_flags.
 */
int dummy_classic_fault(struct onewalk_range *range, u64 *ns)
{
	unsigned long npages = (range->end - range->start) >> PAGE_SHIFT;
	struct hmm_range hmm = {
		.notifier = range->notifier,
		.notifier_seq = range->notifier_seq,
		.start = range->start,
		.end = range->end,
		.default_flags = to_hmm(range->default_flags),
		.pfn_flags_mask = to_hmm(range->pfn_flags_mask),
		.dev_private_owner = range->dev_private_owner,
	};
	unsigned long i;
	int ret;

	hmm.hmm_pfns = kvmalloc_array(npages, sizeof(*hmm.hmm_pfns),
				      GFP_KERNEL | __GFP_NOWARN);
	if (!hmm.hmm_pfns)
		return -ENOMEM;
	for (i = 0; i < npages; i++)
		hmm.hmm_pfns[i] = to_hmm(range->hmm_pfns[i]);

	*ns -= ktime_get_ns();
	ret = hmm_range_fault(&hmm);
	*ns += ktime_get_ns();
	for (i = 0; i < npages && !ret; i++)
		range->hmm_pfns[i] = from_hmm(hmm.hmm_pfns[i]);
	kvfree(hmm.hmm_pfns);
	return ret;
}
