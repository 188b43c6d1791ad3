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

struct disk {
	int fd;
	off_t place;	/* MOST pages there are the caller's */
	struct block *block;
};

/* The disk, and with @lock the pages on this side: both at once, or neither. */
static bool open_disk(struct worker *w, struct disk *disk, struct block *block,
		      bool (*lock)(struct block *block))
{
	struct flock place = { .l_type = F_WRLCK, .l_len = MOST * PAGE };

	disk->block = block;
	disk->fd = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (disk->fd < 0) {
		wrong(NULL, DISK ": %s", strerror(errno));
		return false;
	}
	place.l_start = disk->place = below(w, PLACES) * MOST * PAGE;
	if (!fcntl(disk->fd, F_OFD_SETLK, &place) && lock(block))
		return true;
	close(disk->fd);
	return false;
}

static void close_disk(struct disk *disk)
{
	unlock_block(disk->block);
	close(disk->fd);
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
	struct disk disk;

	if (!open_disk(w, &disk, span.block, lock_to_look))
		return BUSY;
	if (pwrite(disk.fd, span_addr(&span), bytes, disk.place) == bytes &&
	    pread(disk.fd, w->buffer, bytes, disk.place) == bytes &&
	    check_span(&span, w->buffer, "O_DIRECT"))
		outcome = DONE;
	close_disk(&disk);
	return outcome;
}

/* What the pages are to hold next, on the disk; false if it is not there. */
static bool prepare(struct worker *w, const struct disk *disk,
		    const struct span *span, uint16_t *versions)
{
	ssize_t bytes = span->npages * PAGE;

	fill_next(span, w->buffer, versions);
	return pwrite(disk->fd, w->buffer, bytes, disk->place) == bytes;
}

/* What was read into the pages has to be seen where they are mapped. */
static enum outcome arrived(const struct span *span, const uint16_t *versions,
			    bool all, const char *who)
{
	if (!all) {
		find_versions(span, versions, who);
		return FAILED;
	}
	set_versions(span, versions);
	return check_span(span, span_addr(span), who) ? DONE : FAILED;
}

enum outcome op_direct_read(struct worker *w)
{
	struct span span = any_span(w, EXACT, MOST);
	ssize_t bytes = span.npages * PAGE;
	enum outcome outcome = FAILED;
	uint16_t versions[MOST];
	struct disk disk;
	ssize_t n;

	if (!open_disk(w, &disk, span.block, lock_to_change))
		return BUSY;
	if (prepare(w, &disk, &span, versions)) {
		n = pread(disk.fd, span_addr(&span), bytes, disk.place);
		outcome = arrived(&span, versions, n == bytes,
				  "the CPU, after O_DIRECT");
	}
	close_disk(&disk);
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
static int ring_read_fixed(struct ring *ring, const struct disk *disk,
			   void *addr, size_t bytes)
{
	struct io_uring_params *p = &ring->params;
	_Atomic uint32_t *tail = ring_word(ring, p->sq_off.tail);
	_Atomic uint32_t *head = ring_word(ring, p->cq_off.head);
	uint32_t mask = *ring_word(ring, p->sq_off.ring_mask);
	uint32_t slot = *tail & mask;
	struct io_uring_cqe *cqes;

	ring->sqes[slot] = (struct io_uring_sqe){
		.opcode = IORING_OP_READ_FIXED,
		.fd = disk->fd,
		.addr = (uintptr_t)addr,
		.len = bytes,
		.off = disk->place,
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

/* Pages stay pinned as fixed buffers while everything else goes on. */
static enum outcome read_into_fixed(struct worker *w, struct ring *ring,
				    const struct disk *disk,
				    const struct span *span)
{
	size_t bytes = span->npages * PAGE;
	struct iovec iov = { span_addr(span), bytes };
	enum outcome outcome = DONE;
	uint16_t versions[MOST];
	unsigned int times;
	int n;

	if (syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_BUFFERS,
		    &iov, 1))
		return FAILED;
	for (times = 1 + below(w, 3); times && outcome == DONE; times--) {
		if (!prepare(w, disk, span, versions))
			return FAILED;
		usleep(below(w, 3000));
		n = ring_read_fixed(ring, disk, iov.iov_base, bytes);
		outcome = arrived(span, versions, n == (int)bytes,
				  "the CPU, of a fixed buffer");
	}
	return outcome;
}

enum outcome op_io_uring(struct worker *w)
{
	struct span span = any_span(w, ANONYMOUS, MOST);
	enum outcome outcome = FAILED;
	struct disk disk;
	struct ring ring;

	if (!open_disk(w, &disk, span.block, lock_to_change))
		return BUSY;
	/* 6.1 pins a page after MADV_FREE and throws it away when it is unpinned. */
	write_span(&span);
	if (ring_open(&ring))
		outcome = read_into_fixed(w, &ring, &disk, &span);
	ring_close(&ring);
	close_disk(&disk);
	return outcome;
}
