// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel does to a process's memory by pages that it has pinned, or
 * has references to: no such page may be another when it is used.
 *
 * The file on the other side is a loop device, whose own thread does the copying.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "stress.h"

#define DISK		"/dev/loop0"
#define PLACES		64
#define MOST		16	/* pages at a time */

/* The disk, and a place there that is the caller's until it closes that. */
static int open_disk(struct worker *w, off_t *place)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = MOST * PAGE };
	int disk = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (disk < 0) {
		wrong(NULL, DISK ": %s", strerror(errno));
		return -1;
	}
	lock.l_start = below(w, PLACES) * MOST * PAGE;
	if (fcntl(disk, F_OFD_SETLK, &lock)) {
		close(disk);
		return -1;
	}
	*place = lock.l_start;
	return disk;
}

enum outcome op_vmsplice(struct worker *w)
{
	struct span span = any_span(w, EXACT, 8);
	size_t bytes = span.npages * PAGE;
	struct iovec iov = { span_addr(&span), bytes };
	enum outcome outcome = FAILED;
	int ends[2];

	if (!lock_to_look(span.block))
		return BUSY;
	if (pipe2(ends, O_CLOEXEC))
		goto out;
	if (vmsplice(ends[1], &iov, 1, 0) == (ssize_t)bytes) {
		usleep(below(w, 2000));
		if (read(ends[0], w->buffer, bytes) == (ssize_t)bytes &&
		    check_span(&span, w->buffer, "a pipe"))
			outcome = DONE;
	}
	close(ends[0]);
	close(ends[1]);
out:
	unlock_block(span.block);
	return outcome;
}

/* Out of a page, and what came out is looked at. */
enum outcome op_direct_write(struct worker *w)
{
	struct span span = any_span(w, EXACT, MOST);
	ssize_t bytes = span.npages * PAGE;
	enum outcome outcome = FAILED;
	off_t place;
	int disk = open_disk(w, &place);

	if (disk < 0)
		return BUSY;
	if (!lock_to_look(span.block)) {
		close(disk);
		return BUSY;
	}
	if (pwrite(disk, span_addr(&span), bytes, place) == bytes &&
	    pread(disk, w->buffer, bytes, place) == bytes &&
	    check_span(&span, w->buffer, "O_DIRECT"))
		outcome = DONE;
	unlock_block(span.block);
	close(disk);
	return outcome;
}

/* What the pages are to hold next, on the disk; false if it is not there. */
static bool prepare(struct worker *w, int disk, off_t place,
		    const struct span *span, uint16_t *versions)
{
	ssize_t bytes = span->npages * PAGE;
	size_t i;

	for (i = 0; i < span->npages; i++) {
		versions[i] = next_version(span->block, span->first + i);
		fill_page(span->block, span->first + i,
			  (char *)w->buffer + i * PAGE, versions[i]);
	}
	return pwrite(disk, w->buffer, bytes, place) == bytes;
}

static void arrived(const struct span *span, const uint16_t *versions)
{
	size_t i;

	for (i = 0; i < span->npages; i++) {
		span->block->version[span->first + i] = versions[i];
		span->block->may_be_zero[span->first + i] = false;
	}
}

enum outcome op_direct_read(struct worker *w)
{
	struct span span = any_span(w, EXACT, MOST);
	ssize_t bytes = span.npages * PAGE;
	enum outcome outcome = FAILED;
	uint16_t versions[MOST];
	off_t place;
	int disk = open_disk(w, &place);

	if (disk < 0)
		return BUSY;
	if (!lock_to_change(span.block)) {
		close(disk);
		return BUSY;
	}
	if (prepare(w, disk, place, &span, versions)) {
		if (pread(disk, span_addr(&span), bytes, place) == bytes) {
			arrived(&span, versions);
			if (check_span(&span, span_addr(&span), "the CPU, after O_DIRECT"))
				outcome = DONE;
		} else {
			find_versions(&span, versions, "the CPU, after a failed O_DIRECT");
		}
	}
	unlock_block(span.block);
	close(disk);
	return outcome;
}

/* --- io_uring --- */

struct ring {
	int fd;
	void *rings;
	size_t bytes;
	struct io_uring_sqe *sqes;
	struct io_uring_params params;
};

static bool ring_open(struct ring *ring)
{
	struct io_uring_params *p = &ring->params;
	size_t cqes;

	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(SYS_io_uring_setup, 2, p);
	if (ring->fd < 0)
		return false;
	ring->bytes = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	cqes = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	if (cqes > ring->bytes)
		ring->bytes = cqes;
	ring->rings = mmap(NULL, ring->bytes, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_POPULATE, ring->fd,
			   IORING_OFF_SQ_RING);
	ring->sqes = mmap(NULL, p->sq_entries * sizeof(*ring->sqes),
			  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			  ring->fd, IORING_OFF_SQES);
	return ring->rings != MAP_FAILED && ring->sqes != MAP_FAILED;
}

static void ring_close(struct ring *ring)
{
	if (ring->fd < 0)
		return;
	if (ring->rings != MAP_FAILED)
		munmap(ring->rings, ring->bytes);
	if (ring->sqes != MAP_FAILED)
		munmap(ring->sqes, ring->params.sq_entries * sizeof(*ring->sqes));
	close(ring->fd);
}

static _Atomic uint32_t *ring_word(struct ring *ring, uint32_t offset)
{
	return (_Atomic uint32_t *)((char *)ring->rings + offset);
}

/* One request, and its end. */
static int ring_read_fixed(struct ring *ring, int disk, void *addr,
			   size_t bytes, off_t place)
{
	struct io_uring_params *p = &ring->params;
	_Atomic uint32_t *tail = ring_word(ring, p->sq_off.tail);
	_Atomic uint32_t *head = ring_word(ring, p->cq_off.head);
	uint32_t mask = *ring_word(ring, p->sq_off.ring_mask);
	uint32_t slot = *tail & mask;
	struct io_uring_cqe *cqes;

	ring->sqes[slot] = (struct io_uring_sqe){
		.opcode = IORING_OP_READ_FIXED,
		.fd = disk,
		.addr = (uintptr_t)addr,
		.len = bytes,
		.off = place,
	};
	*(ring_word(ring, p->sq_off.array) + slot) = slot;
	++*tail;
	if (syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) != 1)
		return -errno;
	while (*head == *ring_word(ring, p->cq_off.tail))
		syscall(SYS_io_uring_enter, ring->fd, 0, 1,
			IORING_ENTER_GETEVENTS, NULL, 0);
	cqes = (void *)((char *)ring->rings + p->cq_off.cqes);
	mask = *ring_word(ring, p->cq_off.ring_mask);
	return cqes[(*head)++ & mask].res;
}

/*
 * Pages stay pinned as fixed buffers while everything else goes on; then what is
 * read into the buffers has to be seen where the pages are mapped.
 */
static enum outcome read_into_fixed(struct worker *w, struct ring *ring,
				    int disk, off_t place,
				    const struct span *span)
{
	size_t bytes = span->npages * PAGE;
	struct iovec iov = { span_addr(span), bytes };
	uint16_t versions[MOST];
	unsigned int times;
	int ret;

	if (syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_BUFFERS,
		    &iov, 1))
		return FAILED;
	for (times = 1 + below(w, 3); times; times--) {
		if (!prepare(w, disk, place, span, versions))
			return FAILED;
		usleep(below(w, 3000));
		ret = ring_read_fixed(ring, disk, iov.iov_base, bytes,
				      place);
		if (ret != (int)bytes) {
			find_versions(span, versions, "the CPU, after a failed fixed read");
			return FAILED;
		}
		arrived(span, versions);
		if (!check_span(span, iov.iov_base, "the CPU, of a fixed buffer"))
			return FAILED;
	}
	return DONE;
}

enum outcome op_io_uring(struct worker *w)
{
	struct span span = any_span(w, ANONYMOUS, MOST);
	enum outcome outcome = FAILED;
	struct ring ring;
	off_t place;
	int disk = open_disk(w, &place);

	if (disk < 0)
		return BUSY;
	if (!lock_to_change(span.block)) {
		close(disk);
		return BUSY;
	}
	/* 6.1 pins a page after MADV_FREE and throws it away when it is unpinned. */
	write_span(&span);
	if (ring_open(&ring))
		outcome = read_into_fixed(w, &ring, disk, place, &span);
	ring_close(&ring);
	unlock_block(span.block);
	close(disk);
	return outcome;
}
