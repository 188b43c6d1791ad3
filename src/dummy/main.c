// SPDX-License-Identifier: GPL-2.0
/*
 * onewalk_dummy: the device that onewalk is tested with, and its first driver.
 *
 * It speaks the ioctls of the kernel's lib/test_hmm, so that the kernel's own
 * tests run against it, and more: see include/uapi/onewalk/dummy.h.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "dummy.h"

#define NR_DEVICES	2

/* The struct pages of a chunk take 1/64 of this. Whole sections of 2 MiB. */
#define SIZE_STEP	2
#define SIZE_MAX_MIB	16384

static char *memory;
module_param(memory, charp, 0444);
MODULE_PARM_DESC(memory, "what device memory is: private (device-private pages; needs a kernel with CONFIG_DEVICE_PRIVATE; the default there) or system (ordinary pages; works everywhere)");

static unsigned int size = 64;
module_param(size, uint, 0444);
MODULE_PARM_DESC(size, "MiB of device memory in a chunk, a multiple of 2 up to 16384; more chunks are added on demand (default 64)");

/* ONEWALK_DUMMY_MEMORY_* */
unsigned int dummy_memory;
/* MiB in a chunk */
unsigned int dummy_size;

static struct dummy_device devices[NR_DEVICES];

static void use_memory(unsigned int kind, char *name)
{
	dummy_memory = kind;
	/* What /sys/module/onewalk_dummy/parameters/memory shows. */
	if (!memory)
		memory = name;
}

static int choose_private(void)
{
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE)) {
		pr_err("memory=private: this kernel is built without CONFIG_DEVICE_PRIVATE: load with memory=system, or boot a kernel that has it, such as Debian's 7.2\n");
		return -EOPNOTSUPP;
	}
	use_memory(ONEWALK_DUMMY_MEMORY_PRIVATE, "private");
	return 0;
}

static int choose_default(void)
{
	if (IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		return choose_private();
	pr_info("memory=system: this kernel is built without CONFIG_DEVICE_PRIVATE, so ordinary pages stand in for device memory\n");
	use_memory(ONEWALK_DUMMY_MEMORY_SYSTEM, "system");
	return 0;
}

static int choose_memory(void)
{
	if (!memory)
		return choose_default();
	if (sysfs_streq(memory, "private"))
		return choose_private();
	if (sysfs_streq(memory, "system")) {
		use_memory(ONEWALK_DUMMY_MEMORY_SYSTEM, "system");
		return 0;
	}
	if (sysfs_streq(memory, "coherent")) {
		pr_err("memory=coherent is not there yet: load with memory=private or memory=system\n");
		return -EOPNOTSUPP;
	}
	pr_err("memory=%s is unknown: it is private or system\n", memory);
	return -EINVAL;
}

static int choose_size(void)
{
	if (!size || size % SIZE_STEP || size > SIZE_MAX_MIB) {
		pr_err("size=%u is not a multiple of %u from %u to %u MiB\n",
		       size, SIZE_STEP, SIZE_STEP, SIZE_MAX_MIB);
		return -EINVAL;
	}
	dummy_size = size;
	return 0;
}

static void remove_devices(void)
{
	unsigned int id;

	for (id = 0; id < NR_DEVICES; id++)
		dummy_device_remove(&devices[id]);
}

static int __init dummy_init(void)
{
	unsigned int id;
	int ret;

	ret = choose_memory();
	if (!ret)
		ret = choose_size();
	if (ret)
		return ret;

	for (id = 0; id < NR_DEVICES; id++)
		dummy_device_init(&devices[id], id);
	/* What can well fail comes first: what can be opened is here to stay. */
	for (id = 0; id < NR_DEVICES && !ret; id++)
		ret = dummy_device_add_memory(&devices[id]);
	for (id = 0; id < NR_DEVICES && !ret; id++)
		ret = dummy_device_add(&devices[id]);
	if (ret)
		remove_devices();
	return ret;
}

static void __exit dummy_exit(void)
{
	remove_devices();
}

module_init(dummy_init);
module_exit(dummy_exit);
MODULE_DESCRIPTION("A device without hardware, to test onewalk with");
MODULE_AUTHOR("The onewalk authors");
MODULE_LICENSE("GPL");
