/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault in and migrate a process's memory to a device in one page table walk.
 */
#ifndef _ONEWALK_ONEWALK_H
#define _ONEWALK_ONEWALK_H

#include <linux/mm.h>
#include <linux/migrate.h>
#include <linux/mmu_notifier.h>

#include <onewalk/abi.h>
#include <onewalk/status.h>

#ifndef MIGRATE_PFN_COMPOUND
/* Kernels before 6.19 do not migrate large folios whole: never set there. */
#define MIGRATE_PFN_COMPOUND	BIT(4)
#endif

/**
 * DOC: Overview
 *
 * A device that shares a process's address space takes a fault on an address.
 * Its driver wants the page there present, and most often it wants the page in
 * the device's own memory. With the kernel alone these are two jobs and two or
 * three page table walks: hmm_range_fault() makes the page present, and
 * migrate_vma_setup() collects it, or finds a hole and has to be called again.
 *
 * Here it is one call. onewalk_range_fault() reports what is mapped, faults in
 * exactly the pages that are asked for and missing, and prepares for migration
 * those that are asked for; onewalk_migrate_range_setup() then isolates and
 * unmaps them. onewalk_migrate_setup() does both for a caller that starts from
 * a VMA and wants no report, as migrate_vma_setup() does. From there on things
 * go on as they do in the kernel: the driver allocates and copies,
 * onewalk_migrate_pages(), the driver maps, onewalk_migrate_finalize(). The
 * kernel's functions of the same names will not do in their place.
 *
 * A page that does not come along gets a reason, see &enum onewalk_status.
 */

/**
 * DOC: Locking
 *
 * The caller holds a reference to the process's memory (mmget_not_zero() on the
 * notifier's mm, or the process is its own) from before the first call until
 * after the last: an interval notifier alone does not keep the memory of a
 * process that exits.
 *
 * The mmap lock is held for reading or writing, without a gap, from
 * onewalk_range_fault() or onewalk_migrate_setup() through
 * onewalk_migrate_finalize(). Between setup and finalize the caller holds the
 * folio lock of every page that is migrating: it must not fault, wait for
 * another folio's lock, or call mmu_interval_read_begin() there.
 *
 * A driver's &mmu_interval_notifier_ops.invalidate callback may run inside
 * these calls, in the calling task. It must not take a lock that the driver
 * holds across them, nor wait for another of these calls. In all cases it drops
 * the device's mappings of the range.
 * Then it asks onewalk_is_own_invalidate(): true means that this invalidation
 * is part of a migration that this task itself is doing for this notifier. The
 * caller of that migration knows, so the callback leaves the sequence number
 * alone; bumping it would make a migration of pages shared by fork() report an
 * invalidation at every attempt. In every other case the callback calls
 * mmu_interval_set_seq(), for MMU_NOTIFY_MIGRATE with the driver's own owner
 * too: it may come from another thread or another open of the device.
 *
 * Since a driver's own migration does not move the sequence number, a driver in
 * which several threads serve one notifier keeps a migration (sequence read to
 * finalize) apart from other threads' faults (sequence read to commit) with a
 * lock of its own. An rw_semaphore does, which faults take for reading.
 *
 * In &dev_pagemap_ops.migrate_to_ram the mmap lock is held already, so no such
 * lock may be taken: there &onewalk_migrate.notifier stays NULL, and every
 * invalidation moves the sequence number.
 */

/**
 * DOC: Example
 *
 * A fault handler that brings one window to the device::
 *
 *	int my_fault(struct my_mirror *m, unsigned long start, unsigned long end)
 *	{
 *		struct onewalk_migrate migrate = {
 *			.src = m->src, .dst = m->dst, .pgmap_owner = m->dev,
 *			.flags = ONEWALK_MIGRATE_SELECT_SYSTEM,
 *		};
 *		struct onewalk_range range = {
 *			.notifier = &m->notifier, .start = start, .end = end,
 *			.hmm_pfns = m->pfns, .dev_private_owner = m->dev,
 *			.default_flags = ONEWALK_PFN_REQ_FAULT |
 *					 ONEWALK_PFN_REQ_MIGRATE,
 *			.migrate = &migrate,
 *		};
 *		int ret;
 *
 *		if (!mmget_not_zero(m->mm))
 *			return -EFAULT;
 *		down_write(&m->service);
 *		do {
 *			range.notifier_seq = mmu_interval_read_begin(range.notifier);
 *			mmap_read_lock(m->mm);
 *			ret = onewalk_range_fault(&range);
 *			if (ret)
 *				mmap_read_unlock(m->mm);
 *		} while (ret == -EBUSY);	// bound this
 *		if (ret)
 *			goto out;
 *		onewalk_migrate_range_setup(&range);
 *		my_alloc_and_copy(m, &migrate);	// fills migrate.dst[]
 *		onewalk_migrate_pages(&migrate);
 *		mutex_lock(&m->page_table_lock);
 *		if (!mmu_interval_read_retry(range.notifier, range.notifier_seq))
 *			my_map(m, &migrate);
 *		mutex_unlock(&m->page_table_lock);
 *		onewalk_migrate_finalize(&migrate);
 *		mmap_read_unlock(m->mm);
 *	out:
 *		up_write(&m->service);
 *		mmput(m->mm);
 *		return ret;
 *	}
 */

/**
 * DOC: Peers
 *
 * A device-private page of another device is of no use to most devices: a fault
 * that asks for it brings it back to system memory first. Two devices with a link
 * between them can do better. The driver says which pages its device reaches, and
 * these are reported where they are; with ONEWALK_MIGRATE_SELECT_DEVICE_P2P they
 * migrate from device to device::
 *
 *	struct my_device {
 *		struct onewalk_p2p p2p;
 *		struct my_link *link;
 *	};
 *
 *	static bool my_allow(const struct onewalk_p2p *p2p, struct page *page)
 *	{
 *		struct my_device *dev = container_of(p2p, struct my_device, p2p);
 *
 *		return my_page_device(page) == dev ||
 *		       my_linked(dev->link, my_page_device(page));
 *	}
 *
 *	static const struct onewalk_p2p_ops my_p2p_ops = { .allow = my_allow };
 *
 *	range.p2p = &dev->p2p;
 *	migrate.flags |= ONEWALK_MIGRATE_SELECT_DEVICE_P2P;
 *
 * The page's own device learns of a migration as of any other invalidation, by
 * MMU_NOTIFY_MIGRATE with the owner of the device that takes the page. So a driver
 * whose devices share an owner must not ignore every MMU_NOTIFY_MIGRATE that has
 * it: onewalk_is_own_invalidate() tells which is the notifier's own.
 */

/**
 * DOC: Eviction
 *
 * A device whose memory is full has to part with something. What it would like to
 * have free it knows by its pages alone: who maps them, and where, is the kernel's
 * business. Nothing of a process is held or needed, and the mirror of a process
 * whose pages go learns of it by its notifier, as of any other invalidation::
 *
 *	struct my_eviction {
 *		struct onewalk_evict evict;
 *		struct my_engine *engine;
 *	};
 *
 *	static struct page *my_alloc(struct onewalk_evict *evict,
 *				     struct page *src, unsigned int order)
 *	{
 *		struct folio *folio = folio_alloc(GFP_HIGHUSER_MOVABLE, order);
 *
 *		if (!folio)
 *			return NULL;
 *		folio_lock(folio);
 *		return folio_page(folio, 0);
 *	}
 *
 *	static int my_copy(struct onewalk_evict *evict, const unsigned long *src,
 *			   const unsigned long *dst, unsigned long npages)
 *	{
 *		struct my_eviction *e = container_of(evict, struct my_eviction,
 *						     evict);
 *		unsigned long i;
 *
 *		for (i = 0; i < npages; i++)
 *			if ((src[i] & MIGRATE_PFN_MIGRATE) && dst[i])
 *				my_queue_copy(e->engine,
 *					      migrate_pfn_to_page(dst[i]),
 *					      migrate_pfn_to_page(src[i]),
 *					      src[i] & MIGRATE_PFN_COMPOUND);
 *		return my_wait(e->engine);
 *	}
 *
 *	static const struct onewalk_evict_ops my_evict_ops = {
 *		.alloc = my_alloc,
 *		.copy = my_copy,
 *	};
 *
 *	int my_make_room(struct my_device *dev, unsigned long npages)
 *	{
 *		struct my_eviction e = {
 *			.evict.ops = &my_evict_ops,
 *			.evict.scratch = dev->scratch,	// for this time
 *			.evict.killable = true,
 *			.engine = dev->engine,
 *		};
 *		unsigned long n;
 *		int ret = -ENOMEM;
 *
 *		while (my_free_pages(dev) < npages && !my_expired(dev)) {
 *			n = my_least_recently_used(dev, dev->victims, npages);
 *			ret = onewalk_evict_pages(&e.evict, dev->victims, n);
 *			if (ret == -EINTR)
 *				break;
 *		}
 *		return my_free_pages(dev) < npages ? ret : 0;
 *	}
 *
 * &onewalk_evict.evicted counts pages that have left the device; they are free
 * when their last reference goes, which is then or a moment later. A victim may
 * have been freed, and be in use for something else, by the time that it is
 * evicted: then that is what comes back. Whoever minds keeps those pages from being
 * given out in the meantime.
 *
 * onewalk_evict_range() is for a driver that goes, and takes its memory with it.
 * It has to repeat that until no page is in use: a page may be locked, or looked
 * at by a CPU fault, at any time.
 */

/**
 * enum onewalk_pfn_flags - flags of one entry of &onewalk_range.hmm_pfns
 *
 * The layout is that of the kernel's &enum hmm_pfn_flags in 7.3, with two bits
 * more; it is the same on every kernel, whatever that kernel's own is.
 *
 * @ONEWALK_PFN_VALID: out: the entry holds a pfn, at least readable.
 * @ONEWALK_PFN_WRITE: out: the page may be written. Needs VALID.
 * @ONEWALK_PFN_ERROR: out: no access is possible here: no VMA, no struct page,
 *	poison.
 * @ONEWALK_PFN_DMA_MAPPED: the caller's; kept.
 * @ONEWALK_PFN_P2PDMA: the caller's; kept.
 * @ONEWALK_PFN_P2PDMA_BUS: the caller's; kept.
 * @ONEWALK_PFN_MIGRATE: out: the page is prepared for migration. Without VALID:
 *	a hole or the zero page, for the driver to fill.
 * @ONEWALK_PFN_COMPOUND: out, with MIGRATE: a large folio or a hole of that
 *	size, migrating as one; the entries of its other pages lack MIGRATE.
 * @ONEWALK_PFN_ORDER_SHIFT: where the order of the CPU's mapping is: 5 bits,
 *	see onewalk_pfn_to_map_order().
 * @ONEWALK_PFN_REQ_FAULT: in: the page must come out VALID.
 * @ONEWALK_PFN_REQ_WRITE: in: the page must come out WRITE. Counts only
 *	together with REQ_FAULT.
 * @ONEWALK_PFN_REQ_MIGRATE: in: prepare the page for migration, if
 *	&onewalk_migrate.flags selects its kind.
 * @ONEWALK_PFN_REQ_FLAGS: all that can be asked.
 * @ONEWALK_PFN_INOUT_FLAGS: what is carried from input to output.
 * @ONEWALK_PFN_FLAGS: all but the pfn.
 */
enum onewalk_pfn_flags {
	ONEWALK_PFN_VALID	= 1UL << (BITS_PER_LONG - 1),
	ONEWALK_PFN_WRITE	= 1UL << (BITS_PER_LONG - 2),
	ONEWALK_PFN_ERROR	= 1UL << (BITS_PER_LONG - 3),
	ONEWALK_PFN_DMA_MAPPED	= 1UL << (BITS_PER_LONG - 4),
	ONEWALK_PFN_P2PDMA	= 1UL << (BITS_PER_LONG - 5),
	ONEWALK_PFN_P2PDMA_BUS	= 1UL << (BITS_PER_LONG - 6),
	ONEWALK_PFN_MIGRATE	= 1UL << (BITS_PER_LONG - 7),
	ONEWALK_PFN_COMPOUND	= 1UL << (BITS_PER_LONG - 8),

	ONEWALK_PFN_ORDER_SHIFT	= BITS_PER_LONG - 13,

	ONEWALK_PFN_REQ_FAULT	= ONEWALK_PFN_VALID,
	ONEWALK_PFN_REQ_WRITE	= ONEWALK_PFN_WRITE,
	ONEWALK_PFN_REQ_MIGRATE	= ONEWALK_PFN_MIGRATE,
	ONEWALK_PFN_REQ_FLAGS	= ONEWALK_PFN_REQ_FAULT |
				  ONEWALK_PFN_REQ_WRITE |
				  ONEWALK_PFN_REQ_MIGRATE,

	ONEWALK_PFN_INOUT_FLAGS	= ONEWALK_PFN_DMA_MAPPED |
				  ONEWALK_PFN_P2PDMA | ONEWALK_PFN_P2PDMA_BUS,
	ONEWALK_PFN_FLAGS	= ~((1UL << ONEWALK_PFN_ORDER_SHIFT) - 1),
};

/**
 * onewalk_pfn_to_page() - the page of a VALID entry
 * @pfn: an entry of &onewalk_range.hmm_pfns that has ONEWALK_PFN_VALID
 *
 * Mirrors hmm_pfn_to_page(). Under the driver's page table lock, after
 * mmu_interval_read_retry() returned false, or while the page is migrating.
 *
 * Return: its struct page; no reference is taken.
 */
static inline struct page *onewalk_pfn_to_page(unsigned long pfn)
{
	return pfn_to_page(pfn & ~ONEWALK_PFN_FLAGS);
}

/**
 * onewalk_pfn_to_map_order() - how large the CPU's mapping of a page is
 * @pfn: an entry of &onewalk_range.hmm_pfns that has ONEWALK_PFN_VALID
 *
 * Mirrors hmm_pfn_to_map_order().
 *
 * Return: the mapping covers 1 << order pages, aligned in the address space; it
 * may reach beyond the range.
 */
static inline unsigned int onewalk_pfn_to_map_order(unsigned long pfn)
{
	return (pfn >> ONEWALK_PFN_ORDER_SHIFT) & 0x1f;
}

struct onewalk_p2p;

/**
 * struct onewalk_p2p_ops - what a driver tells of other devices' memory
 * @allow: may the caller's device have this device-private page as it is, that
 *	is, can it reach the page in the other device's memory? Is asked for every
 *	device-private page that is met, own ones too, so that devices may share
 *	an owner. Runs under the page table lock, or with the folio locked: must
 *	not sleep. No reference to the page is to be kept.
 */
struct onewalk_p2p_ops {
	bool (*allow)(const struct onewalk_p2p *p2p, struct page *page);
};

/**
 * struct onewalk_p2p - peer-to-peer: to be embedded by the driver
 * @ops: the driver's
 */
struct onewalk_p2p {
	const struct onewalk_p2p_ops *ops;
};

/**
 * enum onewalk_migrate_flags - what migrates, and whether it is faulted first
 *
 * @ONEWALK_MIGRATE_SELECT_SYSTEM: system memory, zero pages included.
 * @ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE: device-private pages whose pgmap's
 *	owner is &onewalk_migrate.pgmap_owner.
 * @ONEWALK_MIGRATE_SELECT_DEVICE_COHERENT: the same for device-coherent pages.
 * @ONEWALK_MIGRATE_SELECT_DEVICE_P2P: device-private pages of other owners
 *	that &onewalk_p2p_ops.allow allows: they go from device to device. Needs
 *	&onewalk_range.p2p or &onewalk_migrate.p2p. The portable engine does not
 *	collect them: it brings them back to system memory first, if a fault is
 *	asked for.
 * @ONEWALK_MIGRATE_SELECT_COMPOUND: migrate a folio that one PMD maps and nobody
 *	else does, or a hole of that size, whole where the kernel can (6.19 and
 *	newer), the range covers it, and the same is asked of all its pages: its
 *	first entry then carries MIGRATE_PFN_COMPOUND and the others are 0. In all
 *	other cases, and without this flag, a folio is split, and holes are single.
 * @ONEWALK_MIGRATE_FAULT: fault in what is missing before migrating it, as
 *	ONEWALK_PFN_REQ_FAULT does page by page. A hole in an anonymous VMA is
 *	not faulted, unless userfaultfd is armed: the driver fills it.
 * @ONEWALK_MIGRATE_SKIP_NODE: leave system memory that is already on
 *	&onewalk_migrate.nid.
 * @ONEWALK_MIGRATE_SELECT: every kind of page that there is to select.
 * @ONEWALK_MIGRATE_FLAGS: everything there is.
 */
enum onewalk_migrate_flags {
	ONEWALK_MIGRATE_SELECT_SYSTEM		= 1 << 0,
	ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE	= 1 << 1,
	ONEWALK_MIGRATE_SELECT_DEVICE_COHERENT	= 1 << 2,
	ONEWALK_MIGRATE_SELECT_COMPOUND		= 1 << 3,
	ONEWALK_MIGRATE_SELECT_DEVICE_P2P	= 1 << 4,
	ONEWALK_MIGRATE_FAULT			= 1 << 8,
	ONEWALK_MIGRATE_SKIP_NODE		= 1 << 9,

	ONEWALK_MIGRATE_SELECT = ONEWALK_MIGRATE_SELECT_SYSTEM |
				 ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE |
				 ONEWALK_MIGRATE_SELECT_DEVICE_COHERENT |
				 ONEWALK_MIGRATE_SELECT_DEVICE_P2P,
	ONEWALK_MIGRATE_FLAGS = ONEWALK_MIGRATE_SELECT |
				ONEWALK_MIGRATE_SELECT_COMPOUND |
				ONEWALK_MIGRATE_FAULT |
				ONEWALK_MIGRATE_SKIP_NODE,
};

/**
 * struct onewalk_migrate - one migration, from setup through finalize
 *
 * Mirrors &struct migrate_vma of the kernel, with the same meaning of its
 * fields. All fields that a call does not use may be zero.
 *
 * @vma: the one VMA that the range lies in. In for onewalk_migrate_setup(), out
 *	of onewalk_range_fault().
 * @src: array of one unsigned long for each page, filled with migrate pfns
 *	(see migrate_pfn() in linux/migrate.h). Not to be changed by the caller
 *	between setup and finalize. May be the same array as
 *	&onewalk_range.hmm_pfns.
 * @dst: array of one unsigned long for each page, zeroed by setup. The caller
 *	stores here the migrate pfns of its destination pages, which it has
 *	locked and holds one reference to; onewalk_migrate_finalize() takes both
 *	over, whatever became of the page. Not to be changed between
 *	onewalk_migrate_pages() and that.
 * @cpages: out: number of pages that are migrating.
 * @npages: out: number of pages in the range; 0 when nothing is prepared.
 * @start: first address, in bytes, page aligned. In for
 *	onewalk_migrate_setup(), out of onewalk_range_fault().
 * @end: first address behind the range, likewise.
 * @pgmap_owner: &dev_pagemap.owner of the driver's device memory. Also the
 *	owner that MMU_NOTIFY_MIGRATE carries.
 * @flags: &enum onewalk_migrate_flags
 * @nid: with ONEWALK_MIGRATE_SKIP_NODE: a NUMA node's number.
 * @fault_page: the &vm_fault.page of a &dev_pagemap_ops.migrate_to_ram
 *	callback, in the state in which the callback got it (locked since 6.15,
 *	with a reference alone before); NULL elsewhere.
 * @notifier: the driver's notifier whose callback asks
 *	onewalk_is_own_invalidate(). In for onewalk_migrate_setup(), where it
 *	may be NULL; out of onewalk_range_fault().
 * @p2p: NULL, or what to ask about other devices' memory. In for
 *	onewalk_migrate_setup() alone.
 * @status: NULL, or an array of one byte for each page, filled with &enum
 *	onewalk_status; brought up to date by onewalk_migrate_pages(). Out of
 *	onewalk_range_fault() it is &onewalk_range.status, if that is set.
 * @moved: private: onewalk_migrate_pages() was called.
 * @huge: private: a huge page was prepared whole.
 */
struct onewalk_migrate {
	struct vm_area_struct		*vma;
	unsigned long			*src;
	unsigned long			*dst;
	unsigned long			cpages;
	unsigned long			npages;
	unsigned long			start;
	unsigned long			end;
	void				*pgmap_owner;
	unsigned long			flags;
	int				nid;
	struct page			*fault_page;
	struct mmu_interval_notifier	*notifier;
	const struct onewalk_p2p	*p2p;
	u8				*status;
	bool				moved;
	bool				huge;
};

/**
 * struct onewalk_range - a range to report, fault in and prepare for migration
 *
 * Mirrors &struct hmm_range of the kernel, with the @migrate of the series
 * "Migrate on fault for device pages".
 *
 * @notifier: an interval notifier of the process that covers the range.
 * @notifier_seq: what mmu_interval_read_begin() returned for @notifier.
 * @start: first address, in bytes, page aligned.
 * @end: first address behind the range, page aligned.
 * @hmm_pfns: array of one unsigned long for each page. In: the request of that
 *	page, &enum onewalk_pfn_flags. Out: pfn and flags. After an error it
 *	holds its input again.
 * @default_flags: requests for every page. A page's request is
 *	(hmm_pfns[i] & @pfn_flags_mask) | @default_flags.
 * @pfn_flags_mask: which requests in @hmm_pfns count.
 * @dev_private_owner: device-private pages with this &dev_pagemap.owner are
 *	reported where they are; others are faulted back when REQ_FAULT is set.
 *	With @p2p this does not count.
 * @p2p: NULL, or what to ask about device-private pages: those that it allows
 *	are reported where they are, whoever owns them, and others faulted back.
 * @migrate: needed when any page's request can have ONEWALK_PFN_REQ_MIGRATE;
 *	NULL otherwise. Its @flags select, its @src, @dst and @pgmap_owner must
 *	be set; @vma, @start, @end, @npages, @cpages and @notifier are filled in.
 * @status: NULL, or an array of one byte for each page, filled with &enum
 *	onewalk_status. After an error it tells which page the error is about.
 */
struct onewalk_range {
	struct mmu_interval_notifier	*notifier;
	unsigned long			notifier_seq;
	unsigned long			start;
	unsigned long			end;
	unsigned long			*hmm_pfns;
	unsigned long			default_flags;
	unsigned long			pfn_flags_mask;
	void				*dev_private_owner;
	const struct onewalk_p2p	*p2p;
	struct onewalk_migrate		*migrate;
	u8				*status;
};

/* For three entries for each page of a huge page. */
#define ONEWALK_EVICT_SCRATCH	(3 * (PMD_SIZE / PAGE_SIZE))

struct onewalk_evict;

/**
 * struct onewalk_evict_ops - what a driver does for its pages to come back
 * @alloc: returns a page of system memory for @src, of exactly 1 << @order pages,
 *	locked and with one reference; or NULL, and @src stays.
 * @copy: copies what src[] names to what dst[] names, for all @npages entries that
 *	have both MIGRATE_PFN_MIGRATE in src[] and a page in dst[]; an entry with
 *	MIGRATE_PFN_COMPOUND is about a huge page, and about its entry and those
 *	of its other pages, which are 0. 0, or an errno, and all of them stay. For
 *	one batch after the other, each before any of it can be seen by a CPU.
 */
struct onewalk_evict_ops {
	struct page *(*alloc)(struct onewalk_evict *evict, struct page *src,
			      unsigned int order);
	int (*copy)(struct onewalk_evict *evict, const unsigned long *src,
		    const unsigned long *dst, unsigned long npages);
};

/**
 * struct onewalk_evict - one eviction: to be embedded by the driver
 * @ops: the driver's
 * @scratch: array of ONEWALK_EVICT_SCRATCH unsigned longs that nobody else uses
 *	meanwhile: to be had in time, since memory may be short when it is needed
 * @killable: stop at a fatal signal
 * @tried: out: how many pages were mapped and should come back
 * @evicted: out: how many of them have
 */
struct onewalk_evict {
	const struct onewalk_evict_ops	*ops;
	unsigned long			*scratch;
	bool				killable;
	unsigned long			tried;
	unsigned long			evicted;
};

/**
 * DOC: Long-term pins
 *
 * A device that does DMA to a process's memory for as long as it likes (RDMA, a
 * virtual machine's devices) pins the pages. Pages of another device's coherent
 * memory have to leave it first, since that must stay free to take its memory
 * back. pin_user_pages() moves them one by one; this moves them together::
 *
 *	int my_register(struct my_region *region, unsigned long start,
 *			unsigned long npages)
 *	{
 *		struct onewalk_pin pin = {
 *			.mm = region->mm, .start = start, .npages = npages,
 *			.gup_flags = FOLL_WRITE, .pages = region->pages,
 *		};
 *		int ret;
 *
 *		if (!mmget_not_zero(region->mm))
 *			return -EFAULT;
 *		ret = onewalk_pin_longterm(&pin);
 *		mmput(region->mm);
 *		if (!ret)
 *			region->npages = npages;
 *		return ret;
 *	}
 *
 *	void my_unregister(struct my_region *region)
 *	{
 *		unpin_user_pages_dirty_lock(region->pages, region->npages, true);
 *	}
 */

/**
 * struct onewalk_pin - pages to pin for long: to be embedded by the driver
 * @mm: whose
 * @start: first address, page aligned, without a tag
 * @npages: how many pages
 * @gup_flags: FOLL_WRITE, if the device writes, and FOLL_FORCE; FOLL_LONGTERM
 *	goes without saying
 * @pages: array of @npages, to be filled
 * @alloc: NULL, or returns a page for what leaves a device and is mapped at @addr
 *	of @vma: on a node of the driver's choice, say. Locked, with one
 *	reference, and not from movable memory (GFP_USER), or it would have to
 *	move again; or NULL, and the call fails. Runs under the mmap lock and with
 *	pages locked: must not fault. One that is not needed in the end is freed
 *	by its last reference.
 * @moved: out: how many pages left a device together. Others may have left it by
 *	the kernel's doing.
 */
struct onewalk_pin {
	struct mm_struct	*mm;
	unsigned long		start;
	unsigned long		npages;
	unsigned int		gup_flags;
	struct page		**pages;
	struct page		*(*alloc)(struct onewalk_pin *pin,
					  struct vm_area_struct *vma,
					  unsigned long addr);
	unsigned long		moved;
};

int onewalk_pin_longterm(struct onewalk_pin *pin);
int onewalk_evict_pages(struct onewalk_evict *evict, const unsigned long *pfns,
			unsigned long npages);
int onewalk_evict_range(struct onewalk_evict *evict,
			const struct dev_pagemap *pgmap);
int onewalk_range_fault(struct onewalk_range *range);
int onewalk_range_fault_unlocked(struct onewalk_range *range,
				 unsigned long timeout);
unsigned long onewalk_pfn_to_migrate(unsigned long hmm_pfn);
void onewalk_migrate_range_setup(struct onewalk_range *range);
int onewalk_migrate_setup(struct onewalk_migrate *args);
void onewalk_migrate_pages(struct onewalk_migrate *migrate);
void onewalk_migrate_finalize(struct onewalk_migrate *migrate);
bool onewalk_is_own_invalidate(const struct mmu_interval_notifier *notifier,
			       const struct mmu_notifier_range *range);

#endif /* _ONEWALK_ONEWALK_H */
