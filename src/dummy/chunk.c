// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory: chunks of ZONE_DEVICE pages, and which of their pages are free.
 *
 * No CPU can reach a device-private page, and here is no device that could. So
 * each page in use is backed by an ordinary page, which holds its content. The
 * chunk has the table of these. A large device page is backed by a block of
 * ordinary ones if there is one, or by single pages. The kernel may split a large
 * device page without asking: its block is split when the first part is freed.
 *
 * A device-coherent page is memory that every CPU can reach: it holds its
 * content itself, and there are only single ones.
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/ioport.h>
#include <linux/memremap.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include <onewalk/pgmap.h>

#include "dummy.h"

/* How long RELEASE waits for a page that will not come back. */
#define RELEASE_PATIENCE	(10 * HZ)

/**
 * struct dummy_chunk - a stretch of device memory
 * @list: on &dummy_device.chunks
 * @device: whose it is
 * @pgmap: its struct pages
 * @resource: the physical addresses that they stand for
 * @npages: number of its pages
 * @next: no page before this one is free
 * @hand: the pages from here on are to be evicted next, if some have to be
 * @used: how many are in use
 * @fresh: how many of these the kernel does not know yet
 * @leaving: no page is taken from it any more
 * @map: one bit for each page in use
 * @backing: what backs each page in use; NULL for coherent memory
 * @blocks: one bit for each large page that is backed by a block
 * @scratch: for an eviction
 * @victims: likewise, which pages
 */
struct dummy_chunk {
	struct list_head	list;
	struct dummy_device	*device;
	struct dev_pagemap	pgmap;
	struct resource		*resource;
	unsigned long		npages;
	unsigned long		next;
	unsigned long		hand;
	unsigned long		used;
	atomic_long_t		fresh;
	bool			leaving;
	unsigned long		*map;
	struct page		**backing;
	unsigned long		*blocks;
	unsigned long		*scratch;
	unsigned long		*victims;
};

static struct dummy_chunk *page_chunk(const struct page *page)
{
	return container_of(page_pgmap(page), struct dummy_chunk, pgmap);
}

/**
 * dummy_chunk_backing() - where the content of a device page is
 * @page: a device-private page in use
 */
struct page *dummy_chunk_backing(struct page *page)
{
	return page_chunk(page)->backing[onewalk_pgmap_index(page)];
}

/**
 * dummy_backed_page() - the opposite of dummy_chunk_backing()
 * @backing: what dummy_chunk_backing() returned
 */
struct page *dummy_backed_page(struct page *backing)
{
	return (struct page *)page_private(backing);
}

/* A block is gone as such: all of it is freed, or it is split for a part of it. */
static bool end_block(struct dummy_chunk *chunk, unsigned long index,
		      unsigned long nr)
{
	unsigned long bit = index / DUMMY_PMD_NR;
	bool block;

	spin_lock(&chunk->device->lock);
	block = test_bit(bit, chunk->blocks);
	if (block && nr < DUMMY_PMD_NR)
		split_page(chunk->backing[bit * DUMMY_PMD_NR], DUMMY_PMD_ORDER);
	/* Who finds it cleared, without the lock, finds single pages. */
	if (block)
		clear_bit_unlock(bit, chunk->blocks);
	spin_unlock(&chunk->device->lock);
	return block && nr == DUMMY_PMD_NR;
}

static void free_backing(struct dummy_chunk *chunk, unsigned long index,
			 unsigned long nr)
{
	struct page *page;
	unsigned long i;

	if (!chunk->backing)
		return;
	page = chunk->backing[index];
	if (test_bit_acquire(index / DUMMY_PMD_NR, chunk->blocks) &&
	    end_block(chunk, index, nr)) {
		for (i = 0; i < nr; i++)
			set_page_private(page + i, 0);
		memset(chunk->backing + index, 0, nr * sizeof(page));
		__free_pages(page, DUMMY_PMD_ORDER);
		return;
	}
	for (i = index; i < index + nr && chunk->backing[i]; i++) {
		set_page_private(chunk->backing[i], 0);
		__free_page(chunk->backing[i]);
		chunk->backing[i] = NULL;
	}
}

/* Pages in a row if there are any, which is much quicker than one by one. */
static struct page *alloc_block(struct dummy_chunk *chunk, unsigned long index,
				unsigned long nr)
{
	struct page *block;

	if (nr < DUMMY_PMD_NR)
		return NULL;
	block = alloc_pages(GFP_HIGHUSER | __GFP_NOWARN | __GFP_NORETRY,
			    DUMMY_PMD_ORDER);
	if (!block)
		return NULL;
	spin_lock(&chunk->device->lock);
	set_bit(index / DUMMY_PMD_NR, chunk->blocks);
	spin_unlock(&chunk->device->lock);
	return block;
}

/*
 * Failing is harmless: the page stays where it is. So this does not send the
 * OOM killer out, which the caller, holding folio locks, could stand in the way.
 */
static bool alloc_backing(struct dummy_chunk *chunk, unsigned long index,
			  unsigned long nr, struct dummy_batch *batch)
{
	const gfp_t gfp = GFP_HIGHUSER | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;
	struct page *block;
	unsigned long i;

	if (!chunk->backing)
		return true;
	block = alloc_block(chunk, index, nr);
	for (i = index; i < index + nr; i++) {
		struct page *page = onewalk_pgmap_page(&chunk->pgmap, i);

		chunk->backing[i] = block ? block++ :
					    dummy_batch_take(batch, gfp);
		if (!chunk->backing[i]) {
			free_backing(chunk, index, nr);
			return false;
		}
		set_page_private(chunk->backing[i], (unsigned long)page);
	}
	return true;
}

/* The first of @nr free pages in a row, aligned to @nr, or something larger. */
static unsigned long find_free(const struct dummy_chunk *chunk,
			       unsigned long nr)
{
	if (nr == 1)
		return find_next_zero_bit(chunk->map, chunk->npages,
					  chunk->next);
	return bitmap_find_next_zero_area(chunk->map, chunk->npages, 0, nr,
					  nr - 1);
}

static bool take(struct dummy_chunk *chunk, unsigned long *index,
		 unsigned long nr)
{
	lockdep_assert_held(&chunk->device->lock);

	if (chunk->leaving || chunk->npages - chunk->used < nr)
		return false;
	*index = find_free(chunk, nr);
	if (*index >= chunk->npages)
		return false;

	if (nr == 1) {
		__set_bit(*index, chunk->map);
		chunk->next = *index + 1;
	} else {
		bitmap_set(chunk->map, *index, nr);
	}
	chunk->used += nr;
	atomic_long_add(nr, &chunk->fresh);
	chunk->device->used += nr;
	chunk->device->taken += nr;
	return true;
}

static struct dummy_chunk *take_any(struct dummy_device *device,
				    unsigned long *index, unsigned long nr)
{
	struct dummy_chunk *chunk;

	spin_lock(&device->lock);
	list_for_each_entry(chunk, &device->chunks, list)
		if (take(chunk, index, nr))
			goto out;
	chunk = NULL;
out:
	spin_unlock(&device->lock);
	return chunk;
}

static void give_back(struct dummy_chunk *chunk, unsigned long index,
		      unsigned long nr)
{
	lockdep_assert_held(&chunk->device->lock);

	if (nr == 1)
		__clear_bit(index, chunk->map);
	else
		bitmap_clear(chunk->map, index, nr);
	chunk->next = min(chunk->next, index);
	chunk->used -= nr;
	chunk->device->used -= nr;
}

/*
 * The kernel has left on the page what it knew of the one that was here, and
 * would take the next one for it: to be both in active use and locked in memory
 * is a bug that CONFIG_DEBUG_VM looks for. So when it is freed; and when a single
 * page is made of what was inside a large one, of which only the first is freed.
 */
static void forget_flags(struct folio *folio)
{
	folio_clear_dirty(folio);
	folio_clear_referenced(folio);
	folio_clear_workingset(folio);
	folio_clear_active(folio);
	folio_clear_unevictable(folio);
	folio_clear_reclaim(folio);
}

/* So has it where the page was locked in memory, and counted as that. */
static void forget_mlock(struct folio *folio)
{
	if (folio_test_clear_mlocked(folio))
		mod_zone_page_state(folio_zone(folio), NR_MLOCK,
				    -(long)folio_nr_pages(folio));
}

/**
 * dummy_chunk_alloc() - take a device page into use
 * @device: from whose memory
 * @order: 0 or DUMMY_PMD_ORDER
 * @batch: where what backs it comes from
 *
 * Return: a locked page with one reference; NULL when there is none.
 */
struct page *dummy_chunk_alloc(struct dummy_device *device, unsigned int order,
			       struct dummy_batch *batch)
{
	unsigned long nr = 1UL << order;
	struct dummy_chunk *chunk;
	unsigned long index;
	struct page *page;

	if (order && !dummy_has_large(device))
		return NULL;
	chunk = take_any(device, &index, nr);
	if (!chunk)
		return NULL;

	if (!alloc_backing(chunk, index, nr, batch)) {
		/* Without a page of it in use the chunk may go. */
		spin_lock(&device->lock);
		atomic_long_sub(nr, &chunk->fresh);
		give_back(chunk, index, nr);
		spin_unlock(&device->lock);
		return NULL;
	}

	/* page_folio() would follow what an earlier large page left there. */
	page = onewalk_pgmap_page(&chunk->pgmap, index);
	zone_device_folio_init((struct folio *)page, &chunk->pgmap, order);
	forget_flags((struct folio *)page);
	/* Who sees that it is not fresh any more sees what it is. */
	smp_mb__before_atomic();
	atomic_long_sub(nr, &chunk->fresh);
	return page;
}

/* Runs when the last reference is gone, also under a page table lock. */
static void chunk_free(struct folio *folio)
{
	struct page *page = folio_page(folio, 0);
	struct dummy_chunk *chunk = page_chunk(page);
	unsigned long index = onewalk_pgmap_index(page);
	unsigned long nr = folio_nr_pages(folio);

	forget_flags(folio);
	forget_mlock(folio);
	free_backing(chunk, index, nr);

	spin_lock(&chunk->device->lock);
	give_back(chunk, index, nr);
	spin_unlock(&chunk->device->lock);
}

ONEWALK_DEFINE_FOLIO_FREE(chunk_free);

static const struct dev_pagemap_ops chunk_ops = {
	ONEWALK_FOLIO_FREE(chunk_free),
	.migrate_to_ram = dummy_migrate_to_ram,
};

/**
 * dummy_chunks_have() - is there so much free device memory
 * @device: the device
 * @npages: how many pages
 * @large: a large page among them
 */
bool dummy_chunks_have(struct dummy_device *device, unsigned long npages,
		       bool large)
{
	struct dummy_chunk *chunk;
	unsigned long free = 0;
	bool found = !large;

	spin_lock(&device->lock);
	list_for_each_entry(chunk, &device->chunks, list) {
		if (chunk->leaving)
			continue;
		free += chunk->npages - chunk->used;
		if (!found)
			found = find_free(chunk, DUMMY_PMD_NR) < chunk->npages;
	}
	spin_unlock(&device->lock);
	return found && free >= npages;
}

/**
 * dummy_chunks_own() - is this the pfn of a page of the device's memory
 * @device: the device; &dummy_device.growth is held
 * @pfn: of any page, or of one that there was
 */
bool dummy_chunks_own(struct dummy_device *device, unsigned long pfn)
{
	struct dummy_chunk *chunk;

	lockdep_assert_held(&device->growth);

	list_for_each_entry(chunk, &device->chunks, list)
		if (pfn - PHYS_PFN(chunk->pgmap.range.start) < chunk->npages)
			return true;
	return false;
}

static void free_chunk(struct dummy_chunk *chunk)
{
	if (!chunk)
		return;
	kvfree(chunk->victims);
	kvfree(chunk->scratch);
	bitmap_free(chunk->blocks);
	kvfree(chunk->backing);
	bitmap_free(chunk->map);
	kfree(chunk);
}

static struct dummy_chunk *alloc_chunk(struct dummy_device *device,
				       unsigned long npages)
{
	struct dummy_chunk *chunk = kzalloc(sizeof(*chunk), GFP_KERNEL);
	bool backed = dummy_is_private(device);

	if (!chunk)
		return NULL;

	chunk->device = device;
	chunk->npages = npages;
	chunk->map = bitmap_zalloc(npages, GFP_KERNEL);
	chunk->blocks = bitmap_zalloc(npages / DUMMY_PMD_NR, GFP_KERNEL);
	if (backed)
		chunk->backing = kvcalloc(npages, sizeof(*chunk->backing),
					  GFP_KERNEL);
	/* Now, since an eviction must not fail for the want of it. */
	chunk->scratch = kvcalloc(ONEWALK_EVICT_SCRATCH,
				  sizeof(*chunk->scratch), GFP_KERNEL);
	chunk->victims = kvcalloc(DUMMY_PMD_NR, sizeof(*chunk->victims),
				  GFP_KERNEL);
	if (chunk->map && chunk->blocks && (chunk->backing || !backed) &&
	    chunk->scratch && chunk->victims)
		return chunk;

	free_chunk(chunk);
	return NULL;
}

/* Each chunk has addresses of its own. */
static int take_from_range(struct dummy_chunk *chunk, unsigned long bytes)
{
	struct resource *range = chunk->device->range;
	resource_size_t start;

	for (start = range->start; start + bytes - 1 <= range->end;
	     start += bytes) {
		chunk->resource = __request_region(range, start, bytes,
						   chunk->device->name, 0);
		if (chunk->resource)
			return 0;
	}
	return -ENOMEM;
}

static int reserve_addresses(struct dummy_chunk *chunk, unsigned long bytes)
{
	struct resource *resource;

	if (chunk->device->range)
		return take_from_range(chunk, bytes);

	/* Kernels without device-private memory may not export the next call. */
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		return -EOPNOTSUPP;

	resource = request_free_mem_region(&iomem_resource, bytes,
					   chunk->device->name);
	if (!IS_ERR(resource)) {
		chunk->resource = resource;
		return 0;
	}
	if (PTR_ERR(resource) == -ERANGE)
		pr_err("no %lu MiB of physical addresses are free for device memory: KASLR may have put the kernel's memory map in their place. Boot with nokaslr, boot again and hope for another layout, or load with a smaller size=\n",
		       bytes / SZ_1M);
	return PTR_ERR(resource);
}

static void release_addresses(struct dummy_chunk *chunk)
{
	struct resource *range = chunk->device->range;

	__release_region(range ? range : &iomem_resource,
			 chunk->resource->start, resource_size(chunk->resource));
}

/*
 * The kernel warns when it runs out of memory for struct pages. Tests that inject
 * such failures into a call mean what comes after that.
 */
static void *add_pages_unharmed(struct dev_pagemap *pgmap)
{
#ifdef CONFIG_FAULT_INJECTION
	unsigned int fail_nth = current->fail_nth;
	void *ret;

	current->fail_nth = 0;
	ret = memremap_pages(pgmap, numa_node_id());
	current->fail_nth = fail_nth;
	return ret;
#else
	return memremap_pages(pgmap, numa_node_id());
#endif
}

/**
 * dummy_chunk_device() - whose memory this is
 * @page: a page of any device's
 *
 * Return: the device, or NULL if it is none of this driver's.
 */
const struct dummy_device *dummy_chunk_device(const struct page *page)
{
	const struct dev_pagemap *pgmap = page_pgmap(page);

	if (!pgmap || pgmap->ops != &chunk_ops)
		return NULL;
	return container_of(pgmap, struct dummy_chunk, pgmap)->device;
}

static int map_chunk(struct dummy_chunk *chunk, unsigned long bytes)
{
	void *ret;
	int err;

	err = reserve_addresses(chunk, bytes);
	if (err)
		return err;

	/* The region may be larger than what was asked for. */
	chunk->pgmap.type = dummy_is_private(chunk->device) ?
		MEMORY_DEVICE_PRIVATE : MEMORY_DEVICE_COHERENT;
	chunk->pgmap.range.start = chunk->resource->start;
	chunk->pgmap.range.end = chunk->resource->start + bytes - 1;
	chunk->pgmap.nr_range = 1;
	chunk->pgmap.ops = &chunk_ops;
	chunk->pgmap.owner = dummy_owner(chunk->device);

	ret = add_pages_unharmed(&chunk->pgmap);
	if (!IS_ERR(ret))
		return 0;
	pr_err("%s: no struct pages for device memory: error %ld\n",
	       chunk->device->name, PTR_ERR(ret));
	release_addresses(chunk);
	return PTR_ERR(ret);
}

/**
 * dummy_chunks_grow() - add a chunk
 * @device: to whose memory; &dummy_device.growth is held
 *
 * Takes the memory hotplug lock: nothing may be held that mm code takes inside.
 */
int dummy_chunks_grow(struct dummy_device *device)
{
	unsigned long bytes = (unsigned long)dummy_size * SZ_1M;
	struct dummy_chunk *chunk;
	int ret;

	lockdep_assert_held(&device->growth);

	chunk = alloc_chunk(device, bytes >> PAGE_SHIFT);
	if (!chunk)
		return -ENOMEM;
	ret = map_chunk(chunk, bytes);
	if (ret) {
		free_chunk(chunk);
		return ret;
	}

	spin_lock(&device->lock);
	list_add_tail(&chunk->list, &device->chunks);
	device->total += chunk->npages;
	spin_unlock(&device->lock);
	return 0;
}

static void remove_chunk(struct dummy_chunk *chunk)
{
	struct dummy_device *device = chunk->device;

	spin_lock(&device->lock);
	list_del(&chunk->list);
	device->total -= chunk->npages;
	spin_unlock(&device->lock);

	memunmap_pages(&chunk->pgmap);
	release_addresses(chunk);
	free_chunk(chunk);
}

static unsigned long pages_used(struct dummy_chunk *chunk,
				unsigned long *fresh)
{
	unsigned long used;

	spin_lock(&chunk->device->lock);
	used = chunk->used;
	*fresh = atomic_long_read_acquire(&chunk->fresh);
	spin_unlock(&chunk->device->lock);
	return used;
}

static void set_leaving(struct dummy_chunk *chunk, bool leaving)
{
	spin_lock(&chunk->device->lock);
	chunk->leaving = leaving;
	spin_unlock(&chunk->device->lock);
}

/*
 * Bring every page of a chunk back to system memory. Before 6.15 a
 * device-exclusive entry does not count as a mapping: such a page stays until the
 * process touches it, or ends.
 *
 * A page may be locked, or have a reference too many, while a fault or another
 * migration looks at it; so this takes several rounds. Nothing is evicted while
 * a page is fresh, and not yet what it will be.
 */
static int empty_chunk(struct dummy_chunk *chunk, bool killable)
{
	unsigned long used, fresh, last = ULONG_MAX;
	unsigned long deadline = 0;

	set_leaving(chunk, true);
	while ((used = pages_used(chunk, &fresh))) {
		if (killable && fatal_signal_pending(current))
			return -EINTR;
		if (used < last) {
			last = used;
			deadline = jiffies + RELEASE_PATIENCE;
		} else if (time_after(jiffies, deadline)) {
			pr_warn("%s: %lu pages of device memory are in use and do not come back\n",
				chunk->device->name, used);
			if (killable)
				return -EBUSY;
			deadline = jiffies + RELEASE_PATIENCE;
		}
		if (!fresh)
			dummy_evict_pgmap(&chunk->pgmap, chunk->scratch,
					  killable);
		if (pages_used(chunk, &fresh) < used)
			continue;
		dummy_drain();
		usleep_range(500, 2000);
	}
	return 0;
}

/*
 * Where to begin: at the hand, which goes round all chunks. So the next one to
 * look at is always the first.
 */
static struct dummy_chunk *next_chunk(struct dummy_device *device)
{
	struct dummy_chunk *chunk;

	lockdep_assert_held(&device->lock);

	chunk = list_first_entry(&device->chunks, struct dummy_chunk, list);
	if (chunk->hand < chunk->npages)
		return chunk;
	chunk->hand = 0;
	list_move_tail(&chunk->list, &device->chunks);
	return list_first_entry(&device->chunks, struct dummy_chunk, list);
}

/*
 * Pages in use from the hand on, up to @npages; or all of them where one large
 * page would have room.
 */
static unsigned long pick(struct dummy_chunk *chunk, unsigned long npages,
			  bool large)
{
	unsigned long end = chunk->npages, n = 0;

	lockdep_assert_held(&chunk->device->lock);

	if (large) {
		chunk->hand = ALIGN_DOWN(chunk->hand, DUMMY_PMD_NR);
		end = chunk->hand + DUMMY_PMD_NR;
		npages = DUMMY_PMD_NR;
	}
	npages = min(npages, DUMMY_PMD_NR);
	while (n < npages) {
		chunk->hand = find_next_bit(chunk->map, end, chunk->hand);
		if (chunk->hand >= end)
			break;
		chunk->victims[n++] = PHYS_PFN(chunk->pgmap.range.start) +
				      chunk->hand++;
	}
	if (large)
		chunk->hand = end;
	return n;
}

/**
 * dummy_chunks_evict() - bring some pages back to system memory
 * @device: whose; it has memory, and &dummy_device.growth is held
 * @npages: how many at least, if there are so many where the hand is
 * @large: such that there is room for a large page
 *
 * Those that are fresh are left alone, and so may be others. All of a large page
 * goes if some of it does.
 *
 * Return: how many came back.
 */
unsigned long dummy_chunks_evict(struct dummy_device *device,
				 unsigned long npages, bool large)
{
	struct dummy_chunk *chunk;
	unsigned long n;

	lockdep_assert_held(&device->growth);

	spin_lock(&device->lock);
	chunk = next_chunk(device);
	n = pick(chunk, npages, large);
	spin_unlock(&device->lock);
	return dummy_evict_pages(chunk->victims, n, chunk->scratch);
}

/**
 * dummy_chunks_release() - unplug the device's memory
 * @device: the device; &dummy_device.growth is held
 *
 * Return: 0; or -EINTR or -EBUSY, with some of the memory still there and usable.
 */
int dummy_chunks_release(struct dummy_device *device)
{
	struct dummy_chunk *chunk, *next;
	int ret;

	lockdep_assert_held(&device->growth);

	list_for_each_entry_safe(chunk, next, &device->chunks, list) {
		ret = empty_chunk(chunk, true);
		if (ret) {
			set_leaving(chunk, false);
			return ret;
		}
		remove_chunk(chunk);
	}
	return 0;
}

/**
 * dummy_chunks_remove() - the module goes, and its device memory with it
 * @device: the device, which nobody can open any more
 *
 * Does not give up: processes may still have pages there, and nothing that they
 * could be left with.
 */
void dummy_chunks_remove(struct dummy_device *device)
{
	struct dummy_chunk *chunk, *next;

	mutex_lock(&device->growth);
	list_for_each_entry_safe(chunk, next, &device->chunks, list) {
		empty_chunk(chunk, false);
		remove_chunk(chunk);
	}
	mutex_unlock(&device->growth);
}
