// SPDX-License-Identifier: GPL-2.0
/*
 * Transparent huge pages, whole, in part, mapped by PTEs, shared and pinned.
 *
 * engines: both
 */
#include "kselftest_harness.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "common.h"

#define NHUGE	2
#define NPAGES	(NHUGE * 512)

FIXTURE(huge) {
	int fd;
	char *addr;
	struct peer peer;
	uint64_t pfns[NPAGES], theirs[NPAGES];
	uint64_t before[NPAGES];
	uint8_t status[NPAGES];
	struct onewalk_dummy_migrate result;
};

FIXTURE_SETUP(huge)
{
	void *addr;

	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	MUST(map_huge(&addr, NHUGE));
	self->addr = addr;
}

FIXTURE_TEARDOWN(huge)
{
	peer_stop(&self->peer);
	ioctl(self->fd, ONEWALK_DUMMY_UNPIN_ALL);
	unmap_all();
	restore_settings();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

static void remember(FIXTURE_DATA(huge) *self)
{
	size_t i;

	for (i = 0; i < NPAGES; i++)
		self->before[i] = pfn_of(self->addr + i * PAGE);
}

static int migrate(FIXTURE_DATA(huge) *self, size_t first, size_t npages,
		   unsigned int method, unsigned int flags)
{
	memset(self->status, 0xff, NPAGES);
	return dummy_migrate(self->fd, self->addr + first * PAGE, npages,
			     method, flags, self->status + first, NULL,
			     &self->result);
}

/* A page has moved if and only if its status says so; returns how many. */
static size_t check_moved(struct __test_metadata *_metadata,
			  FIXTURE_DATA(huge) *self, size_t first, size_t npages)
{
	size_t i, moved = 0;

	for (i = first; i < first + npages; i++) {
		bool there = moved_to_device(self->addr + i * PAGE,
					     self->before[i]);

		EXPECT_EQ(self->status[i] == ONEWALK_STATUS_MIGRATING, there) {
			TH_LOG("page %zu with status %d is %s", i,
			       self->status[i],
			       where_name(where(self->addr + i * PAGE)));
			break;
		}
		moved += there;
	}
	return moved;
}

/* The kernel can, and the device can have a large page. */
static bool moves_whole(void)
{
	return kernel_migrates_large_folios() && !memory_is_coherent();
}

TEST_F(huge, page_is_reported_with_its_order)
{
	size_t i;

	ASSERT_OK(dummy_report(self->fd, self->addr, NPAGES, self->pfns,
			       REQ_FAULT | REQ_WRITE, false));
	ASSERT_OK(dummy_report(self->fd, self->addr, NPAGES, self->theirs,
			       REQ_FAULT | REQ_WRITE, true));
	for (i = 0; i < NPAGES; i++) {
		ASSERT_EQ(self->theirs[i], self->pfns[i]);
		ASSERT_EQ(9, PFN_ORDER(self->pfns[i]));
	}
	/* and it is still huge */
	EXPECT_TRUE(page_flag(self->addr, KPF_THP));
}

TEST_F(huge, page_moves_and_comes_back)
{
	static const unsigned int methods[] = {
		ONEWALK_DUMMY_RANGE, ONEWALK_DUMMY_SETUP,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(methods); i++) {
		void *addr;

		MUST(map_huge(&addr, NHUGE));
		self->addr = addr;
		remember(self);
		ASSERT_OK(migrate(self, 0, NPAGES, methods[i],
				  ONEWALK_DUMMY_MIGRATE_FAULT));
		EXPECT_EQ(NPAGES, self->result.moved);
		EXPECT_EQ(NPAGES, check_moved(_metadata, self, 0, NPAGES));
		EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
		EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	}
}

TEST_F(huge, page_moves_in_part)
{
	const size_t first = 100, npages = 700;

	remember(self);
	ASSERT_OK(migrate(self, first, npages, ONEWALK_DUMMY_RANGE,
			  ONEWALK_DUMMY_MIGRATE_FAULT));
	EXPECT_EQ(npages, self->result.moved);
	EXPECT_EQ(npages, check_moved(_metadata, self, first, npages));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(first, count_where(self->addr, first, PRESENT));
	EXPECT_EQ(NPAGES - first - npages,
		  count_where(self->addr + (first + npages) * PAGE,
			      NPAGES - first - npages, PRESENT));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

TEST_F(huge, page_shared_by_fork_moves_for_both)
{
	remember(self);
	ASSERT_OK(peer_start(&self->peer));
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE,
			  ONEWALK_DUMMY_MIGRATE_FAULT));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(NPAGES, check_moved(_metadata, self, 0, NPAGES));
	fill(self->addr, NPAGES, 2);
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 2));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
}

/* Nobody has written there: nothing is copied, and nothing allocated before. */
TEST_F(huge, zero_page_is_a_hole_to_fill)
{
	size_t i;

	madvise(self->addr, NHUGE * HUGE, MADV_DONTNEED);
	nonzero_page(self->addr, NPAGES);
	for (i = 0; i < NPAGES; i++)
		self->pfns[i] = REQ_FAULT | REQ_MIGRATE;
	remember(self);
	ASSERT_OK(dummy_migrate(self->fd, self->addr, NPAGES,
				ONEWALK_DUMMY_RANGE, 0, self->status,
				self->pfns, &self->result));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(NPAGES, check_moved(_metadata, self, 0, NPAGES));
	for (i = 0; i < NPAGES; i++)
		ASSERT_EQ(PFN_MIGRATE, self->pfns[i] & (PFN_VALID | PFN_WRITE |
							PFN_MIGRATE));
	EXPECT_EQ(-1, nonzero_on_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

/* One entry of the page table maps it, wherever it is. */
static bool is_whole(FIXTURE_DATA(huge) *self, size_t first)
{
	memset(self->pfns, 0, sizeof(self->pfns));
	return !dummy_report(self->fd, self->addr + first * PAGE, 512,
			     self->pfns, 0, false) &&
	       PFN_ORDER(self->pfns[0]) == 9 &&
	       PFN_ORDER(self->pfns[511]) == 9;
}

/* All of them are whole, if anything can be. */
static bool are_whole(FIXTURE_DATA(huge) *self)
{
	return !moves_whole() || (is_whole(self, 0) && is_whole(self, 512));
}

#define WHOLE	(ONEWALK_DUMMY_MIGRATE_FAULT | ONEWALK_DUMMY_MIGRATE_COMPOUND)
#define BACK	(ONEWALK_DUMMY_MIGRATE_TO_SYSTEM | ONEWALK_DUMMY_MIGRATE_COMPOUND)

/* By onewalk_range_fault(), and they are all there. */
static void go_whole(struct __test_metadata *_metadata,
		     FIXTURE_DATA(huge) *self)
{
	remember(self);
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, WHOLE));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(NPAGES, check_moved(_metadata, self, 0, NPAGES));
}

/* The next destination that the driver asks for is not to be had. */
static int fail_alloc(FIXTURE_DATA(huge) *self)
{
	return dummy_cmd(self->fd, ONEWALK_DUMMY_FLAGS, NULL,
			 ONEWALK_DUMMY_FLAG_FAIL_ALLOC, NULL, NULL);
}

/* Where that cannot be, it moves all the same, in pieces. */
TEST_F(huge, page_moves_whole_when_asked_to)
{
	remember(self);
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_SETUP, WHOLE));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(NPAGES, check_moved(_metadata, self, 0, NPAGES));
	EXPECT_TRUE(are_whole(self));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

TEST_F(huge, page_moves_whole_by_range_fault)
{
	go_whole(_metadata, self);
	EXPECT_EQ(NPAGES, self->result.mapped);
	EXPECT_TRUE(are_whole(self));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

TEST_F(huge, page_comes_back_whole_when_asked_to)
{
	static const unsigned int methods[] = {
		ONEWALK_DUMMY_RANGE, ONEWALK_DUMMY_SETUP,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(methods); i++) {
		go_whole(_metadata, self);
		ASSERT_OK(migrate(self, 0, NPAGES, methods[i], BACK));
		EXPECT_EQ(NPAGES, self->result.moved);
		EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
		EXPECT_TRUE(are_whole(self));
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
		EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
		fill(self->addr, NPAGES, 1);
	}
}

/* The driver of device-private memory brings back what a huge entry maps. */
TEST_F(huge, page_comes_back_whole_when_the_cpu_touches_it)
{
	go_whole(_metadata, self);
	EXPECT_EQ(-1, wrong_page(self->addr + 700 * PAGE, 1, 1));
	EXPECT_TRUE(are_whole(self));
	if (memory_is_private() && moves_whole()) {
		EXPECT_EQ(0, count_where(self->addr, 512, PRESENT));
		EXPECT_EQ(512, count_where(self->addr + HUGE, 512, PRESENT));
	}
	fill(self->addr, NPAGES, 2);
	EXPECT_TRUE(are_whole(self));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/* A driver may bring back more than the page that is touched: small ones, then. */
TEST_F(huge, pages_come_back_with_their_neighbours_when_the_driver_likes_to)
{
	static const char around[] =
		"/sys/module/onewalk_dummy/parameters/fault_around";
	size_t first;

	if (!memory_is_private())
		SKIP(return, "a CPU's touch brings nothing else back");
	ASSERT_OK(set_file(around, "1"));
	/* all of a PTE table, then a part */
	for (first = 0; first <= 100; first += 100) {
		self->addr = map_aligned(1024, HUGE);
		ASSERT_NE(NULL, self->addr);
		munmap(self->addr + 900 * PAGE, 124 * PAGE);
		munmap(self->addr, first * PAGE);
		fill(self->addr + first * PAGE, 900 - first, 1);
		EXPECT_EQ(900 - first, to_device(self->fd, self->addr + first * PAGE,
						 900 - first));
		EXPECT_EQ(-1, wrong_page(self->addr + 300 * PAGE, 1, 1));
		EXPECT_EQ(512 - first, count_where(self->addr + first * PAGE,
						   900 - first, PRESENT));
		EXPECT_EQ(-1, wrong_page(self->addr + 700 * PAGE, 1, 1));
		EXPECT_EQ(900 - first, count_where(self->addr + first * PAGE,
						   900 - first, PRESENT));
		EXPECT_EQ(-1, wrong_page(self->addr + first * PAGE, 900 - first,
					 1));
		EXPECT_EQ(0, forgotten_pages(self->addr + first * PAGE,
					     900 - first));
	}
}

/* Of a huge page that PTEs map, or two processes, the touched page comes, too. */
TEST_F(huge, page_in_pieces_comes_back_with_its_neighbours)
{
	static const char around[] =
		"/sys/module/onewalk_dummy/parameters/fault_around";

	if (!memory_is_private())
		SKIP(return, "a CPU's touch brings nothing else back");
	clear_soft_dirty();
	ASSERT_OK(set_file(around, "1"));
	go_whole(_metadata, self);
	madvise(self->addr + 10 * PAGE, 10 * PAGE, MADV_DONTNEED);
	ASSERT_OK(peer_start(&self->peer));
	EXPECT_EQ(-1, wrong_page(self->addr + 300 * PAGE, 1, 1));
	EXPECT_EQ(-1, wrong_page(self->addr + 800 * PAGE, 1, 1));
	EXPECT_EQ(NPAGES - 10, count_where(self->addr, NPAGES, PRESENT));
	EXPECT_EQ(-1, nonzero_page(self->addr + 10 * PAGE, 10));
	EXPECT_EQ(-1, wrong_page(self->addr + 20 * PAGE, NPAGES - 20, 1));
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr + HUGE, 512, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

static void take_note(int number)
{
	(void)number;
}

/* Hardware has lost a part of it while it could not be split. */
TEST_F(huge, page_with_poison_in_it_does_not_move_whole)
{
	struct sigaction action = { .sa_handler = take_note };
	size_t i;

	if (!moves_whole())
		SKIP(return, "nothing moves whole here");
	ASSERT_OK(dummy_pin(self->fd, self->addr + 7 * PAGE, 1));
	/* the page cannot be split, and has a mark then; the process is told */
	sigaction(SIGBUS, &action, NULL);
	madvise(self->addr + 9 * PAGE, PAGE, MADV_HWPOISON);
	ioctl(self->fd, ONEWALK_DUMMY_UNPIN_ALL);
	remember(self);
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_SETUP, WHOLE));
	EXPECT_EQ(PRESENT, where(self->addr + 9 * PAGE));
	EXPECT_NE(ONEWALK_STATUS_MIGRATING, self->status[9]);
	for (i = 512; i < NPAGES; i++)
		EXPECT_EQ(ONEWALK_STATUS_MIGRATING, self->status[i]);
}

/* Prepared, and then nothing: it stays, and in one piece. */
TEST_F(huge, page_stays_whole_when_the_driver_gives_up)
{
	size_t i;

	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE,
			  WHOLE | ONEWALK_DUMMY_MIGRATE_NO_COPY));
	EXPECT_EQ(NPAGES, self->result.collected);
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
	EXPECT_TRUE(are_whole(self));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));

	go_whole(_metadata, self);
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE,
			  BACK | ONEWALK_DUMMY_MIGRATE_NO_COPY));
	EXPECT_EQ(NPAGES, self->result.collected);
	for (i = 0; i < NPAGES; i++)
		EXPECT_TRUE(moved_to_device(self->addr + i * PAGE,
					    self->before[i]));
	EXPECT_TRUE(are_whole(self));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/* It is as large there; page tables that map device memory are another matter. */
TEST_F(huge, page_moves_to_another_place_on_the_device)
{
	go_whole(_metadata, self);
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE,
			  WHOLE | ONEWALK_DUMMY_MIGRATE_ANEW));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

TEST_F(huge, page_is_locked_in_memory_before_and_after)
{
	ASSERT_OK(mlock(self->addr, NPAGES * PAGE));
	go_whole(_metadata, self);
	ASSERT_OK(migrate(self, 0, 512, ONEWALK_DUMMY_RANGE, BACK));
	EXPECT_EQ(512, self->result.moved);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	ASSERT_OK(munlock(self->addr, NPAGES * PAGE));
	madvise(self->addr, NPAGES * PAGE, MADV_PAGEOUT);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/*
 * Its write protection is userfaultfd's: it stays so there and back. Not so for
 * soft-dirty where the kernel maps a dirty huge page: it sets that, too.
 */
TEST_F(huge, page_keeps_what_the_page_table_knows_of_it)
{
	struct uffd uffd;
	size_t i;

	MUST(uffd_start(&uffd, self->addr, NPAGES, UFFDIO_REGISTER_MODE_WP,
			UFFD_FEATURE_PAGEFAULT_FLAG_WP));
	MUST(uffd_protect(&uffd, self->addr, 512));
	ASSERT_OK(mprotect(self->addr + HUGE, HUGE, PROT_READ));
	clear_soft_dirty();

	for (i = 0; i < 2; i++) {
		remember(self);
		ASSERT_OK(migrate(self, 0, 512, ONEWALK_DUMMY_SETUP, WHOLE));
		EXPECT_EQ(512, self->result.moved);
		ASSERT_OK(migrate(self, 512, 512, ONEWALK_DUMMY_RANGE, WHOLE));
		EXPECT_EQ(512, self->result.moved);
		EXPECT_TRUE(pagemap(self->addr) & PAGEMAP_UFFD_WP);
		EXPECT_FALSE(memory_is_private() &&
			     (pagemap(self->addr + HUGE) & PAGEMAP_SOFT_DIRTY));
		ASSERT_OK(migrate(self, 0, 512, ONEWALK_DUMMY_SETUP, BACK));
		ASSERT_OK(migrate(self, 512, 512, ONEWALK_DUMMY_SETUP, BACK));
		EXPECT_TRUE(pagemap(self->addr) & PAGEMAP_UFFD_WP);
		EXPECT_FALSE(memory_is_private() &&
			     (pagemap(self->addr + HUGE) & PAGEMAP_SOFT_DIRTY));
		EXPECT_TRUE(are_whole(self));
	}
	ASSERT_OK(mprotect(self->addr + HUGE, HUGE, PROT_READ | PROT_WRITE));
	uffd_serve(&uffd, 1);
	fill(self->addr, NPAGES, 2);
	uffd_stop(&uffd);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
}

/* With fork() behind it, what is not exclusive any more comes back as it was. */
TEST_F(huge, page_that_was_shared_once_moves_whole_again)
{
	clear_soft_dirty();
	ASSERT_OK(peer_start(&self->peer));
	peer_stop(&self->peer);
	memset(&self->peer, 0, sizeof(self->peer));
	go_whole(_metadata, self);
	EXPECT_TRUE(are_whole(self));
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, BACK));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_TRUE(are_whole(self));
	ASSERT_OK(peer_start(&self->peer));
	fill(self->addr, NPAGES, 2);
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
}

/* Whoever shares it has it on the device, too, and can write to it. */
TEST_F(huge, page_that_fork_shares_on_the_device_comes_back_for_both)
{
	clear_soft_dirty();
	go_whole(_metadata, self);
	ASSERT_OK(peer_start(&self->peer));
	ASSERT_OK(migrate(self, 0, 512, ONEWALK_DUMMY_RANGE, BACK));
	EXPECT_EQ(512, self->result.moved);
	fill(self->addr, NPAGES, 2);
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/* All are to be faulted and to migrate, but for page 7, of which that is asked. */
static int ask_otherwise(FIXTURE_DATA(huge) *self, uint64_t request)
{
	size_t i;

	for (i = 0; i < NPAGES; i++)
		self->pfns[i] = i == 7 ? request : REQ_FAULT | REQ_MIGRATE;
	remember(self);
	return dummy_migrate(self->fd, self->addr, NPAGES, ONEWALK_DUMMY_RANGE,
			     ONEWALK_DUMMY_MIGRATE_COMPOUND, self->status,
			     self->pfns, &self->result);
}

/* What is asked of its pages differs: then it is no longer one thing. */
TEST_F(huge, page_of_which_not_all_is_asked_for_is_split)
{
	ASSERT_OK(ask_otherwise(self, REQ_FAULT));
	EXPECT_EQ(NPAGES - 1, self->result.moved);
	EXPECT_EQ(NPAGES - 1, check_moved(_metadata, self, 0, NPAGES));
	EXPECT_EQ(ONEWALK_STATUS_NOT_REQUESTED, self->status[7]);
	EXPECT_FALSE(is_whole(self, 0));
	EXPECT_TRUE(!moves_whole() || is_whole(self, 512));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* All of it is to move, but not in the same way. */
TEST_F(huge, hole_of_which_not_the_same_is_asked_is_filled_by_single_pages)
{
	madvise(self->addr, NHUGE * HUGE, MADV_DONTNEED);
	ASSERT_OK(ask_otherwise(self, REQ_MIGRATE));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(NPAGES, check_moved(_metadata, self, 0, NPAGES));
	EXPECT_FALSE(is_whole(self, 0));
	EXPECT_TRUE(!moves_whole() || is_whole(self, 512));
	EXPECT_EQ(-1, nonzero_on_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

TEST_F(huge, page_that_is_pinned_stays_whole)
{
	size_t i;

	remember(self);
	ASSERT_OK(dummy_pin(self->fd, self->addr + 7 * PAGE, 1));
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, WHOLE));
	EXPECT_EQ(512, check_moved(_metadata, self, 0, NPAGES));
	for (i = 0; i < 512; i++) {
		EXPECT_EQ(self->before[i], pfn_of(self->addr + i * PAGE));
		if (moves_whole())
			EXPECT_EQ(ONEWALK_STATUS_PINNED, self->status[i]);
	}
	EXPECT_TRUE(are_whole(self));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/* Nobody has tried to split it: that is not why it stays. */
TEST_F(huge, page_in_a_pipe_stays_whole)
{
	struct iovec iov = { self->addr + 7 * PAGE, PAGE };
	int pipe[2];

	if (!moves_whole())
		SKIP(return, "nothing moves whole here");
	ASSERT_EQ(0, pipe2(pipe, O_CLOEXEC));
	ASSERT_EQ(PAGE, vmsplice(pipe[1], &iov, 1, 0));
	remember(self);
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, WHOLE));
	EXPECT_EQ(512, check_moved(_metadata, self, 0, NPAGES));
	EXPECT_EQ(engine_is_portable() ? ONEWALK_STATUS_UNKNOWN :
		  ONEWALK_STATUS_BUSY, self->status[7]);
	EXPECT_TRUE(are_whole(self));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	close(pipe[0]);
	close(pipe[1]);
}

/* What the process, and its memory cgroup, are charged for. */
TEST_F(huge, page_is_counted_once_wherever_it_goes)
{
	const char *group = "/sys/fs/cgroup/onewalk-huge";
	long before, anon, rss;
	char path[128];
	int i;

	if (!moves_whole())
		SKIP(return, "nothing moves whole here");
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	mkdir(group, 0755);
	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	ASSERT_OK(write_file(path, "%d", getpid()));
	snprintf(path, sizeof(path), "%s/memory.stat", group);

	madvise(self->addr, NPAGES * PAGE, MADV_DONTNEED);
	before = field(path, "anon");
	fill(self->addr, NPAGES, 1);
	rss = field("/proc/self/status", "RssAnon");
	for (i = 0; i < 20; i++) {
		go_whole(_metadata, self);
		/* by a request and by a touch, in turn */
		if (i % 2) {
			ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_SETUP,
					  BACK));
		}
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
		EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
	}
	EXPECT_GT(512, labs(field("/proc/self/status", "RssAnon") - rss));
	madvise(self->addr, NPAGES * PAGE, MADV_DONTNEED);
	/* each CPU may keep some of it to itself for a while */
	anon = field(path, "anon");
	for (i = 0; i < 100 && labs(anon - before) >= (1 << 20); i++) {
		usleep(100000);
		anon = field(path, "anon");
	}
	EXPECT_LE(0, before);
	EXPECT_GT(1 << 20, labs(anon - before))
		TH_LOG("%ld bytes before, %ld after", before, anon);
	write_file("/sys/fs/cgroup/cgroup.procs", "%d", getpid());
	rmdir(group);
}

/* Only part of it is asked for: so only that part may move. */
TEST_F(huge, page_asked_for_in_part_does_not_move_whole)
{
	remember(self);
	ASSERT_OK(migrate(self, 100, 700, ONEWALK_DUMMY_RANGE, WHOLE));
	EXPECT_EQ(700, self->result.moved);
	EXPECT_EQ(700, check_moved(_metadata, self, 100, 700));
	EXPECT_EQ(100, count_where(self->addr, 100, PRESENT));
	EXPECT_EQ(224, count_where(self->addr + 800 * PAGE, 224, PRESENT));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

TEST_F(huge, page_comes_back_in_part_when_the_cpu_touches_a_part)
{
	char *buf = malloc(PAGE);

	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, WHOLE));
	madvise(self->addr + 30 * PAGE, 10 * PAGE, MADV_DONTNEED);
	EXPECT_EQ(-1, nonzero_page(self->addr + 30 * PAGE, 10));
	EXPECT_EQ(-1, wrong_page(self->addr + 20 * PAGE, 1, 1));
	mprotect(self->addr + 50 * PAGE, 10 * PAGE, PROT_READ);
	EXPECT_EQ(-1, wrong_page(self->addr + 55 * PAGE, 1, 1));
	fill_buffer(buf, self->addr + 60 * PAGE, 1, 2);
	EXPECT_OK(dummy_write(self->fd, self->addr + 60 * PAGE, 1, buf));
	EXPECT_EQ(-1, wrong_page(self->addr + 60 * PAGE, 1, 2));
	EXPECT_EQ(-1, wrong_page(self->addr, 30, 1));
	EXPECT_EQ(-1, wrong_page(self->addr + 40 * PAGE, 20, 1));
	EXPECT_EQ(-1, wrong_page(self->addr + 61 * PAGE, NPAGES - 61, 1));
	free(buf);
}

TEST_F(huge, hole_is_filled_by_a_large_page)
{
	madvise(self->addr, NHUGE * HUGE, MADV_DONTNEED);
	remember(self);
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, WHOLE));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(NPAGES, check_moved(_metadata, self, 0, NPAGES));
	EXPECT_TRUE(are_whole(self));
	EXPECT_EQ(-1, nonzero_on_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

TEST_F(huge, zero_page_is_filled_by_a_large_page)
{
	madvise(self->addr, NPAGES * PAGE, MADV_DONTNEED);
	nonzero_page(self->addr, NPAGES);
	go_whole(_metadata, self);
	EXPECT_TRUE(are_whole(self));
	EXPECT_EQ(-1, nonzero_on_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

/* The address space has never been used: there is not even a table of tables. */
TEST_F(huge, hole_without_any_page_table_is_filled_by_a_large_page)
{
	self->addr = map_aligned(NPAGES, 1UL << 30);
	ASSERT_NE(NULL, self->addr);
	madvise(self->addr, NPAGES * PAGE, MADV_HUGEPAGE);
	go_whole(_metadata, self);
	EXPECT_TRUE(are_whole(self));
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

/* There is no large page to be had on the device: single ones do. */
TEST_F(huge, page_moves_in_pieces_when_no_large_page_is_free)
{
	remember(self);
	ASSERT_OK(fail_alloc(self));
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, WHOLE));
	EXPECT_EQ(self->result.moved,
		  check_moved(_metadata, self, 0, NPAGES));
	EXPECT_LE(NPAGES - 1, self->result.moved);
	EXPECT_TRUE(!moves_whole() || (!is_whole(self, 0) && is_whole(self, 512)));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

TEST_F(huge, page_comes_back_in_pieces_when_no_large_page_is_free)
{
	go_whole(_metadata, self);
	ASSERT_OK(fail_alloc(self));
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, BACK));
	EXPECT_LE(NPAGES - 1, self->result.moved);
	EXPECT_LE(NPAGES - 1, count_where(self->addr, NPAGES, PRESENT));
	EXPECT_TRUE(!moves_whole() || (!is_whole(self, 0) && is_whole(self, 512)));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

TEST_F(huge, hole_is_filled_in_pieces_when_no_large_page_is_free)
{
	madvise(self->addr, NPAGES * PAGE, MADV_DONTNEED);
	remember(self);
	ASSERT_OK(fail_alloc(self));
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_SETUP, WHOLE));
	EXPECT_LE(NPAGES - 1, self->result.moved);
	EXPECT_TRUE(!moves_whole() || (!is_whole(self, 0) && is_whole(self, 512)));
	EXPECT_EQ(-1, nonzero_on_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

TEST_F(huge, page_shared_by_fork_moves_whole_for_both)
{
	clear_soft_dirty();
	remember(self);
	ASSERT_OK(peer_start(&self->peer));
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, WHOLE));
	EXPECT_EQ(NPAGES, self->result.moved);
	fill(self->addr, NPAGES, 2);
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 2));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
}

/* One pinned page keeps its huge page where it is, and no other one. */
TEST_F(huge, page_that_is_pinned_stays)
{
	size_t i;

	remember(self);
	ASSERT_OK(dummy_pin(self->fd, self->addr + 7 * PAGE, 1));
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE,
			  ONEWALK_DUMMY_MIGRATE_FAULT));
	EXPECT_EQ(512, check_moved(_metadata, self, 0, NPAGES));
	EXPECT_NE(ONEWALK_STATUS_MIGRATING, self->status[7]);
	for (i = 0; i < 512; i++)
		EXPECT_EQ(self->before[i], pfn_of(self->addr + i * PAGE));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/*
 * Partly unmapped, it is mapped by PTEs. Linux before 6.19 leaves such pages
 * where they are.
 */
TEST_F(huge, page_mapped_by_ptes_moves_or_says_that_it_does_not)
{
	size_t moved;

	madvise(self->addr + 10 * PAGE, 10 * PAGE, MADV_DONTNEED);
	remember(self);
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE,
			  ONEWALK_DUMMY_MIGRATE_FAULT));
	moved = check_moved(_metadata, self, 0, NPAGES);
	EXPECT_EQ(moved, self->result.moved);
	if (kernel_migrates_large_folios()) {
		EXPECT_EQ(NPAGES, moved);
	} else {
		EXPECT_LE(512 + 10, moved);
	}
	EXPECT_EQ(-1, wrong_page(self->addr, 10, 1));
	EXPECT_EQ(-1, nonzero_page(self->addr + 10 * PAGE, 10));
	EXPECT_EQ(-1, wrong_page(self->addr + 20 * PAGE, NPAGES - 20, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/* 64 KiB folios, which no PMD maps. */
TEST_F(huge, folio_of_64_kib_moves_or_says_that_it_does_not)
{
	static const char enabled[] =
		"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled";
	size_t moved;
	char *addr;

	if (set_file(enabled, "always"))
		SKIP(return, "no huge pages of 64 KiB before Linux 6.8");
	/* too small and too odd for a PMD */
	addr = map_aligned(256 + 16, HUGE);
	ASSERT_NE(NULL, addr);
	self->addr = addr + 16 * PAGE;
	madvise(self->addr, 256 * PAGE, MADV_HUGEPAGE);
	fill(self->addr, 256, 1);
	restore_settings();
	ASSERT_TRUE(page_flag(self->addr, KPF_THP));

	for (size_t i = 0; i < 256; i++)
		self->before[i] = pfn_of(self->addr + i * PAGE);
	ASSERT_OK(migrate(self, 0, 256, ONEWALK_DUMMY_RANGE,
			  ONEWALK_DUMMY_MIGRATE_FAULT));
	moved = check_moved(_metadata, self, 0, 256);
	EXPECT_EQ(moved, self->result.moved);
	if (kernel_migrates_large_folios())
		EXPECT_EQ(256, moved);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, 256, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, 256, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, 256));
}

static void *lock_huge(void *arg)
{
	const FIXTURE_DATA(huge) *self = arg;

	return (void *)(long)dummy_lock(self->fd, self->addr, 300);
}

static bool is_anon(uint64_t pfn)
{
	return kpageflags(pfn) >> KPF_ANON & 1;
}

/*
 * Before 6.19 the kernel's migrate_vma_setup() forgets its reference to a huge
 * page that it finds locked, as can happen at any time.
 */
TEST_F(huge, is_not_lost_when_it_was_locked)
{
	bool waits = !engine_is_portable() || !kernel_migrates_large_folios();
	pthread_t thread;
	void *ret;
	int tries;

	remember(self);
	ASSERT_EQ(0, pthread_create(&thread, NULL, lock_huge, self));
	for (tries = 0; tries < 1000 && !page_flag(self->addr, KPF_LOCKED); tries++)
		usleep(1000);
	EXPECT_TRUE(page_flag(self->addr, KPF_LOCKED));
	EXPECT_EQ(0, migrate(self, 0, 512, ONEWALK_DUMMY_RANGE, 0));
	EXPECT_EQ(!waits, page_flag(self->addr, KPF_LOCKED));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(NULL, ret);

	madvise(self->addr, NPAGES * PAGE, MADV_DONTNEED);
	for (tries = 0; tries < 50 && is_anon(self->before[0]); tries++) {
		drain_all();
		usleep(100000);
	}
	EXPECT_FALSE(is_anon(self->before[0]));
}

ONEWALK_MAIN
