// SPDX-License-Identifier: GPL-2.0
/*
 * The demo: moves the range, looks where it went, and tells.
 *
 * To be run as root with onewalk_dummy loaded and one swap area in use.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "demo.h"

/* As the module calls them; a number is what one reads of a newer one. */
static const char * const status_names[256] = {
	[ONEWALK_STATUS_MIGRATING]	= "migrating",
	[ONEWALK_STATUS_NOT_REQUESTED]	= "not requested",
	[ONEWALK_STATUS_NOT_SELECTED]	= "not selected",
	[ONEWALK_STATUS_FOREIGN_DEVICE]	= "foreign device",
	[ONEWALK_STATUS_ON_NODE]	= "already on the node",
	[ONEWALK_STATUS_SWAPPED]	= "swapped out",
	[ONEWALK_STATUS_LOCKED]		= "locked",
	[ONEWALK_STATUS_PINNED]		= "pinned",
	[ONEWALK_STATUS_BUSY]		= "in use",
	[ONEWALK_STATUS_NOT_ON_LRU]	= "not on the LRU",
	[ONEWALK_STATUS_WRITEBACK]	= "under writeback",
	[ONEWALK_STATUS_FILE]		= "file page",
	[ONEWALK_STATUS_KSM]		= "KSM page",
	[ONEWALK_STATUS_SPECIAL]	= "special mapping",
	[ONEWALK_STATUS_HUGETLB]	= "hugetlb page",
	[ONEWALK_STATUS_POISONED]	= "poisoned",
	[ONEWALK_STATUS_UFFD]		= "userfaultfd",
	[ONEWALK_STATUS_SPLIT_FAILED]	= "split failed",
	[ONEWALK_STATUS_FAULT_EFAULT]	= "fault failed (EFAULT)",
	[ONEWALK_STATUS_FAULT_EPERM]	= "fault failed (EPERM)",
	[ONEWALK_STATUS_FAULT_ENOMEM]	= "fault failed (ENOMEM)",
	[ONEWALK_STATUS_FAULT_POISONED]	= "fault failed (poisoned)",
	[ONEWALK_STATUS_STOPPED]	= "stopped early",
	[ONEWALK_STATUS_UNKNOWN]	= "unknown",
};

static __u8 *device_copy;
static int trouble;

static const char *status_name(__u8 status)
{
	static char number[16];

	if (status_names[status])
		return status_names[status];
	snprintf(number, sizeof(number), "status %u", status);
	return number;
}

void count_mismatch(void)
{
	trouble++;
}

int open_device(void)
{
	int device = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);

	if (device < 0)
		die("/dev/hmm_dmirror0: %s", strerror(errno));
	return device;
}

void get_info(int device, struct onewalk_dummy_info *info)
{
	if (ioctl(device, ONEWALK_DUMMY_INFO, info))
		die("ONEWALK_DUMMY_INFO: %s", strerror(errno));
}

static unsigned int count_files(void)
{
	unsigned int page, n = 0;

	for (page = 0; page < NPAGES; page++)
		n += in_file(page) && planned(page) != WRITTEN;
	return n;
}

static unsigned int count_pinned(void)
{
	unsigned int page, n = 0;

	for (page = 0; page < NPAGES; page++)
		n += planned(page) == PINNED;
	return n;
}

static void check_before(const struct run *run)
{
	unsigned int page, wrong = 0;

	for (page = 0; page < NPAGES; page++) {
		if (run->before.state[page] == planned(page))
			continue;
		if (!wrong++)
			mismatch("page %u was prepared as '%c' and is '%c'", page,
				 planned(page), run->before.state[page]);
	}
	if (wrong > 1)
		mismatch("%u pages are not as they were prepared", wrong);
	if (run->info.pinned != count_pinned())
		mismatch("%u pages were pinned, the device has %llu",
			 count_pinned(), run->info.pinned);
}

static void move(struct run *run, enum onewalk_dummy_method method)
{
	bool ours = method == ONEWALK_DUMMY_RANGE;
	int ret, error;

	run->call = (struct onewalk_dummy_migrate){
		.addr = (uintptr_t)address(0),
		.npages = NPAGES,
		.status = ours ? (uintptr_t)run->status : 0,
		.method = method,
		.flags = ONEWALK_DUMMY_MIGRATE_FAULT,
	};
	memset(run->status, 0xff, sizeof(run->status));
	start_counting();
	ret = ioctl(run->device, ONEWALK_DUMMY_MIGRATE, &run->call);
	error = errno;
	stop_counting(run);
	if (ret)
		die("ONEWALK_DUMMY_MIGRATE, method %d: %s", method, strerror(error));
	get_info(run->device, &run->info);
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
		__u8 status = run->status[page];
		bool holds = is_moved(&run->after, page) ?
			     status == ONEWALK_STATUS_MIGRATING :
			     reason_holds(run, page, status);

		if (!holds && !wrong++)
			mismatch("page %u was '%c', is '%c', and its status is \"%s\"",
				 page, run->before.state[page],
				 run->after.state[page],
				 status_name(status));
	}
	if (wrong > 1)
		mismatch("%u pages are not where their status says", wrong);
}

/* File pages do not migrate to a device, and pins hold: all the rest moves. */
static void check_moved(const struct run *run, const char *method)
{
	unsigned int expected = NPAGES - count_files() - count_pinned();

	if (run->call.moved != expected)
		mismatch("%s: %llu of %u pages moved, says the device", method,
			 run->call.moved, expected);
	/* Of ordinary pages that the device does not map, the map cannot tell. */
	if (run->info.memory == ONEWALK_DUMMY_MEMORY_SYSTEM &&
	    run->call.method != ONEWALK_DUMMY_RANGE)
		return;
	if (count_moved(&run->after) != expected)
		mismatch("%s: %u of %u pages moved, says the map", method,
			 count_moved(&run->after), expected);
}

static void check_memory_in_use(const struct run *run)
{
	unsigned long long used = run->info.pages_total - run->info.pages_free;
	unsigned int shown = count_moved(&run->after);

	if (run->info.pages_total && used != shown)
		mismatch("the device has %llu pages in use, the map shows %u",
			 used, shown);
}

static void read_by_device(struct run *run)
{
	struct onewalk_dummy_cmd call = {
		.addr = (uintptr_t)address(0),
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

/* The CPU's reading brings everything back from a device that it cannot read. */
static void read_by_cpu(struct run *run)
{
	count_wrong(address(0), "the CPU");
	end_child(run);
	get_info(run->device, &run->info);
	if (run->info.pages_free != run->info.pages_total)
		mismatch("%llu pages of device memory are still in use",
			 run->info.pages_total - run->info.pages_free);
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

static void print_head(void)
{
	static const char * const memory[] = { "?", "private", "coherent", "system" };
	struct onewalk_dummy_info info;
	struct utsname name;
	int device = open_device();

	get_info(device, &info);
	close(device);
	uname(&name);
	printf("Linux %s, onewalk's engine %s, device memory %s\n", name.release,
	       read_line("/sys/module/onewalk/parameters/engine"),
	       memory[info.memory & 3]);
	if (info.memory == ONEWALK_DUMMY_MEMORY_SYSTEM)
		printf("(ordinary pages, as on every kernel without CONFIG_DEVICE_PRIVATE)\n");
	printf("%lu MiB of a process in three mappings, %d pages. The device faults in and\n"
	       "migrates them with one request: one onewalk_range_fault() for each mapping.\n"
	       "One character is %d pages, one row a page table.\n",
	       SIZE >> 20, NPAGES, BLOCK);
}

static void print_status(__u8 status, unsigned int pages, bool first)
{
	if (first)
		printf("%9u  %s\n", pages, status_name(status));
	else
		printf("%48u  %s\n", pages, status_name(status));
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
		if (is_moved(&run->after, page))
			moved++;
		else
			stayed[run->status[page]]++;
	}
	if (!pages)
		return;

	printf("  ");
	print_coloured(state, &state, 1);
	printf(" %-18s %7u %8u", name, pages, moved);
	for (i = 0; i < 256; i++) {
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
	unsigned int i, moved = count_moved(&run->after);

	printf("\n    %-18s %7s %8s %8s  %s\n", "before", "pages", "moved", "stayed",
	       "and why, by onewalk's status");
	for (i = 0; i < NR_STATES; i++)
		print_fate(run, states[i].letter, states[i].name);
	printf("    %-18s %7d %8u %8u\n", "all", NPAGES, moved, NPAGES - moved);

	printf("  Files do not migrate to a device, and pinned pages have to stay: the device\n"
	       "  uses both in place. Its page table now has %u of the %u pages.\n",
	       count_mapped(&run->after), NPAGES);
}

static void print_counts(const char *method, const struct run *run)
{
	unsigned int walks = run->count[OUR_WALKS] + run->count[WALKS] +
			     run->count[VMA_WALKS];

	printf("  %-26s %8u %8u %8u %8u %8u\n", method, run->count[SCANS],
	       walks, run->count[FAULTS], (unsigned int)run->call.moved,
	       count_mapped(&run->after));
}

static void print_table_head(void)
{
	printf("\nWhat the kernel's function tracer counted, for each way in a range made anew:\n"
	       "%28s %8s %8s %8s %8s %8s\n", "", "scans", "walks", "faults",
	       "moved", "mapped");
}

static void print_table_foot(void)
{
	printf("  fault: hmm_range_fault(), migrate: migrate_vma_setup(). Calls in this task:\n"
	       "  scans, onewalk's look at a page table without locks, resumed after each\n"
	       "  fault: onewalk_scan_pmd(); walks: unified_collect(), walk_page_range()\n"
	       "  and walk_page_range_vma(); faults: handle_mm_fault(). mapped: by the\n"
	       "  device's page table right afterwards.\n");
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
	printf("\nThe device read all %d pages through its page table (%lu faults for it):\n"
	       "every byte is as written. So it is for the CPU, which read them next, and for\n"
	       "the forked child with its own.",
	       NPAGES, run->device_faults);
	if (run->info.pages_total)
		printf(" Device pages in use: %u, and in the end %llu.",
		       count_moved(&run->after),
		       run->info.pages_total - run->info.pages_free);
	printf("\n");
}

static void demonstrate(struct run *run)
{
	print_head();
	do_run(run, ONEWALK_DUMMY_RANGE, "onewalk");
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

static void set_up(bool coloured)
{
	cpu_set_t one;

	setvbuf(stdout, NULL, _IOLBF, 0);
	open_maps(coloured);

	/* A page in another CPU's batch is not on the LRU and is not swapped. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);

	device_copy = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (device_copy == MAP_FAILED)
		die("no memory");
	reserve_range();
	set_up_tracer();
}

int main(int argc, char **argv)
{
	static struct run ours;

	set_up(argc > 1 && !strcmp(argv[1], "--colour"));
	demonstrate(&ours);
	compare(&ours);
	if (trouble)
		die("%d things were not as they have to be", trouble);
	return 0;
}
