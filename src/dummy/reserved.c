// SPDX-License-Identifier: GPL-2.0
/*
 * The physical addresses of device-coherent memory.
 *
 * CPUs read and write it like any other memory, so it has to exist, and nobody
 * else may use it: the kernel is told at boot to leave it alone, and the module
 * is told where it is. Nobody but the user knows whether it is free, but what
 * can be wrong and be seen is refused here.
 */
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/sizes.h>

#include "dummy.h"

/* Anything that neither empty addresses nor a test of memory would hold. */
#define MARK	0x6f6e6577616c6b00UL

/* The resources come in order: goes on as long as they leave no gap. */
static int extend(struct resource *resource, void *data)
{
	u64 *end = data;

	if (resource->start != *end)
		return 1;
	*end = resource->end + 1;
	return 0;
}

static bool is_reserved(u64 start, u64 bytes)
{
	u64 end = start;

	walk_iomem_res_desc(IORES_DESC_RESERVED, IORESOURCE_MEM, start,
			    start + bytes - 1, &end, extend);
	return end == start + bytes;
}

/* Addresses can be reserved where the machine has no memory. */
static bool is_memory(u64 addr)
{
	unsigned long *word = memremap(addr, PAGE_SIZE, MEMREMAP_WC);
	bool ret;

	if (!word)
		return false;
	WRITE_ONCE(*word, MARK);
	/* It shall come from there, and not from a write buffer. */
	mb();
	ret = READ_ONCE(*word) == MARK;
	memunmap(word);
	return ret;
}

/**
 * dummy_reserved_claim() - take a range of physical addresses for a device
 * @device: made, with coherent memory
 * @name: the parameter that gave @start, for the log
 * @start: first address
 * @bytes: how many, whole MiB
 */
int dummy_reserved_claim(struct dummy_device *device, const char *name,
			 u64 start, u64 bytes)
{
	u64 mib = bytes / SZ_1M;

	if (!start || !IS_ALIGNED(start, SZ_2M) || start + bytes < start) {
		pr_err("%s=%#llx is not a multiple of 2 MiB with %llu MiB behind it: boot with memmap=%lluM$0x100000000, and give that address\n",
		       name, start, mib, mib);
		return -EINVAL;
	}
	if (!is_reserved(start, bytes)) {
		pr_err("%s=%#llx: the %llu MiB from there on are not all reserved in /proc/iomem: boot with memmap=%lluM$%#llx, or load with the address of memory that is, and perhaps with a smaller spm_size=\n",
		       name, start, mib, mib, start);
		return -EINVAL;
	}
	device->range = request_mem_region(start, bytes, device->name);
	if (!device->range) {
		pr_err("%s=%#llx: somebody else uses a part of the %llu MiB from there on: see /proc/iomem, and give an address that is free\n",
		       name, start, mib);
		return -EBUSY;
	}
	if (!is_memory(start) || !is_memory(start + bytes - PAGE_SIZE)) {
		pr_err("%s=%#llx: the machine has no memory for the %llu MiB from there on: reserve a part of what it has\n",
		       name, start, mib);
		return -ENXIO;
	}
	return 0;
}

/**
 * dummy_reserved_release() - give back what was claimed
 * @device: perhaps with a range, and with no chunk left in it
 */
void dummy_reserved_release(struct dummy_device *device)
{
	if (!device->range)
		return;
	release_mem_region(device->range->start, resource_size(device->range));
	device->range = NULL;
}
