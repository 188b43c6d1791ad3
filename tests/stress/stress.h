/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stress: processes that do to their memory, at random, everything that a
 * program can do, while devices use it. What a page holds is known at any time.
 *
 *	main.c		arguments, a round, what is printed in the end
 *	world.c		the memory of a process, and what it has to hold
 *	memory.c	what a process does to its memory
 *	pins.c		and the kernel on its behalf, by pages that are pinned
 *	device.c	what devices do to it
 *	process.c	threads, children, and how they end
 *	machine.c	what happens to all processes at once
 *	account.c	what must be as it was when all is over
 */
#ifndef ONEWALK_STRESS_H
#define ONEWALK_STRESS_H

#include <pthread.h>
#include <stdatomic.h>

#include "../selftest/common.h"

/* What is done, by a worker of a process or for all of them; see ops[]. */
#define WORKER_OPS(X)							\
	X(cpu_read) X(cpu_write) X(cpu_read_any) X(cpu_write_any)	\
	X(map_anew) X(unmap_part) X(mremap) X(mprotect_read) X(mprotect_none) \
	X(dontneed) X(madvise_free) X(remove) X(pageout) X(cold)	\
	X(populate_read) X(populate_write) X(collapse) X(hugepage)	\
	X(mlock) X(munlock) X(clear_soft_dirty) X(ksm) X(move_pages)	\
	X(uffd_missing) X(uffd_wp)					\
	X(vmsplice) X(direct_write) X(direct_read) X(io_uring)		\
	X(device_read) X(device_read_unlocked) X(device_write)		\
	X(device_read_any) X(device_write_any) X(device_snapshot)	\
	X(device_exclusive) X(device_report) X(device_pin) X(device_unpin) \
	X(device_pin_longterm)						\
	X(to_device) X(to_system) X(range_to_device) X(setup_to_device) \
	X(range_to_system) X(service) X(device_evict) X(fail_destination) \
	X(reopen)							\
	X(fork_exit) X(fork_kill) X(fork_exec)

#define MACHINE_OPS(X)							\
	X(unplug) X(device_limit) X(compact) X(drop_caches) X(swap_cycle) X(memcg_reclaim) \
	X(memcg_limit) X(oom) X(kill_player) X(merge)

/* Seen to have happened, by the kernel's own counters. */
#define EVENTS(X)							\
	X(pages_to_device) X(pages_to_system) X(pages_evicted)		\
	X(windows_served) X(pages_swapped_out) X(numa_hint_faults)	\
	X(khugepaged_collapsed) X(pages_compacted) X(alloc_failed)

enum op {
#define OP(name) OP_##name,
	WORKER_OPS(OP)
	NR_WORKER_OPS,
	FIRST_MACHINE_OP = NR_WORKER_OPS - 1,
	MACHINE_OPS(OP)
	FIRST_EVENT,
	BEFORE_EVENTS = FIRST_EVENT - 1,
	EVENTS(OP)
	NR_OPS
#undef OP
};

enum outcome {
	DONE,
	BUSY,		/* somebody else is at it: not tried */
	FAILED,		/* with an error that may be */
};

/* Shared by all processes, mapped from a file. */
struct control {
	uint64_t seed;
	uint64_t deadline;		/* CLOCK_MONOTONIC, in ms */
	/*
	 * Huge pages are on devices, as such. Not in every round: all else is done
	 * more often then. Nor with engine=portable: up to 7.3 the kernel drops a
	 * reference too many when such a page is discarded while it comes back.
	 */
	bool whole;
	atomic_bool stop;
	atomic_bool quiet;		/* nothing is shared by KSM any more */
	atomic_uint wrong;
	atomic_uint players;		/* numbers given out */
	atomic_ulong tried[NR_OPS];
	atomic_ulong done[NR_OPS];
};

extern struct control *control;

#define MAX_DEPTH	2	/* of forks */

/* Those of a forked process among the processes that it shares pages with. */
extern pid_t ancestors[MAX_DEPTH];
extern unsigned int nr_ancestors;

/* What is wrong ends the round; @addr is where, or NULL. */
void wrong(const void *addr, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void history(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool time_is_up(void);
uint64_t now_ms(void);
void count_op(enum op op, enum outcome outcome);
void event(enum op op, unsigned long times);
const char *op_name(enum op op);
bool left_out(enum op op);

/* --- world.c --- */

#define BLOCK_MAX	512
#define NR_DEVICES	2
#define NR_FILES	4	/* open device files, two of each */

enum block_kind {
	SMALL = 1 << 0,		/* anonymous memory, never huge */
	LARGE = 1 << 1,		/* huge if possible */
	COPIED = 1 << 2,	/* a private mapping of a file */
	TWINS = 1 << 3,		/* pages alike, for KSM */
	OPEN = 1 << 4,		/* not locked: written by anybody at any time */
	SHARED = 1 << 5,	/* likewise, and by several processes */
	ANONYMOUS = SMALL | LARGE | TWINS,
	EXACT = ANONYMOUS | COPIED,
	ANY = EXACT | OPEN | SHARED,
};

/*
 * A mapping. The version of each page of an EXACT block is known to who holds its
 * lock: for writing, to change what it holds, for reading, to look. What must not
 * change what it holds needs no lock.
 */
struct block {
	char *home;
	size_t npages;
	enum block_kind kind;
	pthread_rwlock_t lock;
	uint16_t version[BLOCK_MAX];	/* 0: zeros */
	bool may_be_zero[BLOCK_MAX];	/* after MADV_FREE */
};

extern struct block blocks[];
extern const size_t nr_blocks;

/* A thread that works. */
struct worker {
	uint64_t random;
	unsigned int depth;		/* of forks */
	enum op op;			/* what it is at */
	unsigned char deck[NR_WORKER_OPS];
	unsigned int left;		/* cards in the deck */
	uint64_t *buffer;		/* BLOCK_MAX pages */
	uint8_t *bytes;			/* BLOCK_MAX bytes */
};

/* Some pages of a block. */
struct span {
	struct block *block;
	size_t first;
	size_t npages;
};

uint64_t below(struct worker *w, uint64_t limit);
bool one_in(struct worker *w, uint64_t n);

void world_map(void);
/* Also in a forked child, whose parent's threads are not there. */
void init_locks(void);
struct block *any_block(struct worker *w, unsigned int kinds);
struct span any_span(struct worker *w, unsigned int kinds, size_t most);
char *span_addr(const struct span *span);
/* At once, or not. */
bool lock_to_look(struct block *block);
bool lock_to_change(struct block *block);
void unlock_block(struct block *block);
void lock_world(void);
void unlock_world(void);
bool map_block(struct block *block);

/* In a block that is locked: */
void set_version(const struct span *span, uint16_t version);
void set_versions(const struct span *span, const uint16_t *versions);
/* What the pages are to hold next; the block goes by that after set_versions(). */
void fill_next(const struct span *span, void *content, uint16_t *versions);
/* Both, by the CPU. */
void write_span(const struct span *span);
/* @content: as the CPU has it, or what somebody has read there */
bool check_span(const struct span *span, const void *content, const char *who);
/* What was to be written, and may have been: only in part. */
void find_versions(const struct span *span, const uint16_t *versions,
		   const char *who);
/* In one that is not: */
bool check_any(const struct span *span, const void *content, const char *who);
void write_any(const struct span *span, void *content, uint16_t version);
void check_world(void);

/* --- the rest --- */

typedef enum outcome (*op_fn)(struct worker *w);
#define OP(name) enum outcome op_##name(struct worker *w);
WORKER_OPS(OP)
MACHINE_OPS(OP)
#undef OP

/* device.c */
int device_file(struct worker *w);
void init_files_lock(void);
void reopen_device(int file);
void close_devices(void);
extern int files[NR_FILES];
extern pthread_rwlock_t files_lock;

/* process.c */
int play(int number);

/* machine.c */
#define CGROUP	"/sys/fs/cgroup/stress"

void machine_begin(void);
void machine_run(void);
void machine_end(void);
bool cycle_swap(void);
bool impossible(enum op op);

/* account.c */
void account_process(int number);
void account_machine(void);

#endif
