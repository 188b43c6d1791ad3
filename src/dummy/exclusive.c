// SPDX-License-Identifier: GPL-2.0
/*
 * Atomic access: pages that the device has for itself, until a CPU touches them.
 */
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <dummy_compat.h>

#include "dummy.h"

static int map_exclusive(struct dummy_mirror *mirror, unsigned long addr,
			 struct page *page, unsigned long seq)
{
	int ret = -EBUSY;

	mutex_lock(&mirror->lock);
	if (!mmu_interval_read_retry(&mirror->notifier, seq))
		ret = dummy_map(mirror, addr, page,
				ONEWALK_DUMMY_MAPPED_READ |
				ONEWALK_DUMMY_MAPPED_WRITE |
				ONEWALK_DUMMY_MAPPED_ATOMIC);
	mutex_unlock(&mirror->lock);
	return ret;
}

/*
 * A CPU that touches the page has to wait for the folio lock, so the device's
 * entry is there before the exclusive one can go; but MADV_DONTNEED in another
 * thread does not wait, hence the sequence number.
 */
static int try_exclusive(struct dummy_mirror *mirror, unsigned long addr)
{
	struct mm_struct *mm = mirror->notifier.mm;
	struct folio *folio;
	struct page *page;
	unsigned long seq;
	int ret;

	seq = mmu_interval_read_begin(&mirror->notifier);
	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;

	page = make_device_exclusive(mm, addr, mirror, &folio);
	if (IS_ERR(page)) {
		ret = PTR_ERR(page);
	} else {
		ret = map_exclusive(mirror, addr, page, seq);
		folio_unlock(folio);
		folio_put(folio);
	}
	mmap_read_unlock(mm);
	return ret;
}

/* Make the page present and writable. */
static int make_ordinary(struct dummy_mirror *mirror, unsigned long addr)
{
	unsigned long pfn = 0;
	struct onewalk_range range = {
		.notifier = &mirror->notifier,
		.start = addr,
		.end = addr + PAGE_SIZE,
		.hmm_pfns = &pfn,
		.default_flags = ONEWALK_PFN_REQ_FAULT | ONEWALK_PFN_REQ_WRITE,
	};

	return dummy_fault_once(mirror, &range, onewalk_range_fault);
}

/*
 * When make_device_exclusive() has to fault first, or to split, or to take back
 * an exclusive entry that is there already, that moves the sequence number. An
 * attempt that failed leaves such an entry, so it is taken back in between.
 */
static int make_exclusive(struct dummy_mirror *mirror, unsigned long addr)
{
	unsigned long deadline = jiffies + DUMMY_PATIENCE;
	int ret, err;

	for (;;) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		ret = try_exclusive(mirror, addr);
		if (ret != -EBUSY || dummy_expired(deadline, &ret))
			return ret;
		err = make_ordinary(mirror, addr);
		if (err && err != -EBUSY)
			return err;
	}
}

static int make_all_exclusive(struct dummy_mirror *mirror,
			      const struct onewalk_dummy_cmd *cmd)
{
	u64 i;
	int ret;

	/* Our own MMU_NOTIFY_EXCLUSIVE does not move the sequence number. */
	ret = down_write_killable(&mirror->service);
	if (ret)
		return ret;
	for (i = 0; i < cmd->npages && !ret; i++)
		ret = make_exclusive(mirror, cmd->addr + (i << PAGE_SHIFT));
	up_write(&mirror->service);
	return ret;
}

static int read_back(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd,
		     void *bounce)
{
	void __user *ptr = u64_to_user_ptr(cmd->ptr);
	unsigned long n, have;

	while (cmd->cpages < cmd->npages) {
		n = min_t(u64, DUMMY_WINDOW, cmd->npages - cmd->cpages);
		have = dummy_load(mirror,
				  cmd->addr + (cmd->cpages << PAGE_SHIFT), n,
				  ONEWALK_DUMMY_MAPPED_READ, bounce);
		/* A CPU took it back already: the device has it no more. */
		if (have < n)
			return -ENOENT;
		if (copy_to_user(ptr + (cmd->cpages << PAGE_SHIFT), bounce,
				 n << PAGE_SHIFT))
			return -EFAULT;
		cmd->cpages += n;
	}
	return 0;
}

/**
 * dummy_exclusive() - ONEWALK_DUMMY_EXCLUSIVE
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_exclusive(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd)
{
	void *bounce;
	int ret;

	/* The entries that it takes came with device-private memory. */
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		return -EOPNOTSUPP;

	bounce = kvmalloc(min_t(u64, DUMMY_WINDOW, cmd->npages) << PAGE_SHIFT,
			  GFP_KERNEL);
	if (!bounce)
		return -ENOMEM;
	ret = make_all_exclusive(mirror, cmd);
	if (!ret)
		ret = read_back(mirror, cmd, bounce);
	kvfree(bounce);
	return ret;
}

/**
 * dummy_check_exclusive() - ONEWALK_DUMMY_CHECK_EXCLUSIVE
 * @mirror: the mirror
 * @cmd: the command
 *
 * Return: -EPERM when the device still has a page for itself.
 */
int dummy_check_exclusive(struct dummy_mirror *mirror,
			  struct onewalk_dummy_cmd *cmd)
{
	unsigned long end = cmd->addr + (cmd->npages << PAGE_SHIFT);
	int ret;

	mutex_lock(&mirror->lock);
	ret = dummy_any_access(mirror, cmd->addr, end,
			       ONEWALK_DUMMY_MAPPED_ATOMIC) ? -EPERM : 0;
	mutex_unlock(&mirror->lock);
	return ret;
}
