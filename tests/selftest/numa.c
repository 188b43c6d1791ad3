// SPDX-License-Identifier: GPL-2.0
/*
 * Two nodes of memory: pages that the kernel made unreadable for a moment to learn
 * who uses them (NUMA hints), and pages that are where they shall be already.
 *
 * engines: both
 */
/* What hints switch on and off is code: see tests/vm/README.md. */
/* vm: --in-turn --append "numa=fake=2" */
/* vm: not on a slow kernel: it costs a boot of its own there, of some minutes */
/* vm: not with memory=coherent; vm: one kind of memory: nothing here depends on it */
#include "kselftest_harness.h"

#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"

#define NPAGES	64

FIXTURE(numa) {
	int fd;
	char *addr;
	uint8_t status[HUGE / PAGE];
	struct onewalk_dummy_migrate result;
};

FIXTURE_VARIANT(numa) {
	unsigned int method;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(numa, range) {
	.method = ONEWALK_DUMMY_RANGE,
};

FIXTURE_VARIANT_ADD(numa, range_with_fault) {
	.method = ONEWALK_DUMMY_RANGE, .flags = ONEWALK_DUMMY_MIGRATE_FAULT,
};

FIXTURE_VARIANT_ADD(numa, setup) {
	.method = ONEWALK_DUMMY_SETUP,
};

FIXTURE_VARIANT_ADD(numa, setup_with_fault) {
	.method = ONEWALK_DUMMY_SETUP, .flags = ONEWALK_DUMMY_MIGRATE_FAULT,
};

FIXTURE_SETUP(numa)
{
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_pages(NPAGES);
	ASSERT_NE(NULL, self->addr);
	fill(self->addr, NPAGES, 1);
}

FIXTURE_TEARDOWN(numa)
{
	unmap_all();
	restore_settings();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

static atomic_bool enough;

/* The kernel looks at what runs, and at a process of one thread but half. */
static void *run_on(void *arg)
{
	while (!atomic_load(&enough))
		;
	return arg;
}

/* There, and yet nobody can read it: not even the device. */
static bool is_hinted(int fd, const char *addr, size_t npages)
{
	uint64_t pfns[HUGE / PAGE] = {};
	size_t i;

	if (dummy_report(fd, addr, npages, pfns, 0, true))
		return false;
	for (i = 0; i < npages; i++)
		if ((pfns[i] & PFN_VALID) || where(addr + i * PAGE) != PRESENT)
			return false;
	return true;
}

static const char *hint(int fd, const char *addr, size_t npages)
{
	static const char balancing[] = "/proc/sys/kernel/numa_balancing";
	pthread_t thread;
	bool hinted;
	int i;

	if (set_file(balancing, "1"))
		return "no NUMA balancing";
	if (set_file("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms",
		     "10"))
		return "no sched/numa_balancing in debugfs";
	atomic_store(&enough, false);
	pthread_create(&thread, NULL, run_on, NULL);
	for (i = 0; i < 3000 && !is_hinted(fd, addr, npages); i++) {
		/* 6.1 wants them out of all CPUs' LRU batches */
		if (i % 100 == 99)
			forgotten_pages(addr, npages);
		usleep(10000);
	}
	write_file(balancing, "0");
	hinted = is_hinted(fd, addr, npages);
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	return hinted ? NULL : "no hints in half a minute";
}

static void all_move(struct __test_metadata *_metadata, FIXTURE_DATA(numa) *self,
		     const FIXTURE_VARIANT(numa) *variant, char *addr,
		     size_t npages)
{
	size_t i;

	ASSERT_OK(dummy_migrate(self->fd, addr, npages, variant->method,
				variant->flags, self->status, NULL,
				&self->result));
	EXPECT_EQ(npages, self->result.moved);
	for (i = 0; i < npages; i++)
		EXPECT_EQ(ONEWALK_STATUS_MIGRATING, self->status[i]);
	EXPECT_EQ(-1, wrong_on_device(self->fd, addr, npages, 1));
	EXPECT_EQ(-1, wrong_page(addr, npages, 1));
}

TEST_F(numa, hint_keeps_no_page)
{
	MUST(hint(self->fd, self->addr, NPAGES));
	all_move(_metadata, self, variant, self->addr, NPAGES);
	fill(self->addr, NPAGES, 2);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
}

TEST_F(numa, hint_keeps_no_huge_page)
{
	void *addr;

	SET_UP(map_huge(&addr, 1));
	MUST(hint(self->fd, addr, HUGE / PAGE));
	all_move(_metadata, self, variant, addr, HUGE / PAGE);
}

/* It stays protected, by whom it was. */
TEST_F(numa, hint_is_not_taken_for_userfaultfd)
{
	struct uffd uffd;
	size_t i;

	MUST(uffd_start(&uffd, self->addr, NPAGES, UFFDIO_REGISTER_MODE_WP,
			UFFD_FEATURE_PAGEFAULT_FLAG_WP));
	MUST(uffd_protect(&uffd, self->addr, NPAGES));
	MUST(hint(self->fd, self->addr, NPAGES));
	all_move(_metadata, self, variant, self->addr, NPAGES);
	for (i = 0; i < NPAGES; i++)
		EXPECT_TRUE(pagemap(self->addr + i * PAGE) & PAGEMAP_UFFD_WP);
	uffd_stop(&uffd);
}

/* What the device asks for is there, and nothing moved. */
TEST_F(numa, hint_is_faulted_when_asked)
{
	uint64_t pfns[NPAGES] = {};
	size_t i;

	if (!(variant->flags & ONEWALK_DUMMY_MIGRATE_FAULT))
		SKIP(return, "without fault");

	MUST(hint(self->fd, self->addr, NPAGES));
	ASSERT_OK(dummy_report(self->fd, self->addr, NPAGES, pfns, 0, false));
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(0, pfns[i]);
	ASSERT_OK(dummy_report(self->fd, self->addr, NPAGES, pfns,
			       REQ_FAULT | REQ_WRITE, false));
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(PFN_VALID | PFN_WRITE, pfns[i]);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

static int bind_to(void *addr, size_t npages, unsigned int node)
{
	unsigned long nodes = 1UL << node;

	return syscall(SYS_mbind, addr, npages * PAGE, MPOL_BIND, &nodes,
		       8 * sizeof(nodes), MPOL_MF_STRICT | MPOL_MF_MOVE);
}

TEST_F(numa, only_pages_of_other_nodes_move)
{
	size_t i, half = NPAGES / 2;
	unsigned int node;

	for (node = 0; node < 2; node++) {
		ASSERT_OK(bind_to(self->addr, half, 0));
		ASSERT_OK(bind_to(self->addr + half * PAGE, half, 1));
		ASSERT_OK(syscall(SYS_mbind, self->addr, NPAGES * PAGE,
				  MPOL_DEFAULT, NULL, 0, 0));
		self->result.nid = node;
		ASSERT_OK(dummy_migrate(self->fd, self->addr, NPAGES,
					variant->method, variant->flags |
					ONEWALK_DUMMY_MIGRATE_SKIP_NODE,
					self->status, NULL, &self->result));
		EXPECT_EQ(half, self->result.moved);
		for (i = 0; i < NPAGES; i++)
			EXPECT_EQ(i / half == node ? ONEWALK_STATUS_ON_NODE :
						     ONEWALK_STATUS_MIGRATING,
				  self->status[i]);
		EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
		/* coherent memory needs no fault to be read */
		to_system(self->fd, self->addr, NPAGES);
	}
}

ONEWALK_MAIN
