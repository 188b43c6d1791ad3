// SPDX-License-Identifier: GPL-2.0
/*
 * A call that goes wrong half way, at every place where it can, and a call that
 * somebody interferes with between any two of its steps: nothing is lost, and
 * nothing stays locked, isolated or half moved. Needs a debug build, which can
 * be told to fail and to wait (src/debug.c).
 */
#include "kselftest_harness.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "common.h"

#define NPAGES	64

FIXTURE(injected) {
	int fd;
	char *addr;
	uint8_t status[NPAGES];
	struct onewalk_dummy_migrate result;
};

/*
 * One PTE table is looked at and collected in one descent; for a range that begins
 * in the middle of the first of two there is a second one.
 */
FIXTURE_VARIANT(injected) {
	unsigned int method;
	size_t first;
};

FIXTURE_VARIANT_ADD(injected, range_in_one_table) {
	.method = ONEWALK_DUMMY_RANGE,
};

FIXTURE_VARIANT_ADD(injected, range_of_tables) {
	.method = ONEWALK_DUMMY_RANGE, .first = HUGE / PAGE - NPAGES / 2,
};

FIXTURE_VARIANT_ADD(injected, setup_in_one_table) {
	.method = ONEWALK_DUMMY_SETUP,
};

FIXTURE_VARIANT_ADD(injected, setup_of_tables) {
	.method = ONEWALK_DUMMY_SETUP, .first = HUGE / PAGE - NPAGES / 2,
};

FIXTURE_SETUP(injected)
{
	if (!can_inject())
		SKIP(return, "not a debug build");

	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	/* two tables, whose pages are nobody else's */
	self->addr = map_aligned(2 * HUGE / PAGE, HUGE);
	ASSERT_NE(NULL, self->addr);
	self->addr += variant->first * PAGE;
	fill(self->addr, NPAGES, 1);
}

FIXTURE_TEARDOWN(injected)
{
	inject_nothing();
	unmap_all();
	restore_settings();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

static int migrate(FIXTURE_DATA(injected) *self,
		   const FIXTURE_VARIANT(injected) *variant)
{
	return dummy_migrate(self->fd, self->addr, NPAGES,
			     variant->method, ONEWALK_DUMMY_MIGRATE_FAULT,
			     self->status, NULL, &self->result);
}

/* Nothing was lost: all is still there, and can go, and is right then, too. */
static void check_whole(struct __test_metadata *_metadata,
			FIXTURE_DATA(injected) *self,
			const FIXTURE_VARIANT(injected) *variant)
{
	inject_nothing();
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_OK(migrate(self, variant));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/* --- a page that cannot be had stays, and only that --- */

static void one_page_stays(struct __test_metadata *_metadata,
			   FIXTURE_DATA(injected) *self,
			   const FIXTURE_VARIANT(injected) *variant,
			   const char *point, enum onewalk_status why)
{
	size_t i, stayed = 0;

	ASSERT_OK(inject(point, 7, 1));
	ASSERT_OK(migrate(self, variant));
	EXPECT_EQ(1, struck(point));
	for (i = 0; i < NPAGES; i++) {
		if (self->status[i] == ONEWALK_STATUS_MIGRATING)
			continue;
		EXPECT_EQ(why, self->status[i]);
		EXPECT_EQ(PRESENT, where(self->addr + i * PAGE));
		stayed++;
	}
	EXPECT_EQ(1, stayed);
	EXPECT_EQ(NPAGES - 1, self->result.moved);
	check_whole(_metadata, self, variant);
}

TEST_F(injected, page_that_is_locked_stays_alone)
{
	one_page_stays(_metadata, self, variant, "trylock",
		       ONEWALK_STATUS_LOCKED);
}

TEST_F(injected, page_that_cannot_be_shared_stays_alone)
{
	one_page_stays(_metadata, self, variant, "share",
		       ONEWALK_STATUS_PINNED);
}

TEST_F(injected, page_that_cannot_be_isolated_stays_alone)
{
	one_page_stays(_metadata, self, variant, "isolate",
		       ONEWALK_STATUS_NOT_ON_LRU);
}

TEST_F(injected, page_with_a_reference_too_many_stays_alone)
{
	one_page_stays(_metadata, self, variant, "pin", ONEWALK_STATUS_BUSY);
}

/* The driver has copied by then, and is told. */
TEST_F(injected, page_that_the_kernel_does_not_move_stays_alone)
{
	ASSERT_OK(inject("refuse", 0, 1));
	ASSERT_OK(migrate(self, variant));
	EXPECT_EQ(1, struck("refuse"));
	EXPECT_EQ(ONEWALK_STATUS_UNKNOWN, self->status[0]);
	EXPECT_EQ(PRESENT, where(self->addr));
	EXPECT_EQ(NPAGES - 1, self->result.moved);
	check_whole(_metadata, self, variant);
}

TEST_F(injected, huge_page_that_cannot_be_split_stays)
{
	void *addr;
	size_t i;

	MUST(map_huge(&addr, 2));
	self->addr = (char *)addr + variant->first * PAGE;
	fill(self->addr, NPAGES, 1);
	ASSERT_OK(inject("split", 0, ~0U));
	ASSERT_OK(migrate(self, variant));
	EXPECT_LE(1, struck("split"));
	EXPECT_EQ(0, self->result.moved);
	for (i = 0; i < NPAGES; i++)
		ASSERT_EQ(ONEWALK_STATUS_SPLIT_FAILED, self->status[i]);
	check_whole(_metadata, self, variant);
}

/* --- a call that fails --- */

static void call_fails(struct __test_metadata *_metadata,
		       FIXTURE_DATA(injected) *self,
		       const FIXTURE_VARIANT(injected) *variant,
		       const char *point, int err, enum onewalk_status why)
{
	size_t i, page = NPAGES / 2;

	MUST(swap_out(self->addr + page * PAGE, 1));
	ASSERT_OK(inject(point, 0, 1));
	EXPECT_EQ(err, migrate(self, variant));
	EXPECT_EQ(1, struck(point));
	EXPECT_EQ(0, self->result.moved);
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(i == page ? why : ONEWALK_STATUS_STOPPED,
			  self->status[i])
			TH_LOG("page %zu", i);
	check_whole(_metadata, self, variant);
}

TEST_F(injected, fault_without_memory_fails_the_call)
{
	call_fails(_metadata, self, variant, "fault-oom", -ENOMEM,
		   ONEWALK_STATUS_FAULT_ENOMEM);
}

TEST_F(injected, fault_that_gets_a_bus_error_fails_the_call)
{
	call_fails(_metadata, self, variant, "fault-sigbus", -EFAULT,
		   ONEWALK_STATUS_FAULT_EFAULT);
}

TEST_F(injected, fault_that_meets_poison_fails_the_call)
{
	call_fails(_metadata, self, variant, "fault-hwpoison", -EFAULT,
		   ONEWALK_STATUS_FAULT_POISONED);
}

TEST_F(injected, table_that_vanishes_costs_another_round)
{
	ASSERT_OK(inject("table", 0, 2));
	EXPECT_OK(migrate(self, variant));
	EXPECT_EQ(2, struck("table"));
	EXPECT_EQ(NPAGES, self->result.moved);
	check_whole(_metadata, self, variant);
}

/* With the first table collected each time; the driver gives up in the end. */
TEST_F(injected, table_that_always_vanishes_ends_in_ebusy)
{
	ASSERT_OK(inject("table", variant->first > 0, ~0U));
	EXPECT_EQ(-EBUSY, migrate(self, variant));
	EXPECT_LT(8, struck("table"));
	EXPECT_EQ(0, self->result.moved);
	check_whole(_metadata, self, variant);
}

TEST_F(injected, invalidation_costs_another_call)
{
	ASSERT_OK(inject("invalidated", 0, 1));
	EXPECT_OK(migrate(self, variant));
	EXPECT_EQ(1, struck("invalidated"));
	EXPECT_EQ(NPAGES, self->result.moved);
	check_whole(_metadata, self, variant);
}

/* --- the kernel itself runs out of memory --- */

/* The @n-th allocation by this thread from here on fails; 0: none any more. */
static int fail_allocation(unsigned int n)
{
	return write_file("/proc/thread-self/fail-nth", "%u", n);
}

/* It has not come to that allocation. */
static bool allocation_is_left(void)
{
	char text[16] = "0";

	read_file("/proc/thread-self/fail-nth", text, sizeof(text));
	return atoi(text);
}

static const char *fail_all_kinds(void)
{
	static const char * const files[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
	};
	char path[64];
	size_t i;

	for (i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s",
			 files[i][0]);
		if (set_file(path, files[i][1]))
			return "this kernel cannot make allocations fail";
	}
	return NULL;
}

/* One after the other: in the call, in its faults, in the driver. */
TEST_F(injected, any_allocation_may_fail)
{
	bool left = false;
	unsigned int n;
	int ret;

	SET_UP(fail_all_kinds());
	/* the first in any case, then with ever larger gaps */
	for (n = 1; !left && n < 100000; n += 1 + n / 16) {
		MUST(swap_out(self->addr + 5 * PAGE, 4));
		ASSERT_EQ(0, fail_allocation(n));
		ret = migrate(self, variant);
		left = allocation_is_left();
		fail_allocation(0);
		EXPECT_TRUE(!ret || ret == -ENOMEM)
			TH_LOG("allocation %u: %d", n, ret);
		if (left)
			EXPECT_EQ(NPAGES, self->result.moved);
		EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	}
	EXPECT_TRUE(left);
	EXPECT_LT(20, n);
	check_whole(_metadata, self, variant);
}

/* --- interference between two steps --- */

struct call {
	pthread_t thread;
	FIXTURE_DATA(injected) *self;
	const FIXTURE_VARIANT(injected) *variant;
	int ret;
};

static void *call_thread(void *arg)
{
	struct call *call = arg;

	call->ret = migrate(call->self, call->variant);
	return NULL;
}

static const char * const pauses[] = {
	"entered", "looked", "checked", "collected", "unmapped", "parted",
	"moved",
};

/* With the memory gone in the middle of it, the rest moves, or nothing does. */
TEST_F(injected, memory_zapped_between_two_steps_is_gone_and_no_more)
{
	struct call call = { .self = self, .variant = variant };
	size_t i, half = NPAGES / 2;

	for (i = 0; i < sizeof(pauses) / sizeof(*pauses); i++) {
		fill(self->addr, NPAGES, 1);
		ASSERT_OK(inject(pauses[i], 0, 1));
		pthread_create(&call.thread, NULL, call_thread, &call);
		ASSERT_TRUE(wait_until_paused())
			TH_LOG("%s", pauses[i]);
		EXPECT_OK(madvise(self->addr, half * PAGE, MADV_DONTNEED));
		resume();
		pthread_join(call.thread, NULL);

		EXPECT_OK(call.ret)
			TH_LOG("%s: %d", pauses[i], call.ret);
		EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
		EXPECT_EQ(-1, nonzero_page(self->addr, half));
		EXPECT_EQ(-1, wrong_page(self->addr + half * PAGE,
					 NPAGES - half, 1));
	}
	fill(self->addr, NPAGES, 1);
	check_whole(_metadata, self, variant);
}

struct toucher {
	pthread_t thread;
	char *addr;
	size_t npages;
	atomic_bool go, done;
	long wrong;
};

static void *touch(void *arg)
{
	struct toucher *toucher = arg;

	while (!atomic_load(&toucher->go))
		usleep(1000);
	toucher->wrong = wrong_page(toucher->addr, toucher->npages, 1);
	atomic_store(&toucher->done, true);
	return NULL;
}

/* Who touches a page that is on its way waits, and then finds it. */
TEST_F(injected, memory_touched_between_two_steps_is_right)
{
	struct call call = { .self = self, .variant = variant };
	struct toucher toucher = {
		.addr = self->addr,
		.npages = NPAGES,
	};
	size_t i;

	for (i = 0; i < sizeof(pauses) / sizeof(*pauses); i++) {
		ASSERT_OK(inject(pauses[i], 0, 1));
		/* before the call has the mmap lock, which a new stack needs */
		atomic_store(&toucher.go, false);
		pthread_create(&toucher.thread, NULL, touch, &toucher);
		pthread_create(&call.thread, NULL, call_thread, &call);
		ASSERT_TRUE(wait_until_paused())
			TH_LOG("%s", pauses[i]);
		atomic_store(&toucher.go, true);
		usleep(20000);
		resume();
		pthread_join(call.thread, NULL);
		pthread_join(toucher.thread, NULL);
		EXPECT_OK(call.ret);
		EXPECT_EQ(-1, toucher.wrong);
		/* and all come back for the next call */
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
		EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	}
	check_whole(_metadata, self, variant);
}

/* Migrates, and lets @change happen between the look-ahead and the collecting. */
static int migrate_changed(struct __test_metadata *_metadata,
			   FIXTURE_DATA(injected) *self,
			   const FIXTURE_VARIANT(injected) *variant,
			   const char *(*change)(void *page))
{
	struct call call = { .self = self, .variant = variant };
	const char *why;

	/* in one table, "checked" comes before the look-ahead */
	EXPECT_OK(inject(variant->first ? "checked" : "looked", 0, 1));
	pthread_create(&call.thread, NULL, call_thread, &call);
	EXPECT_TRUE(wait_until_paused());
	why = change(self->addr + NPAGES / 2 * PAGE);
	EXPECT_EQ(NULL, why)
		TH_LOG("%s", why);
	resume();
	pthread_join(call.thread, NULL);
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	return call.ret;
}

static const char *swap_one_out(void *page)
{
	return swap_out(page, 1);
}

/* What was collected of the table by then goes back, and the call begins anew. */
TEST_F(injected, page_swapped_out_before_its_turn_is_faulted_in)
{
	EXPECT_OK(migrate_changed(_metadata, self, variant, swap_one_out));
	EXPECT_EQ(NPAGES, self->result.moved);
	check_whole(_metadata, self, variant);
}

TEST_F(injected, page_poisoned_before_its_turn_keeps_all_from_moving)
{
	size_t half = NPAGES / 2;

	EXPECT_EQ(-EFAULT, migrate_changed(_metadata, self, variant, poison));
	EXPECT_EQ(0, self->result.moved);
	EXPECT_EQ(ONEWALK_STATUS_POISONED, self->status[half]);
	EXPECT_EQ(-1, wrong_page(self->addr, half, 1));
	EXPECT_EQ(-1, wrong_page(self->addr + (half + 1) * PAGE, half - 1, 1));
}

/*
 * Somebody throws a page away when all has been looked at, and be it another one:
 * what was reported may be wrong. Who asked for no report need not begin anew.
 */
TEST_F(injected, invalidation_after_the_look_costs_another_call)
{
	struct call call = { .self = self, .variant = variant };

	ASSERT_OK(inject("looked", 0, 1));
	pthread_create(&call.thread, NULL, call_thread, &call);
	ASSERT_TRUE(wait_until_paused());
	EXPECT_OK(madvise(self->addr + NPAGES * PAGE, PAGE, MADV_DONTNEED));
	resume();
	pthread_join(call.thread, NULL);
	EXPECT_OK(call.ret);
	EXPECT_EQ(variant->method == ONEWALK_DUMMY_RANGE, self->result.retries);
	EXPECT_EQ(NPAGES, self->result.moved);
	check_whole(_metadata, self, variant);
}

static void *unlocked_call_thread(void *arg)
{
	struct call *call = arg;
	FIXTURE_DATA(injected) *self = call->self;

	call->ret = dummy_migrate(self->fd, self->addr, NPAGES,
				  ONEWALK_DUMMY_RANGE,
				  ONEWALK_DUMMY_MIGRATE_FAULT |
				  ONEWALK_DUMMY_MIGRATE_UNLOCKED, self->status,
				  NULL, &self->result);
	return NULL;
}

/*
 * The page is gone when its turn comes, with others collected, and only userfaultfd
 * can bring it back. Who serves it may want those others first, and must get them.
 */
TEST_F(injected, page_that_vanished_is_waited_for_with_nothing_held)
{
	struct call call = { .self = self, .variant = variant };
	struct toucher toucher = {
		.addr = self->addr,
		.npages = NPAGES / 2,
	};
	struct pollfd pollfd = { .events = POLLIN };
	struct uffd uffd = {};
	int i;

	if (!variant->first || variant->method != ONEWALK_DUMMY_RANGE)
		SKIP(return, "only this call lets userfaultfd wait so late");
	MUST(uffd_start(&uffd, self->addr, NPAGES,
			UFFDIO_REGISTER_MODE_MISSING, 0));
	/* all CPUs are drained once in a call: for the page that is served */
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	ASSERT_OK(inject("checked", 0, 1));
	pthread_create(&toucher.thread, NULL, touch, &toucher);
	pthread_create(&call.thread, NULL, unlocked_call_thread, &call);
	ASSERT_TRUE(wait_until_paused());
	EXPECT_OK(madvise(self->addr + NPAGES / 2 * PAGE, PAGE, MADV_DONTNEED));
	resume();

	pollfd.fd = uffd.fd;
	EXPECT_EQ(1, poll(&pollfd, 1, 30000));
	atomic_store(&toucher.go, true);
	for (i = 0; i < 1000 && !atomic_load(&toucher.done); i++)
		usleep(10000);
	EXPECT_TRUE(atomic_load(&toucher.done));
	uffd_serve(&uffd, 1);
	pthread_join(call.thread, NULL);
	pthread_join(toucher.thread, NULL);
	EXPECT_OK(call.ret);
	EXPECT_EQ(-1, toucher.wrong);
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	uffd_stop(&uffd);
	check_whole(_metadata, self, variant);
}

/* A process that is killed at this very step. */
static int die_at(FIXTURE_DATA(injected) *self,
		  const FIXTURE_VARIANT(injected) *variant, const char *point)
{
	int status = 0, ret = -1;
	pid_t pid = fork();

	if (!pid) {
		int fd = dummy_open(0);

		inject(point, 0, 1);
		fill(self->addr, NPAGES, 2);
		dummy_migrate(fd, self->addr, NPAGES, variant->method,
			      ONEWALK_DUMMY_MIGRATE_FAULT, NULL, NULL, NULL);
		_exit(0);
	}
	if (wait_until_paused())
		ret = 0;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return ret ?: !WIFSIGNALED(status);
}

/* The pages are the parent's, too, until the child writes to some of them. */
TEST_F(injected, process_killed_between_two_steps_takes_nothing_with_it)
{
	size_t i;

	for (i = 0; i < sizeof(pauses) / sizeof(*pauses); i++) {
		EXPECT_OK(die_at(self, variant, pauses[i]))
			TH_LOG("%s", pauses[i]);
		EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	}
	check_whole(_metadata, self, variant);
	EXPECT_TRUE(device_is_empty(self->fd));
}

/* --- huge pages that move whole --- */

#define NHUGE	512

FIXTURE(whole) {
	int fd;
	char *addr;
	uint8_t status[NHUGE];
	struct onewalk_dummy_migrate result;
};

FIXTURE_VARIANT(whole) {
	bool back;	/* from the device, where it is when a test begins */
	bool pieces;	/* and there is no large page for it */
};

FIXTURE_VARIANT_ADD(whole, to_the_device) { };
FIXTURE_VARIANT_ADD(whole, to_the_device_in_pieces) { .pieces = true };
FIXTURE_VARIANT_ADD(whole, to_the_system) { .back = true };
FIXTURE_VARIANT_ADD(whole, to_the_system_in_pieces) {
	.back = true, .pieces = true,
};

/* Writes it anew, and has it where the migration begins. */
static void begin_whole(struct __test_metadata *_metadata,
			FIXTURE_DATA(whole) *self,
			const FIXTURE_VARIANT(whole) *variant)
{
	madvise(self->addr, HUGE, MADV_DONTNEED);
	fill(self->addr, NHUGE, 1);
	EXPECT_TRUE(page_flag(self->addr, KPF_THP));
	if (variant->back)
		EXPECT_OK(dummy_migrate(self->fd, self->addr, NHUGE,
					ONEWALK_DUMMY_SETUP,
					ONEWALK_DUMMY_MIGRATE_FAULT |
					ONEWALK_DUMMY_MIGRATE_COMPOUND, NULL,
					NULL, NULL));
}

FIXTURE_SETUP(whole)
{
	void *addr;

	if (!can_inject())
		SKIP(return, "not a debug build");
	if (!kernel_migrates_large_folios() || !memory_is_private())
		SKIP(return, "nothing moves whole here");

	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	MUST(map_huge(&addr, 1));
	self->addr = addr;
	begin_whole(_metadata, self, variant);
}

FIXTURE_TEARDOWN(whole)
{
	inject_nothing();
	unmap_all();
	restore_settings();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

static int migrate_huge(FIXTURE_DATA(whole) *self,
			const FIXTURE_VARIANT(whole) *variant)
{
	unsigned int flags = ONEWALK_DUMMY_MIGRATE_COMPOUND;

	if (variant->back)
		flags |= ONEWALK_DUMMY_MIGRATE_TO_SYSTEM;
	else
		flags |= ONEWALK_DUMMY_MIGRATE_FAULT;
	if (variant->pieces)
		dummy_cmd(self->fd, ONEWALK_DUMMY_FLAGS, NULL,
			  ONEWALK_DUMMY_FLAG_FAIL_ALLOC, NULL, NULL);
	return dummy_migrate(self->fd, self->addr, NHUGE, ONEWALK_DUMMY_RANGE,
			     flags, self->status, NULL, &self->result);
}

/* All there, whatever became of it, and it can go anywhere afterwards. */
static void check_huge(struct __test_metadata *_metadata,
		       FIXTURE_DATA(whole) *self,
		       const FIXTURE_VARIANT(whole) *variant)
{
	inject_nothing();
	dummy_cmd(self->fd, ONEWALK_DUMMY_FLAGS, NULL, 0, NULL, NULL);
	EXPECT_EQ(0, forgotten_pages(self->addr, NHUGE));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NHUGE, 1));
	EXPECT_OK(migrate_huge(self, variant));
	dummy_cmd(self->fd, ONEWALK_DUMMY_FLAGS, NULL, 0, NULL, NULL);
	EXPECT_EQ(-1, wrong_page(self->addr, NHUGE, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NHUGE));
	EXPECT_EQ(NHUGE, to_device(self->fd, self->addr, NHUGE));
	EXPECT_EQ(-1, wrong_page(self->addr, NHUGE, 1));
}

static void huge_page_stays(struct __test_metadata *_metadata,
			    FIXTURE_DATA(whole) *self,
			    const FIXTURE_VARIANT(whole) *variant,
			    const char *point, enum onewalk_status why)
{
	size_t i;

	ASSERT_OK(inject(point, 0, 1));
	ASSERT_OK(migrate_huge(self, variant));
	EXPECT_EQ(1, struck(point));
	EXPECT_EQ(0, self->result.moved);
	for (i = 0; i < NHUGE; i++)
		ASSERT_EQ(why, self->status[i]);
	EXPECT_EQ(variant->back ? 0 : NHUGE,
		  count_where(self->addr, NHUGE, PRESENT));
	check_huge(_metadata, self, variant);
}

TEST_F(whole, page_that_is_locked_stays)
{
	huge_page_stays(_metadata, self, variant, "trylock",
			ONEWALK_STATUS_LOCKED);
}

TEST_F(whole, page_that_is_pinned_stays)
{
	if (variant->back)
		SKIP(return, "nobody can pin a device's page");
	huge_page_stays(_metadata, self, variant, "share",
			ONEWALK_STATUS_PINNED);
}

TEST_F(whole, page_with_a_reference_too_many_stays)
{
	huge_page_stays(_metadata, self, variant, "pin", ONEWALK_STATUS_BUSY);
}

TEST_F(whole, page_that_cannot_be_split_stays)
{
	if (!variant->pieces)
		SKIP(return, "it is not to be split");
	huge_page_stays(_metadata, self, variant, "split",
			ONEWALK_STATUS_UNKNOWN);
}

TEST_F(whole, page_that_the_kernel_does_not_move_stays)
{
	if (variant->pieces)
		SKIP(return, "its pieces are small ones");
	huge_page_stays(_metadata, self, variant, "refuse",
			ONEWALK_STATUS_UNKNOWN);
}

struct huge_call {
	pthread_t thread;
	FIXTURE_DATA(whole) *self;
	const FIXTURE_VARIANT(whole) *variant;
	int ret;
};

static void *huge_call_thread(void *arg)
{
	struct huge_call *call = arg;

	call->ret = migrate_huge(call->self, call->variant);
	return NULL;
}

/* Between any two steps: all of it, then a part, which splits its entry first. */
static void zap_between(struct __test_metadata *_metadata,
			FIXTURE_DATA(whole) *self,
			const FIXTURE_VARIANT(whole) *variant, size_t first,
			size_t npages)
{
	struct huge_call call = { .self = self, .variant = variant };
	size_t i, end = first + npages;
	bool anew;

	for (i = 0; i < sizeof(pauses) / sizeof(*pauses); i++) {
		begin_whole(_metadata, self, variant);
		ASSERT_OK(inject(pauses[i], 0, 1));
		pthread_create(&call.thread, NULL, huge_call_thread, &call);
		ASSERT_TRUE(wait_until_paused())
			TH_LOG("%s", pauses[i]);
		EXPECT_OK(madvise(self->addr + first * PAGE, npages * PAGE,
				  MADV_DONTNEED));
		/* what was there may be had anew at once */
		anew = npages == NHUGE && strcmp(pauses[i], "entered");
		if (anew)
			fill(self->addr, 1, 3);
		resume();
		pthread_join(call.thread, NULL);

		EXPECT_OK(call.ret)
			TH_LOG("%s: %d", pauses[i], call.ret);
		EXPECT_EQ(0, forgotten_pages(self->addr, NHUGE));
		if (anew) {
			EXPECT_EQ(-1, wrong_page(self->addr, 1, 3))
				TH_LOG("%s", pauses[i]);
		} else {
			EXPECT_EQ(-1, nonzero_page(self->addr + first * PAGE,
						   npages))
				TH_LOG("%s", pauses[i]);
		}
		EXPECT_EQ(-1, wrong_page(self->addr, first, 1))
			TH_LOG("%s", pauses[i]);
		EXPECT_EQ(-1, wrong_page(self->addr + end * PAGE, NHUGE - end,
					 1))
			TH_LOG("%s", pauses[i]);
	}
	madvise(self->addr, HUGE, MADV_DONTNEED);
	EXPECT_TRUE(device_is_empty(self->fd));
	begin_whole(_metadata, self, variant);
	check_huge(_metadata, self, variant);
}

TEST_F(whole, page_zapped_between_two_steps_is_gone)
{
	zap_between(_metadata, self, variant, 0, NHUGE);
}

TEST_F(whole, page_zapped_in_part_between_two_steps_keeps_the_rest)
{
	zap_between(_metadata, self, variant, 100, 50);
}

/* Its entry names it page by page then, and has to do so when it comes back. */
TEST_F(whole, page_zapped_in_part_that_the_kernel_does_not_move_keeps_the_rest)
{
	struct huge_call call = { .self = self, .variant = variant };
	size_t i;

	for (i = 0; i < sizeof(pauses) / sizeof(*pauses); i++) {
		begin_whole(_metadata, self, variant);
		ASSERT_OK(inject(pauses[i], 0, 1));
		ASSERT_OK(inject("refuse", 0, 1));
		pthread_create(&call.thread, NULL, huge_call_thread, &call);
		ASSERT_TRUE(wait_until_paused())
			TH_LOG("%s", pauses[i]);
		EXPECT_OK(madvise(self->addr + 100 * PAGE, 50 * PAGE,
				  MADV_DONTNEED));
		resume();
		pthread_join(call.thread, NULL);
		EXPECT_OK(call.ret);
		EXPECT_EQ(1, struck("refuse"));
		EXPECT_EQ(0, forgotten_pages(self->addr, NHUGE));
		EXPECT_EQ(-1, wrong_page(self->addr, 100, 1))
			TH_LOG("%s", pauses[i]);
		EXPECT_EQ(-1, nonzero_page(self->addr + 100 * PAGE, 50));
		EXPECT_EQ(-1, wrong_page(self->addr + 150 * PAGE, NHUGE - 150,
					 1));
	}
	inject_nothing();
}

/* Who touches it waits, and lets everybody else get on meanwhile. */
TEST_F(whole, page_touched_between_two_steps_is_right)
{
	struct huge_call call = { .self = self, .variant = variant };
	struct toucher toucher = { .addr = self->addr, .npages = NHUGE };
	size_t i;

	for (i = 0; i < sizeof(pauses) / sizeof(*pauses); i++) {
		begin_whole(_metadata, self, variant);
		ASSERT_OK(inject(pauses[i], 0, 1));
		atomic_store(&toucher.go, false);
		pthread_create(&toucher.thread, NULL, touch, &toucher);
		pthread_create(&call.thread, NULL, huge_call_thread, &call);
		ASSERT_TRUE(wait_until_paused())
			TH_LOG("%s", pauses[i]);
		atomic_store(&toucher.go, true);
		usleep(20000);
		/* every CPU is needed for this: none may spin on our folio */
		EXPECT_OK(write_file("/proc/sys/vm/compact_memory", "1"));
		resume();
		pthread_join(call.thread, NULL);
		pthread_join(toucher.thread, NULL);
		EXPECT_OK(call.ret);
		EXPECT_EQ(-1, toucher.wrong);
		EXPECT_EQ(0, forgotten_pages(self->addr, NHUGE));
	}
	check_huge(_metadata, self, variant);
}

/*
 * One thread brings it back, and has it locked; 7.3 lets the other spin on it.
 * What needs every CPU, as draining the LRU batches does, must get on all the same.
 */
TEST_F(whole, page_touched_by_two_threads_starves_nobody)
{
	struct toucher touchers[2];
	size_t i;

	if (!variant->back || variant->pieces)
		SKIP(return, "once is enough");
	for (i = 0; i < 2; i++) {
		touchers[i] = (struct toucher){
			.addr = self->addr, .npages = NHUGE,
		};
		pthread_create(&touchers[i].thread, NULL, touch, &touchers[i]);
	}
	ASSERT_OK(inject("looked", 0, 1));
	atomic_store(&touchers[0].go, true);
	ASSERT_TRUE(wait_until_paused());
	atomic_store(&touchers[1].go, true);
	usleep(100000);
	for (i = 0; i < 5; i++)
		EXPECT_OK(write_file("/proc/sys/vm/compact_memory", "1"));
	resume();
	for (i = 0; i < 2; i++) {
		pthread_join(touchers[i].thread, NULL);
		EXPECT_EQ(-1, touchers[i].wrong);
	}
	EXPECT_EQ(NHUGE, count_where(self->addr, NHUGE, PRESENT));
	check_huge(_metadata, self, variant);
}

/* A CPU that touches it has to try again, and is not told of an error. */
TEST_F(whole, page_touched_while_it_keeps_vanishing_comes_back)
{
	if (!variant->back || variant->pieces)
		SKIP(return, "once is enough");
	ASSERT_OK(inject("table", 0, 100));
	EXPECT_EQ(-1, wrong_page(self->addr + 5 * PAGE, 1, 1));
	EXPECT_EQ(100, struck("table"));
	EXPECT_EQ(NHUGE, count_where(self->addr, NHUGE, PRESENT));
	check_huge(_metadata, self, variant);
}

/* A process that is killed at this very step. */
TEST_F(whole, process_killed_between_two_steps_takes_nothing_with_it)
{
	int status;
	size_t i;
	pid_t pid;

	clear_soft_dirty();
	for (i = 0; i < sizeof(pauses) / sizeof(*pauses); i++) {
		pid = fork();
		if (!pid) {
			self->fd = dummy_open(0);
			/* it is its own by this */
			begin_whole(_metadata, self, variant);
			inject(pauses[i], 0, 1);
			migrate_huge(self, variant);
			_exit(0);
		}
		EXPECT_TRUE(wait_until_paused())
			TH_LOG("%s", pauses[i]);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_EQ(-1, wrong_page(self->addr, NHUGE, 1));
		EXPECT_EQ(0, forgotten_pages(self->addr, NHUGE));
	}
	check_huge(_metadata, self, variant);
}

ONEWALK_MAIN
