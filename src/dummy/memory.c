// SPDX-License-Identifier: GPL-2.0
/*
 * Where the pages come from: the device's memory, whatever it is, and the
 * system's.
 */
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/mempolicy.h>
#include <linux/memremap.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include <dummy_compat.h>
#include <onewalk/pgmap.h>

#include "dummy.h"

/**
 * dummy_backing() - the page that holds the content of a page
 * @page: a page that a CPU can read, or a device-private one of this driver
 */
struct page *dummy_backing(struct page *page)
{
	return is_device_private_page(page) ? dummy_chunk_backing(page) : page;
}

/**
 * dummy_is_own() - is this a page of the device's memory
 * @device: the device; with memory=system no page is
 * @page: any page that is mapped
 */
bool dummy_is_own(const struct dummy_device *device, const struct page *page)
{
	if (!is_device_private_page(page) && !is_device_coherent_page(page))
		return false;
	return dummy_chunk_device(page) == device;
}

/**
 * dummy_owner() - what the kernel and onewalk know the device's memory by
 * @device: the device
 */
void *dummy_owner(struct dummy_device *device)
{
	return READ_ONCE(dummy_shared_owner) ? &dummy_shared_owner :
					       (void *)device;
}

/**
 * dummy_select() - what a migration off the device selects
 * @device: the device
 *
 * Return: ONEWALK_MIGRATE_SELECT_*.
 */
unsigned long dummy_select(const struct dummy_device *device)
{
	switch (device->memory) {
	case ONEWALK_DUMMY_MEMORY_PRIVATE:
		return ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE;
	case ONEWALK_DUMMY_MEMORY_COHERENT:
		return ONEWALK_MIGRATE_SELECT_DEVICE_COHERENT;
	default:
		return ONEWALK_MIGRATE_SELECT_SYSTEM;
	}
}

/*
 * Device-private memory is backed by the system's, so there is no point in more;
 * the coherent one ends with the addresses that it was given.
 */
static bool may_grow(const struct dummy_device *device, unsigned int limit)
{
	unsigned long next = (unsigned long)dummy_size << (20 - PAGE_SHIFT);

	if (limit && device->total + next > (unsigned long)limit << (20 - PAGE_SHIFT))
		return false;
	return device->total < totalram_pages();
}

/*
 * Others take what is freed meanwhile, and a page may be locked or looked at: so
 * this goes on for a while. What is asked for and could not be had even if the
 * device were empty is not waited for.
 */
static int make_room(struct dummy_device *device, unsigned long npages,
		     bool large)
{
	unsigned long deadline = jiffies + DUMMY_PATIENCE;
	int ret = -ENOMEM;

	npages = min(npages, device->total);
	while (!dummy_chunks_have(device, npages, large)) {
		if (dummy_expired(deadline, &ret))
			return ret;
		if (dummy_chunks_evict(device, npages, large))
			continue;
		dummy_drain();
		usleep_range(100, 1000);
	}
	return 0;
}

/**
 * dummy_memory_reserve() - see to it that there is free device memory
 * @device: the device
 * @npages: how many pages will be needed
 * @large: a large page among them, if it has such
 *
 * A device that has as much as it may have evicts some of its pages in turn.
 *
 * It is not set aside: somebody else may take it first. To be called with
 * nothing held, since new struct pages take the memory hotplug lock.
 */
int dummy_memory_reserve(struct dummy_device *device, unsigned long npages,
			 bool large)
{
	unsigned int limit = READ_ONCE(dummy_limit);
	int ret = 0;

	large &= dummy_has_large(device);
	if (!dummy_has_memory(device) ||
	    dummy_chunks_have(device, npages, large))
		return 0;
	if (mutex_lock_killable(&device->growth))
		return -EINTR;

	while (!ret && may_grow(device, limit) &&
	       !dummy_chunks_have(device, npages, large))
		ret = dummy_chunks_grow(device);
	if (!dummy_chunks_have(device, npages, large))
		ret = limit && device->total ?
			make_room(device, npages, large) : ret ?: -ENOMEM;

	mutex_unlock(&device->growth);
	return ret;
}

/**
 * dummy_batch_take() - an ordinary page
 * @batch: from here, all with the same @gfp
 * @gfp: how to allocate it
 *
 * To allocate one by one costs more than all that onewalk does to migrate a page.
 */
struct page *dummy_batch_take(struct dummy_batch *batch, gfp_t gfp)
{
	unsigned long n = min(batch->wanted, ARRAY_SIZE(batch->pages));
	struct page *page;

	if (!batch->nr && n > 1)
		batch->nr = alloc_pages_bulk(gfp, n, batch->pages);
	if (batch->wanted)
		batch->wanted--;
	if (!batch->nr)
		return alloc_page(gfp);
	page = batch->pages[--batch->nr];
	batch->pages[batch->nr] = NULL;
	return page;
}

/**
 * dummy_batch_end() - give back what was not taken
 * @batch: the batch
 */
void dummy_batch_end(struct dummy_batch *batch)
{
	while (batch->nr)
		__free_page(batch->pages[--batch->nr]);
}

/* Somebody has said where the memory of this task, or this VMA, is to be. */
static bool has_policy(const struct vm_area_struct *vma)
{
#ifdef CONFIG_NUMA
	return vma_policy(vma) || current->mempolicy;
#else
	return false;
#endif
}

static struct page *ordinary_page(gfp_t gfp, unsigned int order)
{
	struct folio *folio = folio_alloc(gfp, order);

	if (!folio)
		return NULL;
	folio_lock(folio);
	return folio_page(folio, 0);
}

/**
 * dummy_memory_alloc() - a page of device memory
 * @device: of which device
 * @order: 0 or DUMMY_PMD_ORDER
 * @batch: what backs it may come from here
 *
 * Return: a locked page with one reference, of which dummy_backing() may be
 * written; NULL when there is none.
 */
struct page *dummy_memory_alloc(struct dummy_device *device, unsigned int order,
				struct dummy_batch *batch)
{
	struct page *page;

	if (dummy_has_memory(device))
		return dummy_chunk_alloc(device, order, batch);

	page = ordinary_page(GFP_HIGHUSER_MOVABLE | __GFP_NOWARN |
			     __GFP_RETRY_MAYFAIL, order);
	if (!page)
		return NULL;
	spin_lock(&device->lock);
	device->taken += 1UL << order;
	spin_unlock(&device->lock);
	return page;
}

/**
 * dummy_system_alloc() - a page of system memory for what leaves the device
 * @vma: where it will be mapped; NULL when that is not known
 * @addr: the address in it
 * @order: 0 or DUMMY_PMD_ORDER
 * @batch: with a @vma: where it may come from
 *
 * With a @vma there is another way when there is no large page, so that one is
 * not fought for.
 *
 * Return: a locked page with one reference; NULL when there is none.
 */
struct page *dummy_system_alloc(struct vm_area_struct *vma,
				unsigned long addr, unsigned int order,
				struct dummy_batch *batch)
{
	struct page *page;

	if (!vma)
		return ordinary_page(GFP_HIGHUSER_MOVABLE | __GFP_NOWARN |
				     __GFP_RETRY_MAYFAIL, order);
	if (order)
		return ordinary_page(GFP_HIGHUSER_MOVABLE | __GFP_NOWARN |
				     __GFP_NORETRY, order);

	page = has_policy(vma) ?
		alloc_page_vma(GFP_HIGHUSER_MOVABLE, vma, addr) :
		dummy_batch_take(batch, GFP_HIGHUSER_MOVABLE);
	if (page)
		lock_page(page);
	return page;
}

/**
 * dummy_page_free() - give back a destination that nothing was moved to
 * @page: as one of the above returned it
 */
void dummy_page_free(struct page *page)
{
	unlock_page(page);
	put_page(page);
}
