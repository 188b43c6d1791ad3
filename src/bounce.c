// SPDX-License-Identifier: GPL-2.0
/*
 * The policy that comes with the fault buffer service: what the device touches
 * migrates, but a page that keeps going back and forth between CPU and device is
 * mapped in place for a while.
 *
 * Pages are remembered in a table of fixed size, each in the one slot that its
 * address leads to. One that takes another's slot makes that be forgotten, and
 * forgetting does no harm: the page migrates once more.
 */
#include <linux/export.h>
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "onewalk.h"

#define SLOT_BITS	10

/**
 * struct slot - a page that went to the device
 * @addr: its address; 0 when there is none
 * @when: when it last did, in jiffies
 * @times: how often, each within the hold time of the one before
 */
struct slot {
	unsigned long	addr;
	unsigned long	when;
	unsigned int	times;
};

/**
 * struct onewalk_bounces - what is remembered of an address space
 * @lock: protects the slots: several threads may serve the space
 * @limit: how often a page goes to the device before it stays
 * @hold: for how long it stays, in jiffies
 * @slots: by hash of the address
 */
struct onewalk_bounces {
	spinlock_t	lock;	/* slots */
	unsigned int	limit;
	unsigned long	hold;
	struct slot	slots[1 << SLOT_BITS];
};

static struct slot *slot_of(struct onewalk_bounces *bounces, unsigned long addr)
{
	return &bounces->slots[hash_long(addr >> PAGE_SHIFT, SLOT_BITS)];
}

static bool is_recent(const struct onewalk_bounces *bounces,
		      const struct slot *slot, unsigned long addr)
{
	return slot->addr == addr &&
	       time_before(jiffies, slot->when + bounces->hold);
}

/*
 * onewalk_bounces_note() - pages went to the device
 * @bounces: NULL, or where to remember it
 * @addr: address of the first
 * @nr: how many
 */
void onewalk_bounces_note(struct onewalk_bounces *bounces, unsigned long addr,
			  unsigned long nr)
{
	unsigned long end = addr + (nr << PAGE_SHIFT);
	struct slot *slot;

	if (!bounces)
		return;
	spin_lock(&bounces->lock);
	for (; addr < end; addr += PAGE_SIZE) {
		slot = slot_of(bounces, addr);
		slot->times = is_recent(bounces, slot, addr) ?
			      slot->times + 1 : 1;
		slot->addr = addr;
		slot->when = jiffies;
	}
	spin_unlock(&bounces->lock);
}

/*
 * onewalk_first_touch() - the policy
 * @window: the window
 */
enum onewalk_policy onewalk_first_touch(struct onewalk_window *window)
{
	struct onewalk_bounces *bounces = window->space->bounces;
	unsigned long addr, i = 0;
	const struct slot *slot;

	if (!bounces)
		return ONEWALK_POLICY_MIGRATE;
	spin_lock(&bounces->lock);
	for (addr = window->start; addr < window->end; addr += PAGE_SIZE) {
		slot = slot_of(bounces, addr);
		if (is_recent(bounces, slot, addr) &&
		    slot->times >= bounces->limit)
			window->pages[i] |= ONEWALK_PAGE_STAYS;
		i++;
	}
	spin_unlock(&bounces->lock);
	return ONEWALK_POLICY_MIGRATE;
}

/**
 * onewalk_bounces_alloc() - what the ready-made policy goes by
 * @limit: how often a page goes to the device before it is mapped in place; at
 *	least 1
 * @hold: for how long it is, in jiffies, since it last went. That much time after
 *	it went, this is forgotten.
 *
 * For &onewalk_space.bounces, of one address space. A page counts as bouncing
 * that goes to the device time and again: a CPU has fetched it in between, or an
 * eviction has. Takes 24 KiB.
 *
 * Context: Process context; may sleep.
 *
 * Return: what to give to onewalk_bounces_free(), or NULL.
 */
struct onewalk_bounces *onewalk_bounces_alloc(unsigned int limit,
					      unsigned long hold)
{
	struct onewalk_bounces *bounces = kvzalloc(sizeof(*bounces), GFP_KERNEL);

	if (!bounces)
		return NULL;
	spin_lock_init(&bounces->lock);
	bounces->limit = limit;
	bounces->hold = hold;
	return bounces;
}
EXPORT_SYMBOL_GPL(onewalk_bounces_alloc);

/**
 * onewalk_bounces_free() - the opposite of onewalk_bounces_alloc()
 * @bounces: what it returned; no call is under way that could use it
 */
void onewalk_bounces_free(struct onewalk_bounces *bounces)
{
	kvfree(bounces);
}
EXPORT_SYMBOL_GPL(onewalk_bounces_free);
