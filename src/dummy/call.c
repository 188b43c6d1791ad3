// SPDX-License-Identifier: GPL-2.0
/*
 * ONEWALK_DUMMY_CALL: one exported function, called with what it must refuse as
 * well as with what it must take.
 */
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "dummy.h"

/* Entries of the arrays for a range that makes no sense. */
#define NONSENSE_PAGES	512UL

/**
 * struct call - one ONEWALK_DUMMY_CALL
 * @mirror: the mirror
 * @arg: what to call, and how
 * @range: its argument
 * @migrate: likewise
 * @npages: length of the arrays
 * @page: an ordinary page, for &onewalk_migrate.fault_page
 */
struct call {
	struct dummy_mirror		*mirror;
	struct onewalk_dummy_call	*arg;
	struct onewalk_range		range;
	struct onewalk_migrate		migrate;
	unsigned long			npages;
	struct page			*page;
};

static bool leaves_out(const struct call *call, u32 what)
{
	return call->arg->null & what;
}

/* A range that runs over the end of its arrays would be our bug, not theirs. */
static int array_length(const struct onewalk_dummy_call *arg,
			unsigned long *npages)
{
	u64 bytes = arg->end > arg->start ? arg->end - arg->start : 0;

	*npages = max_t(u64, NONSENSE_PAGES, (bytes >> PAGE_SHIFT) + 1);
	return *npages > totalram_pages() ? -ENOMEM : 0;
}

static void free_call(struct call *call)
{
	if (call->page)
		__free_page(call->page);
	kvfree(call->migrate.status);
	kvfree(call->migrate.dst);
	kvfree(call->migrate.src);
	kvfree(call->range.hmm_pfns);
}

static int alloc_call(struct call *call)
{
	const gfp_t gfp = GFP_KERNEL | __GFP_NOWARN;

	call->range.hmm_pfns = kvcalloc(call->npages, sizeof(unsigned long), gfp);
	call->migrate.src = kvcalloc(call->npages, sizeof(unsigned long), gfp);
	call->migrate.dst = kvcalloc(call->npages, sizeof(unsigned long), gfp);
	call->migrate.status = kvcalloc(call->npages, sizeof(u8), gfp);
	call->page = alloc_page(GFP_KERNEL);
	if (call->range.hmm_pfns && call->migrate.src && call->migrate.dst &&
	    call->migrate.status && call->page)
		return 0;
	return -ENOMEM;
}

static void init_call(struct call *call)
{
	const struct onewalk_dummy_call *arg = call->arg;

	call->range.notifier = &call->mirror->notifier;
	call->range.start = arg->start;
	call->range.end = arg->end;
	call->range.default_flags = arg->default_flags;
	call->range.dev_private_owner = dummy_owner(call->mirror->device);
	call->range.migrate = &call->migrate;
	call->migrate.start = arg->start;
	call->migrate.end = arg->end;
	call->migrate.flags = arg->migrate_flags;
	call->migrate.pgmap_owner = dummy_owner(call->mirror->device);
	call->migrate.notifier = &call->mirror->notifier;
}

static const struct onewalk_p2p mute;

/* The arrays themselves are kept in @call. */
static void deviate(const struct call *call, struct onewalk_range *range,
		    struct onewalk_migrate *migrate)
{
	if (leaves_out(call, ONEWALK_DUMMY_NULL_NOTIFIER)) {
		range->notifier = NULL;
		migrate->notifier = NULL;
	}
	if (leaves_out(call, ONEWALK_DUMMY_NULL_PFNS))
		range->hmm_pfns = NULL;
	if (leaves_out(call, ONEWALK_DUMMY_NULL_MIGRATE))
		range->migrate = NULL;
	if (leaves_out(call, ONEWALK_DUMMY_NULL_SRC))
		migrate->src = NULL;
	if (leaves_out(call, ONEWALK_DUMMY_NULL_DST))
		migrate->dst = NULL;
	if (leaves_out(call, ONEWALK_DUMMY_NULL_VMA))
		migrate->vma = NULL;
	if (leaves_out(call, ONEWALK_DUMMY_FAULT_PAGE))
		migrate->fault_page = call->page;
	if (leaves_out(call, ONEWALK_DUMMY_MUTE_PEERS)) {
		range->p2p = &mute;
		migrate->p2p = &mute;
	}
}

/* Each invalidation moves the sequence by two. */
static unsigned long sequence(const struct call *call)
{
	unsigned long seq = mmu_interval_read_begin(&call->mirror->notifier);

	return leaves_out(call, ONEWALK_DUMMY_STALE_SEQ) ? seq - 2 : seq;
}

static void give_back(const struct call *call, struct onewalk_migrate *migrate)
{
	call->arg->npages = migrate->npages;
	call->arg->cpages = migrate->cpages;
	onewalk_migrate_pages(migrate);
	onewalk_migrate_finalize(migrate);
}

static void end_range(const struct call *call, struct onewalk_range *range)
{
	if (!range->migrate)
		return;
	/* After an error this must do nothing. */
	onewalk_migrate_range_setup(range);
	give_back(call, range->migrate);
}

static int call_unlocked(struct call *call, struct onewalk_range *range)
{
	int ret;

	if (leaves_out(call, ONEWALK_DUMMY_NULL_ARGUMENT))
		return onewalk_range_fault_unlocked(NULL, DUMMY_PATIENCE);

	ret = onewalk_range_fault_unlocked(range, DUMMY_PATIENCE);
	if (!range->migrate)
		return ret;
	end_range(call, range);
	if (!ret)
		mmap_read_unlock(call->mirror->notifier.mm);
	return ret;
}

static int call_locked(struct call *call, struct onewalk_range *range,
		       struct onewalk_migrate *migrate)
{
	bool null = leaves_out(call, ONEWALK_DUMMY_NULL_ARGUMENT);
	int ret;

	if (call->arg->function == ONEWALK_DUMMY_CALL_MIGRATE_SETUP) {
		ret = onewalk_migrate_setup(null ? NULL : migrate);
		if (!null)
			give_back(call, migrate);
		return ret;
	}

	ret = onewalk_range_fault(null ? NULL : range);
	if (!null)
		end_range(call, range);
	return ret;
}

static int call_pin(const struct call *call)
{
	const struct onewalk_dummy_call *arg = call->arg;
	struct onewalk_pin pin = {
		.mm = call->mirror->notifier.mm,
		.start = arg->start,
		.npages = (arg->end - arg->start) >> PAGE_SHIFT,
		.gup_flags = arg->default_flags,
		/* as long as an array of these */
		.pages = (struct page **)call->range.hmm_pfns,
	};
	int ret;

	if (leaves_out(call, ONEWALK_DUMMY_NULL_PFNS))
		pin.pages = NULL;
	if (leaves_out(call, ONEWALK_DUMMY_NULL_VMA))
		pin.mm = NULL;
	ret = onewalk_pin_longterm(leaves_out(call, ONEWALK_DUMMY_NULL_ARGUMENT) ?
				   NULL : &pin);
	if (!ret)
		unpin_user_pages(pin.pages, pin.npages);
	return ret;
}

static int do_call(struct call *call)
{
	struct mm_struct *mm = call->mirror->notifier.mm;
	struct onewalk_migrate migrate;
	struct onewalk_range range;
	int ret;

	if (call->arg->function == ONEWALK_DUMMY_CALL_PIN_LONGTERM) {
		call->arg->result = call_pin(call);
		return 0;
	}

	range = call->range;
	range.notifier_seq = sequence(call);
	if (call->arg->function == ONEWALK_DUMMY_CALL_RANGE_FAULT_UNLOCKED) {
		migrate = call->migrate;
		range.migrate = &migrate;
		deviate(call, &range, &migrate);
		call->arg->result = call_unlocked(call, &range);
		return 0;
	}

	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;
	migrate = call->migrate;
	migrate.vma = vma_lookup(mm, call->arg->vma_addr);
	range.migrate = &migrate;
	deviate(call, &range, &migrate);
	call->arg->result = call_locked(call, &range, &migrate);
	mmap_read_unlock(mm);
	return 0;
}

static int check_call(const struct onewalk_dummy_call *arg)
{
	const u32 known = ONEWALK_DUMMY_NULL_ARGUMENT |
			  ONEWALK_DUMMY_NULL_NOTIFIER |
			  ONEWALK_DUMMY_NULL_PFNS |
			  ONEWALK_DUMMY_NULL_MIGRATE |
			  ONEWALK_DUMMY_NULL_SRC |
			  ONEWALK_DUMMY_NULL_DST |
			  ONEWALK_DUMMY_NULL_VMA |
			  ONEWALK_DUMMY_STALE_SEQ |
			  ONEWALK_DUMMY_FAULT_PAGE |
			  ONEWALK_DUMMY_MUTE_PEERS;

	if (arg->function > ONEWALK_DUMMY_CALL_PIN_LONGTERM ||
	    (arg->null & ~known) || arg->pad)
		return -EINVAL;
	return 0;
}

/**
 * dummy_call() - ONEWALK_DUMMY_CALL
 * @mirror: the mirror
 * @arg: the argument
 *
 * Return: 0 when the call was made, whatever it returned; or an errno.
 */
int dummy_call(struct dummy_mirror *mirror, struct onewalk_dummy_call *arg)
{
	struct call call = { .mirror = mirror, .arg = arg };
	int ret;

	arg->npages = 0;
	arg->cpages = 0;
	ret = check_call(arg);
	if (!ret)
		ret = array_length(arg, &call.npages);
	if (ret)
		return ret;

	ret = alloc_call(&call);
	if (!ret)
		ret = down_write_killable(&mirror->service);
	if (!ret) {
		init_call(&call);
		ret = do_call(&call);
		up_write(&mirror->service);
	}
	free_call(&call);
	return ret;
}
