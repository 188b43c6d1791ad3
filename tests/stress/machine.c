// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to all processes at once, and their coming and going.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress.h"

#define PLAYERS		2
#define SWAP		"/dev/zram0"
#define KSM		"/sys/kernel/mm/ksm/"
#define INJECT		"/sys/kernel/debug/onewalk/inject"

static struct {
	pid_t pid;
	int number;
} players[PLAYERS];

static int device[NR_DEVICES];

/* --- players --- */

static void cgroup_path(char *path, size_t size, int number, const char *file)
{
	snprintf(path, size, CGROUP "/p%d%s%s", number, file[0] ? "/" : "", file);
}

static int cgroup_write(int number, const char *file, const char *text)
{
	char path[96];

	cgroup_path(path, sizeof(path), number, file);
	return write_file(path, "%s", text);
}

/*
 * 7.3 prepares a cgroup for the splitting of huge pages when one is faulted in
 * there, but not when one comes back from a device that had filled a hole: and
 * then it warns.
 */
static bool have_huge_page(void)
{
	char *addr = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *huge = (char *)(((uintptr_t)addr + HUGE - 1) & ~(HUGE - 1));
	bool is_huge;

	if (addr == MAP_FAILED)
		return false;
	madvise(huge, HUGE, MADV_HUGEPAGE);
	*huge = 1;
	is_huge = field("/proc/self/smaps_rollup", "AnonHugePages") > 0;
	munmap(addr, 2 * HUGE);
	return is_huge;
}

static void have_huge_pages(void)
{
	int try;

	for (try = 0; try < 20; try++) {
		if (have_huge_page())
			return;
		usleep(100000);
	}
	fprintf(stderr, "# no huge page to begin with: the kernel may warn\n");
}

static void start_player(int i)
{
	char path[96], text[16];
	pid_t pid;

	players[i].number = control->players++;
	cgroup_path(path, sizeof(path), players[i].number, "");
	if (mkdir(path, 0755))
		wrong(NULL, "mkdir %s: %s", path, strerror(errno));

	pid = fork();
	if (!pid) {
		/* exec() makes all of its memory its own */
		snprintf(text, sizeof(text), "%d", players[i].number);
		if (cgroup_write(players[i].number, "cgroup.procs", "0"))
			_exit(127);
		have_huge_pages();
		execl("/proc/self/exe", "stress", "player", text, NULL);
		_exit(127);
	}
	players[i].pid = pid;
}

/* Whatever it has left alive, and its cgroup, which only then is empty. */
static void bury_player(int i)
{
	char path[96];
	int try;

	cgroup_write(players[i].number, "cgroup.kill", "1");
	cgroup_path(path, sizeof(path), players[i].number, "");
	for (try = 0; try < 3000; try++) {
		if (!rmdir(path))
			return;
		usleep(10000);
	}
	wrong(NULL, "rmdir %s: %s", path, strerror(errno));
}

static void player_ended(int i, int status)
{
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;

	if (!killed && (!WIFEXITED(status) || WEXITSTATUS(status)))
		wrong(NULL, "player %d ended with status %#x",
		      players[i].number, status);
	players[i].pid = 0;
	bury_player(i);
}

/* Memory cgroups kill one now and then, and so do we. */
static void replace_players(void)
{
	int i, status;

	for (i = 0; i < PLAYERS; i++) {
		if (waitpid(players[i].pid, &status, WNOHANG) <= 0)
			continue;
		player_ended(i, status);
		start_player(i);
	}
}

/* --- what is done to them --- */

enum outcome op_unplug(struct worker *w)
{
	struct onewalk_dummy_cmd cmd = {};

	return ioctl(device[below(w, NR_DEVICES)], ONEWALK_DUMMY_RELEASE, &cmd) ?
		FAILED : DONE;
}

/* Less than the processes want: what is there has to make room. */
enum outcome op_device_limit(struct worker *w)
{
	static const unsigned int limits[] = { 0, 2, 2, 4 };

	return write_file("/sys/module/onewalk_dummy/parameters/limit", "%u",
			  limits[below(w, 4)]) ? FAILED : DONE;
}

enum outcome op_compact(struct worker *w)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%lu/compact",
		 (unsigned long)below(w, 2));
	return write_file(path, "1") ? FAILED : DONE;
}

enum outcome op_drop_caches(struct worker *w)
{
	(void)w;
	return write_file("/proc/sys/vm/drop_caches", "3") ? FAILED : DONE;
}

static unsigned long number_in(const char *path)
{
	char text[32] = "0";

	read_file(path, text, sizeof(text));
	return strtoul(text, NULL, 0);
}

static void swap_again(void)
{
	if (swapon(SWAP, 0))
		wrong(NULL, "swapon: %s", strerror(errno));
}

bool cycle_swap(void)
{
	if (swapoff(SWAP))
		return false;
	swap_again();
	return true;
}

enum outcome op_swap_cycle(struct worker *w)
{
	(void)w;
	return cycle_swap() ? DONE : FAILED;
}

/*
 * A page that was merged, swapped out and read back refers to the process that
 * read it; when that one is gone, the kernel looks at what it freed. So nothing
 * is merged while there is swap.
 */
enum outcome op_merge(struct worker *w)
{
	enum outcome outcome = FAILED;
	int i;

	if (swapoff(SWAP))
		return FAILED;
	write_file(KSM "run", "1");
	for (i = 0; outcome != DONE && i < 50; i++) {
		usleep(20000);
		if (number_in(KSM "pages_sharing"))
			outcome = DONE;
	}
	usleep(below(w, 300000));
	if (write_file(KSM "run", "2"))
		wrong(NULL, "what was merged stays: %s", strerror(errno));
	swap_again();
	return outcome;
}

enum outcome op_memcg_reclaim(struct worker *w)
{
	int number = players[below(w, PLAYERS)].number;

	/* -EAGAIN: less than that */
	return cgroup_write(number, "memory.reclaim", "2M") ? FAILED : DONE;
}

/* Less than it has: it swaps, and if that does not help, it is killed. */
enum outcome op_memcg_limit(struct worker *w)
{
	int number = players[below(w, PLAYERS)].number;
	char text[16];
	int ret;

	snprintf(text, sizeof(text), "%luM", (unsigned long)(3 + below(w, 6)));
	ret = cgroup_write(number, "memory.max", text);
	usleep(50000 + below(w, 300000));
	if (cgroup_write(number, "memory.max", "max"))
		ret = -1;
	return ret ? FAILED : DONE;
}

enum outcome op_kill_player(struct worker *w)
{
	/* Not all the time: what goes on for long has its own surprises. */
	if (control->done[OP_kill_player] && !one_in(w, 3))
		return BUSY;
	return kill(players[below(w, PLAYERS)].pid, SIGKILL) ? FAILED : DONE;
}

/* Takes more than it may have, some of it on a device. */
static void overeat(void)
{
	const size_t npages = 4096;
	int fd = dummy_open(0);
	char *addr;
	size_t i;

	addr = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < npages; i += 64) {
		memset(addr + i * PAGE, 1, 64 * PAGE);
		dummy_migrate(fd, addr + i * PAGE, 64, ONEWALK_DUMMY_RANGE,
			      ONEWALK_DUMMY_MIGRATE_FAULT, NULL, NULL, NULL);
	}
	_exit(0);
}

enum outcome op_oom(struct worker *w)
{
	const char *cgroup = CGROUP "/oom";
	enum outcome outcome;
	int status;
	pid_t pid;

	(void)w;
	if (mkdir(cgroup, 0755) ||
	    write_file(CGROUP "/oom/memory.max", "4M") ||
	    write_file(CGROUP "/oom/memory.swap.max", "0"))
		return FAILED;
	pid = fork();
	if (!pid) {
		if (write_file(CGROUP "/oom/cgroup.procs", "0"))
			_exit(1);
		overeat();
	}
	waitpid(pid, &status, 0);
	outcome = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ?
		  DONE : FAILED;
	while (rmdir(cgroup) && errno == EBUSY)
		usleep(10000);
	return outcome;
}

/* --- settings --- */

static const char * const settings[][2] = {
	{ "/proc/sys/kernel/numa_balancing", "1" },
	{ "/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", "50" },
	{ "/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms", "50" },
	{ KSM "sleep_millisecs", "20" },
	{ KSM "pages_to_scan", "500" },
	{ KSM "run", "2" },
	{ "/sys/kernel/mm/transparent_hugepage/enabled", "madvise" },
	{ "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "20" },
	{ "/sys/kernel/mm/transparent_hugepage/khugepaged/alloc_sleep_millisecs", "20" },
	{ "/sys/kernel/debug/failslab/ignore-gfp-wait", "N" },
	{ "/sys/kernel/debug/failslab/verbose", "0" },
	{ "/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N" },
	{ "/sys/kernel/debug/fail_page_alloc/min-order", "0" },
	{ "/sys/kernel/debug/fail_page_alloc/verbose", "0" },
};

/* A debug build's points, each in every so-manyth call that passes it. */
static const struct {
	const char *name;
	unsigned int every;
} points[] = {
	{ "table", 31 }, { "trylock", 307 }, { "share", 211 },
	{ "isolate", 307 }, { "pin", 401 }, { "split", 2 }, { "refuse", 23 },
	{ "invalidated", 29 }, { "fault-oom", 101 }, { "fault-sigbus", 103 },
	{ "fault-hwpoison", 107 }, { "fault-retry", 13 },
	{ "entered", 31 }, { "looked", 17 }, { "checked", 19 },
	{ "collected", 19 }, { "unmapped", 17 }, { "parted", 13 },
	{ "moved", 13 }, { "mapping", 3 },
};

/* By the kernel's own counters: what happened beside our own operations. */
static const struct {
	enum op event;
	const char *name;
} counters[] = {
	{ OP_pages_swapped_out, "pswpout" },
	{ OP_numa_hint_faults, "numa_hint_faults" },
	{ OP_pages_compacted, "compact_migrate_scanned" },
};

static long before[sizeof(counters) / sizeof(*counters)];

/* -1: this kernel does not count it */
static long counter(size_t i)
{
	return field("/proc/vmstat", counters[i].name);
}

static bool is_not_counted(enum op op)
{
	size_t i;

	for (i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		if (counters[i].event == op)
			return counter(i) < 0;
	return false;
}

#define COLLAPSED "/sys/kernel/mm/transparent_hugepage/khugepaged/pages_collapsed"

static unsigned long collapsed_before;

void machine_begin(void)
{
	size_t i;

	for (i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		set_file(settings[i][0], settings[i][1]);
	for (i = 0; i < sizeof(points) / sizeof(*points); i++)
		write_file(INJECT, "%s every %u", points[i].name, points[i].every);
	for (i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		before[i] = counter(i);
	collapsed_before = number_in(COLLAPSED);

	mkdir(CGROUP, 0755);
	if (write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory") ||
	    write_file(CGROUP "/cgroup.subtree_control", "+memory"))
		wrong(NULL, "no memory cgroups");
	for (i = 0; i < NR_DEVICES; i++)
		device[i] = dummy_open(i);
	for (i = 0; i < PLAYERS; i++)
		start_player(i);
}

static const struct {
	op_fn fn;
	enum op op;
} ops[] = {
#define OP(name) { op_##name, OP_##name },
	MACHINE_OPS(OP)
#undef OP
};

void machine_run(void)
{
	struct worker w = { .random = control->seed * 2654435761 + 12345 };
	size_t nr = sizeof(ops) / sizeof(*ops), i, next = 0;
	enum outcome outcome;

	while (!time_is_up()) {
		usleep(10000 + below(&w, 90000));
		replace_players();
		/* each once, however short the round is */
		i = next < nr ? next++ : below(&w, nr);
		if (left_out(ops[i].op))
			continue;
		history("stress: %s", op_name(ops[i].op));
		outcome = ops[i].fn(&w);
		count_op(ops[i].op, outcome);
	}
}

void machine_end(void)
{
	size_t i;
	int status;

	control->stop = true;
	control->quiet = true;
	for (i = 0; i < PLAYERS; i++)
		if (waitpid(players[i].pid, &status, 0) > 0)
			player_ended(i, status);
	for (i = 0; i < NR_DEVICES; i++)
		close(device[i]);
	for (i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		event(counters[i].event, counter(i) - before[i]);
	event(OP_khugepaged_collapsed, number_in(COLLAPSED) - collapsed_before);
	restore_settings();
}

/* What this kernel, or this kind of memory, does not have. */
bool impossible(enum op op)
{
	switch (op) {
	case OP_alloc_failed:
		return access("/proc/self/fail-nth", W_OK);
	case OP_numa_hint_faults:
		return is_not_counted(op) ||
		       access("/sys/devices/system/node/node1", F_OK);
	case OP_device_exclusive:
		return !memory_is_private();
	default:
		return is_not_counted(op);
	}
}
