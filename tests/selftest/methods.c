// SPDX-License-Identifier: GPL-2.0
/*
 * All ways to move pages to the device move the same pages, and back, and what
 * is reported is what the kernel reports.
 *
 * engines: both
 */
#include "kselftest_harness.h"

#include <fcntl.h>
#include <sys/uio.h>

#include "common.h"

/* More than one PTE table, in a range that begins in the middle of one. */
#define NPAGES	400
#define FIRST	300

#define ALL_KINDS	((1U << NR_KINDS) - 1)
#define SEED		0x6f6e6577616c6bULL	/* any will do */

FIXTURE(method) {
	int fd;
	char *addr;
	uint8_t kinds[NPAGES];
	uint8_t status[NPAGES];
	uint64_t pfns[NPAGES];
	struct peer peer;
	struct onewalk_dummy_migrate result;
};

FIXTURE_VARIANT(method) {
	unsigned int method;
	unsigned int flags;
	bool faults;		/* moves what is swapped out */
};

FIXTURE_VARIANT_ADD(method, range) {
	.method = ONEWALK_DUMMY_RANGE,
	.flags = ONEWALK_DUMMY_MIGRATE_FAULT, .faults = true,
};

FIXTURE_VARIANT_ADD(method, range_unlocked) {
	.method = ONEWALK_DUMMY_RANGE,
	.flags = ONEWALK_DUMMY_MIGRATE_FAULT | ONEWALK_DUMMY_MIGRATE_UNLOCKED,
	.faults = true,
};

FIXTURE_VARIANT_ADD(method, range_without_fault) {
	.method = ONEWALK_DUMMY_RANGE,
};

FIXTURE_VARIANT_ADD(method, setup) {
	.method = ONEWALK_DUMMY_SETUP,
	.flags = ONEWALK_DUMMY_MIGRATE_FAULT, .faults = true,
};

FIXTURE_VARIANT_ADD(method, setup_without_fault) {
	.method = ONEWALK_DUMMY_SETUP,
};

FIXTURE_VARIANT_ADD(method, fault_then_migrate) {
	.method = ONEWALK_DUMMY_FAULT_MIGRATE,
	.flags = ONEWALK_DUMMY_MIGRATE_FAULT, .faults = true,
};

FIXTURE_VARIANT_ADD(method, migrate_fault_migrate) {
	.method = ONEWALK_DUMMY_MIGRATE_FAULT_MIGRATE,
	.flags = ONEWALK_DUMMY_MIGRATE_FAULT, .faults = true,
};

FIXTURE_VARIANT_ADD(method, kernel_migrate) {
	.method = ONEWALK_DUMMY_KERNEL_MIGRATE,
};

FIXTURE_SETUP(method)
{
	if (!method_is_ours(variant->method) && run_short())
		SKIP(return, "the kernel's own ways are for faster kernels");

	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_aligned(FIRST + NPAGES, HUGE);
	ASSERT_NE(NULL, self->addr);
	self->addr += FIRST * PAGE;
}

FIXTURE_TEARDOWN(method)
{
	peer_stop(&self->peer);
	unmap_all();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

static int move(FIXTURE_DATA(method) *self,
		const FIXTURE_VARIANT(method) *variant)
{
	return dummy_migrate(self->fd, self->addr, NPAGES, variant->method,
			     variant->flags, self->status, NULL,
			     &self->result);
}

static size_t count_status(FIXTURE_DATA(method) *self, int status)
{
	size_t i, count = 0;

	for (i = 0; i < NPAGES; i++)
		count += self->status[i] == status;
	return count;
}

static size_t count_kind(FIXTURE_DATA(method) *self, enum kind kind)
{
	size_t i, count = 0;

	for (i = 0; i < NPAGES; i++)
		count += self->kinds[i] == kind;
	return count;
}

/*
 * Where every page is: on the device, but for what is swapped out when the
 * method does not fault.
 */
static void check_places(struct __test_metadata *_metadata,
			 FIXTURE_DATA(method) *self,
			 const FIXTURE_VARIANT(method) *variant,
			 const uint64_t *old_pfns)
{
	size_t i;

	for (i = 0; i < NPAGES; i++) {
		char *page = self->addr + i * PAGE;

		if (self->kinds[i] == KIND_SWAPPED && !variant->faults) {
			EXPECT_EQ(SWAPPED, where(page));
			continue;
		}
		EXPECT_TRUE(moved_to_device(page, old_pfns[i])) {
			TH_LOG("page %zu (kind %d) is %s", i, self->kinds[i],
			       where_name(where(page)));
			break;
		}
	}
}

static void moves_all_of(struct __test_metadata *_metadata,
			 FIXTURE_DATA(method) *self,
			 const FIXTURE_VARIANT(method) *variant,
			 unsigned int kinds)
{
	size_t stay, i;
	uint64_t old_pfns[NPAGES];

	MUST(scatter(self->addr, NPAGES, SEED, kinds, self->kinds));
	for (i = 0; i < NPAGES; i++)
		old_pfns[i] = pfn_of(self->addr + i * PAGE);
	stay = variant->faults ? 0 : count_kind(self, KIND_SWAPPED);

	ASSERT_OK(move(self, variant));
	EXPECT_EQ(NPAGES - stay, self->result.moved);
	check_places(_metadata, self, variant, old_pfns);

	EXPECT_EQ(-1, wrong_scattered_on_device(self->fd, self->addr, NPAGES,
						self->kinds));
	EXPECT_EQ(-1, wrong_scattered(self->addr, NPAGES, self->kinds));
	EXPECT_EQ(NPAGES, count_reachable(self->addr, NPAGES));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

TEST_F(method, moves_present_pages)
{
	moves_all_of(_metadata, self, variant, 1U << KIND_PRESENT);
}

TEST_F(method, moves_holes)
{
	moves_all_of(_metadata, self, variant, 1U << KIND_HOLE);
}

TEST_F(method, moves_zero_pages)
{
	moves_all_of(_metadata, self, variant, 1U << KIND_ZERO);
}

TEST_F(method, moves_swapped_pages_if_it_faults)
{
	moves_all_of(_metadata, self, variant, 1U << KIND_SWAPPED);
}

TEST_F(method, moves_a_mix_of_states)
{
	moves_all_of(_metadata, self, variant, ALL_KINDS);
}

/*
 * The device writes, the CPU's touch brings it back, and the other way round.
 * Coherent memory has no need to come back.
 */
TEST_F(method, survives_round_trips_by_cpu_touch)
{
	char *buf = malloc(NPAGES * PAGE);
	unsigned int version;

	fill(self->addr, NPAGES, 1);
	for (version = 2; version < 6; version += 2) {
		ASSERT_OK(move(self, variant));
		EXPECT_EQ(memory_is_coherent() && version > 2 ? 0 : NPAGES,
			  self->result.moved);
		fill_buffer(buf, self->addr, NPAGES, version);
		ASSERT_OK(dummy_write(self->fd, self->addr, NPAGES, buf));
		ASSERT_EQ(-1, wrong_page(self->addr, NPAGES, version));
		fill(self->addr, NPAGES, version + 1);
		ASSERT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES,
					      version + 1));
	}
	free(buf);
}

TEST_F(method, survives_round_trips_by_migration)
{
	char *buf = malloc(NPAGES * PAGE);
	unsigned int version;
	int ret;

	fill(self->addr, NPAGES, 1);
	for (version = 2; version < 4; version++) {
		ASSERT_OK(move(self, variant));
		fill_buffer(buf, self->addr, NPAGES, version);
		ASSERT_OK(dummy_write(self->fd, self->addr, NPAGES, buf));
		ret = dummy_migrate(self->fd, self->addr, NPAGES,
				    variant->method, variant->flags |
				    ONEWALK_DUMMY_MIGRATE_TO_SYSTEM, NULL, NULL,
				    &self->result);
		ASSERT_EQ(0, ret);
		if (has_device_memory())
			EXPECT_EQ(NPAGES, self->result.moved);
		EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
		EXPECT_TRUE(device_is_empty(self->fd));
		ASSERT_EQ(-1, wrong_page(self->addr, NPAGES, version));
	}
	free(buf);
}

/* Both processes keep their own view of pages that fork() shares. */
TEST_F(method, keeps_copy_on_write_apart)
{
	fill(self->addr, NPAGES, 1);
	ASSERT_OK(peer_start(&self->peer));
	ASSERT_OK(move(self, variant));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));

	fill(self->addr, NPAGES, 2);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 2));
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
}

/* Prepared and not moved: all is as it was. */
TEST_F(method, gives_back_what_is_not_copied)
{
	uint64_t old_pfns[NPAGES];
	size_t i;
	int ret;

	fill(self->addr, NPAGES, 1);
	for (i = 0; i < NPAGES; i++)
		old_pfns[i] = pfn_of(self->addr + i * PAGE);

	ret = dummy_migrate(self->fd, self->addr, NPAGES, variant->method,
			    variant->flags | ONEWALK_DUMMY_MIGRATE_NO_COPY,
			    NULL, NULL, &self->result);
	ASSERT_EQ(0, ret);
	EXPECT_EQ(NPAGES, self->result.collected);
	EXPECT_EQ(0, self->result.moved);
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(old_pfns[i], pfn_of(self->addr + i * PAGE));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));

	/* and no reference is left that would keep them from moving now */
	ASSERT_OK(move(self, variant));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/*
 * Where nothing migrates, two devices that have the same window mapped do not
 * take it from each other: that might never end.
 */
static int map_on_another(struct __test_metadata *_metadata,
			  const char *addr, size_t npages)
{
	int other = dummy_open(1);

	ASSERT_LE(0, other);
	ASSERT_EQ(-1, wrong_on_device(other, addr, npages, 1));
	return other;
}

static void expect_mapped(struct __test_metadata *_metadata, int other,
			  size_t npages)
{
	struct onewalk_dummy_info info;

	ASSERT_OK(dummy_info(other, &info));
	EXPECT_EQ(npages, info.mapped);
	close(other);
}

static void stay_mapped(struct __test_metadata *_metadata,
			FIXTURE_DATA(method) *self,
			const FIXTURE_VARIANT(method) *variant,
			const char *addr, size_t npages)
{
	int other = map_on_another(_metadata, addr, npages);

	ASSERT_OK(dummy_migrate(self->fd, addr, npages, variant->method,
				variant->flags, self->status, NULL,
				&self->result));
	EXPECT_EQ(0, self->result.moved);
	expect_mapped(_metadata, other, npages);
}

TEST_F(method, leaves_another_device_what_it_maps_of_a_file)
{
	void *addr;

	if (!method_is_ours(variant->method))
		SKIP(return, "the kernel's own ways invalidate it");

	MUST(map_shared(&addr, NPAGES));
	fill(addr, NPAGES, 1);
	stay_mapped(_metadata, self, variant, addr, NPAGES);
	EXPECT_EQ(NPAGES, count_status(self, ONEWALK_STATUS_FILE));
}

TEST_F(method, leaves_another_device_what_is_pinned)
{
	if (!method_is_ours(variant->method))
		SKIP(return, "the kernel's own ways invalidate it");

	/* in one table, and in two */
	fill(self->addr, NPAGES, 1);
	ASSERT_OK(dummy_pin(self->fd, self->addr, NPAGES));
	stay_mapped(_metadata, self, variant, self->addr, HUGE / PAGE - FIRST);
	stay_mapped(_metadata, self, variant, self->addr, NPAGES);
	EXPECT_EQ(NPAGES, count_status(self, ONEWALK_STATUS_PINNED));
}

/* A large folio that PTEs map, and one page of which somebody has. */
TEST_F(method, leaves_another_device_what_cannot_be_split)
{
	struct iovec iov = { .iov_len = PAGE };
	void *addr;
	int fds[2];

	if (!method_is_ours(variant->method) || engine_is_portable())
		SKIP(return, "the kernel's own ways invalidate it");

	SET_UP(map_huge(&addr, 1));
	mprotect(addr, PAGE, PROT_READ);
	mprotect(addr, PAGE, PROT_READ | PROT_WRITE);
	iov.iov_base = addr;
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(PAGE, vmsplice(fds[1], &iov, 1, 0));
	stay_mapped(_metadata, self, variant, addr, 64);
	EXPECT_EQ(64, count_status(self, ONEWALK_STATUS_SPLIT_FAILED));
	close(fds[0]);
	close(fds[1]);
}

/* A page that cannot be read makes the call fail, though others could migrate. */
TEST_F(method, leaves_another_device_what_lies_before_poison)
{
	size_t npages = HUGE / PAGE - FIRST;
	int other;

	if (!method_is_ours(variant->method))
		SKIP(return, "the kernel's own ways invalidate it");

	fill(self->addr, npages, 1);
	SET_UP(poison(self->addr + (npages - 1) * PAGE));
	other = map_on_another(_metadata, self->addr, npages - 1);
	ASSERT_EQ(-EFAULT, dummy_migrate(self->fd, self->addr, npages,
					 variant->method,
					 ONEWALK_DUMMY_MIGRATE_FAULT,
					 self->status, NULL, &self->result));
	expect_mapped(_metadata, other, npages - 1);
}

/* What moves, though, it must not go on using where it was. */
TEST_F(method, takes_from_another_device_what_moves)
{
	char *buf = malloc(NPAGES * PAGE);
	struct onewalk_dummy_info info;
	int other;

	fill(self->addr, NPAGES, 1);
	other = map_on_another(_metadata, self->addr, NPAGES);
	ASSERT_OK(move(self, variant));
	EXPECT_EQ(NPAGES, self->result.moved);
	ASSERT_OK(dummy_info(other, &info));
	EXPECT_EQ(0, info.mapped);
	fill_buffer(buf, self->addr, NPAGES, 2);
	ASSERT_OK(dummy_write(self->fd, self->addr, NPAGES, buf));
	EXPECT_EQ(-1, wrong_on_device(other, self->addr, NPAGES, 2));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
	close(other);
	free(buf);
}

/* Swapped in to be read, a page stays in the swap cache: that holds nobody. */
TEST_F(method, takes_pages_out_of_the_swap_cache)
{
	struct peer peer = {};

	if (!method_is_ours(variant->method) || engine_is_portable())
		SKIP(return, "for the kernel's own ways that depends on the kernel");

	fill(self->addr, NPAGES, 1);
	SET_UP(swap_out(self->addr, NPAGES));
	/* while somebody else has it swapped out, it is not freed at once */
	ASSERT_OK(peer_start(&peer));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	peer_stop(&peer);
	ASSERT_OK(move(self, variant));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* One destination cannot be had: one page stays, and goes the next time. */
TEST_F(method, loses_nothing_when_an_allocation_fails)
{
	size_t present;

	fill(self->addr, NPAGES, 1);
	ASSERT_OK(dummy_cmd(self->fd, ONEWALK_DUMMY_FLAGS, NULL,
			    ONEWALK_DUMMY_FLAG_FAIL_ALLOC, NULL, NULL));
	ASSERT_OK(move(self, variant));
	EXPECT_EQ(NPAGES - 1, self->result.moved);
	if (method_is_ours(variant->method)) {
		EXPECT_EQ(NPAGES - 1,
			  count_status(self, ONEWALK_STATUS_MIGRATING));
		EXPECT_EQ(1, count_status(self, ONEWALK_STATUS_STOPPED));
	}
	present = count_where(self->addr, NPAGES, PRESENT);
	EXPECT_EQ(has_device_memory() ? 1 : NPAGES, present);
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));

	ASSERT_OK(move(self, variant));
	EXPECT_EQ(has_device_memory() ? 1 : NPAGES, self->result.moved);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* --- what only our own calls can do --- */

FIXTURE(request) {
	int fd;
	char *addr;
	uint8_t kinds[NPAGES];
	uint8_t status[NPAGES];
	uint64_t pfns[NPAGES];
};

FIXTURE_SETUP(request)
{
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_aligned(NPAGES, HUGE);
	ASSERT_NE(NULL, self->addr);
}

FIXTURE_TEARDOWN(request)
{
	unmap_all();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

/* Does this page, so requested, end where it has to? */
static bool obeyed(const char *page, enum kind kind, uint64_t req,
		   uint64_t old_pfn, uint8_t status)
{
	bool migrate = req & REQ_MIGRATE, fault = req & REQ_FAULT;

	if (migrate && (kind != KIND_SWAPPED || fault))
		return status == ONEWALK_STATUS_MIGRATING &&
		       moved_to_device(page, old_pfn);
	if (migrate)
		return status == ONEWALK_STATUS_SWAPPED &&
		       where(page) == SWAPPED;
	if (status != ONEWALK_STATUS_NOT_REQUESTED)
		return false;
	if (fault && req & REQ_WRITE)
		return where(page) == PRESENT;
	if (kind == KIND_HOLE)
		return where(page) == (fault ? PRESENT : HOLE);
	if (kind == KIND_SWAPPED)
		return where(page) == (fault ? PRESENT : SWAPPED);
	return pfn_of(page) == old_pfn;
}

/* Every page its own: nothing, fault, write, migrate and their combinations. */
TEST_F(request, of_each_page_is_obeyed)
{
	static const uint64_t choices[] = {
		0, REQ_FAULT, REQ_FAULT | REQ_WRITE, REQ_MIGRATE,
		REQ_FAULT | REQ_MIGRATE, REQ_FAULT | REQ_WRITE | REQ_MIGRATE,
	};
	uint64_t old_pfns[NPAGES], reqs[NPAGES], state = SEED + 1;
	size_t i, moved = 0;
	struct onewalk_dummy_migrate result = {};

	MUST(scatter(self->addr, NPAGES, SEED, ALL_KINDS, self->kinds));
	for (i = 0; i < NPAGES; i++) {
		reqs[i] = choices[next_random(&state) % ARRAY_SIZE(choices)];
		self->pfns[i] = reqs[i];
		old_pfns[i] = pfn_of(self->addr + i * PAGE);
	}

	ASSERT_OK(dummy_migrate(self->fd, self->addr, NPAGES,
				ONEWALK_DUMMY_RANGE, 0, self->status,
				self->pfns, &result));
	for (i = 0; i < NPAGES; i++) {
		EXPECT_TRUE(obeyed(self->addr + i * PAGE, self->kinds[i],
				   reqs[i], old_pfns[i], self->status[i])) {
			TH_LOG("page %zu, kind %d, request %llx: status %d, %s",
			       i, self->kinds[i],
			       (unsigned long long)reqs[i] >> 57,
			       self->status[i],
			       where_name(where(self->addr + i * PAGE)));
		}
		EXPECT_EQ(self->status[i] == ONEWALK_STATUS_MIGRATING,
			  !!(self->pfns[i] & PFN_MIGRATE));
		moved += self->status[i] == ONEWALK_STATUS_MIGRATING;
	}
	EXPECT_EQ(moved, result.moved);
	EXPECT_EQ(moved, result.collected);
	EXPECT_EQ(-1, wrong_scattered_on_device(self->fd, self->addr, NPAGES,
						self->kinds));
	EXPECT_EQ(-1, wrong_scattered(self->addr, NPAGES, self->kinds));
}

/* A stretch where nothing can be done still answers each page by its request. */
TEST_F(request, in_an_inaccessible_vma_is_answered_page_by_page)
{
	size_t i;

	fill(self->addr, 16, 1);
	mprotect(self->addr, 16 * PAGE, PROT_NONE);
	for (i = 0; i < 16; i++)
		self->pfns[i] = i % 2 ? REQ_MIGRATE : 0;
	ASSERT_OK(dummy_migrate(self->fd, self->addr, 16, ONEWALK_DUMMY_RANGE,
				0, self->status, self->pfns, NULL));
	for (i = 0; i < 16; i++) {
		EXPECT_EQ(i % 2 ? ONEWALK_STATUS_SPECIAL :
				  ONEWALK_STATUS_NOT_REQUESTED,
			  self->status[i]);
		EXPECT_EQ(PFN_ERROR, self->pfns[i]);
	}
	mprotect(self->addr, 16 * PAGE, PROT_READ | PROT_WRITE);
	EXPECT_EQ(-1, wrong_page(self->addr, 16, 1));
}

/* What the driver keeps in an entry comes through, success or not. */
TEST_F(request, keeps_the_bits_that_are_the_drivers)
{
	const uint64_t mine = 1ULL << 60 | 1ULL << 59 | 1ULL << 58;
	size_t i;

	fill(self->addr, 8, 1);
	for (i = 0; i < 8; i++)
		self->pfns[i] = mine | REQ_FAULT | REQ_MIGRATE;
	ASSERT_OK(dummy_migrate(self->fd, self->addr, 8, ONEWALK_DUMMY_RANGE, 0,
				self->status, self->pfns, NULL));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(mine | PFN_VALID | PFN_WRITE | PFN_MIGRATE,
			  self->pfns[i]);
	EXPECT_EQ(-1, wrong_page(self->addr, 8, 1));
}

/*
 * Pages of a device are selected on the way back, and only they; with
 * memory=system nobody can tell them apart, and all go to other pages.
 */
TEST_F(request, to_system_is_for_device_pages)
{
	const size_t there = has_device_memory() ? 4 : 8;
	uint64_t old_pfns[8];
	size_t i;

	fill(self->addr, 8, 1);
	ASSERT_EQ(4, to_device(self->fd, self->addr, 4));
	for (i = 0; i < 8; i++)
		old_pfns[i] = pfn_of(self->addr + i * PAGE);

	ASSERT_OK(dummy_migrate(self->fd, self->addr, 8, ONEWALK_DUMMY_RANGE,
				ONEWALK_DUMMY_MIGRATE_TO_SYSTEM, self->status,
				NULL, NULL));
	for (i = 0; i < 8; i++) {
		char *page = self->addr + i * PAGE;

		EXPECT_EQ(i < there ? ONEWALK_STATUS_MIGRATING :
				      ONEWALK_STATUS_NOT_SELECTED,
			  self->status[i]);
		EXPECT_EQ(PRESENT, where(page));
		EXPECT_EQ(i < there, old_pfns[i] != pfn_of(page));
	}
	EXPECT_EQ(-1, wrong_page(self->addr, 8, 1));
}

/* All memory is on node 0: from node 1's point of view nothing is there yet. */
TEST_F(request, skips_what_is_already_on_the_node)
{
	struct onewalk_dummy_migrate result = { .nid = 0 };
	size_t i;

	fill(self->addr, 8, 1);
	ASSERT_OK(dummy_migrate(self->fd, self->addr, 8, ONEWALK_DUMMY_RANGE,
				ONEWALK_DUMMY_MIGRATE_SKIP_NODE, self->status,
				NULL, &result));
	EXPECT_EQ(0, result.moved);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(ONEWALK_STATUS_ON_NODE, self->status[i]);

	result.nid = 1;
	ASSERT_OK(dummy_migrate(self->fd, self->addr, 8, ONEWALK_DUMMY_RANGE,
				ONEWALK_DUMMY_MIGRATE_SKIP_NODE, self->status,
				NULL, &result));
	EXPECT_EQ(8, result.moved);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, 8, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, 8, 1));
}

/* INFO and INSPECT agree with what moved and with each other. */
TEST_F(request, is_accounted_for)
{
	struct onewalk_dummy_info before, after;
	uint8_t mapped[8];
	size_t i;

	fill(self->addr, 8, 1);
	ASSERT_OK(dummy_info(self->fd, &before));
	EXPECT_EQ(0, before.id);
	EXPECT_EQ(memory_is_private() ? ONEWALK_DUMMY_MEMORY_PRIVATE :
		  memory_is_coherent() ? ONEWALK_DUMMY_MEMORY_COHERENT :
					 ONEWALK_DUMMY_MEMORY_SYSTEM,
		  before.memory);

	ASSERT_EQ(8, to_device(self->fd, self->addr, 8));
	ASSERT_OK(dummy_info(self->fd, &after));
	EXPECT_EQ(after.pages_total - (has_device_memory() ? 8 : 0),
		  after.pages_free);
	EXPECT_EQ(before.pages_allocated + 8, after.pages_allocated);
	EXPECT_EQ(before.mapped + 8, after.mapped);

	ASSERT_OK(dummy_inspect(self->fd, self->addr, 8, mapped));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(ONEWALK_DUMMY_MAPPED_READ |
			  ONEWALK_DUMMY_MAPPED_WRITE |
			  (has_device_memory() ? ONEWALK_DUMMY_MAPPED_DEVICE :
						 0),
			  mapped[i] & (has_device_memory() ? 0xff : 0x03));

	/* one page goes back: the device has to let go of it */
	EXPECT_EQ(-1, wrong_page(self->addr + 3 * PAGE, 1, 1));
	if (memory_is_coherent())
		EXPECT_EQ(1, to_system(self->fd, self->addr + 3 * PAGE, 1));
	if (has_device_memory()) {
		ASSERT_OK(dummy_inspect(self->fd, self->addr, 8, mapped));
		EXPECT_EQ(0, mapped[3]);
		EXPECT_EQ(after.pages_total - 7,
			  free_pages(self->fd, after.pages_total - 7));
	}
	EXPECT_EQ(-1, wrong_page(self->addr, 8, 1));
}

/* More than one chunk of device memory: the device gets itself another one. */
TEST_F(request, for_more_than_one_chunk_moves_all)
{
	char size[16] = "", *addr;
	size_t npages, i;

	ASSERT_OK(read_file("/sys/module/onewalk_dummy/parameters/size", size,
			    sizeof(size)));
	npages = strtoul(size, NULL, 10) * 256 + 64;
	ASSERT_GT(100000, npages)
		TH_LOG("chunks of %s MiB are too large for this guest", size);
	addr = map_pages(npages);
	ASSERT_NE(NULL, addr);
	for (i = 0; i < npages; i++)
		*(void **)(addr + i * PAGE) = addr + i * PAGE;

	ASSERT_EQ(npages, to_device(self->fd, addr, npages));
	if (has_device_memory())
		EXPECT_EQ(npages, count_where(addr, npages, SPECIAL));
	ASSERT_EQ(npages, to_system(self->fd, addr, npages));
	for (i = 0; i < npages; i++)
		if (*(void **)(addr + i * PAGE) != addr + i * PAGE)
			break;
	EXPECT_EQ(npages, i);
}

/* --- the report against the kernel's own --- */

#define MIX	2048

FIXTURE(report) {
	int fd, other;
	char *addr;
	uint64_t ours[MIX], theirs[MIX];
	struct peer peer;
};

FIXTURE_VARIANT(report) {
	uint64_t seed;
};

FIXTURE_VARIANT_ADD(report, seed_1) { .seed = SEED };
FIXTURE_VARIANT_ADD(report, seed_2) { .seed = SEED * 3 };

FIXTURE_SETUP(report)
{
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->other = dummy_open(1);
	ASSERT_LE(0, self->other);
}

FIXTURE_TEARDOWN(report)
{
	peer_stop(&self->peer);
	unmap_all();
	restore_settings();
	EXPECT_TRUE(device_is_empty(self->fd));
	EXPECT_TRUE(device_is_empty(self->other));
	close(self->fd);
	close(self->other);
}

/* Replaces a stretch of the mix by a mapping of another kind. */
static void another_kind(FIXTURE_DATA(report) *self, char *page, size_t npages,
			 uint64_t choice)
{
	const size_t size = npages * PAGE;

	switch (choice % 12) {
	case 0:
		munmap(page, size);
		break;
	case 1:
		mprotect(page, size, PROT_NONE);
		break;
	case 2:
		mprotect(page, size, PROT_READ);
		break;
	case 3:
		mmap(page, size, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		fill(page, npages / 2, 1);
		break;
	case 4:
		to_device(self->fd, page, npages);
		break;
	case 5:
		to_device(self->other, page, npages);
		break;
	case 6:
		madvise(page, size, MADV_GUARD_INSTALL);
		break;
	case 7:
		madvise(page, size, MADV_FREE);
		break;
	case 8:
		mlock(page, size);
		break;
	default:
		break;
	}
}

static const char *build(FIXTURE_DATA(report) *self, uint64_t seed)
{
	uint8_t *kinds = malloc(MIX);
	uint64_t state = seed + 1;
	const char *why;
	size_t i, npages;

	self->addr = map_aligned(MIX, HUGE);
	why = scatter(self->addr, MIX, seed, ALL_KINDS, kinds);
	free(kinds);
	if (why)
		return why;

	/* some 2 MiB are one huge page, where there are such */
	for (i = 0; i + 512 <= MIX; i += 512) {
		if (next_random(&state) % 3)
			continue;
		madvise(self->addr + i * PAGE, HUGE, MADV_DONTNEED);
		madvise(self->addr + i * PAGE, HUGE, MADV_HUGEPAGE);
		fill(self->addr + i * PAGE, 1, 1);
	}
	/* all is shared now, until it is written again */
	if (next_random(&state) % 2 && peer_start(&self->peer))
		return "fork failed";
	for (i = 0; i < MIX; i += npages) {
		npages = 1 + next_random(&state) % 60;
		if (npages > MIX - i)
			npages = MIX - i;
		another_kind(self, self->addr + i * PAGE, npages,
			     next_random(&state));
	}
	return NULL;
}

static void compare(struct __test_metadata *_metadata,
		    FIXTURE_DATA(report) *self, size_t first, size_t npages,
		    uint64_t flags, uint64_t mask, bool kernel_first)
{
	int ret[2], i, kernel;
	size_t j;

	for (i = 0; i < 2; i++) {
		kernel = i ^ kernel_first;
		ret[kernel] = dummy_report_masked(self->fd,
						  self->addr + first * PAGE,
						  npages,
						  kernel ? self->theirs :
							   self->ours,
						  flags, mask, kernel);
	}
	ASSERT_EQ(ret[1], ret[0])
		TH_LOG("pages %zu to %zu, flags %llx", first, first + npages,
		       (unsigned long long)flags);
	for (j = 0; !ret[0] && j < npages; j++)
		ASSERT_EQ(self->theirs[j], self->ours[j])
			TH_LOG("page %zu, flags %llx", first + j,
			       (unsigned long long)flags);
}

TEST_F(report, of_a_random_address_space_is_the_kernels)
{
	TH_LOG("seed %llu", (unsigned long long)variant->seed);
	MUST(build(self, variant->seed));
	compare(_metadata, self, 0, MIX, 0, 0, false);
}

/* Many small ranges, so that not all of them meet something that fails. */
TEST_F(report, after_random_faults_is_the_kernels)
{
	uint64_t flags, request, state = variant->seed + 2;
	size_t first, npages, i, j;

	TH_LOG("seed %llu", (unsigned long long)variant->seed);
	MUST(build(self, variant->seed));
	for (i = 0; i < 200; i++) {
		first = next_random(&state) % MIX;
		npages = 1 + next_random(&state) % 40;
		if (npages > MIX - first)
			npages = MIX - first;
		flags = next_random(&state) % 3 ? 0 : REQ_FAULT;
		for (j = 0; j < npages; j++) {
			request = next_random(&state) % 4 ? 0 : REQ_FAULT;
			if (request && next_random(&state) % 2)
				request |= REQ_WRITE;
			self->ours[j] = request;
			self->theirs[j] = request;
		}
		compare(_metadata, self, first, npages, flags,
			REQ_FAULT | REQ_WRITE, next_random(&state) % 2);
		if (_metadata->exit_code)
			return;
	}
}

ONEWALK_MAIN
