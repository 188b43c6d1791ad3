// SPDX-License-Identifier: GPL-2.0
/*
 * A page that is mapped while it is still being written to swap. Apart from the
 * other tests, because there must be no other swap.
 */
/* vm: not with memory=coherent; vm: one kind of memory: nothing here depends on it */
#include "kselftest_harness.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/swap.h>

#include "common.h"

#define NPAGES	8

/*
 * Swap on a loop device, whose file lies in a file system that can be frozen:
 * from then on what is written to swap stays under writeback, until it is
 * thawed. (Once collected, such a page would run into a BUG_ON() of the kernel.)
 */
FIXTURE(writeback) {
	int fd, frozen;
	char *addr;
	char loops[2][32];
	uint8_t status[NPAGES];
};

#define DISK	"/tmp/onewalk-disk"
#define MOUNT	"/tmp/onewalk-mount"

static const char *run(const char *command)
{
	return system(command) ? "a command of busybox failed" : NULL;
}

static const char *attach(char *loop, const char *file)
{
	char command[128];
	FILE *out;

	snprintf(command, sizeof(command), "losetup -f");
	out = popen(command, "r");
	if (!out || !fgets(loop, 32, out))
		return "losetup -f";
	pclose(out);
	loop[strcspn(loop, "\n")] = '\0';
	snprintf(command, sizeof(command), "losetup %s %s", loop, file);
	return system(command) ? "losetup" : NULL;
}

static const char *frozen_swap(FIXTURE_DATA(writeback) *self)
{
	char command[128];
	const char *why;

	why = run("modprobe loop; modprobe ext4; "
		  "dd if=/dev/zero of=" DISK " bs=1M count=48 2>/dev/null && "
		  "mke2fs -F " DISK " >/dev/null && mkdir -p " MOUNT);
	why = why ?: attach(self->loops[0], DISK);
	if (why)
		return why;
	if (mount(self->loops[0], MOUNT, "ext4", 0, NULL))
		return "mounting ext4";
	why = run("dd if=/dev/zero of=" MOUNT "/swap bs=1M count=32 2>/dev/null"
		  " && sync");
	why = why ?: attach(self->loops[1], MOUNT "/swap");
	if (why)
		return why;
	snprintf(command, sizeof(command), "mkswap %s >/dev/null",
		 self->loops[1]);
	why = run(command);
	if (why)
		return why;
	if (swapon(self->loops[1], 0))
		return "swapon of a loop device";
	self->frozen = open(MOUNT, O_RDONLY | O_CLOEXEC);
	return ioctl(self->frozen, FIFREEZE, 0) ? "FIFREEZE" : NULL;
}

FIXTURE_SETUP(writeback)
{
	self->frozen = -1;
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_pages(NPAGES);
	ASSERT_NE(NULL, self->addr);
	fill(self->addr, NPAGES, 1);
}

FIXTURE_TEARDOWN(writeback)
{
	char command[128];

	if (self->frozen >= 0) {
		ioctl(self->frozen, FITHAW, 0);
		close(self->frozen);
	}
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	unmap_all();
	if (self->loops[1][0])
		swapoff(self->loops[1]);
	snprintf(command, sizeof(command), "losetup -d %s", self->loops[1]);
	if (self->loops[1][0])
		run(command);
	umount(MOUNT);
	snprintf(command, sizeof(command), "losetup -d %s", self->loops[0]);
	if (self->loops[0][0])
		run(command);
	unlink(DISK);
	rmdir(MOUNT);
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

TEST_F(writeback, is_a_reason_to_stay_until_it_is_over)
{
	struct onewalk_dummy_migrate result = {};
	size_t i, present = 0;
	int try;

	MUST(frozen_swap(self));
	/* on their way out, and then mapped again while they still are */
	for (try = 0; try < 100 && present < 4; try++) {
		forgotten_pages(self->addr, 1);
		madvise(self->addr, 4 * PAGE, MADV_PAGEOUT);
		EXPECT_EQ(-1, wrong_page(self->addr, 4, 1));
		for (present = 0, i = 0; i < 4; i++)
			present += page_flag(self->addr + i * PAGE,
					     KPF_WRITEBACK);
	}
	ASSERT_EQ(4, present);

	ASSERT_OK(dummy_migrate(self->fd, self->addr, 8, ONEWALK_DUMMY_RANGE,
				ONEWALK_DUMMY_MIGRATE_FAULT, self->status,
				NULL, &result));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(i < 4 ? ONEWALK_STATUS_WRITEBACK :
				  ONEWALK_STATUS_MIGRATING, self->status[i])
			TH_LOG("page %zu", i);
	EXPECT_EQ(4, result.moved);

	ioctl(self->frozen, FITHAW, 0);
	close(self->frozen);
	self->frozen = -1;
	for (try = 0; try < 1000 && page_flag(self->addr, KPF_WRITEBACK); try++)
		usleep(10000);
	for (try = 0; try < 100; try++) {
		ASSERT_OK(dummy_migrate(self->fd, self->addr, 4,
					ONEWALK_DUMMY_RANGE,
					ONEWALK_DUMMY_MIGRATE_FAULT,
					self->status, NULL, &result));
		if (result.moved == 4)
			break;
		usleep(10000);
	}
	EXPECT_EQ(4, result.moved);
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, 1));
}

TEST_HARNESS_MAIN
