// SPDX-License-Identifier: GPL-2.0
/*
 * ONEWALK_DUMMY_MIGRATE: fault in and migrate a range, by the method that is
 * asked for.
 *
 * The range is taken VMA by VMA. For each, a method prepares the pages under the
 * mmap lock; what follows is the same for all: copy, move, map into the device
 * what came along, finalize.
 */
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/nodemask.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dummy.h"

/**
 * struct job - one ONEWALK_DUMMY_MIGRATE
 * @mirror: the mirror
 * @arg: what is asked, and the answer
 * @to_device: which way
 * @first: first user address
 * @last: first address behind
 * @src: for the migration, one entry for each page, as are all of these
 * @dst: likewise
 * @pfns: requests and report; NULL where the method has none
 * @requests: what &onewalk_range.default_flags asks of every page
 * @status: what became of each page
 */
struct job {
	struct dummy_mirror		*mirror;
	struct onewalk_dummy_migrate	*arg;
	bool				to_device;
	unsigned long			first;
	unsigned long			last;
	unsigned long			*src;
	unsigned long			*dst;
	unsigned long			*pfns;
	unsigned long			requests;
	u8				*status;
};

/**
 * struct piece - the part of a job that lies in one VMA
 * @job: the job
 * @range: for the methods that report
 * @migrate: for all of them
 */
struct piece {
	struct job		*job;
	struct onewalk_range	range;
	struct onewalk_migrate	migrate;
};

/**
 * struct method - a way to prepare a piece
 * @prepare: under the mmap lock; unless it returns 0, nothing is prepared
 * @pages: move
 * @finalize: give back
 * @reports: fills &job.pfns
 * @classic: by the kernel's calls alone
 */
struct method {
	int	(*prepare)(struct piece *piece);
	void	(*pages)(struct onewalk_migrate *migrate);
	void	(*finalize)(struct onewalk_migrate *migrate);
	bool	reports;
	bool	classic;
};

static bool wants(const struct piece *piece, u32 flag)
{
	return piece->job->arg->flags & flag;
}

static u64 *ns_of(const struct job *job, enum onewalk_dummy_stage stage)
{
	return &job->arg->ns[stage];
}

static int prepare_range(struct piece *piece)
{
	u64 *ns = ns_of(piece->job, ONEWALK_DUMMY_STAGE_SETUP);
	int ret;

	*ns -= ktime_get_ns();
	ret = onewalk_range_fault(&piece->range);
	if (!ret)
		onewalk_migrate_range_setup(&piece->range);
	*ns += ktime_get_ns();
	return ret;
}

static int prepare_setup(struct piece *piece)
{
	u64 *ns = ns_of(piece->job, ONEWALK_DUMMY_STAGE_SETUP);
	int ret;

	if (wants(piece, ONEWALK_DUMMY_MIGRATE_FAULT))
		piece->migrate.flags |= ONEWALK_MIGRATE_FAULT;
	*ns -= ktime_get_ns();
	ret = onewalk_migrate_setup(&piece->migrate);
	*ns += ktime_get_ns();
	return ret;
}

static int fault_classic(struct piece *piece)
{
	struct onewalk_range range = piece->range;

	range.migrate = NULL;
	range.default_flags &= ~(unsigned long)ONEWALK_PFN_REQ_MIGRATE;
	return dummy_classic_fault(&range, ns_of(piece->job,
						 ONEWALK_DUMMY_STAGE_FAULT));
}

/* migrate_vma_setup() does not look at the permissions: that is our job. */
static int setup_classic(struct piece *piece)
{
	u64 *ns = ns_of(piece->job, ONEWALK_DUMMY_STAGE_SETUP);
	int ret;

	if (!(piece->migrate.vma->vm_flags & VM_READ))
		return -EFAULT;
	*ns -= ktime_get_ns();
	ret = dummy_classic_setup(&piece->migrate);
	*ns += ktime_get_ns();
	return ret;
}

static int prepare_fault_migrate(struct piece *piece)
{
	int ret = fault_classic(piece);

	return ret ? ret : setup_classic(piece);
}

static void finalize(struct piece *piece,
		     void (*how)(struct onewalk_migrate *migrate))
{
	u64 *ns = ns_of(piece->job, ONEWALK_DUMMY_STAGE_FINALIZE);

	*ns -= ktime_get_ns();
	how(&piece->migrate);
	*ns += ktime_get_ns();
}

static bool something_missing(const struct piece *piece)
{
	const struct onewalk_migrate *migrate = &piece->migrate;
	unsigned long i, wanted;

	for (i = 0; i < migrate->npages; i += dummy_step(migrate->src[i])) {
		wanted = MIGRATE_PFN_MIGRATE;
		/* A hole becomes what the device wants. */
		if (wants(piece, ONEWALK_DUMMY_MIGRATE_WRITE) &&
		    (migrate->src[i] & MIGRATE_PFN_VALID))
			wanted |= MIGRATE_PFN_WRITE;
		if ((migrate->src[i] & wanted) != wanted)
			return true;
	}
	return false;
}

static int prepare_migrate_fault_migrate(struct piece *piece)
{
	int ret = setup_classic(piece);

	if (ret || !wants(piece, ONEWALK_DUMMY_MIGRATE_FAULT) ||
	    !something_missing(piece))
		return ret;

	/*
	 * Nothing may fault while pages are locked: all of it goes back. To
	 * unmap what is shared after fork() has moved the sequence number.
	 */
	finalize(piece, dummy_classic_finalize);
	piece->range.notifier_seq =
		mmu_interval_read_begin(piece->range.notifier);
	ret = fault_classic(piece);
	return ret ? ret : setup_classic(piece);
}

static const struct method methods[ONEWALK_DUMMY_NR_METHODS] = {
	[ONEWALK_DUMMY_RANGE] = {
		.prepare = prepare_range,
		.pages = onewalk_migrate_pages,
		.finalize = onewalk_migrate_finalize,
		.reports = true,
	},
	[ONEWALK_DUMMY_SETUP] = {
		.prepare = prepare_setup,
		.pages = onewalk_migrate_pages,
		.finalize = onewalk_migrate_finalize,
	},
	[ONEWALK_DUMMY_FAULT_MIGRATE] = {
		.prepare = prepare_fault_migrate,
		.pages = dummy_classic_pages,
		.finalize = dummy_classic_finalize,
		.reports = true,
		.classic = true,
	},
	[ONEWALK_DUMMY_MIGRATE_FAULT_MIGRATE] = {
		.prepare = prepare_migrate_fault_migrate,
		.pages = dummy_classic_pages,
		.finalize = dummy_classic_finalize,
		.reports = true,
		.classic = true,
	},
	[ONEWALK_DUMMY_KERNEL_MIGRATE] = {
		.prepare = setup_classic,
		.pages = dummy_classic_pages,
		.finalize = dummy_classic_finalize,
		.classic = true,
	},
};

static const struct method *method_of(const struct job *job)
{
	return &methods[job->arg->method];
}

static void move_piece(struct piece *piece)
{
	struct onewalk_migrate *migrate = &piece->migrate;
	struct job *job = piece->job;
	u64 *ns = ns_of(job, ONEWALK_DUMMY_STAGE_PAGES);

	*ns -= ktime_get_ns();
	method_of(job)->pages(migrate);
	*ns += ktime_get_ns();
	job->arg->moved += dummy_moved(migrate);
	if (job->to_device)
		job->arg->mapped += dummy_map_migrated(job->mirror, migrate,
						       piece->range.notifier_seq,
						       piece->range.hmm_pfns);
}

static void complete_piece(struct piece *piece)
{
	struct job *job = piece->job;
	struct onewalk_migrate *migrate = &piece->migrate;
	bool gives_up = wants(piece, ONEWALK_DUMMY_MIGRATE_NO_COPY);

	job->arg->collected += migrate->cpages;
	/* The kernel's functions want no destinations where nothing moves. */
	if (!gives_up || !method_of(job)->classic)
		dummy_copy(job->mirror, migrate, job->to_device);
	if (!gives_up)
		move_piece(piece);
	finalize(piece, method_of(job)->finalize);
}

static unsigned long select_flags(const struct job *job)
{
	unsigned long flags = ONEWALK_MIGRATE_SELECT_SYSTEM;

	if (!job->to_device)
		flags = dummy_select(job->mirror->device);
	else if (job->arg->flags & ONEWALK_DUMMY_MIGRATE_ANEW)
		flags |= dummy_select(job->mirror->device);
	if (job->arg->flags & ONEWALK_DUMMY_MIGRATE_PEERS)
		flags |= ONEWALK_MIGRATE_SELECT_DEVICE_P2P;
	if (job->arg->flags & ONEWALK_DUMMY_MIGRATE_SKIP_NODE)
		flags |= ONEWALK_MIGRATE_SKIP_NODE;
	if ((job->arg->flags & ONEWALK_DUMMY_MIGRATE_COMPOUND) &&
	    dummy_has_large(job->mirror->device))
		flags |= ONEWALK_MIGRATE_SELECT_COMPOUND;
	return flags;
}

static void init_piece(struct piece *piece, struct job *job,
		       struct vm_area_struct *vma, unsigned long start)
{
	unsigned long first = (start - job->first) >> PAGE_SHIFT;
	unsigned long end = min(job->last, vma->vm_end);

	*piece = (struct piece){
		.job = job,
		.migrate = {
			.vma = vma,
			.src = job->src + first,
			.dst = job->dst + first,
			.start = start,
			.end = end,
			.pgmap_owner = dummy_owner(job->mirror->device),
			.flags = select_flags(job),
			.nid = job->arg->nid,
			.notifier = &job->mirror->notifier,
			.p2p = dummy_p2p(job->mirror),
			.status = job->status ? job->status + first : NULL,
		},
		.range = {
			.notifier = &job->mirror->notifier,
			.start = start,
			.end = end,
			.hmm_pfns = job->pfns ? job->pfns + first : NULL,
			.default_flags = job->requests,
			.pfn_flags_mask = job->arg->pfns ?
				ONEWALK_PFN_REQ_FLAGS : 0,
			.dev_private_owner = dummy_owner(job->mirror->device),
			.p2p = dummy_p2p(job->mirror),
		},
	};
	piece->range.migrate = &piece->migrate;
}

/* The mmap lock is held; the unlocked variant lets go of it and retakes it. */
static int prepare(struct piece *piece, bool *locked)
{
	int ret;

	if (!wants(piece, ONEWALK_DUMMY_MIGRATE_UNLOCKED))
		return method_of(piece->job)->prepare(piece);

	mmap_read_unlock(piece->job->mirror->notifier.mm);
	ret = onewalk_range_fault_unlocked(&piece->range, DUMMY_PATIENCE);
	*locked = !ret;
	if (!ret)
		onewalk_migrate_range_setup(&piece->range);
	/* The VMA that we looked up may be another one by now. */
	return ret == -ERANGE ? -EBUSY : ret;
}

/* One VMA, or -EBUSY. @start moves on to what comes behind it. */
static int try_piece(struct job *job, unsigned long *start)
{
	struct dummy_mirror *mirror = job->mirror;
	struct mm_struct *mm = mirror->notifier.mm;
	struct vm_area_struct *vma;
	struct piece piece;
	unsigned long seq;
	bool locked = true;
	int ret;

	seq = mmu_interval_read_begin(&mirror->notifier);
	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;

	vma = vma_lookup(mm, *start);
	if (!vma) {
		mmap_read_unlock(mm);
		return -EFAULT;
	}

	init_piece(&piece, job, vma, *start);
	piece.range.notifier_seq = seq;
	ret = prepare(&piece, &locked);
	if (!ret) {
		*start = piece.migrate.end;
		complete_piece(&piece);
	}
	if (locked)
		mmap_read_unlock(mm);
	return ret;
}

static int do_piece(struct job *job, unsigned long *start)
{
	unsigned long deadline = jiffies + DUMMY_PATIENCE;
	int ret;

	for (;;) {
		if (fatal_signal_pending(current))
			return -EINTR;
		ret = try_piece(job, start);
		if (ret != -EBUSY || dummy_expired(deadline, &ret))
			return ret;
		job->arg->retries++;
	}
}

static int do_job(struct job *job)
{
	struct dummy_mirror *mirror = job->mirror;
	unsigned long start = job->first;
	int ret;

	ret = down_write_killable(&mirror->service);
	if (ret)
		return ret;
	if (method_of(job)->classic)
		WRITE_ONCE(mirror->classic, current);

	while (start < job->last && !ret)
		ret = do_piece(job, &start);

	WRITE_ONCE(mirror->classic, NULL);
	up_write(&mirror->service);
	return ret;
}

static int check_flags(const struct onewalk_dummy_migrate *arg)
{
	const u32 known = ONEWALK_DUMMY_MIGRATE_FAULT |
			  ONEWALK_DUMMY_MIGRATE_WRITE |
			  ONEWALK_DUMMY_MIGRATE_TO_SYSTEM |
			  ONEWALK_DUMMY_MIGRATE_UNLOCKED |
			  ONEWALK_DUMMY_MIGRATE_SKIP_NODE |
			  ONEWALK_DUMMY_MIGRATE_NO_COPY |
			  ONEWALK_DUMMY_MIGRATE_COMPOUND |
			  ONEWALK_DUMMY_MIGRATE_ANEW |
			  ONEWALK_DUMMY_MIGRATE_PEERS;
	const u32 ours = ONEWALK_DUMMY_MIGRATE_SKIP_NODE |
			 ONEWALK_DUMMY_MIGRATE_ANEW |
			 ONEWALK_DUMMY_MIGRATE_PEERS;

	if (arg->method >= ONEWALK_DUMMY_NR_METHODS || (arg->flags & ~known))
		return -EINVAL;
	if ((arg->flags & ONEWALK_DUMMY_MIGRATE_WRITE) &&
	    !(arg->flags & ONEWALK_DUMMY_MIGRATE_FAULT))
		return -EINVAL;
	if ((arg->flags & ONEWALK_DUMMY_MIGRATE_SKIP_NODE) &&
	    (arg->nid < 0 || arg->nid >= MAX_NUMNODES))
		return -EINVAL;
	if (methods[arg->method].classic && (arg->flags & ours))
		return -EINVAL;
	if (arg->method != ONEWALK_DUMMY_RANGE &&
	    (arg->pfns || (arg->flags & ONEWALK_DUMMY_MIGRATE_UNLOCKED)))
		return -EINVAL;
	return 0;
}

static unsigned long requests(const struct onewalk_dummy_migrate *arg)
{
	unsigned long requests = ONEWALK_PFN_REQ_MIGRATE;

	if (arg->pfns)
		return 0;
	if (arg->flags & ONEWALK_DUMMY_MIGRATE_FAULT)
		requests |= ONEWALK_PFN_REQ_FAULT;
	if (arg->flags & ONEWALK_DUMMY_MIGRATE_WRITE)
		requests |= ONEWALK_PFN_REQ_WRITE;
	return requests;
}

static void free_job(struct job *job)
{
	kvfree(job->status);
	kvfree(job->pfns);
	kvfree(job->dst);
	kvfree(job->src);
}

static int alloc_job(struct job *job)
{
	const gfp_t gfp = GFP_KERNEL | __GFP_NOWARN;
	u64 npages = job->arg->npages;

	if (method_of(job)->classic)
		npages += DUMMY_CLASSIC_EXTRA;
	job->src = kvcalloc(npages, sizeof(*job->src), gfp);
	job->dst = kvcalloc(npages, sizeof(*job->dst), gfp);
	if (!job->src || !job->dst)
		return -ENOMEM;

	npages = job->arg->npages;
	if (method_of(job)->reports) {
		job->pfns = kvcalloc(npages, sizeof(*job->pfns), gfp);
		if (!job->pfns)
			return -ENOMEM;
	}
	if (!method_of(job)->classic) {
		job->status = kvmalloc(npages, gfp);
		if (!job->status)
			return -ENOMEM;
		memset(job->status, ONEWALK_STATUS_STOPPED, npages);
	}
	return 0;
}

/* Also after an error: the status of the page that caused it says more. */
static int put_result(const struct job *job)
{
	const struct onewalk_dummy_migrate *arg = job->arg;

	if (job->status && arg->status &&
	    copy_to_user(u64_to_user_ptr(arg->status), job->status, arg->npages))
		return -EFAULT;
	if (arg->pfns)
		return dummy_put_pfns(job->pfns, arg->pfns, arg->npages);
	return 0;
}

static int run_job(struct job *job)
{
	const struct onewalk_dummy_migrate *arg = job->arg;
	struct dummy_mirror *mirror = job->mirror;
	int ret, err;

	ret = alloc_job(job);
	if (!ret && arg->pfns)
		ret = dummy_get_pfns(job->pfns, arg->pfns, arg->npages);
	if (ret)
		return ret;

	/* Best effort: what finds no room stays in system memory. */
	if (job->to_device && !(arg->flags & ONEWALK_DUMMY_MIGRATE_NO_COPY))
		dummy_memory_reserve(mirror->device,
				     min_t(u64, arg->npages,
					   mirror->notifier.mm->total_vm),
				     arg->flags & ONEWALK_DUMMY_MIGRATE_COMPOUND);

	ret = do_job(job);
	err = put_result(job);
	return ret ? ret : err;
}

/**
 * dummy_migrate_range() - ONEWALK_DUMMY_MIGRATE
 * @mirror: the mirror
 * @arg: the argument
 */
int dummy_migrate_range(struct dummy_mirror *mirror,
			struct onewalk_dummy_migrate *arg)
{
	struct job job = { .mirror = mirror, .arg = arg };
	int ret;

	arg->retries = 0;
	arg->moved = 0;
	arg->collected = 0;
	arg->mapped = 0;
	memset(arg->ns, 0, sizeof(arg->ns));

	ret = dummy_check_table(arg->addr, arg->npages);
	if (!ret)
		ret = check_flags(arg);
	if (ret)
		return ret;

	job.to_device = !(arg->flags & ONEWALK_DUMMY_MIGRATE_TO_SYSTEM);
	job.first = arg->addr;
	job.last = arg->addr + (arg->npages << PAGE_SHIFT);
	job.requests = requests(arg);
	ret = run_job(&job);
	free_job(&job);
	return ret;
}
