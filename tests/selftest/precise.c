// SPDX-License-Identifier: GPL-2.0
/*
 * Exactly the missing pages are faulted, in the way that costs least: counted
 * by probes on the kernel's own functions, in the calling thread.
 */
/* vm: --in-turn */
/* vm: not on a slow kernel: the counts are the same */
/* vm: not with memory=coherent; vm: one kind of memory: where pages go to does not count here */
#include "kselftest_harness.h"

#include <sched.h>
#include <sys/rseq.h>

#include "common.h"

#define NPAGES	512
#define TABLES	8

FIXTURE(precise) {
	int fd;
	char *addr;
	char *scratch;
	size_t npages;
	unsigned int flags;
	struct counter counter;
	struct peer peer;
	uint8_t kinds[NPAGES];
	uint8_t status[TABLES * NPAGES];
	struct onewalk_dummy_migrate result;
};

FIXTURE_VARIANT(precise) {
	unsigned int method;
};

FIXTURE_VARIANT_ADD(precise, range) { .method = ONEWALK_DUMMY_RANGE };
FIXTURE_VARIANT_ADD(precise, setup) { .method = ONEWALK_DUMMY_SETUP };

FIXTURE_SETUP(precise)
{
	cpu_set_t cpu;

	/* one LRU batch, so that it is known where a page can be */
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpu), &cpu));
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	/* one PTE table, the window of a GPU fault */
	self->npages = NPAGES;
	self->addr = map_aligned(NPAGES, HUGE);
	ASSERT_NE(NULL, self->addr);
	fill(self->addr, NPAGES, 1);
	self->scratch = map_pages(NPAGES);
	ASSERT_NE(NULL, self->scratch);
}

FIXTURE_TEARDOWN(precise)
{
	counter_close(&self->counter);
	peer_stop(&self->peer);
	unmap_all();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

/* Where the kernel writes, at any time, on which CPU this thread goes on. */
static void own_rseq(void)
{
	volatile struct rseq *rseq = (void *)((char *)__builtin_thread_pointer() +
					      __rseq_offset);

	rseq->flags = rseq->flags;
}

/*
 * What the call and this program use for the first time, or for the first time
 * after fork(), takes a fault: the stack, the answer's place, what a preempted
 * thread is told. Once, by a call that does not count.
 */
static int rehearse(FIXTURE_DATA(precise) *self,
		    const FIXTURE_VARIANT(precise) *variant)
{
	int ret;

	own_rseq();
	memset(self->status, 0xff, sizeof(self->status));
	counter_start(&self->counter);
	ret = dummy_migrate(self->fd, self->scratch, NPAGES, variant->method,
			    ONEWALK_DUMMY_MIGRATE_FAULT, self->status, NULL,
			    &self->result);
	counter_stop(&self->counter);
	return ret;
}

static void count(struct __test_metadata *_metadata,
		  FIXTURE_DATA(precise) *self,
		  const FIXTURE_VARIANT(precise) *variant, const char *function)
{
	if (self->counter.name[0])
		return;
	MUST(counter_open(&self->counter, function));
	ASSERT_OK(rehearse(self, variant));
}

/* How many calls of the function it takes to migrate all. */
static uint64_t count_calls(struct __test_metadata *_metadata,
			    FIXTURE_DATA(precise) *self,
			    const FIXTURE_VARIANT(precise) *variant,
			    const char *function, unsigned int flags)
{
	uint64_t calls;
	int ret;

	count(_metadata, self, variant, function);
	counter_start(&self->counter);
	ret = dummy_migrate(self->fd, self->addr, self->npages,
			    variant->method, flags | self->flags, self->status,
			    NULL, &self->result);
	calls = counter_stop(&self->counter);
	EXPECT_OK(ret);
	return calls;
}

/* A page that stayed says why. */
static void expect_moved(struct __test_metadata *_metadata,
			 const FIXTURE_DATA(precise) *self, size_t npages)
{
	size_t i;

	EXPECT_EQ(npages, self->result.moved);
	for (i = 0; i < self->npages && self->result.moved < npages; i++)
		if (self->status[i] != ONEWALK_STATUS_MIGRATING)
			TH_LOG("page %zu: status %u", i, self->status[i]);
}

static void expect_calls(struct __test_metadata *_metadata,
			 FIXTURE_DATA(precise) *self,
			 const FIXTURE_VARIANT(precise) *variant,
			 const char *function, uint64_t expected)
{
	EXPECT_EQ(expected, count_calls(_metadata, self, variant, function,
					ONEWALK_DUMMY_MIGRATE_FAULT));
	expect_moved(_metadata, self, self->npages);
}

static void expect_faults(struct __test_metadata *_metadata,
			  FIXTURE_DATA(precise) *self,
			  const FIXTURE_VARIANT(precise) *variant,
			  uint64_t expected)
{
	expect_calls(_metadata, self, variant, "handle_mm_fault", expected);
}

/* Without this, a count of nothing would prove nothing. */
TEST_F(precise, counter_counts_faults)
{
	char *page = map_pages(16);

	MUST(counter_open(&self->counter, "handle_mm_fault"));
	counter_start(&self->counter);
	fill(page, 16, 1);
	EXPECT_EQ(16, counter_stop(&self->counter));
	EXPECT_EQ(-1, wrong_page(page, 16, 1));
}

TEST_F(precise, present_pages_take_no_fault)
{
	expect_faults(_metadata, self, variant, 0);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

TEST_F(precise, holes_take_no_fault)
{
	madvise(self->addr, NPAGES * PAGE, MADV_DONTNEED);
	expect_faults(_metadata, self, variant, 0);
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

TEST_F(precise, zero_pages_take_no_fault)
{
	madvise(self->addr, NPAGES * PAGE, MADV_DONTNEED);
	nonzero_page(self->addr, NPAGES);
	expect_faults(_metadata, self, variant, 0);
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

TEST_F(precise, each_swapped_page_takes_one_fault)
{
	size_t i, nswapped = 0;

	for (i = 3; i < NPAGES; i += 1 + i % 37) {
		MUST(swap_out(self->addr + i * PAGE, 1));
		nswapped++;
	}
	ASSERT_LT(20, nswapped);
	expect_faults(_metadata, self, variant, nswapped);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

TEST_F(precise, one_swapped_page_at_the_start_takes_one_fault)
{
	MUST(swap_out(self->addr, 1));
	expect_faults(_metadata, self, variant, 1);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

TEST_F(precise, mix_takes_one_fault_for_each_swapped_page)
{
	size_t i, nswapped = 0;

	madvise(self->addr, NPAGES * PAGE, MADV_DONTNEED);
	MUST(scatter(self->addr, NPAGES, 42, (1U << NR_KINDS) - 1,
		     self->kinds));
	for (i = 0; i < NPAGES; i++)
		nswapped += self->kinds[i] == KIND_SWAPPED;
	expect_faults(_metadata, self, variant, nswapped);
	EXPECT_EQ(-1, wrong_scattered(self->addr, NPAGES, self->kinds));
}

TEST_F(precise, nothing_is_faulted_when_no_fault_is_asked_for)
{
	MUST(swap_out(self->addr, NPAGES / 2));
	EXPECT_EQ(0, count_calls(_metadata, self, variant, "handle_mm_fault",
				 0));
	expect_moved(_metadata, self, NPAGES / 2);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* hmm_range_fault() is for what a kernel reports better itself: not for this. */
TEST_F(precise, ordinary_memory_is_not_left_to_the_kernel)
{
	MUST(swap_out(self->addr + 7 * PAGE, 2));
	expect_calls(_metadata, self, variant, "hmm_range_fault", 0);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* The portable engine collects a PTE table in one walk of the kernel's. */
TEST_F(precise, one_table_is_collected_by_one_walk)
{
	MUST(swap_out(self->addr + 7 * PAGE, 2));
	expect_calls(_metadata, self, variant, "migrate_vma_setup",
		     engine_is_portable() ? 1 : 0);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* The same with memory that is all there, again and again. */
static void expect_each_time(struct __test_metadata *_metadata,
			     FIXTURE_DATA(precise) *self,
			     const FIXTURE_VARIANT(precise) *variant,
			     const char *function, uint64_t expected)
{
	count(_metadata, self, variant, function);
	fill(self->addr, self->npages, 1);
	expect_calls(_metadata, self, variant, function, expected);
	counter_close(&self->counter);
	EXPECT_EQ(-1, wrong_page(self->addr, self->npages, 1));
}

/*
 * For the unified engine that is one descent, in which the table is looked at and
 * collected, under one hold of its lock and with one flush of the TLB. Another
 * hold maps what moved.
 */
TEST_F(precise, one_table_takes_one_descent_one_hold_and_one_flush)
{
	if (engine_is_portable())
		SKIP(return, "the portable engine walks twice");

	expect_each_time(_metadata, self, variant, "onewalk:onewalk_walk", 1);
	expect_each_time(_metadata, self, variant, "onewalk:onewalk_scan_pmd", 1);
	expect_each_time(_metadata, self, variant, "onewalk:collect_pmd", 1);
	expect_each_time(_metadata, self, variant,
			 "onewalk:onewalk_k_pte_offset_map_lock", 2);
	expect_each_time(_metadata, self, variant,
			 "onewalk:onewalk_k_flush_tlb_mm_range", 1);
	expect_each_time(_metadata, self, variant, "handle_mm_fault", 0);
}

/* For a larger range it looks ahead once, and holds each table's lock once. */
TEST_F(precise, each_of_many_tables_takes_one_look_one_hold_and_one_flush)
{
	if (engine_is_portable())
		SKIP(return, "the portable engine walks twice");

	self->npages = TABLES * NPAGES;
	self->addr = map_aligned(self->npages, HUGE);
	ASSERT_NE(NULL, self->addr);
	expect_each_time(_metadata, self, variant, "onewalk:onewalk_scan_pmd",
			 TABLES);
	expect_each_time(_metadata, self, variant, "onewalk:collect_pmd",
			 TABLES);
	expect_each_time(_metadata, self, variant,
			 "onewalk:onewalk_k_pte_offset_map_lock", 2 * TABLES);
	expect_each_time(_metadata, self, variant,
			 "onewalk:onewalk_k_flush_tlb_mm_range", TABLES);
	expect_each_time(_metadata, self, variant, "handle_mm_fault", 0);
}

/* Nor does the kernel look through reverse mappings for where to map them. */
TEST_F(precise, pages_are_mapped_in_place)
{
	if (engine_is_portable())
		SKIP(return, "the portable engine leaves that to the kernel");

	expect_each_time(_metadata, self, variant, "migrate_vma_finalize", 0);
	expect_each_time(_metadata, self, variant, "rmap_walk", 0);
}

/* A huge page that moves whole is one page: nothing is split, nothing walked twice. */
TEST_F(precise, huge_page_takes_one_descent_and_is_not_split)
{
	void *addr;

	if (engine_is_portable() || !kernel_migrates_large_folios())
		SKIP(return, "nothing moves whole here");

	MUST(map_huge(&addr, 1));
	self->addr = addr;
	self->flags = ONEWALK_DUMMY_MIGRATE_COMPOUND;
	expect_each_time(_metadata, self, variant, "onewalk:onewalk_walk", 1);
	expect_each_time(_metadata, self, variant, "onewalk:collect_pmd", 1);
	expect_each_time(_metadata, self, variant,
			 "onewalk:onewalk_collect_huge", 1);
	expect_each_time(_metadata, self, variant, "migrate_vma_setup", 0);
	expect_each_time(_metadata, self, variant, "onewalk:onewalk_split", 0);
	expect_each_time(_metadata, self, variant, "handle_mm_fault", 0);
}

/*
 * Pages just faulted in sit in this CPU's LRU batch. Looking there is cheap;
 * having every CPU look, which the kernel does when it meets one, is not.
 */
TEST_F(precise, faulted_pages_do_not_drain_all_cpus)
{
	/* a hole is no page that some CPU could have */
	madvise(self->addr + 64 * PAGE, PAGE, MADV_DONTNEED);
	MUST(swap_out(self->addr, 64));
	if (counter_open(&self->counter, "__lru_add_drain_all"))
		MUST(counter_open(&self->counter, "lru_add_drain_all"));
	expect_calls(_metadata, self, variant, NULL, 0);
	EXPECT_EQ(-1, wrong_page(self->addr, 64, 1));
}

/*
 * Unmapping pages that fork() shares announces itself to our own notifier, page
 * by page. That is no reason to begin again.
 */
TEST_F(precise, pages_shared_by_fork_migrate_without_a_retry)
{
	struct onewalk_dummy_info before, after;

	ASSERT_OK(peer_start(&self->peer));
	count(_metadata, self, variant, "handle_mm_fault");
	ASSERT_OK(dummy_info(self->fd, &before));
	expect_faults(_metadata, self, variant, 0);
	ASSERT_OK(dummy_info(self->fd, &after));
	EXPECT_EQ(NPAGES, self->result.mapped);
	EXPECT_EQ(0, self->result.retries);
	EXPECT_LT(0, after.own_invalidations - before.own_invalidations);
	EXPECT_EQ(after.own_invalidations - before.own_invalidations,
		  after.invalidations - before.invalidations);
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/*
 * To write, they are copied first; that is not our own, and one retry is due.
 * onewalk_migrate_setup() does not ask for write: they stay shared.
 */
TEST_F(precise, pages_shared_by_fork_are_copied_to_write_within_one_retry)
{
	bool copies = variant->method == ONEWALK_DUMMY_RANGE;

	ASSERT_OK(peer_start(&self->peer));
	EXPECT_EQ(copies ? NPAGES : 0,
		  count_calls(_metadata, self, variant, "handle_mm_fault",
			      ONEWALK_DUMMY_MIGRATE_FAULT |
			      ONEWALK_DUMMY_MIGRATE_WRITE));
	expect_moved(_metadata, self, NPAGES);
	EXPECT_GE(copies ? 1 : 0, self->result.retries);
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* What the faults themselves announce is met once, not at every attempt. */
TEST_F(precise, swapped_pages_converge_within_one_retry)
{
	MUST(swap_out(self->addr, NPAGES));
	expect_faults(_metadata, self, variant, NPAGES);
	EXPECT_GE(1, self->result.retries);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* --- a report alone --- */

FIXTURE(report) {
	int fd;
	char *addr;
	struct counter counter;
	uint64_t pfns[NPAGES];
};

FIXTURE_SETUP(report)
{
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_aligned(NPAGES, HUGE);
	ASSERT_NE(NULL, self->addr);
	fill(self->addr, NPAGES, 1);
	MUST(counter_open(&self->counter, "handle_mm_fault"));
}

FIXTURE_TEARDOWN(report)
{
	counter_close(&self->counter);
	unmap_all();
	close(self->fd);
}

static uint64_t faults_of_report(FIXTURE_DATA(report) *self, uint64_t flags,
				 int *ret)
{
	static uint64_t nothing[NPAGES];

	/* As rehearse() does. */
	own_rseq();
	counter_start(&self->counter);
	dummy_report(self->fd, self->addr, NPAGES, nothing, 0, false);
	counter_stop(&self->counter);

	counter_start(&self->counter);
	*ret = dummy_report_masked(self->fd, self->addr, NPAGES, self->pfns,
				   flags, REQ_FAULT | REQ_WRITE, false);
	return counter_stop(&self->counter);
}

/* The kernel's own function faults all from the first miss on. */
TEST_F(report, faults_only_what_is_missing)
{
	size_t i, missing = 0;
	uint64_t faults;
	int ret;

	for (i = 5; i < NPAGES; i += 50) {
		if (i % 100 == 5)
			MUST(swap_out(self->addr + i * PAGE, 1));
		else
			madvise(self->addr + i * PAGE, PAGE, MADV_DONTNEED);
		missing++;
	}
	memset(self->pfns, 0, sizeof(self->pfns));
	faults = faults_of_report(self, REQ_FAULT, &ret);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(missing, faults);
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
}

TEST_F(report, faults_only_what_is_asked_for)
{
	uint64_t faults;
	size_t i;
	int ret;

	MUST(swap_out(self->addr, NPAGES));
	for (i = 0; i < NPAGES; i++)
		self->pfns[i] = i % 7 ? 0 : REQ_FAULT;
	faults = faults_of_report(self, 0, &ret);
	EXPECT_EQ(0, ret);
	EXPECT_EQ((NPAGES + 6) / 7, faults);
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(i % 7 ? SWAPPED : PRESENT,
			  where(self->addr + i * PAGE));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

TEST_F(report, without_a_request_faults_nothing)
{
	uint64_t faults;
	int ret;

	MUST(swap_out(self->addr, NPAGES / 2));
	memset(self->pfns, 0, sizeof(self->pfns));
	faults = faults_of_report(self, 0, &ret);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, faults);
	EXPECT_EQ(NPAGES / 2, count_where(self->addr, NPAGES, SWAPPED));
}

ONEWALK_MAIN
