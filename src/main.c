// SPDX-License-Identifier: GPL-2.0
/*
 * Loading: which engine this kernel gets.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "../compat/ksyms.h"
#include "onewalk.h"

const int ONEWALK_ABI_SYMBOL = ONEWALK_ABI;
EXPORT_SYMBOL_GPL(ONEWALK_ABI_SYMBOL);

const struct onewalk_engine *onewalk_engine;

/*
 * The walker of our own needs functions that the kernel does not export. They
 * are found and checked already; the walker itself is still to come.
 */
static int unified_init(void)
{
	onewalk_ksyms_init();
	pr_err("engine=unified is not in this version: load with engine=auto or engine=portable\n");
	return -EOPNOTSUPP;
}

static const struct onewalk_engine unified = {
	.name = "unified",
	.init = unified_init,
};

static const struct onewalk_engine *const engines[] = {
	&onewalk_portable,
	&unified,
};

/* What the administrator asked for; NULL is auto. */
static const struct onewalk_engine *asked;

static int engine_set(const char *val, const struct kernel_param *kp)
{
	unsigned int i;

	asked = NULL;
	if (sysfs_streq(val, "auto"))
		return 0;

	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		if (sysfs_streq(val, engines[i]->name)) {
			asked = engines[i];
			return 0;
		}
	}
	pr_err("engine=%s is unknown: use auto, unified or portable\n", val);
	return -EINVAL;
}

static int engine_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", onewalk_engine->name);
}

static const struct kernel_param_ops engine_ops = {
	.set = engine_set,
	.get = engine_get,
};
module_param_cb(engine, &engine_ops, NULL, 0444);
MODULE_PARM_DESC(engine,
		 "how pages are collected: auto (default), unified or portable");

static int __init onewalk_init(void)
{
	const struct onewalk_engine *engine = asked ?: &onewalk_portable;
	int ret = engine->init ? engine->init() : 0;

	if (ret)
		return ret;

	onewalk_engine = engine;
	pr_info("engine %s: %s\n", engine->name,
		asked ? "asked for by engine=" :
			"the best in this version, needs exported symbols alone");
	return 0;
}

static void __exit onewalk_exit(void)
{
}

module_init(onewalk_init);
module_exit(onewalk_exit);
MODULE_DESCRIPTION("Fault in and migrate memory to a device in one page table walk");
MODULE_VERSION("0.1.0");
MODULE_LICENSE("GPL");
