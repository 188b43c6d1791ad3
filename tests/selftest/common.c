// SPDX-License-Identifier: GPL-2.0
/*
 * What the test programs share; see common.h.
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

/* Waits for something that is on its way: this often, this long apart. */
#define TRIES		1000
#define TRY_USEC	10000

static char reason[256];

static const char *because(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

static const char *because(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	return reason;
}

/* --- the machine --- */

bool kernel_migrates_large_folios(void)
{
	char release[64] = "";
	int major = 0, minor = 0;

	read_file("/proc/sys/kernel/osrelease", release, sizeof(release));
	sscanf(release, "%d.%d", &major, &minor);
	return major > 6 || (major == 6 && minor >= 19);
}

static bool memory_is(const char *kind)
{
	const char *memory = getenv("ONEWALK_MEMORY");

	return strcmp(memory ?: "private", kind) == 0;
}

bool memory_is_private(void)
{
	return memory_is("private");
}

bool memory_is_coherent(void)
{
	return memory_is("coherent");
}

bool has_device_memory(void)
{
	return !memory_is("system");
}

bool run_long(void)
{
	const char *value = getenv("ONEWALK_LONG");

	return value && strcmp(value, "1") == 0;
}

bool run_short(void)
{
	const char *slow = getenv("ONEWALK_SLOW");

	return slow && atoi(slow) > 1 && !run_long();
}

bool engine_is_portable(void)
{
	char engine[32];

	return read_file("/sys/module/onewalk/parameters/engine", engine,
			 sizeof(engine)) ||
	       strcmp(engine, "portable") == 0;
}

int read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return -errno;
	length = read(fd, buf, size - 1);
	if (length < 0)
		length = -errno;
	close(fd);
	if (length < 0)
		return length;
	buf[length] = '\0';
	if (length && buf[length - 1] == '\n')
		buf[length - 1] = '\0';
	return 0;
}

static int write_text(const char *path, int flags, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags);
	ssize_t ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text));
	ret = ret < 0 ? -errno : 0;
	close(fd);
	return ret;
}

long field(const char *path, const char *name)
{
	FILE *file = fopen(path, "r");
	size_t length = strlen(name);
	long value = -1;
	char line[256];

	while (file && value < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, length) &&
		    (line[length] == ' ' || line[length] == ':'))
			value = atol(line + length + 1);
	if (file)
		fclose(file);
	return value;
}

int write_file(const char *path, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return write_text(path, 0, text);
}

struct setting {
	struct setting *next;
	pid_t owner;
	char *path;
	char *value;
};

static struct setting *settings;

/* "always [madvise] never" is set with "madvise" */
static char *chosen(char *value)
{
	char *start = strchr(value, '['), *end = strchr(value, ']');

	if (!start || !end)
		return value;
	*end = '\0';
	return start + 1;
}

void restore_settings(void)
{
	struct setting *setting;

	/* what the parent has set stays */
	while ((setting = settings) && setting->owner == getpid()) {
		settings = setting->next;
		write_text(setting->path, 0, setting->value);
		free(setting->path);
		free(setting->value);
		free(setting);
	}
}

int set_file(const char *path, const char *value)
{
	struct setting *setting;
	char old[256];
	int ret = read_file(path, old, sizeof(old));

	if (ret)
		return ret;
	ret = write_text(path, 0, value);
	if (ret)
		return ret;

	setting = malloc(sizeof(*setting));
	setting->owner = getpid();
	setting->path = strdup(path);
	setting->value = strdup(chosen(old));
	setting->next = settings;
	settings = setting;
	return 0;
}

void note(const char *format, ...)
{
	va_list args;

	fputs("# ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

void run_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* --- the device --- */

int dummy_open(int id)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/hmm_dmirror%d", id);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int dummy_cmd(int fd, unsigned long request, const void *addr, size_t npages,
	      void *ptr, struct onewalk_dummy_cmd *result)
{
	struct onewalk_dummy_cmd cmd = {
		.addr = (uintptr_t)addr,
		.ptr = (uintptr_t)ptr,
		.npages = npages,
	};
	int ret;

	ret = ioctl(fd, request, &cmd) ? -errno : 0;
	if (result)
		*result = cmd;
	return ret;
}

int dummy_read(int fd, const void *addr, size_t npages, void *buf)
{
	return dummy_cmd(fd, ONEWALK_DUMMY_READ, addr, npages, buf, NULL);
}

int dummy_write(int fd, void *addr, size_t npages, const void *buf)
{
	return dummy_cmd(fd, ONEWALK_DUMMY_WRITE, addr, npages, (void *)buf,
			 NULL);
}

int dummy_info(int fd, struct onewalk_dummy_info *info)
{
	memset(info, 0, sizeof(*info));
	return ioctl(fd, ONEWALK_DUMMY_INFO, info) ? -errno : 0;
}

int dummy_inspect(int fd, const void *addr, size_t npages, uint8_t *mapped)
{
	struct onewalk_dummy_buffer buffer = {
		.addr = (uintptr_t)addr,
		.npages = npages,
		.ptr = (uintptr_t)mapped,
	};

	return ioctl(fd, ONEWALK_DUMMY_INSPECT, &buffer) ? -errno : 0;
}

int dummy_report_masked(int fd, const void *addr, size_t npages,
			uint64_t *pfns, uint64_t default_flags, uint64_t mask,
			bool kernel)
{
	struct onewalk_dummy_report report = {
		.addr = (uintptr_t)addr,
		.npages = npages,
		.pfns = (uintptr_t)pfns,
		.default_flags = default_flags,
		.pfn_flags_mask = mask,
		.kernel = kernel,
	};

	return ioctl(fd, ONEWALK_DUMMY_REPORT, &report) ? -errno : 0;
}

int dummy_report(int fd, const void *addr, size_t npages, uint64_t *pfns,
		 uint64_t default_flags, bool kernel)
{
	return dummy_report_masked(fd, addr, npages, pfns, default_flags, 0,
				   kernel);
}

int dummy_pin(int fd, const void *addr, size_t npages)
{
	struct onewalk_dummy_pin pin = {
		.addr = (uintptr_t)addr,
		.npages = npages,
	};

	return ioctl(fd, ONEWALK_DUMMY_PIN, &pin) ? -errno : 0;
}

int dummy_lock(int fd, const void *addr, unsigned int msec)
{
	struct onewalk_dummy_lock lock = {
		.addr = (uintptr_t)addr,
		.msec = msec,
	};

	return ioctl(fd, ONEWALK_DUMMY_LOCK, &lock) ? -errno : 0;
}

int dummy_service(int fd, struct onewalk_dummy_fault *faults, unsigned int nr,
		  struct onewalk_dummy_service *service)
{
	service->faults = (uintptr_t)faults;
	service->nr = nr;
	return ioctl(fd, ONEWALK_DUMMY_SERVICE, service) ? -errno : 0;
}

void shuffle_faults(struct onewalk_dummy_fault *faults, size_t nr,
		    uint64_t *random)
{
	struct onewalk_dummy_fault fault;
	size_t i, other;

	for (i = 0; i < nr; i++) {
		other = next_random(random) % nr;
		fault = faults[i];
		faults[i] = faults[other];
		faults[other] = fault;
	}
}

int dummy_migrate(int fd, const void *addr, size_t npages, unsigned int method,
		  unsigned int flags, uint8_t *status, uint64_t *pfns,
		  struct onewalk_dummy_migrate *result)
{
	struct onewalk_dummy_migrate migrate = {
		.addr = (uintptr_t)addr,
		.npages = npages,
		.status = (uintptr_t)status,
		.pfns = (uintptr_t)pfns,
		.method = method,
		.flags = flags,
	};
	int ret;

	if (result)
		migrate.nid = result->nid;
	ret = ioctl(fd, ONEWALK_DUMMY_MIGRATE, &migrate) ? -errno : 0;
	if (result)
		*result = migrate;
	return ret;
}

long to_device(int fd, const void *addr, size_t npages)
{
	struct onewalk_dummy_migrate result = {};
	int ret = dummy_migrate(fd, addr, npages, ONEWALK_DUMMY_RANGE,
				ONEWALK_DUMMY_MIGRATE_FAULT, NULL, NULL,
				&result);

	return ret ?: (long)result.moved;
}

long to_system(int fd, const void *addr, size_t npages)
{
	struct onewalk_dummy_migrate result = {};
	int ret = dummy_migrate(fd, addr, npages, ONEWALK_DUMMY_RANGE,
				ONEWALK_DUMMY_MIGRATE_TO_SYSTEM, NULL, NULL,
				&result);

	return ret ?: (long)result.moved;
}

/* move_pages(2) does so first; the page that it moves stays. */
void drain_all(void)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	void *pages = page;
	int node = 0, status;

	page[0] = 1;
	syscall(SYS_move_pages, 0, 1, &pages, &node, &status, MPOL_MF_MOVE);
}

uint64_t free_pages(int fd, uint64_t expected)
{
	struct onewalk_dummy_info info = {};
	int try;

	for (try = 0; try < TRIES; try++) {
		if (dummy_info(fd, &info) || info.pages_free == expected)
			break;
		/* coherent pages may wait in a batch, see dummy_drain() */
		if (memory_is_coherent())
			drain_all();
		usleep(TRY_USEC);
	}
	return info.pages_free;
}

bool device_is_empty(int fd)
{
	struct onewalk_dummy_info info;

	return !dummy_info(fd, &info) &&
	       free_pages(fd, info.pages_total) == info.pages_total;
}

/* --- memory --- */

static struct mapping {
	void *addr;
	size_t size;
} mappings[64];
static unsigned int nmappings;

static void *remember(void *addr, size_t size)
{
	if (addr == MAP_FAILED)
		return NULL;
	if (nmappings == sizeof(mappings) / sizeof(mappings[0])) {
		note("too many mappings");
		abort();
	}
	mappings[nmappings++] = (struct mapping){ addr, size };
	return addr;
}

void unmap_all(void)
{
	while (nmappings) {
		nmappings--;
		munmap(mappings[nmappings].addr, mappings[nmappings].size);
	}
}

/* @align is at least a page; what is cut off at the ends is given back. */
static void *reserve(size_t size, size_t align)
{
	char *addr, *start;

	addr = mmap(NULL, size + align, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (addr == MAP_FAILED)
		return MAP_FAILED;
	start = (char *)(((uintptr_t)addr + align - 1) & ~(align - 1));
	if (start > addr)
		munmap(addr, start - addr);
	munmap(start + size, addr + align - start);
	return start;
}

void *map_aligned(size_t npages, size_t align)
{
	void *addr = reserve(npages * PAGE, align);

	if (addr == MAP_FAILED)
		return NULL;
	addr = remember(mmap(addr, npages * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			npages * PAGE);
	if (addr)
		madvise(addr, npages * PAGE, MADV_NOHUGEPAGE);
	return addr;
}

void *map_pages(size_t npages)
{
	return map_aligned(npages, PAGE);
}

uint64_t word_at(const void *addr, unsigned int version)
{
	return (uintptr_t)addr << 16 | (version & 0xff);
}

void fill_buffer(void *buf, const void *home, size_t npages,
		 unsigned int version)
{
	uint64_t *word = buf;
	size_t i;

	for (i = 0; i < npages * PAGE / sizeof(*word); i++)
		word[i] = word_at((const uint64_t *)home + i, version);
}

void fill(void *addr, size_t npages, unsigned int version)
{
	fill_buffer(addr, addr, npages, version);
}

long wrong_buffer(const void *buf, const void *home, size_t npages,
		  unsigned int version)
{
	const volatile uint64_t *word = buf;
	size_t i;

	for (i = 0; i < npages * PAGE / sizeof(*word); i++)
		if (word[i] != word_at((const uint64_t *)home + i, version))
			return i * sizeof(*word) / PAGE;
	return -1;
}

long wrong_page(const void *addr, size_t npages, unsigned int version)
{
	return wrong_buffer(addr, addr, npages, version);
}

long nonzero_page(const void *addr, size_t npages)
{
	const volatile uint64_t *word = addr;
	size_t i;

	for (i = 0; i < npages * PAGE / sizeof(*word); i++)
		if (word[i])
			return i * sizeof(*word) / PAGE;
	return -1;
}

static void *read_by_device(int fd, const void *addr, size_t npages)
{
	void *buf = malloc(npages * PAGE);
	int ret;

	memset(buf, 0x5a, npages * PAGE);
	ret = dummy_read(fd, addr, npages, buf);
	if (!ret)
		return buf;
	note("the device cannot read %p: %s", addr, strerror(-ret));
	free(buf);
	return NULL;
}

long wrong_on_device(int fd, const void *addr, size_t npages,
		     unsigned int version)
{
	void *buf = read_by_device(fd, addr, npages);
	long ret = -2;

	if (buf)
		ret = wrong_buffer(buf, addr, npages, version);
	free(buf);
	return ret;
}

long nonzero_on_device(int fd, const void *addr, size_t npages)
{
	void *buf = read_by_device(fd, addr, npages);
	long ret = -2;

	if (buf)
		ret = nonzero_page(buf, npages);
	free(buf);
	return ret;
}

/* --- where a page is --- */

struct table {
	const char *path;
	int fd;
	pid_t owner;
};

/* What a parent opened tells about the parent. */
static uint64_t read_entry(struct table *table, uint64_t index)
{
	uint64_t entry = 0;

	if (table->owner != getpid()) {
		table->owner = getpid();
		table->fd = open(table->path, O_RDONLY | O_CLOEXEC);
	}
	if (pread(table->fd, &entry, 8, index * 8) != 8) {
		note("cannot read %s: %s", table->path, strerror(errno));
		abort();
	}
	return entry;
}

uint64_t pagemap(const void *addr)
{
	static struct table table = { .path = "/proc/self/pagemap" };

	return read_entry(&table, (uintptr_t)addr / PAGE);
}

static uint64_t parameter(const char *name)
{
	char path[128], value[32];

	snprintf(path, sizeof(path), "/sys/module/onewalk_dummy/parameters/%s",
		 name);
	if (read_file(path, value, sizeof(value))) {
		note("cannot read %s", path);
		abort();
	}
	return strtoull(value, NULL, 0);
}

/* Remembered, since the module may be gone when its pages are looked for. */
static bool is_coherent(uint64_t pfn)
{
	static uint64_t start[2], npages;
	size_t i;

	if (!memory_is_coherent())
		return false;
	if (!npages) {
		start[0] = parameter("spm_addr_dev0") / PAGE;
		start[1] = parameter("spm_addr_dev1") / PAGE;
		npages = parameter("spm_size") * 256;
	}
	for (i = 0; i < 2; i++)
		if (pfn >= start[i] && pfn < start[i] + npages)
			return true;
	return false;
}

/* A swap entry's type: those that no swapfile has are not swap. */
#define FIRST_SPECIAL_TYPE	16

enum where where_is(uint64_t entry)
{
	if (entry & PAGEMAP_PRESENT)
		return is_coherent(entry & PAGEMAP_PFN) ? SPECIAL : PRESENT;
	if (!(entry & PAGEMAP_SWAP))
		return HOLE;
	return (entry & 0x1f) < FIRST_SPECIAL_TYPE ? SWAPPED : SPECIAL;
}

enum where where(const void *addr)
{
	return where_is(pagemap(addr));
}

const char *where_name(enum where where)
{
	static const char * const names[] = {
		[HOLE] = "a hole",
		[PRESENT] = "present",
		[SWAPPED] = "swapped out",
		[SPECIAL] = "a special entry",
	};

	return names[where];
}

uint64_t pfn_of(const void *addr)
{
	uint64_t entry = pagemap(addr);

	return entry & PAGEMAP_PRESENT ? entry & PAGEMAP_PFN : 0;
}

void clear_soft_dirty(void)
{
	write_file("/proc/self/clear_refs", "4");
}

uint64_t kpageflags(uint64_t pfn)
{
	static struct table table = { .path = "/proc/kpageflags" };

	return read_entry(&table, pfn);
}

uint64_t kpagecgroup(uint64_t pfn)
{
	static struct table table = { .path = "/proc/kpagecgroup" };

	return read_entry(&table, pfn);
}

bool page_flag(const void *addr, int flag)
{
	uint64_t pfn = pfn_of(addr);

	return pfn && kpageflags(pfn) >> flag & 1;
}

bool moved_to_device(const void *addr, uint64_t old_pfn)
{
	uint64_t pfn = pfn_of(addr);

	if (memory_is_private())
		return where(addr) == SPECIAL;
	if (memory_is_coherent())
		return is_coherent(pfn);
	return pfn && pfn != old_pfn;
}

size_t count_where(const void *addr, size_t npages, enum where which)
{
	size_t i, count = 0;

	for (i = 0; i < npages; i++)
		count += where((const char *)addr + i * PAGE) == which;
	return count;
}

size_t count_reachable(const void *addr, size_t npages)
{
	size_t i, count = 0;

	for (i = 0; i < npages; i++)
		count += !!(pagemap((const char *)addr + i * PAGE) &
			    PAGEMAP_PRESENT);
	return count;
}

static const char *forgotten(const void *addr)
{
	uint64_t flags, pfn = pfn_of(addr);

	if (!pfn)
		return NULL;
	flags = kpageflags(pfn);
	if (flags >> KPF_LOCKED & 1)
		return "is locked";
	/* a large page's flag is on its head, and hugetlb's are on no list */
	if (flags >> KPF_ANON & 1 && !(flags >> KPF_LRU & 1) &&
	    !(flags >> KPF_THP & 1) && !(flags >> KPF_HUGE & 1))
		return "is on no LRU list";
	return NULL;
}

long forgotten_pages(const void *addr, size_t npages)
{
	const char *page = addr, *what;
	long count = 0;
	size_t i;
	int try;

	drain_all();
	for (i = 0; i < npages; i++, page += PAGE) {
		/* somebody else may hold it for a moment */
		for (try = 0; (what = forgotten(page)) && try < 100; try++) {
			usleep(TRY_USEC);
			drain_all();
		}
		if (!what)
			continue;
		note("page %zu at %p %s", i, page, what);
		count++;
	}
	return count;
}

/* --- swap --- */

static char swap_device[32];
static pid_t swap_owner;

static void swap_off(void)
{
	/* not in a child that left by exit() */
	if (!swap_device[0] || swap_owner != getpid())
		return;
	if (swapoff(swap_device))
		note("swapoff %s: %s", swap_device, strerror(errno));
	write_file("/sys/class/zram-control/hot_remove", "%s",
		   swap_device + strlen("/dev/zram"));
	swap_device[0] = '\0';
}

static int make_swap(const char *device, size_t npages)
{
	/* mm: include/linux/swap.h, union swap_header */
	struct {
		char boot[1024];
		uint32_t version, last_page, nr_badpages;
		char rest[PAGE - 1024 - 12 - 10];
		char magic[10];
	} __attribute__((packed)) header = {
		.version = 1,
		.last_page = npages - 1,
	};
	int fd = open(device, O_WRONLY | O_CLOEXEC);
	ssize_t ret;

	if (fd < 0)
		return -errno;
	memcpy(header.magic, "SWAPSPACE2", 10);
	ret = write(fd, &header, sizeof(header));
	if (fsync(fd) || close(fd))
		return -errno;
	return ret == sizeof(header) ? 0 : -EIO;
}

/*
 * A swap device of the program's own: zram writes at once, so that pages are
 * out when madvise() returns.
 */
const char *swap_on(void)
{
	const size_t npages = 16384;
	char number[16], path[64];
	struct stat st;
	int ret, try;

	if (swap_device[0])
		return NULL;

	if (stat("/sys/class/zram-control", &st) &&
	    system("modprobe zram num_devices=0 2>/dev/null || modprobe zram"))
		return because("no zram to swap to: modprobe zram fails");
	ret = read_file("/sys/class/zram-control/hot_add", number,
			sizeof(number));
	if (ret)
		return because("zram hot_add: %s", strerror(-ret));

	snprintf(path, sizeof(path), "/sys/block/zram%s/disksize", number);
	ret = write_file(path, "%zu", npages * PAGE);
	if (ret)
		return because("zram disksize: %s", strerror(-ret));

	snprintf(path, sizeof(path), "/dev/zram%s", number);
	ret = -ENOENT;
	for (try = 0; ret && try < 100; try++) {
		ret = make_swap(path, npages);
		if (ret)
			usleep(TRY_USEC);
	}
	if (ret)
		return because("mkswap %s: %s", path, strerror(-ret));
	if (swapon(path, 0))
		return because("swapon %s: %s", path, strerror(errno));

	strcpy(swap_device, path);
	swap_owner = getpid();
	atexit(swap_off);
	/* no page is swapped in but the one that was asked for */
	set_file("/proc/sys/vm/page-cluster", "0");
	atexit(restore_settings);
	return NULL;
}

const char *swap_out(void *addr, size_t npages)
{
	size_t i, left = 0;
	int try;

	if (!swap_device[0])
		return "swap is not set up";

	for (try = 0; try < 100; try++) {
		/* pages in a CPU's LRU batch are passed over */
		drain_all();
		madvise(addr, npages * PAGE, MADV_PAGEOUT);
		for (left = 0, i = 0; i < npages; i++)
			left += where((char *)addr + i * PAGE) != SWAPPED;
		if (!left)
			return NULL;
		usleep(TRY_USEC);
	}
	return because("%zu of %zu pages do not swap out", left, npages);
}

/* --- KSM --- */

/* KPF_KSM will not do: from 6.9 to 6.12 every anonymous page has it. */
static size_t not_merged(const char *addr, size_t npages)
{
	uint64_t pfn = pfn_of(addr);
	size_t i, count = 0;

	for (i = 0; i < npages; i++)
		count += !pfn || pfn_of(addr + i * PAGE) != pfn;
	return count;
}

/* What ksmd merged it may take apart again, until it has come to rest. */
static bool ksm_scan(const char *addr, size_t npages)
{
	int try;

	if (write_file("/sys/kernel/mm/ksm/run", "1"))
		return false;
	for (try = 0; try < TRIES && not_merged(addr, npages); try++)
		usleep(TRY_USEC);
	write_file("/sys/kernel/mm/ksm/run", "0");
	return !not_merged(addr, npages);
}

const char *ksm_merge(void *addr, size_t npages)
{
	int try;

	if (set_file("/sys/kernel/mm/ksm/pages_to_scan", "10000") ||
	    set_file("/sys/kernel/mm/ksm/sleep_millisecs", "10"))
		return "this kernel has no KSM";
	/* pages that did not change for a while are scanned less often */
	set_file("/sys/kernel/mm/ksm/smart_scan", "0");
	if (madvise(addr, npages * PAGE, MADV_MERGEABLE))
		return because("MADV_MERGEABLE: %s", strerror(errno));

	for (try = 0; try < 10; try++)
		if (ksm_scan(addr, npages))
			return NULL;
	return because("KSM did not merge %zu pages", not_merged(addr, npages));
}

/* --- poison --- */

static sigjmp_buf sigbus_return;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(sigbus_return, 1);
}

const char *poison(void *addr)
{
	struct sigaction action = { .sa_handler = on_sigbus }, old;
	volatile int ret = 0;

	sigaction(SIGBUS, &action, &old);
	/* a dirty page's loss is told to those who map it, us included */
	if (!sigsetjmp(sigbus_return, 1))
		ret = madvise(addr, PAGE, MADV_HWPOISON) ? -errno : 0;
	sigaction(SIGBUS, &old, NULL);
	if (ret)
		return because("MADV_HWPOISON: %s", strerror(-ret));
	return where(addr) == SPECIAL ? NULL : "the page did not get poisoned";
}

/* --- mappings of other kinds --- */

const char *map_shared(void **addr, size_t npages)
{
	*addr = remember(mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0),
			 npages * PAGE);
	return *addr ? NULL : because("shared mmap: %s", strerror(errno));
}

/* The file's content is that of the mapping, in version 1. */
const char *map_file(void **addr, size_t npages, int prot, bool shared)
{
	char path[] = "/tmp/onewalk.XXXXXX";
	size_t size = npages * PAGE;
	int fd = mkstemp(path);
	void *buf;

	if (fd < 0)
		return because("mkstemp: %s", strerror(errno));
	unlink(path);
	if (ftruncate(fd, size))
		return because("ftruncate: %s", strerror(errno));
	*addr = remember(mmap(NULL, size, prot,
			      shared ? MAP_SHARED : MAP_PRIVATE, fd, 0), size);
	if (!*addr)
		return because("mmap of a file: %s", strerror(errno));
	buf = malloc(size);
	fill_buffer(buf, *addr, npages, 1);
	if (pwrite(fd, buf, size, 0) != (ssize_t)size)
		return because("writing a file: %s", strerror(errno));
	free(buf);
	close(fd);
	return NULL;
}

const char *map_hugetlb(void **addr, size_t npages)
{
	size_t size = (npages * PAGE + HUGE - 1) & ~(HUGE - 1);

	/* kept until the program ends: getting them later may fail */
	if (set_file("/proc/sys/vm/nr_hugepages", "4"))
		return "this kernel has no hugetlb pages";
	*addr = remember(mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
			      MAP_NORESERVE, -1, 0), size);
	return *addr ? NULL : because("mmap of hugetlb: %s", strerror(errno));
}

const char *map_huge(void **addr, size_t nhuge)
{
	const size_t npages = nhuge * HUGE / PAGE;
	char *page;
	size_t i;

	*addr = page = map_aligned(npages, HUGE);
	if (!page)
		return "no memory";
	if (madvise(page, nhuge * HUGE, MADV_HUGEPAGE))
		return because("MADV_HUGEPAGE: %s", strerror(errno));
	fill(page, npages, 1);
	for (i = 0; i < npages; i++)
		if (!page_flag(page + i * PAGE, KPF_THP))
			return "no transparent huge pages to be had";
	return NULL;
}

const char *map_secret(void **addr, size_t npages)
{
	int fd = syscall(447 /* memfd_secret */, 0);

	if (fd < 0)
		return because("memfd_secret: %s (6.1 needs secretmem.enable=1)",
			       strerror(errno));
	if (ftruncate(fd, npages * PAGE))
		return because("ftruncate: %s", strerror(errno));
	*addr = remember(mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
			      MAP_SHARED, fd, 0), npages * PAGE);
	close(fd);
	return *addr ? NULL : because("mmap of secretmem: %s", strerror(errno));
}

/* the BIOS: device memory that user space may map */
const char *map_io(void **addr, size_t *npages)
{
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);

	*npages = 16;
	if (fd < 0)
		return because("/dev/mem: %s", strerror(errno));
	*addr = remember(mmap(NULL, *npages * PAGE, PROT_READ, MAP_SHARED, fd,
			      0xf0000), *npages * PAGE);
	close(fd);
	return *addr ? NULL : because("mmap of /dev/mem: %s", strerror(errno));
}

/* @flags: a flag of /proc/self/smaps that the mapping shall have, or "" */
static const char *find_mapping(const char *name, const char *flags,
				void **addr, size_t *npages)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	const char *ret = because("there is no %s mapping", name);
	bool inside = false;
	char line[256];

	while (fgets(line, sizeof(line), maps)) {
		if (strstr(line, name) &&
		    sscanf(line, "%lx-%lx", &start, &end) == 2) {
			*addr = (void *)start;
			*npages = (end - start) / PAGE;
			inside = true;
		}
		if (!inside || strncmp(line, "VmFlags:", 8))
			continue;
		inside = false;
		ret = strstr(line, flags) ? NULL :
		      because("%s is no such mapping on this kernel", name);
	}
	fclose(maps);
	return ret;
}

/* Since 6.15 it consists of pages like others. */
const char *map_vvar(void **addr, size_t *npages)
{
	return find_mapping("[vvar]", " pf ", addr, npages);
}

const char *map_vdso(void **addr, size_t *npages)
{
	return find_mapping("[vdso]", "", addr, npages);
}

/* --- a mix --- */

static enum kind pick(uint64_t *state, unsigned int allowed)
{
	enum kind kind;

	do {
		kind = next_random(state) % NR_KINDS;
	} while (!(allowed & 1U << kind));
	return kind;
}

static const char *swap_out_kind(char *page, size_t npages,
				 const uint8_t *kinds)
{
	const char *why = NULL;
	size_t i, run;

	for (i = 0; i < npages && !why; i += run) {
		for (run = 0; i + run < npages; run++)
			if (kinds[i + run] != KIND_SWAPPED)
				break;
		if (run)
			why = swap_out(page + i * PAGE, run);
		else
			run = 1;
	}
	return why;
}

const char *scatter(void *addr, size_t npages, uint64_t seed,
		    unsigned int allowed, uint8_t *kinds)
{
	uint64_t state = seed;
	char *page = addr;
	size_t i;

	for (i = 0; i < npages; i++) {
		kinds[i] = pick(&state, allowed);
		if (kinds[i] == KIND_ZERO)
			(void)*(volatile char *)(page + i * PAGE);
		else if (kinds[i] != KIND_HOLE)
			fill(page + i * PAGE, 1, 1);
	}
	return swap_out_kind(addr, npages, kinds);
}

static bool right_page(const char *buf, const char *home, uint8_t kind)
{
	if (kind == KIND_HOLE || kind == KIND_ZERO)
		return nonzero_page(buf, 1) < 0;
	return wrong_buffer(buf, home, 1, 1) < 0;
}

static long wrong_kind(const char *buf, const char *home, size_t npages,
		       const uint8_t *kinds)
{
	size_t i;

	for (i = 0; i < npages; i++)
		if (!right_page(buf + i * PAGE, home + i * PAGE, kinds[i]))
			return i;
	return -1;
}

long wrong_scattered(const void *addr, size_t npages, const uint8_t *kinds)
{
	return wrong_kind(addr, addr, npages, kinds);
}

long wrong_scattered_on_device(int fd, const void *addr, size_t npages,
			       const uint8_t *kinds)
{
	void *buf = read_by_device(fd, addr, npages);
	long ret = -2;

	if (buf)
		ret = wrong_kind(buf, addr, npages, kinds);
	free(buf);
	return ret;
}

/* --- a child that shares pages --- */

struct question {
	const void *addr;
	size_t npages;
	unsigned int version;
};

static void answer_questions(int ask, int answer)
{
	struct question question;
	long wrong;

	while (read(ask, &question, sizeof(question)) == sizeof(question)) {
		wrong = wrong_page(question.addr, question.npages,
				   question.version);
		if (write(answer, &wrong, sizeof(wrong)) != sizeof(wrong))
			break;
	}
	_exit(0);
}

int peer_start(struct peer *peer)
{
	int ask[2], answer[2];

	if (pipe2(ask, O_CLOEXEC) || pipe2(answer, O_CLOEXEC))
		return -errno;
	peer->pid = fork();
	if (peer->pid < 0)
		return -errno;
	if (!peer->pid) {
		close(ask[1]);
		close(answer[0]);
		answer_questions(ask[0], answer[1]);
	}
	close(ask[0]);
	close(answer[1]);
	peer->ask = ask[1];
	peer->answer = answer[0];
	return 0;
}

long peer_wrong_page(struct peer *peer, const void *addr, size_t npages,
		     unsigned int version)
{
	struct question question = { addr, npages, version };
	long wrong;

	if (write(peer->ask, &question, sizeof(question)) != sizeof(question) ||
	    read(peer->answer, &wrong, sizeof(wrong)) != sizeof(wrong))
		return -2;
	return wrong;
}

void peer_stop(struct peer *peer)
{
	if (!peer->pid)
		return;
	close(peer->ask);
	close(peer->answer);
	waitpid(peer->pid, NULL, 0);
	peer->pid = 0;
}

/* --- userfaultfd --- */

struct server {
	pthread_t thread;
	int fd, stop;
	unsigned int version;
};

static void serve_one(const struct server *server, void *buf)
{
	struct uffd_msg msg;
	uintptr_t addr;

	if (read(server->fd, &msg, sizeof(msg)) != sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		return;
	addr = msg.arg.pagefault.address & ~(PAGE - 1);

	if (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		struct uffdio_writeprotect wp = {
			.range = { .start = addr, .len = PAGE },
		};

		ioctl(server->fd, UFFDIO_WRITEPROTECT, &wp);
	} else {
		struct uffdio_copy copy = {
			.dst = addr,
			.src = (uintptr_t)buf,
			.len = PAGE,
		};

		fill_buffer(buf, (void *)addr, 1, server->version);
		ioctl(server->fd, UFFDIO_COPY, &copy);
	}
}

static void *serve(void *arg)
{
	struct server *server = arg;
	struct pollfd polled[2] = {
		{ .fd = server->fd, .events = POLLIN },
		{ .fd = server->stop, .events = POLLIN },
	};
	void *buf = malloc(PAGE);

	while (poll(polled, 2, -1) >= 0 && !polled[1].revents)
		serve_one(server, buf);
	free(buf);
	return NULL;
}

const char *uffd_start(struct uffd *uffd, void *addr, size_t npages,
		       uint64_t mode, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = npages * PAGE },
		.mode = mode,
	};

	uffd->thread = NULL;
	uffd->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd->fd < 0)
		return because("userfaultfd: %s", strerror(errno));
	if (ioctl(uffd->fd, UFFDIO_API, &api) ||
	    (api.features & features) != features) {
		uffd_stop(uffd);
		return "this kernel's userfaultfd lacks the feature";
	}
	if (ioctl(uffd->fd, UFFDIO_REGISTER, &reg)) {
		uffd_stop(uffd);
		return because("UFFDIO_REGISTER: %s", strerror(errno));
	}
	return NULL;
}

const char *uffd_protect(struct uffd *uffd, void *addr, size_t npages)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)addr, .len = npages * PAGE },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	return ioctl(uffd->fd, UFFDIO_WRITEPROTECT, &wp) ?
	       because("UFFDIO_WRITEPROTECT: %s", strerror(errno)) : NULL;
}

const char *uffd_read_protect(struct uffd *uffd, void *addr, size_t npages)
{
	/* struct uffdio_rwprotect */
	struct uffdio_writeprotect rwp = {
		.range = { .start = (uintptr_t)addr, .len = npages * PAGE },
		.mode = 1,
	};

	return ioctl(uffd->fd, _IOWR(UFFDIO, 0x09, struct uffdio_writeprotect),
		     &rwp) ?
	       because("UFFDIO_RWPROTECT: %s", strerror(errno)) : NULL;
}

void uffd_serve(struct uffd *uffd, unsigned int version)
{
	struct server *server = malloc(sizeof(*server));

	server->fd = uffd->fd;
	server->stop = eventfd(0, EFD_CLOEXEC);
	server->version = version;
	uffd->thread = server;
	pthread_create(&server->thread, NULL, serve, server);
}

void uffd_stop(struct uffd *uffd)
{
	struct server *server = uffd->thread;

	if (server) {
		eventfd_write(server->stop, 1);
		pthread_join(server->thread, NULL);
		close(server->stop);
		free(server);
		uffd->thread = NULL;
	}
	if (uffd->fd > 0)
		close(uffd->fd);
	uffd->fd = 0;
}

/* --- counting calls --- */

#define TRACING "/sys/kernel/tracing"

static const char *open_counter(struct counter *counter, const char *function,
				bool watch)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.disabled = !watch,
		.inherit = watch,
	};
	const char *plain = strchr(function, ':');
	char path[160], text[160];
	int ret;

	counter->fd = -1;
	snprintf(counter->name, sizeof(counter->name), "%.40s_%d",
		 plain ? plain + 1 : function, getpid());
	snprintf(text, sizeof(text), "p:onewalk_test/%s %s", counter->name,
		 function);
	ret = write_text(TRACING "/kprobe_events", O_APPEND, text);
	if (ret)
		return because("no kprobe on %s: %s", function, strerror(-ret));

	snprintf(path, sizeof(path), TRACING "/events/onewalk_test/%s/id",
		 counter->name);
	ret = read_file(path, text, sizeof(text));
	if (ret)
		return because("%s: %s", path, strerror(-ret));
	attr.config = strtoull(text, NULL, 10);
	counter->fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1,
			      PERF_FLAG_FD_CLOEXEC);
	return counter->fd < 0 ?
	       because("perf_event_open: %s", strerror(errno)) : NULL;
}

const char *counter_open(struct counter *counter, const char *function)
{
	return open_counter(counter, function, false);
}

const char *counter_watch(struct counter *counter, const char *function)
{
	return open_counter(counter, function, true);
}

uint64_t counter_read(const struct counter *counter)
{
	uint64_t count;

	if (read(counter->fd, &count, sizeof(count)) != sizeof(count))
		return ~0ULL;
	return count;
}

void counter_start(struct counter *counter)
{
	ioctl(counter->fd, PERF_EVENT_IOC_RESET, 0);
	ioctl(counter->fd, PERF_EVENT_IOC_ENABLE, 0);
}

uint64_t counter_stop(struct counter *counter)
{
	ioctl(counter->fd, PERF_EVENT_IOC_DISABLE, 0);
	return counter_read(counter);
}

void counter_close(struct counter *counter)
{
	char text[160];

	if (counter->fd >= 0)
		close(counter->fd);
	counter->fd = -1;
	if (!counter->name[0])
		return;
	snprintf(text, sizeof(text), "-:onewalk_test/%s", counter->name);
	write_text(TRACING "/kprobe_events", O_APPEND, text);
	counter->name[0] = '\0';
}

/* --- a debug build is told to fail, and to wait --- */

#define INJECT	"/sys/kernel/debug/onewalk/inject"
#define RESUME	"/sys/kernel/debug/onewalk/resume"

bool can_inject(void)
{
	return !access(INJECT, F_OK);
}

void resume(void)
{
	write_file(RESUME, "1");
}

void inject_nothing(void)
{
	static const char * const points[] = {
		"table", "trylock", "share", "isolate", "pin", "split",
		"refuse", "invalidated", "fault-oom", "fault-sigbus",
		"fault-hwpoison", "entered", "looked", "checked", "collected",
		"unmapped", "parted", "moved", "mapping",
	};
	size_t i;

	for (i = 0; i < sizeof(points) / sizeof(*points); i++)
		write_file(INJECT, "%s 0", points[i]);
	resume();
}

int inject(const char *point, unsigned int skip, unsigned int times)
{
	return write_file(INJECT, "%s %d %u %u", point, getpid(), skip, times);
}

unsigned int struck(const char *point)
{
	char text[1024], format[64], *line;
	unsigned int passed, n = 0;

	if (read_file(INJECT, text, sizeof(text)))
		return 0;
	snprintf(format, sizeof(format), "%s %%u %%u", point);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, format, &passed, &n) == 2)
			break;
	return n;
}

bool wait_until_paused(void)
{
	char text[16] = "";
	int i;

	for (i = 0; i < 3000; i++) {
		if (!read_file(RESUME, text, sizeof(text)) && atoi(text) > 0)
			return true;
		usleep(10000);
	}
	return false;
}
