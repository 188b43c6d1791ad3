// SPDX-License-Identifier: GPL-2.0
/*
 * The range: three mappings side by side, whose pages are in every state.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"

/* Not in every C library's headers */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif

#define WORDS		(PAGE / sizeof(__u64))

/* What is prepared, and what the first map has to show. Three VMAs. */
static const char * const layout[ROWS] = {
	"wwwwwwww..sssswwwwzz..wwsssss...",
	"ffffffffffffffffwwwwwwww++++++++",
	"zzzzzz....wwwwPPwwww....wwwwssss",
	"ssssssssssssssss++++++++........",
	"ww..zzssww..zzssww..zzssPPwwffww",
	/* a private mapping of a file */
	"FFFFFFFFFFFFFFFFFFFFwwww........",
	/* two huge pages */
	"HHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHH",
	"HHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHH",
};

#define FILE_START	(5 * ROW)
#define HUGE_START	(6 * ROW)

static __u8 *range;

void reserve_range(void)
{
	__u8 *area = mmap(NULL, SIZE + ROW * PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		die("no address space");
	range = (__u8 *)(((uintptr_t)area + ROW * PAGE - 1) & -(ROW * PAGE));
}

void *address(unsigned int page)
{
	return range + page * PAGE;
}

char planned(unsigned int page)
{
	char state = layout[page / ROW][page % ROW / BLOCK];

	if (state == MIXED)
		return page % 8 == 3 ? SWAPPED : page % 8 == 6 ? HOLE : WRITTEN;
	return state;
}

bool in_file(unsigned int page)
{
	return page >= FILE_START && page < HUGE_START;
}

/* run_length(): how many pages from this one on are planned alike */
static unsigned int run_length(unsigned int page)
{
	unsigned int end = page + 1;

	while (end < NPAGES && planned(end) == planned(page) &&
	       in_file(end) == in_file(page))
		end++;
	return end - page;
}

/*
 * Contents: every word of every page is different.
 */

static bool reads_zero(unsigned int page)
{
	return planned(page) == ZERO ||
	       (planned(page) == HOLE && !in_file(page));
}

static __u64 word(unsigned int page, unsigned int i)
{
	__u64 x = (page * WORDS + i + 1) * 0x9e3779b97f4a7c15ULL;

	return x ^ x >> 29;
}

static void fill(unsigned int page, __u64 *to)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		to[i] = word(page, i);
}

static bool page_right(unsigned int page, const __u64 *bytes)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		if (bytes[i] != (reads_zero(page) ? 0 : word(page, i)))
			return false;
	return true;
}

unsigned int count_wrong(const __u8 *bytes, const char *whose)
{
	unsigned int page, wrong = 0;

	for (page = 0; page < NPAGES; page++) {
		if (page_right(page, (const __u64 *)(bytes + page * PAGE)))
			continue;
		if (!wrong++)
			mismatch("%s reads wrong bytes in page %u, which was '%c'",
				 whose, page, planned(page));
	}
	return wrong;
}

/*
 * Preparation
 */

static int make_file(void)
{
	static __u64 page_bytes[WORDS];
	char name[] = "/tmp/onewalk-demo-XXXXXX";
	int fd = mkstemp(name);
	unsigned int page;

	if (fd < 0)
		die("cannot make a file in /tmp: %s", strerror(errno));
	unlink(name);
	for (page = FILE_START; page < HUGE_START; page++) {
		fill(page, page_bytes);
		if (write(fd, page_bytes, PAGE) != PAGE)
			die("cannot write a file in /tmp: %s", strerror(errno));
	}
	return fd;
}

static void map_part(unsigned int from, unsigned int to, int flags, int fd,
		     int advice)
{
	size_t size = (to - from) * PAGE;

	if (mmap(address(from), size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_FIXED | flags, fd, 0) == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	if (advice && madvise(address(from), size, advice))
		die("madvise: %s", strerror(errno));
}

static void map_range(void)
{
	int fd = make_file();

	map_part(0, FILE_START, MAP_ANONYMOUS, -1, MADV_NOHUGEPAGE);
	map_part(FILE_START, HUGE_START, 0, fd, 0);
	map_part(HUGE_START, NPAGES, MAP_ANONYMOUS, -1, MADV_HUGEPAGE);
	close(fd);
}

/* What is written before the fork is shared after it, so this comes first. */
static void write_pages(bool shared)
{
	unsigned int page;

	for (page = 0; page < NPAGES; page++) {
		switch (planned(page)) {
		case WRITTEN:
		case SWAPPED:
		case HUGE:
		case PINNED:
			if (!shared)
				fill(page, address(page));
			break;
		case SHARED:
			if (shared)
				fill(page, address(page));
			break;
		}
	}
}

/* The child has nothing but its half of the shared pages, and reads it last. */
static int be_child(int told)
{
	unsigned int page, wrong = 0;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(told, &byte, 1) != 1)
		return 2;
	for (page = 0; page < NPAGES; page++)
		if (planned(page) == SHARED)
			wrong += !page_right(page, address(page));
	return wrong ? 1 : 0;
}

static void start_child(struct run *run)
{
	int ends[2];

	if (pipe(ends))
		die("pipe: %s", strerror(errno));
	run->child = fork();
	if (run->child < 0)
		die("fork: %s", strerror(errno));
	if (!run->child)
		_exit(be_child(ends[0]));
	close(ends[0]);
	run->tell_child = ends[1];
}

static unsigned int in_memory(unsigned int page, unsigned int pages)
{
	unsigned int n = 0;

	while (pages--)
		n += is_in_memory(page++);
	return n;
}

/* A page that something holds for a moment stays in memory: ask again. */
static void swap_out(unsigned int page, unsigned int pages)
{
	int tries;

	for (tries = 0; tries < 50; tries++) {
		if (madvise(address(page), pages * PAGE, MADV_PAGEOUT))
			die("MADV_PAGEOUT: %s", strerror(errno));
		if (!in_memory(page, pages))
			return;
		usleep(10000);
	}
	die("%u pages will not be swapped out; is there swap?",
	    in_memory(page, pages));
}

static void pin(struct run *run, unsigned int page, unsigned int pages)
{
	struct onewalk_dummy_pin call = {
		.addr = (uintptr_t)address(page),
		.npages = pages,
	};

	if (ioctl(run->device, ONEWALK_DUMMY_PIN, &call))
		die("ONEWALK_DUMMY_PIN: %s", strerror(errno));
}

static void read_in(unsigned int page, unsigned int pages)
{
	if (madvise(address(page), pages * PAGE, MADV_POPULATE_READ))
		die("MADV_POPULATE_READ: %s", strerror(errno));
}

/* The next pages that are planned like this, after those of last time. */
static bool next_planned(char state, unsigned int *page, unsigned int *pages)
{
	for (*page += *pages; *page < NPAGES; *page += *pages) {
		*pages = run_length(*page);
		if (planned(*page) == state)
			return true;
	}
	return false;
}

static void prepare_memory(void)
{
	unsigned int page, pages;

	write_pages(false);
	for (page = pages = 0; next_planned(ZERO, &page, &pages);)
		read_in(page, pages);
	for (page = pages = 0; next_planned(FILE_PAGE, &page, &pages);)
		read_in(page, pages);
	for (page = pages = 0; next_planned(SWAPPED, &page, &pages);)
		swap_out(page, pages);
}

static void pin_pages(struct run *run)
{
	unsigned int page = 0, pages = 0;

	while (next_planned(PINNED, &page, &pages))
		pin(run, page, pages);
}

/* The device mirrors who opens it: only after the child has been made. */
void prepare(struct run *run)
{
	map_range();
	write_pages(true);
	start_child(run);
	prepare_memory();
	run->device = open_device();
	pin_pages(run);
	get_info(run->device, &run->info);
}

void end_child(struct run *run)
{
	int status;

	if (write(run->tell_child, "c", 1) != 1 ||
	    waitpid(run->child, &status, 0) != run->child)
		die("the forked child is gone");
	close(run->tell_child);
	if (status)
		mismatch("the forked child reads wrong bytes");
}

void finish(struct run *run)
{
	if (ioctl(run->device, ONEWALK_DUMMY_UNPIN_ALL))
		die("ONEWALK_DUMMY_UNPIN_ALL: %s", strerror(errno));
	close(run->device);
	/* gone, and the addresses kept for the next time */
	if (mmap(range, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0) == MAP_FAILED)
		die("mmap: %s", strerror(errno));
}
