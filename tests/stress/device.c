// SPDX-License-Identifier: GPL-2.0
/*
 * What devices do to a process's memory.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

/* Of this process: two of each device. Who uses one keeps it from being closed. */
int files[NR_FILES];
pthread_rwlock_t files_lock;

int device_file(struct worker *w)
{
	return files[below(w, NR_FILES)];
}

/* Through the second open of each, a device uses the other's memory as well. */
static void ask_about_peers(int file, int fd)
{
	struct onewalk_dummy_peers peers = {
		.flags = ONEWALK_DUMMY_PEERS_ASK | ONEWALK_DUMMY_PEERS_OWN |
			 ONEWALK_DUMMY_PEERS_OTHERS,
	};

	if (file >= NR_DEVICES && ioctl(fd, ONEWALK_DUMMY_PEERS, &peers))
		wrong(NULL, "peers: %s", strerror(errno));
}

static bool has_peers(int fd)
{
	int file;

	for (file = NR_DEVICES; file < NR_FILES; file++)
		if (files[file] == fd)
			return true;
	return false;
}

void reopen_device(int file)
{
	int fd = dummy_open(file % NR_DEVICES);

	if (fd < 0) {
		wrong(NULL, "/dev/hmm_dmirror%d: %s", file % NR_DEVICES,
		      strerror(-fd));
		return;
	}
	ask_about_peers(file, fd);
	if (files[file] >= 0)
		close(files[file]);
	files[file] = fd;
}

void close_devices(void)
{
	int file;

	for (file = 0; file < NR_FILES; file++)
		close(files[file]);
}

/* Who waits to write goes first: the others are all readers, most of the time. */
void init_files_lock(void)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&files_lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

/* What was pinned through it is let go of. */
enum outcome op_reopen(struct worker *w)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 2;
	if (pthread_rwlock_timedwrlock(&files_lock, &until))
		return BUSY;
	reopen_device(below(w, NR_FILES));
	pthread_rwlock_unlock(&files_lock);
	return DONE;
}

/* --- allocations that fail --- */

/* 0 where the kernel cannot do that, or did not come so far. */
static bool fail_begin(struct worker *w)
{
	if (!one_in(w, 8))
		return false;
	return !write_file("/proc/thread-self/fail-nth", "%lu",
			   (unsigned long)(1 + below(w, one_in(w, 2) ? 12 : 300)));
}

static void fail_end(bool begun)
{
	char left[16] = "1";

	if (!begun)
		return;
	read_file("/proc/thread-self/fail-nth", left, sizeof(left));
	write_file("/proc/thread-self/fail-nth", "0");
	count_op(OP_alloc_failed, strcmp(left, "0") ? FAILED : DONE);
}

/* --- one request --- */

static void say(const char *what, const struct span *span, int file,
		unsigned int flags, int ret)
{
	history("stress: %lx+%zu %s file %d flags %#x: %d",
		(long)span_addr(span), span->npages, what, file, flags, ret);
}

static int command(struct worker *w, const char *what, unsigned long request,
		   const struct span *span, void *buffer)
{
	int file = device_file(w), ret;
	bool failing = fail_begin(w);

	ret = dummy_cmd(file, request, span_addr(span), span->npages, buffer,
			NULL);
	fail_end(failing);
	say(what, span, file, 0, ret);
	return ret;
}

static enum outcome outcome_of(int ret)
{
	return ret ? FAILED : DONE;
}

static enum outcome read_exact(struct worker *w, unsigned long request)
{
	struct span span = any_span(w, EXACT, BLOCK_MAX);
	int ret;

	if (!lock_to_look(span.block))
		return BUSY;
	ret = command(w, "read", request, &span, w->buffer);
	if (!ret)
		check_span(&span, w->buffer, "a device");
	unlock_block(span.block);
	return outcome_of(ret);
}

enum outcome op_device_read(struct worker *w)
{
	return read_exact(w, ONEWALK_DUMMY_READ);
}

enum outcome op_device_read_unlocked(struct worker *w)
{
	return read_exact(w, ONEWALK_DUMMY_READ_UNLOCKED);
}

enum outcome op_device_write(struct worker *w)
{
	struct span span = any_span(w, EXACT, BLOCK_MAX);
	uint16_t versions[BLOCK_MAX];
	int ret;

	if (!lock_to_change(span.block))
		return BUSY;
	fill_next(&span, w->buffer, versions);
	ret = command(w, "write", ONEWALK_DUMMY_WRITE, &span, w->buffer);
	if (!ret)
		set_versions(&span, versions);
	else
		find_versions(&span, versions, "the CPU, after a device");
	unlock_block(span.block);
	return outcome_of(ret);
}

enum outcome op_device_read_any(struct worker *w)
{
	struct span span = any_span(w, OPEN | SHARED, BLOCK_MAX);
	int ret = command(w, "read", ONEWALK_DUMMY_READ, &span, w->buffer);

	if (!ret)
		check_any(&span, w->buffer, "a device");
	return outcome_of(ret);
}

enum outcome op_device_write_any(struct worker *w)
{
	struct span span = any_span(w, OPEN | SHARED, BLOCK_MAX);

	write_any(&span, w->buffer, below(w, 1000));
	return outcome_of(command(w, "write", ONEWALK_DUMMY_WRITE, &span,
				  w->buffer));
}

enum outcome op_device_snapshot(struct worker *w)
{
	struct span span = any_span(w, ANY, BLOCK_MAX);

	return outcome_of(command(w, "snapshot", ONEWALK_DUMMY_SNAPSHOT, &span,
				  w->bytes));
}

/*
 * Not of pages of large folios, with which 7.3 then does not reckon when it looks
 * who has used a folio that it would like to reclaim.
 */
enum outcome op_device_exclusive(struct worker *w)
{
	struct span span = any_span(w, SMALL, 32);
	int ret;

	if (!lock_to_look(span.block))
		return BUSY;
	ret = command(w, "exclusive", ONEWALK_DUMMY_EXCLUSIVE, &span, w->buffer);
	if (!ret) {
		check_span(&span, w->buffer, "a device, with atomic access");
		command(w, "check", ONEWALK_DUMMY_CHECK_EXCLUSIVE, &span, NULL);
	}
	unlock_block(span.block);
	return outcome_of(ret);
}

enum outcome op_device_report(struct worker *w)
{
	static const uint64_t requests[] = {
		0, REQ_FAULT, REQ_FAULT | REQ_WRITE,
	};
	struct span span = any_span(w, ANY, BLOCK_MAX);
	int file = device_file(w), ret;
	bool failing = fail_begin(w);

	ret = dummy_report(file, span_addr(&span), span.npages, w->buffer,
			   requests[below(w, 3)], false);
	fail_end(failing);
	say("report", &span, file, 0, ret);
	return outcome_of(ret);
}

enum outcome op_device_pin(struct worker *w)
{
	struct span span = any_span(w, ANONYMOUS, 8);
	int file = device_file(w), ret;

	ret = dummy_pin(file, span_addr(&span), span.npages);
	say("pin", &span, file, 0, ret);
	return outcome_of(ret);
}

/* To write or to read, to pages of the device's choice or not. */
enum outcome op_device_pin_longterm(struct worker *w)
{
	struct span span = any_span(w, ANONYMOUS, 8);
	struct onewalk_dummy_pin_longterm pin = {
		.addr = (uintptr_t)span_addr(&span),
		.npages = span.npages,
		.flags = below(w, 4),
	};
	int file = device_file(w), ret;
	bool failing = fail_begin(w);

	ret = ioctl(file, ONEWALK_DUMMY_PIN_LONGTERM, &pin) ? -errno : 0;
	fail_end(failing);
	say("pin for long", &span, file, pin.flags, ret ?: (int)pin.moved);
	return outcome_of(ret);
}

enum outcome op_device_unpin(struct worker *w)
{
	int file, ret = 0;

	(void)w;
	for (file = 0; file < NR_FILES; file++)
		ret |= ioctl(files[file], ONEWALK_DUMMY_UNPIN_ALL);
	return outcome_of(ret);
}

/* --- migration --- */

/* These two go on for a second if they must; others wait for them. */
static bool not_always(struct worker *w)
{
	return !control->done[w->op] || one_in(w, 4);
}

/* Also across several mappings, and what is between them. */
static struct span any_stretch(struct worker *w)
{
	struct span span = any_span(w, ANY, BLOCK_MAX);

	if (one_in(w, 8))
		span.npages += below(w, 4 * BLOCK_MAX);
	return span;
}

static enum outcome migrate(struct worker *w, const char *what,
			    unsigned int method, unsigned int flags)
{
	const unsigned int back = ONEWALK_DUMMY_MIGRATE_TO_SYSTEM;
	struct span span = any_stretch(w);
	struct onewalk_dummy_migrate result = { .nid = below(w, 2) };
	uint8_t *status = one_in(w, 2) && span.npages <= BLOCK_MAX ?
			  w->bytes : NULL;
	int file = device_file(w), ret;
	bool failing;

	if (has_peers(file) && one_in(w, 2))
		flags |= ONEWALK_DUMMY_MIGRATE_PEERS;
	/* so that there is something to bring back */
	if (flags & back)
		to_device(file, span_addr(&span), span.npages);
	failing = fail_begin(w);
	ret = dummy_migrate(file, span_addr(&span), span.npages, method, flags,
			    status, NULL, &result);
	fail_end(failing);
	say(what, &span, file, flags, ret ?: (int)result.moved);
	event(flags & back ? OP_pages_to_system : OP_pages_to_device,
	      result.moved);
	return !ret && result.moved ? DONE : FAILED;
}

static unsigned int any_flags(struct worker *w)
{
	unsigned int flags = 0;

	if (one_in(w, 2))
		flags |= ONEWALK_DUMMY_MIGRATE_FAULT;
	if (control->whole && one_in(w, 2))
		flags |= ONEWALK_DUMMY_MIGRATE_COMPOUND;
	if (one_in(w, 16))
		flags |= ONEWALK_DUMMY_MIGRATE_NO_COPY;
	if (one_in(w, 16))
		flags |= ONEWALK_DUMMY_MIGRATE_SKIP_NODE;
	return flags;
}

enum outcome op_range_to_device(struct worker *w)
{
	unsigned int flags = any_flags(w);

	if (flags & ONEWALK_DUMMY_MIGRATE_FAULT) {
		if (one_in(w, 3))
			flags |= ONEWALK_DUMMY_MIGRATE_WRITE;
		if (one_in(w, 3))
			flags |= ONEWALK_DUMMY_MIGRATE_UNLOCKED;
	}
	if (one_in(w, 8))
		flags |= ONEWALK_DUMMY_MIGRATE_ANEW;
	return migrate(w, "range", ONEWALK_DUMMY_RANGE, flags);
}

enum outcome op_setup_to_device(struct worker *w)
{
	return migrate(w, "setup", ONEWALK_DUMMY_SETUP, any_flags(w));
}

enum outcome op_range_to_system(struct worker *w)
{
	unsigned int method = one_in(w, 2) ? ONEWALK_DUMMY_RANGE :
					     ONEWALK_DUMMY_SETUP;

	return migrate(w, "back", method, ONEWALK_DUMMY_MIGRATE_TO_SYSTEM |
		       (any_flags(w) & ~ONEWALK_DUMMY_MIGRATE_SKIP_NODE));
}

enum outcome op_to_device(struct worker *w)
{
	/* It takes huge pages whole without being asked to. */
	struct span span = any_span(w, control->whole ? ANY : ANY & ~LARGE,
				    BLOCK_MAX);
	int ret;

	/* It reads back what moved: of an EXACT block that nobody must change. */
	if (!not_always(w) || !lock_to_look(span.block))
		return BUSY;
	ret = command(w, "to device", ONEWALK_DUMMY_MIGRATE_TO_DEV, &span,
		      w->buffer);
	if (!ret && (span.block->kind & EXACT))
		check_span(&span, w->buffer, "a device, of what moved");
	unlock_block(span.block);
	return outcome_of(ret);
}

enum outcome op_to_system(struct worker *w)
{
	struct span span = any_span(w, ANY, BLOCK_MAX);

	if (!not_always(w))
		return BUSY;
	return outcome_of(command(w, "to system",
				  ONEWALK_DUMMY_MIGRATE_TO_SYS, &span, NULL));
}

/* --- fault buffers --- */

#define MAX_FAULTS	200

static void make_faults(struct worker *w, struct onewalk_dummy_fault *faults,
			unsigned int nr, const struct span *span)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		faults[i] = (struct onewalk_dummy_fault){
			.addr = (uintptr_t)span_addr(span) +
				below(w, span->npages * PAGE),
			.fd = one_in(w, 4) ? device_file(w) : -1,
			.access = 1 + below(w, ONEWALK_NR_ACCESS - 1),
		};
}

/* Memory that is not there is cancelled. What is served is read by others. */
enum outcome op_service(struct worker *w)
{
	struct onewalk_dummy_fault faults[MAX_FAULTS];
	struct onewalk_dummy_service service = {
		.window = 1 << below(w, 10),
		.policy = below(w, ONEWALK_DUMMY_NR_POLICIES),
		.flags = below(w, 16),
		.tries = 1 + below(w, 16),
		.msec = below(w, 1000),
	};
	unsigned int nr = 1 + below(w, one_in(w, 4) ? MAX_FAULTS : 20);
	struct span span = any_stretch(w);
	int file = device_file(w), ret;
	bool failing;

	make_faults(w, faults, nr, &span);
	failing = fail_begin(w);
	ret = dummy_service(file, faults, nr, &service);
	fail_end(failing);
	say("service", &span, file, service.flags, ret);
	if (ret && ret != -EBUSY && ret != -EINTR && ret != -ENOMEM)
		wrong(span_addr(&span), "a fault buffer: %s", strerror(-ret));
	event(OP_windows_served, service.windows);
	return outcome_of(ret);
}

enum outcome op_device_evict(struct worker *w)
{
	struct span span = any_stretch(w);
	struct onewalk_dummy_evict evict = {
		.addr = (uintptr_t)span_addr(&span),
		.npages = span.npages,
		.flags = below(w, 8),
	};
	int file = device_file(w), ret;
	bool failing;

	if (one_in(w, 2))
		to_device(file, span_addr(&span), span.npages);
	failing = fail_begin(w);
	ret = ioctl(file, ONEWALK_DUMMY_EVICT, &evict) ? -errno : 0;
	fail_end(failing);
	say("evict", &span, file, evict.flags, ret ?: (int)evict.evicted);
	event(OP_pages_evicted, evict.evicted);
	return !ret && evict.evicted ? DONE : FAILED;
}

enum outcome op_fail_destination(struct worker *w)
{
	struct onewalk_dummy_cmd cmd = {
		.npages = ONEWALK_DUMMY_FLAG_FAIL_ALLOC,
	};

	return ioctl(device_file(w), ONEWALK_DUMMY_FLAGS, &cmd) ? FAILED : DONE;
}
