// SPDX-License-Identifier: GPL-2.0
/*
 * Counting what the kernel does for this task, by its function tracer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"

#define TRACING	"/sys/kernel/tracing/"

static const char * const traced[NR_COUNTERS] = {
	[SCANS]		= "onewalk_scan_pmd",
	[OUR_WALKS]	= "unified_collect",
	[WALKS]		= "walk_page_range",
	[VMA_WALKS]	= "walk_page_range_vma",
	[FAULTS]	= "handle_mm_fault",
};

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

void set_up_tracer(void)
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

void start_counting(void)
{
	tracefs("trace", "");
	tracefs("tracing_on", "1");
}

static void check_lost(const char *line)
{
	unsigned long in_buffer, written;

	if (sscanf(line, "# entries-in-buffer/entries-written: %lu/%lu",
		   &in_buffer, &written) == 2 && in_buffer != written)
		die("the tracer lost %lu calls", written - in_buffer);
}

/* The CPU's own faults on what this program touches are not the device's. */
static bool is_cpu_fault(const char *caller)
{
	return strstr(caller, "addr_fault") || strstr(caller, "page_fault");
}

/* A line of the trace: "demo-80 [000] ..... 9.1: handle_mm_fault <-caller" */
static void count_line(struct run *run, const char *line)
{
	const char *name = strstr(line, ": "), *caller;
	size_t length;
	int i;

	if (!name)
		return;
	name += strlen(": ");
	caller = strstr(name, " <-");
	if (!caller || is_cpu_fault(caller))
		return;
	length = caller - name;
	for (i = 0; i < NR_COUNTERS; i++)
		if (length == strlen(traced[i]) && !memcmp(name, traced[i], length))
			run->count[i]++;
}

void stop_counting(struct run *run)
{
	char line[256];
	FILE *trace;

	tracefs("tracing_on", "0");
	trace = fopen(TRACING "trace", "r");
	if (!trace)
		die("cannot read " TRACING "trace");
	while (fgets(line, sizeof(line), trace))
		if (line[0] == '#')
			check_lost(line);
		else
			count_line(run, line);
	fclose(trace);
}
