// SPDX-License-Identifier: GPL-2.0
/*
 * Pinning for long: pages of coherent device memory leave it first, together, and
 * what comes of it is what the kernel's own way makes of it.
 *
 * engines: both
 */
/* vm: --in-turn */
/* vm: not with memory=system: it is on coherent devices, beside which system memory is nothing new */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "common.h"

#define NPAGES	16
#define SIZE	(NPAGES * PAGE)
#define WRITE	ONEWALK_DUMMY_PIN_WRITE
#define ALLOC	ONEWALK_DUMMY_PIN_ALLOC

static int pin_limited(int fd, const void *addr, size_t npages,
		       unsigned int flags, unsigned int limit, uint64_t *moved)
{
	struct onewalk_dummy_pin_longterm pin = {
		.addr = (uintptr_t)addr,
		.npages = npages,
		.flags = flags,
		.limit = limit,
		.moved = ~0ULL,
	};
	int ret = ioctl(fd, ONEWALK_DUMMY_PIN_LONGTERM, &pin) ? -errno : 0;

	if (moved)
		*moved = pin.moved;
	return ret;
}

static int pin_longterm(int fd, const void *addr, size_t npages,
			unsigned int flags, uint64_t *moved)
{
	return pin_limited(fd, addr, npages, flags, 0, moved);
}

static uint64_t pinned(int fd)
{
	struct onewalk_dummy_info info = {};

	dummy_info(fd, &info);
	return info.pinned;
}

static uint64_t pages_on(int fd)
{
	struct onewalk_dummy_info info = {};

	dummy_info(fd, &info);
	return info.pages_total - info.pages_free;
}

/* How many pages are coherent memory, of whatever device. */
static size_t count_coherent(int fd, const void *addr, size_t npages)
{
	uint8_t *prot = malloc(npages);
	size_t i, n = 0;

	if (dummy_cmd(fd, ONEWALK_DUMMY_SNAPSHOT, addr, npages, prot, NULL)) {
		note("no snapshot: %s", strerror(errno));
		abort();
	}
	for (i = 0; i < npages; i++) {
		uint8_t kind = prot[i] & 0x70;

		n += prot[i] != ONEWALK_DUMMY_PROT_ERROR &&
		     (kind == ONEWALK_DUMMY_PROT_COHERENT_LOCAL ||
		      kind == ONEWALK_DUMMY_PROT_COHERENT_REMOTE);
	}
	free(prot);
	return n;
}

/* Two devices with coherent memory; and device 0, which may have another kind. */
static int open_coherent(int i)
{
	return dummy_open(memory_is_coherent() ? i : 2 + i);
}

static const char *open_devices(int *fds)
{
	fds[0] = open_coherent(0);
	if (fds[0] == -ENOENT)
		return "no memory is set aside for coherent devices";
	fds[1] = open_coherent(1);
	fds[2] = dummy_open(0);
	return fds[0] < 0 || fds[1] < 0 || fds[2] < 0 ?
	       "cannot open the devices" : NULL;
}

static void close_devices(struct __test_metadata *_metadata, int *fds)
{
	int i;

	for (i = 0; i < 3; i++)
		ioctl(fds[i], ONEWALK_DUMMY_UNPIN_ALL);
	unmap_all();
	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(device_is_empty(fds[i]));
		close(fds[i]);
	}
}

FIXTURE(pins) {
	int fds[3];
	int fd;			/* the first of them */
	char *addr;		/* NPAGES, on it, unless a test has thrown them away */
	char buf[SIZE];
	uint64_t moved;
	struct peer peer;
	struct counter counter;
};

FIXTURE_VARIANT(pins) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(pins, to_write) { .flags = WRITE };
FIXTURE_VARIANT_ADD(pins, to_read) { .flags = 0 };

FIXTURE_SETUP(pins)
{
	SET_UP(open_devices(self->fds));
	self->fd = self->fds[0];
	self->addr = map_pages(NPAGES);
	ASSERT_NE(NULL, self->addr);
	fill(self->addr, NPAGES, 1);
	ASSERT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	ASSERT_EQ(NPAGES, count_coherent(self->fd, self->addr, NPAGES));
}

FIXTURE_TEARDOWN(pins)
{
	peer_stop(&self->peer);
	if (self->counter.name[0])
		counter_close(&self->counter);
	if (self->addr)
		close_devices(_metadata, self->fds);
}

/* As they should be, for the CPU and for a device, which looks where they are. */
static void is_intact(struct __test_metadata *_metadata,
		      FIXTURE_DATA(pins) *self, unsigned int version)
{
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, version));
	EXPECT_EQ(-1, wrong_on_device(self->fd, self->addr, NPAGES, version));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

TEST_F(pins, move_what_is_on_a_device_together)
{
	ASSERT_OK(pin_longterm(self->fd, self->addr, NPAGES, variant->flags,
			       &self->moved));
	EXPECT_EQ(NPAGES, self->moved);
	EXPECT_EQ(NPAGES, pinned(self->fd));
	EXPECT_EQ(0, count_coherent(self->fd, self->addr, NPAGES));
	EXPECT_EQ(0, pages_on(self->fd));
	is_intact(_metadata, self, 1);

	/* there they stay */
	EXPECT_EQ(0, to_device(self->fd, self->addr, NPAGES));
	EXPECT_EQ(0, count_coherent(self->fd, self->addr, NPAGES));
	ioctl(self->fd, ONEWALK_DUMMY_UNPIN_ALL);
	EXPECT_EQ(0, pinned(self->fd));
	EXPECT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	is_intact(_metadata, self, 1);
}

/* Whatever a device has mapped, it must not go on using what the page was. */
TEST_F(pins, tell_the_devices)
{
	ASSERT_OK(dummy_read(self->fds[0], self->addr, NPAGES, self->buf));
	ASSERT_OK(dummy_read(self->fds[1], self->addr, NPAGES, self->buf));
	ASSERT_OK(pin_longterm(self->fd, self->addr, NPAGES, variant->flags,
			       &self->moved));
	EXPECT_EQ(NPAGES, self->moved);
	fill(self->addr, NPAGES, 2);
	EXPECT_EQ(-1, wrong_on_device(self->fds[0], self->addr, NPAGES, 2));
	EXPECT_EQ(-1, wrong_on_device(self->fds[1], self->addr, NPAGES, 2));
	fill_buffer(self->buf, self->addr, NPAGES, 3);
	ASSERT_OK(dummy_write(self->fds[1], self->addr, NPAGES, self->buf));
	is_intact(_metadata, self, 3);
}

static const char *count_moves_by_kernel(struct counter *counter)
{
	const char *why = counter_open(counter, "migrate_device_coherent_folio");

	/* before 6.7 */
	return why ? counter_open(counter, "migrate_device_coherent_page") : NULL;
}

TEST_F(pins, leave_nothing_for_the_kernel_to_move)
{
	MUST(count_moves_by_kernel(&self->counter));
	counter_start(&self->counter);
	EXPECT_OK(dummy_pin(self->fd, self->addr, NPAGES));
	EXPECT_EQ(NPAGES, counter_stop(&self->counter));
	ioctl(self->fd, ONEWALK_DUMMY_UNPIN_ALL);
	ASSERT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));

	counter_start(&self->counter);
	EXPECT_OK(pin_longterm(self->fd, self->addr, NPAGES, variant->flags,
			       &self->moved));
	EXPECT_EQ(0, counter_stop(&self->counter));
	EXPECT_EQ(NPAGES, self->moved);
}

/* --- a range of everything --- */

/* Three page tables. */
#define MIX	(3 * 512)

struct mix {
	char *addr;
	size_t coherent;	/* how many pages are */
	size_t private;
};

static bool goes(int fd, char *page, size_t npages)
{
	fill(page, npages, 1);
	return to_device(fd, page, npages) == (long)npages;
}

/* Maps something of another kind into the middle. */
static void *map_over(char *addr, size_t npages, int flags, int fd)
{
	return mmap(addr, npages * PAGE, PROT_READ | PROT_WRITE,
		    flags | MAP_FIXED, fd, 0);
}

static const char *mix_small(struct mix *mix, const int *fds, char *page)
{
	if (!goes(fds[0], page, 16) || !goes(fds[1], page + 16 * PAGE, 16))
		return "not on the coherent devices";
	mix->coherent += 32;
	fill(page + 32 * PAGE, 16, 1);
	/* 48: holes, 56: zero pages */
	nonzero_page(page + 56 * PAGE, 8);
	if (!goes(fds[2], page + 64 * PAGE, 16))
		return "not on the device";
	if (memory_is_coherent())
		mix->coherent += 16;
	fill(page + 80 * PAGE, 8, 1);
	return swap_out(page + 80 * PAGE, 8);
}

/* One page in two, in a VMA of its own, over the border of two page tables. */
static const char *mix_others(struct mix *mix, const int *fds, char *page)
{
	char *middle = page + 504 * PAGE;
	size_t i;
	int file;

	if (madvise(page + 512 * PAGE, HUGE, MADV_HUGEPAGE))
		return "no MADV_HUGEPAGE";
	fill(page + 600 * PAGE, 100, 1);
	mprotect(middle, 8 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	for (i = 0; i < 8; i += 2)
		if (!goes(fds[i / 2 % 2], middle + i * PAGE, 1))
			return "not at the border";
	mix->coherent += 4;

	page += 1024 * PAGE;
	if (map_over(page, 16, MAP_SHARED | MAP_ANONYMOUS, -1) != page)
		return "no shared memory";
	fill(page, 8, 1);
	file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (map_over(page + 16 * PAGE, 16, MAP_PRIVATE, file) != page + 16 * PAGE)
		return "no file";
	close(file);
	/* of the file, but the process's own */
	if (!goes(fds[1], page + 20 * PAGE, 4))
		return "not of the file";
	mix->coherent += 4;
	return NULL;
}

/* Such a range, of which other tests have no part. */
static const char *make_mix(struct mix *mix, const int *fds)
{
	const char *why;

	*mix = (struct mix){ .addr = map_aligned(MIX, HUGE) };
	if (!mix->addr)
		return "no memory";
	why = mix_others(mix, fds, mix->addr);
	return why ? why : mix_small(mix, fds, mix->addr);
}

static void mix_is_intact(struct __test_metadata *_metadata, char *page)
{
	EXPECT_EQ(-1, wrong_page(page, 48, 1));
	EXPECT_EQ(-1, nonzero_page(page + 48 * PAGE, 16));
	EXPECT_EQ(-1, wrong_page(page + 64 * PAGE, 24, 1));
	EXPECT_EQ(-1, wrong_page(page + 600 * PAGE, 100, 1));
	EXPECT_EQ(-1, wrong_page(page + 504 * PAGE, 1, 1));
	EXPECT_EQ(-1, wrong_page(page + 1024 * PAGE, 8, 1));
	EXPECT_EQ(-1, wrong_page(page + 1044 * PAGE, 4, 1));
	EXPECT_EQ(0, forgotten_pages(page, 1024));
}

static void looks_like(struct __test_metadata *_metadata, int fd,
		       const char *page, const char *other)
{
	static uint8_t prot[2][MIX];
	size_t i;

	ASSERT_OK(dummy_cmd(fd, ONEWALK_DUMMY_SNAPSHOT, page, MIX, prot[0],
			    NULL));
	ASSERT_OK(dummy_cmd(fd, ONEWALK_DUMMY_SNAPSHOT, other, MIX, prot[1],
			    NULL));
	for (i = 0; i < MIX; i++) {
		EXPECT_EQ(prot[1][i], prot[0][i])
			TH_LOG("page %zu", i);
		EXPECT_EQ(pagemap(other + i * PAGE) & ~PAGEMAP_PFN,
			  pagemap(page + i * PAGE) & ~PAGEMAP_PFN)
			TH_LOG("page %zu", i);
	}
}

/* The kernel gets one range to pin by itself, and onewalk another like it. */
TEST_F(pins, of_a_mixed_range_are_as_the_kernels)
{
	struct mix ours, kernels;

	MUST(make_mix(&ours, self->fds));
	MUST(make_mix(&kernels, self->fds));
	EXPECT_EQ(ours.coherent, count_coherent(self->fd, ours.addr, MIX));
	/* both have been in one state, but PIN is for writing alone */
	ASSERT_OK(pin_longterm(self->fd, ours.addr, MIX, WRITE, &self->moved));
	EXPECT_EQ(ours.coherent, self->moved);
	EXPECT_EQ(MIX, pinned(self->fd));
	ASSERT_OK(dummy_pin(self->fd, kernels.addr, MIX));
	EXPECT_EQ(2 * MIX, pinned(self->fd));

	EXPECT_EQ(0, count_coherent(self->fd, ours.addr, MIX));
	looks_like(_metadata, self->fd, ours.addr, kernels.addr);
	mix_is_intact(_metadata, ours.addr);
	mix_is_intact(_metadata, kernels.addr);
	EXPECT_EQ(0, to_device(self->fd, ours.addr, 1024));
}

TEST_F(pins, of_a_mixed_range_have_all_of_it)
{
	struct mix mix;

	MUST(make_mix(&mix, self->fds));
	ASSERT_OK(pin_longterm(self->fd, mix.addr, MIX, variant->flags,
			       &self->moved));
	EXPECT_EQ(mix.coherent, self->moved);
	EXPECT_EQ(MIX, pinned(self->fd));
	EXPECT_EQ(0, count_coherent(self->fd, mix.addr, MIX));
	mix_is_intact(_metadata, mix.addr);
}

/* --- what the process knows of its memory --- */

static size_t count_soft_dirty(const char *page)
{
	size_t i, n = 0;

	for (i = 0; i < NPAGES; i++)
		n += !!(pagemap(page + i * PAGE) & PAGEMAP_SOFT_DIRTY);
	return n;
}

/* 6.1 takes a page that is dirty for one that has been written just now. */
TEST_F(pins, do_not_make_pages_dirty)
{
	struct onewalk_dummy_migrate result;
	char *other = map_pages(NPAGES);

	fill(other, NPAGES, 1);
	ASSERT_EQ(NPAGES, to_device(self->fd, other, NPAGES));
	clear_soft_dirty();
	if (count_soft_dirty(self->addr))
		SKIP(return, "this kernel does not track it");
	ASSERT_OK(pin_longterm(self->fd, self->addr, NPAGES, 0, &self->moved));
	EXPECT_EQ(NPAGES, self->moved);
	ASSERT_OK(dummy_migrate(self->fd, other, NPAGES,
				ONEWALK_DUMMY_KERNEL_MIGRATE,
				ONEWALK_DUMMY_MIGRATE_TO_SYSTEM, NULL, NULL,
				&result));
	EXPECT_EQ(NPAGES, result.moved);
	if (engine_is_portable()) {
		EXPECT_EQ(count_soft_dirty(other), count_soft_dirty(self->addr));
	} else {
		EXPECT_EQ(0, count_soft_dirty(self->addr));
	}
	is_intact(_metadata, self, 1);
}

TEST_F(pins, of_locked_memory_leave_it_locked)
{
	ASSERT_EQ(0, mlock(self->addr, SIZE));
	ASSERT_OK(pin_longterm(self->fd, self->addr, NPAGES, variant->flags,
			       &self->moved));
	EXPECT_EQ(NPAGES, self->moved);
	EXPECT_EQ(0, count_coherent(self->fd, self->addr, NPAGES));
	is_intact(_metadata, self, 1);
	munlock(self->addr, SIZE);
}

/* --- read-only memory --- */

TEST_F(pins, of_read_only_memory_are_for_reading)
{
	ASSERT_EQ(0, mprotect(self->addr, SIZE, PROT_READ));
	if (variant->flags & WRITE) {
		EXPECT_EQ(-EFAULT, pin_longterm(self->fd, self->addr, NPAGES,
						variant->flags, &self->moved));
		EXPECT_EQ(0, pinned(self->fd));
	} else {
		EXPECT_OK(pin_longterm(self->fd, self->addr, NPAGES,
				       variant->flags, &self->moved));
		EXPECT_EQ(NPAGES, self->moved);
		EXPECT_EQ(NPAGES, pinned(self->fd));
		EXPECT_EQ(0, count_coherent(self->fd, self->addr, NPAGES));
	}
	is_intact(_metadata, self, 1);
}

/* --- fork() --- */

/*
 * Who pins gets pages of its own, and may write to them: they stay those that are
 * pinned. The other one keeps what there was, where it was.
 */
TEST_F(pins, of_what_fork_shares_are_of_a_copy)
{
	uint64_t pfns[NPAGES];
	size_t i;

	ASSERT_OK(peer_start(&self->peer));
	ASSERT_OK(pin_longterm(self->fd, self->addr, NPAGES, variant->flags,
			       &self->moved));
	EXPECT_EQ(0, self->moved);
	EXPECT_EQ(0, count_coherent(self->fd, self->addr, NPAGES));
	EXPECT_EQ(NPAGES, pages_on(self->fd));
	for (i = 0; i < NPAGES; i++)
		pfns[i] = pfn_of(self->addr + i * PAGE);
	is_intact(_metadata, self, 1);
	fill(self->addr, NPAGES, 2);
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(pfns[i], pfn_of(self->addr + i * PAGE));
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	is_intact(_metadata, self, 2);
}

/* What the child has left is the parent's alone, though nobody has noticed yet. */
TEST_F(pins, of_what_fork_has_shared_are_of_the_page)
{
	ASSERT_OK(peer_start(&self->peer));
	EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->addr, NPAGES, 1));
	peer_stop(&self->peer);
	ASSERT_OK(pin_longterm(self->fd, self->addr, NPAGES, variant->flags,
			       &self->moved));
	EXPECT_EQ(NPAGES, self->moved);
	EXPECT_EQ(0, pages_on(self->fd));
	is_intact(_metadata, self, 1);
}

/* 0, or the line of what was not so. */
static int pin_in_child(char *addr, unsigned int flags)
{
	int fd = open_coherent(0);
	uint64_t moved;

	if (fd < 0 || pin_longterm(fd, addr, NPAGES, flags, &moved))
		return __LINE__;
	if (moved || count_coherent(fd, addr, NPAGES))
		return __LINE__;
	if (wrong_page(addr, NPAGES, 1) >= 0)
		return __LINE__;
	fill(addr, NPAGES, 3);
	if (wrong_on_device(fd, addr, NPAGES, 3) != -1)
		return __LINE__;
	close(fd);
	return 0;
}

TEST_F(pins, of_a_child_leave_the_parent_alone)
{
	int status;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		int line = pin_in_child(self->addr, variant->flags);

		if (line)
			note("line %d", line);
		_exit(!!line);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(NPAGES, count_coherent(self->fd, self->addr, NPAGES));
	is_intact(_metadata, self, 1);
}

/* --- failures: nothing is pinned --- */

static void nothing_is_pinned(struct __test_metadata *_metadata,
			      FIXTURE_DATA(pins) *self)
{
	EXPECT_EQ(0, pinned(self->fd));
	is_intact(_metadata, self, 1);
	EXPECT_EQ(NPAGES, to_system(self->fd, self->addr, NPAGES));
	EXPECT_EQ(NPAGES, to_device(self->fd, self->addr, NPAGES));
	is_intact(_metadata, self, 1);
}

TEST_F(pins, without_a_destination_are_none)
{
	struct onewalk_dummy_cmd cmd = {
		.npages = ONEWALK_DUMMY_FLAG_FAIL_ALLOC,
	};

	ASSERT_EQ(0, ioctl(self->fd, ONEWALK_DUMMY_FLAGS, &cmd));
	EXPECT_EQ(-ENOMEM, pin_longterm(self->fd, self->addr, NPAGES,
					variant->flags | ALLOC, &self->moved));
	EXPECT_EQ(0, self->moved);
	EXPECT_EQ(NPAGES, count_coherent(self->fd, self->addr, NPAGES));
	nothing_is_pinned(_metadata, self);
}

TEST_F(pins, without_all_destinations_are_none)
{
	EXPECT_EQ(-ENOMEM, pin_limited(self->fd, self->addr, NPAGES,
				       variant->flags | ALLOC, NPAGES - 1,
				       &self->moved));
	EXPECT_EQ(0, self->moved);
	EXPECT_EQ(NPAGES, count_coherent(self->fd, self->addr, NPAGES));
	nothing_is_pinned(_metadata, self);
}

TEST_F(pins, go_to_where_the_driver_wants)
{
	ASSERT_OK(pin_limited(self->fd, self->addr, NPAGES,
			      variant->flags | ALLOC, NPAGES, &self->moved));
	EXPECT_EQ(NPAGES, self->moved);
	EXPECT_EQ(NPAGES, pinned(self->fd));
	EXPECT_EQ(0, count_coherent(self->fd, self->addr, NPAGES));
	is_intact(_metadata, self, 1);
}

/* What was pinned before it, in another page table, is let go of. */
TEST_F(pins, of_a_range_with_a_gap_are_none)
{
	char *addr = map_aligned(2 * 512, HUGE);
	uint64_t other;

	ASSERT_NE(NULL, addr);
	fill(addr, 600, 1);
	ASSERT_EQ(8, to_device(self->fd, addr, 8));
	ASSERT_EQ(8, to_device(self->fd, addr + 540 * PAGE, 8));
	munmap(addr + 520 * PAGE, 8 * PAGE);
	EXPECT_EQ(-EFAULT, pin_longterm(self->fd, addr, 600, variant->flags,
					&other));
	EXPECT_EQ(8, other);
	EXPECT_EQ(0, pinned(self->fd));
	EXPECT_EQ(-1, wrong_page(addr, 520, 1));
	EXPECT_EQ(-1, wrong_page(addr + 528 * PAGE, 72, 1));
	/* pinned they could not */
	EXPECT_EQ(520, to_device(self->fd, addr, 520));
	EXPECT_EQ(-1, wrong_page(addr, 520, 1));
	nothing_is_pinned(_metadata, self);
}

TEST_F(pins, of_memory_without_access_are_none)
{
	ASSERT_EQ(0, mprotect(self->addr, SIZE, PROT_NONE));
	EXPECT_EQ(-EFAULT, pin_longterm(self->fd, self->addr, NPAGES,
					variant->flags, &self->moved));
	ASSERT_EQ(0, mprotect(self->addr, SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, pinned(self->fd));
	is_intact(_metadata, self, 1);
}

/* --- at the same time --- */

/* In vain or not, pages are never both pinned and on a device. */
TEST_F(pins, come_while_the_device_wants_the_pages)
{
	size_t i, done = 0;
	int ret, status;
	pid_t child;

	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		/* through the open file, whose process is the parent */
		for (;;)
			to_device(self->fd, self->addr, NPAGES);
	}
	for (i = 0; i < 100; i++) {
		ret = pin_longterm(self->fds[1], self->addr, NPAGES,
				   variant->flags, &self->moved);
		EXPECT_TRUE(!ret || ret == -EBUSY)
			TH_LOG("%d", ret);
		if (!ret) {
			done++;
			EXPECT_EQ(0, count_coherent(self->fd, self->addr,
						    NPAGES));
		}
		ioctl(self->fds[1], ONEWALK_DUMMY_UNPIN_ALL);
	}
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_LT(0, done);
	is_intact(_metadata, self, 1);
}

static void pin_for_ever(unsigned int flags)
{
	int fd = open_coherent(0);
	char *addr = map_pages(4 * NPAGES);

	for (;;) {
		fill(addr, 4 * NPAGES, 1);
		to_device(fd, addr, 4 * NPAGES);
		pin_longterm(fd, addr, 4 * NPAGES, flags, NULL);
		ioctl(fd, ONEWALK_DUMMY_UNPIN_ALL);
	}
}

TEST_F(pins, end_with_who_is_killed)
{
	struct onewalk_dummy_info info;
	int i, status;
	pid_t child;

	ASSERT_OK(dummy_info(self->fd, &info));
	for (i = 0; i < 12; i++) {
		child = fork();
		ASSERT_LE(0, child);
		if (!child)
			pin_for_ever(variant->flags);
		usleep(20000 + i * 1700);
		kill(child, SIGKILL);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(info.pages_free, free_pages(self->fd, info.pages_free));
	}
	is_intact(_metadata, self, 1);
}

/* --- bad input --- */

static int call_pin(int fd, uint64_t start, uint64_t end, unsigned int gup_flags,
		    unsigned int null)
{
	struct onewalk_dummy_call call = {
		.start = start,
		.end = end,
		.default_flags = gup_flags,
		.function = ONEWALK_DUMMY_CALL_PIN_LONGTERM,
		.null = null,
	};

	return ioctl(fd, ONEWALK_DUMMY_CALL, &call) ? -errno : call.result;
}

#define KERNEL_FOLL_WRITE	1U

TEST_F(pins, with_bad_arguments_are_einval)
{
	uint64_t start = (uintptr_t)self->addr, end = start + SIZE;
	unsigned int bit, taken = 0;

	EXPECT_EQ(-EINVAL, call_pin(self->fd, start + 1, end + 1, 0, 0));
	EXPECT_EQ(-EINVAL, call_pin(self->fd, start, start, 0, 0));
	EXPECT_EQ(-EINVAL, call_pin(self->fd, end, start, 0, 0));
	EXPECT_EQ(-EINVAL, call_pin(self->fd, -PAGE, 0, 0, 0));
	EXPECT_EQ(-EINVAL, call_pin(self->fd, start, end, 0,
				    ONEWALK_DUMMY_NULL_ARGUMENT));
	EXPECT_EQ(-EINVAL, call_pin(self->fd, start, end, 0,
				    ONEWALK_DUMMY_NULL_PFNS));
	EXPECT_EQ(-EINVAL, call_pin(self->fd, start, end, 0,
				    ONEWALK_DUMMY_NULL_VMA));
	EXPECT_EQ(-EINVAL, pin_longterm(self->fd, self->addr, NPAGES, 4, NULL));
	EXPECT_EQ(-EINVAL, pin_limited(self->fd, self->addr, NPAGES, 0, 1, NULL));
	EXPECT_EQ(NPAGES, count_coherent(self->fd, self->addr, NPAGES));

	/* to write, by force, for long */
	for (bit = 0; bit < 32; bit++)
		taken += call_pin(self->fd, start, end, 1U << bit, 0) != -EINVAL;
	EXPECT_EQ(3, taken);
	EXPECT_OK(call_pin(self->fd, start, end, KERNEL_FOLL_WRITE, 0));
	is_intact(_metadata, self, 1);
}

ONEWALK_MAIN
