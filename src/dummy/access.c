// SPDX-License-Identifier: GPL-2.0
/*
 * The device reads and writes the process's memory, through its own page table.
 */
#include <linux/highmem.h>
#include <linux/minmax.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dummy.h"

/* Pages between the device and the user at a time. */
#define BOUNCE	64UL

/**
 * dummy_load() - read what the device maps
 * @mirror: the mirror
 * @addr: user address
 * @npages: how many pages
 * @want: ONEWALK_DUMMY_MAPPED_*: what each page must be mapped with
 * @buffer: where to
 *
 * Return: how many pages were read before one was not mapped so.
 */
unsigned long dummy_load(struct dummy_mirror *mirror, unsigned long addr,
			 unsigned long npages, u8 want, void *buffer)
{
	struct page *page;
	unsigned long i;

	mutex_lock(&mirror->lock);
	for (i = 0; i < npages; i++) {
		page = dummy_mapped_page(mirror, addr + (i << PAGE_SHIFT),
					 want);
		if (!page)
			break;
		memcpy_from_page(buffer + (i << PAGE_SHIFT), page, 0, PAGE_SIZE);
	}
	mutex_unlock(&mirror->lock);
	return i;
}

/*
 * Nobody but the device knows that it wrote. The entry in its table stands for
 * the CPU's, so the page cannot be truncated or freed now.
 */
static void mark_dirty(struct page *page, u8 access)
{
	if (dummy_is_private() && (access & ONEWALK_DUMMY_MAPPED_DEVICE))
		page = dummy_backed_page(page);
	folio_mark_dirty(page_folio(page));
}

static unsigned long store(struct dummy_mirror *mirror, unsigned long addr,
			   unsigned long npages, const void *buffer)
{
	struct page *page;
	unsigned long i;

	mutex_lock(&mirror->lock);
	for (i = 0; i < npages; i++, addr += PAGE_SIZE) {
		page = dummy_mapped_page(mirror, addr,
					 ONEWALK_DUMMY_MAPPED_WRITE);
		if (!page)
			break;
		memcpy_to_page(page, 0, buffer + (i << PAGE_SHIFT), PAGE_SIZE);
		mark_dirty(page, dummy_access(mirror, addr));
	}
	mutex_unlock(&mirror->lock);
	return i;
}

/* Fault in all that is left; one fault, however many pages are missing. */
static int miss(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd,
		bool write, bool unlocked)
{
	unsigned long start = cmd->addr + (cmd->cpages << PAGE_SHIFT);
	unsigned long end = cmd->addr + (cmd->npages << PAGE_SHIFT);
	int ret;

	if (fatal_signal_pending(current))
		return -EINTR;

	if (unlocked)
		ret = dummy_fault_unlocked(mirror, start, end);
	else
		ret = dummy_fault(mirror, start, end, write);
	if (!ret)
		cmd->faults++;
	return ret;
}

static int read_all(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd,
		    void *bounce, bool unlocked)
{
	void __user *ptr = u64_to_user_ptr(cmd->ptr);
	unsigned long n;
	int ret;

	while (cmd->cpages < cmd->npages) {
		n = min_t(u64, BOUNCE, cmd->npages - cmd->cpages);
		n = dummy_load(mirror, cmd->addr + (cmd->cpages << PAGE_SHIFT),
			       n, ONEWALK_DUMMY_MAPPED_READ, bounce);
		if (!n) {
			ret = miss(mirror, cmd, false, unlocked);
			if (ret)
				return ret;
			continue;
		}
		if (copy_to_user(ptr + (cmd->cpages << PAGE_SHIFT), bounce,
				 n << PAGE_SHIFT))
			return -EFAULT;
		cmd->cpages += n;
	}
	return 0;
}

static int write_all(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd,
		     void *bounce)
{
	void __user *ptr = u64_to_user_ptr(cmd->ptr);
	unsigned long have = 0, done = 0, n;
	int ret;

	while (cmd->cpages < cmd->npages) {
		if (done == have) {
			done = 0;
			have = min_t(u64, BOUNCE, cmd->npages - cmd->cpages);
			if (copy_from_user(bounce,
					   ptr + (cmd->cpages << PAGE_SHIFT),
					   have << PAGE_SHIFT))
				return -EFAULT;
		}
		n = store(mirror, cmd->addr + (cmd->cpages << PAGE_SHIFT),
			  have - done, bounce + (done << PAGE_SHIFT));
		if (!n) {
			ret = miss(mirror, cmd, true, false);
			if (ret)
				return ret;
			continue;
		}
		done += n;
		cmd->cpages += n;
	}
	return 0;
}

static void *alloc_bounce(const struct onewalk_dummy_cmd *cmd)
{
	return kvmalloc(min_t(u64, BOUNCE, cmd->npages) << PAGE_SHIFT,
			GFP_KERNEL);
}

static int read_with(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd,
		     bool unlocked)
{
	void *bounce = alloc_bounce(cmd);
	int ret;

	if (!bounce)
		return -ENOMEM;
	ret = read_all(mirror, cmd, bounce, unlocked);
	kvfree(bounce);
	return ret;
}

/**
 * dummy_read() - ONEWALK_DUMMY_READ
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_read(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd)
{
	return read_with(mirror, cmd, false);
}

/**
 * dummy_read_unlocked() - ONEWALK_DUMMY_READ_UNLOCKED
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_read_unlocked(struct dummy_mirror *mirror,
			struct onewalk_dummy_cmd *cmd)
{
	return read_with(mirror, cmd, true);
}

/**
 * dummy_write() - ONEWALK_DUMMY_WRITE
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_write(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd)
{
	void *bounce = alloc_bounce(cmd);
	int ret;

	if (!bounce)
		return -ENOMEM;
	ret = write_all(mirror, cmd, bounce);
	kvfree(bounce);
	return ret;
}
