/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Serve a device's fault buffer.
 */
#ifndef _ONEWALK_SERVICE_H
#define _ONEWALK_SERVICE_H

#include <onewalk/onewalk.h>
#include <onewalk/verdict.h>

/**
 * DOC: Fault buffers
 *
 * A device reports its faults by the dozen, in any order, many of them for the
 * same few pages. onewalk_service_faults() sorts them, serves neighbours together
 * in a window with one onewalk_range_fault(), and tells of each fault whether the
 * device is to replay the access or to give it up. It does what the loop of DOC:
 * Example does; what is left to the driver are callbacks::
 *
 *	static void my_copy(struct onewalk_window *window)
 *	{
 *		my_alloc_and_copy(window->space, &window->migrate);
 *	}
 *
 *	static void my_lock(struct onewalk_space *space)
 *	{
 *		mutex_lock(&to_my_mirror(space)->page_table_lock);
 *	}
 *
 *	static int my_map(struct onewalk_window *window)
 *	{
 *		unsigned long i, npages =
 *			(window->end - window->start) >> PAGE_SHIFT;
 *
 *		for (i = 0; i < npages; i++)
 *			if (window->pfns[i] & ONEWALK_PFN_VALID)
 *				my_set_pte(to_my_mirror(window->space),
 *					   window->start + (i << PAGE_SHIFT),
 *					   window->pfns[i]);
 *		return 0;
 *	}
 *
 *	static const struct onewalk_service_ops my_ops = {
 *		.copy = my_copy, .map = my_map,
 *		.lock = my_lock, .unlock = my_unlock,
 *	};
 *
 *	// once
 *	dev->service = (struct onewalk_service){
 *		.ops = &my_ops, .window = SZ_64K, .tries = 16, .timeout = HZ,
 *	};
 *	ret = onewalk_service_init(&dev->service, MY_BUFFER_ENTRIES);
 *
 *	// at each interrupt, in a thread
 *	for (n = 0; n < MY_BUFFER_ENTRIES && my_next_entry(dev, &entry); n++)
 *		faults[n] = (struct onewalk_fault){
 *			.space = my_space(dev, entry.channel),
 *			.addr = entry.addr,
 *			.access = entry.is_write ? ONEWALK_ACCESS_WRITE :
 *						   ONEWALK_ACCESS_READ,
 *		};
 *	onewalk_service_faults(&dev->service, faults, n);
 *	for (i = 0; i < n; i++)
 *		if (faults[i].verdict == ONEWALK_CANCEL)
 *			my_cancel(dev, i, onewalk_reason_name(faults[i].reason));
 *	my_replay(dev);
 */

/**
 * enum onewalk_policy - what is done about the faults of a window
 *
 * @ONEWALK_POLICY_MIGRATE: the pages go to the device. Those that cannot, or find
 *	no destination, are mapped where they are.
 * @ONEWALK_POLICY_MAP: they are mapped where they are.
 * @ONEWALK_POLICY_SKIP: nothing.
 */
enum onewalk_policy {
	ONEWALK_POLICY_MIGRATE,
	ONEWALK_POLICY_MAP,
	ONEWALK_POLICY_SKIP,
};

struct onewalk_bounces;
struct onewalk_service_arrays;

/**
 * struct onewalk_space - an address space as a device mirrors it
 * @notifier: an interval notifier of the process. Faults outside of its interval
 *	are the driver's.
 * @service: NULL, or what keeps migrations and faults apart when several threads
 *	serve this notifier, see DOC: Locking. Taken for writing around each
 *	migration and for reading around other faults, before the mmap lock.
 * @pgmap_owner: &dev_pagemap.owner of the device's own memory
 * @p2p: NULL, or what to ask about other devices' memory
 * @select: ONEWALK_MIGRATE_SELECT_*: what migrates to the device
 * @bounces: NULL, or what the policy of its own goes by, see
 *	onewalk_bounces_alloc()
 *
 * To be embedded by the driver, and there until no call that was given a fault
 * of it is under way.
 */
struct onewalk_space {
	struct mmu_interval_notifier	*notifier;
	struct rw_semaphore		*service;
	void				*pgmap_owner;
	const struct onewalk_p2p	*p2p;
	unsigned long			select;
	struct onewalk_bounces		*bounces;
};

/**
 * struct onewalk_fault - one entry of a fault buffer
 * @space: in: whose address it is
 * @addr: in: the address, in bytes, anywhere in its page
 * @access: in: &enum onewalk_access, not NONE
 * @verdict: out: &enum onewalk_verdict
 * @reason: out: &enum onewalk_reason
 */
struct onewalk_fault {
	struct onewalk_space	*space;
	unsigned long		addr;
	u8			access;
	u8			verdict;
	u8			reason;
};

/* In &onewalk_window.pages: the access, and that the page is not to migrate. */
#define ONEWALK_PAGE_ACCESS	0x0f
#define ONEWALK_PAGE_STAYS	0x80

/**
 * struct onewalk_window - faults that are served together
 * @service: the call that they are served in
 * @space: whose they are
 * @lower: first address that the window may have: of its VMA and, after bounds(),
 *	of what that allows and of its block of &onewalk_service.window bytes
 * @upper: first address behind that
 * @limit: for map(): the same without the block
 * @start: first address, page aligned: at first that of the first fault
 * @end: first address behind the window: at first behind the last fault
 * @around: pages without a fault, too, are to migrate if they are there or holes
 * @pages: one byte for each page: the strongest access that a fault wants, and
 *	whether it stays
 * @pfns: for map(): one entry for each page: what is mapped there now, migrated or
 *	not, with ONEWALK_PFN_VALID, ONEWALK_PFN_WRITE and the order
 * @reach: for map(): @end, or more where it has mapped more
 * @migrate: for copy(), with @migrating
 * @migrating: pages are being migrated
 * @policy: &enum onewalk_policy
 * @range: private
 * @upgrade: private: pages on the device that may not be written come back
 */
struct onewalk_window {
	struct onewalk_service	*service;
	struct onewalk_space	*space;
	unsigned long		lower;
	unsigned long		upper;
	unsigned long		limit;
	unsigned long		start;
	unsigned long		end;
	bool			around;
	u8			*pages;
	unsigned long		*pfns;
	unsigned long		reach;
	struct onewalk_migrate	migrate;
	bool			migrating;
	enum onewalk_policy	policy;
	struct onewalk_range	range;
	bool			upgrade;
};

/**
 * struct onewalk_service_ops - what a driver does for its faults to be served
 * @bounds: NULL, or raises &onewalk_window.lower and lowers upper to where no
 *	range of the driver's own is. False when &onewalk_window.start is in such
 *	a range itself; upper is then where that ends. Nothing is held.
 * @policy: NULL, or what to do about the window, which it may make as large as
 *	lower and upper allow. It may set around, and ONEWALK_PAGE_STAYS of single
 *	pages. NULL: everything migrates, but for pages that bounce, see
 *	&onewalk_space.bounces. Nothing is held.
 * @prepare: NULL, or makes ready what copy() will need: destinations, or room for
 *	them by an eviction. Nothing is held. Called once, before anything is
 *	collected.
 * @copy: finds destinations and copies, as between onewalk_migrate_range_setup()
 *	and onewalk_migrate_pages(); what gets no destination is mapped in place.
 *	The mmap lock, &onewalk_space.service and the pages' locks are held.
 * @lock: takes the lock of the device's page table, which the notifier's callback
 *	takes, too. May be under the mmap lock and the pages' locks.
 * @map: maps into the device what is in &onewalk_window.pfns: all pages that have
 *	ONEWALK_PFN_VALID. A page that it will not map, as it is or at all, loses
 *	ONEWALK_PFN_WRITE or _VALID. Where the last page is part of a larger
 *	mapping of the CPU's (onewalk_pfn_to_map_order()), it may map that up to
 *	limit, and sets reach. 0; -EBUSY to begin the window anew; -ENOMEM. Under
 *	lock(), and while the sequence number is as it was.
 * @unlock: lets go of what lock() took
 * @end: NULL, or gives back what prepare() got. Nothing is held.
 */
struct onewalk_service_ops {
	bool (*bounds)(struct onewalk_window *window);
	enum onewalk_policy (*policy)(struct onewalk_window *window);
	void (*prepare)(struct onewalk_window *window);
	void (*copy)(struct onewalk_window *window);
	void (*lock)(struct onewalk_space *space);
	int (*map)(struct onewalk_window *window);
	void (*unlock)(struct onewalk_space *space);
	void (*end)(struct onewalk_window *window);
};

/**
 * struct onewalk_service - serves one fault buffer at a time: to be embedded
 * @ops: the driver's
 * @window: the largest window, in bytes: a power of two, from PAGE_SIZE to
 *	PMD_SIZE. Windows do not cross a multiple of it.
 * @tries: how often in a row a window is tried at most, when something in it was
 *	invalidated each time; at least 1
 * @timeout: how long a call goes on to do so, in jiffies; 0: each window is tried
 *	once
 * @windows: out: how many windows the call served
 * @walks: out: how often it called onewalk_range_fault() for them
 * @max_faults: private
 * @arrays: private
 */
struct onewalk_service {
	const struct onewalk_service_ops	*ops;
	unsigned long				window;
	unsigned int				tries;
	unsigned long				timeout;
	unsigned long				windows;
	unsigned long				walks;
	unsigned int				max_faults;
	struct onewalk_service_arrays		*arrays;
};

int onewalk_service_init(struct onewalk_service *service,
			 unsigned int max_faults);
void onewalk_service_exit(struct onewalk_service *service);
int onewalk_service_faults(struct onewalk_service *service,
			   struct onewalk_fault *faults, unsigned int nr);
struct onewalk_bounces *onewalk_bounces_alloc(unsigned int limit,
					      unsigned long hold);
void onewalk_bounces_free(struct onewalk_bounces *bounces);

#endif /* _ONEWALK_SERVICE_H */
