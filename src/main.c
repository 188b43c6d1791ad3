// SPDX-License-Identifier: GPL-2.0
/*
 * Loading: which engine this kernel gets.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "onewalk.h"

const int ONEWALK_ABI_SYMBOL = ONEWALK_ABI;
EXPORT_SYMBOL_GPL(ONEWALK_ABI_SYMBOL);

const struct onewalk_engine *onewalk_engine;

/* The best first. */
static const struct onewalk_engine *const engines[] = {
	&onewalk_unified,
	&onewalk_portable,
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

static int __init use(const struct onewalk_engine *engine)
{
	int ret = engine->init ? engine->init(asked) : 0;

	if (!ret)
		onewalk_engine = engine;
	return ret;
}

static int __init use_asked(void)
{
	int ret = use(asked);

	if (!ret)
		pr_info("engine %s: asked for by engine=\n", asked->name);
	else
		pr_err("engine=%s cannot be had: %s; engine=auto takes what can\n",
		       asked->name, asked->reason());
	return ret;
}

static int __init use_best(void)
{
	const char *why = "the best there is";
	unsigned int i;
	int ret = -ENODEV;

	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		ret = use(engines[i]);
		if (!ret) {
			pr_info("engine %s: %s\n", engines[i]->name, why);
			break;
		}
		why = engines[i]->reason();
	}
	return ret;
}

static int __init onewalk_init(void)
{
	int ret = asked ? use_asked() : use_best();

	if (!ret)
		onewalk_debug_init();
	return ret;
}

static void __exit onewalk_exit(void)
{
	onewalk_debug_exit();
}

module_init(onewalk_init);
module_exit(onewalk_exit);
MODULE_DESCRIPTION("Fault in and migrate memory to a device in one page table walk");
MODULE_VERSION("0.1.0");
MODULE_LICENSE("GPL");
