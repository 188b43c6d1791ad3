// SPDX-License-Identifier: GPL-2.0
/*
 * Pinning for long: device memory must stay its device's to take back, so pages
 * of it move to system memory first. The kernel pins, finds them, and moves them
 * one at a time, in a round of draining, letting go and pinning again. Here those
 * of a page table move together, before the kernel looks, and it pins the rest.
 *
 * What cannot move now, or comes back to a device in between, is left to the
 * kernel: what is pinned in the end is as it says.
 */
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/mempolicy.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "onewalk.h"

/* Pages that move together: those of a page table. */
#define BATCH	ONEWALK_PMD_NR

/**
 * struct pinning - one call
 * @pin: the caller's
 * @pinned: how many of its pages are pinned
 * @src: migrate pfns of the pages that move together
 * @dst: their destinations
 */
struct pinning {
	struct onewalk_pin	*pin;
	unsigned long		pinned;
	unsigned long		*src;
	unsigned long		*dst;
};

/*
 * As the driver wants, or where the process would have got it. Movable, it would
 * have to move again.
 */
static struct page *alloc_destination(struct onewalk_pin *pin,
				      struct vm_area_struct *vma,
				      unsigned long addr)
{
	struct page *page;

	if (pin->alloc)
		return pin->alloc(pin, vma, addr);
	page = alloc_page_vma(GFP_USER | __GFP_NOWARN, vma, addr);
	if (page)
		lock_page(page);
	return page;
}

/* A CPU can reach both. */
static int copy_all(const struct pinning *pinning,
		    struct onewalk_migrate *migrate)
{
	unsigned long i, addr = migrate->start;
	struct page *page;

	for (i = 0; i < migrate->npages; i++, addr += PAGE_SIZE) {
		if (!(migrate->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		page = alloc_destination(pinning->pin, migrate->vma, addr);
		if (!page)
			return -ENOMEM;
		copy_highpage(page, migrate_pfn_to_page(migrate->src[i]));
		migrate->dst[i] = migrate_pfn(page_to_pfn(page));
		cond_resched();
	}
	return 0;
}

static unsigned long count_moved(const struct onewalk_migrate *migrate)
{
	unsigned long i, moved = 0;

	for (i = 0; i < migrate->npages; i++)
		moved += !!(migrate->src[i] & MIGRATE_PFN_MIGRATE);
	return moved;
}

/*
 * Unless there is a destination for each, nothing moves: what was prepared goes
 * back, and the destinations that there were are freed.
 */
static int move_out(const struct pinning *pinning, struct vm_area_struct *vma,
		    unsigned long start, unsigned long end)
{
	struct onewalk_migrate migrate = {
		.vma = vma,
		.src = pinning->src,
		.dst = pinning->dst,
		.start = start,
		.end = end,
		.flags = ONEWALK_MIGRATE_SELECT_DEVICE_COHERENT,
	};
	int ret = onewalk_pin_setup(&migrate);

	/* A special VMA, or pages that keep vanishing: left to the kernel. */
	if (ret)
		return ret == -EINVAL || ret == -EBUSY ? 0 : ret;
	/* The usual case. Holes are not offered: nothing is prepared. */
	if (!migrate.cpages)
		return 0;

	ret = copy_all(pinning, &migrate);
	if (!ret) {
		onewalk_migrate_pages(&migrate);
		pinning->pin->moved += count_moved(&migrate);
	}
	onewalk_migrate_finalize(&migrate);
	return ret;
}

/* Up to where nothing is mapped: there it ends. */
static int move_all_out(const struct pinning *pinning, unsigned long start,
			unsigned long end)
{
	struct vm_area_struct *vma;
	unsigned long next;
	int ret = 0;

	for (; start < end && !ret; start = next) {
		vma = vma_lookup(pinning->pin->mm, start);
		if (!vma)
			break;
		next = min(end, vma->vm_end);
		ret = move_out(pinning, vma, start, next);
	}
	return ret;
}

static long pin_locked(const struct pinning *pinning, unsigned long start,
		       unsigned long end)
{
	const struct onewalk_pin *pin = pinning->pin;
	long ret = move_all_out(pinning, start, end);

	if (ret)
		return ret;
	ret = pin_user_pages_remote(pin->mm, start, (end - start) >> PAGE_SHIFT,
				    pin->gup_flags | FOLL_LONGTERM,
				    pin->pages + pinning->pinned, NULL);
	return ret ? ret : -EFAULT;
}

/*
 * What is left in a page table, in one hold of the mmap lock: neither fork() nor
 * munmap() comes in between, and somebody who waits for it does not wait long.
 */
static int pin_more(struct pinning *pinning)
{
	const struct onewalk_pin *pin = pinning->pin;
	unsigned long start = pin->start + (pinning->pinned << PAGE_SHIFT);
	unsigned long end = pin->start + (pin->npages << PAGE_SHIFT);
	long ret;

	if (fatal_signal_pending(current))
		return -EINTR;
	ret = mmap_read_lock_killable(pin->mm);
	if (ret)
		return ret;
	ret = pin_locked(pinning, start, pmd_addr_end(start, end));
	mmap_read_unlock(pin->mm);
	if (ret < 0)
		return ret;
	pinning->pinned += ret;
	return 0;
}

static int check_pin(const struct onewalk_pin *pin)
{
	const unsigned int flags = FOLL_WRITE | FOLL_FORCE | FOLL_LONGTERM;

	if (!pin || !pin->mm || !pin->pages || (pin->gup_flags & ~flags))
		return -EINVAL;
	if (!PAGE_ALIGNED(pin->start) || !pin->npages ||
	    pin->npages > (ULONG_MAX - pin->start) >> PAGE_SHIFT)
		return -EINVAL;
	return 0;
}

/**
 * onewalk_pin_longterm() - pin pages for long, device-coherent ones moved first
 * @pin: what to pin; &onewalk_pin.moved is out
 *
 * The result is that of pin_user_pages_remote() with FOLL_LONGTERM: pages that may
 * not be pinned for long have become others, missing ones are faulted in, and
 * what fork() shares becomes the process's own. But device-coherent pages, of
 * whatever device, leave it together, those of a page table at a time, each with
 * the devices' page tables being told by MMU_NOTIFY_MIGRATE or MMU_NOTIFY_CLEAR
 * without an owner. As there, missing pages of a range that userfaultfd watches
 * are an error, and to charge pages against RLIMIT_MEMLOCK is the caller's.
 *
 * Context: Process context; may sleep. The caller holds a reference to the
 * process's memory (mmget_not_zero()). It holds neither the mmap lock, which is
 * taken for reading, nor anything that a notifier callback takes.
 *
 * Return: 0 when all pages are in &onewalk_pin.pages, to be let go of with
 * unpin_user_pages(); or an error, after which none is pinned, and those that
 * moved are where they are:
 *
 * * -EINVAL: something is NULL that must not be, the range is unaligned, empty or
 *   wrapped, or &onewalk_pin.gup_flags has others than are listed there.
 * * -ENOMEM: there was no memory, or no destination for some page.
 * * -EINTR: a fatal signal is pending.
 * * -EFAULT, -EBUSY and others: as pin_user_pages_remote(). -EBUSY may pass:
 *   somebody else has a reference to a page just now, such as another pin.
 */
int onewalk_pin_longterm(struct onewalk_pin *pin)
{
	struct pinning pinning = { .pin = pin };
	int ret = check_pin(pin);

	if (pin)
		pin->moved = 0;
	if (ret)
		return ret;

	pinning.src = kmalloc_array(2 * BATCH, sizeof(*pinning.src),
				    GFP_KERNEL);
	if (!pinning.src)
		return -ENOMEM;
	pinning.dst = pinning.src + BATCH;

	while (!ret && pinning.pinned < pin->npages) {
		ret = pin_more(&pinning);
		cond_resched();
	}
	if (ret)
		unpin_user_pages(pin->pages, pinning.pinned);
	kfree(pinning.src);
	return ret;
}
EXPORT_SYMBOL_GPL(onewalk_pin_longterm);
