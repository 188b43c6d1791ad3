/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Why a page is not migrating: one byte for each page of a call.
 */
#ifndef _ONEWALK_STATUS_H
#define _ONEWALK_STATUS_H

#include <linux/types.h>

/**
 * enum onewalk_status - what became of one page of a fault-and-migrate call
 *
 * @ONEWALK_STATUS_MIGRATING: collected, or a hole or zero page that the driver
 *	may fill; after onewalk_migrate_pages(): moved. Its migrate pfn, or that
 *	of the large folio that it is part of, carries MIGRATE_PFN_MIGRATE.
 * @ONEWALK_STATUS_NOT_REQUESTED: the page's request lacks
 *	ONEWALK_PFN_REQ_MIGRATE.
 * @ONEWALK_STATUS_NOT_SELECTED: &onewalk_migrate.flags does not select this
 *	kind of page.
 * @ONEWALK_STATUS_FOREIGN_DEVICE: device memory of another pgmap owner, or a
 *	page that a device has for itself (device-exclusive), and no fault was
 *	asked for that would bring it back.
 * @ONEWALK_STATUS_ON_NODE: system memory that is already on
 *	&onewalk_migrate.nid.
 * @ONEWALK_STATUS_SWAPPED: swapped out, and no fault was asked for.
 * @ONEWALK_STATUS_LOCKED: somebody else holds the folio lock, such as DAMON for
 *	a moment, or is migrating the page, and no fault was asked for that would
 *	wait.
 * @ONEWALK_STATUS_PINNED: the page has a GUP pin: somebody, such as another
 *	device, relies on it staying where it is.
 * @ONEWALK_STATUS_BUSY: the page has references that its mappings do not
 *	explain: somebody is just looking at it, has it in a pipe, or shares it
 *	and has not swapped it in yet.
 * @ONEWALK_STATUS_NOT_ON_LRU: the page was in some CPU's LRU batch, or isolated
 *	by somebody else.
 * @ONEWALK_STATUS_WRITEBACK: the page is being written to swap.
 * @ONEWALK_STATUS_FILE: a page or a hole of a file or shared memory; these do
 *	not migrate to a device.
 * @ONEWALK_STATUS_KSM: a page that KSM merged.
 * @ONEWALK_STATUS_SPECIAL: no struct page, no access, or a mapping of a kind
 *	that never migrates (VM_IO, VM_PFNMAP, VM_MIXEDMAP and the like).
 * @ONEWALK_STATUS_HUGETLB: a hugetlbfs page.
 * @ONEWALK_STATUS_POISONED: hardware poison, or a poison or guard marker.
 * @ONEWALK_STATUS_UFFD: userfaultfd has to see this access first; or it is
 *	armed where there is a hole or the zero page, and may protect that at any
 *	time. A fault for writing may help.
 * @ONEWALK_STATUS_SPLIT_FAILED: part of a large folio that does not migrate whole
 *	and that could not be split. The portable engine cannot split one that
 *	PTEs map before 6.19.
 * @ONEWALK_STATUS_FAULT_EFAULT: the fault failed with -EFAULT.
 * @ONEWALK_STATUS_FAULT_EPERM: write was asked for in a read-only mapping.
 * @ONEWALK_STATUS_FAULT_ENOMEM: the fault failed with -ENOMEM.
 * @ONEWALK_STATUS_FAULT_POISONED: the fault met hardware poison.
 * @ONEWALK_STATUS_STOPPED: the call ended before this page had its turn, for a
 *	reason that the call's errno or another page's status tells; or the
 *	driver gave no destination for it.
 * @ONEWALK_STATUS_UNKNOWN: the kernel would not collect the page and does not
 *	tell why; the portable engine cannot see more.
 * @ONEWALK_STATUS_NR: how many there are; never reported.
 */
enum onewalk_status {
	ONEWALK_STATUS_MIGRATING,
	ONEWALK_STATUS_NOT_REQUESTED,
	ONEWALK_STATUS_NOT_SELECTED,
	ONEWALK_STATUS_FOREIGN_DEVICE,
	ONEWALK_STATUS_ON_NODE,
	ONEWALK_STATUS_SWAPPED,
	ONEWALK_STATUS_LOCKED,
	ONEWALK_STATUS_PINNED,
	ONEWALK_STATUS_BUSY,
	ONEWALK_STATUS_NOT_ON_LRU,
	ONEWALK_STATUS_WRITEBACK,
	ONEWALK_STATUS_FILE,
	ONEWALK_STATUS_KSM,
	ONEWALK_STATUS_SPECIAL,
	ONEWALK_STATUS_HUGETLB,
	ONEWALK_STATUS_POISONED,
	ONEWALK_STATUS_UFFD,
	ONEWALK_STATUS_SPLIT_FAILED,
	ONEWALK_STATUS_FAULT_EFAULT,
	ONEWALK_STATUS_FAULT_EPERM,
	ONEWALK_STATUS_FAULT_ENOMEM,
	ONEWALK_STATUS_FAULT_POISONED,
	ONEWALK_STATUS_STOPPED,
	ONEWALK_STATUS_UNKNOWN,
	ONEWALK_STATUS_NR,
};

bool onewalk_status_retryable(enum onewalk_status status);
const char *onewalk_status_name(enum onewalk_status status);

#endif /* _ONEWALK_STATUS_H */
