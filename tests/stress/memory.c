// SPDX-License-Identifier: GPL-2.0
/*
 * What a process does to its memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stress.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MPOL_MF_MOVE
#define MPOL_MF_MOVE		2
#endif

/* A pause, so that others get between. */
static void dawdle(struct worker *w)
{
	if (one_in(w, 2))
		usleep(below(w, 2000));
}

/* --- reading and writing --- */

enum outcome op_cpu_read(struct worker *w)
{
	struct span span = any_span(w, EXACT, BLOCK_MAX);
	bool right;

	if (!lock_to_look(span.block))
		return BUSY;
	right = check_span(&span, span_addr(&span), "the CPU");
	unlock_block(span.block);
	return right ? DONE : FAILED;
}

enum outcome op_cpu_write(struct worker *w)
{
	struct span span = any_span(w, EXACT, BLOCK_MAX);

	if (!lock_to_change(span.block))
		return BUSY;
	write_span(&span);
	unlock_block(span.block);
	return DONE;
}

enum outcome op_cpu_read_any(struct worker *w)
{
	struct span span = any_span(w, OPEN | SHARED, BLOCK_MAX);

	return check_any(&span, span_addr(&span), "the CPU") ? DONE : FAILED;
}

enum outcome op_cpu_write_any(struct worker *w)
{
	struct span span = any_span(w, OPEN | SHARED, BLOCK_MAX);

	write_any(&span, span_addr(&span), below(w, 1000));
	return DONE;
}

/* --- mappings --- */

enum outcome op_map_anew(struct worker *w)
{
	struct block *block = any_block(w, EXACT);
	struct span all = { block, 0, block->npages };
	bool mapped;

	if (!lock_to_change(block))
		return BUSY;
	if (one_in(w, 2)) {
		munmap(block->home, block->npages * PAGE);
		dawdle(w);
	}
	mapped = map_block(block);
	if (mapped)
		set_version(&all, 0);
	else
		wrong(block->home, "mmap: %s", strerror(errno));
	unlock_block(block);
	return mapped ? DONE : FAILED;
}

enum outcome op_unmap_part(struct worker *w)
{
	struct span span = any_span(w, SMALL | LARGE, BLOCK_MAX);
	char *addr = span_addr(&span);
	size_t bytes = span.npages * PAGE;

	if (!lock_to_change(span.block))
		return BUSY;
	munmap(addr, bytes);
	dawdle(w);
	if (mmap(addr, bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
		 -1, 0) == MAP_FAILED)
		wrong(addr, "mmap: %s", strerror(errno));
	madvise(addr, bytes, span.block->kind & LARGE ? MADV_HUGEPAGE :
							MADV_NOHUGEPAGE);
	set_version(&span, 0);
	unlock_block(span.block);
	return DONE;
}

static bool move(void *from, void *to, size_t bytes)
{
	return mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) !=
	       MAP_FAILED;
}

/* It can be of mappings that differ, of which some have moved. */
static void bring_back(const struct span *span)
{
	char *addr = span_addr(span), *away = addr + HUGE;
	unsigned char in_core;
	size_t i;

	for (i = 0; i < span->npages; i++, addr += PAGE, away += PAGE)
		if (!mincore(away, PAGE, &in_core) && !move(away, addr, PAGE))
			wrong(addr, "mremap back: %s", strerror(errno));
}

/* To other addresses, where a device uses it, and back. */
enum outcome op_mremap(struct worker *w)
{
	struct span span = any_span(w, EXACT, BLOCK_MAX);
	char *addr = span_addr(&span), *away = addr + HUGE;
	size_t bytes = span.npages * PAGE;
	enum outcome outcome = DONE;
	int file;

	if (!lock_to_change(span.block))
		return BUSY;
	if (!move(addr, away, bytes)) {
		bring_back(&span);
		outcome = FAILED;
		goto out;
	}
	file = device_file(w);
	if (one_in(w, 2) && (control->whole || span.npages < BLOCK_MAX))
		to_device(file, away, span.npages);
	if (!dummy_read(file, away, span.npages, w->buffer))
		check_span(&span, w->buffer, "a device, of moved memory");
	check_span(&span, away, "the CPU, of moved memory");
	if (!move(away, addr, bytes))
		wrong(addr, "mremap back: %s", strerror(errno));
out:
	unlock_block(span.block);
	return outcome;
}

static void protect(const struct span *span, int prot)
{
	if (mprotect(span_addr(span), span->npages * PAGE, prot))
		wrong(span_addr(span), "mprotect: %s", strerror(errno));
}

/* For a while, in which it is used as it may be, and a device tries what it must not. */
static enum outcome protect_for_a_while(struct worker *w, int prot,
					void (*use)(struct worker *w,
						    const struct span *span))
{
	struct span span = any_span(w, EXACT, BLOCK_MAX);

	if (!lock_to_change(span.block))
		return BUSY;
	protect(&span, prot);
	use(w, &span);
	dawdle(w);
	protect(&span, PROT_READ | PROT_WRITE);
	unlock_block(span.block);
	return DONE;
}

static void use_read_only(struct worker *w, const struct span *span)
{
	write_any(span, w->buffer, 999);
	if (!dummy_write(device_file(w), span_addr(span), span->npages,
			 w->buffer))
		wrong(span_addr(span), "a device wrote to read-only memory");
	check_span(span, span_addr(span), "the CPU, of read-only memory");
}

static void use_unreadable(struct worker *w, const struct span *span)
{
	if (!dummy_read(device_file(w), span_addr(span), span->npages,
			w->buffer))
		wrong(span_addr(span), "a device read what nobody may read");
}

enum outcome op_mprotect_read(struct worker *w)
{
	return protect_for_a_while(w, PROT_READ, use_read_only);
}

enum outcome op_mprotect_none(struct worker *w)
{
	return protect_for_a_while(w, PROT_NONE, use_unreadable);
}

/* --- madvise() --- */

static enum outcome advise(const struct span *span, int advice)
{
	return madvise(span_addr(span), span->npages * PAGE, advice) ?
		FAILED : DONE;
}

/* For what leaves contents alone, and so needs no lock. */
static enum outcome advise_any(struct worker *w, unsigned int kinds, int advice)
{
	struct span span = any_span(w, kinds, BLOCK_MAX);

	return advise(&span, advice);
}

/* After an error some of it may be gone. */
static void gone(const struct span *span, bool certain)
{
	struct block *block = span->block;
	size_t i;

	for (i = span->first; i < span->first + span->npages; i++) {
		if (certain)
			block->version[i] = 0;
		block->may_be_zero[i] = block->version[i];
	}
}

enum outcome op_dontneed(struct worker *w)
{
	struct span span = any_span(w, EXACT | OPEN, BLOCK_MAX);
	enum outcome outcome;

	if (!lock_to_change(span.block))
		return BUSY;
	outcome = advise(&span, MADV_DONTNEED);
	if (span.block->kind & EXACT)
		gone(&span, outcome == DONE);
	unlock_block(span.block);
	return outcome;
}

/*
 * Of pages that are not shared with a forked process. Of those that are, the
 * kernel (6.1 to 7.3) may throw away what the other one has: a page that came
 * from a swap device that needs no swap cache (zram) to be read is clean, and
 * nobody but MADV_FREE minds.
 */
enum outcome op_madvise_free(struct worker *w)
{
	struct span span = any_span(w, ANONYMOUS | OPEN, BLOCK_MAX);
	enum outcome outcome;

	if (!lock_to_change(span.block))
		return BUSY;
	outcome = advise(&span, MADV_POPULATE_WRITE);
	if (outcome == DONE)
		outcome = advise(&span, MADV_FREE);
	if (span.block->kind & EXACT)
		gone(&span, false);
	unlock_block(span.block);
	return outcome;
}

enum outcome op_remove(struct worker *w)
{
	return advise_any(w, SHARED, MADV_REMOVE);
}

enum outcome op_pageout(struct worker *w)
{
	return advise_any(w, ANY, MADV_PAGEOUT);
}

enum outcome op_cold(struct worker *w)
{
	return advise_any(w, ANY, MADV_COLD);
}

enum outcome op_populate_read(struct worker *w)
{
	return advise_any(w, ANY, MADV_POPULATE_READ);
}

enum outcome op_populate_write(struct worker *w)
{
	return advise_any(w, ANY, MADV_POPULATE_WRITE);
}

enum outcome op_collapse(struct worker *w)
{
	struct block *block = any_block(w, LARGE);
	struct span all = { block, 0, block->npages };

	return advise(&all, MADV_COLLAPSE);
}

enum outcome op_hugepage(struct worker *w)
{
	struct block *block = any_block(w, LARGE);
	struct span all = { block, 0, block->npages };
	enum outcome outcome = advise(&all, MADV_NOHUGEPAGE);

	dawdle(w);
	return advise(&all, MADV_HUGEPAGE) == DONE ? outcome : FAILED;
}

enum outcome op_ksm(struct worker *w)
{
	struct block *block = any_block(w, TWINS);
	struct span all = { block, 0, block->npages };
	enum outcome outcome = DONE;

	if (one_in(w, 4))
		outcome = advise(&all, MADV_UNMERGEABLE);
	return advise(&all, MADV_MERGEABLE) == DONE ? outcome : FAILED;
}

/* --- the rest of what changes pages and not what they hold --- */

enum outcome op_mlock(struct worker *w)
{
	struct span span = any_span(w, ANY, 64);

	return mlock(span_addr(&span), span.npages * PAGE) ? FAILED : DONE;
}

enum outcome op_munlock(struct worker *w)
{
	struct block *block = any_block(w, ANY);

	return munlock(block->home, block->npages * PAGE) ? FAILED : DONE;
}

enum outcome op_clear_soft_dirty(struct worker *w)
{
	(void)w;
	return write_file("/proc/self/clear_refs", "4") ? FAILED : DONE;
}

enum outcome op_move_pages(struct worker *w)
{
	struct span span = any_span(w, ANY, BLOCK_MAX);
	void *pages[BLOCK_MAX];
	int nodes[BLOCK_MAX], status[BLOCK_MAX], node = below(w, 2);
	size_t i;

	for (i = 0; i < span.npages; i++) {
		pages[i] = span_addr(&span) + i * PAGE;
		nodes[i] = node;
	}
	if (syscall(SYS_move_pages, 0, span.npages, pages, nodes, status,
		    MPOL_MF_MOVE) < 0)
		return FAILED;
	for (i = 0; i < span.npages; i++)
		if (status[i] == node)
			return DONE;
	return FAILED;
}

/* --- userfaultfd --- */

/* Who serves the faults of a span. */
struct server {
	struct span span;
	uint16_t version;
	uint64_t *page;
	int fd;
	int stop[2];
	pthread_t thread;
	unsigned int served;
};

static void serve_missing(struct server *server, char *addr)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)addr,
		.src = (uintptr_t)server->page,
		.len = PAGE,
	};
	struct uffdio_range wake = { .start = (uintptr_t)addr, .len = PAGE };
	struct span page = {
		.block = server->span.block,
		.first = (addr - server->span.block->home) / PAGE,
		.npages = 1,
	};

	write_any(&page, server->page, server->version);
	if (!ioctl(server->fd, UFFDIO_COPY, &copy))
		server->served++;
	else
		ioctl(server->fd, UFFDIO_WAKE, &wake);
}

static void serve_protected(struct server *server, char *addr)
{
	struct uffdio_writeprotect lift = {
		.range = { .start = (uintptr_t)addr, .len = PAGE },
	};

	if (!ioctl(server->fd, UFFDIO_WRITEPROTECT, &lift))
		server->served++;
}

static void *serve(void *arg)
{
	struct server *server = arg;
	struct pollfd polls[] = {
		{ .fd = server->fd, .events = POLLIN },
		{ .fd = server->stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;
	char *addr;

	while (poll(polls, 2, -1) > 0 && !polls[1].revents) {
		if (read(server->fd, &msg, sizeof(msg)) != sizeof(msg) ||
		    msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		addr = (char *)(uintptr_t)(msg.arg.pagefault.address & -PAGE);
		if (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
			serve_protected(server, addr);
		else
			serve_missing(server, addr);
	}
	return NULL;
}

static bool start_server(struct server *server, uint64_t mode)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = {
			.start = (uintptr_t)span_addr(&server->span),
			.len = server->span.npages * PAGE,
		},
		.mode = mode,
	};

	server->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (server->fd < 0)
		return false;
	if (ioctl(server->fd, UFFDIO_API, &api) ||
	    ioctl(server->fd, UFFDIO_REGISTER, &reg) ||
	    pipe2(server->stop, O_CLOEXEC)) {
		close(server->fd);
		return false;
	}
	server->page = aligned_alloc(PAGE, PAGE);
	if (server->page &&
	    !pthread_create(&server->thread, NULL, serve, server))
		return true;
	free(server->page);
	close(server->stop[0]);
	close(server->stop[1]);
	close(server->fd);
	return false;
}

/* From here on faults are the kernel's again. */
static void stop_server(struct server *server)
{
	struct uffdio_range range = {
		.start = (uintptr_t)span_addr(&server->span),
		.len = server->span.npages * PAGE,
	};

	ioctl(server->fd, UFFDIO_UNREGISTER, &range);
	close(server->stop[1]);
	pthread_join(server->thread, NULL);
	close(server->stop[0]);
	close(server->fd);
	free(server->page);
}

enum outcome op_uffd_missing(struct worker *w)
{
	struct span span = any_span(w, SMALL | LARGE, 32);
	struct server server = { .span = span, .version = 1 + below(w, 1000) };
	enum outcome outcome = FAILED;

	if (!lock_to_change(span.block))
		return BUSY;
	if (!start_server(&server, UFFDIO_REGISTER_MODE_MISSING))
		goto out;
	if (advise(&span, MADV_DONTNEED) == DONE) {
		/* Whoever comes first makes it what it is now. */
		set_version(&span, server.version);
		if (one_in(w, 2) &&
		    !dummy_cmd(device_file(w), ONEWALK_DUMMY_READ_UNLOCKED,
			       span_addr(&span), span.npages, w->buffer, NULL))
			check_span(&span, w->buffer, "a device, of userfaultfd");
		check_span(&span, span_addr(&span), "the CPU, of userfaultfd");
		outcome = server.served ? DONE : FAILED;
	} else {
		gone(&span, false);
	}
	stop_server(&server);
out:
	unlock_block(span.block);
	return outcome;
}

enum outcome op_uffd_wp(struct worker *w)
{
	struct span span = any_span(w, SMALL | LARGE, 32);
	struct server server = { .span = span };
	struct uffdio_writeprotect protect = {
		.range = {
			.start = (uintptr_t)span_addr(&span),
			.len = span.npages * PAGE,
		},
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	enum outcome outcome = FAILED;
	bool protected;

	if (!lock_to_change(span.block))
		return BUSY;
	/* so that there is something to protect */
	write_span(&span);
	if (!start_server(&server, UFFDIO_REGISTER_MODE_WP))
		goto out;
	protected = !ioctl(server.fd, UFFDIO_WRITEPROTECT, &protect);
	if (protected) {
		dawdle(w);
		check_span(&span, span_addr(&span), "the CPU, of protected memory");
		write_span(&span);
		outcome = DONE;
	}
	stop_server(&server);
	/* Each page was written, so each was asked for. */
	if (protected && server.served < span.npages)
		wrong(span_addr(&span), "%u of %zu protected pages were asked for",
		      server.served, span.npages);
out:
	unlock_block(span.block);
	return outcome;
}
