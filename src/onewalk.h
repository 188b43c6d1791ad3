/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the module share.
 */
#ifndef _ONEWALK_INTERNAL_H
#define _ONEWALK_INTERNAL_H

#include <onewalk/onewalk.h>
#include <onewalk/service.h>

#include "debug.h"

/*
 * While a call is under way an entry of hmm_pfns holds, beside its output, the
 * request that it came with, so that an error can give the caller its input
 * back, and whether the page is to be collected: then also its pfn, if what is to
 * be reported does not have it. These bits lie between the highest pfn that there
 * can be (52 bits of physical address) and the order.
 */
#define ONEWALK_PFN_WAS_SHIFT	13
#define ONEWALK_PFN_WAS		(ONEWALK_PFN_REQ_FLAGS >> ONEWALK_PFN_WAS_SHIFT)
#define ONEWALK_PFN_COLLECT	BIT_ULL(47)
#define ONEWALK_PFN_PRIVATE	(ONEWALK_PFN_WAS | ONEWALK_PFN_COLLECT)

/* How many pages a PTE table, or a huge page in its place, has. */
#define ONEWALK_PMD_NR		(PMD_SIZE / PAGE_SIZE)

/* What an entry of the page table can be. */
enum onewalk_kind {
	ONEWALK_HOLE,
	ONEWALK_ZERO,		/* the zero page, small or huge */
	ONEWALK_PAGE,		/* present, with a struct page of its own */
	ONEWALK_PROTNONE,	/* the same, but for NUMA hinting */
	ONEWALK_SPECIAL,	/* present, without one */
	ONEWALK_SWAP,
	ONEWALK_MIGRATION,
	ONEWALK_DEVICE,		/* device-private */
	ONEWALK_EXCLUSIVE,	/* device-exclusive */
	ONEWALK_UFFD,		/* userfaultfd write-protect marker */
	ONEWALK_POISON,		/* poison or guard marker, hwpoison */
	ONEWALK_BAD,		/* an upper level entry that nobody knows */
	ONEWALK_EXOTIC,		/* left to the kernel: a PUD leaf */
};

/**
 * struct onewalk_entry - what the page table holds at one address
 * @kind: what it is
 * @write: a page or device page that may be written
 * @uffd: present, and protected by userfaultfd
 * @whole: a huge page, or the huge zero page, that is to migrate as one
 * @order: order of the mapping, 0 for a PTE
 * @pfn: for ZERO, PAGE, PROTNONE and DEVICE: the pfn of this very page
 * @owner: for DEVICE: owner of the pgmap, read once; NULL when the page was in
 *	the middle of becoming something else
 */
struct onewalk_entry {
	enum onewalk_kind	kind;
	bool			write;
	bool			uffd;
	bool			whole;
	u8			order;
	unsigned long		pfn;
	const void		*owner;
};

/**
 * struct onewalk_call - one call, from entry to return
 * @range: the caller's range, or the one made for onewalk_migrate_setup()
 * @migrate: the caller's migration; NULL when only a report is wanted
 * @mm: the process
 * @status: NULL, or the caller's array
 * @vma: the VMA under the scan
 * @never: nothing in it ever migrates
 * @pin: for onewalk_pin_setup()
 * @usual: ONEWALK_MIGRATE_SELECT_* of those whose pages are all asked to migrate
 * @locked: NULL, or cleared when a fault dropped the mmap lock
 * @addr: where the scan stopped
 * @write: the page at @addr has to be faulted for writing
 * @faults: how many pages were faulted
 * @tried: the last page that was faulted
 * @tries: how often in a row it was, without getting anywhere
 * @order: order of the mapping at @addr that has to be split
 * @split: the last folio that was to be split
 * @split_at: in which PTE table or below which PMD entry
 * @looked: the look-ahead is over: all entries hold their output. Before, those
 *	from @addr on hold their input.
 * @was_fit: the look-ahead found fit what is looked at again
 * @off_lru: 0, or the number of the first page that is to be collected and that
 *	was not on the LRU when seen, counted from 1
 * @drained: the LRU batches of all CPUs were drained
 * @held: how many folios are locked for this call
 * @bracket: its invalidate bracket is open
 */
struct onewalk_call {
	struct onewalk_range	*range;
	struct onewalk_migrate	*migrate;
	struct mm_struct	*mm;
	u8			*status;
	struct vm_area_struct	*vma;
	bool			never;
	bool			pin;
	unsigned long		usual;
	bool			*locked;
	unsigned long		addr;
	bool			write;
	unsigned long		faults;
	unsigned long		tried;
	unsigned int		tries;
	unsigned int		order;
	const struct folio	*split;
	unsigned long		split_at;
	bool			looked;
	bool			was_fit;
	unsigned long		off_lru;
	bool			drained;
	unsigned long		held;
	bool			bracket;
};

static inline unsigned long onewalk_index(const struct onewalk_call *call,
					  unsigned long addr)
{
	return (addr - call->range->start) >> PAGE_SHIFT;
}

/* The caller's input: @pfn is an entry of hmm_pfns while a call is under way. */
static inline unsigned long onewalk_input_of(unsigned long pfn)
{
	return (pfn & ONEWALK_PFN_INOUT_FLAGS) |
	       (pfn & ONEWALK_PFN_WAS) << ONEWALK_PFN_WAS_SHIFT;
}

/* What is to be reported, which remembers the input that it replaces. */
static inline unsigned long onewalk_output_over(unsigned long input,
						unsigned long output)
{
	return output | (input & ONEWALK_PFN_INOUT_FLAGS) |
	       (input & ONEWALK_PFN_REQ_FLAGS) >> ONEWALK_PFN_WAS_SHIFT;
}

/* The bare pfn that the look-ahead noted; 0 of a hole. */
static inline unsigned long onewalk_noted_pfn(unsigned long pfn)
{
	return pfn & ~(ONEWALK_PFN_FLAGS | ONEWALK_PFN_PRIVATE);
}

/* What is asked of a page: @pfn is its entry as the caller filled it. */
static inline unsigned long onewalk_request(const struct onewalk_call *call,
					    unsigned long pfn)
{
	const struct onewalk_range *range = call->range;
	unsigned long req = (pfn & range->pfn_flags_mask &
			     ONEWALK_PFN_REQ_FLAGS) | range->default_flags;

	if ((req & ONEWALK_PFN_REQ_MIGRATE) && call->migrate &&
	    (call->migrate->flags & ONEWALK_MIGRATE_FAULT))
		req |= ONEWALK_PFN_REQ_FAULT;
	return req;
}

static inline void onewalk_set_status(const struct onewalk_call *call,
				      unsigned long i,
				      enum onewalk_status status)
{
	if (call->status)
		call->status[i] = status;
}

/* Locked by who faults on it, and calls us. */
static inline bool onewalk_is_fault_folio(const struct onewalk_migrate *migrate,
					  const struct folio *folio)
{
	return migrate->fault_page && page_folio(migrate->fault_page) == folio;
}

static inline bool onewalk_is_table(pmd_t pmd)
{
	return pmd_present(pmd) && !pmd_leaf(pmd) && !pmd_bad(pmd);
}

/* One entry for all, present or not; or one that nobody knows. */
static inline bool onewalk_is_huge(pmd_t pmd)
{
	return !pmd_none(pmd) && !onewalk_is_table(pmd);
}

/* A huge page of a device's is mapped still when it is collected, see huge.c. */
static inline bool onewalk_is_hidden(struct folio *folio)
{
	return folio_test_large(folio) && folio_is_device_private(folio);
}

/*
 * Here it may wait for somebody else, which it must not while it holds what that
 * one may want. The folio of fault_page is its caller's.
 */
static inline void onewalk_may_wait(const struct onewalk_call *call)
{
	might_sleep();
	mmap_assert_locked(call->mm);
	onewalk_assert(!call->held);
	onewalk_assert(!call->bracket);
}

/* For loops over all pages of a call. */
static inline void onewalk_resched(unsigned long i)
{
	if (!(i % ONEWALK_PMD_NR))
		cond_resched();
}

/* Internal: the scan stopped at a page that has to be faulted. */
#define ONEWALK_NEED_FAULT	1
/* Internal: the scan stopped at something that is left to the kernel. */
#define ONEWALK_NEED_KERNEL	2
/* Internal: the scan stopped at a large folio that has to be split first. */
#define ONEWALK_NEED_SPLIT	3
/* Internal: this cannot be collected, or not any more: look ahead. */
#define ONEWALK_NEED_LOOK	4

/* range.c */
unsigned long onewalk_report(const struct onewalk_call *call,
			     unsigned long pfn);
bool onewalk_may_move_whole(const struct onewalk_call *call);
bool onewalk_asks_whole(const struct onewalk_call *call, unsigned long addr,
			unsigned long end);
bool onewalk_fit_for_whole(const struct onewalk_call *call,
			   const struct onewalk_entry *entry);
int onewalk_look_at_nothing(struct onewalk_call *call, unsigned long addr,
			    unsigned long end);
int onewalk_look(struct onewalk_call *call, unsigned long addr,
		 const struct onewalk_entry *entry);
unsigned long onewalk_look_alike(struct onewalk_call *call, unsigned long addr,
				 unsigned long end);
int onewalk_end_look(struct onewalk_call *call);
bool onewalk_nothing_fit(const struct onewalk_call *call);
bool onewalk_is_swapped(struct onewalk_call *call, unsigned long addr,
			pte_t pte);
bool onewalk_look_at_usual(struct onewalk_call *call, unsigned long addr,
			   pte_t pte);
bool onewalk_reaches(const struct onewalk_call *call, const void *owner,
		     unsigned long pfn);
void onewalk_stop_status(u8 *status, unsigned long npages);
int onewalk_range_fault_once(struct onewalk_range *range, bool *waited);
enum onewalk_status onewalk_page_status(const struct onewalk_call *call,
					struct page *page);
enum onewalk_status onewalk_hole_status(const struct onewalk_call *call);
int onewalk_pin_setup(struct onewalk_migrate *args);

/* walk.c */

/**
 * struct onewalk_walk - what to do on the way down
 * @pmd: at a PMD entry, of whatever kind, from @addr to @end
 * @hole: where a level above has nothing
 * @exotic: where a level above has a leaf, or something unknown
 *
 * Anything but 0 stops the walk and is its result.
 */
struct onewalk_walk {
	int (*pmd)(struct onewalk_call *call, pmd_t *pmdp, unsigned long addr,
		   unsigned long end);
	int (*hole)(struct onewalk_call *call, unsigned long addr,
		    unsigned long end);
	int (*exotic)(struct onewalk_call *call, unsigned long addr,
		      unsigned long end);
};

int onewalk_walk(struct onewalk_call *call, const struct onewalk_walk *walk,
		 unsigned long addr, unsigned long end);
int onewalk_scan_and_fault(struct onewalk_call *call, unsigned long addr,
			   unsigned long end);
int onewalk_scan(struct onewalk_call *call, unsigned long addr,
		 unsigned long end);
int onewalk_scan_pmd(struct onewalk_call *call, pmd_t *pmdp, unsigned long addr,
		     unsigned long end);
const void *onewalk_owner(const struct page *page);
void onewalk_look_at_pte(pte_t pte, struct onewalk_entry *entry);
void onewalk_look_at_pmd(struct vm_area_struct *vma, pmd_t pmd,
			 unsigned long addr, struct onewalk_entry *entry);
struct folio *onewalk_get_folio(const struct onewalk_call *call, pmd_t *pmdp);

/* fault.c */
int onewalk_fault(struct onewalk_call *call);
bool onewalk_too_many_tries(struct onewalk_call *call);
int onewalk_split(struct onewalk_call *call);
void onewalk_drain(struct onewalk_call *call);
int onewalk_delegate(struct onewalk_call *call, unsigned long end);

/* huge.c */
bool onewalk_collect_huge(struct vm_area_struct *vma, unsigned long addr,
			  pmd_t *pmdp, spinlock_t *ptl, struct folio *folio);
void onewalk_show(struct vm_area_struct *vma, unsigned long addr,
		  struct folio *folio);
void onewalk_part_from_huge(struct onewalk_migrate *migrate);
void onewalk_take_back_huge(struct onewalk_migrate *migrate);
void onewalk_settle_huge(struct onewalk_migrate *migrate);
bool onewalk_map_by_ptes(struct folio *folio);

/* unmap.c */
void onewalk_unmap(struct onewalk_call *call);
void onewalk_restore(struct onewalk_call *call);

/* migrate.c */
struct migrate_vma onewalk_kernel_args(const struct onewalk_migrate *migrate);

/**
 * struct onewalk_engine - a way to collect pages
 * @name: what engine= calls it
 * @init: NULL, or returns 0 when this kernel can be served, or an errno; its
 *	argument: this engine is what the administrator asked for
 * @reason: after @init failed: what is missing
 * @whole: collects huge pages itself. For another engine the kernel's collector
 *	does, and sees to the huge zero page and to the folio of fault_page.
 * @peers: collects other devices' pages. migrate_vma_setup() would, if it were
 *	given their owner, and those drivers told that it is their own migration.
 * @at_once: NULL, or can this call, if its range lies in one PTE table, be looked
 *	at and collected in one descent
 * @split: try to split the large folio that is mapped at call->addr with
 *	call->order; nothing is held but the mmap lock
 * @drain_all: NULL, or drains the LRU batches of all CPUs
 * @collect: prepare the pages that the look-ahead marked ONEWALK_PFN_COLLECT, so
 *	that onewalk_migrate_pages() and onewalk_migrate_finalize() can go on.
 *	0, -EAGAIN when a page that had to be there vanished, or an errno; before
 *	the look-ahead also ONEWALK_NEED_* when there has to be one. Unless it is
 *	0 nothing is prepared.
 * @finalize: map what is there now, and let go of it
 * @map_by_ptes: NULL, or has PTEs alone map a huge page of a device, which is
 *	locked, and says whether it could
 */
struct onewalk_engine {
	const char	*name;
	int		(*init)(bool by_name);
	const char	*(*reason)(void);
	bool		whole;
	bool		peers;
	bool		(*at_once)(const struct onewalk_call *call);
	int		(*split)(struct onewalk_call *call);
	void		(*drain_all)(void);
	int		(*collect)(struct onewalk_call *call);
	void		(*finalize)(struct onewalk_migrate *migrate);
	bool		(*map_by_ptes)(struct folio *folio);
};

extern const struct onewalk_engine onewalk_portable;
extern const struct onewalk_engine onewalk_unified;

/* main.c */
extern const struct onewalk_engine *onewalk_engine;

/* window.c */

/**
 * struct onewalk_service_arrays - what a service allocates once
 *
 * One entry for each page of the largest window:
 *
 * @pfns: for onewalk_range_fault()
 * @src: for the migration
 * @dst: likewise
 * @status: likewise; after an error it tells where
 * @pages: of the window's block, the strongest access wanted
 *
 * And one for each fault:
 *
 * @order: its number in the caller's array, sorted by space and address
 */
struct onewalk_service_arrays {
	unsigned long	pfns[ONEWALK_PMD_NR];
	unsigned long	src[ONEWALK_PMD_NR];
	unsigned long	dst[ONEWALK_PMD_NR];
	u8		status[ONEWALK_PMD_NR];
	u8		pages[ONEWALK_PMD_NR];
	u32		order[];
};

static inline unsigned long
onewalk_window_pages(const struct onewalk_window *window)
{
	return (window->end - window->start) >> PAGE_SHIFT;
}

static inline bool onewalk_writes(u8 access)
{
	return access >= ONEWALK_ACCESS_WRITE;
}

int onewalk_try_window(struct onewalk_window *window, bool *waited);

/* bounce.c */
void onewalk_bounces_note(struct onewalk_bounces *bounces, unsigned long addr,
			  unsigned long nr);
enum onewalk_policy onewalk_first_touch(struct onewalk_window *window);

/* finalize.c */
void onewalk_finalize(struct onewalk_migrate *migrate);

/* own.c */

/**
 * struct onewalk_own - a migration that this task is doing right now
 * @list: on the list of its bucket
 * @task: the task
 * @notifier: on whose behalf
 * @pfns: NULL as long as nothing is collected, or one entry for each page from
 *	@start to @end
 * @collected: the bits that say in @pfns that a page is collected
 * @compound: the bit that says that a huge page begins there
 * @start: first address
 * @end: first address behind
 */
struct onewalk_own {
	struct hlist_node			list;
	const struct task_struct		*task;
	const struct mmu_interval_notifier	*notifier;
	const unsigned long			*pfns;
	unsigned long				collected;
	unsigned long				compound;
	unsigned long				start;
	unsigned long				end;
};

void onewalk_own_begin(struct onewalk_own *own,
		       const struct mmu_interval_notifier *notifier,
		       unsigned long start, unsigned long end);
void onewalk_own_end(struct onewalk_own *own);

/* migrate_vma_*() is about to work, with migrate pfns in args->src. */
static inline void onewalk_own_begin_kernel(struct onewalk_own *own,
					    const struct onewalk_migrate *migrate,
					    const struct migrate_vma *args)
{
	own->pfns = args->src;
	own->collected = MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE;
	own->compound = MIGRATE_PFN_COMPOUND;
	onewalk_own_begin(own, migrate->notifier, args->start, args->end);
}

#endif /* _ONEWALK_INTERNAL_H */
