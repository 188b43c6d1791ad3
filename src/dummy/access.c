// SPDX-License-Identifier: GPL-2.0
/*
 * The device reads and writes the process's memory, through its own page table.
 */
#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/minmax.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dummy.h"

/* Memory of memfd_secret() is not in the kernel's own page table. */
static bool is_secret(struct page *page)
{
	struct folio *folio = page_folio(page);
	const void *kaddr;
	unsigned long word;
	bool secret;

	if (!folio->mapping || folio_test_anon(folio))
		return false;
	kaddr = kmap_local_page(page);
	secret = copy_from_kernel_nofault(&word, kaddr, sizeof(word));
	kunmap_local(kaddr);
	return secret;
}

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
		if (!(want & ONEWALK_DUMMY_MAPPED_DEVICE) && is_secret(page))
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
 * @want: ONEWALK_DUMMY_MAPPED_READ from memory to the buffer, or MAPPED_WRITE
 * @unlocked: the mmap lock is dropped while faulting
 * @faulted: where the last fault ended
 * @bounce: the buffer
 * @start: user address of its first page
 * @npages: how many pages are in it
 * @done: which of them the device has accessed
 */
struct access {
	struct dummy_mirror		*mirror;
	struct onewalk_dummy_cmd	*cmd;
	u8				want;
	bool				unlocked;
	unsigned long			faulted;
	void				*bounce;
	unsigned long			start;
	unsigned long			npages;
	DECLARE_BITMAP(done, DUMMY_WINDOW);
};

static unsigned long npages_done(const struct access *access)
{
	return find_first_zero_bit(access->done, access->npages);
}

/* Under &dummy_mirror.lock. Once only, however often the device faults. */
static int access_page(unsigned long addr, void *data)
{
	struct access *access = data;
	struct dummy_mirror *mirror = access->mirror;
	void *buffer = access->bounce + (addr - access->start);
	unsigned long i = (addr - access->start) >> PAGE_SHIFT;
	struct page *page = dummy_mapped_page(mirror, addr, access->want);

	if (!page || test_bit(i, access->done))
		return 0;
	if (is_secret(page))
		return -EFAULT;

	if (access->want & ONEWALK_DUMMY_MAPPED_WRITE) {
		memcpy_to_page(page, 0, buffer, PAGE_SIZE);
		mark_dirty(mirror->device, page, dummy_access(mirror, addr));
	} else {
		memcpy_from_page(buffer, page, 0, PAGE_SIZE);
	}
	__set_bit(i, access->done);
	return 0;
}

/* Up to the first page that is not mapped so. */
static int access_mapped(struct access *access)
{
	unsigned long i;
	int ret = 0;

	mutex_lock(&access->mirror->lock);
	for (i = 0; i < access->npages && npages_done(access) == i && !ret; i++)
		ret = access_page(access->start + (i << PAGE_SHIFT), access);
	mutex_unlock(&access->mirror->lock);
	return ret;
}

/*
 * The device faults for all that is left, and accesses what that brings in
 * before it can go again.
 */
static int fault_rest(struct access *access)
{
	unsigned long addr = access->start + (npages_done(access) << PAGE_SHIFT);
	unsigned long end = access->start + (access->npages << PAGE_SHIFT);
	bool write = access->want & ONEWALK_DUMMY_MAPPED_WRITE;
	int ret;

	if (access->unlocked)
		ret = dummy_fault_unlocked(access->mirror, addr, end,
					   access_page, access);
	else
		ret = dummy_fault(access->mirror, addr, end, write, access_page,
				  access);
	if (ret)
		return ret;

	if (addr > access->faulted)
		access->cmd->faults++;
	access->faulted = end;
	return 0;
}

static int access_chunk(struct access *access)
{
	int ret = access_mapped(access);

	while (!ret && npages_done(access) < access->npages) {
		ret = fault_rest(access);
		if (access->unlocked)
			continue;
		/* Nothing can have come between fault and access. */
		if (WARN_ON_ONCE(!ret && npages_done(access) < access->npages))
			return -EIO;
	}
	return ret;
}

static int access_all(struct access *access)
{
	struct onewalk_dummy_cmd *cmd = access->cmd;
	bool write = access->want & ONEWALK_DUMMY_MAPPED_WRITE;
	void __user *ptr;
	int ret = 0;

	for (; cmd->cpages < cmd->npages && !ret; cmd->cpages += npages_done(access)) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();

		ptr = u64_to_user_ptr(cmd->ptr + (cmd->cpages << PAGE_SHIFT));
		access->start = cmd->addr + (cmd->cpages << PAGE_SHIFT);
		access->npages = min_t(u64, DUMMY_WINDOW,
				       cmd->npages - cmd->cpages);
		bitmap_zero(access->done, DUMMY_WINDOW);
		if (write && copy_from_user(access->bounce, ptr,
					    access->npages << PAGE_SHIFT))
			return -EFAULT;
		ret = access_chunk(access);
		if (!write && copy_to_user(ptr, access->bounce,
					   npages_done(access) << PAGE_SHIFT))
			return -EFAULT;
	}
	return ret;
}

static int do_access(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd,
		     u8 want, bool unlocked)
{
	struct access access = {
		.mirror = mirror,
		.cmd = cmd,
		.want = want,
		.unlocked = unlocked,
	};
	int ret;

	access.bounce = kvmalloc(min_t(u64, DUMMY_WINDOW, cmd->npages) << PAGE_SHIFT,
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
	return do_access(mirror, cmd, ONEWALK_DUMMY_MAPPED_READ, false);
}

/**
 * dummy_read_unlocked() - ONEWALK_DUMMY_READ_UNLOCKED
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_read_unlocked(struct dummy_mirror *mirror,
			struct onewalk_dummy_cmd *cmd)
{
	return do_access(mirror, cmd, ONEWALK_DUMMY_MAPPED_READ, true);
}

/**
 * dummy_write() - ONEWALK_DUMMY_WRITE
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_write(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd)
{
	return do_access(mirror, cmd, ONEWALK_DUMMY_MAPPED_WRITE, false);
}
