// SPDX-License-Identifier: GPL-2.0
/*
 * The mirrored process is gone, or going, and somebody else still has the
 * device open: every call says so, and nothing is lost.
 */
/* vm: not with memory=system: where there is device memory, there is more to lose */
#include "kselftest_harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "common.h"

#define NPAGES	64

/* What is said of a process that is gone: see the header of the ioctls. */
#define DEAD	(-ESRCH)

FIXTURE(dying) {
	int fd;		/* our own */
	int theirs;	/* mirrors the child */
	char *addr;	/* the same address here and there */
	pid_t child;
};

/* The child opens the device, says as what, and waits for the end. */
static void child_lives(FIXTURE_DATA(dying) *self, int pipe)
{
	int fd = dummy_open(0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || to_device(fd, self->addr, NPAGES / 2) != NPAGES / 2)
		_exit(1);
	if (write(pipe, &fd, sizeof(fd)) != sizeof(fd))
		_exit(1);
	for (;;)
		pause();
}

/* Once the child has said as what it has the device open, it is ours, too. */
static int share_device(pid_t child, int pipe)
{
	int fd, pidfd, ret;

	if (read(pipe, &fd, sizeof(fd)) != sizeof(fd))
		return -1;
	pidfd = syscall(SYS_pidfd_open, child, 0);
	ret = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	close(pidfd);
	return ret;
}

FIXTURE_SETUP(dying)
{
	int fds[2];

	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_pages(NPAGES);
	ASSERT_NE(NULL, self->addr);
	ASSERT_EQ(0, pipe(fds));
	self->child = fork();
	ASSERT_LE(0, self->child);
	if (!self->child) {
		fill(self->addr, NPAGES, 1);
		child_lives(self, fds[1]);
	}
	close(fds[1]);
	self->theirs = share_device(self->child, fds[0]);
	ASSERT_LE(0, self->theirs);
	close(fds[0]);
	fill(self->addr, NPAGES, 2);
}

static void end_child(FIXTURE_DATA(dying) *self)
{
	if (!self->child)
		return;
	kill(self->child, SIGKILL);
	waitpid(self->child, NULL, 0);
	self->child = 0;
}

FIXTURE_TEARDOWN(dying)
{
	end_child(self);
	close(self->theirs);
	EXPECT_TRUE(device_is_empty(self->fd));
	/* our own process and our own device are as they were */
	EXPECT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
	unmap_all();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

/* Through a borrowed device one works on the lender's memory. */
TEST_F(dying, device_of_a_living_process_serves_another)
{
	char *buf = malloc(NPAGES * PAGE);

	ASSERT_OK(dummy_read(self->theirs, self->addr, NPAGES, buf));
	EXPECT_EQ(-1, wrong_buffer(buf, self->addr, NPAGES, 1));
	EXPECT_EQ(NPAGES / 2, to_device(self->theirs,
					self->addr + NPAGES / 2 * PAGE,
					NPAGES / 2));
	ASSERT_OK(dummy_read(self->theirs, self->addr, NPAGES, buf));
	EXPECT_EQ(-1, wrong_buffer(buf, self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
	free(buf);
}

TEST_F(dying, process_takes_its_device_pages_with_it)
{
	end_child(self);
	EXPECT_TRUE(device_is_empty(self->fd));
}

/* Documented: what needs the process's memory says that there is none. */
TEST_F(dying, calls_for_a_dead_process_fail_and_lose_nothing)
{
	const unsigned long cmds[] = {
		ONEWALK_DUMMY_READ, ONEWALK_DUMMY_WRITE,
		ONEWALK_DUMMY_READ_UNLOCKED, ONEWALK_DUMMY_MIGRATE_TO_DEV,
		ONEWALK_DUMMY_MIGRATE_TO_SYS, ONEWALK_DUMMY_SNAPSHOT,
		ONEWALK_DUMMY_EXCLUSIVE,
	};
	char *buf = calloc(NPAGES, PAGE);
	unsigned int method;
	size_t i;

	end_child(self);
	for (i = 0; i < ARRAY_SIZE(cmds); i++)
		EXPECT_EQ(DEAD, dummy_cmd(self->theirs, cmds[i], self->addr,
					  NPAGES, buf, NULL))
			TH_LOG("command %zu", i);
	for (method = 0; method < ONEWALK_DUMMY_NR_METHODS; method++) {
		EXPECT_EQ(DEAD, dummy_migrate(self->theirs, self->addr, NPAGES,
					      method, 0, NULL, NULL, NULL));
		EXPECT_EQ(DEAD, dummy_migrate(self->theirs, self->addr, NPAGES,
					      method,
					      ONEWALK_DUMMY_MIGRATE_TO_SYSTEM,
					      NULL, NULL, NULL));
	}
	EXPECT_EQ(DEAD, dummy_report(self->theirs, self->addr, NPAGES,
				     (uint64_t *)buf, REQ_FAULT, false));
	EXPECT_EQ(DEAD, dummy_report(self->theirs, self->addr, NPAGES,
				     (uint64_t *)buf, 0, true));
	EXPECT_EQ(DEAD, dummy_pin(self->theirs, self->addr, NPAGES));
	free(buf);
}

/* What does not need it goes on working. */
TEST_F(dying, device_of_a_dead_process_still_tells_about_itself)
{
	struct onewalk_dummy_info info;
	uint8_t mapped[NPAGES];
	size_t i;

	end_child(self);
	ASSERT_OK(dummy_info(self->theirs, &info));
	EXPECT_EQ(0, info.mapped);
	memset(mapped, 0xff, sizeof(mapped));
	EXPECT_OK(dummy_inspect(self->theirs, self->addr, NPAGES, mapped));
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(0, mapped[i]);
	EXPECT_OK(ioctl(self->theirs, ONEWALK_DUMMY_UNPIN_ALL));
	EXPECT_OK(dummy_cmd(self->theirs, ONEWALK_DUMMY_RELEASE, NULL, 0, NULL,
			    NULL));
}

/* Pins outlive the process until the device is closed. */
TEST_F(dying, pins_of_a_dead_process_are_let_go_on_close)
{
	struct onewalk_dummy_info info;

	ASSERT_OK(dummy_pin(self->theirs, self->addr, NPAGES));
	end_child(self);
	ASSERT_OK(dummy_info(self->theirs, &info));
	EXPECT_EQ(NPAGES, info.pinned);
}

struct nagger {
	pthread_t thread;
	FIXTURE_DATA(dying) *self;
	unsigned int index;
	atomic_bool stop;
	int strange;
};

/*
 * Calls as fast as it can. Each call keeps the process's memory while it lasts,
 * so that several callers who never pause keep it for ever.
 */
static void *nag(void *arg)
{
	struct nagger *nagger = arg;
	FIXTURE_DATA(dying) *self = nagger->self;
	char *buf = malloc(NPAGES * PAGE);
	int ret = 0;

	while (!nagger->strange && ret != DEAD &&
	       !atomic_load(&nagger->stop)) {
		switch (nagger->index) {
		case 0:
			ret = dummy_read(self->theirs, self->addr, NPAGES, buf);
			break;
		case 1:
			ret = dummy_migrate(self->theirs, self->addr, NPAGES,
					    ONEWALK_DUMMY_RANGE,
					    ONEWALK_DUMMY_MIGRATE_FAULT, NULL,
					    NULL, NULL);
			break;
		case 2:
			ret = dummy_migrate(self->theirs, self->addr, NPAGES,
					    ONEWALK_DUMMY_SETUP,
					    ONEWALK_DUMMY_MIGRATE_TO_SYSTEM,
					    NULL, NULL, NULL);
			break;
		default:
			ret = dummy_report(self->theirs, self->addr, NPAGES,
					   (uint64_t *)buf, REQ_FAULT, false);
			break;
		}
		if (ret && ret != DEAD && ret != -EBUSY && ret != -EFAULT)
			nagger->strange = ret;
	}
	free(buf);
	return NULL;
}

TEST_F(dying, calls_during_the_death_of_the_process_end)
{
	struct nagger naggers[4];
	unsigned int i;

	for (i = 0; i < 4; i++) {
		naggers[i] = (struct nagger){ .self = self, .index = i };
		pthread_create(&naggers[i].thread, NULL, nag, &naggers[i]);
	}
	usleep(100000);
	end_child(self);
	usleep(100000);
	for (i = 0; i < 4; i++)
		atomic_store(&naggers[i].stop, true);
	for (i = 0; i < 4; i++) {
		pthread_join(naggers[i].thread, NULL);
		EXPECT_EQ(0, naggers[i].strange)
			TH_LOG("thread %u", i);
	}
	EXPECT_EQ(DEAD, to_device(self->theirs, self->addr, NPAGES));
	EXPECT_TRUE(device_is_empty(self->fd));
}

/* exec() makes a new address space; the old one's mirror sees it end. */
TEST_F(dying, exec_ends_the_mirror_of_the_old_memory)
{
	int fd, status;
	char number[16];
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		fd = dummy_open(0);
		fill(self->addr, NPAGES, 3);
		if (fd < 0 || to_device(fd, self->addr, NPAGES) != NPAGES)
			_exit(1);
		fd = dup(fd);	/* without O_CLOEXEC */
		snprintf(number, sizeof(number), "%d", fd);
		execl("/proc/self/exe", "dying", "--after-exec", number, NULL);
		_exit(1);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

/* This program again, with a device that mirrors what it was before. */
static int after_exec(int fd)
{
	char *buf = malloc(PAGE);
	struct onewalk_dummy_info info;

	if (dummy_info(fd, &info) || info.mapped)
		return 1;
	return dummy_read(fd, buf, 1, buf) == DEAD ? 0 : 1;
}

static void wait_for(const char *path)
{
	while (access(path, F_OK))
		usleep(10000);
}

/*
 * For load.sh: memory on the device, and the device closed. Says so by making
 * the file @there, and looks at the memory again when there is @unloaded.
 */
static int leave_pages(const char *there, const char *unloaded)
{
	char *addr = map_pages(NPAGES);
	int fd = dummy_open(0);

	fill(addr, NPAGES, 1);
	if (fd < 0 || to_device(fd, addr, NPAGES) != NPAGES)
		return 1;
	if (has_device_memory() && count_where(addr, NPAGES, SPECIAL) != NPAGES)
		return 1;
	close(fd);
	close(creat(there, 0600));
	wait_for(unloaded);
	if (count_where(addr, NPAGES, PRESENT) != NPAGES)
		return 1;
	return wrong_page(addr, NPAGES, 1) >= 0;
}

/*
 * For load.sh: how many of @npages find room on the device. Those that do not
 * stay, and all bytes are right.
 */
static int fill_device(size_t npages)
{
	char *addr = map_pages(npages);
	int fd = dummy_open(0);
	long moved;

	fill(addr, npages, 1);
	moved = fd < 0 ? -1 : to_device(fd, addr, npages);
	printf("%ld\n", moved);
	if (moved != (long)count_where(addr, npages, SPECIAL))
		return 1;
	if (wrong_on_device(fd, addr, npages, 1) >= 0 ||
	    wrong_page(addr, npages, 1) >= 0)
		return 1;
	if (to_system(fd, addr, npages) != moved)
		return 1;
	return wrong_page(addr, npages, 1) >= 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--fill-device"))
		return fill_device(strtoul(argv[2], NULL, 10));
	if (argc == 3 && !strcmp(argv[1], "--after-exec"))
		return after_exec(atoi(argv[2]));
	if (argc == 4 && !strcmp(argv[1], "--leave-pages"))
		return leave_pages(argv[2], argv[3]);
	return test_harness_run(argc, argv);
}
