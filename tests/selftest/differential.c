// SPDX-License-Identifier: GPL-2.0
/*
 * Each fault of a random buffer gets the verdict that it would get alone. What it
 * would get alone is found by the kernel's own calls, in a process that nothing
 * else has happened to.
 *
 * engines: both
 */
/* vm: not with memory=system: where there is device memory, there is more to tell apart */
/* vm: one kind of memory in a short run: the verdicts are about permissions, not about where pages go */
#include "kselftest_harness.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "common.h"

/* Buffers for each layout of memory, and faults in a buffer. */
#define NBUFFERS	250
#define MAX_FAULTS	300

#define NPAGES		64
#define MAX_RUN		6

enum kind_of_page {
	PAGE_PRESENT,
	PAGE_HOLE,
	PAGE_ZERO,
	PAGE_SWAPPED,
	PAGE_READ_ONLY,
	PAGE_READ_ONLY_HOLE,
	PAGE_READ_ONLY_SWAPPED,
	PAGE_WRITE_ONLY,
	PAGE_NO_ACCESS,
	PAGE_UNMAPPED,
	PAGE_GUARD,
	PAGE_SHARED,
	PAGE_FILE,
	PAGE_FILE_SHARED,
	PAGE_BEHIND_FILE,
	PAGE_OF_DRIVER,
	PAGE_ON_DEVICE,
	PAGE_ON_OTHER_DEVICE,
	PAGE_ON_DEVICE_READ_ONLY,
	NR_KINDS_OF_PAGE,
};

/* With data in it, which nobody but the device could change, and does not. */
static bool has_data(enum kind_of_page kind)
{
	switch (kind) {
	case PAGE_PRESENT:
	case PAGE_SWAPPED:
	case PAGE_READ_ONLY:
	case PAGE_READ_ONLY_SWAPPED:
	case PAGE_SHARED:
	case PAGE_ON_DEVICE:
	case PAGE_ON_OTHER_DEVICE:
	case PAGE_ON_DEVICE_READ_ONLY:
		return true;
	default:
		return false;
	}
}

struct answer {
	int ret;
	bool granted;
};

/* Shared with the children. */
struct shared {
	struct answer answer;
	int ret;
	long wrong;
	struct onewalk_dummy_service result;
	unsigned int nr;
	struct onewalk_dummy_fault faults[MAX_FAULTS];
};

FIXTURE(differential) {
	int fds[2];
	int file;
	char *addr;
	uint64_t random;
	uint8_t kinds[NPAGES];
	/* what a read and a write of each page give */
	struct answer alone[NPAGES][2];
	struct shared *shared;
};

FIXTURE_SETUP(differential)
{
	char path[] = "/tmp/onewalk-differential-XXXXXX";

	run_on_cpu(0);
	self->fds[0] = dummy_open(0);
	ASSERT_LE(0, self->fds[0]);
	self->fds[1] = dummy_open(1);
	ASSERT_LE(0, self->fds[1]);
	self->file = mkstemp(path);
	ASSERT_LE(0, self->file);
	unlink(path);
	ASSERT_OK(ftruncate(self->file, MAX_RUN * PAGE));
	self->shared = mmap(NULL, sizeof(*self->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
	self->random = 0x9e3779b97f4a7c15ULL;
}

FIXTURE_TEARDOWN(differential)
{
	int i;

	unmap_all();
	restore_settings();
	munmap(self->shared, sizeof(*self->shared));
	close(self->file);
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(device_is_empty(self->fds[i]));
		close(self->fds[i]);
	}
}

static size_t any(FIXTURE_DATA(differential) *self, size_t limit)
{
	return next_random(&self->random) % limit;
}

static const char *map_over(char *addr, size_t size, int prot, int flags, int fd,
			    off_t offset)
{
	return mmap(addr, size, prot, flags | MAP_FIXED, fd, offset) == addr ?
		NULL : "cannot map";
}

/* A run of pages of one kind. They are present and filled. */
static const char *make(FIXTURE_DATA(differential) *self,
			enum kind_of_page kind, char *addr, size_t n)
{
	volatile char *byte;
	size_t i, size = n * PAGE;
	const char *why = NULL;

	switch (kind) {
	case PAGE_PRESENT:
		return NULL;
	case PAGE_HOLE:
		return madvise(addr, size, MADV_DONTNEED) ? "madvise" : NULL;
	case PAGE_ZERO:
		if (madvise(addr, size, MADV_DONTNEED))
			return "madvise";
		for (i = 0; i < n; i++) {
			byte = addr + i * PAGE;
			(void)*byte;
		}
		return NULL;
	case PAGE_SWAPPED:
		return swap_out(addr, n);
	case PAGE_READ_ONLY_SWAPPED:
		why = swap_out(addr, n);
		break;
	case PAGE_READ_ONLY:
		break;
	case PAGE_READ_ONLY_HOLE:
		madvise(addr, size, MADV_DONTNEED);
		break;
	case PAGE_WRITE_ONLY:
		return mprotect(addr, size, PROT_WRITE) ? "mprotect" : NULL;
	case PAGE_NO_ACCESS:
		return mprotect(addr, size, PROT_NONE) ? "mprotect" : NULL;
	case PAGE_UNMAPPED:
		return munmap(addr, size) ? "munmap" : NULL;
	case PAGE_GUARD:
		/* a hole where the kernel does not have it */
		madvise(addr, size, MADV_DONTNEED);
		madvise(addr, size, MADV_GUARD_INSTALL);
		return NULL;
	case PAGE_SHARED:
		why = map_over(addr, size, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (!why)
			fill(addr, n, 1);
		return why;
	case PAGE_FILE:
		return map_over(addr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE,
				self->file, 0);
	case PAGE_FILE_SHARED:
		return map_over(addr, size, PROT_READ | PROT_WRITE, MAP_SHARED,
				self->file, 0);
	case PAGE_BEHIND_FILE:
		return map_over(addr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE,
				self->file, (MAX_RUN - 1) * PAGE);
	case PAGE_OF_DRIVER:
		return map_over(addr, size, PROT_READ | PROT_WRITE, MAP_SHARED,
				self->fds[0], 0);
	case PAGE_ON_DEVICE:
		return to_device(self->fds[0], addr, n) == (long)n ?
			NULL : "cannot migrate";
	case PAGE_ON_OTHER_DEVICE:
		return to_device(self->fds[1], addr, n) == (long)n ?
			NULL : "cannot migrate";
	case PAGE_ON_DEVICE_READ_ONLY:
		if (to_device(self->fds[0], addr, n) != (long)n)
			return "cannot migrate";
		break;
	default:
		return "unknown";
	}
	return why ?: mprotect(addr, size, PROT_READ) ? "mprotect" : NULL;
}

/* Part of a huge page, of which the runs are then cut. */
static const char *map_part_of_huge(FIXTURE_DATA(differential) *self)
{
	const char *why;
	void *huge;

	why = map_huge(&huge, 1);
	if (!why)
		self->addr = huge + any(self, HUGE / PAGE - NPAGES) * PAGE;
	return why;
}

static const char *make_layout(FIXTURE_DATA(differential) *self, bool huge)
{
	enum kind_of_page kind;
	const char *why = NULL;
	size_t i, n;

	unmap_all();
	if (huge)
		why = map_part_of_huge(self);
	else
		self->addr = map_aligned(NPAGES, HUGE);
	if (why || !self->addr)
		return why ?: "no memory";
	fill(self->addr, NPAGES, 1);
	for (i = 0; i < NPAGES; i += n) {
		kind = any(self, NR_KINDS_OF_PAGE);
		n = 1 + any(self, MAX_RUN);
		if (n > NPAGES - i)
			n = NPAGES - i;
		memset(self->kinds + i, kind, n);
		why = make(self, kind, self->addr + i * PAGE, n);
		if (why)
			return why;
	}
	return NULL;
}

/* --- alone --- */

/* By hmm_range_fault(); with migrate_vma_setup() where a page has to come back. */
static void serve_alone(FIXTURE_DATA(differential) *self, size_t page, bool write)
{
	struct answer *answer = &self->shared->answer;
	uint64_t flags = REQ_FAULT | (write ? REQ_WRITE : 0);
	char *addr = self->addr + page * PAGE;
	int fd = dummy_open(0), try;
	uint64_t pfn;

	for (try = 0; try < 2; try++) {
		pfn = 0;
		answer->ret = dummy_report(fd, addr, 1, &pfn, flags, true);
		answer->granted = !answer->ret && (pfn & PFN_VALID) &&
				  (!write || (pfn & PFN_WRITE));
		if (answer->ret || answer->granted)
			return;
		dummy_migrate(fd, addr, 1, ONEWALK_DUMMY_KERNEL_MIGRATE,
			      ONEWALK_DUMMY_MIGRATE_TO_SYSTEM, NULL, NULL, NULL);
	}
}

static void find_alone(struct __test_metadata *_metadata,
		       FIXTURE_DATA(differential) *self)
{
	struct answer *answer = &self->shared->answer;
	size_t page;
	int write, status;
	pid_t pid;

	for (page = 0; page < NPAGES; page++) {
		for (write = 0; write < 2; write++) {
			memset(answer, 0xff, sizeof(*answer));
			pid = fork();
			if (!pid) {
				serve_alone(self, page, write);
				_exit(0);
			}
			ASSERT_EQ(pid, waitpid(pid, &status, 0));
			ASSERT_EQ(0, status);
			/* a verdict, one way or the other */
			ASSERT_TRUE(answer->granted ||
				    answer->ret == -EFAULT ||
				    answer->ret == -EPERM)
				TH_LOG("page of kind %u, write %d: %d",
				       self->kinds[page], write, answer->ret);
			self->alone[page][write] = *answer;
		}
	}
}

/* --- together --- */

static void make_buffer(FIXTURE_DATA(differential) *self)
{
	struct shared *shared = self->shared;
	size_t first = any(self, NPAGES), span = 1 + any(self, NPAGES - first);
	size_t stride = 1 + any(self, 4);
	unsigned int i;

	shared->nr = 1 + any(self, any(self, 4) ? 40 : MAX_FAULTS);
	for (i = 0; i < shared->nr; i++)
		shared->faults[i] = (struct onewalk_dummy_fault){
			.addr = (uintptr_t)self->addr + any(self, PAGE) +
				(first + any(self, span) / stride * stride) *
				PAGE,
			.fd = -1,
			.access = 1 + any(self, ONEWALK_NR_ACCESS - 1),
			.verdict = 0xff,
			.reason = 0xff,
		};
	shared->result = (struct onewalk_dummy_service){
		.window = 1 << any(self, 10),
		.policy = any(self, ONEWALK_DUMMY_POLICY_SKIP),
		.flags = any(self, 8),
		.tries = 100,
		.msec = 10000,
	};
}

static void serve_together(FIXTURE_DATA(differential) *self)
{
	struct shared *shared = self->shared;
	int fd = dummy_open(0);
	size_t page;

	shared->ret = dummy_service(fd, shared->faults, shared->nr,
				    &shared->result);
	for (page = 0; page < NPAGES && shared->wrong < 0; page++)
		if (has_data(self->kinds[page]) &&
		    wrong_page(self->addr + page * PAGE, 1, 1) >= 0)
			shared->wrong = page;
}

static bool is_right(const FIXTURE_DATA(differential) *self,
		     const struct onewalk_dummy_fault *fault)
{
	size_t page = (fault->addr - (uintptr_t)self->addr) / PAGE;
	bool write = fault->access >= ONEWALK_ACCESS_WRITE;
	const struct answer *alone = &self->alone[page][write];
	bool replay = alone->granted ||
		      fault->access == ONEWALK_ACCESS_PREFETCH;
	int reason = alone->granted ? ONEWALK_REASON_SERVED :
		     alone->ret == -EPERM ? ONEWALK_REASON_NO_PERMISSION :
					    ONEWALK_REASON_BAD_ADDRESS;

	return fault->verdict == (replay ? ONEWALK_REPLAY : ONEWALK_CANCEL) &&
	       fault->reason == reason;
}

static void check_buffer(struct __test_metadata *_metadata,
			 FIXTURE_DATA(differential) *self)
{
	struct shared *shared = self->shared;
	const struct onewalk_dummy_fault *fault;
	unsigned int i;
	size_t page;

	ASSERT_EQ(0, shared->ret);
	ASSERT_EQ(-1, shared->wrong)
		TH_LOG("page of kind %u", self->kinds[shared->wrong]);
	for (i = 0; i < shared->nr; i++) {
		fault = &shared->faults[i];
		page = (fault->addr - (uintptr_t)self->addr) / PAGE;
		ASSERT_TRUE(is_right(self, fault))
			TH_LOG("page %zu of kind %u, access %u: verdict %u, reason %u; alone: %d; window %u, policy %u, flags %u",
			       page, self->kinds[page], fault->access,
			       fault->verdict, fault->reason,
			       self->alone[page][fault->access >=
						 ONEWALK_ACCESS_WRITE].ret,
			       shared->result.window, shared->result.policy,
			       shared->result.flags);
	}
}

static void check_layout(struct __test_metadata *_metadata,
			 FIXTURE_DATA(differential) *self, bool huge)
{
	unsigned int buffer;
	int status;
	pid_t pid;

	MUST(make_layout(self, huge));
	find_alone(_metadata, self);
	for (buffer = 0; buffer < NBUFFERS; buffer++) {
		make_buffer(self);
		self->shared->ret = 1;
		self->shared->wrong = -1;
		pid = fork();
		if (!pid) {
			serve_together(self);
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
		check_buffer(_metadata, self);
	}
}

TEST_F_TIMEOUT(differential, each_fault_gets_the_verdict_that_it_would_get_alone,
	       600)
{
	unsigned int i, layouts = run_long() ? 100 : run_short() ? 4 : 16;
	/* the portable engine cannot always split it */
	bool split = !engine_is_portable() || kernel_migrates_large_folios();

	for (i = 0; i < layouts; i++)
		check_layout(_metadata, self, split && i % 2);
}

ONEWALK_MAIN
