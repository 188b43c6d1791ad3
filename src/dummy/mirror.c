// SPDX-License-Identifier: GPL-2.0
/*
 * A mirror: one process as the device sees it, with the device's page table and
 * the notifier that keeps it true.
 *
 * The table holds no references. An entry is made only while the page is known
 * to be mapped there (after mmu_interval_read_retry() said that nothing
 * changed), and the notifier removes it before the page can go. It names the
 * page that holds the content: for a device-private page that is the one that
 * backs it, since nobody can read the device-private page itself.
 */
#include <linux/memremap.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "dummy.h"

/* Room for ONEWALK_DUMMY_MAPPED_* beside the pfn. */
#define ACCESS_BITS	4
#define ACCESS_MASK	((1UL << ACCESS_BITS) - 1)

static void *make_entry(struct page *page, u8 access)
{
	return xa_mk_value(page_to_pfn(page) << ACCESS_BITS | access);
}

static struct page *entry_page(void *entry)
{
	return pfn_to_page(xa_to_value(entry) >> ACCESS_BITS);
}

static u8 entry_access(void *entry)
{
	return entry ? xa_to_value(entry) & ACCESS_MASK : 0;
}

/**
 * dummy_map() - let the device access a page
 * @mirror: the mirror
 * @addr: user address
 * @page: an ordinary page, or one of this device's
 * @access: ONEWALK_DUMMY_MAPPED_*; MAPPED_DEVICE is found out for device pages
 *
 * Under &dummy_mirror.lock and a fresh mmu_interval_read_retry().
 */
int dummy_map(struct dummy_mirror *mirror, unsigned long addr,
	      struct page *page, u8 access)
{
	bool own = (access & ONEWALK_DUMMY_MAPPED_DEVICE) ||
		   dummy_is_own(mirror->device, page);
	void *old;

	lockdep_assert_held(&mirror->lock);

	if (own)
		access |= ONEWALK_DUMMY_MAPPED_DEVICE;
	/* When it is written, nobody finds it again by what backs it. */
	else if (is_device_private_page(page) &&
		 (access & ONEWALK_DUMMY_MAPPED_WRITE))
		folio_mark_dirty(page_folio(page));

	/* The notifier takes our lock in memory reclaim: none of it here. */
	old = xa_store(&mirror->table, addr >> PAGE_SHIFT,
		       make_entry(dummy_backing(page), access),
		       GFP_ATOMIC | __GFP_NOWARN);
	if (xa_is_err(old))
		return xa_err(old);
	if (!old)
		mirror->mapped++;
	return 0;
}

/**
 * dummy_access() - what the device may do at an address
 * @mirror: the mirror
 * @addr: user address
 *
 * Return: ONEWALK_DUMMY_MAPPED_*, 0 when nothing is mapped.
 */
u8 dummy_access(struct dummy_mirror *mirror, unsigned long addr)
{
	lockdep_assert_held(&mirror->lock);

	return entry_access(xa_load(&mirror->table, addr >> PAGE_SHIFT));
}

/**
 * dummy_any_access() - may the device do something anywhere in a range
 * @mirror: the mirror
 * @start: first user address
 * @end: first address behind
 * @access: ONEWALK_DUMMY_MAPPED_* that is looked for
 */
bool dummy_any_access(struct dummy_mirror *mirror, unsigned long start,
		      unsigned long end, u8 access)
{
	unsigned long index;
	void *entry;

	lockdep_assert_held(&mirror->lock);

	xa_for_each_range(&mirror->table, index, entry, start >> PAGE_SHIFT,
			  (end - 1) >> PAGE_SHIFT)
		if (entry_access(entry) & access)
			return true;
	return false;
}

/**
 * dummy_mapped_page() - the content that the device sees at an address
 * @mirror: the mirror
 * @addr: user address
 * @access: ONEWALK_DUMMY_MAPPED_* that is needed
 *
 * Return: an ordinary page, valid until &dummy_mirror.lock is released; NULL
 * when the device has to fault first.
 */
struct page *dummy_mapped_page(struct dummy_mirror *mirror, unsigned long addr,
			       u8 access)
{
	void *entry;

	lockdep_assert_held(&mirror->lock);

	entry = xa_load(&mirror->table, addr >> PAGE_SHIFT);
	if ((entry_access(entry) & access) != access)
		return NULL;
	return entry_page(entry);
}

static void zap(struct dummy_mirror *mirror, unsigned long start,
		unsigned long end)
{
	XA_STATE(xas, &mirror->table, start >> PAGE_SHIFT);
	void *entry;

	lockdep_assert_held(&mirror->lock);

	xas_lock(&xas);
	xas_for_each(&xas, entry, (end - 1) >> PAGE_SHIFT) {
		xas_store(&xas, NULL);
		mirror->mapped--;
	}
	xas_unlock(&xas);
}

/*
 * The same question as onewalk_is_own_invalidate(), for what this driver does
 * without onewalk. A migration by the kernel's calls names the owner of its
 * pgmap, which every open of the device shares, so the task counts as well; the
 * unmapping of a page that is shared after fork() names nobody and is taken for
 * somebody else's. An exclusive mapping names the mirror itself.
 */
static bool classic_own(const struct dummy_mirror *mirror,
			const struct mmu_notifier_range *range)
{
	if (range->event == MMU_NOTIFY_EXCLUSIVE)
		return range->owner == mirror;
	return range->event == MMU_NOTIFY_MIGRATE &&
	       range->owner == dummy_owner(mirror->device) &&
	       READ_ONCE(mirror->classic) == current;
}

static bool invalidate(struct mmu_interval_notifier *notifier,
		       const struct mmu_notifier_range *range,
		       unsigned long seq)
{
	struct dummy_mirror *mirror =
		container_of(notifier, struct dummy_mirror, notifier);
	bool own;

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&mirror->lock);
	else if (!mutex_trylock(&mirror->lock))
		return false;

	own = onewalk_is_own_invalidate(notifier, range) ||
	      classic_own(mirror, range);
	if (!own)
		mmu_interval_set_seq(notifier, seq);
	zap(mirror, range->start, range->end);
	mutex_unlock(&mirror->lock);

	atomic64_inc(&mirror->invalidations);
	if (own)
		atomic64_inc(&mirror->own_invalidations);
	return true;
}

static bool allow(const struct onewalk_p2p *p2p, struct page *page)
{
	const struct dummy_mirror *mirror =
		container_of(p2p, struct dummy_mirror, p2p);
	u32 flag = dummy_is_own(mirror->device, page) ?
		ONEWALK_DUMMY_PEERS_OWN : ONEWALK_DUMMY_PEERS_OTHERS;

	return READ_ONCE(mirror->peers) & flag;
}

static const struct onewalk_p2p_ops p2p_ops = {
	.allow = allow,
};

/**
 * dummy_p2p() - what onewalk is given to ask about device-private memory
 * @mirror: the mirror
 */
const struct onewalk_p2p *dummy_p2p(const struct dummy_mirror *mirror)
{
	return READ_ONCE(mirror->peers) & ONEWALK_DUMMY_PEERS_ASK ?
		&mirror->p2p : NULL;
}

/**
 * dummy_set_peers() - ONEWALK_DUMMY_PEERS
 * @mirror: the mirror
 * @arg: the argument
 */
int dummy_set_peers(struct dummy_mirror *mirror,
		    const struct onewalk_dummy_peers *arg)
{
	const u32 known = ONEWALK_DUMMY_PEERS_ASK | ONEWALK_DUMMY_PEERS_OWN |
			  ONEWALK_DUMMY_PEERS_OTHERS;

	if ((arg->flags & ~known) || arg->pad)
		return -EINVAL;
	WRITE_ONCE(mirror->peers, arg->flags);
	WRITE_ONCE(mirror->space.p2p, dummy_p2p(mirror));
	return 0;
}

static const struct mmu_interval_notifier_ops mirror_ops = {
	.invalidate = invalidate,
};

static void init_space(struct dummy_mirror *mirror)
{
	const struct dummy_device *device = mirror->device;
	struct onewalk_space *space = &mirror->space;

	space->notifier = &mirror->notifier;
	space->service = &mirror->service;
	space->pgmap_owner = dummy_owner(mirror->device);
	space->select = ONEWALK_MIGRATE_SELECT_SYSTEM |
			ONEWALK_MIGRATE_SELECT_DEVICE_P2P;
	if (dummy_is_private(device))
		space->select |= ONEWALK_MIGRATE_SELECT_COMPOUND;
	space->bounces =
		onewalk_bounces_alloc(ONEWALK_DUMMY_BOUNCES,
				      msecs_to_jiffies(ONEWALK_DUMMY_HOLD_MSEC));
}

static void free_mirror(struct dummy_mirror *mirror)
{
	onewalk_bounces_free(mirror->space.bounces);
	kfree(mirror);
}

static struct dummy_mirror *alloc_mirror(struct dummy_device *device)
{
	struct dummy_mirror *mirror = kzalloc(sizeof(*mirror), GFP_KERNEL);

	if (!mirror)
		return NULL;
	mirror->device = device;
	mirror->p2p.ops = &p2p_ops;
	init_space(mirror);
	if (!mirror->space.bounces) {
		kfree(mirror);
		return NULL;
	}
	init_rwsem(&mirror->service);
	mutex_init(&mirror->lock);
	xa_init(&mirror->table);
	mutex_init(&mirror->pin_lock);
	INIT_LIST_HEAD(&mirror->pins);
	return mirror;
}

/**
 * dummy_mirror_open() - mirror the calling process
 * @device: to which device
 *
 * Return: the mirror or an ERR_PTR().
 */
struct dummy_mirror *dummy_mirror_open(struct dummy_device *device)
{
	struct dummy_mirror *mirror;
	int ret;

	if (!current->mm)
		return ERR_PTR(-EINVAL);
	mirror = alloc_mirror(device);
	if (!mirror)
		return ERR_PTR(-ENOMEM);

	ret = mmu_interval_notifier_insert(&mirror->notifier, current->mm, 0,
					   ULONG_MAX & PAGE_MASK, &mirror_ops);
	if (ret) {
		free_mirror(mirror);
		return ERR_PTR(ret);
	}
	return mirror;
}

/**
 * dummy_mirror_close() - the last user of an open file is gone
 * @mirror: its mirror
 *
 * Pages that it brought to the device stay there: they are the process's, and
 * come back when a CPU touches them and cannot reach them there.
 */
void dummy_mirror_close(struct dummy_mirror *mirror)
{
	mmu_interval_notifier_remove(&mirror->notifier);
	dummy_unpin_all(mirror);
	xa_destroy(&mirror->table);
	mutex_destroy(&mirror->pin_lock);
	mutex_destroy(&mirror->lock);
	free_mirror(mirror);
}
