/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a device wants in a fault, and what becomes of it.
 */
#ifndef _ONEWALK_VERDICT_H
#define _ONEWALK_VERDICT_H

/**
 * enum onewalk_access - what a device wanted to do; the stronger the higher
 *
 * @ONEWALK_ACCESS_NONE: nothing: no fault is about this page.
 * @ONEWALK_ACCESS_PREFETCH: read, and nobody waits for it: is never cancelled.
 * @ONEWALK_ACCESS_READ: read.
 * @ONEWALK_ACCESS_WRITE: write.
 * @ONEWALK_ACCESS_ATOMIC: read and write in one. The page is made writable; a
 *	device that can do this in its own memory alone sees to the rest in
 *	&onewalk_service_ops.map.
 * @ONEWALK_NR_ACCESS: how many there are.
 */
enum onewalk_access {
	ONEWALK_ACCESS_NONE,
	ONEWALK_ACCESS_PREFETCH,
	ONEWALK_ACCESS_READ,
	ONEWALK_ACCESS_WRITE,
	ONEWALK_ACCESS_ATOMIC,
	ONEWALK_NR_ACCESS,
};

/**
 * enum onewalk_verdict - what the device is to do about a fault
 *
 * @ONEWALK_REPLAY: try again: the page is mapped now; or will fault again.
 * @ONEWALK_CANCEL: give up, as a CPU would be sent SIGSEGV or SIGBUS.
 */
enum onewalk_verdict {
	ONEWALK_REPLAY,
	ONEWALK_CANCEL,
};

/**
 * enum onewalk_reason - why a fault got its verdict
 *
 * @ONEWALK_REASON_SERVED: the device maps the page as it wants it. Replay.
 * @ONEWALK_REASON_SKIPPED: &onewalk_service_ops.policy said so. Replay.
 * @ONEWALK_REASON_BUSY: the memory kept changing until the budget was spent.
 *	Replay: the device faults again. A driver that sees this of one address
 *	over and over may cancel.
 * @ONEWALK_REASON_STOPPED: the call ended early, see its errno. Replay.
 * @ONEWALK_REASON_BAD_ADDRESS: there is no memory, or none that may be read, or
 *	it is poisoned, or the file ends before it. Cancel.
 * @ONEWALK_REASON_NO_PERMISSION: write to memory that may only be read. Cancel.
 * @ONEWALK_REASON_NO_MEMORY: the system ran out of memory. Cancel.
 * @ONEWALK_REASON_DRIVERS_OWN: &onewalk_service_ops.bounds said that the address
 *	is the driver's, or it lies outside of the notifier. Cancel.
 * @ONEWALK_REASON_DYING: the process is gone, or as good as gone. Cancel.
 * @ONEWALK_REASON_NOT_MAPPED: &onewalk_service_ops.map would not map the page.
 *	Cancel.
 * @ONEWALK_NR_REASONS: how many there are.
 */
enum onewalk_reason {
	ONEWALK_REASON_SERVED,
	ONEWALK_REASON_SKIPPED,
	ONEWALK_REASON_BUSY,
	ONEWALK_REASON_STOPPED,
	ONEWALK_REASON_BAD_ADDRESS,
	ONEWALK_REASON_NO_PERMISSION,
	ONEWALK_REASON_NO_MEMORY,
	ONEWALK_REASON_DRIVERS_OWN,
	ONEWALK_REASON_DYING,
	ONEWALK_REASON_NOT_MAPPED,
	ONEWALK_NR_REASONS,
};

const char *onewalk_reason_name(enum onewalk_reason reason);

#endif /* _ONEWALK_VERDICT_H */
