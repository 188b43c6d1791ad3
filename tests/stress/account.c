// SPDX-License-Identifier: GPL-2.0
/*
 * What must be as it was, when nobody is at work any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stress.h"

#define KPF_SLAB	7
#define KPF_SWAPCACHE	13
#define KPF_ZERO_PAGE	24

/* What takes its time to settle is looked at so often. */
#define TRIES		40
#define TRY_USEC	250000

/* --- a process: what it has by the kernel's account, and by a walk --- */

#define NR_OWNERS	8

/* Pages that are charged to one cgroup; the last of several has all others, too. */
struct owner {
	uint64_t cgroup;	/* the inode of its directory */
	long pages;
};

struct account {
	long anon;
	long swapped;
	long odd;	/* neither: of a device still, or a migration entry */
	struct owner *owners;	/* NULL, or NR_OWNERS of them */
};

static bool has(uint64_t flags, int flag)
{
	return flags >> flag & 1;
}

static void count_owner(uint64_t pfn, struct owner *owner)
{
	const struct owner *last = owner + NR_OWNERS - 1;
	uint64_t cgroup = kpagecgroup(pfn);

	while (owner < last && owner->pages && owner->cgroup != cgroup)
		owner++;
	owner->cgroup = cgroup;
	owner->pages++;
}

static void count_page(uint64_t entry, struct account *account)
{
	uint64_t flags;

	switch (where_is(entry)) {
	case PRESENT:
		flags = kpageflags(entry & PAGEMAP_PFN);
		if (!has(flags, KPF_ANON) || has(flags, KPF_ZERO_PAGE))
			break;
		account->anon++;
		if (account->owners)
			count_owner(entry & PAGEMAP_PFN, account->owners);
		break;
	case SWAPPED:
		account->swapped++;
		break;
	case SPECIAL:
		/* coherent memory stays where it is; entries would not */
		if (entry & PAGEMAP_PRESENT)
			account->anon++;
		else
			account->odd++;
		break;
	case HOLE:
		break;
	}
}

/* Most of what is mapped was never touched. */
static void count_pages(int pagemap, unsigned long start, unsigned long end,
			struct account *account)
{
	uint64_t entries[512];
	ssize_t n, i;

	for (; start < end; start += n * PAGE) {
		n = (end - start) / PAGE;
		if (n > 512)
			n = 512;
		n = pread(pagemap, entries, n * sizeof(*entries),
			  start / PAGE * sizeof(*entries));
		n /= (ssize_t)sizeof(*entries);
		if (n <= 0)
			return;
		for (i = 0; i < n; i++)
			count_page(entries[i], account);
	}
}

static struct account walk_process(struct owner *owners)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	FILE *maps = fopen("/proc/self/maps", "r");
	struct account account = { .owners = owners };
	unsigned long start, end;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps)) {
		/* not the kernel's own, above */
		if (sscanf(line, "%lx-%lx", &start, &end) != 2 ||
		    start >> 47)
			continue;
		count_pages(pagemap, start, end, &account);
	}
	close(pagemap);
	if (maps)
		fclose(maps);
	return account;
}

/*
 * Before 7.0 or so a process's counters are sums of parts that each CPU, or each
 * thread, keeps for itself up to a limit. When it exits, the kernel itself checks
 * the exact ones ("Bad rss-counter").
 */
static long counter_error(void)
{
	return kernel_migrates_large_folios() ? 0 : 64 * 2;
}

static bool differs(long a, long b, long error)
{
	return a - b > error || b - a > error;
}

static void account_rss(struct account *account)
{
	long anon, swapped;
	int try;

	for (try = 0; try < TRIES; try++) {
		*account = walk_process(NULL);
		anon = field("/proc/self/status", "RssAnon") * 1024 / (long)PAGE;
		swapped = field("/proc/self/status", "VmSwap") * 1024 / (long)PAGE;
		if (!account->odd &&
		    !differs(account->anon, anon, counter_error()) &&
		    !differs(account->swapped, swapped, counter_error()))
			return;
		usleep(TRY_USEC);
	}
	if (account->odd)
		wrong(NULL, "%ld entries that are neither pages nor swapped out", account->odd);
	else
		wrong(NULL, "%ld pages and %ld swapped out by a walk, %ld and %ld by the process's counters",
		      account->anon, account->swapped, anon, swapped);
}

static uint64_t inode(const char *path)
{
	struct stat stat_;

	return stat(path, &stat_) ? 0 : stat_.st_ino;
}

/* To the log: what this process's pages are charged to. */
static void print_owners(int number)
{
	struct owner owners[NR_OWNERS] = {};
	char path[64];
	int i;

	walk_process(owners);
	for (i = 0; i < NR_OWNERS && owners[i].pages; i++)
		fprintf(stderr, "# %ld pages are charged to cgroup %lu\n",
			owners[i].pages, (long)owners[i].cgroup);
	snprintf(path, sizeof(path), CGROUP "/p%d", number);
	fprintf(stderr, "# that of this process is %lu, and of those that are gone %lu\n",
		(long)inode(path), (long)inode(CGROUP));
}

/*
 * This process began in its cgroup, and shares no page with another one. What it
 * shared by KSM may be charged to the other even after it was swapped in again.
 */
static void account_memcg(int number, const struct account *account)
{
	char path[64];
	long anon;
	int try;

	snprintf(path, sizeof(path), CGROUP "/p%d/memory.stat", number);
	for (try = 0; try < TRIES; try++) {
		anon = field(path, "anon") / (long)PAGE;
		if (!differs(anon, account->anon, 2))
			return;
		usleep(TRY_USEC);
	}
	print_owners(number);
	wrong(NULL, "%ld anonymous pages by a walk, %ld by the memory cgroup's account",
	      account->anon, anon);
}

static void read_as_devices(void)
{
	uint64_t *buffer = aligned_alloc(PAGE, BLOCK_MAX * PAGE);
	size_t i, file;

	for (i = 0; i < nr_blocks; i++) {
		struct span all = { &blocks[i], 0, blocks[i].npages };

		file = i % NR_FILES;
		if (!(all.block->kind & EXACT) ||
		    dummy_read(files[file], all.block->home, all.npages, buffer))
			continue;
		check_span(&all, buffer, "a device, in the end");
	}
	free(buffer);
}

/* By the last thread of a player, which has no child any more. */
void account_process(int number)
{
	struct account account;
	size_t i;

	read_as_devices();
	close_devices();
	check_world();
	for (i = 0; i < nr_blocks; i++) {
		if (forgotten_pages(blocks[i].home, blocks[i].npages))
			wrong(NULL, "pages of block %zu are locked, or on no LRU list", i);
		if (blocks[i].kind & TWINS)
			munmap(blocks[i].home, blocks[i].npages * PAGE);
	}
	account_rss(&account);
	if (!control->wrong)
		account_memcg(number, &account);
}

/* --- the machine --- */

struct totals {
	unsigned long locked;
	unsigned long lost;
	uint64_t example;	/* pfn of one of them */
	uint64_t flags;		/* and its flags */
};

/*
 * Anonymous pages that nobody maps and that are not in the swap cache: somebody
 * has a reference too many.
 */
static struct totals look_at_all_pages(void)
{
	static uint64_t flags[4096], counts[4096];
	int f = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	int c = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC);
	struct totals totals = {};
	ssize_t n, i;
	uint64_t pfn = 0;

	for (;;) {
		n = pread(f, flags, sizeof(flags), pfn * sizeof(*flags));
		if (n <= 0 || pread(c, counts, n, pfn * sizeof(*counts)) != n)
			break;
		n /= sizeof(*flags);
		for (i = 0; i < n; i++) {
			/* before 7.0 or so slabs look like that, too */
			if (!has(flags[i], KPF_ANON) || has(flags[i], KPF_SLAB))
				continue;
			if (has(flags[i], KPF_LOCKED)) {
				totals.locked++;
				totals.example = pfn + i;
				totals.flags = flags[i];
			}
			if (!counts[i] && !has(flags[i], KPF_SWAPCACHE) &&
			    !has(flags[i], KPF_THP)) {
				totals.lost++;
				totals.example = pfn + i;
				totals.flags = flags[i];
			}
		}
		pfn += n;
	}
	if (!pfn)
		wrong(NULL, "/proc/kpageflags: %s", strerror(errno));
	close(f);
	close(c);
	return totals;
}

static void account_pages(void)
{
	struct totals totals;
	long isolated;
	int try;

	for (try = 0; try < TRIES; try++) {
		/* this drains all CPUs' batches, too */
		write_file("/proc/sys/vm/drop_caches", "1");
		totals = look_at_all_pages();
		isolated = field("/proc/vmstat", "nr_isolated_anon");
		if (!totals.locked && !totals.lost && !isolated)
			return;
		usleep(TRY_USEC);
	}
	wrong(NULL, "%lu anonymous pages locked, %lu mapped by nobody (pfn %#lx, say, flags %#lx), %ld isolated",
	      totals.locked, totals.lost, (long)totals.example,
	      (long)totals.flags, isolated);
}

static void account_devices(void)
{
	struct onewalk_dummy_info info;
	int id, fd;

	for (id = 0; id < NR_DEVICES; id++) {
		fd = dummy_open(id);
		if (fd < 0 || !device_is_empty(fd)) {
			dummy_info(fd, &info);
			wrong(NULL, "device %d: %lu pages of %lu are free", id,
			      (long)info.pages_free, (long)info.pages_total);
		}
		close(fd);
	}
}

/*
 * To the log: pages that are charged to cgroups that nobody has any more. The
 * kernel names the nearest one above that somebody has.
 */
static void print_charged(void)
{
	const uint64_t root = inode("/sys/fs/cgroup");
	static uint64_t inodes[4096];
	int fd = open("/proc/kpagecgroup", O_RDONLY | O_CLOEXEC);
	uint64_t pfn = 0, charged = 0;
	ssize_t n, i;

	while ((n = pread(fd, inodes, sizeof(inodes),
			  pfn * sizeof(*inodes))) > 0) {
		n /= sizeof(*inodes);
		for (i = 0; i < n; i++) {
			if (!inodes[i] || inodes[i] == root)
				continue;
			if (charged++ < 16)
				fprintf(stderr, "# pfn %#lx, flags %#lx, is charged to cgroup %lu\n",
					(long)pfn + i, (long)kpageflags(pfn + i),
					(long)inodes[i]);
		}
		pfn += n;
	}
	fprintf(stderr, "# %lu pages in all\n", (long)charged);
	close(fd);
}

/*
 * A page that is charged, and by nobody used, keeps its cgroup. So does what is
 * left in the swap cache: it goes with the swap.
 */
static void account_cgroups(void)
{
	long dying = 0;
	int try;

	cycle_swap();
	for (try = 0; try < TRIES; try++) {
		write_file("/proc/sys/vm/drop_caches", "3");
		dying = field("/sys/fs/cgroup/cgroup.stat",
			      "nr_dying_descendants");
		if (!dying)
			return;
		usleep(TRY_USEC);
	}
	print_charged();
	wrong(NULL, "%ld cgroups are gone but for what is still charged to them", dying);
}

void account_machine(void)
{
	account_devices();
	account_pages();
	account_cgroups();
}
