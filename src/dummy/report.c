// SPDX-License-Identifier: GPL-2.0
/*
 * What the CPU's page table holds, and what the device's does, without changing
 * either.
 */
#include <linux/memremap.h>
#include <linux/minmax.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <onewalk/pgmap.h>

#include "dummy.h"

/* Bytes of an inspection at a time. */
#define INSPECT_WINDOW	1024UL

static u8 page_prot(const struct dummy_mirror *mirror, struct page *page)
{
	bool own = dummy_is_own(mirror->device, page);

	if (is_zero_pfn(page_to_pfn(page)))
		return ONEWALK_DUMMY_PROT_ZERO;
	if (is_device_private_page(page))
		return own ? ONEWALK_DUMMY_PROT_PRIVATE_LOCAL :
			     ONEWALK_DUMMY_PROT_PRIVATE_REMOTE;
	if (is_device_coherent_page(page))
		return own ? ONEWALK_DUMMY_PROT_COHERENT_LOCAL :
			     ONEWALK_DUMMY_PROT_COHERENT_REMOTE;
	return ONEWALK_DUMMY_PROT_NONE;
}

static u8 size_prot(unsigned int order)
{
	if (order + PAGE_SHIFT == PMD_SHIFT)
		return ONEWALK_DUMMY_PROT_PMD;
	if (order + PAGE_SHIFT == PUD_SHIFT)
		return ONEWALK_DUMMY_PROT_PUD;
	return 0;
}

static u8 pfn_prot(const struct dummy_mirror *mirror, unsigned long pfn)
{
	u8 prot;

	if (pfn & ONEWALK_PFN_ERROR)
		return ONEWALK_DUMMY_PROT_ERROR;
	if (!(pfn & ONEWALK_PFN_VALID))
		return ONEWALK_DUMMY_PROT_NONE;

	prot = page_prot(mirror, onewalk_pfn_to_page(pfn));
	prot |= pfn & ONEWALK_PFN_WRITE ? ONEWALK_DUMMY_PROT_WRITE :
					  ONEWALK_DUMMY_PROT_READ;
	return prot | size_prot(onewalk_pfn_to_map_order(pfn));
}

static int use_prot(struct dummy_mirror *mirror,
		    const struct onewalk_range *range, void *data)
{
	unsigned long i, npages = (range->end - range->start) >> PAGE_SHIFT;
	u8 *prot = data;

	for (i = 0; i < npages; i++)
		prot[i] = pfn_prot(mirror, range->hmm_pfns[i]);
	return 0;
}

static int snapshot_window(struct dummy_mirror *mirror, unsigned long start,
			   unsigned long end, u8 *prot)
{
	unsigned long pfns[DUMMY_WINDOW];
	struct onewalk_range range = {
		.notifier = &mirror->notifier,
		.start = start,
		.end = end,
		.hmm_pfns = pfns,
		.dev_private_owner = dummy_owner(mirror->device),
	};

	return dummy_fault_and_use(mirror, &range, onewalk_range_fault,
				   use_prot, prot, false);
}

/**
 * dummy_snapshot() - ONEWALK_DUMMY_SNAPSHOT
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_snapshot(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd)
{
	u8 prot[DUMMY_WINDOW];
	unsigned long start, n;
	int ret;

	while (cmd->cpages < cmd->npages) {
		n = min_t(u64, DUMMY_WINDOW, cmd->npages - cmd->cpages);
		start = cmd->addr + (cmd->cpages << PAGE_SHIFT);
		ret = snapshot_window(mirror, start, start + (n << PAGE_SHIFT),
				      prot);
		if (ret)
			return ret;
		if (copy_to_user(u64_to_user_ptr(cmd->ptr) + cmd->cpages, prot, n))
			return -EFAULT;
		cmd->cpages += n;
	}
	return 0;
}

/**
 * dummy_get_pfns() - requests from the user
 * @pfns: where to
 * @user: user address of as many __u64
 * @npages: how many
 */
int dummy_get_pfns(unsigned long *pfns, u64 user, unsigned long npages)
{
	const u64 input = ONEWALK_PFN_REQ_FLAGS | ONEWALK_PFN_INOUT_FLAGS;
	const u64 __user *from = u64_to_user_ptr(user);
	unsigned long i;
	u64 pfn;

	for (i = 0; i < npages; i++) {
		if (get_user(pfn, from + i))
			return -EFAULT;
		pfns[i] = pfn & input;
	}
	return 0;
}

/**
 * dummy_put_pfns() - a report to the user, without the pfns themselves
 * @pfns: the report
 * @user: user address of as many __u64
 * @npages: how many
 */
int dummy_put_pfns(const unsigned long *pfns, u64 user, unsigned long npages)
{
	u64 __user *to = u64_to_user_ptr(user);
	unsigned long i;

	for (i = 0; i < npages; i++)
		if (put_user((u64)(pfns[i] & ONEWALK_PFN_FLAGS), to + i))
			return -EFAULT;
	return 0;
}

static int use_nothing(struct dummy_mirror *mirror,
		       const struct onewalk_range *range, void *data)
{
	return 0;
}

static int fault_classic(struct onewalk_range *range)
{
	u64 ns = 0;

	return dummy_classic_fault(range, &ns);
}

static int report(struct dummy_mirror *mirror,
		  const struct onewalk_dummy_report *arg, unsigned long *pfns)
{
	struct onewalk_range range = {
		.notifier = &mirror->notifier,
		.start = arg->addr,
		.end = arg->addr + (arg->npages << PAGE_SHIFT),
		.hmm_pfns = pfns,
		.default_flags = arg->default_flags,
		.pfn_flags_mask = arg->pfn_flags_mask,
		.dev_private_owner = dummy_owner(mirror->device),
		.p2p = dummy_p2p(mirror),
	};

	if (arg->unlocked)
		return onewalk_range_fault_unlocked(&range, DUMMY_PATIENCE);
	return dummy_fault_and_use(mirror, &range,
				   arg->kernel ? fault_classic :
						 onewalk_range_fault,
				   use_nothing, NULL, false);
}

/**
 * dummy_report() - ONEWALK_DUMMY_REPORT
 * @mirror: the mirror
 * @arg: the argument
 */
int dummy_report(struct dummy_mirror *mirror, struct onewalk_dummy_report *arg)
{
	unsigned long *pfns;
	int ret;

	ret = dummy_check_table(arg->addr, arg->npages);
	if (ret)
		return ret;
	if (arg->kernel && arg->unlocked)
		return -EINVAL;

	pfns = kvcalloc(arg->npages, sizeof(*pfns), GFP_KERNEL | __GFP_NOWARN);
	if (!pfns)
		return -ENOMEM;
	ret = dummy_get_pfns(pfns, arg->pfns, arg->npages);
	if (!ret)
		ret = report(mirror, arg, pfns);
	if (!ret)
		ret = dummy_put_pfns(pfns, arg->pfns, arg->npages);
	kvfree(pfns);
	return ret;
}

static void inspect(struct dummy_mirror *mirror, unsigned long addr,
		    unsigned long npages, u8 *access)
{
	unsigned long i;

	mutex_lock(&mirror->lock);
	for (i = 0; i < npages; i++)
		access[i] = dummy_access(mirror, addr + (i << PAGE_SHIFT));
	mutex_unlock(&mirror->lock);
}

/**
 * dummy_inspect() - ONEWALK_DUMMY_INSPECT
 * @mirror: the mirror
 * @arg: the argument
 */
int dummy_inspect(struct dummy_mirror *mirror, struct onewalk_dummy_buffer *arg)
{
	u8 __user *to = u64_to_user_ptr(arg->ptr);
	u64 done, n;
	u8 *access;
	int ret;

	ret = dummy_check_table(arg->addr, arg->npages);
	if (ret)
		return ret;
	access = kmalloc(INSPECT_WINDOW, GFP_KERNEL);
	if (!access)
		return -ENOMEM;

	for (done = 0; done < arg->npages && !ret; done += n) {
		n = min_t(u64, INSPECT_WINDOW, arg->npages - done);
		inspect(mirror, arg->addr + (done << PAGE_SHIFT), n, access);
		if (copy_to_user(to + done, access, n))
			ret = -EFAULT;
		cond_resched();
	}
	kfree(access);
	return ret;
}
