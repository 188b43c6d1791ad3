// SPDX-License-Identifier: GPL-2.0
/*
 * Compiles on no kernel.
 */
#include <linux/mm.h>

int probe(void);
int probe(void)
{
	return onewalk_no_such_function();
}
