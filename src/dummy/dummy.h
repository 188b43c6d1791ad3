/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the dummy device share.
 */
#ifndef _ONEWALK_DUMMY_H
#define _ONEWALK_DUMMY_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include <onewalk/dummy.h>
#include <onewalk/onewalk.h>
#include <onewalk/service.h>

/**
 * DOC: Locking
 *
 * &dummy_mirror.service: what serves the device in this mirror. Faults, which
 * map what they found, take it for reading; whatever changes the process's
 * pages on the device's behalf takes it for writing, since a migration of our
 * own does not move the notifier's sequence number. Taken before the mmap lock,
 * and never in the notifier callback or in migrate_to_ram(), which run under
 * both.
 *
 * &dummy_mirror.lock: the device's page table. Innermost but for
 * &dummy_device.lock; the notifier callback takes it, also in memory reclaim,
 * so nothing that may reclaim or fault is done under it.
 *
 * &dummy_device.growth: chunks of device memory come and go. Taken before any
 * of the above, and held while pages of them are evicted.
 *
 * &dummy_device.lock: which device pages are free. Innermost, a spinlock.
 */

/* A PTE table's worth of pages; also the one size of a large device page. */
#define DUMMY_PMD_ORDER	(PMD_SHIFT - PAGE_SHIFT)
#define DUMMY_PMD_NR	(PMD_SIZE / PAGE_SIZE)

/* Pages that are read, written or reported at a time. */
#define DUMMY_WINDOW	64UL

/*
 * In 7.2 and 7.3 migrate_vma_setup() begins a PTE table anew after it has let go
 * of it to split a folio, and appends it once more if it is empty by then. So
 * much can it write behind the arrays that it was given.
 */
#define DUMMY_CLASSIC_EXTRA	(2 * DUMMY_PMD_NR)

/*
 * How long an operation goes on after invalidations, and other passing trouble.
 * A kernel with KASAN may take longer than a second for a single attempt.
 */
#define DUMMY_PATIENCE	msecs_to_jiffies(IS_ENABLED(CONFIG_KASAN) ? 10000 : 1000)

/**
 * struct dummy_device - one of the devices
 * @misc: its device node
 * @name: of the node
 * @id: its number
 * @memory: ONEWALK_DUMMY_MEMORY_*: what its memory is
 * @range: for coherent memory: the physical addresses that its chunks lie in
 * @growth: held while chunks are added and removed
 * @lock: protects what follows, and which pages of the chunks are free
 * @chunks: device memory, &struct dummy_chunk
 * @total: pages of all chunks
 * @used: those of them that are in use
 * @taken: how many were ever taken
 */
struct dummy_device {
	struct miscdevice	misc;
	char			name[16];
	unsigned int		id;
	unsigned int		memory;
	struct resource		*range;
	struct mutex		growth;		/* adding, removing chunks */
	spinlock_t		lock;		/* the rest, see above */
	struct list_head	chunks;
	unsigned long		total;
	unsigned long		used;
	u64			taken;
};

/**
 * struct dummy_mirror - an open file: the device's view of one process
 * @device: the device
 * @notifier: tells what changes in the process, over all of its addresses
 * @service: see DOC: Locking
 * @lock: protects @table and @mapped
 * @table: the device's page table; its entries are made in mirror.c
 * @mapped: number of entries of @table
 * @classic: the task that migrates by the kernel's calls, not by onewalk's
 * @p2p: for onewalk, if @peers has ONEWALK_DUMMY_PEERS_ASK
 * @peers: ONEWALK_DUMMY_PEERS_*
 * @space: the same for onewalk's fault buffer service
 * @fail_alloc: not 0: the next allocation of a destination fails
 * @invalidations: how often the notifier was called
 * @own_invalidations: how often that was by this mirror's own doing
 * @pin_lock: protects @pins and @pinned
 * @pins: pages pinned through this file
 * @pinned: how many
 */
struct dummy_mirror {
	struct dummy_device		*device;
	struct mmu_interval_notifier	notifier;
	struct rw_semaphore		service;
	struct mutex			lock;		/* table, mapped */
	struct xarray			table;
	unsigned long			mapped;
	struct task_struct		*classic;
	struct onewalk_p2p		p2p;
	u32				peers;
	struct onewalk_space		space;
	atomic_t			fail_alloc;
	atomic64_t			invalidations;
	atomic64_t			own_invalidations;
	struct mutex			pin_lock;	/* pins, pinned */
	struct list_head		pins;
	unsigned long			pinned;
};

/**
 * struct dummy_batch - ordinary pages, taken from the system several at a time
 * @wanted: how many will be, at most
 * @nr: how many there are
 * @pages: these; the rest is NULL
 */
struct dummy_batch {
	unsigned long	wanted;
	unsigned int	nr;
	struct page	*pages[32];
};

/**
 * struct dummy_ready - destinations that were allocated in time
 * @nr: how many there are
 * @pages: single pages of device memory, as dummy_memory_alloc() returned them
 */
struct dummy_ready {
	unsigned int	nr;
	struct page	*pages[DUMMY_PMD_NR];
};

static inline bool dummy_is_private(const struct dummy_device *device)
{
	return IS_ENABLED(CONFIG_DEVICE_PRIVATE) &&
	       device->memory == ONEWALK_DUMMY_MEMORY_PRIVATE;
}

/* Has it memory of its own, with pages that can be told from all others? */
static inline bool dummy_has_memory(const struct dummy_device *device)
{
	return device->memory != ONEWALK_DUMMY_MEMORY_SYSTEM;
}

/* Nothing is asked of the kernel whole that would only have to be split. */
static inline bool dummy_has_large(const struct dummy_device *device)
{
	return device->memory != ONEWALK_DUMMY_MEMORY_COHERENT;
}

/* main.c */
extern unsigned int dummy_size;
extern unsigned int dummy_limit;
extern bool dummy_fault_around;
extern bool dummy_shared_owner;

/* device.c */
void dummy_device_init(struct dummy_device *device, unsigned int id,
		       unsigned int memory);
int dummy_device_add_memory(struct dummy_device *device);
int dummy_device_add(struct dummy_device *device);
void dummy_device_remove(struct dummy_device *device);
int dummy_check_range(u64 addr, u64 npages);
int dummy_check_table(u64 addr, u64 npages);
struct dummy_mirror *dummy_file_mirror(struct file *file);

/* reserved.c */
int dummy_reserved_claim(struct dummy_device *device, const char *name,
			 u64 start, u64 bytes);
void dummy_reserved_release(struct dummy_device *device);

/* chunk.c */
int dummy_chunks_grow(struct dummy_device *device);
struct page *dummy_chunk_alloc(struct dummy_device *device, unsigned int order,
			       struct dummy_batch *batch);
bool dummy_chunks_have(struct dummy_device *device, unsigned long npages,
		       bool large);
bool dummy_chunks_own(struct dummy_device *device, unsigned long pfn);
unsigned long dummy_chunks_evict(struct dummy_device *device,
				 unsigned long npages, bool large);
int dummy_chunks_release(struct dummy_device *device);
void dummy_chunks_remove(struct dummy_device *device);
const struct dummy_device *dummy_chunk_device(const struct page *page);
struct page *dummy_chunk_backing(struct page *page);
struct page *dummy_backed_page(struct page *backing);

/* memory.c */
int dummy_memory_reserve(struct dummy_device *device, unsigned long npages,
			 bool large);
struct page *dummy_batch_take(struct dummy_batch *batch, gfp_t gfp);
void dummy_batch_end(struct dummy_batch *batch);
struct page *dummy_memory_alloc(struct dummy_device *device,
				unsigned int order, struct dummy_batch *batch);
struct page *dummy_system_alloc(struct vm_area_struct *vma,
				unsigned long addr, unsigned int order,
				struct dummy_batch *batch);
void dummy_page_free(struct page *page);
struct page *dummy_backing(struct page *page);
bool dummy_is_own(const struct dummy_device *device, const struct page *page);
void *dummy_owner(struct dummy_device *device);
unsigned long dummy_select(const struct dummy_device *device);

/* copy.c */
bool dummy_fails_on_purpose(struct dummy_mirror *mirror);
void dummy_copy(struct dummy_mirror *mirror, struct onewalk_migrate *migrate,
		bool to_device);
void dummy_copy_ready(struct dummy_mirror *mirror,
		      struct onewalk_migrate *migrate,
		      struct dummy_ready *ready);
bool dummy_is_moved(const struct onewalk_migrate *migrate, unsigned long i);
unsigned long dummy_moved(const struct onewalk_migrate *migrate);
unsigned long dummy_step(unsigned long mpfn);

/* ram.c */
vm_fault_t dummy_migrate_to_ram(struct vm_fault *vmf);
void dummy_drain(void);

/* evict.c */
int dummy_evict_pgmap(const struct dev_pagemap *pgmap, unsigned long *scratch,
		      bool killable);
unsigned long dummy_evict_pages(const unsigned long *pfns,
				unsigned long npages, unsigned long *scratch);
int dummy_evict(struct dummy_mirror *mirror, struct onewalk_dummy_evict *arg);

/* mirror.c */
struct dummy_mirror *dummy_mirror_open(struct dummy_device *device);
const struct onewalk_p2p *dummy_p2p(const struct dummy_mirror *mirror);
int dummy_set_peers(struct dummy_mirror *mirror,
		    const struct onewalk_dummy_peers *arg);
void dummy_mirror_close(struct dummy_mirror *mirror);
int dummy_map(struct dummy_mirror *mirror, unsigned long addr,
	      struct page *page, u8 access);
u8 dummy_access(struct dummy_mirror *mirror, unsigned long addr);
bool dummy_any_access(struct dummy_mirror *mirror, unsigned long start,
		      unsigned long end, u8 access);
struct page *dummy_mapped_page(struct dummy_mirror *mirror, unsigned long addr,
			       u8 access);

/* fault.c */
typedef int (*dummy_fault_fn)(struct onewalk_range *range);
typedef int (*dummy_use_fn)(struct dummy_mirror *mirror,
			    const struct onewalk_range *range, void *data);
int dummy_fault_once(struct dummy_mirror *mirror, struct onewalk_range *range,
		     dummy_fault_fn fault);
int dummy_fault_and_use(struct dummy_mirror *mirror,
			struct onewalk_range *range, dummy_fault_fn fault,
			dummy_use_fn use, void *data, bool shrink);
typedef int (*dummy_access_fn)(unsigned long addr, void *data);
int dummy_fault(struct dummy_mirror *mirror, unsigned long start,
		unsigned long end, bool write, dummy_access_fn access,
		void *data);
int dummy_fault_unlocked(struct dummy_mirror *mirror, unsigned long start,
			 unsigned long end, dummy_access_fn access, void *data);
int dummy_map_present(struct dummy_mirror *mirror, unsigned long start,
		      unsigned long end, bool device_only);
bool dummy_expired(unsigned long deadline, int *ret);

/* access.c */
unsigned long dummy_load(struct dummy_mirror *mirror, unsigned long addr,
			 unsigned long npages, u8 want, void *buffer);
int dummy_read(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd);
int dummy_read_unlocked(struct dummy_mirror *mirror,
			struct onewalk_dummy_cmd *cmd);
int dummy_write(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd);

/* map.c */
unsigned long dummy_map_migrated(struct dummy_mirror *mirror,
				 const struct onewalk_migrate *migrate,
				 unsigned long seq, const unsigned long *pfns);

/* classic.c */
int dummy_classic_setup(struct onewalk_migrate *migrate);
void dummy_classic_pages(struct onewalk_migrate *migrate);
void dummy_classic_finalize(struct onewalk_migrate *migrate);
int dummy_classic_fault(struct onewalk_range *range, u64 *ns);

/* migrate.c */
int dummy_migrate_range(struct dummy_mirror *mirror,
			struct onewalk_dummy_migrate *arg);

/* window.c */
int dummy_migrate_to_device(struct dummy_mirror *mirror,
			    struct onewalk_dummy_cmd *cmd);
int dummy_migrate_to_system(struct dummy_mirror *mirror,
			    struct onewalk_dummy_cmd *cmd);

/* report.c */
int dummy_snapshot(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd);
int dummy_report(struct dummy_mirror *mirror, struct onewalk_dummy_report *arg);
int dummy_inspect(struct dummy_mirror *mirror, struct onewalk_dummy_buffer *arg);
int dummy_get_pfns(unsigned long *pfns, u64 user, unsigned long npages);
int dummy_put_pfns(const unsigned long *pfns, u64 user, unsigned long npages);

/* call.c */
int dummy_call(struct dummy_mirror *mirror, struct onewalk_dummy_call *arg);

/* exclusive.c */
int dummy_exclusive(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd);
int dummy_check_exclusive(struct dummy_mirror *mirror,
			  struct onewalk_dummy_cmd *cmd);

/* pin.c */
int dummy_pin(struct dummy_mirror *mirror, struct onewalk_dummy_pin *arg);
int dummy_pin_longterm(struct dummy_mirror *mirror,
		       struct onewalk_dummy_pin_longterm *arg);
void dummy_unpin_all(struct dummy_mirror *mirror);
int dummy_lock(struct dummy_mirror *mirror,
	       const struct onewalk_dummy_lock *arg);

/* service.c */
int dummy_service(struct dummy_mirror *mirror,
		  struct onewalk_dummy_service *arg);

#endif /* _ONEWALK_DUMMY_H */
