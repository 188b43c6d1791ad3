// SPDX-License-Identifier: GPL-2.0
/*
 * The least that has to work: one page goes to the device and comes back. A bug
 * that is planted by tests/mutants and shows here already would prove little.
 */
/* vm: one kind of memory: the other tests are about the rest */
#include "kselftest_harness.h"

#include <sys/uio.h>

#include "common.h"

/* As the page table has it: a TLB could hide that a CPU does not look there any more. */
static void copy(void *to, void *from)
{
	struct iovec local = { to, PAGE }, remote = { from, PAGE };

	memset(to, 0, PAGE);
	process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
}

TEST(one_page_goes_to_the_device_and_back)
{
	char *page = map_pages(1), *buf = map_pages(1);
	int fd = dummy_open(0);
	uint64_t old_pfn;

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, page);
	ASSERT_NE(NULL, buf);
	fill(page, 1, 1);
	old_pfn = pfn_of(page);
	ASSERT_EQ(1, to_device(fd, page, 1));
	EXPECT_TRUE(moved_to_device(page, old_pfn));
	EXPECT_EQ(-1, wrong_on_device(fd, page, 1, 1));
	/* a CPU's touch brings back what it cannot reach there */
	if (!memory_is_private())
		EXPECT_EQ(1, to_system(fd, page, 1));
	copy(buf, page);
	EXPECT_EQ(-1, wrong_buffer(buf, page, 1, 1));
	EXPECT_EQ(PRESENT, where(page));
	unmap_all();
	EXPECT_TRUE(device_is_empty(fd));
	close(fd);
}

TEST_HARNESS_MAIN
