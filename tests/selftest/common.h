/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the test programs share: the device, the ways to bring a page into a
 * given state, and the ways to see where a page is without asking the module.
 *
 * Which status of a page is provoked where:
 *
 * MIGRATING, NOT_REQUESTED, NOT_SELECTED,	states.c, methods.c
 * FOREIGN_DEVICE, ON_NODE, SWAPPED, PINNED,
 * WRITEBACK, FILE, KSM, SPECIAL, HUGETLB,
 * POISONED, UFFD, FAULT_EFAULT, FAULT_EPERM,
 * FAULT_ENOMEM, FAULT_POISONED, STOPPED
 * LOCKED		interleave.c
 * NOT_ON_LRU,		injected.c: both engines, or the kernel for the portable
 * SPLIT_FAILED		one, drain all CPUs before they give up on such a page
 * BUSY			states.c
 * UNKNOWN		in place of PINNED and BUSY, by the portable engine
 */
#ifndef ONEWALK_SELFTEST_COMMON_H
#define ONEWALK_SELFTEST_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <onewalk/dummy.h>
#include <onewalk/status.h>
#include <onewalk/verdict.h>

#define PAGE	4096UL
#define HUGE	(2UL << 20)

/* enum onewalk_pfn_flags, whose header is for the kernel only */
#define PFN_VALID	(1ULL << 63)
#define PFN_WRITE	(1ULL << 62)
#define PFN_ERROR	(1ULL << 61)
#define PFN_MIGRATE	(1ULL << 57)
#define PFN_ORDER(pfn)	(((pfn) >> 51) & 0x1f)
#define REQ_FAULT	PFN_VALID
#define REQ_WRITE	PFN_WRITE
#define REQ_MIGRATE	PFN_MIGRATE

/* enum onewalk_migrate_flags, likewise */
#define SELECT_SYSTEM		(1U << 0)
#define SELECT_DEVICE_PRIVATE	(1U << 1)
#define SELECT_DEVICE_COHERENT	(1U << 2)
#define SELECT_DEVICE		(SELECT_DEVICE_PRIVATE | SELECT_DEVICE_COHERENT)
#define MIGRATE_FAULT		(1U << 8)

/* What older headers of the C library do not have. */
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#define MODE_RWP		(1ULL << 3) /* UFFDIO_REGISTER_MODE_RWP */
#define FEATURE_RWP		(1ULL << 17) /* UFFD_FEATURE_RWP */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif

/* --- the machine --- */

/* Linux 6.19: large folios on devices, and split where PTEs map them */
bool kernel_migrates_large_folios(void);
/* ONEWALK_MEMORY=private|coherent|system, the same as the module's memory= */
bool memory_is_private(void);
bool memory_is_coherent(void);
/* Either of these: device memory can be told from all other. */
bool has_device_memory(void);
/* ONEWALK_LONG=1: stress longer than CI can afford */
bool run_long(void);
/* A slow kernel, and no more time than CI has: what others can test is left out. */
bool run_short(void);
/* The engine in use is "portable": some statuses read UNKNOWN there. */
bool engine_is_portable(void);

/* Reads or writes a small file; -errno. read_file() cuts a final newline. */
int read_file(const char *path, char *buf, size_t size);
int write_file(const char *path, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* A line "NAME NUMBER" or "NAME: NUMBER kB" of a file; -1 without. */
long field(const char *path, const char *name);
/* Like write_file(), and restore_settings() puts the old content back. */
int set_file(const char *path, const char *value);
void restore_settings(void);

/* A line of diagnostics; also from a process that ends by _exit(). */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* xorshift; never from the clock, so that a failure can be had again */
uint64_t next_random(uint64_t *state);

/* the calling thread, from here on */
void run_on_cpu(int cpu);

/* --- the device --- */

int dummy_open(int id);
/* All return 0 or -errno. */
int dummy_cmd(int fd, unsigned long ioctl, const void *addr, size_t npages,
	      void *ptr, struct onewalk_dummy_cmd *result);
int dummy_read(int fd, const void *addr, size_t npages, void *buf);
int dummy_write(int fd, void *addr, size_t npages, const void *buf);
int dummy_info(int fd, struct onewalk_dummy_info *info);
int dummy_inspect(int fd, const void *addr, size_t npages, uint8_t *mapped);
int dummy_report(int fd, const void *addr, size_t npages, uint64_t *pfns,
		 uint64_t default_flags, bool kernel);
/* The same, with requests of single pages in @pfns, as @mask lets them. */
int dummy_report_masked(int fd, const void *addr, size_t npages,
			uint64_t *pfns, uint64_t default_flags, uint64_t mask,
			bool kernel);
int dummy_pin(int fd, const void *addr, size_t npages);
/* The page is locked when this begins to wait, and not any more when it returns. */
int dummy_lock(int fd, const void *addr, unsigned int msec);

/* A fault buffer; of @service only the fields that are out are of no matter. */
int dummy_service(int fd, struct onewalk_dummy_fault *faults, unsigned int nr,
		  struct onewalk_dummy_service *service);
/* @nr of them, whatever order they are in, into another one */
void shuffle_faults(struct onewalk_dummy_fault *faults, size_t nr,
		    uint64_t *random);
/* One request of ONEWALK_DUMMY_MIGRATE; any pointer may be NULL. */
int dummy_migrate(int fd, const void *addr, size_t npages, unsigned int method,
		  unsigned int flags, uint8_t *status, uint64_t *pfns,
		  struct onewalk_dummy_migrate *result);
/* A method of onewalk's, and not one of the classic ones. */
static inline bool method_is_ours(unsigned int method)
{
	return method == ONEWALK_DUMMY_RANGE || method == ONEWALK_DUMMY_SETUP;
}

/* The plain case: how many pages moved, or -errno. */
long to_device(int fd, const void *addr, size_t npages);
long to_system(int fd, const void *addr, size_t npages);

/*
 * Free pages of device memory, once nothing that was freed a moment ago is
 * still on its way: waits for @expected, and gives up after some seconds.
 */
uint64_t free_pages(int fd, uint64_t expected);
/* As many are free as there are in all. Always so with memory=system. */
bool device_is_empty(int fd);

/* --- memory --- */

/* Anonymous and private, never huge, not touched, aligned to @align. */
void *map_pages(size_t npages);
void *map_aligned(size_t npages, size_t align);
/* unmaps whatever map_*() mapped */
void unmap_all(void);

/*
 * Content that names its own place: each word holds its address, or that of the
 * word of @home with the same offset, and the low byte of a version.
 */
void fill(void *addr, size_t npages, unsigned int version);
void fill_buffer(void *buf, const void *home, size_t npages,
		 unsigned int version);
uint64_t word_at(const void *addr, unsigned int version);
/* The first wrong page, or -1 when all are right. */
long wrong_page(const void *addr, size_t npages, unsigned int version);
long wrong_buffer(const void *buf, const void *home, size_t npages,
		  unsigned int version);
long nonzero_page(const void *addr, size_t npages);
/* The same, as the device reads it; -2 when it could not read. */
long wrong_on_device(int fd, const void *addr, size_t npages,
		     unsigned int version);
long nonzero_on_device(int fd, const void *addr, size_t npages);

/* --- where a page is, from /proc/self/pagemap --- */

enum where {
	HOLE,
	PRESENT,
	SWAPPED,
	/*
	 * Device memory, coherent one too; or one of the other entries that are
	 * not of an ordinary page: migration entry, poison, marker.
	 */
	SPECIAL,
};

#define PAGEMAP_PRESENT		(1ULL << 63)
#define PAGEMAP_SWAP		(1ULL << 62)
#define PAGEMAP_UFFD_WP		(1ULL << 57)
#define PAGEMAP_EXCLUSIVE	(1ULL << 56)
#define PAGEMAP_SOFT_DIRTY	(1ULL << 55)
#define PAGEMAP_PFN		((1ULL << 55) - 1)

/* flags in /proc/kpageflags */
#define KPF_LOCKED	0
#define KPF_LRU		5
#define KPF_WRITEBACK	8
#define KPF_ANON	12
#define KPF_HUGE	17
#define KPF_THP		22

uint64_t pagemap(const void *addr);
/* PRESENT means: in system memory */
enum where where(const void *addr);
/* of a page whose pagemap() that is */
enum where where_is(uint64_t entry);
const char *where_name(enum where where);
/* 0 when not present */
uint64_t pfn_of(const void *addr);
uint64_t kpageflags(uint64_t pfn);
/* what it is charged to: the inode of that cgroup's directory */
uint64_t kpagecgroup(uint64_t pfn);
bool page_flag(const void *addr, int flag);
/* Of pages that each CPU keeps in batches before they go to the LRU list. */
void drain_all(void);
/*
 * Of all of this process's pages. Also for a huge page that was shared by fork()
 * and goes to a device: with CONFIG_DEBUG_VM, 7.3's remove_migration_pmd() takes
 * the soft-dirty bit of its entry there for a write bit, and warns.
 */
void clear_soft_dirty(void);
/* In device memory, or with memory=system on another page than @old_pfn. */
bool moved_to_device(const void *addr, uint64_t old_pfn);
size_t count_where(const void *addr, size_t npages, enum where which);
/* Those that a CPU can reach, in system memory or coherent one. */
size_t count_reachable(const void *addr, size_t npages);

/*
 * Pages that somebody forgot: locked, or, after the batches of all CPUs are
 * drained, present and anonymous but on no LRU list. Prints what it finds.
 */
long forgotten_pages(const void *addr, size_t npages);

/* --- page states --- */

/* All return NULL, or why this cannot be done here. */
const char *swap_on(void);
const char *swap_out(void *addr, size_t npages);
const char *ksm_merge(void *addr, size_t npages);
const char *poison(void *addr);
/* Maps pages of a kind; *@addr is where. Later unmapped by unmap_all(). */
const char *map_shared(void **addr, size_t npages);
const char *map_file(void **addr, size_t npages, int prot, bool shared);
const char *map_hugetlb(void **addr, size_t npages);
const char *map_huge(void **addr, size_t nhuge);
const char *map_secret(void **addr, size_t npages);
const char *map_io(void **addr, size_t *npages);
const char *map_vvar(void **addr, size_t *npages);
const char *map_vdso(void **addr, size_t *npages);

/*
 * A random mix of page states over @addr, the same for the same @seed; what
 * each page became is in @kinds. Pages that hold data hold fill(), version 1.
 */
enum kind {
	KIND_HOLE,
	KIND_ZERO,
	KIND_PRESENT,
	KIND_SWAPPED,
	NR_KINDS,
};
const char *scatter(void *addr, size_t npages, uint64_t seed,
		    unsigned int allowed, uint8_t *kinds);
/* as wrong_page() */
long wrong_scattered(const void *addr, size_t npages, const uint8_t *kinds);
long wrong_scattered_on_device(int fd, const void *addr, size_t npages,
			       const uint8_t *kinds);

/* A child that shares the parent's pages and answers questions about them. */
struct peer {
	pid_t pid;
	int ask, answer;
};
int peer_start(struct peer *peer);
/* its own wrong_page() */
long peer_wrong_page(struct peer *peer, const void *addr, size_t npages,
		     unsigned int version);
void peer_stop(struct peer *peer);

/* userfaultfd on a range, and a thread that serves what is asked of it */
struct uffd {
	int fd;
	void *thread;
};
const char *uffd_start(struct uffd *uffd, void *addr, size_t npages,
		       uint64_t mode, uint64_t features);
const char *uffd_protect(struct uffd *uffd, void *addr, size_t npages);
/* for reading, too: Linux 7.3 */
const char *uffd_read_protect(struct uffd *uffd, void *addr, size_t npages);
/* serve missing pages with fill(.., @version), and lift protections */
void uffd_serve(struct uffd *uffd, unsigned int version);
void uffd_stop(struct uffd *uffd);

/* --- counting calls of a kernel function --- */

struct counter {
	int fd;
	char name[64];
};
/* by this thread, between start and stop */
const char *counter_open(struct counter *counter, const char *function);
void counter_start(struct counter *counter);
uint64_t counter_stop(struct counter *counter);
/* from here on, by this process and those that it forks later */
const char *counter_watch(struct counter *counter, const char *function);
uint64_t counter_read(const struct counter *counter);
void counter_close(struct counter *counter);

/* --- a debug build is told to fail, and to wait (src/debug.c) --- */

bool can_inject(void);
/* From the @skip-th time on, @times times, for this process. */
int inject(const char *point, unsigned int skip, unsigned int times);
unsigned int struck(const char *point);
/* until some call waits; then it is let go on */
bool wait_until_paused(void);
void resume(void);
/* Every point is off again. */
void inject_nothing(void);

/* --- in tests only: these use the harness --- */

#define ASSERT_OK(call) \
	ASSERT_EQ(0, (call))
#define EXPECT_OK(call) \
	EXPECT_EQ(0, (call))

/* Swap is on for the whole program; listing the tests needs none. */
#define ONEWALK_MAIN	ONEWALK_MAIN_AFTER(swap_on)
#define ONEWALK_MAIN_AFTER(prepare) \
	int main(int argc, char **argv) \
	{ \
		const char *why = argc > 1 && !strcmp(argv[1], "-l") ? \
				  NULL : prepare(); \
		if (why) \
			note("%s", why); \
		return test_harness_run(argc, argv); \
	}

/* Sets up a state, or skips and says why. */
#define SET_UP(call) do { \
	const char *__why = (call); \
	if (__why) \
		SKIP(return, "%s", __why); \
} while (0)

/* The same for what every kernel of ours has: failing it is a failure. */
#define MUST(call) do { \
	const char *__why = (call); \
	ASSERT_EQ(NULL, __why) \
		TH_LOG("%s", __why); \
} while (0)

#endif /* ONEWALK_SELFTEST_COMMON_H */
