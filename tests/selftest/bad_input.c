// SPDX-License-Identifier: GPL-2.0
/*
 * Bad input at every ioctl and at every exported call gets the documented
 * errno, and costs the device no page and the process no byte.
 */
/* vm: not with memory=coherent; vm: one kind of memory: nothing here depends on it */
#include "kselftest_harness.h"

#include <limits.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "common.h"

#define NPAGES	16

/* Everywhere: on the device, in swap, a hole, shared, and ordinary. */
FIXTURE(input) {
	int fd;
	char *addr;
	char *unmapped;
	uint64_t used;
	uint8_t kinds[NPAGES];
	struct peer peer;
};

static uint64_t used_pages(int fd)
{
	struct onewalk_dummy_info info;

	if (dummy_info(fd, &info))
		return ~0ULL;
	return info.pages_total - info.pages_free;
}

/* Data for a call, or from it. */
#define NBUFFER	64
static char *buffer;

/* Only a kernel with device-private memory has device-exclusive access. */
static bool no_exclusive;

FIXTURE_SETUP(input)
{
	char *addr;

	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	/* between guards, so that nothing runs into what is somebody else's */
	addr = map_pages(4 * NPAGES);
	ASSERT_NE(NULL, addr);
	mprotect(addr, 4 * NPAGES * PAGE, PROT_NONE);
	self->addr = addr + NPAGES * PAGE;
	mprotect(self->addr, NPAGES * PAGE, PROT_READ | PROT_WRITE);
	buffer = map_pages(NBUFFER + NPAGES);
	ASSERT_NE(NULL, buffer);
	mprotect(buffer + NBUFFER * PAGE, NPAGES * PAGE, PROT_NONE);
	no_exclusive = dummy_cmd(self->fd, ONEWALK_DUMMY_EXCLUSIVE, buffer, 1,
				 buffer + PAGE, NULL) == -EOPNOTSUPP;

	memset(self->kinds, KIND_PRESENT, NPAGES);
	fill(self->addr, NPAGES, 1);
	ASSERT_EQ(4, to_device(self->fd, self->addr, 4));
	MUST(swap_out(self->addr + 4 * PAGE, 2));
	madvise(self->addr + 6 * PAGE, 2 * PAGE, MADV_DONTNEED);
	self->kinds[6] = self->kinds[7] = KIND_HOLE;
	self->used = used_pages(self->fd);
	EXPECT_EQ(has_device_memory() ? 4 : 0, self->used);

	self->unmapped = addr + 3 * NPAGES * PAGE;
	munmap(self->unmapped, NPAGES * PAGE);
}

FIXTURE_TEARDOWN(input)
{
	/* no page is locked or lost, and all can still move and come back */
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
	EXPECT_EQ(self->used, used_pages(self->fd));
	EXPECT_EQ(-1, wrong_scattered(self->addr, NPAGES, self->kinds));
	EXPECT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(-1, wrong_scattered_on_device(self->fd, self->addr, NPAGES,
						self->kinds));
	EXPECT_EQ(-1, wrong_scattered(self->addr, NPAGES, self->kinds));
	unmap_all();
	restore_settings();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

/* --- ranges --- */

/* Each ioctl that takes a range, with everything else as it should be. */
struct call {
	const char *name;
	int (*call)(int fd, uint64_t addr, uint64_t npages);
	int unmapped;		/* what it says where nothing is mapped */
};

static int range_cmd(int fd, unsigned long request, uint64_t addr,
		     uint64_t npages)
{
	struct onewalk_dummy_cmd cmd = {
		.addr = addr,
		.npages = npages,
		.ptr = (uintptr_t)buffer,
	};

	return ioctl(fd, request, &cmd) ? -errno : 0;
}

#define RANGE_CMD(name) \
static int call_##name(int fd, uint64_t addr, uint64_t npages) \
{ \
	return range_cmd(fd, ONEWALK_DUMMY_##name, addr, npages); \
}
RANGE_CMD(READ)
RANGE_CMD(READ_UNLOCKED)
RANGE_CMD(WRITE)
RANGE_CMD(MIGRATE_TO_DEV)
RANGE_CMD(MIGRATE_TO_SYS)
RANGE_CMD(SNAPSHOT)
RANGE_CMD(EXCLUSIVE)
RANGE_CMD(CHECK_EXCLUSIVE)

static int migrate_by(int fd, uint64_t addr, uint64_t npages,
		      unsigned int method, unsigned int flags)
{
	struct onewalk_dummy_migrate migrate = {
		.addr = addr,
		.npages = npages,
		.method = method,
		.flags = flags,
	};

	return ioctl(fd, ONEWALK_DUMMY_MIGRATE, &migrate) ? -errno : 0;
}

#define MIGRATE_BY(name, flags) \
static int call_##name(int fd, uint64_t addr, uint64_t npages) \
{ \
	return migrate_by(fd, addr, npages, ONEWALK_DUMMY_##name, flags); \
}
MIGRATE_BY(RANGE, ONEWALK_DUMMY_MIGRATE_FAULT)
MIGRATE_BY(SETUP, ONEWALK_DUMMY_MIGRATE_FAULT)
MIGRATE_BY(FAULT_MIGRATE, ONEWALK_DUMMY_MIGRATE_FAULT)
MIGRATE_BY(MIGRATE_FAULT_MIGRATE, ONEWALK_DUMMY_MIGRATE_FAULT)
MIGRATE_BY(KERNEL_MIGRATE, 0)

static int call_RANGE_UNLOCKED(int fd, uint64_t addr, uint64_t npages)
{
	return migrate_by(fd, addr, npages, ONEWALK_DUMMY_RANGE,
			  ONEWALK_DUMMY_MIGRATE_FAULT |
			  ONEWALK_DUMMY_MIGRATE_UNLOCKED);
}

static int call_TO_SYSTEM(int fd, uint64_t addr, uint64_t npages)
{
	return migrate_by(fd, addr, npages, ONEWALK_DUMMY_RANGE,
			  ONEWALK_DUMMY_MIGRATE_TO_SYSTEM);
}

static int report_by(int fd, uint64_t addr, uint64_t npages, bool kernel,
		     bool unlocked)
{
	struct onewalk_dummy_report report = {
		.addr = addr,
		.npages = npages,
		.pfns = (uintptr_t)buffer,
		.default_flags = REQ_FAULT,
		.kernel = kernel,
		.unlocked = unlocked,
	};

	return ioctl(fd, ONEWALK_DUMMY_REPORT, &report) ? -errno : 0;
}

static int call_REPORT(int fd, uint64_t addr, uint64_t npages)
{
	return report_by(fd, addr, npages, false, false);
}

static int call_REPORT_KERNEL(int fd, uint64_t addr, uint64_t npages)
{
	return report_by(fd, addr, npages, true, false);
}

static int call_REPORT_UNLOCKED(int fd, uint64_t addr, uint64_t npages)
{
	return report_by(fd, addr, npages, false, true);
}

static int call_INSPECT(int fd, uint64_t addr, uint64_t npages)
{
	struct onewalk_dummy_buffer arg = {
		.addr = addr,
		.npages = npages,
		.ptr = (uintptr_t)buffer,
	};

	return ioctl(fd, ONEWALK_DUMMY_INSPECT, &arg) ? -errno : 0;
}

static int call_PIN(int fd, uint64_t addr, uint64_t npages)
{
	struct onewalk_dummy_pin pin = { .addr = addr, .npages = npages };
	int ret = ioctl(fd, ONEWALK_DUMMY_PIN, &pin) ? -errno : 0;

	ioctl(fd, ONEWALK_DUMMY_UNPIN_ALL);
	return ret;
}

static int call_PIN_LONGTERM(int fd, uint64_t addr, uint64_t npages)
{
	struct onewalk_dummy_pin_longterm pin = {
		.addr = addr,
		.npages = npages,
		.flags = ONEWALK_DUMMY_PIN_WRITE,
	};
	int ret = ioctl(fd, ONEWALK_DUMMY_PIN_LONGTERM, &pin) ? -errno : 0;

	ioctl(fd, ONEWALK_DUMMY_UNPIN_ALL);
	return ret;
}

#define CALL(name, unmapped)	{ #name, call_##name, unmapped }

static const struct call calls[] = {
	CALL(READ, -EFAULT),
	CALL(READ_UNLOCKED, -EFAULT),
	CALL(WRITE, -EFAULT),
	CALL(MIGRATE_TO_DEV, -EINVAL),
	CALL(MIGRATE_TO_SYS, -EINVAL),
	CALL(SNAPSHOT, 0),
	CALL(EXCLUSIVE, -EFAULT),
	CALL(CHECK_EXCLUSIVE, 0),
	CALL(RANGE, -EFAULT),
	CALL(RANGE_UNLOCKED, -EFAULT),
	CALL(SETUP, -EFAULT),
	CALL(FAULT_MIGRATE, -EFAULT),
	CALL(MIGRATE_FAULT_MIGRATE, -EFAULT),
	CALL(KERNEL_MIGRATE, -EFAULT),
	CALL(TO_SYSTEM, -EFAULT),
	CALL(REPORT, -EFAULT),
	CALL(REPORT_KERNEL, -EFAULT),
	CALL(REPORT_UNLOCKED, -EFAULT),
	CALL(INSPECT, 0),
	CALL(PIN, -EFAULT),
	CALL(PIN_LONGTERM, -EFAULT),
};

static int unmapped(const struct call *call)
{
	if (no_exclusive && call->call == call_EXCLUSIVE)
		return -EOPNOTSUPP;
	return call->unmapped;
}

static void all_fail(struct __test_metadata *_metadata, int fd, uint64_t addr,
		     uint64_t npages, int error)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		EXPECT_EQ(error, calls[i].call(fd, addr, npages))
			TH_LOG("%s of %llx pages at %llx", calls[i].name,
			       (unsigned long long)npages,
			       (unsigned long long)addr);
}

TEST_F(input, unaligned_address_is_einval)
{
	static const unsigned int offsets[] = { 1, 8, 2048, 4095 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++)
		all_fail(_metadata, self->fd, (uintptr_t)self->addr + offsets[i],
			 1, -EINVAL);
}

TEST_F(input, empty_range_is_einval)
{
	all_fail(_metadata, self->fd, (uintptr_t)self->addr, 0, -EINVAL);
}

/* Sizes whose bytes, or whose end, do not fit 64 bits. */
TEST_F(input, wrapping_range_is_einval)
{
	static const uint64_t sizes[] = {
		1ULL << 52, (1ULL << 52) + 1, 1ULL << 63, ~0ULL, (1ULL << 52) - 1,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		all_fail(_metadata, self->fd, (uintptr_t)self->addr, sizes[i],
			 -EINVAL);
	all_fail(_metadata, self->fd, -PAGE, 1, -EINVAL);
	all_fail(_metadata, self->fd, -PAGE, 2, -EINVAL);
}

/* A size that is no nonsense, but far more than there is. */
TEST_F(input, huge_range_fails)
{
	static const uint64_t sizes[] = { 1ULL << 24, 1ULL << 34 };
	size_t i, j;

	for (j = 0; j < ARRAY_SIZE(sizes); j++) {
		for (i = 0; i < ARRAY_SIZE(calls); i++) {
			int ret;

			/* a snapshot of what is not mapped is a valid wish */
			if (!calls[i].unmapped)
				continue;
			ret = calls[i].call(self->fd, (uintptr_t)self->addr +
					    8 * PAGE, sizes[j]);
			EXPECT_TRUE(ret == -EINVAL || ret == -ENOMEM ||
				    ret == unmapped(&calls[i]))
				TH_LOG("%s: %d", calls[i].name, ret);
		}
	}
	/* as far as some of them got, pages have moved to the device */
	self->used = used_pages(self->fd);
}

TEST_F(input, kernel_address_is_unmapped_memory)
{
	static const uint64_t addrs[] = {
		0xffff888000000000ULL, 0xffffffff81000000ULL, 1ULL << 56,
		1ULL << 47,
	};
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (j = 0; j < ARRAY_SIZE(addrs); j++)
			EXPECT_EQ(unmapped(&calls[i]),
				  calls[i].call(self->fd, addrs[j], 1))
				TH_LOG("%s at %llx", calls[i].name,
				       (unsigned long long)addrs[j]);
	}
}

/* The two migrations that test_hmm has say EINVAL, as they do there. */
TEST_F(input, unmapped_memory_is_efault)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		EXPECT_EQ(unmapped(&calls[i]),
			  calls[i].call(self->fd, (uintptr_t)self->unmapped, 1))
			TH_LOG("%s", calls[i].name);
		EXPECT_EQ(unmapped(&calls[i]), calls[i].call(self->fd, 0, 1))
			TH_LOG("%s of NULL", calls[i].name);
	}
}

TEST_F(input, inaccessible_memory_is_efault)
{
	char *page = map_pages(4);
	size_t i;

	fill(page, 4, 1);
	mprotect(page, 4 * PAGE, PROT_NONE);
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		/* nothing of it is on the device, so nothing is accessed */
		if (calls[i].call == call_TO_SYSTEM)
			continue;
		EXPECT_EQ(unmapped(&calls[i]),
			  calls[i].call(self->fd, (uintptr_t)page, 4))
			TH_LOG("%s", calls[i].name);
	}
	mprotect(page, 4 * PAGE, PROT_READ | PROT_WRITE);
	EXPECT_EQ(-1, wrong_page(page, 4, 1));
}

/* The device can find it, but nobody could copy it. */
TEST_F(input, secret_memory_is_efault)
{
	uintptr_t addr;
	void *page;

	SET_UP(map_secret(&page, 4));
	addr = (uintptr_t)page;
	fill(page, 4, 1);
	EXPECT_EQ(-EFAULT, call_READ(self->fd, addr, 4));
	EXPECT_EQ(-EFAULT, call_READ_UNLOCKED(self->fd, addr, 4));
	EXPECT_EQ(-EFAULT, call_WRITE(self->fd, addr, 4));
	EXPECT_EQ(-1, wrong_page(page, 4, 1));
}

TEST_F(input, what_lies_before_bad_memory_is_read)
{
	char *page = map_pages(4);

	fill(page, 4, 1);
	memset(buffer, 0, 4 * PAGE);
	EXPECT_EQ(0, call_READ(self->fd, (uintptr_t)page, 2));
	mprotect(page + 2 * PAGE, PAGE, PROT_NONE);
	memset(buffer, 0, 4 * PAGE);
	EXPECT_EQ(-EFAULT, call_READ(self->fd, (uintptr_t)page, 4));
	EXPECT_EQ(0, memcmp(buffer, page, 2 * PAGE));
}

TEST_F(input, read_only_memory_cannot_be_written)
{
	char *page = map_pages(4);

	fill(page, 4, 1);
	mprotect(page, 4 * PAGE, PROT_READ);
	memset(buffer, 0x77, NBUFFER * PAGE);
	EXPECT_EQ(-EPERM, call_WRITE(self->fd, (uintptr_t)page, 4));
	EXPECT_EQ(-EPERM, migrate_by(self->fd, (uintptr_t)page, 4,
				     ONEWALK_DUMMY_RANGE,
				     ONEWALK_DUMMY_MIGRATE_FAULT |
				     ONEWALK_DUMMY_MIGRATE_WRITE));
	EXPECT_EQ(-1, wrong_page(page, 4, 1));

	/* also once it is on the device */
	ASSERT_EQ(4, to_device(self->fd, page, 4));
	EXPECT_EQ(-EPERM, call_WRITE(self->fd, (uintptr_t)page, 4));
	EXPECT_EQ(-1, wrong_page(page, 4, 1));
}

/* --- pointers --- */

static const unsigned long with_argument[] = {
	ONEWALK_DUMMY_READ, ONEWALK_DUMMY_WRITE, ONEWALK_DUMMY_MIGRATE_TO_DEV,
	ONEWALK_DUMMY_MIGRATE_TO_SYS, ONEWALK_DUMMY_SNAPSHOT,
	ONEWALK_DUMMY_EXCLUSIVE, ONEWALK_DUMMY_CHECK_EXCLUSIVE,
	ONEWALK_DUMMY_RELEASE, ONEWALK_DUMMY_FLAGS,
	ONEWALK_DUMMY_READ_UNLOCKED, ONEWALK_DUMMY_MIGRATE,
	ONEWALK_DUMMY_REPORT, ONEWALK_DUMMY_INSPECT, ONEWALK_DUMMY_INFO,
	ONEWALK_DUMMY_PIN, ONEWALK_DUMMY_CALL, ONEWALK_DUMMY_LOCK,
	ONEWALK_DUMMY_PEERS, ONEWALK_DUMMY_PIN_LONGTERM,
};

TEST_F(input, argument_that_cannot_be_read_is_efault)
{
	char *end = buffer + NBUFFER * PAGE;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(with_argument); i++) {
		const unsigned long request = with_argument[i];

		EXPECT_EQ(-1, ioctl(self->fd, request, NULL));
		EXPECT_EQ(EFAULT, errno)
			TH_LOG("request %lx", request);
		EXPECT_EQ(-1, ioctl(self->fd, request, self->unmapped));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(-1, ioctl(self->fd, request, -PAGE));
		EXPECT_EQ(EFAULT, errno);
		/* its end lies behind the end of the mapping */
		if (_IOC_SIZE(request) > 8) {
			EXPECT_EQ(-1, ioctl(self->fd, request, end - 8));
			EXPECT_EQ(EFAULT, errno)
				TH_LOG("request %lx", request);
		}
	}
}

/* What was done stays done; the answer had no place to go. */
TEST_F(input, argument_that_cannot_be_written_is_efault)
{
	struct onewalk_dummy_migrate *migrate = map_aligned(1, PAGE);

	*migrate = (struct onewalk_dummy_migrate){
		.addr = (uintptr_t)self->addr,
		.npages = NPAGES,
		.flags = ONEWALK_DUMMY_MIGRATE_FAULT,
	};
	mprotect(migrate, PAGE, PROT_READ);
	EXPECT_EQ(-1, ioctl(self->fd, ONEWALK_DUMMY_MIGRATE, migrate));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, ioctl(self->fd, ONEWALK_DUMMY_INFO, migrate));
	EXPECT_EQ(EFAULT, errno);
	self->used = used_pages(self->fd);
}

TEST_F(input, bad_buffers_are_efault)
{
	void *bad[] = { NULL, self->unmapped, (void *)-PAGE,
			(void *)0xffff888000000000ULL };
	const void *addr = self->addr + 8 * PAGE;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EFAULT, dummy_read(self->fd, addr, 4, bad[i]));
		EXPECT_EQ(-EFAULT, dummy_write(self->fd, (void *)addr, 4,
					       bad[i]));
		EXPECT_EQ(-EFAULT, dummy_cmd(self->fd, ONEWALK_DUMMY_SNAPSHOT,
					     addr, 4, bad[i], NULL));
		EXPECT_EQ(-EFAULT, dummy_cmd(self->fd,
					     ONEWALK_DUMMY_READ_UNLOCKED, addr,
					     4, bad[i], NULL));
		EXPECT_EQ(-EFAULT, dummy_cmd(self->fd,
					     ONEWALK_DUMMY_MIGRATE_TO_DEV, addr,
					     4, bad[i], NULL));
		EXPECT_EQ(-EFAULT, dummy_inspect(self->fd, addr, 4, bad[i]));
		EXPECT_EQ(-EFAULT, dummy_report(self->fd, addr, 4, bad[i], 0,
						false));
		EXPECT_EQ(-EFAULT, dummy_report(self->fd, addr, 4, bad[i], 0,
						true));
		if (!bad[i])
			continue;
		EXPECT_EQ(-EFAULT, dummy_migrate(self->fd, addr, 4,
						 ONEWALK_DUMMY_RANGE, 0,
						 bad[i], NULL, NULL));
		EXPECT_EQ(-EFAULT, dummy_migrate(self->fd, addr, 4,
						 ONEWALK_DUMMY_RANGE, 0, NULL,
						 bad[i], NULL));
	}
	self->used = used_pages(self->fd);
}

/* The answer goes into the very pages that are on the move. */
TEST_F(input, buffer_inside_of_the_range_is_no_deadlock)
{
	char *page = map_pages(8);
	int ret;

	fill(page, 8, 1);
	ret = dummy_migrate(self->fd, page, 8, ONEWALK_DUMMY_RANGE,
			    ONEWALK_DUMMY_MIGRATE_FAULT, (uint8_t *)page, NULL,
			    NULL);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(ONEWALK_STATUS_MIGRATING, page[7]);
	EXPECT_EQ(-1, wrong_page(page + PAGE, 7, 1));

	fill(page, 8, 1);
	ASSERT_EQ(8, to_device(self->fd, page, 8));
	EXPECT_OK(dummy_read(self->fd, page, 8, page));
	EXPECT_EQ(-1, wrong_page(page, 8, 1));
	ASSERT_EQ(8, to_device(self->fd, page, 8));
	EXPECT_OK(dummy_write(self->fd, page, 8, page));
	EXPECT_EQ(-1, wrong_page(page, 8, 1));

	ASSERT_EQ(8, to_device(self->fd, page, 8));
	EXPECT_OK(dummy_cmd(self->fd, ONEWALK_DUMMY_SNAPSHOT, page, 8, page,
			    NULL));
	EXPECT_EQ(-1, wrong_page(page + PAGE, 7, 1));
}

/* --- numbers --- */

TEST_F(input, unknown_request_is_enotty)
{
	char argument[256] = "";
	unsigned int nr;

	for (nr = 0x0a; nr < 0x40; nr++) {
		EXPECT_EQ(-1, ioctl(self->fd, _IOC(_IOC_READ | _IOC_WRITE, 'H',
						   nr, 40), argument));
		EXPECT_EQ(ENOTTY, errno);
	}
	/* a number of ours with the size of another */
	EXPECT_EQ(-1, ioctl(self->fd, _IOC(_IOC_READ | _IOC_WRITE, 'H', 0x40,
					   8), argument));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->fd, 0, argument));
	EXPECT_EQ(ENOTTY, errno);
}

TEST_F(input, unknown_method_or_flag_is_einval)
{
	const uint64_t addr = (uintptr_t)self->addr;
	unsigned int bit;

	EXPECT_EQ(-EINVAL, migrate_by(self->fd, addr, NPAGES,
				      ONEWALK_DUMMY_NR_METHODS, 0));
	EXPECT_EQ(-EINVAL, migrate_by(self->fd, addr, NPAGES, UINT_MAX, 0));
	for (bit = 9; bit < 32; bit++)
		EXPECT_EQ(-EINVAL, migrate_by(self->fd, addr, NPAGES,
					      ONEWALK_DUMMY_RANGE, 1U << bit));
	EXPECT_EQ(-EINVAL, migrate_by(self->fd, addr, NPAGES,
				      ONEWALK_DUMMY_RANGE,
				      ONEWALK_DUMMY_MIGRATE_WRITE));
	EXPECT_EQ(-EINVAL, dummy_cmd(self->fd, ONEWALK_DUMMY_FLAGS, NULL, ~0UL,
				     NULL, NULL));
}

TEST_F(input, requests_that_contradict_are_einval)
{
	struct onewalk_dummy_migrate result = {};
	uint64_t pfns[NPAGES] = {};

	/* only one method takes requests page by page */
	EXPECT_EQ(-EINVAL, dummy_migrate(self->fd, self->addr, NPAGES,
					 ONEWALK_DUMMY_SETUP, 0, NULL, pfns,
					 NULL));
	EXPECT_EQ(-EINVAL, migrate_by(self->fd, (uintptr_t)self->addr, NPAGES,
				      ONEWALK_DUMMY_SETUP,
				      ONEWALK_DUMMY_MIGRATE_UNLOCKED));
	result.nid = -1;
	EXPECT_EQ(-EINVAL, dummy_migrate(self->fd, self->addr, NPAGES,
					 ONEWALK_DUMMY_RANGE,
					 ONEWALK_DUMMY_MIGRATE_SKIP_NODE, NULL,
					 NULL, &result));
	result.nid = INT_MAX;
	EXPECT_EQ(-EINVAL, dummy_migrate(self->fd, self->addr, NPAGES,
					 ONEWALK_DUMMY_RANGE,
					 ONEWALK_DUMMY_MIGRATE_SKIP_NODE, NULL,
					 NULL, &result));
	/* a report cannot migrate */
	EXPECT_EQ(-EINVAL, dummy_report(self->fd, self->addr, NPAGES, pfns,
					REQ_MIGRATE, false));
	EXPECT_EQ(-EINVAL, dummy_report(self->fd, self->addr, NPAGES, pfns, 1,
					false));
}

/* What a device node does not do, it refuses. */
TEST_F(input, other_file_operations_fail)
{
	char buf[8];

	EXPECT_EQ(-1, read(self->fd, buf, sizeof(buf)));
	EXPECT_EQ(-1, write(self->fd, buf, sizeof(buf)));
	EXPECT_EQ(-1, pread(self->fd, buf, sizeof(buf), -1));
}

TEST_F(input, locking_a_page_for_too_long_is_einval)
{
	EXPECT_EQ(-EINVAL, dummy_lock(self->fd, self->addr,
				      ONEWALK_DUMMY_LOCK_MAX_MSEC + 1));
}

TEST_F(input, pinning_twice_and_unpinning_without_pins_is_harmless)
{
	struct onewalk_dummy_info info;

	EXPECT_OK(ioctl(self->fd, ONEWALK_DUMMY_UNPIN_ALL));
	EXPECT_OK(dummy_pin(self->fd, self->addr + 8 * PAGE, 8));
	EXPECT_OK(dummy_pin(self->fd, self->addr + 8 * PAGE, 8));
	ASSERT_OK(dummy_info(self->fd, &info));
	EXPECT_EQ(16, info.pinned);
	EXPECT_OK(ioctl(self->fd, ONEWALK_DUMMY_UNPIN_ALL));
	EXPECT_OK(ioctl(self->fd, ONEWALK_DUMMY_UNPIN_ALL));
	ASSERT_OK(dummy_info(self->fd, &info));
	EXPECT_EQ(0, info.pinned);
}

/* --- the exported calls --- */

FIXTURE(exported) {
	int fd;
	char *addr;
	char *hole;		/* nothing is mapped here */
	struct uffd uffd;
	struct onewalk_dummy_call call;
};

FIXTURE_VARIANT(exported) {
	unsigned int function;
};

FIXTURE_VARIANT_ADD(exported, range_fault) {
	.function = ONEWALK_DUMMY_CALL_RANGE_FAULT,
};

FIXTURE_VARIANT_ADD(exported, range_fault_unlocked) {
	.function = ONEWALK_DUMMY_CALL_RANGE_FAULT_UNLOCKED,
};

FIXTURE_VARIANT_ADD(exported, migrate_setup) {
	.function = ONEWALK_DUMMY_CALL_MIGRATE_SETUP,
};

static bool is_setup(const FIXTURE_VARIANT(exported) *variant)
{
	return variant->function == ONEWALK_DUMMY_CALL_MIGRATE_SETUP;
}

/* two VMAs of NPAGES, and as much of nothing behind them */
FIXTURE_SETUP(exported)
{
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);
	self->addr = map_pages(3 * NPAGES);
	ASSERT_NE(NULL, self->addr);
	self->hole = self->addr + 2 * NPAGES * PAGE;
	munmap(self->hole, NPAGES * PAGE);
	fill(self->addr, 2 * NPAGES, 1);
	/* locked, so that the two do not merge */
	mlock(self->addr + NPAGES * PAGE, NPAGES * PAGE);

	self->call = (struct onewalk_dummy_call){
		.function = variant->function,
		.start = (uintptr_t)self->addr,
		.end = (uintptr_t)self->addr + NPAGES * PAGE,
		.vma_addr = (uintptr_t)self->addr,
		.default_flags = REQ_FAULT | REQ_MIGRATE,
		.migrate_flags = SELECT_SYSTEM,
	};
}

FIXTURE_TEARDOWN(exported)
{
	uffd_stop(&self->uffd);
	EXPECT_EQ(0, forgotten_pages(self->addr, 2 * NPAGES));
	EXPECT_EQ(-1, wrong_page(self->addr, 2 * NPAGES, 1));
	EXPECT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(-1, wrong_page(self->addr, 2 * NPAGES, 1));
	unmap_all();
	restore_settings();
	EXPECT_TRUE(device_is_empty(self->fd));
	close(self->fd);
}

/* What the call returned; a failed ioctl is no answer. */
static int call(FIXTURE_DATA(exported) *self)
{
	struct onewalk_dummy_call *arg = &self->call;

	arg->result = INT_MIN;
	arg->npages = ~0ULL;
	if (ioctl(self->fd, ONEWALK_DUMMY_CALL, arg)) {
		note("ONEWALK_DUMMY_CALL: %s", strerror(errno));
		return INT_MAX;
	}
	return arg->result;
}

/* After an error nothing is prepared, and a range setup finds nothing. */
static void expect_error(struct __test_metadata *_metadata,
			 FIXTURE_DATA(exported) *self, int error)
{
	EXPECT_EQ(error, call(self));
	EXPECT_EQ(0, self->call.npages);
	self->call.null = 0;
	EXPECT_EQ(NPAGES, count_where(self->addr, NPAGES, PRESENT));
}

TEST_F(exported, good_call_gives_back_what_it_prepared)
{
	uint64_t pfn = pfn_of(self->addr);
	int i;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, call(self));
		ASSERT_EQ(NPAGES, self->call.npages);
	}
	EXPECT_EQ(pfn, pfn_of(self->addr));
}

/* A device gets nothing that nobody may read; what it has must come back. */
TEST_F(exported, unreadable_memory_is_prepared_only_on_its_way_back)
{
	static const unsigned long selections[] = {
		0, SELECT_SYSTEM, SELECT_DEVICE, SELECT_SYSTEM | SELECT_DEVICE,
	};
	const size_t half = NPAGES / 2, quarter = NPAGES / 4;
	size_t i, there = 0;

	if (has_device_memory())
		there = to_device(self->fd, self->addr, half);
	madvise(self->addr + (half + quarter) * PAGE, quarter * PAGE,
		MADV_DONTNEED);
	mprotect(self->addr, NPAGES * PAGE, PROT_NONE);
	self->call.default_flags = REQ_MIGRATE;
	for (i = 0; i < ARRAY_SIZE(selections); i++) {
		self->call.migrate_flags = selections[i];
		EXPECT_EQ(0, call(self));
		EXPECT_EQ(is_setup(variant) &&
			  (selections[i] & SELECT_DEVICE) ? there : 0,
			  self->call.cpages);
	}
	mprotect(self->addr, NPAGES * PAGE, PROT_READ | PROT_WRITE);
	fill(self->addr + (half + quarter) * PAGE, quarter, 1);
}

TEST_F(exported, null_argument_is_einval)
{
	self->call.null = ONEWALK_DUMMY_NULL_ARGUMENT;
	expect_error(_metadata, self, -EINVAL);
}

TEST_F(exported, null_notifier_is_einval_where_one_is_needed)
{
	self->call.null = ONEWALK_DUMMY_NULL_NOTIFIER;
	if (is_setup(variant)) {
		EXPECT_EQ(0, call(self));
	} else {
		expect_error(_metadata, self, -EINVAL);
	}
}

TEST_F(exported, null_array_is_einval)
{
	self->call.null = ONEWALK_DUMMY_NULL_SRC;
	expect_error(_metadata, self, -EINVAL);
	self->call.null = ONEWALK_DUMMY_NULL_DST;
	expect_error(_metadata, self, -EINVAL);
	if (is_setup(variant))
		return;
	self->call.null = ONEWALK_DUMMY_NULL_PFNS;
	expect_error(_metadata, self, -EINVAL);
}

TEST_F(exported, null_migrate_is_einval_when_it_is_requested)
{
	if (is_setup(variant)) {
		self->call.null = ONEWALK_DUMMY_NULL_VMA;
		expect_error(_metadata, self, -EINVAL);
		return;
	}
	self->call.null = ONEWALK_DUMMY_NULL_MIGRATE;
	expect_error(_metadata, self, -EINVAL);

	/* and harmless when it is not */
	self->call.null = ONEWALK_DUMMY_NULL_MIGRATE;
	self->call.default_flags = REQ_FAULT;
	EXPECT_EQ(0, call(self));
}

TEST_F(exported, bad_range_is_einval)
{
	const uint64_t start = self->call.start, end = self->call.end;
	const struct { uint64_t start, end; } bad[] = {
		{ start + 1, end }, { start + 2048, end }, { start, end - 1 },
		{ start, end + 8 }, { start + 4095, end + 4095 },
		{ start, start }, { end, start }, { start, 0 }, { 0, 0 },
		{ -PAGE, 0 }, { -PAGE, PAGE }, { start, start + 1 },
		{ ~0ULL, ~0ULL }, { ~0ULL, 0 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		self->call.start = bad[i].start;
		self->call.end = bad[i].end;
		expect_error(_metadata, self, -EINVAL);
		if (_metadata->exit_code) {
			TH_LOG("from %llx to %llx",
			       (unsigned long long)bad[i].start,
			       (unsigned long long)bad[i].end);
			return;
		}
	}
}

TEST_F(exported, range_of_two_vmas_cannot_migrate)
{
	const int error = is_setup(variant) ? -EINVAL : -ERANGE;

	self->call.end += PAGE;
	expect_error(_metadata, self, error);
	self->call.start = self->call.end - 2 * PAGE;
	expect_error(_metadata, self, error);

	/* but two VMAs are reported, and faulted, like one */
	if (is_setup(variant))
		return;
	self->call.default_flags = REQ_FAULT;
	self->call.null = ONEWALK_DUMMY_NULL_MIGRATE;
	EXPECT_EQ(0, call(self));
}

TEST_F(exported, range_into_nothing_cannot_migrate)
{
	const int error = is_setup(variant) ? -EINVAL : -ERANGE;

	self->call.start = (uintptr_t)self->hole - PAGE;
	self->call.end = (uintptr_t)self->hole + PAGE;
	self->call.vma_addr = self->call.start;
	expect_error(_metadata, self, error);
}

TEST_F(exported, unmapped_range_is_efault_when_it_is_faulted)
{
	if (is_setup(variant)) {
		/* a VMA, but not the one of the range */
		self->call.start = (uintptr_t)self->hole;
		self->call.end = (uintptr_t)self->hole + PAGE;
		expect_error(_metadata, self, -EINVAL);
		return;
	}
	self->call.start = (uintptr_t)self->hole;
	self->call.end = (uintptr_t)self->hole + 4 * PAGE;
	expect_error(_metadata, self, -EFAULT);
	self->call.null = ONEWALK_DUMMY_NULL_MIGRATE;
	self->call.default_flags = REQ_FAULT;
	expect_error(_metadata, self, -EFAULT);

	/* without a fault there is nothing to fail */
	self->call.default_flags = REQ_MIGRATE;
	EXPECT_EQ(0, call(self));
	EXPECT_EQ(0, self->call.npages);
}

TEST_F(exported, unknown_flags_are_einval)
{
	int bit;

	for (bit = 16; bit < 64; bit++) {
		self->call.migrate_flags = SELECT_SYSTEM | 1ULL << bit;
		expect_error(_metadata, self, -EINVAL);
	}
	self->call.migrate_flags = SELECT_SYSTEM;
	if (is_setup(variant))
		return;
	for (bit = 0; bit < 64; bit++) {
		if (1ULL << bit & (REQ_FAULT | REQ_WRITE | REQ_MIGRATE))
			continue;
		self->call.default_flags = REQ_FAULT | REQ_MIGRATE |
					   1ULL << bit;
		expect_error(_metadata, self, -EINVAL);
	}
}

/* As in hmm_range_fault(): who does not ask for a fault gets none. */
TEST_F(exported, write_without_fault_asks_for_nothing)
{
	mprotect(self->addr, NPAGES * PAGE, PROT_READ);
	self->call.default_flags = REQ_WRITE | REQ_MIGRATE;
	EXPECT_EQ(0, call(self));
	EXPECT_EQ(NPAGES, self->call.npages);
	mprotect(self->addr, NPAGES * PAGE, PROT_READ | PROT_WRITE);
}

TEST_F(exported, ordinary_fault_page_is_einval)
{
	self->call.null = ONEWALK_DUMMY_FAULT_PAGE;
	expect_error(_metadata, self, -EINVAL);
}

TEST_F(exported, peers_nobody_can_be_asked_about_are_einval)
{
	self->call.null = ONEWALK_DUMMY_MUTE_PEERS;
	expect_error(_metadata, self, -EINVAL);
}

TEST_F(exported, stale_sequence_is_ebusy)
{
	self->call.null = ONEWALK_DUMMY_STALE_SEQ;
	if (variant->function == ONEWALK_DUMMY_CALL_RANGE_FAULT) {
		expect_error(_metadata, self, -EBUSY);
	} else {
		/* it takes a fresh one itself, or looks at none */
		EXPECT_EQ(0, call(self));
	}
}

/* onewalk_migrate_setup() does not ask for write, and so has no such error. */
TEST_F(exported, read_only_vma_cannot_be_written)
{
	mprotect(self->addr, NPAGES * PAGE, PROT_READ);
	self->call.default_flags = REQ_FAULT | REQ_WRITE | REQ_MIGRATE;
	if (is_setup(variant)) {
		EXPECT_EQ(0, call(self));
		EXPECT_EQ(NPAGES, self->call.npages);
	} else {
		expect_error(_metadata, self, -EPERM);
	}
	mprotect(self->addr, NPAGES * PAGE, PROT_READ | PROT_WRITE);
}

TEST_F(exported, inaccessible_vma_is_efault)
{
	mprotect(self->addr, NPAGES * PAGE, PROT_NONE);
	self->call.migrate_flags = SELECT_SYSTEM | MIGRATE_FAULT;
	expect_error(_metadata, self, -EFAULT);
	mprotect(self->addr, NPAGES * PAGE, PROT_READ | PROT_WRITE);
}

TEST_F(exported, special_vma_never_migrates)
{
	const char *(*makers[])(void **, size_t *) = {
		map_vvar, map_vdso, map_io,
	};
	void *addr;
	size_t npages, i;

	for (i = 0; i < ARRAY_SIZE(makers); i++) {
		if (makers[i](&addr, &npages))
			continue;
		self->call.start = (uintptr_t)addr;
		self->call.end = (uintptr_t)addr + PAGE;
		self->call.vma_addr = (uintptr_t)addr;
		self->call.default_flags = REQ_MIGRATE;
		if (is_setup(variant)) {
			expect_error(_metadata, self, -EINVAL);
		} else {
			EXPECT_EQ(0, call(self));
		}
	}
	MUST(map_hugetlb(&addr, 512));
	self->call.start = (uintptr_t)addr;
	self->call.end = (uintptr_t)addr + PAGE;
	self->call.vma_addr = (uintptr_t)addr;
	if (is_setup(variant)) {
		expect_error(_metadata, self, -EINVAL);
	} else {
		EXPECT_EQ(0, call(self));
	}
}

/*
 * Pages on both sides of one that cannot be had; a device file's own mapping
 * could not provide it, a userfaultfd that nobody serves does.
 */
TEST_F(exported, fault_that_fails_leaves_nothing_prepared)
{
	int i;

	madvise(self->addr + 9 * PAGE, PAGE, MADV_DONTNEED);
	MUST(uffd_start(&self->uffd, self->addr, NPAGES,
			UFFDIO_REGISTER_MODE_MISSING, 0));
	self->call.migrate_flags = SELECT_SYSTEM | MIGRATE_FAULT;
	if (variant->function == ONEWALK_DUMMY_CALL_RANGE_FAULT_UNLOCKED) {
		/* this one can wait for it */
		uffd_serve(&self->uffd, 1);
		EXPECT_EQ(0, call(self));
		EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
		return;
	}
	for (i = 0; i < 20; i++) {
		EXPECT_EQ(-EFAULT, call(self));
		EXPECT_EQ(0, self->call.npages);
	}
	EXPECT_EQ(NPAGES - 1, count_where(self->addr, NPAGES, PRESENT));
	uffd_serve(&self->uffd, 1);
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* Half the address space: the device says no before it tries. */
TEST_F(exported, gigantic_range_is_refused)
{
	self->call.start = PAGE;
	self->call.end = 1ULL << 46;
	EXPECT_NE(0, call(self));
	self->call.start = 0;
	self->call.end = -PAGE;
	EXPECT_NE(0, call(self));
}

TEST_F(exported, unknown_function_is_einval)
{
	self->call.function = UINT_MAX;
	EXPECT_EQ(-1, ioctl(self->fd, ONEWALK_DUMMY_CALL, &self->call));
	EXPECT_EQ(EINVAL, errno);
	self->call.function = variant->function;
	self->call.null = 1U << 31;
	EXPECT_EQ(-1, ioctl(self->fd, ONEWALK_DUMMY_CALL, &self->call));
	EXPECT_EQ(EINVAL, errno);
}

ONEWALK_MAIN
