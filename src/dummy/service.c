// SPDX-License-Identifier: GPL-2.0
/*
 * ONEWALK_DUMMY_SERVICE: the device's fault buffer, as user space filled it.
 */
#include <linux/file.h>
#include <linux/jiffies.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <onewalk/pgmap.h>

#include "dummy.h"

/**
 * struct serving - one ONEWALK_DUMMY_SERVICE
 * @service: for onewalk
 * @ops: likewise
 * @arg: its argument
 * @user: the faults as user space has them
 * @faults: and as onewalk wants them
 * @files: whose faults they are; NULL where it is the file of the ioctl
 * @ready: destinations that were allocated before anything was collected
 */
struct serving {
	struct onewalk_service			service;
	struct onewalk_service_ops		ops;
	const struct onewalk_dummy_service	*arg;
	struct onewalk_dummy_fault		*user;
	struct onewalk_fault			*faults;
	struct file				**files;
	struct dummy_ready			ready;
};

static struct serving *serving_of(const struct onewalk_window *window)
{
	return container_of(window->service, struct serving, service);
}

static struct dummy_mirror *mirror_of(const struct onewalk_space *space)
{
	return container_of(space, struct dummy_mirror, space);
}

static bool is_told(const struct onewalk_window *window, u32 flag)
{
	return serving_of(window)->arg->flags & flag;
}

static bool bounds(struct onewalk_window *window)
{
	const struct onewalk_dummy_service *arg = serving_of(window)->arg;

	if (window->start >= arg->own_start && window->start < arg->own_end) {
		window->upper = arg->own_end;
		return false;
	}
	if (arg->own_end > arg->own_start && arg->own_start > window->start)
		window->upper = min_t(u64, window->upper, arg->own_start);
	if (arg->own_end > arg->own_start && arg->own_end <= window->start)
		window->lower = max_t(u64, window->lower, arg->own_end);
	return true;
}

static enum onewalk_policy policy(struct onewalk_window *window)
{
	if (is_told(window, ONEWALK_DUMMY_SERVICE_AROUND)) {
		window->start = window->lower;
		window->end = window->upper;
		window->around = true;
	}
	switch (serving_of(window)->arg->policy) {
	case ONEWALK_DUMMY_POLICY_MIGRATE:
		return ONEWALK_POLICY_MIGRATE;
	case ONEWALK_DUMMY_POLICY_MAP:
		return ONEWALK_POLICY_MAP;
	default:
		return ONEWALK_POLICY_SKIP;
	}
}

/* What finds no room stays in system memory. */
static void prepare(struct onewalk_window *window)
{
	unsigned long npages = (window->end - window->start) >> PAGE_SHIFT;
	struct dummy_device *device = mirror_of(window->space)->device;
	struct dummy_ready *ready = &serving_of(window)->ready;
	struct dummy_batch batch = { .wanted = npages };
	struct page *page;

	if (window->policy != ONEWALK_POLICY_MIGRATE)
		return;
	dummy_memory_reserve(device, npages, npages == DUMMY_PMD_NR);
	if (!is_told(window, ONEWALK_DUMMY_SERVICE_EARLY))
		return;
	while (ready->nr < npages) {
		page = dummy_memory_alloc(device, 0, &batch);
		if (!page)
			break;
		ready->pages[ready->nr++] = page;
	}
	dummy_batch_end(&batch);
}

static void copy(struct onewalk_window *window)
{
	dummy_copy_ready(mirror_of(window->space), &window->migrate,
			 &serving_of(window)->ready);
}

static void end(struct onewalk_window *window)
{
	struct dummy_ready *ready = &serving_of(window)->ready;

	while (ready->nr)
		dummy_page_free(ready->pages[--ready->nr]);
}

static void lock(struct onewalk_space *space)
{
	mutex_lock(&mirror_of(space)->lock);
}

static void unlock(struct onewalk_space *space)
{
	mutex_unlock(&mirror_of(space)->lock);
}

static int map_one(struct onewalk_window *window, unsigned long addr,
		   unsigned long pfn, unsigned long i)
{
	u8 access = ONEWALK_DUMMY_MAPPED_READ;

	if (pfn & ONEWALK_PFN_WRITE)
		access |= ONEWALK_DUMMY_MAPPED_WRITE;
	return dummy_map(mirror_of(window->space), addr,
			 onewalk_pfn_to_page(pfn) + i, access);
}

/* The rest of the CPU's mapping that begins in the window, as far as may be. */
static int map_beyond(struct onewalk_window *window)
{
	unsigned long npages = (window->end - window->start) >> PAGE_SHIFT;
	unsigned long pfn = window->pfns[npages - 1];
	unsigned long size = PAGE_SIZE << onewalk_pfn_to_map_order(pfn);
	unsigned long end = min(ALIGN(window->end, size), window->limit);
	int ret = 0;

	while (!ret && (pfn & ONEWALK_PFN_VALID) && window->reach < end) {
		ret = map_one(window, window->reach, pfn,
			      ((window->reach - window->end) >> PAGE_SHIFT) + 1);
		window->reach += PAGE_SIZE;
	}
	return ret;
}

/* A device that went by the order would map what is not there. */
static void check_order(const struct onewalk_window *window, unsigned long i)
{
	unsigned long pfn = window->pfns[i], next;
	unsigned long addr = window->start + ((i + 1) << PAGE_SHIFT);
	unsigned long size = PAGE_SIZE << onewalk_pfn_to_map_order(pfn);

	if (!(addr & (size - 1)) || addr >= window->end)
		return;
	next = window->pfns[i + 1];
	WARN_ON_ONCE(!(next & ONEWALK_PFN_VALID) ||
		     onewalk_pfn_to_page(next) != onewalk_pfn_to_page(pfn) + 1);
}

/* Not every device can do it across a bus. */
static bool refuses(const struct onewalk_window *window, unsigned long i)
{
	u8 access = window->pages[i] & ONEWALK_PAGE_ACCESS;
	struct page *page = onewalk_pfn_to_page(window->pfns[i]);

	return access == ONEWALK_ACCESS_ATOMIC &&
	       is_told(window, ONEWALK_DUMMY_SERVICE_REFUSE) &&
	       !dummy_is_own(mirror_of(window->space)->device, page);
}

static int map(struct onewalk_window *window)
{
	unsigned long i = 0, addr;
	int ret = 0;

	for (addr = window->start; addr < window->end && !ret; addr += PAGE_SIZE) {
		if (window->pfns[i] & ONEWALK_PFN_VALID)
			check_order(window, i);
		if (window->pfns[i] & ONEWALK_PFN_VALID && refuses(window, i))
			window->pfns[i] &= ~ONEWALK_PFN_VALID;
		if (window->pfns[i] & ONEWALK_PFN_VALID)
			ret = map_one(window, addr, window->pfns[i], 0);
		i++;
	}
	if (!ret && is_told(window, ONEWALK_DUMMY_SERVICE_LARGE))
		ret = map_beyond(window);
	return ret;
}

static const struct onewalk_service_ops all_ops = {
	.bounds = bounds,
	.policy = policy,
	.prepare = prepare,
	.copy = copy,
	.lock = lock,
	.map = map,
	.unlock = unlock,
	.end = end,
};

static int get_fault(struct serving *serving, struct dummy_mirror *mirror,
		     unsigned int n)
{
	const struct onewalk_dummy_fault *user = &serving->user[n];

	if (user->pad)
		return -EINVAL;
	if (user->fd >= 0) {
		serving->files[n] = fget(user->fd);
		if (!serving->files[n])
			return -EBADF;
		mirror = dummy_file_mirror(serving->files[n]);
		if (!mirror)
			return -EINVAL;
	}
	serving->faults[n] = (struct onewalk_fault){
		.space = &mirror->space,
		.addr = user->addr,
		.access = user->access,
	};
	return 0;
}

static int get_faults(struct serving *serving, struct dummy_mirror *mirror)
{
	const struct onewalk_dummy_service *arg = serving->arg;
	unsigned int n;
	int ret = 0;

	if (copy_from_user(serving->user, u64_to_user_ptr(arg->faults),
			   arg->nr * sizeof(*serving->user)))
		return -EFAULT;
	for (n = 0; n < arg->nr && !ret; n++)
		ret = get_fault(serving, mirror, n);
	return ret;
}

static int put_faults(const struct serving *serving)
{
	const struct onewalk_dummy_service *arg = serving->arg;
	unsigned int n;

	for (n = 0; n < arg->nr; n++) {
		serving->user[n].verdict = serving->faults[n].verdict;
		serving->user[n].reason = serving->faults[n].reason;
	}
	return copy_to_user(u64_to_user_ptr(arg->faults), serving->user,
			    arg->nr * sizeof(*serving->user)) ? -EFAULT : 0;
}

static void free_serving(struct serving *serving)
{
	unsigned int n;

	for (n = 0; serving->files && n < serving->arg->nr; n++)
		if (serving->files[n])
			fput(serving->files[n]);
	onewalk_service_exit(&serving->service);
	kvfree(serving->files);
	kvfree(serving->faults);
	kvfree(serving->user);
	kvfree(serving);
}

static struct serving *alloc_serving(const struct onewalk_dummy_service *arg)
{
	struct serving *serving = kvzalloc(sizeof(*serving), GFP_KERNEL);

	if (!serving)
		return NULL;
	serving->arg = arg;
	serving->user = kvcalloc(arg->nr, sizeof(*serving->user), GFP_KERNEL);
	serving->faults = kvcalloc(arg->nr, sizeof(*serving->faults), GFP_KERNEL);
	serving->files = kvcalloc(arg->nr, sizeof(*serving->files), GFP_KERNEL);
	if (serving->user && serving->faults && serving->files)
		return serving;
	free_serving(serving);
	return NULL;
}

static int init_service(struct serving *serving)
{
	const struct onewalk_dummy_service *arg = serving->arg;

	serving->ops = all_ops;
	if (arg->policy == ONEWALK_DUMMY_FIRST_TOUCH)
		serving->ops.policy = NULL;
	serving->service.ops = &serving->ops;
	serving->service.window = (unsigned long)arg->window << PAGE_SHIFT;
	serving->service.tries = arg->tries;
	serving->service.timeout = msecs_to_jiffies(arg->msec);
	return onewalk_service_init(&serving->service, arg->nr);
}

static int serve(struct serving *serving, struct dummy_mirror *mirror,
		 struct onewalk_dummy_service *arg)
{
	int ret, err;

	ret = init_service(serving);
	if (!ret)
		ret = get_faults(serving, mirror);
	if (ret)
		return ret;

	ret = onewalk_service_faults(&serving->service, serving->faults, arg->nr);
	arg->windows = serving->service.windows;
	arg->walks = serving->service.walks;
	if (ret == -EINVAL)
		return ret;
	err = put_faults(serving);
	return err ? err : ret;
}

static int check(const struct onewalk_dummy_service *arg)
{
	const u32 known = ONEWALK_DUMMY_SERVICE_AROUND |
			  ONEWALK_DUMMY_SERVICE_EARLY |
			  ONEWALK_DUMMY_SERVICE_LARGE |
			  ONEWALK_DUMMY_SERVICE_REFUSE;

	if (!arg->nr || arg->nr > ONEWALK_DUMMY_MAX_FAULTS ||
	    arg->policy >= ONEWALK_DUMMY_NR_POLICIES || (arg->flags & ~known))
		return -EINVAL;
	return 0;
}

/**
 * dummy_service() - ONEWALK_DUMMY_SERVICE
 * @mirror: the mirror
 * @arg: the argument
 */
int dummy_service(struct dummy_mirror *mirror,
		  struct onewalk_dummy_service *arg)
{
	struct serving *serving;
	int ret = check(arg);

	arg->windows = 0;
	arg->walks = 0;
	if (ret)
		return ret;
	serving = alloc_serving(arg);
	if (!serving)
		return -ENOMEM;
	ret = serve(serving, mirror, arg);
	free_serving(serving);
	return ret;
}
