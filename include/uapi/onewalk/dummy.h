/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ioctls of onewalk_dummy, the device that onewalk is tested with.
 *
 * The device nodes are /dev/hmm_dmirror0 and 1, and where coherent memory was given
 * to a module whose memory= is another kind also 2 and 3, which have it. Opening
 * one mirrors the address space of the opening process, whoever uses the file then.
 *
 * Errors that every ioctl can give: EINVAL for an address that is not page
 * aligned, no pages, a range that wraps, an unknown flag; ENOMEM for a range
 * that needs a table and has more pages than the system has memory; EFAULT for
 * a bad pointer, and where nothing is mapped or may be accessed; EPERM for write
 * where that is not allowed; EBUSY when the process's memory kept changing for
 * a second; EINTR when the task is to die; ESRCH when the mirrored process is
 * gone; ENOTTY for an unknown number. READ, WRITE, PIN, ... stop there; what was
 * done before stays done, except that PIN and PIN_LONGTERM pin all or nothing.
 */
#ifndef _UAPI_ONEWALK_DUMMY_H
#define _UAPI_ONEWALK_DUMMY_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * First half: numbers and layouts as the kernel's lib/test_hmm has them in 7.3,
 * so that the kernel's own hmm-tests run against this device unmodified.
 */

/**
 * struct onewalk_dummy_cmd - argument of the calls that test_hmm has too
 * @addr: in: user address, page aligned
 * @ptr: in: user address of a buffer: @npages pages of data (READ, READ_UNLOCKED,
 *	WRITE, MIGRATE_TO_DEV, EXCLUSIVE), or @npages bytes (SNAPSHOT)
 * @npages: in: number of pages; for FLAGS the flags
 * @cpages: out: number of pages copied
 * @faults: out: number of times that the device had to fault. Each time it is for
 *	the rest of the 64 pages that it accesses at a time, and on into the next 64.
 */
struct onewalk_dummy_cmd {
	__u64	addr;
	__u64	ptr;
	__u64	npages;
	__u64	cpages;
	__u64	faults;
};

/* The device reads, or writes, through its own page table. */
#define ONEWALK_DUMMY_READ		_IOWR('H', 0x00, struct onewalk_dummy_cmd)
#define ONEWALK_DUMMY_WRITE		_IOWR('H', 0x01, struct onewalk_dummy_cmd)
/*
 * Without faulting. A page that could not move for a reason that passes is tried
 * again for a second. TO_DEV fills holes, and also reads back what the device
 * then maps: -ENOENT when some page is not there in the end, the rest is.
 * -EINVAL where there is no VMA, or an unreadable or special one.
 */
#define ONEWALK_DUMMY_MIGRATE_TO_DEV	_IOWR('H', 0x02, struct onewalk_dummy_cmd)
#define ONEWALK_DUMMY_MIGRATE_TO_SYS	_IOWR('H', 0x03, struct onewalk_dummy_cmd)
/* What the CPU's page table holds: one ONEWALK_DUMMY_PROT_* byte a page. */
#define ONEWALK_DUMMY_SNAPSHOT		_IOWR('H', 0x04, struct onewalk_dummy_cmd)
/*
 * Atomic access by the device, and whether that ended: -EPERM if it did not.
 * EXCLUSIVE is -EOPNOTSUPP on a kernel without CONFIG_DEVICE_PRIVATE.
 */
#define ONEWALK_DUMMY_EXCLUSIVE		_IOWR('H', 0x05, struct onewalk_dummy_cmd)
#define ONEWALK_DUMMY_CHECK_EXCLUSIVE	_IOWR('H', 0x06, struct onewalk_dummy_cmd)
/* Hot-unplug all of the device's memory; what is in use is evicted first. */
#define ONEWALK_DUMMY_RELEASE		_IOWR('H', 0x07, struct onewalk_dummy_cmd)
/* Takes its flags from npages, and no address. */
#define ONEWALK_DUMMY_FLAGS		_IOWR('H', 0x08, struct onewalk_dummy_cmd)
/* READ with the mmap lock dropped while faulting. */
#define ONEWALK_DUMMY_READ_UNLOCKED	_IOWR('H', 0x09, struct onewalk_dummy_cmd)

/* FLAGS: the next allocation of a migration's, or EVICT's, destination fails. */
#define ONEWALK_DUMMY_FLAG_FAIL_ALLOC	(1ULL << 0)

/* What SNAPSHOT returns: a kind, access and size in one byte. */
#define ONEWALK_DUMMY_PROT_NONE			0x00
#define ONEWALK_DUMMY_PROT_READ			0x01
#define ONEWALK_DUMMY_PROT_WRITE		0x02
#define ONEWALK_DUMMY_PROT_PMD			0x04
#define ONEWALK_DUMMY_PROT_PUD			0x08
#define ONEWALK_DUMMY_PROT_ZERO			0x10
#define ONEWALK_DUMMY_PROT_PRIVATE_LOCAL	0x20
#define ONEWALK_DUMMY_PROT_PRIVATE_REMOTE	0x30
#define ONEWALK_DUMMY_PROT_COHERENT_LOCAL	0x40
#define ONEWALK_DUMMY_PROT_COHERENT_REMOTE	0x50
#define ONEWALK_DUMMY_PROT_ERROR		0xff

/*
 * Second half: our own.
 */

/* How struct onewalk_dummy_migrate gets pages to the device. */
enum onewalk_dummy_method {
	/* onewalk_range_fault(), onewalk_migrate_range_setup() */
	ONEWALK_DUMMY_RANGE,
	/* onewalk_migrate_setup() */
	ONEWALK_DUMMY_SETUP,
	/* hmm_range_fault(), migrate_vma_setup() */
	ONEWALK_DUMMY_FAULT_MIGRATE,
	/* migrate_vma_setup(); if holes remain hmm_range_fault() and again */
	ONEWALK_DUMMY_MIGRATE_FAULT_MIGRATE,
	/* migrate_vma_setup() alone */
	ONEWALK_DUMMY_KERNEL_MIGRATE,
	ONEWALK_DUMMY_NR_METHODS,
};

/* What struct onewalk_dummy_migrate tells the time of. */
enum onewalk_dummy_stage {
	/* hmm_range_fault() */
	ONEWALK_DUMMY_STAGE_FAULT,
	/* migrate_vma_setup(), or all that the method of ours does in its place */
	ONEWALK_DUMMY_STAGE_SETUP,
	/* migrate_vma_pages() or onewalk_migrate_pages() */
	ONEWALK_DUMMY_STAGE_PAGES,
	/* migrate_vma_finalize() or onewalk_migrate_finalize() */
	ONEWALK_DUMMY_STAGE_FINALIZE,
	ONEWALK_DUMMY_NR_STAGES,
};

/* Flags of struct onewalk_dummy_migrate. */
#define ONEWALK_DUMMY_MIGRATE_FAULT	(1U << 0) /* fault in what is missing */
#define ONEWALK_DUMMY_MIGRATE_WRITE	(1U << 1) /* for writing; needs FAULT */
#define ONEWALK_DUMMY_MIGRATE_TO_SYSTEM	(1U << 2) /* back from this device */
/*
 * onewalk_range_fault_unlocked(). While userfaultfd holds it up, other calls on
 * the same open file wait for it: serve the fault from elsewhere.
 */
#define ONEWALK_DUMMY_MIGRATE_UNLOCKED	(1U << 3)
#define ONEWALK_DUMMY_MIGRATE_SKIP_NODE	(1U << 4) /* not what is on node @nid */
#define ONEWALK_DUMMY_MIGRATE_NO_COPY	(1U << 5) /* prepare, then give up and all back */
#define ONEWALK_DUMMY_MIGRATE_COMPOUND	(1U << 6) /* large folios whole, if possible */
#define ONEWALK_DUMMY_MIGRATE_ANEW	(1U << 7) /* what is on the device to another place there */
#define ONEWALK_DUMMY_MIGRATE_PEERS	(1U << 8) /* also from devices that PEERS allows */

/**
 * struct onewalk_dummy_migrate - fault in and migrate a range
 * @addr: in: user address, page aligned
 * @npages: in: number of pages
 * @status: in: 0, or the user address of one byte for each page, which gets the
 *	page's &enum onewalk_status. Methods of the kernel alone do not fill it.
 *	Filled after an error too, as is the rest of this structure.
 * @pfns: in: 0, or the user address of one __u64 for each page: in its request
 *	flags, out its &enum onewalk_pfn_flags, the pfn itself masked out. RANGE
 *	only. With it the requests come from here; FAULT and WRITE do not count.
 *	After an error each entry has its request again, or the result of what
 *	was done before the error.
 * @method: in: &enum onewalk_dummy_method
 * @flags: in: ONEWALK_DUMMY_MIGRATE_*
 *	UNLOCKED goes with RANGE only, SKIP_NODE, ANEW and PEERS with RANGE and
 *	SETUP; PEERS needs ONEWALK_DUMMY_PEERS_ASK
 * @nid: in: node number for SKIP_NODE
 * @retries: out: how often the call returned -EBUSY and was repeated
 * @moved: out: number of pages that migrated
 * @collected: out: number of pages that were prepared (&onewalk_migrate.cpages)
 * @mapped: out: number of pages that the device maps now, as a result: those
 *	that moved, and with a method that reports (all but SETUP and
 *	KERNEL_MIGRATE) also those that it found and that stayed. None of a VMA
 *	in which anything else changed meanwhile: the device faults again.
 * @ns: out: how long each &enum onewalk_dummy_stage took, in ns, all tries
 *	together. To find destinations and to copy is not in it.
 */
struct onewalk_dummy_migrate {
	__u64	addr;
	__u64	npages;
	__u64	status;
	__u64	pfns;
	__u32	method;
	__u32	flags;
	__s32	nid;
	__u32	retries;
	__u64	moved;
	__u64	collected;
	__u64	mapped;
	__u64	ns[ONEWALK_DUMMY_NR_STAGES];
};

/*
 * All of the range at once, not in pieces: one call of ours per VMA. -EFAULT
 * where there is none. Pages that stay are not tried again.
 */
#define ONEWALK_DUMMY_MIGRATE		_IOWR('H', 0x40, struct onewalk_dummy_migrate)

/**
 * struct onewalk_dummy_report - onewalk_range_fault() without migration
 * @addr: in: user address, page aligned
 * @npages: in: number of pages
 * @pfns: in: user address of one __u64 for each page: in requests, out flags,
 *	the pfn itself masked out
 * @default_flags: in: &onewalk_range.default_flags
 * @pfn_flags_mask: in: &onewalk_range.pfn_flags_mask
 * @kernel: in: not 0: the kernel's hmm_range_fault() instead, its answer put
 *	into our layout; it is not given the flags that are only carried along
 * @unlocked: in: not 0: onewalk_range_fault_unlocked(); not together with @kernel
 */
struct onewalk_dummy_report {
	__u64	addr;
	__u64	npages;
	__u64	pfns;
	__u64	default_flags;
	__u64	pfn_flags_mask;
	__u32	kernel;
	__u32	unlocked;
};

/* Reports without mapping anything into the device. */
#define ONEWALK_DUMMY_REPORT		_IOWR('H', 0x41, struct onewalk_dummy_report)

/* One byte for each page of the device's page table: */
#define ONEWALK_DUMMY_MAPPED_READ	0x01
#define ONEWALK_DUMMY_MAPPED_WRITE	0x02
#define ONEWALK_DUMMY_MAPPED_DEVICE	0x04 /* the device's own memory */
#define ONEWALK_DUMMY_MAPPED_ATOMIC	0x08

/**
 * struct onewalk_dummy_buffer - a range and one byte for each of its pages
 * @addr: in: user address, page aligned
 * @npages: in: number of pages
 * @ptr: in: user address of @npages bytes
 */
struct onewalk_dummy_buffer {
	__u64	addr;
	__u64	npages;
	__u64	ptr;
};

/* The device's page table as it stands: ONEWALK_DUMMY_MAPPED_* a page. */
#define ONEWALK_DUMMY_INSPECT		_IOWR('H', 0x42, struct onewalk_dummy_buffer)

/**
 * struct onewalk_dummy_info - what the device is and has
 * @memory: out: 1 private, 2 coherent, 3 system
 * @id: out: number of the device node
 * @pages_total: out: pages of device memory; 0 with memory=system
 * @pages_free: out: those of them that are in no use
 * @pages_allocated: out: how many were ever taken
 * @mapped: out: pages that this open file maps into the device
 * @pinned: out: pages that this open file has pinned
 * @invalidations: out: how often this open file's notifier was called
 * @own_invalidations: out: how often that was by its own migration
 */
struct onewalk_dummy_info {
	__u32	memory;
	__u32	id;
	__u64	pages_total;
	__u64	pages_free;
	__u64	pages_allocated;
	__u64	mapped;
	__u64	pinned;
	__u64	invalidations;
	__u64	own_invalidations;
};

#define ONEWALK_DUMMY_MEMORY_PRIVATE	1
#define ONEWALK_DUMMY_MEMORY_COHERENT	2
#define ONEWALK_DUMMY_MEMORY_SYSTEM	3

#define ONEWALK_DUMMY_INFO		_IOR('H', 0x43, struct onewalk_dummy_info)

/**
 * struct onewalk_dummy_pin - pin pages of the mirrored process as DMA would
 * @addr: in: user address, page aligned
 * @npages: in: number of pages
 */
struct onewalk_dummy_pin {
	__u64	addr;
	__u64	npages;
};

/* pin_user_pages() with FOLL_LONGTERM; UNPIN_ALL or close() lets go. */
#define ONEWALK_DUMMY_PIN		_IOW('H', 0x44, struct onewalk_dummy_pin)
#define ONEWALK_DUMMY_UNPIN_ALL		_IO('H', 0x45)

/* Which exported function struct onewalk_dummy_call calls. */
enum onewalk_dummy_function {
	ONEWALK_DUMMY_CALL_RANGE_FAULT,
	ONEWALK_DUMMY_CALL_RANGE_FAULT_UNLOCKED,
	ONEWALK_DUMMY_CALL_MIGRATE_SETUP,
	ONEWALK_DUMMY_CALL_PIN_LONGTERM,
};

/* What struct onewalk_dummy_call leaves out of the arguments. */
#define ONEWALK_DUMMY_NULL_ARGUMENT	(1U << 0) /* the structure itself */
#define ONEWALK_DUMMY_NULL_NOTIFIER	(1U << 1)
#define ONEWALK_DUMMY_NULL_PFNS		(1U << 2)
#define ONEWALK_DUMMY_NULL_MIGRATE	(1U << 3)
#define ONEWALK_DUMMY_NULL_SRC		(1U << 4)
#define ONEWALK_DUMMY_NULL_DST		(1U << 5)
#define ONEWALK_DUMMY_NULL_VMA		(1U << 6)
#define ONEWALK_DUMMY_STALE_SEQ		(1U << 7) /* notifier_seq from before an invalidation */
#define ONEWALK_DUMMY_FAULT_PAGE	(1U << 8) /* an ordinary, unlocked page */
#define ONEWALK_DUMMY_MUTE_PEERS	(1U << 9) /* p2p without a callback */

/**
 * struct onewalk_dummy_call - one exported call with arguments as given
 * @start: in: handed on as it is, aligned or not
 * @end: in: likewise
 * @vma_addr: in: an address in the VMA that MIGRATE_SETUP is given
 * @default_flags: in: &onewalk_range.default_flags
 * @migrate_flags: in: &onewalk_migrate.flags
 * @function: in: &enum onewalk_dummy_function
 * @null: in: ONEWALK_DUMMY_NULL_* and the other deviations
 * @result: out: what the call returned
 * @pad: in: 0
 * @npages: out: &onewalk_migrate.npages after onewalk_migrate_range_setup()
 * @cpages: out: &onewalk_migrate.cpages then
 *
 * PIN_LONGTERM has @default_flags for its gup_flags; NULL_PFNS leaves out its
 * array, and NULL_VMA the process.
 *
 * The arrays are as long as the range, or as 512 pages where the range makes no
 * sense; a range of more pages than the system has is refused with ENOMEM.
 * Everything prepared is given back before the ioctl returns.
 */
struct onewalk_dummy_call {
	__u64	start;
	__u64	end;
	__u64	vma_addr;
	__u64	default_flags;
	__u64	migrate_flags;
	__u32	function;
	__u32	null;
	__s32	result;
	__u32	pad;
	__u64	npages;
	__u64	cpages;
};

#define ONEWALK_DUMMY_CALL		_IOWR('H', 0x46, struct onewalk_dummy_call)

/* The longest time that a page can be kept locked. */
#define ONEWALK_DUMMY_LOCK_MAX_MSEC	10000

/**
 * struct onewalk_dummy_lock - lock a page's folio, as reclaim may at any time
 * @addr: in: user address, page aligned
 * @msec: in: how long; the call returns when it is unlocked
 */
struct onewalk_dummy_lock {
	__u64	addr;
	__u64	msec;
};

#define ONEWALK_DUMMY_LOCK		_IOW('H', 0x47, struct onewalk_dummy_lock)

/* Flags of struct onewalk_dummy_peers. */
#define ONEWALK_DUMMY_PEERS_ASK		(1U << 0) /* onewalk asks the device */
#define ONEWALK_DUMMY_PEERS_OWN		(1U << 1) /* it allows its own memory */
#define ONEWALK_DUMMY_PEERS_OTHERS	(1U << 2) /* it allows other devices' */

/**
 * struct onewalk_dummy_peers - which device-private memory the device can reach
 * @flags: in: ONEWALK_DUMMY_PEERS_*; 0 is what an open file begins with: onewalk
 *	does not ask, and goes by the owner
 * @pad: in: 0
 */
struct onewalk_dummy_peers {
	__u32	flags;
	__u32	pad;
};

/* For READ, WRITE, MIGRATE by RANGE or SETUP, REPORT and MIGRATE_TO_DEV. */
#define ONEWALK_DUMMY_PEERS		_IOW('H', 0x48, struct onewalk_dummy_peers)

/**
 * struct onewalk_dummy_fault - an entry of the device's fault buffer
 * @addr: in: user address
 * @fd: in: the open file of the device that mirrors the process; -1: this one
 * @access: in: &enum onewalk_access
 * @verdict: out: &enum onewalk_verdict
 * @reason: out: &enum onewalk_reason
 * @pad: in: 0
 */
struct onewalk_dummy_fault {
	__u64	addr;
	__s32	fd;
	__u8	access;
	__u8	verdict;
	__u8	reason;
	__u8	pad;
};

/* The most faults that a buffer has. */
#define ONEWALK_DUMMY_MAX_FAULTS	4096

/* What is done about a window; the first is the policy that onewalk comes with. */
enum onewalk_dummy_policy {
	ONEWALK_DUMMY_FIRST_TOUCH,
	ONEWALK_DUMMY_POLICY_MIGRATE,
	ONEWALK_DUMMY_POLICY_MAP,
	ONEWALK_DUMMY_POLICY_SKIP,
	ONEWALK_DUMMY_NR_POLICIES,
};

/* FIRST_TOUCH: so often a page goes to the device, then it stays for so long. */
#define ONEWALK_DUMMY_BOUNCES		3
#define ONEWALK_DUMMY_HOLD_MSEC		2000

/* Flags of struct onewalk_dummy_service. */
#define ONEWALK_DUMMY_SERVICE_AROUND	(1U << 0) /* windows as large as may be; POLICY_MIGRATE */
#define ONEWALK_DUMMY_SERVICE_EARLY	(1U << 1) /* destinations before anything is collected */
#define ONEWALK_DUMMY_SERVICE_LARGE	(1U << 2) /* large mappings beyond a window too */
#define ONEWALK_DUMMY_SERVICE_REFUSE	(1U << 3) /* atomic access to system memory is refused */

/**
 * struct onewalk_dummy_service - serve a fault buffer
 * @faults: in: user address of @nr &struct onewalk_dummy_fault
 * @own_start: in: first address of a range that is the driver's own, in all
 *	address spaces
 * @own_end: in: first address behind it
 * @nr: in: number of faults
 * @window: in: pages of the largest window, a power of two
 * @policy: in: &enum onewalk_dummy_policy
 * @flags: in: ONEWALK_DUMMY_SERVICE_*
 * @tries: in: &onewalk_service.tries
 * @msec: in: &onewalk_service.timeout
 * @windows: out: &onewalk_service.windows
 * @walks: out: &onewalk_service.walks
 *
 * The faults have their verdicts, and the rest of this structure is filled, also
 * after EBUSY and EINTR.
 */
struct onewalk_dummy_service {
	__u64	faults;
	__u64	own_start;
	__u64	own_end;
	__u32	nr;
	__u32	window;
	__u32	policy;
	__u32	flags;
	__u32	tries;
	__u32	msec;
	__u64	windows;
	__u64	walks;
};

#define ONEWALK_DUMMY_SERVICE		_IOWR('H', 0x49, struct onewalk_dummy_service)

/* Flags of struct onewalk_dummy_pin_longterm. */
#define ONEWALK_DUMMY_PIN_WRITE		(1U << 0) /* to be written; else read */
#define ONEWALK_DUMMY_PIN_ALLOC		(1U << 1) /* the device allocates what pages move to */

/**
 * struct onewalk_dummy_pin_longterm - PIN, by onewalk_pin_longterm()
 * @addr: in: user address, page aligned
 * @npages: in: number of pages
 * @flags: in: ONEWALK_DUMMY_PIN_*
 * @limit: in: 0, or with ALLOC how many pages there are to move to, at most. With
 *	ALLOC also ONEWALK_DUMMY_FLAG_FAIL_ALLOC counts.
 * @moved: out: &onewalk_pin.moved
 *
 * Filled after an error too.
 */
struct onewalk_dummy_pin_longterm {
	__u64	addr;
	__u64	npages;
	__u32	flags;
	__u32	limit;
	__u64	moved;
};

/* UNPIN_ALL or close() lets go. */
#define ONEWALK_DUMMY_PIN_LONGTERM	_IOWR('H', 0x4b, struct onewalk_dummy_pin_longterm)

/* Flags of struct onewalk_dummy_evict. */
#define ONEWALK_DUMMY_EVICT_BACKWARD	(1U << 0) /* the last page first */
#define ONEWALK_DUMMY_EVICT_TWICE	(1U << 1) /* all of them, and all of them again */
#define ONEWALK_DUMMY_EVICT_EVEN	(1U << 2) /* every second, from the first on */

/**
 * struct onewalk_dummy_evict - bring pages of the device back, by their pfns
 * @addr: in: user address, page aligned
 * @npages: in: number of pages
 * @flags: in: ONEWALK_DUMMY_EVICT_*
 * @pad: in: 0
 * @tried: out: &onewalk_evict.tried
 * @evicted: out: &onewalk_evict.evicted
 *
 * Those pages of the range that are on this device: by one call of
 * onewalk_evict_pages(), whose errors it returns. Also out after an error. What
 * the process, or the device, does with a page after it was found and before it is
 * evicted is not known.
 */
struct onewalk_dummy_evict {
	__u64	addr;
	__u64	npages;
	__u32	flags;
	__u32	pad;
	__u64	tried;
	__u64	evicted;
};

#define ONEWALK_DUMMY_EVICT		_IOWR('H', 0x4a, struct onewalk_dummy_evict)

#endif /* _UAPI_ONEWALK_DUMMY_H */
