// SPDX-License-Identifier: GPL-2.0
/*
 * What onewalk does to 16 MiB of a process, as seen from outside.
 *
 * The maps come from /proc/self/pagemap, /proc/kpageflags and the device's page
 * table, the numbers of walks and faults from the kernel's function tracer. What
 * the module itself says is compared with them; it has no part in drawing them.
 *
 * To be run as root with onewalk_dummy loaded and one swap area in use.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <onewalk/dummy.h>
#include <onewalk/status.h>

#define PAGE		4096UL
#define BLOCK		16	/* pages; also what one file fault maps around it */
#define COLUMNS		32
#define ROW		(BLOCK * COLUMNS)	/* pages: one page table */
#define ROWS		8
#define NPAGES		(ROW * ROWS)
#define SIZE		(NPAGES * PAGE)
#define WORDS		(PAGE / sizeof(uint64_t))

/* States of a page; in the layout MIXED stands for a block of several. */
#define WRITTEN		'w'
#define HOLE		'.'
#define ZERO		'z'
#define SWAPPED		's'
#define SHARED		'f'
#define FILE_PAGE	'F'
#define HUGE		'H'
#define PINNED		'P'
#define DEVICE		'D'
#define MIXED		'+'
#define STRANGE		'?'

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

static const struct {
	char		state;
	const char	*colour;
	const char	*name;
} states[] = {
	{ WRITTEN,	"32",	"written" },
	{ HOLE,		"90",	"untouched" },
	{ ZERO,		"36",	"zero page" },
	{ SWAPPED,	"33",	"swapped out" },
	{ SHARED,	"34",	"shared after fork" },
	{ FILE_PAGE,	"35",	"file page" },
	{ HUGE,		"92",	"huge" },
	{ PINNED,	"31",	"pinned" },
	{ DEVICE,	"1;37;44", "in device memory" },
	{ MIXED,	"37",	"several of these" },
	{ STRANGE,	"1;31",	"none of these" },
};

#define NR_STATES	(sizeof(states) / sizeof(states[0]))

static const char * const status_names[] = {
	[ONEWALK_STATUS_MIGRATING]	= "migrating",
	[ONEWALK_STATUS_NOT_REQUESTED]	= "not requested",
	[ONEWALK_STATUS_NOT_SELECTED]	= "not selected",
	[ONEWALK_STATUS_FOREIGN_DEVICE]	= "foreign device",
	[ONEWALK_STATUS_ON_NODE]	= "already on the node",
	[ONEWALK_STATUS_SWAPPED]	= "swapped out",
	[ONEWALK_STATUS_LOCKED]		= "locked",
	[ONEWALK_STATUS_PINNED]		= "pinned",
	[ONEWALK_STATUS_NOT_ON_LRU]	= "not on the LRU",
	[ONEWALK_STATUS_WRITEBACK]	= "under writeback",
	[ONEWALK_STATUS_FILE]		= "file page",
	[ONEWALK_STATUS_KSM]		= "KSM page",
	[ONEWALK_STATUS_SPECIAL]	= "special mapping",
	[ONEWALK_STATUS_HUGETLB]	= "hugetlb page",
	[ONEWALK_STATUS_POISONED]	= "poisoned",
	[ONEWALK_STATUS_UFFD]		= "userfaultfd",
	[ONEWALK_STATUS_FAULT_EFAULT]	= "fault failed (EFAULT)",
	[ONEWALK_STATUS_FAULT_EPERM]	= "fault failed (EPERM)",
	[ONEWALK_STATUS_FAULT_ENOMEM]	= "fault failed (ENOMEM)",
	[ONEWALK_STATUS_FAULT_POISONED]	= "fault failed (poisoned)",
	[ONEWALK_STATUS_STOPPED]	= "stopped early",
	[ONEWALK_STATUS_UNKNOWN]	= "unknown",
};

_Static_assert(sizeof(status_names) == ONEWALK_STATUS_NR * sizeof(char *),
	       "a name for each status");

/* The functions that are counted, one call being one of what the name says. */
enum counter { SCANS, WALKS, VMA_WALKS, FAULTS, NR_COUNTERS };

static const char * const traced[NR_COUNTERS] = {
	[SCANS]		= "onewalk_scan",
	[WALKS]		= "walk_page_range",
	[VMA_WALKS]	= "walk_page_range_vma",
	[FAULTS]	= "handle_mm_fault",
};

struct map {
	uint64_t	entry[NPAGES];	/* /proc/self/pagemap */
	uint8_t		device[NPAGES];	/* the device's page table */
	char		state[NPAGES];
};

/* One preparation of the range, one way of moving it, and what came of it. */
struct run {
	struct onewalk_dummy_migrate	call;
	struct onewalk_dummy_info	info;	/* after the move */
	struct map			before;
	struct map			after;
	uint8_t				status[NPAGES];
	unsigned int			count[NR_COUNTERS];
	unsigned long			device_faults;	/* that the READ needed */
	int				device;
	pid_t				child;
	int				tell_child;
};

#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)
#define PM_EXCLUSIVE	(1ULL << 56)
#define PM_FRAME	((1ULL << 55) - 1)
#define PM_SWAP_TYPE	0x1f

static uint8_t *range;
static uint8_t *device_copy;
static bool coloured;
static int pagemap, kpageflags;
static int trouble;

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *format, ...)
{
	va_list args;

	printf("demo: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(1);
}

/* Something is not as it has to be: the demo goes on, to show more, and fails. */
static void __attribute__((format(printf, 1, 2)))
mismatch(const char *format, ...)
{
	va_list args;

	trouble++;
	printf("MISMATCH: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

static void *reserve(size_t size)
{
	void *area = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (area == MAP_FAILED)
		die("no memory: %s", strerror(errno));
	return area;
}

static char planned(unsigned int page)
{
	char state = layout[page / ROW][page % ROW / BLOCK];

	if (state == MIXED)
		return page % 8 == 3 ? SWAPPED : page % 8 == 6 ? HOLE : WRITTEN;
	return state;
}

static bool in_file(unsigned int page)
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

static void *address(unsigned int page)
{
	return range + page * PAGE;
}

/*
 * Contents: every word of every page is different.
 */

static bool reads_zero(unsigned int page)
{
	return planned(page) == ZERO ||
	       (planned(page) == HOLE && !in_file(page));
}

static uint64_t word(unsigned int page, unsigned int i)
{
	uint64_t x = (page * WORDS + i + 1) * 0x9e3779b97f4a7c15ULL;

	return x ^ x >> 29;
}

static void fill(unsigned int page, uint64_t *to)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		to[i] = word(page, i);
}

static bool page_right(unsigned int page, const uint64_t *bytes)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		if (bytes[i] != (reads_zero(page) ? 0 : word(page, i)))
			return false;
	return true;
}

static unsigned int count_wrong(const uint8_t *bytes, const char *whose)
{
	unsigned int page, wrong = 0;

	for (page = 0; page < NPAGES; page++) {
		if (page_right(page, (const uint64_t *)(bytes + page * PAGE)))
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
	static uint64_t page_bytes[WORDS];
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

static void read_pages(void)
{
	unsigned int page;

	for (page = 0; page < NPAGES; page++)
		if (planned(page) == ZERO || planned(page) == FILE_PAGE)
			*(volatile uint8_t *)address(page);
}

/* The child has nothing but its half of the shared pages, and reads it last. */
static void __attribute__((noreturn)) be_child(int told)
{
	unsigned int page, wrong = 0;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(told, &byte, 1) != 1)
		_exit(2);
	for (page = 0; page < NPAGES; page++)
		if (planned(page) == SHARED)
			wrong += !page_right(page, address(page));
	_exit(wrong ? 1 : 0);
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
		be_child(ends[0]);
	close(ends[0]);
	run->tell_child = ends[1];
}

static uint64_t read_u64(int fd, uint64_t index)
{
	uint64_t value;

	if (pread(fd, &value, sizeof(value), index * sizeof(value)) != sizeof(value))
		die("cannot read /proc/self/pagemap or /proc/kpageflags");
	return value;
}

static uint64_t entry_of(unsigned int page)
{
	return read_u64(pagemap, (uintptr_t)address(page) / PAGE);
}

static unsigned int in_memory(unsigned int page, unsigned int pages)
{
	unsigned int n = 0;

	while (pages--)
		n += entry_of(page++) & PM_PRESENT ? 1 : 0;
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

static void for_each_planned(struct run *run, char state,
			     void (*job)(struct run *run, unsigned int page,
					 unsigned int pages))
{
	unsigned int page, pages;

	for (page = 0; page < NPAGES; page += pages) {
		pages = run_length(page);
		if (planned(page) == state)
			job(run, page, pages);
	}
}

static void swap_out_job(struct run *run, unsigned int page, unsigned int pages)
{
	(void)run;
	swap_out(page, pages);
}

static void get_info(struct run *run)
{
	if (ioctl(run->device, ONEWALK_DUMMY_INFO, &run->info))
		die("ONEWALK_DUMMY_INFO: %s", strerror(errno));
}

static void prepare(struct run *run)
{
	map_range();
	write_pages(true);
	start_child(run);
	write_pages(false);
	read_pages();
	for_each_planned(run, SWAPPED, swap_out_job);

	run->device = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);
	if (run->device < 0)
		die("/dev/hmm_dmirror0: %s", strerror(errno));
	for_each_planned(run, PINNED, pin);
	get_info(run);
}

/*
 * The maps
 */

static bool in_device(const struct run *run, const struct map *map,
		      unsigned int page)
{
	uint64_t entry = map->entry[page];

	if (!(map->device[page] & ONEWALK_DUMMY_MAPPED_DEVICE))
		return false;
	if (run->info.memory == ONEWALK_DUMMY_MEMORY_SYSTEM)
		return entry & PM_PRESENT;
	/* not in memory, and not in the one swap area either */
	return (entry & PM_SWAP) && (entry & PM_SWAP_TYPE);
}

static char state_of_present(const struct run *run, const struct map *map,
			     unsigned int page)
{
	uint64_t entry = map->entry[page];
	uint64_t flags = read_u64(kpageflags, entry & PM_FRAME);

	if (flags & 1ULL << KPF_ZERO_PAGE)
		return ZERO;
	if (!(flags & 1ULL << KPF_ANON))
		return FILE_PAGE;
	if (flags & 1ULL << KPF_THP)
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
	uint64_t entry = map->entry[page];

	if (in_device(run, map, page))
		return DEVICE;
	if (entry & PM_PRESENT)
		return state_of_present(run, map, page);
	if (!(entry & PM_SWAP))
		return HOLE;
	return entry & PM_SWAP_TYPE ? STRANGE : SWAPPED;
}

static void read_map(const struct run *run, struct map *map)
{
	struct onewalk_dummy_buffer call = {
		.addr = (uintptr_t)range,
		.npages = NPAGES,
		.ptr = (uintptr_t)map->device,
	};
	unsigned int page;

	if (ioctl(run->device, ONEWALK_DUMMY_INSPECT, &call))
		die("ONEWALK_DUMMY_INSPECT: %s", strerror(errno));
	for (page = 0; page < NPAGES; page++) {
		map->entry[page] = entry_of(page);
		map->state[page] = state_of(run, map, page);
	}
}

static unsigned int count_state(const struct map *map, char state)
{
	unsigned int page, n = 0;

	for (page = 0; page < NPAGES; page++)
		n += map->state[page] == state;
	return n;
}

static const char *colour_of(char state)
{
	unsigned int i;

	for (i = 0; i < NR_STATES; i++)
		if (states[i].state == state)
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

static void print_coloured(char state, const char *text, int length)
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

static void print_maps(const struct run *run)
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
	printf(" in device memory; %c one block, several states; the rest: below\n",
	       MIXED);
}

static void check_before(const struct run *run)
{
	unsigned int page, pinned = 0, wrong = 0;

	for (page = 0; page < NPAGES; page++) {
		pinned += planned(page) == PINNED;
		if (run->before.state[page] == planned(page))
			continue;
		if (!wrong++)
			mismatch("page %u was prepared as '%c' and is '%c'", page,
				 planned(page), run->before.state[page]);
	}
	if (wrong > 1)
		mismatch("%u pages are not as they were prepared", wrong);
	if (run->info.pinned != pinned)
		mismatch("%u pages were pinned, the device has %llu", pinned,
			 run->info.pinned);
}

/*
 * Counting, by the kernel's function tracer, for this task alone
 */

#define TRACING	"/sys/kernel/tracing/"

static bool try_tracefs(const char *file, const char *text, int flags)
{
	char path[128];
	ssize_t done;
	int fd;

	snprintf(path, sizeof(path), TRACING "%s", file);
	fd = open(path, O_WRONLY | flags);
	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text));
	close(fd);
	return done == (ssize_t)strlen(text);
}

static void tracefs(const char *file, const char *text)
{
	if (!try_tracefs(file, text, O_TRUNC))
		die("cannot write \"%s\" to " TRACING "%s: %s", text, file,
		    strerror(errno));
}

static void set_up_tracer(void)
{
	char pid[16];
	int i;

	snprintf(pid, sizeof(pid), "%d", getpid());
	tracefs("tracing_on", "0");
	tracefs("current_tracer", "nop");
	tracefs("set_ftrace_pid", pid);
	tracefs("buffer_size_kb", "4096");
	tracefs("set_ftrace_filter", "");
	for (i = 0; i < NR_COUNTERS; i++)
		if (!try_tracefs("set_ftrace_filter", traced[i], O_APPEND) &&
		    i != VMA_WALKS)
			die("cannot trace %s()", traced[i]);
	tracefs("current_tracer", "function");
}

/* A line of the trace: "demo-80 [000] ..... 9.1: handle_mm_fault <-caller" */
static void count_line(struct run *run, const char *line)
{
	const char *name = strstr(line, ": ");
	unsigned long in_buffer, written;
	size_t length;
	int i;

	if (sscanf(line, "# entries-in-buffer/entries-written: %lu/%lu",
		   &in_buffer, &written) == 2 && in_buffer != written)
		die("the tracer lost %lu calls", written - in_buffer);
	if (line[0] == '#' || !name)
		return;
	name += strlen(": ");
	length = strcspn(name, " ");
	for (i = 0; i < NR_COUNTERS; i++)
		if (length == strlen(traced[i]) && !memcmp(name, traced[i], length))
			run->count[i]++;
}

static void count_calls(struct run *run)
{
	char line[256];
	FILE *trace = fopen(TRACING "trace", "r");

	if (!trace)
		die("cannot read " TRACING "trace");
	while (fgets(line, sizeof(line), trace))
		count_line(run, line);
	fclose(trace);
}

/*
 * The move, and what is checked after it
 */

static void move(struct run *run, enum onewalk_dummy_method method)
{
	int ret, error;

	run->call = (struct onewalk_dummy_migrate){
		.addr = (uintptr_t)range,
		.npages = NPAGES,
		.status = method == ONEWALK_DUMMY_RANGE ? (uintptr_t)run->status : 0,
		.method = method,
		.flags = ONEWALK_DUMMY_MIGRATE_FAULT,
	};
	memset(run->status, 0xff, sizeof(run->status));
	tracefs("trace", "");
	tracefs("tracing_on", "1");
	ret = ioctl(run->device, ONEWALK_DUMMY_MIGRATE, &run->call);
	error = errno;
	tracefs("tracing_on", "0");
	if (ret)
		die("ONEWALK_DUMMY_MIGRATE, method %d: %s", method, strerror(error));
	count_calls(run);
	get_info(run);
}

/* What the maps say of a page that they show outside the device. */
static bool reason_holds(const struct run *run, unsigned int page,
			 enum onewalk_status status)
{
	bool stayed = run->before.entry[page] == run->after.entry[page];

	switch (status) {
	case ONEWALK_STATUS_FILE:
		return run->after.state[page] == FILE_PAGE;
	case ONEWALK_STATUS_PINNED:
	case ONEWALK_STATUS_UNKNOWN:	/* the portable engine's for it */
		return run->after.state[page] == PINNED && stayed;
	default:
		return false;
	}
}

static void check_after(const struct run *run)
{
	unsigned int page, wrong = 0;

	for (page = 0; page < NPAGES; page++) {
		uint8_t status = run->status[page];
		bool holds = run->after.state[page] == DEVICE ?
			     status == ONEWALK_STATUS_MIGRATING :
			     reason_holds(run, page, status);

		if (!holds && !wrong++)
			mismatch("page %u was '%c', is '%c', and its status is \"%s\"",
				 page, run->before.state[page],
				 run->after.state[page],
				 status < ONEWALK_STATUS_NR ?
				 status_names[status] : "not set");
	}
	if (wrong > 1)
		mismatch("%u pages are not where their status says", wrong);
	if (run->call.moved != count_state(&run->after, DEVICE))
		mismatch("%llu pages moved, says the module", run->call.moved);
}

/* Files do not migrate and pins hold: all the rest has to be in the device. */
static void check_moved(const struct run *run, const char *method)
{
	unsigned int page, left = 0;

	for (page = 0; page < NPAGES; page++) {
		if (planned(page) == PINNED ||
		    (in_file(page) && planned(page) != WRITTEN))
			continue;
		left += run->after.state[page] != DEVICE;
	}
	if (left)
		mismatch("%s left %u pages behind", method, left);
}

static void check_memory_in_use(const struct run *run)
{
	unsigned long long used = run->info.pages_total - run->info.pages_free;
	unsigned int shown = count_state(&run->after, DEVICE);

	if (run->info.pages_total && used != shown)
		mismatch("the device has %llu pages in use, the map shows %u",
			 used, shown);
}

static void read_by_device(struct run *run)
{
	struct onewalk_dummy_cmd call = {
		.addr = (uintptr_t)range,
		.ptr = (uintptr_t)device_copy,
		.npages = NPAGES,
	};

	memset(device_copy, 0x5a, SIZE);
	if (ioctl(run->device, ONEWALK_DUMMY_READ, &call))
		die("ONEWALK_DUMMY_READ: %s", strerror(errno));
	if (call.cpages != NPAGES)
		mismatch("the device read %llu of %u pages", call.cpages, NPAGES);
	run->device_faults = call.faults;
	count_wrong(device_copy, "the device");
}

static void end_child(struct run *run)
{
	int status;

	if (write(run->tell_child, "c", 1) != 1 ||
	    waitpid(run->child, &status, 0) != run->child)
		die("the forked child is gone");
	close(run->tell_child);
	if (status)
		mismatch("the forked child reads wrong bytes");
}

/* The CPU's reading brings everything back from a device that it cannot read. */
static void read_by_cpu(struct run *run)
{
	count_wrong(range, "the CPU");
	end_child(run);
	get_info(run);
	if (run->info.pages_free != run->info.pages_total)
		mismatch("%llu pages of device memory are still in use",
			 run->info.pages_total - run->info.pages_free);
}

static void finish(struct run *run)
{
	if (ioctl(run->device, ONEWALK_DUMMY_UNPIN_ALL))
		die("ONEWALK_DUMMY_UNPIN_ALL: %s", strerror(errno));
	close(run->device);
	/* gone, and the addresses kept for the next time */
	if (mmap(range, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0) == MAP_FAILED)
		die("mmap: %s", strerror(errno));
}

/*
 * The report
 */

static const char *read_line(const char *path)
{
	static char line[64];
	FILE *file = fopen(path, "r");

	if (!file || !fgets(line, sizeof(line), file))
		die("cannot read %s; is the module loaded?", path);
	fclose(file);
	line[strcspn(line, "\n")] = 0;
	return line;
}

static void print_head(const struct run *run)
{
	static const char * const memory[] = { "?", "private", "coherent", "system" };
	struct utsname name;

	uname(&name);
	printf("Linux %s, onewalk's engine %s, device memory %s\n", name.release,
	       read_line("/sys/module/onewalk/parameters/engine"),
	       memory[run->info.memory & 3]);
	if (run->info.memory == ONEWALK_DUMMY_MEMORY_SYSTEM)
		printf("(system: \"device memory\" is ordinary pages, for kernels without\n"
		       " CONFIG_DEVICE_PRIVATE, which Debian's have from 7.x on)\n");
	printf("%lu MiB of a process in three mappings, %d pages; one character is %d\n"
	       "pages, one row a page table. The device faults in and migrates all of it\n"
	       "with one request: one call of onewalk_range_fault() for each mapping.\n",
	       SIZE >> 20, NPAGES, BLOCK);
}

static void print_status(enum onewalk_status status, unsigned int pages,
			 bool first)
{
	if (first)
		printf("%9u  %s\n", pages, status_names[status]);
	else
		printf("%48u  %s\n", pages, status_names[status]);
}

/* Where the pages of one state went, and the reasons of those that stayed. */
static void print_fate(const struct run *run, char state, const char *name)
{
	unsigned int page, pages = 0, moved = 0, stayed[256] = { 0 };
	bool first = true;
	int i;

	for (page = 0; page < NPAGES; page++) {
		if (run->before.state[page] != state)
			continue;
		pages++;
		if (run->after.state[page] == DEVICE)
			moved++;
		else
			stayed[run->status[page]]++;
	}
	if (!pages)
		return;

	printf("  ");
	print_coloured(state, &state, 1);
	printf(" %-18s %7u %8u", name, pages, moved);
	for (i = 0; i < ONEWALK_STATUS_NR; i++) {
		if (!stayed[i])
			continue;
		print_status(i, stayed[i], first);
		first = false;
	}
	if (first)
		printf("\n");
}

static void print_fates(const struct run *run)
{
	unsigned int page, i, moved = count_state(&run->after, DEVICE), mapped = 0;

	printf("\n    %-18s %7s %8s %8s  %s\n", "before", "pages", "moved", "stayed",
	       "and why, by onewalk's status");
	for (i = 0; i < NR_STATES; i++)
		print_fate(run, states[i].state, states[i].name);
	printf("    %-18s %7d %8u %8u\n", "together", NPAGES, moved, NPAGES - moved);

	for (page = 0; page < NPAGES; page++)
		mapped += run->after.state[page] != DEVICE && run->after.device[page];
	printf("  Files never migrate, pinned pages must not. %u of the %u that stayed are\n"
	       "  in the device's page table all the same, where they are.\n",
	       mapped, NPAGES - moved);
}

static void print_counts(const char *method, const struct run *run)
{
	printf("  %-34s %7u %8u %8u %8u\n", method, run->count[SCANS],
	       run->count[WALKS] + run->count[VMA_WALKS], run->count[FAULTS],
	       count_state(&run->after, DEVICE));
}

static void print_table_head(void)
{
	printf("\nThe kernel's function tracer counted, the range being prepared anew each time:\n"
	       "%36s %7s %8s %8s %8s\n", "", "scans*", "walks*", "faults*", "moved");
}

static void print_table_foot(void)
{
	printf("  * scans: onewalk_scan(), without a lock; walks: walk_page_range() and\n"
	       "    walk_page_range_vma(); faults: handle_mm_fault(); by this task\n");
}

/* Moves the range with one method, and reads it from both sides. */
static void do_run(struct run *run, enum onewalk_dummy_method method,
		   const char *name)
{
	prepare(run);
	read_map(run, &run->before);
	check_before(run);
	move(run, method);
	read_map(run, &run->after);
	check_moved(run, name);
	check_memory_in_use(run);
	read_by_device(run);
	read_by_cpu(run);
	finish(run);
}

static void print_proof(const struct run *run)
{
	printf("\nThe device read all %d pages through its page table (%lu faults more):\n"
	       "every byte as written. Then the CPU read them all: every byte as written;\n",
	       NPAGES, run->device_faults);
	if (run->info.pages_total)
		printf("device pages in use went from %u to %llu. ",
		       count_state(&run->after, DEVICE),
		       run->info.pages_total - run->info.pages_free);
	printf("The forked child read its own.\n");
}

static void demonstrate(struct run *run)
{
	do_run(run, ONEWALK_DUMMY_RANGE, "onewalk");
	print_head(run);
	print_maps(run);
	check_after(run);
	print_fates(run);
	if (!trouble)
		print_proof(run);
}

static void compare(const struct run *ours)
{
	static struct run fault_first, fault_on_miss;

	print_table_head();
	print_counts("onewalk_range_fault()", ours);
	do_run(&fault_first, ONEWALK_DUMMY_FAULT_MIGRATE, "fault, migrate");
	print_counts("fault, migrate", &fault_first);
	do_run(&fault_on_miss, ONEWALK_DUMMY_MIGRATE_FAULT_MIGRATE,
	       "migrate, fault, migrate");
	print_counts("migrate, fault, migrate", &fault_on_miss);
	print_table_foot();
}

static void set_up(int argc, char **argv)
{
	cpu_set_t one;
	uint8_t *area;

	coloured = argc > 1 && !strcmp(argv[1], "--colour");
	setvbuf(stdout, NULL, _IOLBF, 0);
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0 || kpageflags < 0)
		die("cannot open /proc/self/pagemap and /proc/kpageflags");

	/* A page in another CPU's batch is not on the LRU and is not swapped. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);

	device_copy = reserve(SIZE);
	area = mmap(NULL, SIZE + ROW * PAGE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		die("no address space");
	range = (uint8_t *)(((uintptr_t)area + ROW * PAGE - 1) & -(ROW * PAGE));
	set_up_tracer();
}

int main(int argc, char **argv)
{
	static struct run ours;

	set_up(argc, argv);
	demonstrate(&ours);
	compare(&ours);
	if (trouble)
		die("%d things were not as they have to be", trouble);
	return 0;
}
