// SPDX-License-Identifier: GPL-2.0
/*
 * What else a process does to memory that is on the device, knowing nothing of
 * it: all of it works, and every byte stays right.
 */
#include "kselftest_harness.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "common.h"

#define NPAGES	16
#define SIZE	(NPAGES * PAGE)

FIXTURE(memory_on_the_device) {
	int fd;
	char *addr;
	char *buf;
	struct peer peer;
	struct uffd uffd;
};

FIXTURE_SETUP(memory_on_the_device)
{
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_pages(NPAGES);
	ASSERT_NE(NULL, self->addr);
	self->buf = map_pages(NPAGES);
	ASSERT_NE(NULL, self->buf);
	fill(self->addr, NPAGES, 1);
	ASSERT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
}

FIXTURE_TEARDOWN(memory_on_the_device)
{
	peer_stop(&self->peer);
	uffd_stop(&self->uffd);
	unmap_all();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

static void is_intact(struct __test_metadata *_metadata,
		      FIXTURE_DATA(memory_on_the_device) *self,
		      unsigned int version)
{
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, version));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, version));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

TEST_F(memory_on_the_device, moves_to_another_address)
{
	char *to = map_pages(NPAGES);

	ASSERT_EQ(to, mremap(self->addr, SIZE, SIZE,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	/* the device has to look where it is now, and no longer where it was */
	EXPECT_EQ(-EFAULT, dummy_read(self->fd, self->addr, NPAGES, self->buf));
	EXPECT_OK(dummy_read(self->fd, to, NPAGES, self->buf));
	EXPECT_EQ(-1, wrong_buffer(self->buf, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_buffer(to, self->addr, NPAGES, 1));
	munmap(to, SIZE);
}

/* Together with system memory that goes there for the first time. */
TEST_F(memory_on_the_device, moves_to_another_place_there)
{
	static const unsigned int methods[] = {
		ONEWALK_DUMMY_RANGE, ONEWALK_DUMMY_SETUP,
	};
	struct onewalk_dummy_info before, after;
	struct onewalk_dummy_migrate result;
	size_t i;

	if (!has_device_memory())
		SKIP(return, "with memory=system all memory is like any other");

	for (i = 0; i < ARRAY_SIZE(methods); i++) {
		ASSERT_EQ(NPAGES / 2, to_system(self->fd, self->addr,
						NPAGES / 2));
		ASSERT_OK(dummy_info(self->fd, &before));
		ASSERT_OK(dummy_migrate(self->fd, self->addr, NPAGES,
					methods[i], ONEWALK_DUMMY_MIGRATE_FAULT |
					ONEWALK_DUMMY_MIGRATE_ANEW, NULL, NULL,
					&result));
		EXPECT_EQ(NPAGES, result.moved);
		ASSERT_OK(dummy_info(self->fd, &after));
		EXPECT_EQ(before.pages_allocated + NPAGES,
			  after.pages_allocated);
		EXPECT_EQ(before.pages_free - NPAGES / 2, after.pages_free);
		EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	}
	is_intact(_metadata, self, 1);
}

TEST_F(memory_on_the_device, is_free_at_once_when_it_is_thrown_away)
{
	struct onewalk_dummy_info info;

	madvise(self->addr, SIZE, MADV_DONTNEED);
	ASSERT_OK(dummy_info(self->fd, &info));
	EXPECT_EQ(info.pages_total, info.pages_free);
	EXPECT_EQ(0, info.mapped);
	EXPECT_EQ(-1, nonzero_on_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

TEST_F(memory_on_the_device, is_not_swapped_out)
{
	/* with memory=system it is, and is as right */
	madvise(self->addr, SIZE, MADV_PAGEOUT);
	if (has_device_memory())
		EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, SPECIAL));
	is_intact(_metadata, self, 1);
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/* What private memory has to come back for is done where coherent memory is. */
TEST_F(memory_on_the_device, is_read_and_written_by_the_cpu)
{
	const enum where after = memory_is_coherent() ? SPECIAL : PRESENT;
	long before = faults();
	int version;

	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	if (memory_is_private()) {
		EXPECT_LE(NPAGES, faults() - before);
	} else {
		EXPECT_GT(NPAGES, faults() - before);
	}
	for (version = 1; version < 4; version++) {
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, version));
		EXPECT_EQ(NPAGES, count_reachable(self->addr, NPAGES));
		EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, after));
		fill(self->addr, NPAGES, version + 1);
		EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES,
					      version + 1));
	}
	/* and comes back when it is asked to */
	to_system(self->fd, self->addr, NPAGES);
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
	EXPECT_TRUE(device_is_empty(self->fd));
	is_intact(_metadata, self, 4);
}

/* What the device wrote is there for the CPU at once, without a fault. */
TEST_F(memory_on_the_device, is_written_by_both)
{
	int version;

	for (version = 2; version < 8; version += 2) {
		fill_buffer(self->buf, self->addr, NPAGES, version);
		ASSERT_OK(dummy_write(self->fd, self->addr, NPAGES, self->buf));
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, version));
		fill(self->addr, NPAGES, version + 1);
		is_intact(_metadata, self, version + 1);
	}
}

TEST_F(memory_on_the_device, comes_back_when_it_is_unplugged)
{
	EXPECT_OK(dummy_cmd(self->fd, ONEWALK_DUMMY_RELEASE, NULL, 0, NULL,
			    NULL));
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
	is_intact(_metadata, self, 1);
	EXPECT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	is_intact(_metadata, self, 1);
}

/* They may then wait in the batch of another CPU, mapped nowhere. */
TEST_F(memory_on_the_device, is_unplugged_when_mlocked_memory_has_let_go_of_it)
{
	char *addr = map_pages(NPAGES);

	run_on_cpu(1);
	fill(addr, NPAGES, 1);
	ASSERT_EQ(0, mlock(addr, SIZE));
	ASSERT_EQ(NPAGES, to_device(self->fd, addr, NPAGES));
	madvise(self->addr, SIZE, MADV_DONTNEED);
	munmap(addr, SIZE);
	run_on_cpu(0);
	EXPECT_OK(dummy_cmd(self->fd, ONEWALK_DUMMY_RELEASE, NULL, 0, NULL,
			    NULL));
	EXPECT_TRUE(device_is_empty(self->fd));
}

/* Another device maps what a CPU can reach, and has to fetch all else. */
TEST_F(memory_on_the_device, is_read_by_another_device)
{
	int other = dummy_open(1);

	ASSERT_LE(0, other);
	ASSERT_OK(dummy_read(other, self->addr, NPAGES, self->buf));
	EXPECT_EQ(-1, wrong_buffer(self->buf, self->addr, NPAGES, 1));
	if (memory_is_coherent())
		EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, SPECIAL));
	/* nor can it send away, or fetch to itself, what is not its own */
	if (memory_is_coherent()) {
		EXPECT_EQ(0, to_system(other, self->addr, NPAGES));
		EXPECT_EQ(0, to_device(other, self->addr, NPAGES));
	}
	fill_buffer(self->buf, self->addr, NPAGES, 2);
	ASSERT_OK(dummy_write(other, self->addr, NPAGES, self->buf));
	is_intact(_metadata, self, 2);
	close(other);
}

TEST_F(memory_on_the_device, is_locked_by_mlock)
{
	ASSERT_EQ(0, mlock(self->addr, SIZE));
	is_intact(_metadata, self, 1);
	/* what a CPU can reach has stayed there */
	EXPECT_EQ(memory_is_coherent() ? 0 : NPAGES,
		  to_device(self->fd, self->addr, NPAGES));
	munlock(self->addr, SIZE);
	is_intact(_metadata, self, 1);
}

/* In KiB; with what each CPU keeps to itself for a while. */
static long mlocked(void)
{
	drain_all();
	write_file("/proc/sys/vm/stat_refresh", "1");
	return field("/proc/meminfo", "Mlocked");
}

/* The kernel counts what is locked when it gets there, and not when it goes. */
TEST_F(memory_on_the_device, is_not_counted_as_locked_when_it_is_gone)
{
	char *addr = map_pages(NPAGES);
	long before = mlocked();

	ASSERT_LE(0, before);
	fill(addr, NPAGES, 1);
	ASSERT_EQ(0, mlock(addr, SIZE));
	EXPECT_EQ(before + (long)(SIZE / 1024), mlocked());
	ASSERT_EQ(NPAGES, to_device(self->fd, addr, NPAGES));
	munlock(addr, SIZE);
	madvise(addr, SIZE, MADV_DONTNEED);
	EXPECT_EQ(before, mlocked());
}

/*
 * Thrown away there, pages that were in use are known as such still. Where that
 * is taken over, a kernel with CONFIG_DEBUG_VM dies of one that is locked: by
 * another process, since ours lets go of it before the page moves.
 */
TEST_F(memory_on_the_device, is_not_taken_for_what_was_there_before)
{
	char *addr = map_pages(NPAGES);
	int status;
	pid_t child;

	fill(addr, NPAGES, 1);
	ASSERT_EQ(0, mlock(addr, SIZE));
	madvise(self->addr, SIZE, MADV_DONTNEED);
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(to_device(dummy_open(0), addr, NPAGES) != NPAGES ||
		      wrong_page(addr, NPAGES, 1) >= 0);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(-1, wrong_page(addr, NPAGES, 1));
}

TEST_F(memory_on_the_device, is_read_by_other_processes)
{
	struct iovec local = { self->buf, SIZE }, remote = { self->addr, SIZE };
	const pid_t process = getpid();
	int status;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		if (process_vm_readv(process, &local, 1, &remote, 1, 0) != SIZE)
			_exit(1);
		_exit(wrong_buffer(self->buf, self->addr, NPAGES, 1) >= 0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	is_intact(_metadata, self, 1);
}

TEST_F(memory_on_the_device, is_spliced_into_a_pipe)
{
	struct iovec iovec = { self->addr, SIZE };
	int pipe[2];

	ASSERT_EQ(0, pipe2(pipe, O_CLOEXEC));
	ASSERT_EQ(SIZE, vmsplice(pipe[1], &iovec, 1, 0));
	ASSERT_EQ(SIZE, read(pipe[0], self->buf, SIZE));
	EXPECT_EQ(-1, wrong_buffer(self->buf, self->addr, NPAGES, 1));
	close(pipe[0]);
	close(pipe[1]);
	is_intact(_metadata, self, 1);
}

TEST_F(memory_on_the_device, is_pinned_in_system_memory)
{
	ASSERT_OK(dummy_pin(self->fd, self->addr, NPAGES));
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
	EXPECT_EQ(0, to_device(self->fd, self->addr, NPAGES));
	is_intact(_metadata, self, 1);
	ioctl(self->fd, ONEWALK_DUMMY_UNPIN_ALL);
	EXPECT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	is_intact(_metadata, self, 1);
}

TEST_F(memory_on_the_device, is_asked_to_another_node)
{
	void *pages[NPAGES];
	int nodes[NPAGES] = {}, status[NPAGES], i;

	for (i = 0; i < NPAGES; i++)
		pages[i] = self->addr + i * PAGE;
	syscall(SYS_move_pages, 0, NPAGES, pages, nodes, status, MPOL_MF_MOVE);
	is_intact(_metadata, self, 1);
}

/* The device's own write breaks what fork() shares, as a CPU's does. */
TEST_F(memory_on_the_device, is_copied_when_the_device_writes_after_fork)
{
	ASSERT_OK(peer_start(&self->peer));
	fill_buffer(self->buf, self->addr, NPAGES, 2);
	ASSERT_OK(dummy_write(self->fd, self->addr, NPAGES, self->buf));
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	is_intact(_metadata, self, 2);
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
}

TEST_F(memory_on_the_device, is_kept_for_a_child_when_the_parent_lets_go)
{
	ASSERT_OK(peer_start(&self->peer));
	madvise(self->addr, SIZE, MADV_DONTNEED);
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, nonzero_page(self->addr, NPAGES));
}

TEST_F(memory_on_the_device, is_write_protected_by_userfaultfd)
{
	MUST(uffd_start(&self->uffd, self->addr, NPAGES,
			UFFDIO_REGISTER_MODE_WP,
			UFFD_FEATURE_PAGEFAULT_FLAG_WP));
	MUST(uffd_protect(&self->uffd, self->addr, NPAGES));
	/* neither the CPU nor the device writes past it unseen */
	fill_buffer(self->buf, self->addr, NPAGES, 2);
	EXPECT_EQ(-EFAULT, dummy_write(self->fd, self->addr, NPAGES,
				       self->buf));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_TRUE(pagemap(self->addr) & PAGEMAP_UFFD_WP);

	uffd_serve(&self->uffd, 1);
	fill(self->addr, NPAGES, 3);
	EXPECT_FALSE(pagemap(self->addr) & PAGEMAP_UFFD_WP);
	is_intact(_metadata, self, 3);
}

TEST_F(memory_on_the_device, is_shown_in_proc_without_a_touch)
{
	char line[4096];
	FILE *smaps = fopen("/proc/self/smaps", "re");

	ASSERT_NE(NULL, smaps);
	while (fgets(line, sizeof(line), smaps))
		;
	fclose(smaps);
	if (has_device_memory())
		EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, SPECIAL));
	is_intact(_metadata, self, 1);
}

ONEWALK_MAIN
