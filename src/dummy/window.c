// SPDX-License-Identifier: GPL-2.0
/*
 * The migrations that test_hmm has: MIGRATE_TO_DEV and MIGRATE_TO_SYS.
 *
 * Both go through the range in windows of a PTE table, and go over a window
 * again as long as a page is left behind for a reason that passes: a page in
 * some CPU's LRU batch, or locked for a moment.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dummy.h"

/* How far apart two passes are, in microseconds. */
#define RETRY_MIN	100
#define RETRY_MAX	1000

/**
 * struct window - a part of the range, in one PTE table and one VMA
 * @mirror: the mirror
 * @to_device: which way
 * @p2p: to_device: which other devices' memory the device reaches, or NULL
 * @start: first user address
 * @end: first address behind
 * @patience: jiffies that may still be spent on going over windows again
 * @since: when that was last taken from; 0 in a window's first pass
 * @moved: how many pages the last pass moved
 * @left: how many it should have moved and did not
 * @src: for the migration
 * @dst: likewise
 * @status: what became of each page
 * @there: which pages some pass moved
 * @data: to_device: what the device reads there, for the user
 */
struct window {
	struct dummy_mirror	*mirror;
	bool			to_device;
	const struct onewalk_p2p *p2p;
	unsigned long		start;
	unsigned long		end;
	unsigned long		patience;
	unsigned long		since;
	unsigned long		moved;
	unsigned long		left;
	unsigned long		*src;
	unsigned long		*dst;
	u8			status[DUMMY_PMD_NR];
	bool			there[DUMMY_PMD_NR];
	void			*data;
};

static unsigned long npages_of(const struct window *window)
{
	return (window->end - window->start) >> PAGE_SHIFT;
}

static unsigned long window_flags(const struct window *window)
{
	const struct dummy_device *device = window->mirror->device;
	unsigned long flags = ONEWALK_MIGRATE_SELECT_SYSTEM;

	if (!window->to_device)
		flags = dummy_select(device);
	/* From wherever the device may have it. */
	if (window->to_device && window->p2p)
		flags |= ONEWALK_MIGRATE_SELECT_DEVICE_P2P;
	/* A large page that is the device's own comes and goes whole. */
	if (dummy_is_private(device))
		flags |= ONEWALK_MIGRATE_SELECT_COMPOUND;
	return flags;
}

static bool is_left(const struct window *window, unsigned long i)
{
	enum onewalk_status status = window->status[i];

	if (status != ONEWALK_STATUS_MIGRATING)
		return onewalk_status_retryable(status);
	/* Holes are offered either way, but nothing comes back from one. */
	return window->to_device || (window->src[i] & MIGRATE_PFN_VALID);
}

static void count(struct window *window, const struct onewalk_migrate *migrate)
{
	unsigned long i, nr;

	window->moved = 0;
	window->left = 0;
	for (i = 0; i < migrate->npages; i += nr) {
		nr = 1;
		if (dummy_is_moved(migrate, i)) {
			nr = dummy_step(migrate->dst[i]);
			memset(window->there + i, true, nr);
			window->moved += nr;
		} else if (is_left(window, i)) {
			window->left++;
		}
	}
}

static int pass_locked(struct window *window, unsigned long seq)
{
	struct dummy_mirror *mirror = window->mirror;
	struct onewalk_migrate migrate = {
		.src = window->src,
		.dst = window->dst,
		.status = window->status,
		.pgmap_owner = dummy_owner(mirror->device),
		.notifier = &mirror->notifier,
		.p2p = window->p2p,
		.flags = window_flags(window),
	};
	int ret;

	migrate.vma = vma_lookup(mirror->notifier.mm, window->start);
	if (!migrate.vma || !(migrate.vma->vm_flags & VM_READ))
		return -EINVAL;
	window->end = min(window->end, migrate.vma->vm_end);
	migrate.start = window->start;
	migrate.end = window->end;

	ret = onewalk_migrate_setup(&migrate);
	if (ret)
		return ret;
	dummy_copy(mirror, &migrate, window->to_device);
	onewalk_migrate_pages(&migrate);
	count(window, &migrate);
	if (window->to_device)
		dummy_map_migrated(mirror, &migrate, seq, NULL);
	onewalk_migrate_finalize(&migrate);
	return 0;
}

static int pass(struct window *window)
{
	struct dummy_mirror *mirror = window->mirror;
	struct mm_struct *mm = mirror->notifier.mm;
	unsigned long seq;
	int ret;

	if (fatal_signal_pending(current))
		return -EINTR;
	cond_resched();
	ret = down_write_killable(&mirror->service);
	if (ret)
		return ret;
	seq = mmu_interval_read_begin(&mirror->notifier);
	ret = mmap_read_lock_killable(mm);
	if (!ret) {
		ret = pass_locked(window, seq);
		mmap_read_unlock(mm);
	}
	up_write(&mirror->service);
	return ret;
}

static bool give_up(struct window *window)
{
	unsigned long now = jiffies;

	if (window->since)
		window->patience -= min(window->patience, now - window->since);
	if (!window->patience)
		return true;
	window->since = now ?: 1;
	usleep_range(RETRY_MIN, RETRY_MAX);
	return false;
}

/* May a page that the device does not map be there after another pass? */
static bool hopeful(const struct window *window, unsigned long i)
{
	switch (window->status[i]) {
	case ONEWALK_STATUS_MIGRATING:
	case ONEWALK_STATUS_NOT_SELECTED:	/* it is there, or was */
		return true;
	default:
		return onewalk_status_retryable(window->status[i]);
	}
}

/*
 * An older mapping of a page that stayed where it was proves nothing. Where
 * ordinary pages are all there is, only what moved counts.
 */
static unsigned long load(struct window *window)
{
	unsigned long npages = npages_of(window);
	unsigned long n = 0;

	if (dummy_has_memory(window->mirror->device))
		return dummy_load(window->mirror, window->start, npages,
				  ONEWALK_DUMMY_MAPPED_READ |
				  ONEWALK_DUMMY_MAPPED_DEVICE, window->data);

	while (n < npages && window->there[n])
		n++;
	return dummy_load(window->mirror, window->start, n,
			  ONEWALK_DUMMY_MAPPED_READ, window->data);
}

/*
 * Map from page @n on what is there without having been mapped when it moved:
 * because it did not move now, or because something else happened in the process
 * meanwhile. Ordinary pages do not tell whether they stand for device memory, so
 * where there is no other it is the page at an address that moved.
 */
static int map_present(struct window *window, unsigned long n)
{
	unsigned long start = window->start + (n << PAGE_SHIFT);
	unsigned long end = n;

	if (dummy_has_memory(window->mirror->device))
		return dummy_map_present(window->mirror, start, window->end,
					 true);
	while (end < npages_of(window) && window->there[end])
		end++;
	return dummy_map_present(window->mirror, start,
				 window->start + (end << PAGE_SHIFT), false);
}

/* How many pages the device can read from the start of the window on. */
static int load_present(struct window *window, unsigned long *n)
{
	int ret;

	*n = load(window);
	if (*n == npages_of(window))
		return 0;
	ret = map_present(window, *n);
	*n = load(window);
	return ret;
}

/* With nothing held. What finds no room stays behind, and is reported. */
static int make_room(struct window *window)
{
	return dummy_memory_reserve(window->mirror->device, npages_of(window),
				    npages_of(window) == DUMMY_PMD_NR);
}

/*
 * Go on until the device can read all of the window. That is the proof that it
 * is there; a CPU may have taken a page back since it moved.
 */
static int to_device(struct window *window)
{
	unsigned long n;
	int ret, room;

	do {
		room = make_room(window);
		ret = pass(window);
		if (!ret)
			ret = load_present(window, &n);
		if (ret && ret != -EBUSY)
			return ret;
		if (!ret) {
			if (n == npages_of(window))
				return 0;
			ret = -ENOENT;
			if (!hopeful(window, n))
				return ret;
		}
	} while (!give_up(window));
	return room ? room : ret;
}

static int to_system(struct window *window, u64 *moved)
{
	int ret;

	do {
		ret = pass(window);
		if (ret && ret != -EBUSY)
			return ret;
		if (!ret) {
			*moved += window->moved;
			/* Without device memory all would be moved for ever. */
			if (!window->left ||
			    !dummy_has_memory(window->mirror->device))
				return 0;
		}
	} while (!give_up(window));
	return ret;
}

static void free_window(struct window *window)
{
	kvfree(window->data);
	kfree(window->dst);
	kfree(window->src);
	kfree(window);
}

static struct window *alloc_window(struct dummy_mirror *mirror, bool to_device,
				   u64 npages)
{
	struct window *window = kzalloc(sizeof(*window), GFP_KERNEL);

	if (!window)
		return NULL;
	window->mirror = mirror;
	window->to_device = to_device;
	window->p2p = to_device ? dummy_p2p(mirror) : NULL;
	window->patience = DUMMY_PATIENCE;
	window->src = kcalloc(DUMMY_PMD_NR, sizeof(*window->src), GFP_KERNEL);
	window->dst = kcalloc(DUMMY_PMD_NR, sizeof(*window->dst), GFP_KERNEL);
	if (to_device)
		window->data = kvmalloc(min_t(u64, npages, DUMMY_PMD_NR) <<
					PAGE_SHIFT, GFP_KERNEL);
	if (window->src && window->dst && (window->data || !to_device))
		return window;

	free_window(window);
	return NULL;
}

static void next_window(struct window *window, unsigned long start,
			unsigned long end)
{
	window->start = start;
	window->end = min(end, ALIGN(start + 1, PMD_SIZE));
	window->since = 0;
	memset(window->there, false, sizeof(window->there));
}

static int each_to_device(struct window *window, struct onewalk_dummy_cmd *cmd)
{
	void __user *ptr = u64_to_user_ptr(cmd->ptr);
	unsigned long end = cmd->addr + (cmd->npages << PAGE_SHIFT);
	unsigned long start;
	int ret = 0, err;

	for (start = cmd->addr; start < end; start = window->end) {
		next_window(window, start, end);
		err = to_device(window);
		/* A page that stays is no reason to leave the rest behind. */
		if (err == -ENOENT) {
			ret = err;
			continue;
		}
		if (err)
			return err;
		if (copy_to_user(ptr + (start - cmd->addr), window->data,
				 window->end - start))
			return -EFAULT;
		cmd->cpages += npages_of(window);
	}
	return ret;
}

/**
 * dummy_migrate_to_device() - ONEWALK_DUMMY_MIGRATE_TO_DEV
 * @mirror: the mirror
 * @cmd: the command
 *
 * Return: 0 when all of the range is in device memory and was read there;
 * -ENOENT when a page is not, and the rest is.
 */
int dummy_migrate_to_device(struct dummy_mirror *mirror,
			    struct onewalk_dummy_cmd *cmd)
{
	struct window *window = alloc_window(mirror, true, cmd->npages);
	int ret;

	if (!window)
		return -ENOMEM;
	ret = each_to_device(window, cmd);
	free_window(window);
	return ret;
}

/**
 * dummy_migrate_to_system() - ONEWALK_DUMMY_MIGRATE_TO_SYS
 * @mirror: the mirror
 * @cmd: the command
 */
int dummy_migrate_to_system(struct dummy_mirror *mirror,
			    struct onewalk_dummy_cmd *cmd)
{
	struct window *window = alloc_window(mirror, false, cmd->npages);
	unsigned long end = cmd->addr + (cmd->npages << PAGE_SHIFT);
	unsigned long start;
	int ret = 0;

	if (!window)
		return -ENOMEM;
	for (start = cmd->addr; start < end && !ret; start = window->end) {
		next_window(window, start, end);
		ret = to_system(window, &cmd->cpages);
	}
	free_window(window);
	return ret;
}
