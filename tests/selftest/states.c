// SPDX-License-Identifier: GPL-2.0
/*
 * What a call does with each state that a page can be in: every state is
 * reported, faulted and migrated in every way, and each time the answer, where
 * the page then is, what it holds and what became of its neighbours is checked.
 *
 * engines: both
 */
/* vm: --in-turn */
#include "kselftest_harness.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/uio.h>

#include "common.h"

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#endif

/* What is asked of the pages, and by which function. */
enum op {
	REPORT,			/* onewalk_range_fault(), nothing requested */
	FAULT,			/* REQ_FAULT */
	FAULT_WRITE,		/* REQ_FAULT | REQ_WRITE */
	MIGRATE,		/* REQ_MIGRATE */
	FAULT_MIGRATE,
	WRITE_MIGRATE,		/* all three */
	SETUP,			/* onewalk_migrate_setup() */
	SETUP_FAULT,		/* with MIGRATE_FAULT */
	NR_OPS,
};

static const uint64_t requests[NR_OPS] = {
	[FAULT] = REQ_FAULT,
	[FAULT_WRITE] = REQ_FAULT | REQ_WRITE,
	[MIGRATE] = REQ_MIGRATE,
	[FAULT_MIGRATE] = REQ_FAULT | REQ_MIGRATE,
	[WRITE_MIGRATE] = REQ_FAULT | REQ_WRITE | REQ_MIGRATE,
};

/* Where a page is afterwards. */
enum then {
	STAYS,		/* as before: the same page, or still none */
	COMES_IN,	/* present in system memory */
	MAY_COME,	/* either, after an error: faults are not undone */
	MOVES,		/* to the device */
	MAY_MOVE,	/* the device has it if and only if the status says so */
};

/* What a page's status has to be, when it is not one of enum onewalk_status. */
#define ANY_STATUS	-1

struct want {
	int error;
	uint64_t flags;		/* exactly these of VALID, WRITE, ERROR, MIGRATE */
	uint64_t maybe;		/* but these are the kernel's choice */
	int status;
	enum then then;
};

#define V	PFN_VALID
#define W	PFN_WRITE
#define M	PFN_MIGRATE
#define E	PFN_ERROR
#define S(name)	ONEWALK_STATUS_##name

#define IS(f)			{ .flags = (f) }
#define COMES(f, may)		{ .flags = (f), .maybe = (may), .then = COMES_IN }
#define STAYING(f, s)		{ .flags = (f), .status = S(s) }
#define COMING(f, may, s)	{ .flags = (f), .maybe = (may), .status = S(s), \
				  .then = COMES_IN }
#define MOVING(f, may)		{ .flags = (f) | M, .maybe = (may), \
				  .status = S(MIGRATING), .then = MOVES }
#define FAILS(e, s)		{ .error = -(e), .status = S(s) }
#define FAILS_LATE(e, s)	{ .error = -(e), .status = S(s), .then = MAY_COME }

enum content {
	NAMED,		/* fill(), version 1 */
	ZEROS,
	SAME,		/* like NAMED, but all pages hold what the first does */
	HIDDEN,		/* not to be read */
};

/* 8 pages in one VMA; a state is that of the 4 in the middle. */
#define REGION	8
#define NSTATE	4

struct place {
	enum where where;
	uint64_t pfn;
};

FIXTURE(page) {
	int fd, foreign;
	char *region;		/* NULL when the state is a mapping of its own */
	char *page;		/* the pages in the state */
	char *start;		/* the request: those and perhaps neighbours */
	size_t npages;
	struct peer peer;
	struct uffd uffd;
	int pipe[2];
	char *mixed;
	struct place before[REGION];
	uint64_t pfns[REGION];
	uint8_t status[REGION];
	uint64_t walks;		/* the kernel's, while it was asked */
};

FIXTURE_VARIANT(page) {
	/* puts the pages into the state, or says why it cannot */
	const char *(*make)(FIXTURE_DATA(page) *self);
	/* makes them readable again */
	const char *(*reveal)(FIXTURE_DATA(page) *self);
	/* whether what moved kept what it has to keep; NULL if so */
	const char *(*kept)(FIXTURE_DATA(page) *self);
	enum content content;
	struct want want[NR_OPS];
	/* what onewalk_migrate_setup() returns in a VMA that it refuses */
	int refused;
	/* with memory=system a page on the device is like any other: what then */
	const struct want *ordinary;
	/* with memory=coherent a CPU can reach it; NULL where that changes nothing */
	const struct want *coherent;
	/* the kernel may walk, for us or for another driver */
	bool exotic;
};

FIXTURE_SETUP(page)
{
	self->pipe[0] = self->pipe[1] = -1;
	self->foreign = -1;
	self->fd = dummy_open(0);
	ASSERT_LE(0, self->fd);

	self->region = map_pages(REGION);
	ASSERT_NE(NULL, self->region);
	fill(self->region, REGION, 1);
	self->page = self->region + 2 * PAGE;
	self->start = self->region + PAGE;
	self->npages = REGION - 2;
}

FIXTURE_TEARDOWN(page)
{
	peer_stop(&self->peer);
	uffd_stop(&self->uffd);
	if (self->pipe[0] >= 0) {
		close(self->pipe[0]);
		close(self->pipe[1]);
	}
	ioctl(self->fd, ONEWALK_DUMMY_UNPIN_ALL);
	if (self->mixed)
		munmap(self->mixed, NSTATE * PAGE);
	unmap_all();
	restore_settings();
	EXPECT_TRUE(device_is_empty(self->fd));
	if (self->foreign >= 0) {
		EXPECT_TRUE(device_is_empty(self->foreign));
		close(self->foreign);
	}
	close(self->fd);
}

/* --- making the states --- */

/* The neighbours are in another state, or another VMA: they are not asked for. */
static void narrow(FIXTURE_DATA(page) *self)
{
	self->start = self->page;
	self->npages = NSTATE;
}

/* The state is that of a mapping of its own. */
static void replace(FIXTURE_DATA(page) *self, void *addr)
{
	self->region = NULL;
	self->page = addr;
	narrow(self);
}

static const char *make_hole(FIXTURE_DATA(page) *self)
{
	madvise(self->page, NSTATE * PAGE, MADV_DONTNEED);
	return NULL;
}

static const char *make_zero(FIXTURE_DATA(page) *self)
{
	make_hole(self);
	nonzero_page(self->page, NSTATE);
	return where(self->page) == PRESENT ? NULL : "no zero page";
}

static const char *make_present(FIXTURE_DATA(page) *self)
{
	(void)self;
	return NULL;
}

static const char *make_forked(FIXTURE_DATA(page) *self)
{
	narrow(self);
	return peer_start(&self->peer) ? "fork failed" : NULL;
}

static const char *make_swapped(FIXTURE_DATA(page) *self)
{
	return swap_out(self->page, NSTATE);
}

static const char *make_swapped_forked(FIXTURE_DATA(page) *self)
{
	const char *why = make_swapped(self);

	return why ?: make_forked(self);
}

/* Read back, so that memory and swap hold the same. */
static const char *make_swapped_read(FIXTURE_DATA(page) *self)
{
	const char *why = make_swapped_forked(self);

	wrong_page(self->page, NSTATE, 1);
	return why;
}

static const char *protect(FIXTURE_DATA(page) *self, int prot)
{
	narrow(self);
	return mprotect(self->page, NSTATE * PAGE, prot) ? "mprotect" : NULL;
}

static const char *make_inaccessible(FIXTURE_DATA(page) *self)
{
	return protect(self, PROT_NONE);
}

static const char *make_inaccessible_hole(FIXTURE_DATA(page) *self)
{
	make_hole(self);
	return protect(self, PROT_NONE);
}

static const char *make_read_only(FIXTURE_DATA(page) *self)
{
	return protect(self, PROT_READ);
}

static const char *make_read_only_hole(FIXTURE_DATA(page) *self)
{
	make_hole(self);
	return protect(self, PROT_READ);
}

static const char *reveal_protected(FIXTURE_DATA(page) *self)
{
	return protect(self, PROT_READ | PROT_WRITE);
}

static const char *make_freed(FIXTURE_DATA(page) *self)
{
	return madvise(self->page, NSTATE * PAGE, MADV_FREE) ? "MADV_FREE" :
							       NULL;
}

static const char *make_locked(FIXTURE_DATA(page) *self)
{
	return mlock(self->region, REGION * PAGE) ? "mlock" : NULL;
}

static const char *kept_locked(FIXTURE_DATA(page) *self)
{
	char status[4096];

	wrong_page(self->page, NSTATE, 1);
	if (read_file("/proc/self/status", status, sizeof(status)))
		return "no /proc/self/status";
	return strstr(status, "VmLck:\t      32 kB") ? NULL :
	       "the pages are not locked any more";
}

static const char *make_shared_hole(FIXTURE_DATA(page) *self)
{
	void *addr;
	const char *why = map_shared(&addr, NSTATE);

	if (!why)
		replace(self, addr);
	return why;
}

static const char *make_shared(FIXTURE_DATA(page) *self)
{
	const char *why = make_shared_hole(self);

	if (!why)
		fill(self->page, NSTATE, 1);
	return why;
}

static const char *make_file(FIXTURE_DATA(page) *self, bool shared)
{
	void *addr;
	const char *why = map_file(&addr, NSTATE, PROT_READ | PROT_WRITE,
				   shared);

	if (!why)
		replace(self, addr);
	return why;
}

static const char *make_file_hole(FIXTURE_DATA(page) *self)
{
	return make_file(self, false);
}

static const char *make_file_read(FIXTURE_DATA(page) *self)
{
	const char *why = make_file(self, false);

	if (!why)
		wrong_page(self->page, NSTATE, 1);
	return why;
}

static const char *make_file_written(FIXTURE_DATA(page) *self)
{
	const char *why = make_file(self, false);

	if (!why)
		fill(self->page, NSTATE, 1);
	return why;
}

static const char *make_file_shared(FIXTURE_DATA(page) *self)
{
	const char *why = make_file(self, true);

	if (!why)
		fill(self->page, NSTATE, 1);
	return why;
}

/* One more page keeps the merged one, which could come back as another. */
static const char *make_ksm(FIXTURE_DATA(page) *self)
{
	const char *why;
	int i;

	for (i = 0; i <= NSTATE; i++)
		fill_buffer(self->page + i * PAGE, self->page, 1, 1);
	why = ksm_merge(self->page, NSTATE + 1);
	/* only they are mergeable */
	narrow(self);
	return why;
}

static const char *make_hugetlb_hole(FIXTURE_DATA(page) *self)
{
	void *addr;
	const char *why = map_hugetlb(&addr, NSTATE);

	if (!why)
		replace(self, (char *)addr + 16 * PAGE);
	return why;
}

static const char *make_hugetlb(FIXTURE_DATA(page) *self)
{
	const char *why = make_hugetlb_hole(self);

	if (!why)
		fill(self->page, NSTATE, 1);
	return why;
}

static const char *make_vvar(FIXTURE_DATA(page) *self)
{
	size_t npages;
	void *addr;
	const char *why = map_vvar(&addr, &npages);

	if (why)
		return why;
	replace(self, addr);
	self->npages = npages < NSTATE ? npages : NSTATE;
	return NULL;
}

static const char *make_vdso(FIXTURE_DATA(page) *self)
{
	size_t npages;
	void *addr;
	const char *why = map_vdso(&addr, &npages);

	if (why)
		return why;
	replace(self, addr);
	self->npages = 1;
	nonzero_page(addr, 1);
	return NULL;
}

static const char *make_io(FIXTURE_DATA(page) *self)
{
	size_t npages;
	void *addr;
	const char *why = map_io(&addr, &npages);

	if (!why)
		replace(self, addr);
	return why;
}

/* Ordinary pages that a driver put there. */
static const char *make_mixed(FIXTURE_DATA(page) *self)
{
	self->mixed = mmap(NULL, NSTATE * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE, self->fd, 0);
	if (self->mixed == MAP_FAILED)
		return "mmap of the device failed";
	replace(self, self->mixed);
	return NULL;
}

static const char *make_secret(FIXTURE_DATA(page) *self)
{
	void *addr;
	const char *why = map_secret(&addr, NSTATE);

	if (why)
		return why;
	replace(self, addr);
	fill(self->page, NSTATE, 1);
	return NULL;
}

static const char *make_uffd_hole(FIXTURE_DATA(page) *self)
{
	make_hole(self);
	return uffd_start(&self->uffd, self->region, REGION,
			  UFFDIO_REGISTER_MODE_MISSING, 0);
}

static const char *make_uffd_protected(FIXTURE_DATA(page) *self)
{
	const char *why = uffd_start(&self->uffd, self->region, REGION,
				     UFFDIO_REGISTER_MODE_WP,
				     UFFD_FEATURE_PAGEFAULT_FLAG_WP);

	return why ?: uffd_protect(&self->uffd, self->page, NSTATE);
}

static const char *make_uffd_armed_hole(FIXTURE_DATA(page) *self)
{
	make_hole(self);
	return uffd_start(&self->uffd, self->region, REGION,
			  UFFDIO_REGISTER_MODE_WP,
			  UFFD_FEATURE_PAGEFAULT_FLAG_WP);
}

static const char *make_uffd_protected_hole(FIXTURE_DATA(page) *self)
{
	const char *why;

	make_hole(self);
	why = uffd_start(&self->uffd, self->region, REGION,
			 UFFDIO_REGISTER_MODE_WP,
			 UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			 UFFD_FEATURE_WP_UNPOPULATED);
	return why ?: uffd_protect(&self->uffd, self->page, NSTATE);
}

static const char *make_uffd_protected_zero(FIXTURE_DATA(page) *self)
{
	const char *why;

	make_zero(self);
	why = uffd_start(&self->uffd, self->region, REGION,
			 UFFDIO_REGISTER_MODE_WP,
			 UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	return why ?: uffd_protect(&self->uffd, self->page, NSTATE);
}

static const char *make_read_protected(FIXTURE_DATA(page) *self)
{
	const char *why = uffd_start(&self->uffd, self->region, REGION,
				     MODE_RWP, FEATURE_RWP);

	return why ?: uffd_read_protect(&self->uffd, self->page, NSTATE);
}

static const char *make_read_protected_zero(FIXTURE_DATA(page) *self)
{
	make_zero(self);
	return make_read_protected(self);
}

static const char *reveal_read_protected(FIXTURE_DATA(page) *self)
{
	uffd_stop(&self->uffd);
	return NULL;
}

static const char *kept_uffd_protected(FIXTURE_DATA(page) *self)
{
	int i;

	for (i = 0; i < NSTATE; i++)
		if (!(pagemap(self->page + i * PAGE) & PAGEMAP_UFFD_WP))
			return "the page is not write-protected any more";
	return NULL;
}

static const char *reveal_uffd(FIXTURE_DATA(page) *self)
{
	uffd_serve(&self->uffd, 1);
	wrong_page(self->page, NSTATE, 1);
	return NULL;
}

static const char *make_guard(FIXTURE_DATA(page) *self)
{
	return madvise(self->page, NSTATE * PAGE, MADV_GUARD_INSTALL) ?
	       "no guard regions before Linux 6.13" : NULL;
}

static const char *make_poisoned(FIXTURE_DATA(page) *self)
{
	const char *why = NULL;
	int i;

	for (i = 0; i < NSTATE && !why; i++)
		why = poison(self->page + i * PAGE);
	return why;
}

static const char *make_pinned(FIXTURE_DATA(page) *self)
{
	return dummy_pin(self->fd, self->page, NSTATE) ? "pinning failed" :
							 NULL;
}

/* A pipe has references to the pages, but did not pin them. */
static const char *make_spliced(FIXTURE_DATA(page) *self)
{
	struct iovec iovec = { self->page, NSTATE * PAGE };

	if (pipe2(self->pipe, O_CLOEXEC) ||
	    vmsplice(self->pipe[1], &iovec, 1, 0) != NSTATE * PAGE)
		return "vmsplice failed";
	return NULL;
}

static const char *make_own(FIXTURE_DATA(page) *self)
{
	return to_device(self->fd, self->page, NSTATE) == NSTATE ? NULL :
	       "the pages do not move to the device";
}

static const char *make_own_read_only(FIXTURE_DATA(page) *self)
{
	const char *why = make_own(self);

	return why ?: make_read_only(self);
}

static const char *make_foreign(FIXTURE_DATA(page) *self)
{
	self->foreign = dummy_open(1);
	return to_device(self->foreign, self->page, NSTATE) == NSTATE ? NULL :
	       "the pages do not move to the other device";
}

static const char *make_own_shared(FIXTURE_DATA(page) *self)
{
	const char *why = make_own(self);

	return why ?: make_forked(self);
}

static const char *make_foreign_shared(FIXTURE_DATA(page) *self)
{
	const char *why = make_foreign(self);

	return why ?: make_forked(self);
}

static const char *kept_not_foreign(FIXTURE_DATA(page) *self)
{
	return device_is_empty(self->foreign) ? NULL :
	       "the other device has not let go of the pages";
}

static const char *make_exclusive(FIXTURE_DATA(page) *self)
{
	char buf[NSTATE * PAGE];
	int ret = dummy_cmd(self->fd, ONEWALK_DUMMY_EXCLUSIVE, self->page,
			    NSTATE, buf, NULL);

	if (ret)
		return "this kernel has no device-exclusive access";
	return where(self->page) == SPECIAL ? NULL :
	       "the entry did not become device-exclusive";
}

/* --- the table: DESIGN.md, section 4 --- */

static const struct want present[NR_OPS] = {
	[REPORT] = IS(V | W),
	[FAULT] = IS(V | W),
	[FAULT_WRITE] = IS(V | W),
	[MIGRATE] = MOVING(V | W, 0),
	[FAULT_MIGRATE] = MOVING(V | W, 0),
	[WRITE_MIGRATE] = MOVING(V | W, 0),
};

static const struct want shared[NR_OPS] = {
	[REPORT] = IS(V),
	[FAULT] = IS(V),
	[FAULT_WRITE] = COMES(V | W, 0),
	[MIGRATE] = MOVING(V, 0),
	[FAULT_MIGRATE] = MOVING(V, 0),
	[WRITE_MIGRATE] = MOVING(V | W, 0),
};

/* Coherent memory is faulted like the system's, and selected by its owner. */
static const struct want coherent_read_only[NR_OPS] = {
	[REPORT] = IS(V),
	[FAULT] = IS(V),
	[FAULT_WRITE] = FAILS(EPERM, FAULT_EPERM),
	[MIGRATE] = STAYING(V, NOT_SELECTED),
	[FAULT_MIGRATE] = STAYING(V, NOT_SELECTED),
	[WRITE_MIGRATE] = FAILS(EPERM, FAULT_EPERM),
};

static const struct want coherent_shared[NR_OPS] = {
	[REPORT] = IS(V),
	[FAULT] = IS(V),
	[FAULT_WRITE] = COMES(V | W, 0),
	[MIGRATE] = STAYING(V, NOT_SELECTED),
	[FAULT_MIGRATE] = STAYING(V, NOT_SELECTED),
	[WRITE_MIGRATE] = MOVING(V | W, 0),
};

static const struct want coherent_foreign[NR_OPS] = {
	[REPORT] = IS(V | W),
	[FAULT] = IS(V | W),
	[FAULT_WRITE] = IS(V | W),
	[MIGRATE] = STAYING(V | W, FOREIGN_DEVICE),
	[FAULT_MIGRATE] = STAYING(V | W, FOREIGN_DEVICE),
	[WRITE_MIGRATE] = STAYING(V | W, FOREIGN_DEVICE),
};

static const struct want coherent_foreign_shared[NR_OPS] = {
	[REPORT] = IS(V),
	[FAULT] = IS(V),
	[FAULT_WRITE] = COMES(V | W, 0),
	[MIGRATE] = STAYING(V, FOREIGN_DEVICE),
	[FAULT_MIGRATE] = STAYING(V, FOREIGN_DEVICE),
	[WRITE_MIGRATE] = MOVING(V | W, 0),
};

static const struct want read_only[NR_OPS] = {
	[REPORT] = IS(V),
	[FAULT] = IS(V),
	[FAULT_WRITE] = FAILS(EPERM, FAULT_EPERM),
	[MIGRATE] = MOVING(V, 0),
	[FAULT_MIGRATE] = MOVING(V, 0),
	[WRITE_MIGRATE] = FAILS(EPERM, FAULT_EPERM),
};

FIXTURE_VARIANT_ADD(page, untouched_hole) {
	.make = make_hole, .content = ZEROS,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, 0),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = MOVING(0, 0),
		[FAULT_MIGRATE] = MOVING(0, 0),
		[WRITE_MIGRATE] = MOVING(0, 0),
	},
};

FIXTURE_VARIANT_ADD(page, zero_page) {
	.make = make_zero, .content = ZEROS,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = MOVING(0, 0),
		[FAULT_MIGRATE] = MOVING(0, 0),
		[WRITE_MIGRATE] = MOVING(0, 0),
	},
};

FIXTURE_VARIANT_ADD(page, present_anonymous) {
	.make = make_present, .content = NAMED,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = MOVING(V | W, 0),
		[FAULT_MIGRATE] = MOVING(V | W, 0),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, shared_by_fork) {
	.make = make_forked, .content = NAMED,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = MOVING(V, 0),
		[FAULT_MIGRATE] = MOVING(V, 0),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, swapped_out) {
	.make = make_swapped, .content = NAMED,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, W),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(0, SWAPPED),
		[FAULT_MIGRATE] = MOVING(V, W),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, swapped_out_and_shared_by_fork) {
	.make = make_swapped_forked, .content = NAMED,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, 0),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(0, SWAPPED),
		/* while others need its swap, a page cannot leave system memory */
		[FAULT_MIGRATE] = { .flags = V, .maybe = M,
				    .status = ANY_STATUS, .then = MAY_MOVE },
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, in_swap_cache) {
	.make = make_swapped_read, .content = NAMED,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = { .flags = V, .maybe = M, .status = ANY_STATUS,
			      .then = MAY_MOVE },
		[FAULT_MIGRATE] = { .flags = V, .maybe = M,
				    .status = ANY_STATUS, .then = MAY_MOVE },
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, in_prot_none_vma) {
	.make = make_inaccessible, .reveal = reveal_protected, .content = NAMED,
	.want = {
		[REPORT] = IS(E),
		[FAULT] = FAILS(EFAULT, FAULT_EFAULT),
		[FAULT_WRITE] = FAILS(EFAULT, FAULT_EFAULT),
		[MIGRATE] = STAYING(E, SPECIAL),
		[FAULT_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
		[WRITE_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
	},
};

FIXTURE_VARIANT_ADD(page, hole_in_prot_none_vma) {
	.make = make_inaccessible_hole, .reveal = reveal_protected,
	.content = ZEROS,
	.want = {
		[REPORT] = IS(E),
		[FAULT] = FAILS(EFAULT, FAULT_EFAULT),
		[FAULT_WRITE] = FAILS(EFAULT, FAULT_EFAULT),
		[MIGRATE] = STAYING(E, SPECIAL),
		[FAULT_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
		[WRITE_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
	},
};

FIXTURE_VARIANT_ADD(page, in_read_only_vma) {
	.make = make_read_only, .content = NAMED,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = FAILS(EPERM, FAULT_EPERM),
		[MIGRATE] = MOVING(V, 0),
		[FAULT_MIGRATE] = MOVING(V, 0),
		[WRITE_MIGRATE] = FAILS(EPERM, FAULT_EPERM),
	},
};

FIXTURE_VARIANT_ADD(page, hole_in_read_only_vma) {
	.make = make_read_only_hole, .content = ZEROS,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, 0),
		[FAULT_WRITE] = FAILS(EPERM, FAULT_EPERM),
		[MIGRATE] = MOVING(0, 0),
		[FAULT_MIGRATE] = MOVING(0, 0),
		[WRITE_MIGRATE] = FAILS(EPERM, FAULT_EPERM),
	},
};

FIXTURE_VARIANT_ADD(page, freed_lazily) {
	.make = make_freed, .content = NAMED,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = MOVING(V | W, 0),
		[FAULT_MIGRATE] = MOVING(V | W, 0),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, locked_by_mlock) {
	.make = make_locked, .kept = kept_locked, .content = NAMED,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = MOVING(V | W, 0),
		[FAULT_MIGRATE] = MOVING(V | W, 0),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, shared_anonymous_hole) {
	.make = make_shared_hole, .content = ZEROS,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, W),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(0, FILE),
		[FAULT_MIGRATE] = COMING(V, W, FILE),
		[WRITE_MIGRATE] = COMING(V | W, 0, FILE),
	},
};

FIXTURE_VARIANT_ADD(page, shared_anonymous) {
	.make = make_shared, .content = NAMED,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = STAYING(V | W, FILE),
		[FAULT_MIGRATE] = STAYING(V | W, FILE),
		[WRITE_MIGRATE] = STAYING(V | W, FILE),
	},
};

FIXTURE_VARIANT_ADD(page, of_a_shared_file) {
	.make = make_file_shared, .content = NAMED,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = STAYING(V | W, FILE),
		[FAULT_MIGRATE] = STAYING(V | W, FILE),
		[WRITE_MIGRATE] = STAYING(V | W, FILE),
	},
};

FIXTURE_VARIANT_ADD(page, hole_in_a_private_file_mapping) {
	.make = make_file_hole, .content = NAMED,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, 0),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(0, FILE),
		[FAULT_MIGRATE] = COMING(V, 0, FILE),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, read_in_a_private_file_mapping) {
	.make = make_file_read, .content = NAMED,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(V, FILE),
		[FAULT_MIGRATE] = STAYING(V, FILE),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, written_in_a_private_file_mapping) {
	.make = make_file_written, .content = NAMED,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = MOVING(V | W, 0),
		[FAULT_MIGRATE] = MOVING(V | W, 0),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, merged_by_ksm) {
	.make = make_ksm, .content = SAME,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(V, KSM),
		[FAULT_MIGRATE] = STAYING(V, KSM),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, hugetlb_hole) {
	.make = make_hugetlb_hole, .content = ZEROS, .refused = -EINVAL,
	.exotic = true,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, W),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(0, HUGETLB),
		[FAULT_MIGRATE] = COMING(V, W, HUGETLB),
		[WRITE_MIGRATE] = COMING(V | W, 0, HUGETLB),
	},
};

FIXTURE_VARIANT_ADD(page, hugetlb) {
	.make = make_hugetlb, .content = NAMED, .refused = -EINVAL,
	.exotic = true,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = STAYING(V | W, HUGETLB),
		[FAULT_MIGRATE] = STAYING(V | W, HUGETLB),
		[WRITE_MIGRATE] = STAYING(V | W, HUGETLB),
	},
};

FIXTURE_VARIANT_ADD(page, of_the_vvar) {
	.make = make_vvar, .content = HIDDEN, .refused = -EINVAL,
	.want = {
		[REPORT] = IS(E),
		[FAULT] = FAILS(EFAULT, FAULT_EFAULT),
		[FAULT_WRITE] = FAILS(EFAULT, FAULT_EFAULT),
		[MIGRATE] = STAYING(E, SPECIAL),
		[FAULT_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
		[WRITE_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
	},
};

FIXTURE_VARIANT_ADD(page, of_the_vdso) {
	.make = make_vdso, .content = HIDDEN, .refused = -EINVAL,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = FAILS(EPERM, FAULT_EPERM),
		[MIGRATE] = STAYING(V, SPECIAL),
		[FAULT_MIGRATE] = STAYING(V, SPECIAL),
		[WRITE_MIGRATE] = FAILS(EPERM, FAULT_EPERM),
	},
};

FIXTURE_VARIANT_ADD(page, inserted_by_a_driver) {
	.make = make_mixed, .content = ZEROS, .refused = -EINVAL,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(V, SPECIAL),
		[FAULT_MIGRATE] = STAYING(V, SPECIAL),
		[WRITE_MIGRATE] = COMING(V | W, 0, SPECIAL),
	},
};

FIXTURE_VARIANT_ADD(page, of_dev_mem) {
	.make = make_io, .content = HIDDEN, .refused = -EINVAL,
	.want = {
		[REPORT] = IS(E),
		[FAULT] = FAILS(EFAULT, FAULT_EFAULT),
		[FAULT_WRITE] = FAILS(EFAULT, FAULT_EFAULT),
		[MIGRATE] = STAYING(E, SPECIAL),
		[FAULT_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
		[WRITE_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
	},
};

FIXTURE_VARIANT_ADD(page, of_memfd_secret) {
	.make = make_secret, .content = HIDDEN,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = STAYING(V | W, FILE),
		[FAULT_MIGRATE] = STAYING(V | W, FILE),
		[WRITE_MIGRATE] = STAYING(V | W, FILE),
	},
};

FIXTURE_VARIANT_ADD(page, hole_that_userfaultfd_waits_for) {
	.make = make_uffd_hole, .reveal = reveal_uffd, .content = NAMED,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = FAILS(EFAULT, FAULT_EFAULT),
		[FAULT_WRITE] = FAILS(EFAULT, FAULT_EFAULT),
		[MIGRATE] = STAYING(0, UFFD),
		[FAULT_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
		[WRITE_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
	},
};

FIXTURE_VARIANT_ADD(page, write_protected_by_userfaultfd) {
	.make = make_uffd_protected, .kept = kept_uffd_protected,
	.reveal = reveal_uffd, .content = NAMED,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = FAILS(EFAULT, FAULT_EFAULT),
		[MIGRATE] = MOVING(V, 0),
		[FAULT_MIGRATE] = MOVING(V, 0),
		[WRITE_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
	},
};

FIXTURE_VARIANT_ADD(page, hole_that_userfaultfd_may_write_protect) {
	.make = make_uffd_armed_hole, .content = ZEROS,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, 0),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(0, UFFD),
		[FAULT_MIGRATE] = COMING(V, 0, UFFD),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, hole_write_protected_by_userfaultfd) {
	.make = make_uffd_protected_hole, .kept = kept_uffd_protected,
	.reveal = reveal_uffd, .content = ZEROS,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, 0),
		[FAULT_WRITE] = FAILS_LATE(EFAULT, FAULT_EFAULT),
		[MIGRATE] = STAYING(0, UFFD),
		[FAULT_MIGRATE] = COMING(V, 0, UFFD),
		[WRITE_MIGRATE] = FAILS_LATE(EFAULT, FAULT_EFAULT),
	},
};

FIXTURE_VARIANT_ADD(page, zero_page_write_protected_by_userfaultfd) {
	.make = make_uffd_protected_zero, .kept = kept_uffd_protected,
	.reveal = reveal_uffd, .content = ZEROS,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = FAILS(EFAULT, FAULT_EFAULT),
		[MIGRATE] = STAYING(V, UFFD),
		[FAULT_MIGRATE] = STAYING(V, UFFD),
		[WRITE_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
	},
};

FIXTURE_VARIANT_ADD(page, read_protected_by_userfaultfd) {
	.make = make_read_protected, .reveal = reveal_read_protected,
	.content = NAMED,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = FAILS(EFAULT, FAULT_EFAULT),
		[FAULT_WRITE] = FAILS(EFAULT, FAULT_EFAULT),
		[MIGRATE] = STAYING(0, UFFD),
		[FAULT_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
		[WRITE_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
	},
};

FIXTURE_VARIANT_ADD(page, zero_page_read_protected_by_userfaultfd) {
	.make = make_read_protected_zero, .reveal = reveal_read_protected,
	.content = ZEROS,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = FAILS(EFAULT, FAULT_EFAULT),
		[FAULT_WRITE] = FAILS(EFAULT, FAULT_EFAULT),
		[MIGRATE] = STAYING(0, UFFD),
		[FAULT_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
		[WRITE_MIGRATE] = FAILS(EFAULT, FAULT_EFAULT),
	},
};

/* hmm_range_fault() reports a marker as nothing, as long as nothing is asked */
FIXTURE_VARIANT_ADD(page, guard_region) {
	.make = make_guard, .content = HIDDEN,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = FAILS(EFAULT, POISONED),
		[FAULT_WRITE] = FAILS(EFAULT, POISONED),
		[MIGRATE] = STAYING(0, POISONED),
		[FAULT_MIGRATE] = FAILS(EFAULT, POISONED),
		[WRITE_MIGRATE] = FAILS(EFAULT, POISONED),
	},
};

FIXTURE_VARIANT_ADD(page, hwpoisoned) {
	.make = make_poisoned, .content = HIDDEN,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = FAILS(EFAULT, POISONED),
		[FAULT_WRITE] = FAILS(EFAULT, POISONED),
		[MIGRATE] = STAYING(0, POISONED),
		[FAULT_MIGRATE] = FAILS(EFAULT, POISONED),
		[WRITE_MIGRATE] = FAILS(EFAULT, POISONED),
	},
};

FIXTURE_VARIANT_ADD(page, pinned) {
	.make = make_pinned, .content = NAMED,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = STAYING(V | W, PINNED),
		[FAULT_MIGRATE] = STAYING(V | W, PINNED),
		[WRITE_MIGRATE] = STAYING(V | W, PINNED),
	},
};

FIXTURE_VARIANT_ADD(page, spliced_into_a_pipe) {
	.make = make_spliced, .content = NAMED,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = STAYING(V | W, BUSY),
		[FAULT_MIGRATE] = STAYING(V | W, BUSY),
		[WRITE_MIGRATE] = STAYING(V | W, BUSY),
	},
};

FIXTURE_VARIANT_ADD(page, of_this_device) {
	.make = make_own, .content = NAMED, .ordinary = present,
	.want = {
		[REPORT] = IS(V | W),
		[FAULT] = IS(V | W),
		[FAULT_WRITE] = IS(V | W),
		[MIGRATE] = STAYING(V | W, NOT_SELECTED),
		[FAULT_MIGRATE] = STAYING(V | W, NOT_SELECTED),
		[WRITE_MIGRATE] = STAYING(V | W, NOT_SELECTED),
	},
};

/* hmm_range_fault() reports a device page of one's own, whatever is asked */
FIXTURE_VARIANT_ADD(page, of_this_device_in_read_only_vma) {
	.make = make_own_read_only, .content = NAMED, .ordinary = read_only,
	.coherent = coherent_read_only,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = IS(V),
		[MIGRATE] = STAYING(V, NOT_SELECTED),
		[FAULT_MIGRATE] = STAYING(V, NOT_SELECTED),
		[WRITE_MIGRATE] = STAYING(V, NOT_SELECTED),
	},
};

FIXTURE_VARIANT_ADD(page, of_this_device_shared_by_fork) {
	.make = make_own_shared, .content = NAMED, .ordinary = shared,
	.coherent = coherent_shared,
	.want = {
		[REPORT] = IS(V),
		[FAULT] = IS(V),
		[FAULT_WRITE] = IS(V),
		[MIGRATE] = STAYING(V, NOT_SELECTED),
		[FAULT_MIGRATE] = STAYING(V, NOT_SELECTED),
		[WRITE_MIGRATE] = STAYING(V, NOT_SELECTED),
	},
};

FIXTURE_VARIANT_ADD(page, of_another_device) {
	.make = make_foreign, .kept = kept_not_foreign, .content = NAMED,
	.ordinary = present, .coherent = coherent_foreign, .exotic = true,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, W),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(0, FOREIGN_DEVICE),
		[FAULT_MIGRATE] = MOVING(V, W),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, of_another_device_shared_by_fork) {
	.make = make_foreign_shared, .content = NAMED, .ordinary = shared,
	.coherent = coherent_foreign_shared, .exotic = true,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, W),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(0, FOREIGN_DEVICE),
		[FAULT_MIGRATE] = MOVING(V, W),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

FIXTURE_VARIANT_ADD(page, exclusive_to_a_device) {
	.make = make_exclusive, .content = NAMED,
	.want = {
		[REPORT] = IS(0),
		[FAULT] = COMES(V, W),
		[FAULT_WRITE] = COMES(V | W, 0),
		[MIGRATE] = STAYING(0, FOREIGN_DEVICE),
		[FAULT_MIGRATE] = MOVING(V, W),
		[WRITE_MIGRATE] = MOVING(V | W, 0),
	},
};

/* --- asking, and looking at the answer --- */

static bool migrates(enum op op)
{
	return op >= MIGRATE;
}

/* onewalk_migrate_setup() does what the other function does, but refuses more */
static struct want wanted(const FIXTURE_VARIANT(page) *variant, enum op op)
{
	const struct want *want = variant->want;

	if (variant->ordinary && !has_device_memory())
		want = variant->ordinary;
	if (variant->coherent && memory_is_coherent())
		want = variant->coherent;
	if (op < SETUP)
		return want[op];
	if (variant->refused)
		return (struct want){ .error = variant->refused,
				      .status = ANY_STATUS };
	return want[op == SETUP ? MIGRATE : FAULT_MIGRATE];
}

/* The ways into the kernel's own walks. */
static const char * const walkers[] = {
	"hmm_range_fault", "migrate_vma_setup", "walk_page_range",
	"walk_page_range_vma",
};

static struct counter walks[ARRAY_SIZE(walkers)];

static const char *prepare(void)
{
	const char *why = swap_on();
	size_t i;

	for (i = 0; !why && i < ARRAY_SIZE(walkers); i++)
		why = counter_watch(&walks[i], walkers[i]);
	return why;
}

static uint64_t count_walks(void)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(walks); i++)
		n += counter_read(&walks[i]);
	return n;
}

static int call(FIXTURE_DATA(page) *self, enum op op, void *addr, size_t npages)
{
	unsigned int flags = 0;

	if (!migrates(op))
		return dummy_report(self->fd, addr, npages, self->pfns,
				    requests[op], false);
	if (op < SETUP)
		return dummy_migrate(self->fd, addr, npages,
				     ONEWALK_DUMMY_RANGE, 0, self->status,
				     self->pfns, NULL);
	if (op == SETUP_FAULT)
		flags = ONEWALK_DUMMY_MIGRATE_FAULT;
	return dummy_migrate(self->fd, addr, npages, ONEWALK_DUMMY_SETUP, flags,
			     self->status, NULL, NULL);
}

static int ask(FIXTURE_DATA(page) *self, enum op op, void *addr, size_t npages)
{
	size_t i;
	int ret;

	memset(self->status, 0xff, sizeof(self->status));
	for (i = 0; i < npages; i++)
		self->pfns[i] = requests[op];

	self->walks = count_walks();
	ret = call(self, op, addr, npages);
	self->walks = count_walks() - self->walks;
	return ret;
}

static struct place place_of(const char *page)
{
	return (struct place){ where(page), pfn_of(page) };
}

static bool status_is(int status, int wanted)
{
	if (wanted == ANY_STATUS || status == wanted)
		return true;
	/* the kernel does not tell why it leaves a page with such a reference */
	return (wanted == S(PINNED) || wanted == S(BUSY)) &&
	       status == S(UNKNOWN) && engine_is_portable();
}

static bool is_there(const char *page, struct place before, enum then then,
		     int status)
{
	switch (then) {
	case STAYS:
		return where(page) == before.where &&
		       pfn_of(page) == before.pfn;
	case COMES_IN:
		return where(page) == PRESENT;
	case MAY_COME:
		return where(page) == PRESENT || where(page) == before.where;
	case MOVES:
		return moved_to_device(page, before.pfn);
	default:
		if (status == S(MIGRATING))
			return moved_to_device(page, before.pfn);
		return is_there(page, before,
				before.where == PRESENT ? STAYS : COMES_IN, 0);
	}
}

static void check_page(struct __test_metadata *_metadata,
		       FIXTURE_DATA(page) *self, size_t i, struct place before,
		       struct want want, enum op op)
{
	const uint64_t known = V | W | E | M;
	const char *page = self->start + i * PAGE;
	uint64_t flags = self->pfns[i] & known & ~want.maybe;

	if (!want.error && op < SETUP) {
		EXPECT_EQ(want.flags & ~want.maybe, flags)
			TH_LOG("page %zu is reported as %016llx", i,
			       (unsigned long long)self->pfns[i]);
	}
	if (migrates(op)) {
		EXPECT_TRUE(status_is(self->status[i], want.status))
			TH_LOG("page %zu has status %d instead of %d", i,
			       self->status[i], want.status);
	}
	EXPECT_TRUE(is_there(page, before, want.then, self->status[i]))
		TH_LOG("page %zu with status %d was %s (pfn %llx), is %s (pfn %llx)",
		       i, self->status[i], where_name(before.where),
		       (unsigned long long)before.pfn, where_name(where(page)),
		       (unsigned long long)pfn_of(page));
}

/* An ordinary page beside, on which the same was asked. */
static struct want neighbour(enum op op, struct want page)
{
	struct want want = { .flags = V | W };

	if (page.error)
		return (struct want){ .error = page.error,
				      .status = S(STOPPED) };
	if (migrates(op)) {
		want.flags |= M;
		want.status = S(MIGRATING);
		want.then = MOVES;
	}
	return want;
}

/* The first page that an error is about has a status that says so. */
static struct want after_error(struct want want)
{
	want.status = S(STOPPED);
	return want;
}

static const void *home(const FIXTURE_VARIANT(page) *variant, char *first,
			size_t i)
{
	return variant->content == SAME ? first : first + i * PAGE;
}

static void check_content(struct __test_metadata *_metadata,
			  FIXTURE_DATA(page) *self,
			  const FIXTURE_VARIANT(page) *variant)
{
	char buf[PAGE];
	size_t i;

	for (i = 0; i < NSTATE; i++) {
		char *page = self->page + i * PAGE;

		EXPECT_OK(dummy_read(self->fd, page, 1, buf))
			continue;
		if (variant->content == ZEROS) {
			EXPECT_EQ(-1, nonzero_page(buf, 1));
			EXPECT_EQ(-1, nonzero_page(page, 1));
			continue;
		}
		EXPECT_EQ(-1, wrong_buffer(buf, home(variant, self->page, i), 1,
					   1));
		EXPECT_EQ(-1, wrong_buffer(page, home(variant, self->page, i),
					   1, 1));
	}
}

static void run(struct __test_metadata *_metadata, FIXTURE_DATA(page) *self,
		const FIXTURE_VARIANT(page) *variant, enum op op)
{
	struct place others[REGION];
	bool failed_before = false;
	struct want want;
	size_t i;

	SET_UP(variant->make(self));
	want = wanted(variant, op);

	for (i = 0; i < self->npages; i++)
		self->before[i] = place_of(self->start + i * PAGE);
	for (i = 0; self->region && i < REGION; i++)
		others[i] = place_of(self->region + i * PAGE);

	EXPECT_EQ(want.error, ask(self, op, self->start, self->npages));
	/* the one walk is ours */
	if (!variant->exotic && !engine_is_portable())
		EXPECT_EQ(0, self->walks);

	for (i = 0; i < self->npages; i++) {
		char *page = self->start + i * PAGE;
		bool state = page >= self->page &&
			     page < self->page + NSTATE * PAGE;

		struct want here = state ? want : neighbour(op, want);

		if (failed_before)
			here = after_error(here);
		if (want.error && op >= SETUP && variant->refused)
			here.status = ANY_STATUS;
		check_page(_metadata, self, i, self->before[i], here, op);
		failed_before |= state && want.error;
	}

	/* what was not asked for is where it was */
	for (i = 0; self->region && i < REGION; i++) {
		char *page = self->region + i * PAGE;

		if (page >= self->start &&
		    page < self->start + self->npages * PAGE)
			continue;
		EXPECT_TRUE(is_there(page, others[i], STAYS, 0))
			TH_LOG("page %zu outside of the range changed", i);
	}

	if (variant->kept && want.then >= MOVES) {
		const char *why = variant->kept(self);

		EXPECT_EQ(NULL, why)
			TH_LOG("%s", why);
	}
	EXPECT_EQ(0, forgotten_pages(self->start, self->npages));
	if (variant->content != HIDDEN) {
		if (variant->reveal)
			MUST(variant->reveal(self));
		check_content(_metadata, self, variant);
	}
	if (self->region) {
		EXPECT_EQ(-1, wrong_page(self->region, 2, 1));
		if (variant->content != SAME)
			EXPECT_EQ(-1, wrong_page(self->region + 6 * PAGE, 1, 1));
		EXPECT_EQ(-1, wrong_page(self->region + 7 * PAGE, 1, 1));
	}
	if (self->peer.pid)
		EXPECT_EQ(-1, peer_wrong_page(&self->peer, self->page, NSTATE,
					      1));
}

TEST_F(page, is_reported) { run(_metadata, self, variant, REPORT); }
TEST_F(page, is_faulted) { run(_metadata, self, variant, FAULT); }
TEST_F(page, is_faulted_for_write) { run(_metadata, self, variant, FAULT_WRITE); }
TEST_F(page, is_migrated) { run(_metadata, self, variant, MIGRATE); }
TEST_F(page, is_faulted_and_migrated) { run(_metadata, self, variant, FAULT_MIGRATE); }
TEST_F(page, is_faulted_for_write_and_migrated) { run(_metadata, self, variant, WRITE_MIGRATE); }
TEST_F(page, is_set_up) { run(_metadata, self, variant, SETUP); }
TEST_F(page, is_set_up_with_fault) { run(_metadata, self, variant, SETUP_FAULT); }

/* Without this, that there are none would prove nothing. */
TEST(walks_of_the_kernel_are_counted)
{
	uint64_t pfn = 0, before = count_walks();
	void *page = map_pages(1);
	int fd = dummy_open(0);

	ASSERT_LE(0, fd);
	EXPECT_OK(dummy_report(fd, page, 1, &pfn, REQ_FAULT, true));
	EXPECT_LE(before + 2, count_walks());
	close(fd);
	unmap_all();
}

/* hmm_range_fault() says the same, faults and errors included. */
TEST_F(page, is_reported_as_the_kernel_does)
{
	static const enum op ops[] = { REPORT, FAULT, FAULT_WRITE };
	uint64_t ours[REGION], theirs[REGION];
	size_t i, j;

	SET_UP(variant->make(self));

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		int ret;

		memset(ours, 0, sizeof(ours));
		memset(theirs, 0, sizeof(theirs));
		ret = dummy_report(self->fd, self->start, self->npages, ours,
				   requests[ops[i]], false);
		EXPECT_EQ(dummy_report(self->fd, self->start, self->npages,
				       theirs, requests[ops[i]], true), ret);
		for (j = 0; !ret && j < self->npages; j++)
			EXPECT_EQ(theirs[j], ours[j]);
	}
	if (variant->reveal)
		variant->reveal(self);
}

ONEWALK_MAIN_AFTER(prepare)
