// SPDX-License-Identifier: GPL-2.0
/*
 * One round of the stress:
 *
 *	stress round SEED SECONDS COUNTS	exits with 0, or 1 if anything is wrong;
 *						adds to the file COUNTS
 *	stress player NUMBER			of a round: what that starts
 *	stress nothing				what a child becomes by exec()
 *
 * ONEWALK_STRESS_WITHOUT="NAME NAME" leaves operations out, to find out what
 * something takes to go wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

#define CONTROL		"/dev/shm/onewalk-stress"
#define TRACING		"/sys/kernel/tracing/"

struct control *control;
pid_t ancestors[MAX_DEPTH];
unsigned int nr_ancestors;

static const char * const names[NR_OPS] = {
#define OP(name) [OP_##name] = #name,
	WORKER_OPS(OP)
	MACHINE_OPS(OP)
	EVENTS(OP)
#undef OP
};

const char *op_name(enum op op)
{
	return names[op];
}

bool left_out(enum op op)
{
	const char *without = getenv("ONEWALK_STRESS_WITHOUT") ?: "";
	size_t length = strlen(names[op]);
	const char *at;

	for (at = without; (at = strstr(at, names[op])); at += length)
		if ((at == without || at[-1] == ' ') &&
		    (!at[length] || at[length] == ' '))
			return true;
	return false;
}

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

bool time_is_up(void)
{
	return control->stop || now_ms() >= control->deadline;
}

void count_op(enum op op, enum outcome outcome)
{
	if (outcome == BUSY)
		return;
	control->tried[op]++;
	if (outcome == DONE)
		control->done[op]++;
}

void event(enum op op, unsigned long times)
{
	control->tried[op] += times;
	control->done[op] += times;
}

/* --- what is said when something is wrong --- */

/* What was done, with addresses: to the trace buffer, beside the kernel's own. */
void history(const char *format, ...)
{
	static int marker = -1;
	char text[160];
	va_list args;
	int n;

	if (marker < 0)
		marker = open(TRACING "trace_marker", O_WRONLY | O_CLOEXEC);
	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (marker < 0 || write(marker, text, n) < 0)
		return;
}

/* Addresses are the same in all processes. */
static bool is_ours(const char *line)
{
	const char *at = strchr(line, '(');
	pid_t tgid = at ? atoi(at + 1) : 0;
	unsigned int i;

	if (!tgid || tgid == getpid())
		return true;
	for (i = 0; i < nr_ancestors; i++)
		if (tgid == ancestors[i])
			return true;
	return false;
}

/*
 * Is this line of the trace about that page? Ours name "ADDRESS+PAGES", the
 * kernel's "addr=ADDRESS"; a line without an address is about all.
 */
static bool is_about(const char *line, unsigned long page)
{
	unsigned long addr, npages;
	const char *at = strstr(line, "addr=");

	if (!is_ours(line))
		return false;
	if (at)
		return strtoul(at + strlen("addr="), NULL, 16) / PAGE == page / PAGE;
	at = strstr(line, "stress: ");
	if (!at)
		return false;
	if (sscanf(at, "stress: %lx+%lu", &addr, &npages) != 2)
		return true;
	return addr <= page && page < addr + npages * PAGE;
}

/* The last lines of the trace that are about a page. */
static void print_history(const void *addr)
{
	enum { LINES = 100, LENGTH = 200 };
	static char lines[LINES][LENGTH];
	unsigned long n = 0, i;
	char line[1024];
	FILE *trace;

	write_file(TRACING "tracing_on", "0");
	trace = fopen(TRACING "trace", "r");
	while (trace && fgets(line, sizeof(line), trace))
		if (is_about(line, (unsigned long)addr & -PAGE))
			snprintf(lines[n++ % LINES], LENGTH, "%.*s", LENGTH - 1,
				 line);
	for (i = n > LINES ? n - LINES : 0; i < n; i++)
		fprintf(stderr, "#   %s", lines[i % LINES]);
	if (trace)
		fclose(trace);
}

void wrong(const void *addr, const char *format, ...)
{
	char text[256];
	va_list args;

	control->stop = true;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* The first tells most. */
	if (control->wrong++)
		return;
	note("WRONG: process %d: %s", getpid(), text);
	if (addr)
		print_history(addr);
}

/* --- a round --- */

static bool map_control(int flags)
{
	int fd = open(CONTROL, O_RDWR | O_CLOEXEC | flags, 0600);

	if (fd < 0 || ftruncate(fd, sizeof(*control)))
		return false;
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE,
		       MAP_SHARED, fd, 0);
	close(fd);
	return control != MAP_FAILED;
}

/* A debug build's own: how often each was passed, and struck. */
static void write_points(FILE *counts)
{
	FILE *points = fopen("/sys/kernel/debug/onewalk/inject", "r");
	char line[128];

	while (points && fgets(line, sizeof(line), points))
		fprintf(counts, "point %s", line);
	if (points)
		fclose(points);
}

static void write_counts(const char *path)
{
	FILE *counts = fopen(path, "a");
	int op;

	if (!counts) {
		wrong(NULL, "%s: %s", path, strerror(errno));
		return;
	}
	for (op = 0; op < NR_OPS; op++)
		fprintf(counts, "%s %s %lu %lu\n",
			impossible(op) || left_out(op) ? "impossible" : "op",
			names[op], control->tried[op], control->done[op]);
	write_points(counts);
	fclose(counts);
}

static int play_round(uint64_t seed, unsigned long seconds, const char *counts)
{
	bool right;

	unlink(CONTROL);
	if (!map_control(O_CREAT)) {
		note("%s: %s", CONTROL, strerror(errno));
		return 1;
	}
	control->seed = seed;
	control->whole = seed % 2 && !engine_is_portable();
	control->deadline = now_ms() + seconds * 1000;
	write_file(TRACING "trace", "%s", "\n");
	write_file(TRACING "tracing_on", "1");

	machine_begin();
	machine_run();
	machine_end();
	account_machine();

	write_counts(counts);
	right = !control->wrong;
	unlink(CONTROL);
	return right ? 0 : 1;
}

int main(int argc, char **argv)
{
	setvbuf(stderr, NULL, _IOLBF, 0);
	if (argc == 2 && !strcmp(argv[1], "nothing"))
		return 0;
	if (argc == 3 && !strcmp(argv[1], "player")) {
		if (!map_control(0))
			return 1;
		return play(atoi(argv[2]));
	}
	if (argc == 5 && !strcmp(argv[1], "round"))
		return play_round(strtoull(argv[2], NULL, 0), atol(argv[3]),
				  argv[4]);
	fprintf(stderr, "usage: stress round SEED SECONDS COUNTS\n");
	return 2;
}
