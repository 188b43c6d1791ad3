// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a process, and what each page of it has to hold: words that
 * name their own address and the version of what was last written there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stress.h"

#define WORDS		(PAGE / sizeof(uint64_t))
#define VERSION_SHIFT	48	/* user addresses end below */

/* Pages of TWINS hold what every fourth one holds. */
#define NR_TWINS	4

struct block blocks[] = {
	{ .kind = SMALL, .npages = 64 },
	{ .kind = SMALL, .npages = 64 },
	{ .kind = SMALL, .npages = 200 },
	{ .kind = LARGE, .npages = 512 },
	{ .kind = LARGE, .npages = 512 },
	{ .kind = COPIED, .npages = 64 },
	{ .kind = TWINS, .npages = 64 },
	{ .kind = OPEN, .npages = 48 },
	{ .kind = SHARED, .npages = 48 },
};

const size_t nr_blocks = sizeof(blocks) / sizeof(*blocks);

uint64_t below(struct worker *w, uint64_t limit)
{
	return next_random(&w->random) % limit;
}

bool one_in(struct worker *w, uint64_t n)
{
	return below(w, n) == 0;
}

/* --- locks --- */

/* Whoever waits for a block is not at another. */
bool lock_to_look(struct block *block)
{
	if (!(block->kind & EXACT))
		return true;
	return !pthread_rwlock_tryrdlock(&block->lock);
}

bool lock_to_change(struct block *block)
{
	if (!(block->kind & EXACT))
		return true;
	return !pthread_rwlock_trywrlock(&block->lock);
}

void unlock_block(struct block *block)
{
	if (block->kind & EXACT)
		pthread_rwlock_unlock(&block->lock);
}

/* Nothing is being changed: for fork(), and to look at everything. */
void lock_world(void)
{
	size_t i;

	for (i = 0; i < nr_blocks; i++)
		while (pthread_rwlock_tryrdlock(&blocks[i].lock))
			usleep(200);
}

void unlock_world(void)
{
	size_t i;

	for (i = 0; i < nr_blocks; i++)
		pthread_rwlock_unlock(&blocks[i].lock);
}

void init_locks(void)
{
	size_t i;

	for (i = 0; i < nr_blocks; i++)
		pthread_rwlock_init(&blocks[i].lock, NULL);
}

/* --- mappings --- */

/*
 * Each block has 2 MiB of addresses for itself, and as much to move to behind
 * it; the addresses are the same in all processes.
 */
#define WORLD		0x200000000000UL

bool map_block(struct block *block)
{
	int flags = MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, fd = -1;
	size_t bytes = block->npages * PAGE;
	char *addr;

	flags |= block->kind & SHARED ? MAP_SHARED : MAP_PRIVATE;
	if (block->kind & COPIED) {
		fd = memfd_create("onewalk-stress", MFD_CLOEXEC);
		if (fd < 0)
			return false;
		flags &= ~MAP_ANONYMOUS;
	}
	addr = fd >= 0 && ftruncate(fd, bytes) ? MAP_FAILED :
		mmap(block->home, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (fd >= 0)
		close(fd);
	if (addr == MAP_FAILED)
		return false;
	madvise(addr, bytes,
		block->kind & LARGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (block->kind & TWINS)
		madvise(addr, bytes, MADV_MERGEABLE);
	return true;
}

void world_map(void)
{
	size_t i;

	init_locks();
	for (i = 0; i < nr_blocks; i++) {
		blocks[i].home = (char *)WORLD + i * 2 * HUGE;
		if (!map_block(&blocks[i]))
			wrong(NULL, "block %zu cannot be mapped: %s", i,
			      strerror(errno));
	}
}

struct block *any_block(struct worker *w, unsigned int kinds)
{
	struct block *block;

	do {
		block = &blocks[below(w, nr_blocks)];
	} while (!(block->kind & kinds));
	return block;
}

/* Most often a few pages, now and then all that there are. */
struct span any_span(struct worker *w, unsigned int kinds, size_t most)
{
	struct span span = { .block = any_block(w, kinds) };
	size_t npages = span.block->npages;

	if (most > npages)
		most = npages;
	span.npages = 1 + below(w, one_in(w, 4) ? most : (most + 15) / 16);
	if (most == npages && one_in(w, 8))
		span.npages = npages;
	span.first = below(w, npages - span.npages + 1);
	history("stress: %lx+%zu %s", (long)span_addr(&span), span.npages,
		op_name(w->op));
	return span;
}

char *span_addr(const struct span *span)
{
	return span->block->home + span->first * PAGE;
}

/* --- contents --- */

static uint64_t word(const struct block *block, size_t page, size_t i,
		     uint16_t version)
{
	if (!version)
		return 0;
	if (block->kind & TWINS)
		page %= NR_TWINS;
	return (uint64_t)version << VERSION_SHIFT |
	       (uintptr_t)(block->home + page * PAGE + i * sizeof(uint64_t));
}

static uint16_t next_version(const struct block *block, size_t page)
{
	uint16_t version = block->version[page] + 1;

	/* few, so that twins have the same one often */
	if (block->kind & TWINS)
		version = block->version[page] == 1 ? 2 : 1;
	return version ?: 1;
}

static void fill_page(const struct block *block, size_t page, void *content,
		      uint16_t version)
{
	volatile uint64_t *words = content;
	size_t i;

	for (i = 0; i < WORDS; i++)
		words[i] = word(block, page, i, version);
}

static void page_holds(struct block *block, size_t page, uint16_t version)
{
	block->version[page] = version;
	block->may_be_zero[page] = false;
}

void set_version(const struct span *span, uint16_t version)
{
	size_t i;

	for (i = 0; i < span->npages; i++)
		page_holds(span->block, span->first + i, version);
}

void set_versions(const struct span *span, const uint16_t *versions)
{
	size_t i;

	for (i = 0; i < span->npages; i++)
		page_holds(span->block, span->first + i, versions[i]);
}

void fill_next(const struct span *span, void *content, uint16_t *versions)
{
	char *at = content;
	size_t i;

	for (i = 0; i < span->npages; i++, at += PAGE) {
		versions[i] = next_version(span->block, span->first + i);
		fill_page(span->block, span->first + i, at, versions[i]);
	}
}

void write_span(const struct span *span)
{
	uint16_t versions[BLOCK_MAX];

	fill_next(span, span_addr(span), versions);
	set_versions(span, versions);
}

static bool holds(const struct block *block, size_t page,
		  const volatile uint64_t *words, uint16_t version, size_t *at)
{
	for (*at = 0; *at < WORDS; ++*at)
		if (words[*at] != word(block, page, *at, version))
			return false;
	return true;
}

static void say_wrong(const struct block *block, size_t page, size_t i,
		      uint64_t found, uint16_t version, const char *who)
{
	const char *addr = block->home + page * PAGE;

	wrong(addr, "%s: page %zu of block %zu (kind %#x), word %zu at %p: found %#lx, version is %u%s",
	      who, page, block - blocks, block->kind, i, addr,
	      (unsigned long)found, version,
	      block->may_be_zero[page] ? " or none" : "");
}

static bool check_page(const struct block *block, size_t page,
		       const void *content, const char *who)
{
	uint16_t version = block->version[page];
	const volatile uint64_t *words = content;
	uint64_t found;
	size_t at;

	if (block->may_be_zero[page] && holds(block, page, words, 0, &at))
		return true;
	if (holds(block, page, words, version, &at))
		return true;
	found = words[at];
	/* given up while it was being looked at */
	if (block->may_be_zero[page] && holds(block, page, words, 0, &at))
		return true;
	say_wrong(block, page, at, found, version, who);
	return false;
}

bool check_span(const struct span *span, const void *content, const char *who)
{
	const char *at = content;
	size_t i;

	for (i = 0; i < span->npages; i++, at += PAGE)
		if (!check_page(span->block, span->first + i, at, who))
			return false;
	return true;
}

void find_versions(const struct span *span, const uint16_t *versions,
		   const char *who)
{
	struct block *block = span->block;
	const char *addr = span_addr(span);
	size_t i, page, at;

	for (i = 0; i < span->npages; i++, addr += PAGE) {
		page = span->first + i;
		if (holds(block, page, (void *)addr, versions[i], &at))
			page_holds(block, page, versions[i]);
		else if (!check_page(block, page, addr, who))
			return;
	}
}

/* Of any version, or none: but of this very place. */
bool check_any(const struct span *span, const void *content, const char *who)
{
	const volatile uint64_t *words = content;
	const uint64_t mask = (1ULL << VERSION_SHIFT) - 1;
	size_t i, page;
	uint64_t found;

	for (i = 0; i < span->npages * WORDS; i++) {
		page = span->first + i / WORDS;
		found = words[i];
		if (!found ||
		    (found & mask) == (word(span->block, page, i % WORDS, 1) & mask))
			continue;
		say_wrong(span->block, page, i % WORDS, found, 0, who);
		return false;
	}
	return true;
}

void write_any(const struct span *span, void *content, uint16_t version)
{
	char *at = content;
	size_t i;

	for (i = 0; i < span->npages; i++, at += PAGE)
		fill_page(span->block, span->first + i, at, version ?: 1);
}

/* As the CPU sees all of it; nobody changes it. */
void check_world(void)
{
	size_t i;

	for (i = 0; i < nr_blocks; i++) {
		struct span all = { &blocks[i], 0, blocks[i].npages };

		if (blocks[i].kind & EXACT)
			check_span(&all, blocks[i].home, "the CPU, in the end");
		else
			check_any(&all, blocks[i].home, "the CPU, in the end");
	}
}
