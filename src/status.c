// SPDX-License-Identifier: GPL-2.0
/*
 * Why a page is not migrating, in words.
 */
#include <linux/export.h>

#include "onewalk.h"

static const char * const status_names[] = {
	[ONEWALK_STATUS_MIGRATING]	= "migrating",
	[ONEWALK_STATUS_NOT_REQUESTED]	= "not requested",
	[ONEWALK_STATUS_NOT_SELECTED]	= "not selected",
	[ONEWALK_STATUS_FOREIGN_DEVICE]	= "foreign device",
	[ONEWALK_STATUS_ON_NODE]	= "already on the node",
	[ONEWALK_STATUS_SWAPPED]	= "swapped out",
	[ONEWALK_STATUS_LOCKED]		= "locked",
	[ONEWALK_STATUS_PINNED]		= "pinned",
	[ONEWALK_STATUS_BUSY]		= "in use",
	[ONEWALK_STATUS_NOT_ON_LRU]	= "not on the LRU",
	[ONEWALK_STATUS_WRITEBACK]	= "under writeback",
	[ONEWALK_STATUS_FILE]		= "file page",
	[ONEWALK_STATUS_KSM]		= "KSM page",
	[ONEWALK_STATUS_SPECIAL]	= "special mapping",
	[ONEWALK_STATUS_HUGETLB]	= "hugetlb page",
	[ONEWALK_STATUS_POISONED]	= "poisoned",
	[ONEWALK_STATUS_UFFD]		= "userfaultfd",
	[ONEWALK_STATUS_SPLIT_FAILED]	= "split failed",
	[ONEWALK_STATUS_FAULT_EFAULT]	= "fault failed (EFAULT)",
	[ONEWALK_STATUS_FAULT_EPERM]	= "fault failed (EPERM)",
	[ONEWALK_STATUS_FAULT_ENOMEM]	= "fault failed (ENOMEM)",
	[ONEWALK_STATUS_FAULT_POISONED]	= "fault failed (poisoned)",
	[ONEWALK_STATUS_STOPPED]	= "stopped early",
	[ONEWALK_STATUS_UNKNOWN]	= "unknown",
};

static_assert(ARRAY_SIZE(status_names) == ONEWALK_STATUS_NR);

/**
 * onewalk_status_retryable() - may the same call soon do better
 * @status: a page's status
 *
 * Any context.
 *
 * Return: true when the reason passes by itself, so that the same request, made
 * again, may migrate the page; false when the page is migrating already or
 * stays as it is until somebody does something about it.
 */
bool onewalk_status_retryable(enum onewalk_status status)
{
	switch (status) {
	case ONEWALK_STATUS_LOCKED:
	case ONEWALK_STATUS_BUSY:
	case ONEWALK_STATUS_NOT_ON_LRU:
	case ONEWALK_STATUS_WRITEBACK:
	case ONEWALK_STATUS_SPLIT_FAILED:
	case ONEWALK_STATUS_FAULT_ENOMEM:
	case ONEWALK_STATUS_STOPPED:
	case ONEWALK_STATUS_UNKNOWN:
		return true;
	default:
		return false;
	}
}
EXPORT_SYMBOL_GPL(onewalk_status_retryable);

/**
 * onewalk_status_name() - a page's status in words
 * @status: a page's status
 *
 * Any context.
 *
 * Return: a short constant string in English, for logs; never NULL.
 */
const char *onewalk_status_name(enum onewalk_status status)
{
	if ((unsigned int)status >= ONEWALK_STATUS_NR)
		return "invalid";
	return status_names[status];
}
EXPORT_SYMBOL_GPL(onewalk_status_name);
