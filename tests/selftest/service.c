// SPDX-License-Identifier: GPL-2.0
/*
 * The fault buffer service: neighbours are served together, and each fault gets
 * a verdict of its own.
 *
 * engines: both
 */
/* vm: not with memory=system: where there is device memory, there is more to tell apart */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "common.h"

#define NPAGES		512
#define MAX_FAULTS	2048
#define WINDOW		16

#define MIGRATE	ONEWALK_DUMMY_POLICY_MIGRATE
#define MAP	ONEWALK_DUMMY_POLICY_MAP

FIXTURE(service) {
	int fd;
	char *addr;
	uint64_t random;
	unsigned int nr;
	struct onewalk_dummy_fault faults[MAX_FAULTS];
	struct onewalk_dummy_service result;
	uint8_t mapped[NPAGES];
	char buf[NPAGES * PAGE];
};

FIXTURE_SETUP(service)
{
	/* what it touches waits in the batch of this CPU */
	run_on_cpu(0);
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_aligned(NPAGES, HUGE);
	ASSERT_NE(NULL, self->addr);
	self->random = 88172645463325252ULL;
	self->result = (struct onewalk_dummy_service){
		.window = WINDOW,
		.policy = MIGRATE,
		.tries = 16,
		.msec = 1000,
	};
}

FIXTURE_TEARDOWN(service)
{
	inject_nothing();
	unmap_all();
	restore_settings();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

static struct onewalk_dummy_fault *add(FIXTURE_DATA(service) *self,
				       const void *addr, unsigned int access)
{
	struct onewalk_dummy_fault *fault = &self->faults[self->nr++];

	*fault = (struct onewalk_dummy_fault){
		.addr = (uintptr_t)addr,
		.fd = -1,
		.access = access,
		.verdict = 0xff,
		.reason = 0xff,
	};
	return fault;
}

static int serve(FIXTURE_DATA(service) *self)
{
	return dummy_service(self->fd, self->faults, self->nr, &self->result);
}

/* The first fault that was not served, or -1. */
static long not_served(const FIXTURE_DATA(service) *self)
{
	unsigned int i;

	for (i = 0; i < self->nr; i++)
		if (self->faults[i].verdict != ONEWALK_REPLAY ||
		    self->faults[i].reason != ONEWALK_REASON_SERVED)
			return i;
	return -1;
}

#define EXPECT_VERDICT(fault, expected_verdict, expected_reason) do { \
	EXPECT_EQ(ONEWALK_##expected_verdict, (fault)->verdict); \
	EXPECT_EQ(ONEWALK_REASON_##expected_reason, (fault)->reason); \
} while (0)

static void inspect(struct __test_metadata *_metadata,
		    FIXTURE_DATA(service) *self)
{
	ASSERT_OK(dummy_inspect(self->fd, self->addr, NPAGES, self->mapped));
}

static size_t pages_on_device(struct __test_metadata *_metadata,
			      FIXTURE_DATA(service) *self)
{
	size_t i, n = 0;

	inspect(_metadata, self);
	for (i = 0; i < NPAGES; i++)
		n += !!(self->mapped[i] & ONEWALK_DUMMY_MAPPED_DEVICE);
	return n;
}

/* --- windows --- */

/* Hundreds of faults in a few pages: one walk, whatever order they come in. */
TEST_F(service, a_window_takes_one_walk)
{
	unsigned int strongest[WINDOW] = {}, access, i;
	size_t page;

	fill(self->addr, WINDOW, 1);
	for (i = 0; i < 700; i++) {
		page = i < WINDOW ? i : next_random(&self->random) % WINDOW;
		access = 1 + next_random(&self->random) %
			 (ONEWALK_NR_ACCESS - 1);
		add(self, self->addr + page * PAGE +
			  next_random(&self->random) % PAGE, access);
		if (access > strongest[page])
			strongest[page] = access;
	}
	shuffle_faults(self->faults, self->nr, &self->random);
	ASSERT_OK(serve(self));
	EXPECT_EQ(1, self->result.windows);
	EXPECT_EQ(1, self->result.walks);
	EXPECT_EQ(-1, not_served(self));
	EXPECT_EQ(WINDOW, pages_on_device(_metadata, self));
	for (i = 0; i < WINDOW; i++)
		if (strongest[i] >= ONEWALK_ACCESS_WRITE)
			EXPECT_TRUE(self->mapped[i] & ONEWALK_DUMMY_MAPPED_WRITE);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, WINDOW, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, WINDOW, 1));
}

TEST_F(service, strides_are_served_window_by_window)
{
	struct onewalk_dummy_cmd cmd = {};
	size_t i;

	fill(self->addr, NPAGES, 1);
	for (i = 0; i < NPAGES; i += 8)
		add(self, self->addr + i * PAGE, ONEWALK_ACCESS_READ);
	shuffle_faults(self->faults, self->nr, &self->random);
	ASSERT_OK(serve(self));
	EXPECT_EQ(NPAGES / WINDOW, self->result.windows);
	EXPECT_EQ(NPAGES / WINDOW, self->result.walks);
	EXPECT_EQ(-1, not_served(self));
	/* what is between them stays, and the device did not miss what it has */
	EXPECT_EQ(NPAGES / 8, pages_on_device(_metadata, self));
	for (i = 0; i < NPAGES; i += 8)
		EXPECT_TRUE(self->mapped[i] & ONEWALK_DUMMY_MAPPED_DEVICE);
	EXPECT_OK(dummy_cmd(self->fd, ONEWALK_DUMMY_READ, self->addr, 1,
			    self->buf, &cmd));
	EXPECT_EQ(0, cmd.faults);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

TEST_F(service, holes_and_what_is_missing_are_served)
{
	uint8_t kinds[NPAGES];
	size_t i;

	MUST(scatter(self->addr, NPAGES, 7, 0xff, kinds));
	for (i = 0; i < NPAGES; i++)
		add(self, self->addr + i * PAGE, i % 3 ? ONEWALK_ACCESS_READ :
						 ONEWALK_ACCESS_WRITE);
	shuffle_faults(self->faults, self->nr, &self->random);
	ASSERT_OK(serve(self));
	EXPECT_EQ(NPAGES / WINDOW, self->result.windows);
	EXPECT_EQ(-1, not_served(self));
	EXPECT_EQ(-1, wrong_scattered_on_device(self->fd, self->addr, NPAGES,
						kinds));
	EXPECT_EQ(-1, wrong_scattered(self->addr, NPAGES, kinds));
}

TEST_F(service, around_takes_all_that_may_be)
{
	fill(self->addr, NPAGES, 1);
	add(self, self->addr + 20 * PAGE, ONEWALK_ACCESS_READ);
	self->result.flags = ONEWALK_DUMMY_SERVICE_AROUND;
	ASSERT_OK(serve(self));
	EXPECT_EQ(1, self->result.walks);
	EXPECT_EQ(-1, not_served(self));
	EXPECT_EQ(WINDOW, pages_on_device(_metadata, self));
	EXPECT_TRUE(self->mapped[16] & ONEWALK_DUMMY_MAPPED_DEVICE);
	EXPECT_TRUE(self->mapped[31] & ONEWALK_DUMMY_MAPPED_DEVICE);
}

/* Protections differ: three VMAs in one block. */
TEST_F(service, windows_end_where_their_vma_does)
{
	size_t i;

	fill(self->addr, NPAGES, 1);
	ASSERT_OK(mprotect(self->addr + 4 * PAGE, 4 * PAGE, PROT_READ));
	for (i = 0; i < WINDOW; i++)
		add(self, self->addr + i * PAGE, ONEWALK_ACCESS_READ);
	shuffle_faults(self->faults, self->nr, &self->random);
	ASSERT_OK(serve(self));
	EXPECT_EQ(3, self->result.windows);
	EXPECT_EQ(3, self->result.walks);
	EXPECT_EQ(-1, not_served(self));
	EXPECT_EQ(WINDOW, pages_on_device(_metadata, self));
}

TEST_F(service, windows_stay_outside_of_the_drivers_own_range)
{
	size_t i;

	fill(self->addr, NPAGES, 1);
	for (i = 0; i < WINDOW; i++)
		add(self, self->addr + i * PAGE, ONEWALK_ACCESS_READ);
	add(self, self->addr + 5 * PAGE, ONEWALK_ACCESS_PREFETCH);
	self->result.own_start = (uintptr_t)self->addr + 4 * PAGE;
	self->result.own_end = (uintptr_t)self->addr + 8 * PAGE;
	self->result.flags = ONEWALK_DUMMY_SERVICE_AROUND;
	ASSERT_OK(serve(self));
	EXPECT_EQ(2, self->result.windows);
	EXPECT_EQ(WINDOW - 4, pages_on_device(_metadata, self));
	for (i = 0; i < WINDOW; i++) {
		if (i >= 4 && i < 8) {
			EXPECT_VERDICT(&self->faults[i], CANCEL, DRIVERS_OWN);
			EXPECT_EQ(0, self->mapped[i]);
		} else {
			EXPECT_VERDICT(&self->faults[i], REPLAY, SERVED);
		}
	}
	EXPECT_VERDICT(&self->faults[WINDOW], REPLAY, DRIVERS_OWN);
}

/* The CPU maps all of it with one entry. */
TEST_F(service, a_large_mapping_satisfies_all_that_it_covers)
{
	static const size_t pages[] = { 0, 3, 100, 511 };
	void *huge;
	size_t i;

	MUST(map_huge(&huge, 1));
	fill(huge, NPAGES, 1);
	self->result.policy = MAP;
	for (i = 0; i < 4; i++)
		add(self, huge + pages[i] * PAGE, ONEWALK_ACCESS_WRITE);
	ASSERT_OK(serve(self));
	EXPECT_EQ(3, self->result.walks);

	/* the device lets go of it */
	ASSERT_OK(mprotect(huge, HUGE, PROT_READ));
	ASSERT_OK(mprotect(huge, HUGE, PROT_READ | PROT_WRITE));
	self->result.flags = ONEWALK_DUMMY_SERVICE_LARGE;
	ASSERT_OK(serve(self));
	EXPECT_EQ(1, self->result.windows);
	EXPECT_EQ(1, self->result.walks);
	EXPECT_EQ(-1, not_served(self));
	ASSERT_OK(dummy_inspect(self->fd, huge, NPAGES, self->mapped));
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(ONEWALK_DUMMY_MAPPED_READ | ONEWALK_DUMMY_MAPPED_WRITE,
			  self->mapped[i]);
	EXPECT_EQ(-1, wrong_on_device(self->fd, huge, NPAGES, 1));
}

/* Read-only, it satisfies readers alone. */
TEST_F(service, a_large_mapping_satisfies_no_more_than_it_allows)
{
	void *huge;

	MUST(map_huge(&huge, 1));
	fill(huge, NPAGES, 1);
	ASSERT_OK(mprotect(huge, HUGE, PROT_READ));
	self->result.policy = MAP;
	self->result.flags = ONEWALK_DUMMY_SERVICE_LARGE;
	add(self, huge, ONEWALK_ACCESS_READ);
	add(self, huge + 100 * PAGE, ONEWALK_ACCESS_READ);
	add(self, huge + 100 * PAGE, ONEWALK_ACCESS_WRITE);
	ASSERT_OK(serve(self));
	EXPECT_VERDICT(&self->faults[0], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[1], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[2], CANCEL, NO_PERMISSION);
}

/* The driver was not asked about atomic access behind the window. */
TEST_F(service, a_large_mapping_does_not_answer_for_atomic_access)
{
	void *huge;

	MUST(map_huge(&huge, 1));
	fill(huge, NPAGES, 1);
	self->result.policy = MAP;
	self->result.flags = ONEWALK_DUMMY_SERVICE_LARGE |
			     ONEWALK_DUMMY_SERVICE_REFUSE;
	add(self, huge, ONEWALK_ACCESS_WRITE);
	add(self, huge + 100 * PAGE, ONEWALK_ACCESS_ATOMIC);
	add(self, huge + 101 * PAGE, ONEWALK_ACCESS_WRITE);
	ASSERT_OK(serve(self));
	EXPECT_VERDICT(&self->faults[0], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[1], CANCEL, NOT_MAPPED);
	EXPECT_VERDICT(&self->faults[2], REPLAY, SERVED);
}

/* The kernel looks at the request of its first page alone. */
TEST_F(service, hugetlb_pages_are_served_wherever_the_fault_is)
{
	char *huge;

	SET_UP(map_hugetlb((void **)&huge, 2 * NPAGES));
	/* so that there is a table */
	huge[0] = 1;
	self->result.policy = MAP;
	self->result.flags = ONEWALK_DUMMY_SERVICE_AROUND;
	add(self, huge + HUGE + 20 * PAGE, ONEWALK_ACCESS_WRITE);
	ASSERT_OK(serve(self));
	EXPECT_EQ(-1, not_served(self));
}

/* --- verdicts --- */

TEST_F(service, what_cannot_be_served_is_cancelled_and_nothing_else)
{
	char *file, *none = self->addr + 32 * PAGE, *only = none + PAGE;
	char *gone = self->addr + 34 * PAGE;
	unsigned int i;

	fill(self->addr, 64, 1);
	MUST(map_file((void **)&file, 8, PROT_READ | PROT_WRITE, true));
	ASSERT_OK(mprotect(none, PAGE, PROT_NONE));
	ASSERT_OK(mprotect(only, PAGE, PROT_READ));
	ASSERT_OK(munmap(gone, PAGE));

	add(self, none - PAGE, ONEWALK_ACCESS_WRITE);
	add(self, none, ONEWALK_ACCESS_READ);
	add(self, none, ONEWALK_ACCESS_PREFETCH);
	add(self, only, ONEWALK_ACCESS_READ);
	add(self, only, ONEWALK_ACCESS_WRITE);
	add(self, only, ONEWALK_ACCESS_ATOMIC);
	add(self, only, ONEWALK_ACCESS_PREFETCH);
	add(self, gone, ONEWALK_ACCESS_READ);
	add(self, gone + PAGE, ONEWALK_ACCESS_WRITE);
	add(self, file, ONEWALK_ACCESS_WRITE);
	ASSERT_OK(serve(self));

	EXPECT_VERDICT(&self->faults[0], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[1], CANCEL, BAD_ADDRESS);
	EXPECT_VERDICT(&self->faults[2], REPLAY, BAD_ADDRESS);
	EXPECT_VERDICT(&self->faults[3], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[4], CANCEL, NO_PERMISSION);
	EXPECT_VERDICT(&self->faults[5], CANCEL, NO_PERMISSION);
	EXPECT_VERDICT(&self->faults[6], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[7], CANCEL, BAD_ADDRESS);
	EXPECT_VERDICT(&self->faults[8], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[9], REPLAY, SERVED);
	for (i = 0; i < self->nr; i++)
		EXPECT_NE(0xff, self->faults[i].verdict);
}

/* In one VMA, where no look at the VMA tells. */
TEST_F(service, pages_behind_the_end_of_a_file_are_cancelled_one_by_one)
{
	char *file, path[] = "/tmp/onewalk-service-XXXXXX";
	int fd = mkstemp(path);
	unsigned int i;

	ASSERT_LE(0, fd);
	unlink(path);
	ASSERT_OK(ftruncate(fd, 10 * PAGE));
	file = mmap(NULL, WINDOW * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		    fd, 0);
	ASSERT_NE(MAP_FAILED, file);
	for (i = 0; i < WINDOW; i++)
		add(self, file + i * PAGE, i % 2 ? ONEWALK_ACCESS_WRITE :
						   ONEWALK_ACCESS_READ);
	shuffle_faults(self->faults, self->nr, &self->random);
	ASSERT_OK(serve(self));
	for (i = 0; i < WINDOW; i++) {
		if (self->faults[i].addr < (uintptr_t)file + 10 * PAGE)
			EXPECT_VERDICT(&self->faults[i], REPLAY, SERVED);
		else
			EXPECT_VERDICT(&self->faults[i], CANCEL, BAD_ADDRESS);
	}
	munmap(file, WINDOW * PAGE);
	close(fd);
}

TEST_F(service, an_address_that_nobody_can_have_is_cancelled)
{
	add(self, (void *)-1UL, ONEWALK_ACCESS_READ);
	add(self, (void *)0xffff888000000000, ONEWALK_ACCESS_WRITE);
	add(self, NULL, ONEWALK_ACCESS_READ);
	ASSERT_OK(serve(self));
	EXPECT_VERDICT(&self->faults[0], CANCEL, BAD_ADDRESS);
	EXPECT_VERDICT(&self->faults[1], CANCEL, BAD_ADDRESS);
	EXPECT_VERDICT(&self->faults[2], CANCEL, BAD_ADDRESS);
	EXPECT_EQ(0, self->result.walks);
}

TEST_F(service, skipped_faults_are_replayed)
{
	fill(self->addr, 1, 1);
	add(self, self->addr, ONEWALK_ACCESS_WRITE);
	self->result.policy = ONEWALK_DUMMY_POLICY_SKIP;
	ASSERT_OK(serve(self));
	EXPECT_VERDICT(&self->faults[0], REPLAY, SKIPPED);
	EXPECT_EQ(0, self->result.walks);
	inspect(_metadata, self);
	EXPECT_EQ(0, self->mapped[0]);
}

/* The reader of the same page is served. */
TEST_F(service, what_the_driver_does_not_map_is_cancelled)
{
	fill(self->addr, 2, 1);
	self->result.policy = MAP;
	self->result.flags = ONEWALK_DUMMY_SERVICE_REFUSE;
	add(self, self->addr, ONEWALK_ACCESS_ATOMIC);
	add(self, self->addr, ONEWALK_ACCESS_WRITE);
	add(self, self->addr + PAGE, ONEWALK_ACCESS_WRITE);
	ASSERT_OK(serve(self));
	EXPECT_VERDICT(&self->faults[0], CANCEL, NOT_MAPPED);
	EXPECT_VERDICT(&self->faults[1], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[2], REPLAY, SERVED);

	/* on the device it can */
	self->result.policy = MIGRATE;
	ASSERT_OK(serve(self));
	EXPECT_EQ(-1, not_served(self));
}

/* --- ways to serve --- */

TEST_F(service, pages_without_a_destination_are_mapped_in_place)
{
	struct onewalk_dummy_cmd cmd = {
		.npages = ONEWALK_DUMMY_FLAG_FAIL_ALLOC,
	};
	size_t i;

	/* the first is a hole */
	fill(self->addr + PAGE, 3, 1);
	for (i = 0; i < 4; i++)
		add(self, self->addr + i * PAGE, ONEWALK_ACCESS_WRITE);
	ASSERT_OK(ioctl(self->fd, ONEWALK_DUMMY_FLAGS, &cmd));
	ASSERT_OK(serve(self));
	EXPECT_EQ(-1, not_served(self));
	EXPECT_EQ(3, pages_on_device(_metadata, self));
	EXPECT_EQ(ONEWALK_DUMMY_MAPPED_READ | ONEWALK_DUMMY_MAPPED_WRITE,
		  self->mapped[0]);
	/* in place it took a walk of its own */
	EXPECT_EQ(2, self->result.walks);
	EXPECT_EQ(-1, nonzero_on_device(self->fd, self->addr, 1));
}

/* What is left over of them is given back: see the teardown. */
TEST_F(service, destinations_may_be_had_in_time)
{
	size_t i;

	fill(self->addr, NPAGES, 1);
	for (i = 0; i < NPAGES; i += 3)
		add(self, self->addr + i * PAGE, ONEWALK_ACCESS_READ);
	self->result.flags = ONEWALK_DUMMY_SERVICE_EARLY;
	ASSERT_OK(serve(self));
	EXPECT_EQ(-1, not_served(self));
	EXPECT_EQ(self->nr, pages_on_device(_metadata, self));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
}

/* A page in the device's memory, read-only since fork(). */
TEST_F(service, writes_to_what_fork_shares_are_served)
{
	struct peer peer;
	size_t i;

	fill(self->addr, WINDOW, 1);
	ASSERT_EQ(WINDOW, to_device(self->fd, self->addr, WINDOW));
	ASSERT_OK(peer_start(&peer));
	for (i = 0; i < WINDOW; i++)
		add(self, self->addr + i * PAGE, i % 2 ? ONEWALK_ACCESS_WRITE :
						   ONEWALK_ACCESS_READ);
	ASSERT_OK(serve(self));
	EXPECT_EQ(-1, not_served(self));
	inspect(_metadata, self);
	for (i = 1; i < WINDOW; i += 2)
		EXPECT_TRUE(self->mapped[i] & ONEWALK_DUMMY_MAPPED_WRITE);
	fill_buffer(self->buf, self->addr, WINDOW, 2);
	EXPECT_OK(dummy_write(self->fd, self->addr, WINDOW, self->buf));
	EXPECT_EQ(-1, peer_wrong_page(&peer, self->addr, WINDOW, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, WINDOW, 2));
	peer_stop(&peer);
}

static void *serve_thread(void *data)
{
	FIXTURE_DATA(service) *self = data;

	return (void *)(long)serve(self);
}

/* It is waited for, and nobody is cancelled for it. */
TEST_F(service, pages_of_userfaultfd_are_served)
{
	struct uffd uffd;
	pthread_t thread;
	void *ret;
	size_t i;

	SET_UP(uffd_start(&uffd, self->addr, WINDOW,
			  UFFDIO_REGISTER_MODE_MISSING, 0));
	for (i = 0; i < WINDOW; i++)
		add(self, self->addr + i * PAGE, ONEWALK_ACCESS_READ);
	pthread_create(&thread, NULL, serve_thread, self);
	uffd_serve(&uffd, 1);
	pthread_join(thread, &ret);
	EXPECT_EQ(NULL, ret);
	EXPECT_EQ(-1, not_served(self));
	EXPECT_EQ(1, self->result.windows);
	uffd_stop(&uffd);
	EXPECT_EQ(-1, wrong_page(self->addr, WINDOW, 1));
}

/* A CPU has fetched it in between, each time. */
static bool goes_to_device(struct __test_metadata *_metadata,
			   FIXTURE_DATA(service) *self)
{
	EXPECT_LE(0, to_system(self->fd, self->addr, 2));
	self->nr = 0;
	add(self, self->addr, ONEWALK_ACCESS_WRITE);
	EXPECT_OK(serve(self));
	EXPECT_EQ(-1, not_served(self));
	return pages_on_device(_metadata, self) == 1;
}

TEST_F(service, pages_that_bounce_stay_for_a_while)
{
	unsigned int i;

	fill(self->addr, 2, 1);
	self->result.policy = ONEWALK_DUMMY_FIRST_TOUCH;
	for (i = 0; i < ONEWALK_DUMMY_BOUNCES; i++)
		EXPECT_TRUE(goes_to_device(_metadata, self));
	EXPECT_FALSE(goes_to_device(_metadata, self));
	EXPECT_EQ(ONEWALK_DUMMY_MAPPED_READ | ONEWALK_DUMMY_MAPPED_WRITE,
		  self->mapped[0]);
	/* its neighbour has not bounced */
	self->nr = 0;
	add(self, self->addr, ONEWALK_ACCESS_READ);
	add(self, self->addr + PAGE, ONEWALK_ACCESS_READ);
	ASSERT_OK(serve(self));
	EXPECT_EQ(-1, not_served(self));
	inspect(_metadata, self);
	EXPECT_FALSE(self->mapped[0] & ONEWALK_DUMMY_MAPPED_DEVICE);
	EXPECT_TRUE(self->mapped[1] & ONEWALK_DUMMY_MAPPED_DEVICE);

	usleep(ONEWALK_DUMMY_HOLD_MSEC * 1000 + 100000);
	EXPECT_TRUE(goes_to_device(_metadata, self));
}

/* --- several address spaces --- */

struct child {
	pid_t pid;
	int fd;		/* its open file, in our hands */
	int go;		/* a pipe: it ends when this is closed */
};

/* It has what we have at the same addresses, and its own open file. */
static const char *start_child(struct child *child, int id)
{
	int pipe_fds[2], answer[2], pidfd, fd = -1;

	if (pipe(pipe_fds) || pipe(answer))
		return "no pipe";
	child->pid = fork();
	if (!child->pid) {
		close(pipe_fds[1]);
		fd = dummy_open(id);
		if (write(answer[1], &fd, sizeof(fd)) != sizeof(fd))
			_exit(1);
		_exit(read(pipe_fds[0], &fd, 1) != 0);
	}
	close(pipe_fds[0]);
	close(answer[1]);
	child->go = pipe_fds[1];
	if (read(answer[0], &fd, sizeof(fd)) != sizeof(fd) || fd < 0)
		return "the child cannot open the device";
	close(answer[0]);
	pidfd = syscall(SYS_pidfd_open, child->pid, 0);
	child->fd = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	close(pidfd);
	return child->fd < 0 ? "pidfd_getfd" : NULL;
}

static void end_child(struct child *child)
{
	close(child->go);
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	close(child->fd);
}

#define NCHILDREN	3

TEST_F(service, several_address_spaces_are_served)
{
	struct child children[NCHILDREN];
	size_t i, c;

	fill(self->addr, WINDOW, 1);
	for (c = 0; c < NCHILDREN; c++)
		MUST(start_child(&children[c], c % 2));
	for (i = 0; i < WINDOW; i++) {
		add(self, self->addr + i * PAGE, ONEWALK_ACCESS_READ);
		for (c = 0; c < NCHILDREN; c++)
			add(self, self->addr + i * PAGE,
			    ONEWALK_ACCESS_READ)->fd = children[c].fd;
	}
	shuffle_faults(self->faults, self->nr, &self->random);
	self->result.policy = MAP;
	ASSERT_OK(serve(self));
	EXPECT_EQ(1 + NCHILDREN, self->result.windows);
	EXPECT_EQ(1 + NCHILDREN, self->result.walks);
	EXPECT_EQ(-1, not_served(self));
	for (c = 0; c < NCHILDREN; c++)
		EXPECT_EQ(-1, wrong_on_device(children[c].fd, self->addr,
					      WINDOW, 1));

	/* one of them is gone */
	kill(children[1].pid, SIGKILL);
	waitpid(children[1].pid, NULL, 0);
	ASSERT_OK(serve(self));
	for (i = 0; i < self->nr; i++) {
		if (self->faults[i].fd == children[1].fd)
			EXPECT_VERDICT(&self->faults[i], CANCEL, DYING);
		else
			EXPECT_VERDICT(&self->faults[i], REPLAY, SERVED);
	}
	EXPECT_EQ(NCHILDREN, self->result.windows);
	for (c = 0; c < NCHILDREN; c++)
		end_child(&children[c]);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/*
 * It dies while it is served, at some time or other. What it is left with may be
 * served or cancelled, but not before it is dead.
 */
TEST_F(service, a_process_killed_in_the_middle_takes_nobody_along)
{
	struct child child;
	pthread_t thread;
	unsigned int round, n;
	double begun;
	size_t i;
	void *ret;

	fill(self->addr, NPAGES, 1);
	for (round = 0; round < 10; round++) {
		MUST(start_child(&child, 0));
		self->nr = 0;
		for (i = 0; i < NPAGES; i++) {
			add(self, self->addr + i * PAGE, ONEWALK_ACCESS_READ);
			add(self, self->addr + i * PAGE,
			    ONEWALK_ACCESS_WRITE)->fd = child.fd;
		}
		self->result.window = 1;
		pthread_create(&thread, NULL, serve_thread, self);
		usleep(1000 * round);
		begun = now();
		kill(child.pid, SIGKILL);
		waitpid(child.pid, NULL, 0);
		pthread_join(thread, &ret);
		/* a thousand windows, on a slow machine, with one budget */
		EXPECT_GT(10, now() - begun);
		EXPECT_EQ(NULL, ret);
		for (n = 0; n < self->nr; n++) {
			if (self->faults[n].fd < 0 ||
			    self->faults[n].reason == ONEWALK_REASON_SERVED)
				EXPECT_VERDICT(&self->faults[n], REPLAY, SERVED);
			else
				EXPECT_VERDICT(&self->faults[n], CANCEL, DYING);
		}
		end_child(&child);
	}
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* Within a second, whatever it still had to do. */
TEST_F(service, who_is_killed_while_serving_is_gone_at_once)
{
	double begun;
	pid_t pid;
	size_t i;

	fill(self->addr, NPAGES, 1);
	for (i = 0; i < MAX_FAULTS; i++)
		add(self, self->addr + next_random(&self->random) % NPAGES * PAGE,
		    ONEWALK_ACCESS_WRITE);
	self->result.window = 1;
	pid = fork();
	if (!pid) {
		self->fd = dummy_open(0);
		for (;;)
			serve(self);
	}
	usleep(300000);
	begun = now();
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_GT(1, now() - begun);
}

/* --- memory that keeps changing --- */

TEST_F(service, a_budget_that_runs_out_is_reported)
{
	if (!can_inject())
		SKIP(return, "not a debug build");
	fill(self->addr, 2 * WINDOW, 1);
	add(self, self->addr, ONEWALK_ACCESS_WRITE);
	add(self, self->addr + PAGE, ONEWALK_ACCESS_PREFETCH);
	add(self, self->addr + WINDOW * PAGE, ONEWALK_ACCESS_READ);
	self->result.tries = 5;
	ASSERT_OK(inject("invalidated", 0, 5));
	EXPECT_EQ(-EBUSY, serve(self));
	EXPECT_VERDICT(&self->faults[0], REPLAY, BUSY);
	EXPECT_VERDICT(&self->faults[1], REPLAY, BUSY);
	EXPECT_VERDICT(&self->faults[2], REPLAY, SERVED);
	EXPECT_EQ(5 + 1, self->result.walks);

	/* time, too */
	inject_nothing();
	ASSERT_OK(inject("invalidated", 0, 1000000));
	self->result.tries = 1000000;
	self->result.msec = 100;
	EXPECT_EQ(-EBUSY, serve(self));
	EXPECT_VERDICT(&self->faults[0], REPLAY, BUSY);
	EXPECT_VERDICT(&self->faults[2], REPLAY, BUSY);
	inject_nothing();

	/* and nothing is lost */
	EXPECT_OK(serve(self));
	EXPECT_EQ(-1, not_served(self));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, 2 * WINDOW, 1));
}

/* The page is there, and shared: it is to write that takes a fault, which fails. */
TEST_F(service, a_reader_is_served_where_a_writer_fails)
{
	struct peer peer;

	if (!can_inject())
		SKIP(return, "not a debug build");
	fill(self->addr, 3, 1);
	ASSERT_OK(peer_start(&peer));
	add(self, self->addr, ONEWALK_ACCESS_READ);
	add(self, self->addr + PAGE, ONEWALK_ACCESS_READ);
	add(self, self->addr + PAGE, ONEWALK_ACCESS_WRITE);
	add(self, self->addr + PAGE, ONEWALK_ACCESS_PREFETCH);
	add(self, self->addr + 2 * PAGE, ONEWALK_ACCESS_READ);
	self->result.policy = MAP;
	ASSERT_OK(inject("fault-sigbus", 0, 1000));
	ASSERT_OK(serve(self));
	EXPECT_VERDICT(&self->faults[0], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[1], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[2], CANCEL, BAD_ADDRESS);
	EXPECT_VERDICT(&self->faults[3], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[4], REPLAY, SERVED);

	ASSERT_OK(inject("fault-oom", 0, 1000));
	inject("fault-sigbus", 0, 0);
	ASSERT_OK(serve(self));
	EXPECT_VERDICT(&self->faults[1], REPLAY, SERVED);
	EXPECT_VERDICT(&self->faults[2], CANCEL, NO_MEMORY);
	EXPECT_VERDICT(&self->faults[3], REPLAY, SERVED);
	peer_stop(&peer);
}

/* One page of it stays: the driver, see check_order(), is not told of a huge one. */
TEST_F(service, a_huge_page_taken_apart_is_none)
{
	struct onewalk_dummy_cmd cmd = {
		.npages = ONEWALK_DUMMY_FLAG_FAIL_ALLOC,
	};
	void *huge;
	size_t i;

	if (!can_inject())
		SKIP(return, "not a debug build");
	MUST(map_huge(&huge, 1));
	fill(huge, NPAGES, 1);
	self->result.window = NPAGES;
	for (i = 0; i < NPAGES; i++)
		add(self, huge + i * PAGE, ONEWALK_ACCESS_READ);
	/* no large page for it, and the first small one does not move */
	ASSERT_OK(ioctl(self->fd, ONEWALK_DUMMY_FLAGS, &cmd));
	ASSERT_OK(inject("refuse", 0, 1));
	ASSERT_OK(serve(self));
	EXPECT_EQ(-1, not_served(self));
	EXPECT_EQ(1, struck("refuse"));
	ASSERT_OK(dummy_inspect(self->fd, huge, NPAGES, self->mapped));
	EXPECT_FALSE(self->mapped[0] & ONEWALK_DUMMY_MAPPED_DEVICE);
	EXPECT_EQ(-1, wrong_on_device(self->fd, huge, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(huge, NPAGES, 1));
}

/* What is asked for stays asked for, with a fresh sequence number. */
TEST_F(service, invalidations_between_any_two_steps_lose_nothing)
{
	static const char * const steps[] = {
		"entered", "looked", "checked", "collected", "unmapped",
		"parted", "moved", "mapping",
	};
	pthread_t thread;
	size_t i, page;
	void *ret;

	if (!can_inject())
		SKIP(return, "not a debug build");
	/* "parted" and "looked" are passed in two tables or by huge pages alone */
	for (i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		fill(self->addr, WINDOW, 1);
		self->nr = 0;
		for (page = 0; page < WINDOW; page++)
			add(self, self->addr + page * PAGE,
			    page % 2 ? ONEWALK_ACCESS_WRITE :
				       ONEWALK_ACCESS_READ);
		/* a hole makes it look ahead */
		ASSERT_OK(madvise(self->addr, PAGE, MADV_DONTNEED));
		ASSERT_OK(inject(steps[i], 0, 1));
		pthread_create(&thread, NULL, serve_thread, self);
		ASSERT_TRUE(wait_until_paused())
			TH_LOG("%s", steps[i]);
		EXPECT_OK(madvise(self->addr + 4 * PAGE, 2 * PAGE,
				  MADV_DONTNEED));
		resume();
		pthread_join(thread, &ret);
		EXPECT_EQ(NULL, ret)
			TH_LOG("%s", steps[i]);
		EXPECT_EQ(-1, not_served(self))
			TH_LOG("%s", steps[i]);
		inspect(_metadata, self);
		for (page = 0; page < WINDOW; page++) {
			EXPECT_TRUE(self->mapped[page] &
				    ONEWALK_DUMMY_MAPPED_READ);
			if (page % 2)
				EXPECT_TRUE(self->mapped[page] &
					    ONEWALK_DUMMY_MAPPED_WRITE);
		}
		EXPECT_EQ(-1, nonzero_on_device(self->fd, self->addr + 4 * PAGE,
						2));
		EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr + 6 * PAGE,
					      WINDOW - 6, 1));
		EXPECT_EQ(0, forgotten_pages(self->addr, WINDOW));
	}
}

/* --- bad input --- */

TEST_F(service, nonsense_is_refused_and_nothing_is_served)
{
	fill(self->addr, 1, 1);
	EXPECT_EQ(-EINVAL, serve(self));
	add(self, self->addr, ONEWALK_ACCESS_READ);
	add(self, self->addr, ONEWALK_ACCESS_NONE);
	EXPECT_EQ(-EINVAL, serve(self));
	self->faults[1].access = ONEWALK_NR_ACCESS;
	EXPECT_EQ(-EINVAL, serve(self));
	self->faults[1].access = ONEWALK_ACCESS_READ;
	self->faults[1].fd = 1000;
	EXPECT_EQ(-EBADF, serve(self));
	self->faults[1].fd = open("/dev/null", O_RDONLY);
	EXPECT_EQ(-EINVAL, serve(self));
	close(self->faults[1].fd);
	self->faults[1].fd = -1;

	self->result.window = 0;
	EXPECT_EQ(-EINVAL, serve(self));
	self->result.window = 3;
	EXPECT_EQ(-EINVAL, serve(self));
	self->result.window = 2 * NPAGES;
	EXPECT_EQ(-EINVAL, serve(self));
	self->result.window = WINDOW;
	self->result.tries = 0;
	EXPECT_EQ(-EINVAL, serve(self));
	self->result.tries = 1;
	self->result.policy = ONEWALK_DUMMY_NR_POLICIES;
	EXPECT_EQ(-EINVAL, serve(self));
	self->result.policy = MAP;
	self->result.flags = 1U << 31;
	EXPECT_EQ(-EINVAL, serve(self));
	self->result.flags = 0;
	EXPECT_EQ(0xff, self->faults[0].verdict);
	inspect(_metadata, self);
	EXPECT_EQ(0, self->mapped[0]);

	ASSERT_OK(serve(self));
	EXPECT_EQ(-1, not_served(self));
}

ONEWALK_MAIN
