// SPDX-License-Identifier: GPL-2.0
/*
 * Eviction: pages of the device come back by their pfns, a list of them in any
 * order, whoever maps them and whatever else happens to them.
 *
 * With arguments it is what load.sh runs on a device that is too small.
 *
 * engines: both
 */
/* vm: not with memory=system: it has no pages that could be told from others */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "common.h"

#define NPAGES		32
#define HUGE_PAGES	(HUGE / PAGE)

#define BACKWARD	ONEWALK_DUMMY_EVICT_BACKWARD
#define TWICE		ONEWALK_DUMMY_EVICT_TWICE
#define EVEN		ONEWALK_DUMMY_EVICT_EVEN

static int evict(int fd, const void *addr, size_t npages, unsigned int flags,
		 struct onewalk_dummy_evict *result)
{
	struct onewalk_dummy_evict local, *arg = result ?: &local;

	*arg = (struct onewalk_dummy_evict){
		.addr = (uintptr_t)addr,
		.npages = npages,
		.flags = flags,
	};
	return ioctl(fd, ONEWALK_DUMMY_EVICT, arg) ? -errno : 0;
}

static int fail_next_alloc(int fd)
{
	struct onewalk_dummy_cmd cmd = {
		.npages = ONEWALK_DUMMY_FLAG_FAIL_ALLOC,
	};

	return ioctl(fd, ONEWALK_DUMMY_FLAGS, &cmd) ? -errno : 0;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* --- a list of pages --- */

FIXTURE(eviction) {
	int fd;
	char *addr;
	char *buf;
	struct peer peer;
	struct onewalk_dummy_evict result;
};

/* What is there was written there: only the device has it. */
FIXTURE_SETUP(eviction)
{
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_pages(NPAGES);
	ASSERT_NE(NULL, self->addr);
	self->buf = map_pages(NPAGES);
	ASSERT_NE(NULL, self->buf);
	fill(self->addr, NPAGES, 1);
	ASSERT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	fill_buffer(self->buf, self->addr, NPAGES, 2);
	ASSERT_OK(dummy_write(self->fd, self->addr, NPAGES, self->buf));
	ASSERT_EQ(NPAGES, count_where(self->addr, NPAGES, SPECIAL));
}

FIXTURE_TEARDOWN(eviction)
{
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 2));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	peer_stop(&self->peer);
	unmap_all();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

FIXTURE_VARIANT(eviction) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(eviction, forward) { .flags = 0 };
FIXTURE_VARIANT_ADD(eviction, backward) { .flags = BACKWARD };
FIXTURE_VARIANT_ADD(eviction, twice) { .flags = TWICE };
FIXTURE_VARIANT_ADD(eviction, twice_backward) { .flags = TWICE | BACKWARD };

TEST_F(eviction, brings_all_of_them_back)
{
	ASSERT_OK(evict(self->fd, self->addr, NPAGES, variant->flags,
			&self->result));
	EXPECT_EQ(NPAGES, self->result.tried);
	EXPECT_EQ(NPAGES, self->result.evicted);
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
	EXPECT_TRUE(device_is_empty(self->fd));

	/* and finds nothing more */
	ASSERT_OK(evict(self->fd, self->addr, NPAGES, variant->flags,
			&self->result));
	EXPECT_EQ(0, self->result.tried);
	EXPECT_EQ(0, self->result.evicted);
}

TEST_F(eviction, leaves_alone_what_is_between)
{
	size_t i;

	ASSERT_OK(evict(self->fd, self->addr, NPAGES, EVEN | variant->flags,
			&self->result));
	EXPECT_EQ(NPAGES / 2, self->result.tried);
	EXPECT_EQ(NPAGES / 2, self->result.evicted);
	for (i = 0; i < NPAGES; i++) {
		EXPECT_EQ(i % 2 ? SPECIAL : PRESENT,
			  where(self->addr + i * PAGE))
			TH_LOG("page %zu", i);
	}
}

TEST_F(eviction, tells_how_far_it_came_without_memory)
{
	ASSERT_OK(fail_next_alloc(self->fd));
	EXPECT_EQ(-ENOMEM, evict(self->fd, self->addr, NPAGES, variant->flags,
				 &self->result));
	EXPECT_EQ(NPAGES, self->result.tried);
	EXPECT_EQ(NPAGES - 1, self->result.evicted);
	EXPECT_EQ(1, count_where(self->addr, NPAGES, SPECIAL));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 2));

	EXPECT_OK(evict(self->fd, self->addr, NPAGES, variant->flags,
			&self->result));
	EXPECT_EQ(1, self->result.tried);
	EXPECT_EQ(1, self->result.evicted);
}

/* A CPU can reach it, and the pipe has a reference that no mapping explains. */
TEST_F(eviction, leaves_what_somebody_else_holds)
{
	struct iovec iov = { self->addr + 3 * PAGE, PAGE };
	int fds[2];

	if (!memory_is_coherent())
		SKIP(return, "nobody can hold a page that no CPU can reach");
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ((ssize_t)PAGE, vmsplice(fds[1], &iov, 1, 0));
	EXPECT_EQ(-EBUSY, evict(self->fd, self->addr, NPAGES, variant->flags,
				&self->result));
	EXPECT_EQ(NPAGES, self->result.tried);
	EXPECT_EQ(NPAGES - 1, self->result.evicted);
	EXPECT_EQ(SPECIAL, where(self->addr + 3 * PAGE));

	ASSERT_EQ((ssize_t)PAGE, read(fds[0], self->buf, PAGE));
	EXPECT_OK(evict(self->fd, self->addr, NPAGES, variant->flags,
			&self->result));
	EXPECT_EQ(1, self->result.evicted);
	close(fds[0]);
	close(fds[1]);
}

TEST_F(eviction, of_what_a_child_shares_is_for_both)
{
	ASSERT_EQ(0, peer_start(&self->peer));
	ASSERT_OK(evict(self->fd, self->addr, NPAGES, variant->flags,
			&self->result));
	EXPECT_EQ(NPAGES, self->result.evicted);
	EXPECT_TRUE(device_is_empty(self->fd));
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 2));
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
}

/* Its own parent, whose it was, has let go of it. */
static int inherit(char *addr, unsigned int flags, int pipe)
{
	struct onewalk_dummy_evict result;
	int fd = dummy_open(0);
	char byte;

	if (fd < 0 || read(pipe, &byte, 1) != 1)
		return 1;
	if (evict(fd, addr, NPAGES, flags, &result) || result.evicted != NPAGES)
		return 2;
	return wrong_page(addr, NPAGES, 2) < 0 ? 0 : 3;
}

static int bequeath(int fd, char *addr, unsigned int flags)
{
	int status, fds[2];
	pid_t pid;

	fill(addr, NPAGES, 2);
	if (pipe(fds) || fd < 0 || to_device(fd, addr, NPAGES) != NPAGES)
		return 4;
	pid = fork();
	if (!pid)
		_exit(inherit(addr, flags, fds[0]));
	munmap(addr, NPAGES * PAGE);
	if (write(fds[1], "", 1) != 1 || waitpid(pid, &status, 0) != pid)
		return 5;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 6;
}

TEST_F(eviction, of_what_a_child_has_inherited)
{
	char *addr = map_pages(NPAGES);
	int status;
	pid_t pid;

	ASSERT_NE(NULL, addr);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(bequeath(dummy_open(0), addr, variant->flags));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(eviction, leaves_the_pages_of_another_device)
{
	const size_t half = NPAGES / 2;
	int other = dummy_open(1);

	ASSERT_LE(0, other);
	ASSERT_EQ(half, to_system(self->fd, self->addr, half));
	ASSERT_EQ(half, to_device(other, self->addr, half));
	ASSERT_OK(evict(self->fd, self->addr, NPAGES, variant->flags,
			&self->result));
	EXPECT_EQ(half, self->result.tried);
	EXPECT_EQ(half, count_where(self->addr, half, SPECIAL));
	EXPECT_EQ(0, count_where(self->addr + half * PAGE, half, SPECIAL));

	ASSERT_OK(evict(other, self->addr, NPAGES, variant->flags,
			&self->result));
	EXPECT_EQ(half, self->result.evicted);
	EXPECT_TRUE(device_is_empty(other));
	close(other);
}

TEST_F(eviction, refuses_what_makes_no_sense)
{
	struct onewalk_dummy_evict arg = {
		.addr = (uintptr_t)self->addr, .npages = NPAGES, .pad = 1,
	};

	EXPECT_EQ(-1, ioctl(self->fd, ONEWALK_DUMMY_EVICT, &arg));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EINVAL, evict(self->fd, self->addr, NPAGES, 8, NULL));
	EXPECT_EQ(-EINVAL, evict(self->fd, self->addr, 0, 0, NULL));
	EXPECT_EQ(-EINVAL, evict(self->fd, self->addr + 1, 1, 0, NULL));
	EXPECT_EQ(-ENOMEM, evict(self->fd, self->addr, 1UL << 40, 0, NULL));
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, SPECIAL));
}

/* --- huge pages --- */

FIXTURE(huge_eviction) {
	int fd;
	char *addr;
	struct peer peer;
	struct onewalk_dummy_evict result;
};

FIXTURE_SETUP(huge_eviction)
{
	struct onewalk_dummy_migrate moved;
	void *addr;

	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	MUST(map_huge(&addr, 1));
	self->addr = addr;
	clear_soft_dirty();
	ASSERT_OK(dummy_migrate(self->fd, addr, HUGE_PAGES, ONEWALK_DUMMY_RANGE,
				ONEWALK_DUMMY_MIGRATE_COMPOUND, NULL, NULL,
				&moved));
	ASSERT_EQ(HUGE_PAGES, moved.moved);
}

FIXTURE_TEARDOWN(huge_eviction)
{
	EXPECT_EQ(-1, wrong_page(self->addr, HUGE_PAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, HUGE_PAGES));
	peer_stop(&self->peer);
	unmap_all();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

/* Does a device have huge pages, and is this one? */
static bool comes_whole(void)
{
	return memory_is_private() && kernel_migrates_large_folios();
}

FIXTURE_VARIANT(huge_eviction) {
	size_t first;		/* of the pages that are named */
	size_t npages;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(huge_eviction, all) {
	.first = 0, .npages = HUGE_PAGES, .flags = 0,
};

FIXTURE_VARIANT_ADD(huge_eviction, all_backward_and_twice) {
	.first = 0, .npages = HUGE_PAGES, .flags = BACKWARD | TWICE,
};

FIXTURE_VARIANT_ADD(huge_eviction, every_second) {
	.first = 1, .npages = HUGE_PAGES - 1, .flags = EVEN,
};

FIXTURE_VARIANT_ADD(huge_eviction, the_first) {
	.first = 0, .npages = 1, .flags = 0,
};

FIXTURE_VARIANT_ADD(huge_eviction, one_inside) {
	.first = 300, .npages = 1, .flags = 0,
};

static size_t named(const FIXTURE_VARIANT(huge_eviction) *variant)
{
	if (comes_whole())
		return HUGE_PAGES;
	return variant->flags & EVEN ? (variant->npages + 1) / 2 :
				       variant->npages;
}

TEST_F(huge_eviction, by_some_of_its_pages)
{
	ASSERT_OK(evict(self->fd, self->addr + variant->first * PAGE,
			variant->npages, variant->flags, &self->result));
	EXPECT_EQ(named(variant), self->result.tried);
	EXPECT_EQ(named(variant), self->result.evicted);
	EXPECT_EQ(HUGE_PAGES - named(variant),
		  count_where(self->addr, HUGE_PAGES, SPECIAL));
	if (comes_whole()) {
		EXPECT_TRUE(page_flag(self->addr, KPF_THP));
		EXPECT_TRUE(device_is_empty(self->fd));
	}
}

TEST_F(huge_eviction, stays_whole_without_memory)
{
	size_t left = comes_whole() ? HUGE_PAGES : 1;

	ASSERT_OK(fail_next_alloc(self->fd));
	EXPECT_EQ(-ENOMEM, evict(self->fd, self->addr + variant->first * PAGE,
				 variant->npages, variant->flags,
				 &self->result));
	EXPECT_EQ(named(variant), self->result.tried);
	EXPECT_EQ(named(variant) - left, self->result.evicted);
	EXPECT_EQ(HUGE_PAGES - named(variant) + left,
		  count_where(self->addr, HUGE_PAGES, SPECIAL));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, HUGE_PAGES, 1));
}

TEST_F(huge_eviction, of_what_a_child_shares_is_for_both)
{
	ASSERT_EQ(0, peer_start(&self->peer));
	ASSERT_OK(evict(self->fd, self->addr + variant->first * PAGE,
			variant->npages, variant->flags, &self->result));
	EXPECT_EQ(named(variant), self->result.evicted);
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, HUGE_PAGES, 1));
}

/* Half of it is gone: it is not mapped as one any more, and comes back in time. */
TEST_F(huge_eviction, of_what_is_half_gone)
{
	const size_t half = HUGE_PAGES / 2;

	ASSERT_EQ(0, munmap(self->addr + half * PAGE, half * PAGE));
	ASSERT_OK(evict(self->fd, self->addr, half, variant->flags,
			&self->result));
	EXPECT_EQ(self->result.tried, self->result.evicted);
	EXPECT_LE(1, self->result.evicted);
	EXPECT_EQ(-1, wrong_page(self->addr, half, 1));
	ASSERT_EQ(self->addr + half * PAGE,
		  mmap(self->addr + half * PAGE, half * PAGE,
		       PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	fill(self->addr + half * PAGE, half, 1);
}

/* --- beside others --- */

/* Each thread has some of the pages, and is the only one that changes them. */
struct user {
	pthread_t thread;
	int fd;
	char *addr;
	char *buf;
	bool by_device;
	atomic_bool *stop;
	unsigned long rounds;
	long wrong;		/* -1: none */
	int error;
};

#define USERS	2

static int write_and_check(struct user *user, unsigned int version)
{
	int ret;

	if (!user->by_device) {
		fill(user->addr, NPAGES, version);
		user->wrong = wrong_page(user->addr, NPAGES, version);
		return 0;
	}
	fill_buffer(user->buf, user->addr, NPAGES, version);
	ret = dummy_write(user->fd, user->addr, NPAGES, user->buf);
	if (!ret)
		ret = dummy_read(user->fd, user->addr, NPAGES, user->buf);
	if (!ret)
		user->wrong = wrong_buffer(user->buf, user->addr, NPAGES,
					   version);
	return ret;
}

static void *use_pages(void *arg)
{
	struct user *user = arg;

	user->wrong = -1;
	while (!atomic_load(user->stop) && user->wrong < 0 && !user->error) {
		user->error = write_and_check(user, user->rounds % 250);
		/* a device may give up for now */
		if (user->error == -EBUSY)
			user->error = 0;
		user->rounds++;
	}
	return NULL;
}

TEST(beside_cpu_and_device_faults_on_the_same_pages)
{
	const unsigned int rounds = run_long() ? 5000 : 300;
	struct onewalk_dummy_evict result;
	struct user users[USERS] = {};
	unsigned long evicted = 0;
	atomic_bool stop = false;
	int fd = dummy_open(0), ret;
	uint64_t random = 1;
	unsigned int i;
	char *addr;

	ASSERT_LE(0, fd);
	addr = map_pages(USERS * NPAGES);
	ASSERT_NE(NULL, addr);
	for (i = 0; i < USERS; i++) {
		users[i] = (struct user){
			.fd = fd,
			.addr = addr + i * NPAGES * PAGE,
			.buf = map_pages(NPAGES),
			.by_device = i % 2,
			.stop = &stop,
		};
		ASSERT_EQ(0, pthread_create(&users[i].thread, NULL, use_pages,
					    &users[i]));
	}
	for (i = 0; i < rounds; i++) {
		to_device(fd, addr, USERS * NPAGES);
		ret = evict(fd, addr, USERS * NPAGES, next_random(&random) % 8,
			    &result);
		if (ret && ret != -EBUSY)
			break;
		ret = 0;
		evicted += result.evicted;
	}
	atomic_store(&stop, true);
	for (i = 0; i < USERS; i++) {
		pthread_join(users[i].thread, NULL);
		EXPECT_EQ(-1, users[i].wrong);
		EXPECT_EQ(0, users[i].error);
		EXPECT_LT(0, users[i].rounds);
	}
	EXPECT_EQ(0, ret);
	EXPECT_LT(rounds, evicted);
	EXPECT_EQ(0, forgotten_pages(addr, USERS * NPAGES));
	unmap_all();
	EXPECT_TRUE(device_is_empty(fd));
	close(fd);
}

/* What a child tells of itself. */
struct shared {
	atomic_int fd;		/* -1: not yet */
	atomic_int failed;
};

static struct shared *map_shared_page(void)
{
	struct shared *shared;

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return NULL;
	atomic_store(&shared->fd, -1);
	return shared;
}

/* In a child that has open files in common with us: its pages come and go. */
static void live(struct shared *shared, char *addr, bool evicts)
{
	int fd = dummy_open(0);

	fill(addr, NPAGES, 1);
	if (fd < 0 || to_device(fd, addr, NPAGES) < 0)
		atomic_store(&shared->failed, 1);
	atomic_store(&shared->fd, fd);
	for (;;) {
		if (evicts)
			evict(fd, addr, NPAGES, TWICE, NULL);
		to_device(fd, addr, NPAGES);
	}
}

static pid_t start(struct shared *shared, char *addr, bool evicts)
{
	pid_t pid;

	atomic_store(&shared->fd, -1);
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		live(shared, addr, evicts);
	while (pid > 0 && atomic_load(&shared->fd) < 0 &&
	       !atomic_load(&shared->failed))
		usleep(100);
	return pid;
}

TEST(beside_the_end_of_the_process)
{
	const unsigned int rounds = run_long() ? 500 : run_short() ? 15 : 40;
	struct shared *shared = map_shared_page();
	char *addr = map_pages(NPAGES);
	int fd = dummy_open(0), ret;
	unsigned int i, left;
	uint64_t random = 1;
	pid_t pid;

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, shared);
	ASSERT_NE(NULL, addr);
	for (i = 0; i < rounds; i++) {
		pid = start(shared, addr, false);
		ASSERT_LE(0, pid);
		ASSERT_EQ(0, atomic_load(&shared->failed));
		ret = 0;
		left = next_random(&random) % 20;
		while (!ret || ret == -EBUSY) {
			if (!left--)
				kill(pid, SIGKILL);
			ret = evict(atomic_load(&shared->fd), addr, NPAGES,
				    next_random(&random) % 8, NULL);
		}
		EXPECT_EQ(-ESRCH, ret);
		EXPECT_EQ(pid, waitpid(pid, NULL, 0));
		close(atomic_load(&shared->fd));
	}
	munmap(shared, PAGE);
	unmap_all();
	EXPECT_TRUE(device_is_empty(fd));
	close(fd);
}

TEST(can_be_killed)
{
	struct shared *shared = map_shared_page();
	char *addr = map_pages(NPAGES);
	int fd = dummy_open(0);
	double begin;
	pid_t pid;

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, shared);
	ASSERT_NE(NULL, addr);
	pid = start(shared, addr, true);
	ASSERT_LE(0, pid);
	ASSERT_EQ(0, atomic_load(&shared->failed));
	usleep(200000);
	begin = now();
	kill(pid, SIGKILL);
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_GT(10, now() - begin);
	close(atomic_load(&shared->fd));
	munmap(shared, PAGE);
	unmap_all();
	EXPECT_TRUE(device_is_empty(fd));
	close(fd);
}

/* --- huge pages, and who discards them meanwhile --- */

struct discarding {
	char *addr;
	atomic_bool go;
	double delay;
};

static void *discard(void *data)
{
	struct discarding *discarding = data;
	double begin;

	while (!atomic_load(&discarding->go))
		;
	begin = now();
	while (now() - begin < discarding->delay)
		;
	madvise(discarding->addr, HUGE, MADV_DONTNEED);
	return NULL;
}

/* At any time while it is brought back, which takes as long as @took. */
static int evict_and_discard(int fd, char *huge, double took, uint64_t *random)
{
	struct discarding discarding = {
		.addr = huge,
		.delay = took * (next_random(random) % 1000) / 1000,
	};
	pthread_t thread;
	int ret;

	pthread_create(&thread, NULL, discard, &discarding);
	atomic_store(&discarding.go, true);
	ret = evict(fd, huge, HUGE / PAGE, 0, NULL);
	pthread_join(thread, NULL);
	return ret;
}

TEST(huge_page_discarded_meanwhile_is_gone)
{
	unsigned int i, rounds = run_long() ? 1000 : run_short() ? 20 : 200;
	int fd = dummy_open(0), ret;
	uint64_t random = 1;
	double begin, took = 0;
	void *huge;

	ASSERT_LE(0, fd);
	if (engine_is_portable() || !kernel_migrates_large_folios() ||
	    memory_is_coherent())
		SKIP(return, "huge pages are not on the device, or the kernel's bug is met");
	MUST(map_huge(&huge, 1));
	for (i = 0; i < rounds; i++) {
		fill(huge, HUGE / PAGE, 1);
		ASSERT_OK(dummy_migrate(fd, huge, HUGE / PAGE,
					ONEWALK_DUMMY_RANGE,
					ONEWALK_DUMMY_MIGRATE_COMPOUND, NULL,
					NULL, NULL));
		begin = now();
		ret = i ? evict_and_discard(fd, huge, took, &random) :
			  evict(fd, huge, HUGE / PAGE, 0, NULL);
		EXPECT_TRUE(!ret || ret == -EBUSY || ret == -ENOMEM)
			TH_LOG("%d", ret);
		if (!i) {
			took = now() - begin;
			EXPECT_EQ(-1, wrong_page(huge, HUGE / PAGE, 1));
		} else {
			EXPECT_EQ(-1, nonzero_page(huge, HUGE / PAGE));
		}
		EXPECT_TRUE(device_is_empty(fd));
		EXPECT_EQ(0, forgotten_pages(huge, HUGE / PAGE));
		ASSERT_OK(madvise(huge, HUGE, MADV_DONTNEED));
	}
	unmap_all();
	close(fd);
}

/* --- on a device that is too small --- */

#define WINDOW	256

static int say(const char *what, size_t page, long number)
{
	printf("page %zu: %s: %ld\n", page, what, number);
	return 1;
}

/* of each page */
static uint8_t versions[1 << 18];

/*
 * One window goes to the device and is changed there. If nobody else wants the
 * device's memory, all of it has to be there.
 */
static int change(int fd, char *addr, size_t first, bool alone, size_t limit)
{
	static char buf[WINDOW * PAGE];
	struct onewalk_dummy_info info;
	char *window = addr + first * PAGE;
	long moved;
	size_t i;
	int ret;

	moved = to_device(fd, window, WINDOW);
	if (moved < 0)
		return say("to the device", first, moved);
	if (alone && count_where(window, WINDOW, SPECIAL) != WINDOW)
		return say("not all on the device, but", first,
			   count_where(window, WINDOW, SPECIAL));
	if (dummy_info(fd, &info) || info.pages_total > limit)
		return say("pages of the device", first, info.pages_total);
	for (i = 0; i < WINDOW; i++) {
		versions[first + i]++;
		fill_buffer(buf + i * PAGE, window + i * PAGE, 1,
			    versions[first + i]);
	}
	do {
		ret = dummy_write(fd, window, WINDOW, buf);
	} while (ret == -EBUSY && !alone);
	return ret ? say("the device writes", first, ret) : 0;
}

static int cycle(int fd, char *addr, size_t npages, bool alone, size_t limit,
		 uint64_t random)
{
	const size_t windows = npages / WINDOW;
	unsigned int pass;
	size_t i, n;

	for (pass = 0; pass < 3; pass++) {
		for (i = 0; i < windows; i++) {
			n = pass < 2 ? i : next_random(&random) % windows;
			if (change(fd, addr, n * WINDOW, alone, limit))
				return 1;
		}
	}
	for (i = 0; i < npages; i++)
		if (wrong_page(addr + i * PAGE, 1, versions[i]) >= 0)
			return say("is wrong; version", i, versions[i]);
	return 0;
}

/* @alone: nobody else uses the device */
static int use_too_much(size_t limit, bool alone, uint64_t random)
{
	size_t npages = 4 * limit, i;
	char *addr = map_pages(npages);
	int fd = dummy_open(0), ret;

	if (fd < 0 || !addr || npages > sizeof(versions))
		return say("no device or no memory", npages, fd);
	for (i = 0; i < npages; i++)
		versions[i] = 1;
	fill(addr, npages, 1);
	ret = cycle(fd, addr, npages, alone, limit, random);
	unmap_all();
	if (!ret && alone && !device_is_empty(fd))
		ret = say("pages are left on the device", 0, 0);
	close(fd);
	return ret;
}

/* Two processes, for the same device. */
static int compete(size_t limit)
{
	int status = 1, ret;
	pid_t pid = fork();

	if (!pid)
		_exit(use_too_much(limit, false, 1));
	ret = use_too_much(limit, false, 2);
	waitpid(pid, &status, 0);
	return ret || status;
}

static int oversubscribe(size_t mib)
{
	size_t limit = mib << 8;

	return use_too_much(limit, true, 1) || compete(limit);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--oversubscribe"))
		return oversubscribe(strtoul(argv[2], NULL, 10));
	return test_harness_run(argc, argv);
}
