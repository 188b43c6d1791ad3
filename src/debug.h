/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a debug build (ONEWALK_DEBUG=1) checks, and where it can be made to fail
 * or to wait, so that a test can show what happens then.
 */
#ifndef _ONEWALK_DEBUG_H
#define _ONEWALK_DEBUG_H

#include <linux/bug.h>
#include <linux/types.h>

struct mmu_interval_notifier;

/* Places at which a call can be told to fail, and as what. */
#define ONEWALK_FAIL_POINTS(X)						\
	X(TABLE, "table")		/* the PTE table is gone */	\
	X(TRYLOCK, "trylock")		/* a folio is locked */		\
	X(SHARE, "share")		/* an exclusive page is pinned */ \
	X(ISOLATE, "isolate")		/* a folio is not on the LRU */	\
	X(PIN, "pin")			/* there is one reference more */ \
	X(SPLIT, "split")		/* a folio cannot be split */	\
	X(REFUSE, "refuse")		/* the first page does not move */ \
	X(INVALIDATED, "invalidated")	/* the sequence number moved */	\
	X(FAULT_OOM, "fault-oom")					\
	X(FAULT_SIGBUS, "fault-sigbus")					\
	X(FAULT_HWPOISON, "fault-hwpoison")				\
	X(FAULT_RETRY, "fault-retry")	/* it drops the mmap lock */

/* Places at which a call can be told to wait until it is resumed. */
#define ONEWALK_PAUSE_POINTS(X)						\
	X(ENTERED, "entered")		/* arguments are checked */	\
	X(LOOKED, "looked")		/* the sequence check is next */	\
	X(CHECKED, "checked")		/* before collecting */		\
	X(COLLECTED, "collected")	/* the engine has tried */ \
	X(UNMAPPED, "unmapped")		/* before the call returns */	\
	X(PARTED, "parted")		/* huge pages from their entries */ \
	X(MOVED, "moved")		/* and not mapped yet */	\
	X(MAPPING, "mapping")		/* before the driver maps a window */

enum onewalk_point {
#define ONEWALK_POINT(name, text) ONEWALK_POINT_##name,
	ONEWALK_FAIL_POINTS(ONEWALK_POINT)
	ONEWALK_PAUSE_POINTS(ONEWALK_POINT)
	ONEWALK_NR_POINTS
};

#ifdef ONEWALK_DEBUG
#define onewalk_assert(condition)	WARN_ON_ONCE(!(condition))

bool onewalk_fails(enum onewalk_point point);
void onewalk_pause(enum onewalk_point point,
		   const struct mmu_interval_notifier *notifier);
void onewalk_debug_init(void);
void onewalk_debug_exit(void);
#else
#define onewalk_assert(condition)	((void)sizeof(!(condition)))

static inline bool onewalk_fails(enum onewalk_point point)
{
	return false;
}

static inline void onewalk_pause(enum onewalk_point point,
				 const struct mmu_interval_notifier *notifier)
{
}

static inline void onewalk_debug_init(void)
{
}

static inline void onewalk_debug_exit(void)
{
}
#endif

#endif /* _ONEWALK_DEBUG_H */
