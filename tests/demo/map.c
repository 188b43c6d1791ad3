// SPDX-License-Identifier: GPL-2.0
/*
 * Where each page is, by the process's page table and the device's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <linux/kernel-page-flags.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "demo.h"

/* /proc/self/pagemap */
#define PM_PRESENT	_BITULL(63)
#define PM_SWAP		_BITULL(62)
#define PM_EXCLUSIVE	_BITULL(56)
#define PM_FRAME	(_BITULL(55) - 1)
#define PM_SWAP_TYPE	0x1f

const struct state states[NR_STATES] = {
	{ WRITTEN,	"32",	"written" },
	{ HOLE,		"90",	"untouched" },
	{ ZERO,		"36",	"zero page" },
	{ SWAPPED,	"33",	"swapped out" },
	{ SHARED,	"34",	"shared after fork" },
	{ FILE_PAGE,	"35",	"file page" },
	{ HUGE,		"92",	"huge" },
	{ PINNED,	"31",	"pinned" },
	{ DEVICE,	"1;37;44", "in device memory" },
	{ UNMAPPED,	"37;44", "not mapped by it" },
	{ MIXED,	"37",	"several of these" },
	{ STRANGE,	"1;31",	"none of these" },
};

static bool coloured;
static int pagemap, kpageflags;

void open_maps(bool with_colours)
{
	coloured = with_colours;
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0 || kpageflags < 0)
		die("cannot open /proc/self/pagemap and /proc/kpageflags");
}

static __u64 read_u64(int fd, __u64 index)
{
	__u64 value;

	if (pread(fd, &value, sizeof(value), index * sizeof(value)) != sizeof(value))
		die("cannot read /proc/self/pagemap or /proc/kpageflags");
	return value;
}

static __u64 entry_of(unsigned int page)
{
	return read_u64(pagemap, (uintptr_t)address(page) / PAGE);
}

bool is_in_memory(unsigned int page)
{
	return entry_of(page) & PM_PRESENT;
}

static char state_of_moved(const struct map *map, unsigned int page)
{
	if (map->device[page] & ONEWALK_DUMMY_MAPPED_DEVICE)
		return DEVICE;
	return map->device[page] ? STRANGE : UNMAPPED;
}

/*
 * Where device memory is ordinary pages, a move shows in that the page is
 * another one than before. Of what was not in memory before, only the device
 * can tell whether it moved or was just brought in.
 */
static bool is_replaced(const struct run *run, const struct map *map,
			unsigned int page)
{
	__u64 changed = map->entry[page] ^ run->before.entry[page];

	if (run->info.memory != ONEWALK_DUMMY_MEMORY_SYSTEM || map == &run->before)
		return false;
	if (map->device[page] & ONEWALK_DUMMY_MAPPED_DEVICE)
		return changed & (PM_PRESENT | PM_FRAME);
	return !(changed & PM_PRESENT) && (changed & PM_FRAME) &&
	       run->before.state[page] != ZERO;
}

static char state_of_present(const struct run *run, const struct map *map,
			     unsigned int page)
{
	__u64 entry = map->entry[page];
	__u64 flags = read_u64(kpageflags, entry & PM_FRAME);

	if (is_replaced(run, map, page))
		return state_of_moved(map, page);
	if (flags & _BITULL(KPF_ZERO_PAGE))
		return ZERO;
	if (!(flags & _BITULL(KPF_ANON)))
		return FILE_PAGE;
	if (flags & _BITULL(KPF_THP))
		return HUGE;
	if (!(entry & PM_EXCLUSIVE))
		return SHARED;
	/* No file in /proc tells of a pin: the device counts them. */
	if (planned(page) == PINNED && run->info.pinned)
		return PINNED;
	return WRITTEN;
}

static char state_of(const struct run *run, const struct map *map,
		     unsigned int page)
{
	__u64 entry = map->entry[page];

	if (entry & PM_PRESENT)
		return state_of_present(run, map, page);
	if (!(entry & PM_SWAP))
		return HOLE;
	/* Not in memory, and not in the one swap area either */
	if (entry & PM_SWAP_TYPE)
		return state_of_moved(map, page);
	return SWAPPED;
}

/* A device that has mapped its own memory where there is none reads nonsense. */
static bool is_stale(const struct map *map, unsigned int page)
{
	return map->device[page] & ONEWALK_DUMMY_MAPPED_DEVICE &&
	       map->state[page] != DEVICE;
}

void read_map(const struct run *run, struct map *map)
{
	struct onewalk_dummy_buffer call = {
		.addr = (uintptr_t)address(0),
		.npages = NPAGES,
		.ptr = (uintptr_t)map->device,
	};
	unsigned int page;

	if (ioctl(run->device, ONEWALK_DUMMY_INSPECT, &call))
		die("ONEWALK_DUMMY_INSPECT: %s", strerror(errno));
	for (page = 0; page < NPAGES; page++) {
		map->entry[page] = entry_of(page);
		map->state[page] = state_of(run, map, page);
		if (is_stale(map, page))
			map->state[page] = STRANGE;
	}
}

bool is_moved(const struct map *map, unsigned int page)
{
	return map->state[page] == DEVICE || map->state[page] == UNMAPPED;
}

unsigned int count_moved(const struct map *map)
{
	unsigned int page, n = 0;

	for (page = 0; page < NPAGES; page++)
		n += is_moved(map, page);
	return n;
}

static unsigned int count_state(const struct map *map, char state)
{
	unsigned int page, n = 0;

	for (page = 0; page < NPAGES; page++)
		n += map->state[page] == state;
	return n;
}

/* How many pages the device can get at, wherever they are. */
unsigned int count_mapped(const struct map *map)
{
	unsigned int page, n = 0;

	for (page = 0; page < NPAGES; page++)
		n += !!map->device[page];
	return n;
}

static const char *colour_of(char state)
{
	unsigned int i;

	for (i = 0; i < NR_STATES; i++)
		if (states[i].letter == state)
			return states[i].colour;
	return "0";
}

static char state_of_block(const struct map *map, unsigned int page)
{
	unsigned int i;

	for (i = 1; i < BLOCK; i++)
		if (map->state[page + i] != map->state[page])
			return MIXED;
	return map->state[page];
}

void print_coloured(char state, const char *text, int length)
{
	if (coloured)
		printf("\033[%sm%.*s\033[0m", colour_of(state), length, text);
	else
		printf("%.*s", length, text);
}

static void print_row(const struct map *map, unsigned int row)
{
	char text[COLUMNS];
	int i, start = 0;

	for (i = 0; i < COLUMNS; i++)
		text[i] = state_of_block(map, row * ROW + i * BLOCK);
	for (i = 1; i <= COLUMNS; i++) {
		if (i < COLUMNS && text[i] == text[start])
			continue;
		print_coloured(text[start], text + start, i - start);
		start = i;
	}
}

void print_maps(const struct run *run)
{
	unsigned int row;

	printf("\n       %-*s   %s\n", COLUMNS, "before: the process's page table",
	       "after: the same and the device's");
	for (row = 0; row < ROWS; row++) {
		printf("  %2uM  ", row * 2);
		print_row(&run->before, row);
		printf("   ");
		print_row(&run->after, row);
		printf("\n");
	}
	printf("       ");
	print_coloured(DEVICE, (char []){ DEVICE }, 1);
	printf(" in device memory; %c a block of several; the rest: below\n", MIXED);
	if (count_state(&run->after, UNMAPPED)) {
		printf("       ");
		print_coloured(UNMAPPED, (char []){ UNMAPPED }, 1);
		printf(" likewise, but the device was told of a change in between, so it\n"
		       "         maps these pages when it accesses them, and not before\n");
	}
}
