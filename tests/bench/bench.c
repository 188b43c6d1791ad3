// SPDX-License-Identifier: GPL-2.0
/*
 * bench KERNEL ENGINE [SCENARIO...]: in a guest whose clock counts instructions, what it costs
 * to get pages to the device and back, by scenario, by method and by stage; "sizes" for how
 * that of pages that are present depends on how many there are, "usual" for all but that.
 *
 * One line of JSON for each: per page, of the best of several runs, all of which
 * begin anew and have to move every page. With more than one CPU there is a
 * thread of this process on each, and interrupts are counted instead, in the
 * run that had most.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../selftest/common.h"

#define RUNS		5
#define TABLE		512
#define USUAL		(4 * TABLE)

/* --- scenarios --- */

struct run {
	char *addr;
	size_t npages;
	int fd;
	struct peer peer;
};

struct scenario {
	const char *name;
	/* what is there before; returns NULL, or why not */
	const char *(*prepare)(struct run *run);
	unsigned int flags;
	bool huge;
	/* every so many pages one is swapped out */
	size_t swapped;
	/* migrate_vma_*() alone does it, too */
	bool migrates;
	/* there is something to fault, or was, before it migrates */
	bool faults;
};

static const char *present(struct run *run)
{
	fill(run->addr, run->npages, 1);
	return NULL;
}

static const char *swap_each(struct run *run, size_t step)
{
	const char *why = NULL;
	size_t i;

	if (step == 1)
		return swap_out(run->addr, run->npages);
	for (i = 0; i < run->npages && !why; i += step)
		why = swap_out(run->addr + i * PAGE, 1);
	return why;
}

/* With pages that zram does not compress, for that takes as long as it likes. */
static const char *one_in_eight_swapped(struct run *run)
{
	memset(run->addr, 1, run->npages * PAGE);
	return swap_each(run, 8);
}

static const char *swapped(struct run *run)
{
	memset(run->addr, 1, run->npages * PAGE);
	return swap_each(run, 1);
}

static const char *shared(struct run *run)
{
	fill(run->addr, run->npages, 1);
	return peer_start(&run->peer) ? "no child" : NULL;
}

/* And not mapped by it: to drop its own mappings is a driver's own affair. */
static const char *on_the_device(struct run *run)
{
	struct onewalk_dummy_migrate result;

	fill(run->addr, run->npages, 1);
	if (dummy_migrate(run->fd, run->addr, run->npages, ONEWALK_DUMMY_RANGE,
			  ONEWALK_DUMMY_MIGRATE_FAULT, NULL, NULL, &result) ||
	    result.moved != run->npages)
		return "it does not get there";
	mprotect(run->addr, run->npages * PAGE, PROT_READ);
	mprotect(run->addr, run->npages * PAGE, PROT_READ | PROT_WRITE);
	return NULL;
}

#define FAULT	ONEWALK_DUMMY_MIGRATE_FAULT
#define WRITE	ONEWALK_DUMMY_MIGRATE_WRITE
#define WHOLE	ONEWALK_DUMMY_MIGRATE_COMPOUND
#define BACK	ONEWALK_DUMMY_MIGRATE_TO_SYSTEM

static const struct scenario scenarios[] = {
	{ .name = "present", .prepare = present, .flags = FAULT,
	  .migrates = true, .faults = true },
	{ .name = "missing-8th", .prepare = one_in_eight_swapped,
	  .flags = FAULT, .swapped = 8, .faults = true },
	{ .name = "holes", .flags = FAULT, .migrates = true, .faults = true },
	{ .name = "cow", .prepare = shared, .flags = FAULT | WRITE,
	  .faults = true },
	{ .name = "swapped", .prepare = swapped, .flags = FAULT, .swapped = 1,
	  .faults = true },
	{ .name = "thp-split", .prepare = present, .flags = FAULT,
	  .huge = true, .migrates = true, .faults = true },
	{ .name = "thp-whole", .prepare = present, .flags = FAULT | WHOLE,
	  .huge = true, .migrates = true, .faults = true },
	{ .name = "device-to-system", .prepare = on_the_device, .flags = BACK,
	  .migrates = true },
};

/* --- methods --- */

static const struct method {
	const char *name;
	unsigned int method;
	const char *engine;
	bool faults;
} methods[] = {
	{ .name = "onewalk", .method = ONEWALK_DUMMY_RANGE,
	  .engine = "unified" },
	{ .name = "portable", .method = ONEWALK_DUMMY_RANGE,
	  .engine = "portable" },
	{ .name = "fault-migrate", .method = ONEWALK_DUMMY_FAULT_MIGRATE,
	  .engine = "unified", .faults = true },
	{ .name = "migrate-fault-migrate",
	  .method = ONEWALK_DUMMY_MIGRATE_FAULT_MIGRATE, .engine = "unified",
	  .faults = true },
	{ .name = "migrate", .method = ONEWALK_DUMMY_KERNEL_MIGRATE,
	  .engine = "unified" },
};

static bool applies(const struct scenario *scenario, const struct method *method)
{
	if (method->faults)
		return scenario->faults;
	return method->method != ONEWALK_DUMMY_KERNEL_MIGRATE ||
	       scenario->migrates;
}

/* --- measuring --- */

struct figures {
	uint64_t stage[ONEWALK_DUMMY_NR_STAGES];
	uint64_t swapin, total;
	uint64_t shootdowns, drains;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

/* Interrupts, so far, on all CPUs. */
static uint64_t shootdowns(void)
{
	char line[4096], *at;
	uint64_t sum = 0, n;
	int length;
	FILE *file = fopen("/proc/interrupts", "r");

	while (file && fgets(line, sizeof(line), file))
		if ((at = strstr(line, "TLB:")))
			for (at += 4; sscanf(at, " %lu%n", &n, &length) == 1;
			     at += length)
				sum += n;
	if (file)
		fclose(file);
	return sum;
}

static const char *set_up(struct run *run, const struct scenario *scenario)
{
	run->addr = map_aligned(run->npages, HUGE);
	if (!run->addr)
		return "no memory";
	if (scenario->huge)
		madvise(run->addr, run->npages * PAGE, MADV_HUGEPAGE);
	return scenario->prepare ? scenario->prepare(run) : NULL;
}

static void tear_down(struct run *run)
{
	peer_stop(&run->peer);
	unmap_all();
}

/* What it costs the CPU to have the same pages back: not our affair. */
static const char *measure_swapin(struct run *run,
				  const struct scenario *scenario,
				  struct figures *figures)
{
	const char *why;
	uint64_t before;
	size_t i;

	if (!scenario->swapped)
		return NULL;
	why = set_up(run, scenario);
	before = now();
	for (i = 0; i < run->npages; i += scenario->swapped)
		(void)*(volatile char *)(run->addr + i * PAGE);
	figures->swapin = now() - before;
	tear_down(run);
	return why;
}

static const char *measure(struct run *run, const struct scenario *scenario,
			   const struct method *method,
			   const struct counter *drains,
			   struct figures *figures)
{
	unsigned int flags = method->method == ONEWALK_DUMMY_KERNEL_MIGRATE ?
		scenario->flags & ~(FAULT | WRITE) : scenario->flags;
	struct onewalk_dummy_migrate result;
	static char text[160];
	const char *why;
	size_t i;
	int ret;

	why = measure_swapin(run, scenario, figures);
	if (!why)
		why = set_up(run, scenario);
	if (why)
		return why;
	figures->shootdowns = shootdowns();
	figures->drains = counter_read(drains);
	ret = dummy_migrate(run->fd, run->addr, run->npages, method->method,
			    flags, NULL, NULL, &result);
	figures->shootdowns = shootdowns() - figures->shootdowns;
	figures->drains = counter_read(drains) - figures->drains;
	figures->total = 0;
	for (i = 0; i < ONEWALK_DUMMY_NR_STAGES; i++) {
		figures->stage[i] = result.ns[i];
		figures->total += result.ns[i];
	}
	figures->total -= figures->swapin;
	tear_down(run);
	snprintf(text, sizeof(text), "error %d, %llu of %zu pages moved", ret,
		 result.moved, run->npages);
	return ret || result.moved != run->npages ? text : NULL;
}

/* --- what comes out --- */

static void print_figure(const char *name, uint64_t figure, size_t npages,
			 bool measured, const char *end)
{
	if (measured)
		printf("\"%s\": %.1f%s", name, (double)figure / npages, end);
	else
		printf("\"%s\": null%s", name, end);
}

static void print(const char *kernel, const struct scenario *scenario,
		  const struct method *method, size_t npages, long cpus,
		  const struct figures *figures)
{
	static const char * const stages[] = {
		"fault", "setup", "pages", "finalize",
	};
	bool timed = cpus == 1;
	size_t i;

	printf("{\"kernel\": \"%s\", \"scenario\": \"%s\", \"method\": \"%s\", \"cpus\": %ld, \"pages\": %zu, \"stages\": {",
	       kernel, scenario->name, method->name, cpus, npages);
	for (i = 0; i < ONEWALK_DUMMY_NR_STAGES; i++)
		print_figure(stages[i], figures->stage[i], npages,
			     timed && (i || method->faults),
			     i + 1 < ONEWALK_DUMMY_NR_STAGES ? ", " : "}, ");
	print_figure("swapin", figures->swapin, npages,
		     timed && scenario->swapped, ", ");
	print_figure("total", figures->total, npages, timed, ", ");
	print_figure("shootdowns_per_512", figures->shootdowns * 512, npages,
		     !timed, ", ");
	print_figure("drains", figures->drains, 1, !timed, "}\n");
	fflush(stdout);
}

static bool bench(const char *kernel, const struct scenario *scenario,
		  const struct method *method, size_t npages, int runs, int fd,
		  const struct counter *drains)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct run run = { .npages = npages, .fd = fd };
	struct figures figures = { 0 }, best = { 0 };
	const char *why;
	int i;

	for (i = 0; i < runs; i++) {
		why = measure(&run, scenario, method, drains, &figures);
		if (why) {
			fprintf(stderr, "%s, %s: %s\n", scenario->name,
				method->name, why);
			return false;
		}
		/* the other thread is not always on its CPU */
		if (!i || (cpus == 1 ? figures.total < best.total :
				       figures.shootdowns > best.shootdowns))
			best = figures;
	}
	print(kernel, scenario, method, npages, cpus, &best);
	return true;
}

/* --- beside it --- */

static void *spin(void *cpu)
{
	run_on_cpu((long)cpu);
	for (;;)
		__asm__ volatile("pause");
	return NULL;
}

static void run_on_all_cpus(void)
{
	long cpu, cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t thread;

	run_on_cpu(0);
	for (cpu = 1; cpu < cpus; cpu++)
		pthread_create(&thread, NULL, spin, (void *)cpu);
}

/* Whether what one page costs depends on how many there are. */
static bool bench_sizes(const char *kernel, const struct method *method, int fd,
			const struct counter *drains)
{
	static const size_t sizes[] = { TABLE, 16384, 65536, 262144 };
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		if (!bench(kernel, &scenarios[0], method, sizes[i],
			   sizes[i] > 16384 ? 1 : RUNS, fd, drains))
			return false;
	return true;
}

/* Is it named on the command line, or nothing at all? */
static bool is_wanted(int argc, char **argv, const char *name)
{
	int i;

	for (i = 3; i < argc; i++)
		if (!strcmp(argv[i], name) ||
		    (!strcmp(argv[i], "usual") && strcmp(name, "sizes")))
			return true;
	return argc == 3;
}

int main(int argc, char **argv)
{
	bool alone = sysconf(_SC_NPROCESSORS_ONLN) == 1, well = true;
	struct counter drains = { .fd = -1 };
	const struct method *method;
	const char *why;
	size_t i, j;
	int fd;

	if (argc < 3)
		return 2;
	why = swap_on();
	/* what the one of them is to the kernel depends on how it was compiled */
	if (!why && !alone && counter_watch(&drains, "__lru_add_drain_all"))
		why = counter_watch(&drains, "lru_add_drain_all");
	if (why)
		fprintf(stderr, "%s\n", why);
	fd = dummy_open(0);
	if (why || fd < 0)
		return 1;

	run_on_all_cpus();
	for (j = 0; j < sizeof(methods) / sizeof(*methods); j++) {
		method = &methods[j];
		if (strcmp(method->engine, argv[2]))
			continue;
		for (i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++)
			if (applies(&scenarios[i], method) &&
			    is_wanted(argc, argv, scenarios[i].name))
				well &= bench(argv[1], &scenarios[i], method,
					      USUAL, RUNS, fd, &drains);
		if (alone && method->method == ONEWALK_DUMMY_RANGE &&
		    is_wanted(argc, argv, "sizes"))
			well &= bench_sizes(argv[1], method, fd, &drains);
	}
	return !well;
}
