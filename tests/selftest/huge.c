// SPDX-License-Identifier: GPL-2.0
/*
 * Transparent huge pages, whole, in part, mapped by PTEs, shared and pinned.
 *
 * engines: both
 */
#include "kselftest_harness.h"

#include <sys/ioctl.h>

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

/* Whether the device can have a large page, on a kernel that can. */
static bool device_has_large_pages(void)
{
	return !memory_is_coherent();
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

static bool is_whole_on_device(FIXTURE_DATA(huge) *self, size_t first)
{
	return !dummy_report(self->fd, self->addr + first * PAGE, 512,
			     self->pfns, 0, false) &&
	       PFN_ORDER(self->pfns[0]) == 9 &&
	       PFN_ORDER(self->pfns[511]) == 9;
}

#define WHOLE	(ONEWALK_DUMMY_MIGRATE_FAULT | ONEWALK_DUMMY_MIGRATE_COMPOUND)

/* Where that cannot be, it moves all the same, in pieces. */
TEST_F(huge, page_moves_whole_when_asked_to)
{
	memset(self->pfns, 0, sizeof(self->pfns));
	remember(self);
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_SETUP, WHOLE));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(NPAGES, check_moved(_metadata, self, 0, NPAGES));
	if (kernel_migrates_large_folios() && device_has_large_pages()) {
		EXPECT_TRUE(is_whole_on_device(self, 0));
		EXPECT_TRUE(is_whole_on_device(self, 512));
	}
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

TEST_F(huge, page_moves_whole_by_range_fault)
{
	memset(self->pfns, 0, sizeof(self->pfns));
	remember(self);
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, WHOLE));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(NPAGES, self->result.mapped);
	EXPECT_EQ(NPAGES, check_moved(_metadata, self, 0, NPAGES));
	if (kernel_migrates_large_folios() && device_has_large_pages())
		EXPECT_TRUE(is_whole_on_device(self, 0));
	/* and back, whole or not */
	EXPECT_LE(0, to_system(self->fd, self->addr, NPAGES));
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
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
	EXPECT_EQ(-1, nonzero_on_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

/* There is no large page to be had on the device: single ones do. */
TEST_F(huge, page_moves_in_pieces_when_no_large_page_is_free)
{
	remember(self);
	ASSERT_OK(dummy_cmd(self->fd, ONEWALK_DUMMY_FLAGS, NULL,
			    ONEWALK_DUMMY_FLAG_FAIL_ALLOC, NULL, NULL));
	ASSERT_OK(migrate(self, 0, NPAGES, ONEWALK_DUMMY_RANGE, WHOLE));
	EXPECT_EQ(self->result.moved,
		  check_moved(_metadata, self, 0, NPAGES));
	EXPECT_LE(NPAGES - 1, self->result.moved);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

TEST_F(huge, page_shared_by_fork_moves_whole_for_both)
{
	/*
	 * With CONFIG_DEBUG_VM, 7.3's remove_migration_pmd() takes the soft-dirty
	 * bit of a shared device-private entry for a write bit, and warns.
	 */
	write_file("/proc/self/clear_refs", "4");
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

ONEWALK_MAIN
