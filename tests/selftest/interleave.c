// SPDX-License-Identifier: GPL-2.0
/*
 * Many threads at once: reading, writing and migrating the same pages, while
 * the process unmaps, forks, swaps and dies beside. Every word of memory names
 * its own address and a version, so that a wrong byte cannot hide.
 */
/* vm: not with memory=system: where there is device memory, there is more to lose */
/* vm: one kind of memory in a short run: the kinds differ in what they are, not in who may meet whom there */
#include "kselftest_harness.h"

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "common.h"

#define NPAGES		256
#define MAX_PAGES	1024
#define MAX_WINDOW	48
#define NWORKERS	8
#define NFDS		3
#define WORDS		(PAGE / sizeof(uint64_t))

/* What a worker does next. */
enum deed {
	CPU_READ,
	CPU_WRITE,
	DEVICE_READ,
	DEVICE_WRITE,
	TO_DEVICE,
	TO_SYSTEM,
	NR_DEEDS,
};

struct stress {
	char *addr;
	size_t npages;
	int fds[NFDS];
	size_t nfds;
	unsigned int flags;	/* of every migration */
	unsigned int nr_methods;
	/* pages may vanish: they hold what they have to, or zeros, or nothing */
	bool lenient;
	atomic_bool stop;
	/* each page is written by one worker only, one version at a time */
	atomic_uint started[MAX_PAGES], done[MAX_PAGES];
	atomic_ulong deeds[NR_DEEDS], moved, busy;
	atomic_flag failed;
	char failure[256];
};

struct worker {
	pthread_t thread;
	struct stress *stress;
	unsigned int index;
	uint64_t random;
	char *buf;
};

static void fail(struct stress *stress, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void fail(struct stress *stress, const char *format, ...)
{
	va_list args;

	if (!atomic_flag_test_and_set(&stress->failed)) {
		va_start(args, format);
		vsnprintf(stress->failure, sizeof(stress->failure), format,
			  args);
		va_end(args);
	}
	atomic_store(&stress->stop, true);
}

/* -EBUSY is a device that gave up for now; what vanishes cannot be had. */
static bool allowed(struct stress *stress, int ret)
{
	if (ret == -EBUSY) {
		atomic_fetch_add(&stress->busy, 1);
		return true;
	}
	return ret >= 0 || (stress->lenient &&
			    (ret == -EFAULT || ret == -EPERM ||
			     ret == -EINVAL || ret == -ENOENT));
}

/*
 * Copying may go byte by byte: a reader beside it sees some bytes of a word as
 * they were. Only where the word was zero does that show, as zero bytes: all
 * versions of a word differ in one byte.
 */
static bool is_partly(uint64_t word, uint64_t whole)
{
	uint64_t mask;

	for (mask = 0xff; mask; mask <<= 8)
		if ((word & mask) && (word & mask) != (whole & mask))
			return false;
	return true;
}

/* Versions from @lo to @hi are right for a page that is being written. */
static void check_words(struct stress *stress, size_t page, const char *buf,
			unsigned int lo, unsigned int hi, const char *who)
{
	const uint64_t *word = (const uint64_t *)buf;
	const char *home = stress->addr + page * PAGE;
	uint64_t address;
	uint8_t version;
	size_t i;

	for (i = 0; i < WORDS; i++) {
		version = word[i];
		address = word[i] & ~0xffULL;
		if (stress->lenient ?
		    is_partly(address, (uintptr_t)(home + i * 8) << 16) :
		    (address == (uintptr_t)(home + i * 8) << 16 &&
		     (uint8_t)(version - lo) <= (uint8_t)(hi - lo)))
			continue;
		fail(stress, "%s reads %016llx at %p (page %zu), version %u to %u expected",
		     who, (unsigned long long)word[i], home + i * 8, page, lo,
		     hi);
		return;
	}
}

/* By a system call, so that memory that is gone is an error and no signal. */
static int copy_memory(char *addr, char *buf, size_t size, bool write)
{
	struct iovec local = { buf, size }, remote = { addr, size };
	ssize_t ret;

	if (write)
		ret = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
	else
		ret = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	return ret == (ssize_t)size ? 0 : -EFAULT;
}

static size_t any(struct worker *worker, size_t limit)
{
	return next_random(&worker->random) % limit;
}

static int any_fd(struct worker *worker)
{
	return worker->stress->fds[any(worker, worker->stress->nfds)];
}

static size_t own_page(struct worker *worker)
{
	return any(worker, worker->stress->npages / NWORKERS) * NWORKERS + worker->index;
}

static int cpu_read(struct worker *worker)
{
	struct stress *stress = worker->stress;
	size_t page = any(worker, stress->npages);
	char *addr = stress->addr + page * PAGE;
	unsigned int lo = atomic_load(&stress->done[page]);

	if (!stress->lenient)
		memcpy(worker->buf, addr, PAGE);
	else if (copy_memory(addr, worker->buf, PAGE, false))
		return -EFAULT;
	check_words(stress, page, worker->buf, lo,
		    atomic_load(&stress->started[page]), "the CPU");
	return 0;
}

static int cpu_write(struct worker *worker)
{
	struct stress *stress = worker->stress;
	size_t page = own_page(worker);
	char *addr = stress->addr + page * PAGE;
	unsigned int version = atomic_load(&stress->done[page]) + 1;
	int ret = 0;

	atomic_store(&stress->started[page], version);
	if (!stress->lenient) {
		fill(addr, 1, version);
	} else {
		fill_buffer(worker->buf, addr, 1, version);
		ret = copy_memory(addr, worker->buf, PAGE, true);
	}
	atomic_store(&stress->done[page], version);
	return ret;
}

static int device_read(struct worker *worker)
{
	struct stress *stress = worker->stress;
	unsigned int lo[MAX_WINDOW];
	size_t i, page = any(worker, stress->npages);
	size_t npages = 1 + any(worker, MAX_WINDOW);
	int ret;

	if (npages > stress->npages - page)
		npages = stress->npages - page;
	for (i = 0; i < npages; i++)
		lo[i] = atomic_load(&stress->done[page + i]);
	ret = dummy_read(any_fd(worker), stress->addr + page * PAGE, npages,
			 worker->buf);
	for (i = 0; !ret && i < npages; i++)
		check_words(stress, page + i, worker->buf + i * PAGE, lo[i],
			    atomic_load(&stress->started[page + i]),
			    "the device");
	return ret;
}

/*
 * A write that failed has not been done, or was done and undone by nobody: it
 * is done again, as the same version, until it succeeds.
 */
static int device_write(struct worker *worker)
{
	struct stress *stress = worker->stress;
	size_t page = own_page(worker);
	char *addr = stress->addr + page * PAGE;
	unsigned int version = atomic_load(&stress->done[page]) + 1;
	int ret;

	atomic_store(&stress->started[page], version);
	fill_buffer(worker->buf, addr, 1, version);
	do {
		ret = dummy_write(any_fd(worker), addr, 1, worker->buf);
	} while (ret == -EBUSY);
	atomic_store(&stress->done[page], version);
	return ret;
}

static int migrate(struct worker *worker, unsigned int flags)
{
	struct onewalk_dummy_migrate result = {};
	struct stress *stress = worker->stress;
	size_t page = any(worker, stress->npages);
	size_t npages = 1 + any(worker, stress->npages - page);
	unsigned int method = any(worker, stress->nr_methods);
	int ret;

	if (method != ONEWALK_DUMMY_KERNEL_MIGRATE && any(worker, 2))
		flags |= ONEWALK_DUMMY_MIGRATE_FAULT;
	if (method == ONEWALK_DUMMY_RANGE && any(worker, 2))
		flags |= ONEWALK_DUMMY_MIGRATE_UNLOCKED;
	if (!any(worker, 16))
		flags |= ONEWALK_DUMMY_MIGRATE_NO_COPY;
	if (method_is_ours(method))
		flags |= stress->flags;
	ret = dummy_migrate(any_fd(worker), stress->addr + page * PAGE, npages,
			    method, flags, NULL, NULL, &result);
	atomic_fetch_add(&stress->moved, result.moved);
	return ret;
}

static int act(struct worker *worker, enum deed deed)
{
	switch (deed) {
	case CPU_READ:
		return cpu_read(worker);
	case CPU_WRITE:
		return cpu_write(worker);
	case DEVICE_READ:
		return device_read(worker);
	case DEVICE_WRITE:
		return device_write(worker);
	case TO_DEVICE:
		return migrate(worker, 0);
	default:
		return migrate(worker, ONEWALK_DUMMY_MIGRATE_TO_SYSTEM);
	}
}

static void *work(void *arg)
{
	static const char * const names[] = {
		"a CPU read", "a CPU write", "a device read", "a device write",
		"migrating to the device", "migrating to the system",
	};
	struct worker *worker = arg;
	struct stress *stress = worker->stress;
	enum deed deed;
	int ret;

	while (!atomic_load(&stress->stop)) {
		deed = any(worker, NR_DEEDS);
		ret = act(worker, deed);
		if (!allowed(stress, ret))
			fail(stress, "%s fails: %s", names[deed],
			     strerror(-ret));
		if (!ret)
			atomic_fetch_add(&stress->deeds[deed], 1);
	}
	return NULL;
}

static void start(struct stress *stress, struct worker *workers, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		workers[i] = (struct worker){
			.stress = stress,
			.index = i,
			.random = 0x9e3779b97f4a7c15ULL * (i + 1),
			.buf = malloc(MAX_WINDOW * PAGE),
		};
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
}

static void join(struct worker *workers, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		pthread_join(workers[i].thread, NULL);
		free(workers[i].buf);
	}
}

static bool all_happened(struct stress *stress)
{
	size_t i;

	for (i = 0; i < NR_DEEDS; i++)
		if (!atomic_load(&stress->deeds[i]))
			return false;
	return atomic_load(&stress->moved);
}

/*
 * Runs the workers, and beside them what disturbs them, again and again; longer
 * than asked for on a machine that is too slow for all of it.
 */
static void run(struct stress *stress, unsigned int seconds,
		void (*disturb)(struct stress *stress, uint64_t *random))
{
	struct worker workers[NWORKERS];
	uint64_t random = 1234567;
	time_t end = time(NULL) + seconds;

	start(stress, workers, NWORKERS);
	while ((time(NULL) < end || !all_happened(stress)) &&
	       !atomic_load(&stress->stop)) {
		if (disturb)
			disturb(stress, &random);
		else
			usleep(100000);
	}
	atomic_store(&stress->stop, true);
	join(workers, NWORKERS);
}

FIXTURE(interleave) {
	struct stress stress;
};

FIXTURE_SETUP(interleave)
{
	struct stress *stress = &self->stress;
	size_t i;

	/* two opens of one device, and one of another */
	stress->nfds = 2;
	stress->nr_methods = ONEWALK_DUMMY_NR_METHODS;
	for (i = 0; i < NFDS; i++) {
		stress->fds[i] = dummy_open(i == 2);
		ASSERT_LE(0, stress->fds[i]);
	}
	stress->npages = NPAGES;
	stress->addr = map_pages(NPAGES);
	ASSERT_NE(NULL, stress->addr);
	fill(stress->addr, NPAGES, 0);
}

FIXTURE_TEARDOWN(interleave)
{
	size_t i;

	unmap_all();
	for (i = 0; i < NFDS; i++)
		EXPECT_TRUE(device_is_empty(self->stress.fds[i]));
}

/*
 * How many pages go to the device when nobody is in the way, or belong to a
 * huge page that PTEs map: the portable engine does not move its parts on Linux
 * before 6.19.
 */
static size_t can_go(struct stress *stress)
{
	struct onewalk_dummy_migrate result = {};
	static uint8_t status[MAX_PAGES];
	bool splits = kernel_migrates_large_folios() || !engine_is_portable();
	size_t i, n;

	if (dummy_migrate(stress->fds[0], stress->addr, stress->npages,
			  ONEWALK_DUMMY_RANGE, ONEWALK_DUMMY_MIGRATE_FAULT,
			  status, NULL, &result))
		return 0;

	n = result.moved;
	for (i = 0; i < stress->npages && !splits; i++)
		n += status[i] == ONEWALK_STATUS_SPLIT_FAILED;
	return n;
}

/* All went well, all of it happened, and all pages hold their last version. */
static void check_stress(struct __test_metadata *_metadata,
			 struct stress *stress)
{
	size_t i, page;

	EXPECT_STREQ("", stress->failure);
	for (i = 0; i < NR_DEEDS; i++)
		EXPECT_LT(0, atomic_load(&stress->deeds[i]));
	EXPECT_LT(0, atomic_load(&stress->moved));
	TH_LOG("reads %lu + %lu, writes %lu + %lu, migrations %lu + %lu of %lu pages, busy %lu",
	       stress->deeds[CPU_READ], stress->deeds[DEVICE_READ],
	       stress->deeds[CPU_WRITE], stress->deeds[DEVICE_WRITE],
	       stress->deeds[TO_DEVICE], stress->deeds[TO_SYSTEM],
	       stress->moved, stress->busy);
	if (stress->lenient)
		return;
	EXPECT_EQ(0, forgotten_pages(stress->addr, stress->npages));
	for (page = 0; page < stress->npages; page++)
		EXPECT_EQ(-1, wrong_page(stress->addr + page * PAGE, 1,
					 atomic_load(&stress->done[page])));
	/* and nothing holds them: each can come back, and go once more */
	to_system(stress->fds[0], stress->addr, stress->npages);
	to_system(stress->fds[2], stress->addr, stress->npages);
	EXPECT_EQ(stress->npages, count_where(stress->addr, stress->npages,
					      PRESENT));
	EXPECT_EQ(stress->npages, can_go(stress));
	for (page = 0; page < stress->npages; page++)
		EXPECT_EQ(-1, wrong_page(stress->addr + page * PAGE, 1,
					 atomic_load(&stress->done[page])));
}

static unsigned int seconds(unsigned int usual)
{
	return run_long() ? 30 : usual;
}

/* How long each kind of trouble goes on beside. */
#define A_WHILE	seconds(memory_is_private() ? 3 : 2)

TEST_F(interleave, eight_threads_on_two_opens_see_no_wrong_byte)
{
	run(&self->stress, seconds(memory_is_private() ? 30 : 10), NULL);
	check_stress(_metadata, &self->stress);
}

TEST_F(interleave, two_devices_fight_for_the_same_pages)
{
	self->stress.nfds = NFDS;
	run(&self->stress, A_WHILE, NULL);
	check_stress(_metadata, &self->stress);
}

static void swap_some_out(struct stress *stress, uint64_t *random)
{
	size_t page = next_random(random) % NPAGES;
	size_t npages = 1 + next_random(random) % (NPAGES - page);

	madvise(stress->addr + page * PAGE, npages * PAGE, MADV_PAGEOUT);
}

TEST_F(interleave, with_swapping_beside)
{
	run(&self->stress, A_WHILE, swap_some_out);
	check_stress(_metadata, &self->stress);
}

static void fork_and_exit(struct stress *stress, uint64_t *random)
{
	pid_t child = fork();

	(void)random;
	if (!child) {
		/* it sees each page as one moment had it: any version */
		const uint64_t *word = (const uint64_t *)stress->addr;
		size_t i;

		for (i = 0; i < stress->npages * WORDS; i++)
			if (word[i] >> 16 != (uintptr_t)&word[i])
				_exit(1);
		_exit(0);
	}
	if (child > 0) {
		int status;

		waitpid(child, &status, 0);
		if (status)
			fail(stress, "a forked child sees wrong memory, or died: %x",
			     status);
	}
}

TEST_F(interleave, with_forks_beside)
{
	run(&self->stress, A_WHILE, fork_and_exit);
	check_stress(_metadata, &self->stress);
}

static void compact(struct stress *stress, uint64_t *random)
{
	(void)stress;
	(void)random;
	write_file("/proc/sys/vm/compact_memory", "1");
	usleep(10000);
}

TEST_F(interleave, with_memory_compaction_beside)
{
	run(&self->stress, A_WHILE, compact);
	check_stress(_metadata, &self->stress);
}

static void *keep_compacting(void *stop)
{
	while (!atomic_load((atomic_bool *)stop))
		write_file("/proc/sys/vm/compact_memory", "1");
	return NULL;
}

/*
 * A device that loses pages again before it has used them might never get on. It
 * gives up after a second, which passes quickly where many want the CPUs: then
 * the request is made anew, but not again and again.
 */
TEST_F(interleave, one_fault_is_enough_with_memory_compaction_beside)
{
	struct stress *stress = &self->stress;
	struct onewalk_dummy_cmd cmd;
	char *buf = malloc(NPAGES * PAGE);
	pthread_t thread;
	int i, ret, given_up = 0;

	ASSERT_EQ(0, pthread_create(&thread, NULL, keep_compacting,
				    &stress->stop));
	for (i = 0; i < 100; i++) {
		madvise(stress->addr, NPAGES * PAGE, MADV_DONTNEED);
		fill_buffer(buf, stress->addr, NPAGES, i);
		ret = dummy_cmd(stress->fds[0], ONEWALK_DUMMY_WRITE,
				stress->addr, NPAGES, buf, &cmd);
		if (ret == -EBUSY && ++given_up <= 10) {
			i--;
			continue;
		}
		EXPECT_EQ(0, ret);
		EXPECT_EQ(1, cmd.faults);
		EXPECT_EQ(-1, wrong_page(stress->addr, NPAGES, i));
	}
	atomic_store(&stress->stop, true);
	pthread_join(thread, NULL);
	free(buf);
}

/* Huge pages, of which parts move, come back, and are put together again. */
static void collapse(struct stress *stress, uint64_t *random)
{
	size_t huge = next_random(random) % (stress->npages * PAGE / HUGE);

	madvise(stress->addr + huge * HUGE, HUGE, MADV_COLLAPSE);
	usleep(next_random(random) % 20000);
}

TEST_F(interleave, with_huge_pages_that_move_whole)
{
	struct stress *stress = &self->stress;
	void *addr;

	stress->npages = MAX_PAGES;
	MUST(map_huge(&addr, MAX_PAGES * PAGE / HUGE));
	stress->addr = addr;
	fill(addr, MAX_PAGES, 0);
	stress->flags = ONEWALK_DUMMY_MIGRATE_COMPOUND;
	/* migrate_vma_setup() loses one that it finds locked: our own alone */
	if (!kernel_migrates_large_folios())
		stress->nr_methods = ONEWALK_DUMMY_FAULT_MIGRATE;
	run(stress, A_WHILE, collapse);
	check_stress(_metadata, stress);
}

/* All of a huge page is gone at any moment, or a part of it. */
static void zap_huge(struct stress *stress, uint64_t *random)
{
	size_t huge = next_random(random) % (stress->npages * PAGE / HUGE);
	char *addr = stress->addr + huge * HUGE;

	if (next_random(random) % 4)
		madvise(addr, HUGE, MADV_DONTNEED);
	else
		madvise(addr + next_random(random) % 256 * PAGE, 100 * PAGE,
			MADV_DONTNEED);
	usleep(next_random(random) % 500);
}

/* The same huge page all the time, with both directions and the CPU's touch. */
static void *move_huge(void *arg)
{
	struct worker *worker = arg;
	struct stress *stress = worker->stress;
	unsigned int flags = ONEWALK_DUMMY_MIGRATE_COMPOUND;
	struct onewalk_dummy_migrate result;
	int ret;

	while (!atomic_load(&stress->stop)) {
		char *addr = stress->addr + any(worker, stress->npages / 512) * HUGE;

		if (!any(worker, 8))
			dummy_cmd(stress->fds[0], ONEWALK_DUMMY_FLAGS, NULL,
				  ONEWALK_DUMMY_FLAG_FAIL_ALLOC, NULL, NULL);
		ret = dummy_migrate(stress->fds[worker->index % 2], addr, 512,
				    any(worker, 2) ? ONEWALK_DUMMY_RANGE :
						     ONEWALK_DUMMY_SETUP,
				    any(worker, 2) ? flags | ONEWALK_DUMMY_MIGRATE_FAULT :
				    flags | ONEWALK_DUMMY_MIGRATE_TO_SYSTEM,
				    NULL, NULL, &result);
		if (!allowed(stress, ret))
			fail(stress, "migrating: %s", strerror(-ret));
		atomic_fetch_add(&stress->moved, result.moved);
		if (any(worker, 2))
			continue;
		addr += any(worker, 512) * PAGE;
		if (*(uint64_t *)addr != word_at(addr, 0) && *(uint64_t *)addr)
			fail(stress, "%p has %llx", (void *)addr,
			     *(unsigned long long *)addr);
		/* a hole is a huge page when it is written to */
		fill(addr, 1, 0);
	}
	return NULL;
}

/* As of 7.3, the kernel's own functions do not survive this. */
TEST_F(interleave, huge_pages_zapped_while_they_move)
{
	struct stress *stress = &self->stress;
	struct worker workers[3];
	uint64_t random = 4711;
	time_t end;
	void *addr;
	size_t i;

	stress->npages = 2 * 512;
	MUST(map_huge(&addr, 2));
	stress->addr = addr;
	fill(addr, stress->npages, 0);
	for (i = 0; i < 3; i++) {
		workers[i] = (struct worker){
			.stress = stress, .index = i, .random = i + 1,
		};
		pthread_create(&workers[i].thread, NULL, move_huge, &workers[i]);
	}
	for (end = time(NULL) + seconds(5); time(NULL) < end; )
		zap_huge(stress, &random);
	atomic_store(&stress->stop, true);
	for (i = 0; i < 3; i++)
		pthread_join(workers[i].thread, NULL);
	EXPECT_STREQ("", stress->failure);
	EXPECT_LT(0, atomic_load(&stress->moved));
	TH_LOG("moved %lu pages", stress->moved);
	EXPECT_EQ(0, forgotten_pages(stress->addr, stress->npages));
	madvise(addr, 2 * HUGE, MADV_DONTNEED);
	EXPECT_TRUE(device_is_empty(stress->fds[0]));
}

static void unplug(struct stress *stress, uint64_t *random)
{
	int ret = dummy_cmd(stress->fds[0], ONEWALK_DUMMY_RELEASE, NULL, 0,
			    NULL, NULL);

	if (ret && ret != -EBUSY)
		fail(stress, "RELEASE fails: %s", strerror(-ret));
	usleep(next_random(random) % 50000);
}

TEST_F(interleave, with_device_memory_unplugged_beside)
{
	run(&self->stress, A_WHILE, unplug);
	check_stress(_metadata, &self->stress);
}

/* Part of the mapping goes, or changes, at any moment. */
static void remap(struct stress *stress, uint64_t *random)
{
	size_t page = next_random(random) % NPAGES;
	size_t size = (1 + next_random(random) % (NPAGES - page)) * PAGE;
	char *addr = stress->addr + page * PAGE;

	switch (next_random(random) % 5) {
	case 0:
		madvise(addr, size, MADV_DONTNEED);
		break;
	case 1:
		munmap(addr, size);
		usleep(next_random(random) % 2000);
		if (mmap(addr, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			 0) != addr)
			fail(stress, "mmap: %s", strerror(errno));
		break;
	case 2:
		mprotect(addr, size, PROT_NONE);
		usleep(next_random(random) % 2000);
		mprotect(addr, size, PROT_READ | PROT_WRITE);
		break;
	case 3:
		mprotect(addr, size, PROT_READ);
		usleep(next_random(random) % 2000);
		mprotect(addr, size, PROT_READ | PROT_WRITE);
		break;
	default:
		madvise(addr, size, MADV_FREE);
		break;
	}
	usleep(next_random(random) % 2000);
}

TEST_F(interleave, with_unmapping_and_protecting_beside)
{
	self->stress.lenient = true;
	run(&self->stress, A_WHILE, remap);
	check_stress(_metadata, &self->stress);
}

/* --- dying in the middle --- */

static void be_killed(void)
{
	static struct stress stress = { .nfds = 2, .npages = NPAGES };
	static struct worker workers[4];

	stress.fds[0] = dummy_open(0);
	stress.fds[1] = dummy_open(0);
	stress.addr = map_pages(NPAGES);
	fill(stress.addr, NPAGES, 0);
	start(&stress, workers, 4);
	pause();
}

TEST_F(interleave, process_killed_while_migrating_loses_no_page)
{
	const int times = run_long() ? 500 : 50;
	uint64_t random = 99;
	int i, status;
	pid_t child;

	for (i = 0; i < times; i++) {
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			be_killed();
			_exit(0);
		}
		usleep(20000 + next_random(&random) % 60000);
		kill(child, SIGKILL);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		ASSERT_TRUE(device_is_empty(self->stress.fds[0]))
			TH_LOG("after %d kills", i + 1);
	}
}

/* --- two processes, opposite directions --- */

/* Windows from one end to the other, there and back; returns pages moved. */
static long sweep(int fd, char *addr, size_t npages, bool upwards, int rounds)
{
	const size_t window = 32;
	long ret, moved = 0;
	size_t i, at;
	int round;

	for (round = 0; round < rounds; round++) {
		for (i = 0; i < npages; i += window) {
			at = upwards ? i : npages - window - i;
			ret = to_device(fd, addr + at * PAGE, window);
			if (ret >= 0)
				moved += ret;
			else if (ret != -EBUSY)
				return ret;
		}
		for (i = 0; i < npages; i += window) {
			at = upwards ? i : npages - window - i;
			ret = to_system(fd, addr + at * PAGE, window);
			if (ret < 0 && ret != -EBUSY)
				return ret;
		}
	}
	return moved;
}

/* The child comes from above, the parent from below; both get on. */
static void meet(struct __test_metadata *_metadata, int fd, char *addr,
		 size_t npages, int rounds)
{
	pid_t child = fork();
	int status;
	long moved;

	ASSERT_LE(0, child);
	if (!child) {
		fd = dummy_open(0);
		moved = fd < 0 ? -1 : sweep(fd, addr, npages, false, rounds);
		_exit(moved > 0 && wrong_page(addr, npages, 0) < 0 ? 0 : 1);
	}
	moved = sweep(fd, addr, npages, true, rounds);
	EXPECT_LT(0, moved);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(-1, wrong_page(addr, npages, 0));
	EXPECT_EQ(0, forgotten_pages(addr, npages));
}

TEST_F(interleave, parent_and_child_migrate_shared_pages_towards_each_other)
{
	meet(_metadata, self->stress.fds[0], self->stress.addr, NPAGES,
	     run_long() ? 2000 : 40);
}

/*
 * Large folios that PTEs map, since one page of each is protected, and between
 * them pages that have to be swapped in: each lies in both processes' way.
 */
TEST_F(interleave, parent_and_child_meet_in_large_folios_and_swap)
{
	const int times = run_long() ? 200 : 8;
	const size_t npages = 3 * HUGE / PAGE, middle = HUGE / PAGE;
	void *addr;
	int i;

	for (i = 0; i < times; i++) {
		MUST(map_huge(&addr, 3));
		fill(addr, npages, 0);
		mprotect(addr + 7 * PAGE, PAGE, PROT_READ);
		mprotect(addr + (2 * middle + 7) * PAGE, PAGE, PROT_READ);
		MUST(swap_out(addr + middle * PAGE, middle));
		meet(_metadata, self->stress.fds[0], addr, npages, 1);
		unmap_all();
	}
}

/* --- userfaultfd --- */

struct reader {
	pthread_t thread;
	struct stress *stress;
	int fd;
	uint64_t random;
};

static void *read_unlocked(void *arg)
{
	struct reader *reader = arg;
	struct stress *stress = reader->stress;
	char *buf = malloc(8 * PAGE), *addr;
	int i, ret;

	for (i = 0; i < 200 && !atomic_load(&stress->stop); i++) {
		addr = stress->addr +
		       next_random(&reader->random) % (NPAGES - 8) * PAGE;
		if (i % 8 == 7)
			ret = dummy_migrate(reader->fd, addr, 8,
					    ONEWALK_DUMMY_RANGE,
					    ONEWALK_DUMMY_MIGRATE_FAULT |
					    ONEWALK_DUMMY_MIGRATE_UNLOCKED,
					    NULL, NULL, NULL);
		else
			ret = dummy_cmd(reader->fd,
					ONEWALK_DUMMY_READ_UNLOCKED, addr, 8,
					buf, NULL);
		if (ret && ret != -EBUSY)
			fail(stress, "reading through userfaultfd: %s",
			     strerror(-ret));
		if (!ret && i % 8 != 7 && wrong_buffer(buf, addr, 8, 1) >= 0)
			fail(stress, "userfaultfd's page is not what it served");
	}
	free(buf);
	return NULL;
}

TEST_F(interleave, pages_that_userfaultfd_serves_are_read_unlocked)
{
	struct stress *stress = &self->stress;
	struct reader readers[4];
	struct uffd uffd;
	uint64_t random = 7;
	size_t i;

	madvise(stress->addr, NPAGES * PAGE, MADV_DONTNEED);
	MUST(uffd_start(&uffd, stress->addr, NPAGES,
			UFFDIO_REGISTER_MODE_MISSING, 0));
	uffd_serve(&uffd, 1);
	for (i = 0; i < 4; i++) {
		readers[i] = (struct reader){
			.stress = stress,
			.fd = stress->fds[i % 2],
			.random = i + 1,
		};
		pthread_create(&readers[i].thread, NULL, read_unlocked,
			       &readers[i]);
	}
	/* what was served is missing again */
	for (i = 0; i < 200; i++) {
		madvise(stress->addr + next_random(&random) % NPAGES * PAGE,
			PAGE, MADV_DONTNEED);
		usleep(1000);
	}
	for (i = 0; i < 4; i++)
		pthread_join(readers[i].thread, NULL);
	EXPECT_STREQ("", stress->failure);
	EXPECT_EQ(-1, wrong_page(stress->addr, NPAGES, 1));
	uffd_stop(&uffd);
}

ONEWALK_MAIN
