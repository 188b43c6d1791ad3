// SPDX-License-Identifier: GPL-2.0
/*
 * Reasons to stay that a page's state alone does not give: they take a second
 * process, or a lack of memory. And what has to survive a move.
 *
 * engines: both
 */
#include "kselftest_harness.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "common.h"

#define NPAGES	64

FIXTURE(status) {
	int fd;
	char *addr;
	struct peer peer;
	struct uffd uffd;
	uint8_t status[NPAGES];
	uint64_t pfns[NPAGES];
	struct onewalk_dummy_migrate result;
};

FIXTURE_SETUP(status)
{
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_pages(NPAGES);
	ASSERT_NE(NULL, self->addr);
	fill(self->addr, NPAGES, 1);
}

FIXTURE_TEARDOWN(status)
{
	peer_stop(&self->peer);
	uffd_stop(&self->uffd);
	unmap_all();
	restore_settings();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

static int migrate(FIXTURE_DATA(status) *self, size_t npages,
		   unsigned int flags)
{
	memset(self->status, 0xff, NPAGES);
	return dummy_migrate(self->fd, self->addr, npages, ONEWALK_DUMMY_RANGE,
			     flags, self->status, NULL, &self->result);
}

/* --- errors in the middle of a range --- */

/*
 * Page 5 waits for userfaultfd, which a call that holds the mmap lock cannot.
 * Nothing stays prepared, what was asked stays asked, and the statuses tell
 * which page it was.
 */
TEST_F(status, after_an_error_names_the_page_and_nothing_is_prepared)
{
	struct onewalk_dummy_migrate result = {};
	uint64_t old_pfns[NPAGES];
	size_t i;

	madvise(self->addr + 5 * PAGE, PAGE, MADV_DONTNEED);
	MUST(uffd_start(&self->uffd, self->addr, NPAGES,
			UFFDIO_REGISTER_MODE_MISSING, 0));
	for (i = 0; i < NPAGES; i++) {
		old_pfns[i] = pfn_of(self->addr + i * PAGE);
		self->pfns[i] = REQ_FAULT | REQ_MIGRATE;
	}

	EXPECT_EQ(-EFAULT, dummy_migrate(self->fd, self->addr, NPAGES,
					 ONEWALK_DUMMY_RANGE, 0, self->status,
					 self->pfns, &result));
	EXPECT_EQ(0, result.moved);
	for (i = 0; i < NPAGES; i++) {
		char *page = self->addr + i * PAGE;

		EXPECT_EQ(i == 5 ? ONEWALK_STATUS_FAULT_EFAULT :
				   ONEWALK_STATUS_STOPPED, self->status[i])
			TH_LOG("page %zu", i);
		EXPECT_EQ(REQ_FAULT | REQ_MIGRATE, self->pfns[i]);
		EXPECT_EQ(old_pfns[i], pfn_of(page));
	}
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));

	/* and with somebody to serve it, the call that can wait moves all */
	uffd_serve(&self->uffd, 1);
	ASSERT_OK(migrate(self, NPAGES, ONEWALK_DUMMY_MIGRATE_FAULT |
					ONEWALK_DUMMY_MIGRATE_UNLOCKED));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* A page that cannot be had stops only itself when nothing has to be faulted. */
TEST_F(status, of_one_odd_page_leaves_the_others_to_move)
{
	struct onewalk_dummy_migrate result = {};
	size_t i;

	MUST(swap_out(self->addr + 10 * PAGE, 1));
	ASSERT_OK(dummy_pin(self->fd, self->addr + 20 * PAGE, 1));
	madvise(self->addr + 30 * PAGE, PAGE, MADV_DONTNEED);

	ASSERT_OK(dummy_migrate(self->fd, self->addr, NPAGES,
				ONEWALK_DUMMY_SETUP, 0, self->status, NULL,
				&result));
	EXPECT_EQ(NPAGES - 2, result.moved);
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(i == 10 ? ONEWALK_STATUS_SWAPPED :
			  i == 20 ? ONEWALK_STATUS_PINNED :
			  ONEWALK_STATUS_MIGRATING, self->status[i])
			TH_LOG("page %zu", i);

	ioctl(self->fd, ONEWALK_DUMMY_UNPIN_ALL);
	EXPECT_EQ(-1, wrong_page(self->addr, 30, 1));
	EXPECT_EQ(-1, nonzero_page(self->addr + 30 * PAGE, 1));
	EXPECT_EQ(-1, wrong_page(self->addr + 31 * PAGE, NPAGES - 31, 1));
}

/* --- a page that somebody else has a reference to --- */

/* Given back, it has the references that it had: neither can it go, nor is it lost. */
TEST_F(status, of_a_page_in_a_pipe_is_in_use_until_it_is_read)
{
	struct iovec iov = { self->addr + 20 * PAGE, PAGE };
	int pipe[2], i;
	char buf[PAGE];

	ASSERT_EQ(0, pipe2(pipe, O_CLOEXEC));
	ASSERT_EQ(PAGE, vmsplice(pipe[1], &iov, 1, 0));
	for (i = 0; i < 3; i++) {
		ASSERT_OK(migrate(self, NPAGES, ONEWALK_DUMMY_MIGRATE_NO_COPY));
		ASSERT_EQ(NPAGES - 1, self->result.collected);
		EXPECT_EQ(engine_is_portable() ? ONEWALK_STATUS_UNKNOWN :
			  ONEWALK_STATUS_BUSY, self->status[20]);
	}
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	ASSERT_EQ(PAGE, read(pipe[0], buf, PAGE));
	EXPECT_EQ(-1, wrong_buffer(buf, self->addr + 20 * PAGE, 1, 1));
	close(pipe[0]);
	close(pipe[1]);
	ASSERT_OK(migrate(self, NPAGES, 0));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* And what userfaultfd waits for is not written to unseen. */
TEST_F(status, of_a_protected_page_in_use_leaves_it_protected)
{
	struct iovec iov = { self->addr, PAGE };
	int pipe[2];

	ASSERT_EQ(0, pipe2(pipe, O_CLOEXEC));
	SET_UP(uffd_start(&self->uffd, self->addr, NPAGES,
			  UFFDIO_REGISTER_MODE_WP,
			  UFFD_FEATURE_PAGEFAULT_FLAG_WP));
	MUST(uffd_protect(&self->uffd, self->addr, NPAGES));
	ASSERT_EQ(PAGE, vmsplice(pipe[1], &iov, 1, 0));
	ASSERT_OK(migrate(self, 1, 0));
	EXPECT_EQ(0, self->result.moved);
	EXPECT_TRUE(pagemap(self->addr) & PAGEMAP_UFFD_WP);
	close(pipe[0]);
	close(pipe[1]);
}

/* --- a call that begins anew --- */

/*
 * To copy what fork() shares announces itself, which ends the attempt. The call
 * that takes the mmap lock itself begins another one, with what is true then.
 */
TEST_F(status, of_pages_copied_to_write_is_migrating_after_one_unlocked_call)
{
	ASSERT_OK(peer_start(&self->peer));
	ASSERT_OK(migrate(self, NPAGES, ONEWALK_DUMMY_MIGRATE_FAULT |
					ONEWALK_DUMMY_MIGRATE_WRITE |
					ONEWALK_DUMMY_MIGRATE_UNLOCKED));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(0, self->result.retries);
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* --- a page that another process is migrating --- */

static void migrate_back_and_forth(char *addr)
{
	int fd = dummy_open(0);

	if (fd < 0)
		_exit(1);
	for (;;) {
		to_device(fd, addr, NPAGES);
		to_system(fd, addr, NPAGES);
	}
}

/*
 * Not this mm's doing, so the mmap lock does not keep it away. It takes luck,
 * and many tries; a page may also be found without an entry in its place yet.
 */
TEST_F(status, of_a_page_that_another_process_migrates_is_locked)
{
	size_t i, tries, locked = 0, moved = 0;
	pid_t child;
	int ret;

	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		migrate_back_and_forth(self->addr);

	for (tries = 0; tries < 20000 && !(locked && moved); tries++) {
		ret = migrate(self, NPAGES, tries % 2 ?
			      ONEWALK_DUMMY_MIGRATE_TO_SYSTEM : 0);
		if (ret != -EBUSY)
			ASSERT_OK(ret);
		moved += self->result.moved;
		for (i = 0; !ret && i < NPAGES; i++)
			locked += self->status[i] == ONEWALK_STATUS_LOCKED;
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);

	EXPECT_LT(0, locked);
	EXPECT_LT(0, moved);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/* --- a fault that finds no memory --- */

#define FAIL	"/sys/kernel/debug/fail_page_alloc/"

static const char *fail_allocations(void)
{
	if (write_file(FAIL "task-filter", "Y") ||
	    write_file(FAIL "ignore-gfp-wait", "N") ||
	    write_file(FAIL "ignore-gfp-highmem", "N") ||
	    write_file(FAIL "min-order", "0") ||
	    write_file(FAIL "times", "-1") ||
	    write_file(FAIL "verbose", "0") ||
	    write_file(FAIL "probability", "100"))
		return "this kernel cannot make allocations fail (CONFIG_FAIL_PAGE_ALLOC)";
	return NULL;
}

TEST_F(status, of_a_fault_without_memory_is_enomem)
{
	size_t i;
	int ret;

	MUST(swap_out(self->addr, 4));
	/* once, so that what the call itself allocates is in a cache */
	ASSERT_OK(migrate(self, 4, 0));
	SET_UP(fail_allocations());
	write_file("/proc/self/make-it-fail", "1");
	ret = migrate(self, 4, ONEWALK_DUMMY_MIGRATE_FAULT);
	write_file("/proc/self/make-it-fail", "0");
	write_file(FAIL "probability", "0");

	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_EQ(ONEWALK_STATUS_FAULT_ENOMEM, self->status[0]);
	for (i = 1; i < 4; i++)
		EXPECT_EQ(ONEWALK_STATUS_STOPPED, self->status[i]);
	EXPECT_EQ(4, count_where(self->addr, 4, SWAPPED));

	ASSERT_OK(migrate(self, 4, ONEWALK_DUMMY_MIGRATE_FAULT));
	EXPECT_EQ(4, self->result.moved);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* --- a fault that finds poison --- */

/* A page of shared memory is poisoned; this mapping does not have it yet. */
TEST_F(status, of_a_fault_that_meets_poison_is_poisoned)
{
	size_t i;
	int ret, fd = memfd_create("onewalk", MFD_CLOEXEC);
	char *one, *other;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 4 * PAGE));
	one = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	other = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, one);
	ASSERT_NE(MAP_FAILED, other);
	fill(one, 4, 1);
	SET_UP(poison(one));

	for (i = 0; i < 4; i++)
		self->pfns[i] = REQ_FAULT | REQ_MIGRATE;
	ret = dummy_migrate(self->fd, other, 4, ONEWALK_DUMMY_RANGE, 0,
			    self->status, self->pfns, NULL);
	EXPECT_EQ(-EFAULT, ret);
	EXPECT_EQ(ONEWALK_STATUS_FAULT_POISONED, self->status[0]);
	for (i = 1; i < 4; i++)
		EXPECT_EQ(ONEWALK_STATUS_STOPPED, self->status[i]);
	munmap(one, 4 * PAGE);
	munmap(other, 4 * PAGE);
	close(fd);
}

/* --- what a move must not lose --- */

FIXTURE(move) {
	int fd;
	char *addr;
};

FIXTURE_VARIANT(move) {
	bool by_touch;
};

FIXTURE_VARIANT_ADD(move, and_back_by_cpu_touch) { .by_touch = true };
FIXTURE_VARIANT_ADD(move, and_back_by_migration) { .by_touch = false };

FIXTURE_SETUP(move)
{
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_pages(NPAGES);
	ASSERT_NE(NULL, self->addr);
	fill(self->addr, NPAGES, 1);
}

FIXTURE_TEARDOWN(move)
{
	unmap_all();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

static void bring_back(FIXTURE_DATA(move) *self,
		       const FIXTURE_VARIANT(move) *variant)
{
	size_t i;

	for (i = 0; variant->by_touch && i < NPAGES; i++)
		(void)*(volatile char *)(self->addr + i * PAGE);
	/* no touch brings back what a CPU can reach where it is */
	if (!variant->by_touch || memory_is_coherent())
		to_system(self->fd, self->addr, NPAGES);
}

static size_t soft_dirty(const char *addr, bool *bits)
{
	size_t i, count = 0;

	for (i = 0; i < NPAGES; i++) {
		bits[i] = pagemap(addr + i * PAGE) & PAGEMAP_SOFT_DIRTY;
		count += bits[i];
	}
	return count;
}

/*
 * What a checkpoint needs: which pages were written since the last one. A page
 * too many does no harm; 6.1 makes every dirty page that migrates soft-dirty.
 */
TEST_F(move, keeps_soft_dirty)
{
	bool before[NPAGES], there[NPAGES], after[NPAGES];
	size_t i;

	clear_soft_dirty();
	if (soft_dirty(self->addr, before) == NPAGES)
		SKIP(return, "this kernel has no soft-dirty bits");
	for (i = 0; i < NPAGES; i += 3)
		fill(self->addr + i * PAGE, 1, 1);
	ASSERT_EQ((NPAGES + 2) / 3, soft_dirty(self->addr, before));

	ASSERT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	soft_dirty(self->addr, there);
	bring_back(self, variant);
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
	soft_dirty(self->addr, after);
	for (i = 0; i < NPAGES; i++) {
		EXPECT_LE(before[i], there[i]);
		EXPECT_LE(before[i], after[i]);
	}
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/*
 * Memory that differs from its copy in swap, if it lost its dirty bit on the
 * way, would be dropped instead of written, and the old copy read back.
 */
TEST_F(move, keeps_what_was_written_through_the_next_swap_out)
{
	char *buf = malloc(NPAGES * PAGE);
	unsigned int version;

	for (version = 2; version < 6; version++) {
		MUST(swap_out(self->addr, NPAGES));
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, version - 1));
		/* the CPU writes before, or the device there */
		fill_buffer(buf, self->addr, NPAGES, version);
		if (version % 2)
			fill(self->addr, NPAGES, version);
		ASSERT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
		if (version % 2 == 0)
			ASSERT_OK(dummy_write(self->fd, self->addr, NPAGES,
					      buf));
		bring_back(self, variant);
		MUST(swap_out(self->addr, NPAGES));
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, version));
	}
	free(buf);
}

/*
 * Memory that was given up and then written after all. Once it is clean nothing
 * but its dirty bit keeps it from being dropped when memory is wanted.
 */
TEST_F(move, keeps_what_was_written_after_it_was_freed_lazily)
{
	ASSERT_OK(madvise(self->addr, NPAGES * PAGE, MADV_FREE));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	fill(self->addr, NPAGES, 2);
	ASSERT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	bring_back(self, variant);
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	madvise(self->addr, NPAGES * PAGE, MADV_PAGEOUT);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
}

/* A debugger may look where the process itself must not. */
static bool debugger_sees(char *addr)
{
	const pid_t process = getpid();
	int status;
	pid_t child = fork();
	long word;

	if (child) {
		waitpid(child, &status, 0);
		return status == 0;
	}
	if (ptrace(PTRACE_ATTACH, process, NULL, NULL) ||
	    waitpid(process, &status, __WALL) != process)
		_exit(1);
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, process, addr, NULL);
	ptrace(PTRACE_DETACH, process, NULL, NULL);
	_exit(errno || word != (long)word_at(addr, 1));
}

/*
 * Protected while it was on the device, and then wanted by somebody who may
 * have it all the same: a debugger, or a device that is unplugged.
 */
TEST_F(move, is_possible_out_of_memory_that_was_made_inaccessible)
{
	ASSERT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	mprotect(self->addr, NPAGES * PAGE, PROT_NONE);
	if (variant->by_touch) {
		EXPECT_TRUE(debugger_sees(self->addr + 5 * PAGE));
		EXPECT_EQ(memory_is_coherent() ? SPECIAL : PRESENT,
			  where(self->addr + 5 * PAGE));
	} else {
		EXPECT_OK(dummy_cmd(self->fd, ONEWALK_DUMMY_RELEASE, NULL, 0,
				    NULL, NULL));
		EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
	}
	mprotect(self->addr, NPAGES * PAGE, PROT_READ | PROT_WRITE);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

static long rss_anon(void)
{
	char status[4096], *line;

	if (read_file("/proc/self/status", status, sizeof(status)))
		return -1;
	line = strstr(status, "RssAnon:");
	return line ? strtol(line + strlen("RssAnon:"), NULL, 10) : -1;
}

/* Twenty round trips of 64 pages; what is lost each time would add up. */
TEST_F(move, keeps_the_resident_set)
{
	long before = rss_anon();
	int i;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
		bring_back(self, variant);
	}
	EXPECT_GT(2 * NPAGES * 4, labs(rss_anon() - before))
		TH_LOG("%ld kB were resident, %ld kB are", before, rss_anon());
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

ONEWALK_MAIN
