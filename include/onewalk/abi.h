/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ABI that a driver was built against, as a symbol that it needs to load.
 */
#ifndef _ONEWALK_ABI_H
#define _ONEWALK_ABI_H

#include <linux/compiler.h>
#include <linux/stringify.h>

/*
 * Grows by one with every change that a driver built before it would not
 * survive: a field added to a public structure, a flag or status renumbered,
 * a function's arguments changed.
 */
#define ONEWALK_ABI		4

#define ONEWALK_ABI_SYMBOL	__PASTE(onewalk_abi_, ONEWALK_ABI)

extern const int ONEWALK_ABI_SYMBOL;

/*
 * Including this header makes a module refer to onewalk_abi_<number>, so that
 * one built against another ABI does not load and the log names the symbol.
 * This works without CONFIG_MODVERSIONS, which Debian dropped in 7.x.
 */
static const int * const onewalk_abi_needed __used = &ONEWALK_ABI_SYMBOL;

#endif /* _ONEWALK_ABI_H */
