// SPDX-License-Identifier: GPL-2.0
/* A module that misbehaves on request: what the harness must notice. */
#include <linux/bug.h>
#include <linux/module.h>

static bool warn;
module_param(warn, bool, 0);
MODULE_PARM_DESC(warn, "raise a warning while loading");

static int __init planted_init(void)
{
	WARN_ON(warn);
	return 0;
}
module_init(planted_init);

static void __exit planted_exit(void)
{
}
module_exit(planted_exit);

MODULE_DESCRIPTION("A planted misbehaviour");
MODULE_LICENSE("GPL");
