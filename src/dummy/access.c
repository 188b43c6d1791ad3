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
static void mark_dirty(const struct dummy_device *device, struct page *page,
		       u8 access)
{
	if (dummy_is_private(device) && (access & ONEWALK_DUMMY_MAPPED_DEVICE))
		page = dummy_backed_page(page);
	folio_mark_dirty(page_folio(page));
}

/**
 * struct access - one READ or WRITE, a bounce buffer at a time
 * @mirror: the mirror
 * @cmd: the command
 * @bounce: the buffer
 * @start: user address of its first page
 * @write: to memory, from the buffer
 * @unlocked: the mmap lock is dropped while faulting
 * @faulted: where the last fault ended
 */
struct access {
	struct dummy_mirror		*mirror;
	struct onewalk_dummy_cmd	*cmd;
	void				*bounce;
	unsigned long			start;
	bool				write;
	bool				unlocked;
	unsigned long			faulted;
};

/* Under &dummy_mirror.lock. Return: false when the page is not mapped so. */
static bool access_page(const struct access *access, unsigned long addr)
{
	u8 want = access->write ? ONEWALK_DUMMY_MAPPED_WRITE :
				  ONEWALK_DUMMY_MAPPED_READ;
	struct page *page = dummy_mapped_page(access->mirror, addr, want);
	void *buffer = access->bounce + (addr - access->start);

	if (!page)
		return false;
	if (access->write) {
		memcpy_to_page(page, 0, buffer, PAGE_SIZE);
		mark_dirty(access->mirror->device, page,
			   dummy_access(access->mirror, addr));
	} else {
		memcpy_from_page(buffer, page, 0, PAGE_SIZE);
	}
	return true;
}

static void access_faulted(unsigned long addr, void *data)
{
	access_page(data, addr);
}

/* Return: the first page that is not mapped so, or @end. */
static unsigned long access_mapped(const struct access *access,
				   unsigned long addr, unsigned long end)
{
	mutex_lock(&access->mirror->lock);
	while (addr < end && access_page(access, addr))
		addr += PAGE_SIZE;
	mutex_unlock(&access->mirror->lock);
	return addr;
}

/*
 * The device faults for a run of pages, and it is one fault however long the run
 * is. What the fault brings in is accessed before it can go again.
 */
static int access_chunk(struct access *access, unsigned long end)
{
	struct dummy_mirror *mirror = access->mirror;
	unsigned long addr = access->start;
	int ret;

	for (;;) {
		addr = access_mapped(access, addr, end);
		if (addr == end)
			return 0;
		if (fatal_signal_pending(current))
			return -EINTR;

		if (access->unlocked)
			ret = dummy_fault_unlocked(mirror, addr, end);
		else
			ret = dummy_fault(mirror, addr, end, access->write,
					  access_faulted, access);
		if (ret)
			return ret;
		if (addr != access->faulted)
			access->cmd->faults++;
		access->faulted = end;
		if (!access->unlocked)
			return 0;
	}
}

static int access_all(struct access *access)
{
	struct onewalk_dummy_cmd *cmd = access->cmd;
	void __user *ptr = u64_to_user_ptr(cmd->ptr);
	unsigned long n;
	int ret;

	for (; cmd->cpages < cmd->npages; cmd->cpages += n) {
		n = min_t(u64, BOUNCE, cmd->npages - cmd->cpages);
		access->start = cmd->addr + (cmd->cpages << PAGE_SHIFT);
		if (access->write &&
		    copy_from_user(access->bounce,
				   ptr + (cmd->cpages << PAGE_SHIFT),
				   n << PAGE_SHIFT))
			return -EFAULT;
		ret = access_chunk(access, access->start + (n << PAGE_SHIFT));
		if (ret)
			return ret;
		if (!access->write &&
		    copy_to_user(ptr + (cmd->cpages << PAGE_SHIFT),
				 access->bounce, n << PAGE_SHIFT))
			return -EFAULT;
	}
	return 0;
}

static int do_access(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd,
		     bool write, bool unlocked)
{
	struct access access = {
		.mirror = mirror,
		.cmd = cmd,
		.write = write,
		.unlocked = unlocked,
	};
	int ret;

	access.bounce = kvmalloc(min_t(u64, BOUNCE, cmd->npages) << PAGE_SHIFT,
				 GFP_KERNEL);
	if (!access.bounce)
		return -ENOMEM;
	ret = access_all(&access);
	kvfree(access.bounce);
	return ret;
}

/**
 * dummy_read() - ONEWALK_DUMMY_READ
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_read(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd)
{
	return do_access(mirror, cmd, false, false);
}

/**
 * dummy_read_unlocked() - ONEWALK_DUMMY_READ_UNLOCKED
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_read_unlocked(struct dummy_mirror *mirror,
			struct onewalk_dummy_cmd *cmd)
{
	return do_access(mirror, cmd, false, true);
}

/**
 * dummy_write() - ONEWALK_DUMMY_WRITE
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_write(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd)
{
	return do_access(mirror, cmd, true, false);
}
