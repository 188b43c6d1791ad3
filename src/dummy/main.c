// SPDX-License-Identifier: GPL-2.0
/*
 * onewalk_dummy: the device that onewalk is tested with, and its first driver.
 *
 * It speaks the ioctls of the kernel's lib/test_hmm, so that the kernel's own
 * tests run against it, and more: see include/uapi/onewalk/dummy.h.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "dummy.h"

#define NR_DEVICES	4

/* Devices that have the memory that memory= says; then those with coherent. */
#define NR_FIRST	2

/* How many ranges spm_addr_dev*= give. */
#define NR_RANGES	2

/* The struct pages of a chunk take 1/64 of this. Whole sections of 2 MiB. */
#define SIZE_STEP	2
#define SIZE_MAX_MIB	16384

static char *memory;
module_param(memory, charp, 0444);
MODULE_PARM_DESC(memory, "what the memory of devices 0 and 1 is: private (device-private pages; needs a kernel with CONFIG_DEVICE_PRIVATE; the default there), coherent (device-coherent pages; needs spm_addr_dev0 and spm_addr_dev1) or system (ordinary pages; works everywhere)");

static unsigned int size = 64;
module_param(size, uint, 0444);
MODULE_PARM_DESC(size, "MiB of device memory in a chunk, a multiple of 2 up to 16384; more chunks are added on demand (default 64)");

/* Their names are those of lib/test_hmm. */
static unsigned long spm_addr_dev0;
module_param(spm_addr_dev0, ulong, 0444);
MODULE_PARM_DESC(spm_addr_dev0, "physical address of the coherent memory of device 0 with memory=coherent, else of device 2, which then exists too; the kernel must have been told to leave it alone: memmap=256M$ADDRESS");

static unsigned long spm_addr_dev1;
module_param(spm_addr_dev1, ulong, 0444);
MODULE_PARM_DESC(spm_addr_dev1, "likewise, of device 1 or 3; only both together");

static unsigned int spm_size = 256;
module_param(spm_size, uint, 0444);
MODULE_PARM_DESC(spm_size, "MiB at each of these addresses, a multiple of 2 from size up to 16384; a last piece smaller than size is not used (default 256)");

unsigned int dummy_limit;
module_param_named(limit, dummy_limit, uint, 0644);
MODULE_PARM_DESC(limit, "MiB of device memory that a device grows to, but for its first chunk; then it evicts its pages in turn (default 0: as much as there is)");

bool dummy_fault_around;
module_param_named(fault_around, dummy_fault_around, bool, 0644);
MODULE_PARM_DESC(fault_around, "a CPU that touches device-private memory brings back all of the 2 MiB around it (default no)");

bool dummy_shared_owner;
module_param_named(shared_owner, dummy_shared_owner, bool, 0644);
MODULE_PARM_DESC(shared_owner, "the devices' memory has one owner, and they tell it apart themselves; to be changed while they have none, which RELEASE sees to (default no)");

/* MiB in a chunk */
unsigned int dummy_size;

static struct dummy_device devices[NR_DEVICES];
static unsigned int nr_devices = NR_FIRST;

/* ONEWALK_DUMMY_MEMORY_* of the first devices */
static unsigned int first_memory;

static void use_memory(unsigned int kind, char *name)
{
	first_memory = kind;
	/* What /sys/module/onewalk_dummy/parameters/memory shows. */
	if (!memory)
		memory = name;
}

static int choose_private(void)
{
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE)) {
		pr_err("memory=private: this kernel is built without CONFIG_DEVICE_PRIVATE: load with memory=system or memory=coherent, or boot a kernel that has it, such as Debian's 7.2\n");
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

static int choose_coherent(void)
{
	if (!spm_addr_dev0 || !spm_addr_dev1) {
		pr_err("memory=coherent: no memory is set aside for it: boot with memmap=%uM$0x100000000 memmap=%uM$0x140000000, say, and load with spm_addr_dev0=0x100000000 spm_addr_dev1=0x140000000\n",
		       spm_size, spm_size);
		return -EINVAL;
	}
	use_memory(ONEWALK_DUMMY_MEMORY_COHERENT, "coherent");
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
	if (sysfs_streq(memory, "coherent"))
		return choose_coherent();
	pr_err("memory=%s is unknown: it is private, coherent or system\n",
	       memory);
	return -EINVAL;
}

static int check_size(const char *name, unsigned int value, unsigned int least)
{
	if (value >= least && value % SIZE_STEP == 0 && value <= SIZE_MAX_MIB)
		return 0;
	pr_err("%s=%u is not a multiple of %u from %u to %u MiB\n", name,
	       value, SIZE_STEP, least, SIZE_MAX_MIB);
	return -EINVAL;
}

static int choose_size(void)
{
	dummy_size = size;
	return check_size("size", size, SIZE_STEP);
}

/* Which devices there are, and whether the coherent ones can have memory. */
static int choose_devices(void)
{
	unsigned long between = spm_addr_dev0 < spm_addr_dev1 ?
		spm_addr_dev1 - spm_addr_dev0 : spm_addr_dev0 - spm_addr_dev1;
	int ret;

	if (!spm_addr_dev0 && !spm_addr_dev1)
		return 0;
	if (!spm_addr_dev0 || !spm_addr_dev1) {
		pr_err("spm_addr_dev0= and spm_addr_dev1= belong together: load with both, or with neither of them\n");
		return -EINVAL;
	}
	ret = check_size("spm_size", spm_size, size);
	if (ret)
		return ret;
	if (between / SZ_1M < spm_size) {
		pr_err("spm_addr_dev0=%#lx and spm_addr_dev1=%#lx overlap: load with addresses that are %u MiB apart, or with a smaller spm_size=\n",
		       spm_addr_dev0, spm_addr_dev1, spm_size);
		return -EINVAL;
	}
	if (first_memory != ONEWALK_DUMMY_MEMORY_COHERENT)
		nr_devices = NR_DEVICES;
	return 0;
}

static void init_devices(void)
{
	unsigned int id;

	for (id = 0; id < nr_devices; id++)
		dummy_device_init(&devices[id], id, id < NR_FIRST ?
				  first_memory : ONEWALK_DUMMY_MEMORY_COHERENT);
}

/* The last devices are those with coherent memory, if any are. */
static int claim_ranges(void)
{
	struct dummy_device *device = &devices[nr_devices - NR_RANGES];
	u64 bytes = (u64)spm_size * SZ_1M;
	int ret;

	if (device->memory != ONEWALK_DUMMY_MEMORY_COHERENT)
		return 0;
	ret = dummy_reserved_claim(device, "spm_addr_dev0", spm_addr_dev0,
				   bytes);
	if (ret)
		return ret;
	return dummy_reserved_claim(device + 1, "spm_addr_dev1", spm_addr_dev1,
				    bytes);
}

static void remove_devices(void)
{
	unsigned int id;

	for (id = 0; id < nr_devices; id++)
		dummy_device_remove(&devices[id]);
}

static int __init dummy_init(void)
{
	unsigned int id;
	int ret;

	ret = choose_memory();
	if (!ret)
		ret = choose_size();
	if (!ret)
		ret = choose_devices();
	if (ret)
		return ret;

	init_devices();
	/* What can well fail comes first: what can be opened is here to stay. */
	ret = claim_ranges();
	for (id = 0; id < nr_devices && !ret; id++)
		ret = dummy_device_add_memory(&devices[id]);
	for (id = 0; id < nr_devices && !ret; id++)
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
