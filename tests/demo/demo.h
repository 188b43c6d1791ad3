/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What onewalk does to 16 MiB of a process, as seen from outside.
 *
 * The maps come from /proc/self/pagemap, /proc/kpageflags and the device's page
 * table, the numbers of walks and faults from the kernel's function tracer. What
 * the module itself says is compared with them; it has no part in drawing them.
 */
#ifndef ONEWALK_DEMO_H
#define ONEWALK_DEMO_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#include <onewalk/dummy.h>
#include <onewalk/status.h>

#define PAGE		4096UL
#define BLOCK		16	/* pages; also what one file fault maps around it */
#define COLUMNS		32
#define ROW		(BLOCK * COLUMNS)	/* pages: one page table */
#define ROWS		8
#define NPAGES		(ROW * ROWS)
#define SIZE		(NPAGES * PAGE)

/* States of a page; for a block of pages MIXED stands for several of them. */
#define WRITTEN		'w'
#define HOLE		'.'
#define ZERO		'z'
#define SWAPPED		's'
#define SHARED		'f'
#define FILE_PAGE	'F'
#define HUGE		'H'
#define PINNED		'P'
#define DEVICE		'D'
#define UNMAPPED	'd'
#define MIXED		'+'
#define STRANGE		'?'

struct state {
	char		letter;
	const char	*colour;
	const char	*name;
};

#define NR_STATES	12

extern const struct state states[NR_STATES];

/* What is counted; count.c names the function behind each. */
enum counter { SCANS, OUR_WALKS, WALKS, VMA_WALKS, FAULTS, NR_COUNTERS };

struct map {
	__u64	entry[NPAGES];	/* /proc/self/pagemap */
	__u8	device[NPAGES];	/* the device's page table */
	char	state[NPAGES];
};

/* One preparation of the range, one way of moving it, and what came of it. */
struct run {
	struct onewalk_dummy_migrate	call;
	struct onewalk_dummy_info	info;	/* after the move */
	struct map			before;
	struct map			after;
	__u8				status[NPAGES];
	unsigned int			count[NR_COUNTERS];
	unsigned long			device_faults;	/* that the READ needed */
	int				device;
	pid_t				child;
	int				tell_child;
};

#define die(format, ...) \
	(printf("demo: " format "\n", ##__VA_ARGS__), exit(1))

/* Something is not as it has to be: the demo goes on, to show more, and fails. */
#define mismatch(format, ...) \
	(printf("MISMATCH: " format "\n", ##__VA_ARGS__), count_mismatch())

/* demo.c */
void count_mismatch(void);
int open_device(void);
void get_info(int device, struct onewalk_dummy_info *info);

/* prepare.c: the range, and what its pages hold */
void reserve_range(void);
void *address(unsigned int page);
char planned(unsigned int page);
bool in_file(unsigned int page);
unsigned int count_wrong(const __u8 *bytes, const char *whose);
void prepare(struct run *run);
void end_child(struct run *run);
void finish(struct run *run);

/* map.c: where each page is */
void open_maps(bool coloured);
bool is_in_memory(unsigned int page);
void read_map(const struct run *run, struct map *map);
bool is_moved(const struct map *map, unsigned int page);
unsigned int count_moved(const struct map *map);
unsigned int count_mapped(const struct map *map);
void print_maps(const struct run *run);
void print_coloured(char state, const char *text, int length);

/* count.c: the kernel's function tracer, for this task alone */
void set_up_tracer(void);
void start_counting(void);
void stop_counting(struct run *run);

#endif /* ONEWALK_DEMO_H */
