// SPDX-License-Identifier: GPL-2.0
/*
 * The device node: open, close, and which ioctl goes where.
 */
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dummy.h"

/* As much as a file may map of pages that belong to nobody else. */
#define MMAP_MAX	SZ_16M

/**
 * dummy_check_range() - can this be a range of user addresses
 * @addr: its start
 * @npages: its length
 */
int dummy_check_range(u64 addr, u64 npages)
{
	u64 bytes, end;

	if (!IS_ALIGNED(addr, PAGE_SIZE) || !npages)
		return -EINVAL;
	if (check_mul_overflow(npages, (u64)PAGE_SIZE, &bytes) ||
	    check_add_overflow(addr, bytes, &end))
		return -EINVAL;
	return end > ULONG_MAX ? -EINVAL : 0;
}

/**
 * dummy_check_table() - likewise, for what needs a table of all its pages
 * @addr: its start
 * @npages: its length
 *
 * No range of more pages than there is memory has all its pages present.
 */
int dummy_check_table(u64 addr, u64 npages)
{
	int ret = dummy_check_range(addr, npages);

	if (!ret && npages > totalram_pages())
		ret = -ENOMEM;
	return ret;
}

/* One of each, as the user gave it and as he gets it back. */
union argument {
	struct onewalk_dummy_cmd	cmd;
	struct onewalk_dummy_migrate	migrate;
	struct onewalk_dummy_report	report;
	struct onewalk_dummy_buffer	buffer;
	struct onewalk_dummy_info	info;
	struct onewalk_dummy_pin	pin;
	struct onewalk_dummy_call	call;
	struct onewalk_dummy_lock	lock;
	struct onewalk_dummy_peers	peers;
	struct onewalk_dummy_service	service;
	struct onewalk_dummy_pin_longterm	pin_longterm;
	struct onewalk_dummy_evict	evict;
};

/* A command of test_hmm that is about a range of the process. */
static int range_cmd(struct dummy_mirror *mirror, struct onewalk_dummy_cmd *cmd,
		     int (*call)(struct dummy_mirror *mirror,
				 struct onewalk_dummy_cmd *cmd))
{
	int ret = dummy_check_range(cmd->addr, cmd->npages);

	cmd->cpages = 0;
	cmd->faults = 0;
	return ret ? ret : call(mirror, cmd);
}

static int ioctl_read(struct dummy_mirror *mirror, union argument *arg)
{
	return range_cmd(mirror, &arg->cmd, dummy_read);
}

static int ioctl_read_unlocked(struct dummy_mirror *mirror, union argument *arg)
{
	return range_cmd(mirror, &arg->cmd, dummy_read_unlocked);
}

static int ioctl_write(struct dummy_mirror *mirror, union argument *arg)
{
	return range_cmd(mirror, &arg->cmd, dummy_write);
}

static int ioctl_to_device(struct dummy_mirror *mirror, union argument *arg)
{
	return range_cmd(mirror, &arg->cmd, dummy_migrate_to_device);
}

static int ioctl_to_system(struct dummy_mirror *mirror, union argument *arg)
{
	return range_cmd(mirror, &arg->cmd, dummy_migrate_to_system);
}

static int ioctl_snapshot(struct dummy_mirror *mirror, union argument *arg)
{
	return range_cmd(mirror, &arg->cmd, dummy_snapshot);
}

static int ioctl_exclusive(struct dummy_mirror *mirror, union argument *arg)
{
	return range_cmd(mirror, &arg->cmd, dummy_exclusive);
}

static int ioctl_check_exclusive(struct dummy_mirror *mirror,
				 union argument *arg)
{
	return range_cmd(mirror, &arg->cmd, dummy_check_exclusive);
}

static int ioctl_release(struct dummy_mirror *mirror, union argument *arg)
{
	struct dummy_device *device = mirror->device;
	int ret;

	ret = mutex_lock_killable(&device->growth);
	if (ret)
		return ret;
	ret = dummy_chunks_release(device);
	mutex_unlock(&device->growth);
	return ret;
}

static int ioctl_flags(struct dummy_mirror *mirror, union argument *arg)
{
	if (arg->cmd.npages & ~ONEWALK_DUMMY_FLAG_FAIL_ALLOC)
		return -EINVAL;
	atomic_set(&mirror->fail_alloc,
		   !!(arg->cmd.npages & ONEWALK_DUMMY_FLAG_FAIL_ALLOC));
	return 0;
}

static int ioctl_migrate(struct dummy_mirror *mirror, union argument *arg)
{
	return dummy_migrate_range(mirror, &arg->migrate);
}

static int ioctl_report(struct dummy_mirror *mirror, union argument *arg)
{
	return dummy_report(mirror, &arg->report);
}

static int ioctl_inspect(struct dummy_mirror *mirror, union argument *arg)
{
	return dummy_inspect(mirror, &arg->buffer);
}

static int ioctl_info(struct dummy_mirror *mirror, union argument *arg)
{
	struct dummy_device *device = mirror->device;
	struct onewalk_dummy_info *info = &arg->info;

	*info = (struct onewalk_dummy_info){
		.memory = device->memory,
		.id = device->id,
		.invalidations = atomic64_read(&mirror->invalidations),
		.own_invalidations = atomic64_read(&mirror->own_invalidations),
	};

	spin_lock(&device->lock);
	info->pages_total = device->total;
	info->pages_free = device->total - device->used;
	info->pages_allocated = device->taken;
	spin_unlock(&device->lock);

	mutex_lock(&mirror->lock);
	info->mapped = mirror->mapped;
	mutex_unlock(&mirror->lock);

	mutex_lock(&mirror->pin_lock);
	info->pinned = mirror->pinned;
	mutex_unlock(&mirror->pin_lock);
	return 0;
}

static int ioctl_pin(struct dummy_mirror *mirror, union argument *arg)
{
	return dummy_pin(mirror, &arg->pin);
}

static int ioctl_unpin_all(struct dummy_mirror *mirror, union argument *arg)
{
	dummy_unpin_all(mirror);
	return 0;
}

static int ioctl_lock(struct dummy_mirror *mirror, union argument *arg)
{
	return dummy_lock(mirror, &arg->lock);
}

static int ioctl_peers(struct dummy_mirror *mirror, union argument *arg)
{
	return dummy_set_peers(mirror, &arg->peers);
}

static int ioctl_service(struct dummy_mirror *mirror, union argument *arg)
{
	return dummy_service(mirror, &arg->service);
}

static int ioctl_evict(struct dummy_mirror *mirror, union argument *arg)
{
	return dummy_evict(mirror, &arg->evict);
}

static int ioctl_call(struct dummy_mirror *mirror, union argument *arg)
{
	return dummy_call(mirror, &arg->call);
}

static int ioctl_pin_longterm(struct dummy_mirror *mirror, union argument *arg)
{
	return dummy_pin_longterm(mirror, &arg->pin_longterm);
}

/**
 * struct ioctl - what an ioctl does
 * @number: which
 * @call: it
 * @needs_mm: it works on the process, which must not be gone
 * @tells_on_error: the argument goes back to the user also after an error
 */
struct ioctl {
	unsigned int	number;
	int		(*call)(struct dummy_mirror *mirror, union argument *arg);
	bool		needs_mm;
	bool		tells_on_error;
};

static const struct ioctl ioctls[] = {
	{ ONEWALK_DUMMY_READ, ioctl_read, true },
	{ ONEWALK_DUMMY_WRITE, ioctl_write, true },
	{ ONEWALK_DUMMY_MIGRATE_TO_DEV, ioctl_to_device, true },
	{ ONEWALK_DUMMY_MIGRATE_TO_SYS, ioctl_to_system, true },
	{ ONEWALK_DUMMY_SNAPSHOT, ioctl_snapshot, true },
	{ ONEWALK_DUMMY_EXCLUSIVE, ioctl_exclusive, true },
	{ ONEWALK_DUMMY_CHECK_EXCLUSIVE, ioctl_check_exclusive },
	{ ONEWALK_DUMMY_RELEASE, ioctl_release },
	{ ONEWALK_DUMMY_FLAGS, ioctl_flags },
	{ ONEWALK_DUMMY_READ_UNLOCKED, ioctl_read_unlocked, true },
	{ ONEWALK_DUMMY_MIGRATE, ioctl_migrate, true, true },
	{ ONEWALK_DUMMY_REPORT, ioctl_report, true },
	{ ONEWALK_DUMMY_INSPECT, ioctl_inspect },
	{ ONEWALK_DUMMY_INFO, ioctl_info },
	{ ONEWALK_DUMMY_PIN, ioctl_pin, true },
	{ ONEWALK_DUMMY_UNPIN_ALL, ioctl_unpin_all },
	{ ONEWALK_DUMMY_CALL, ioctl_call, true },
	{ ONEWALK_DUMMY_LOCK, ioctl_lock, true },
	{ ONEWALK_DUMMY_PEERS, ioctl_peers },
	{ ONEWALK_DUMMY_SERVICE, ioctl_service, false, true },
	{ ONEWALK_DUMMY_PIN_LONGTERM, ioctl_pin_longterm, true, true },
	{ ONEWALK_DUMMY_EVICT, ioctl_evict, false, true },
};

static const struct ioctl *find_ioctl(unsigned int number)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ioctls); i++)
		if (ioctls[i].number == number)
			return &ioctls[i];
	return NULL;
}

/* The file may be in the hands of a child: the process is the mirrored one. */
static int call_on_mm(const struct ioctl *ioctl, struct dummy_mirror *mirror,
		      union argument *arg)
{
	struct mm_struct *mm = mirror->notifier.mm;
	int ret;

	if (!ioctl->needs_mm)
		return ioctl->call(mirror, arg);
	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = ioctl->call(mirror, arg);
	mmput(mm);
	return ret;
}

static long device_ioctl(struct file *file, unsigned int number,
			 unsigned long user)
{
	const struct ioctl *ioctl = find_ioctl(number);
	void __user *uarg = (void __user *)user;
	union argument arg;
	int ret;

	if (!ioctl)
		return -ENOTTY;
	if ((_IOC_DIR(number) & _IOC_WRITE) &&
	    copy_from_user(&arg, uarg, _IOC_SIZE(number)))
		return -EFAULT;

	ret = call_on_mm(ioctl, file->private_data, &arg);
	if (ret && !ioctl->tells_on_error)
		return ret;
	if ((_IOC_DIR(number) & _IOC_READ) &&
	    copy_to_user(uarg, &arg, _IOC_SIZE(number)))
		return -EFAULT;
	return ret;
}

static int device_open(struct inode *inode, struct file *file)
{
	struct dummy_device *device =
		container_of(file->private_data, struct dummy_device, misc);
	struct dummy_mirror *mirror = dummy_mirror_open(device);

	if (IS_ERR(mirror))
		return PTR_ERR(mirror);
	file->private_data = mirror;
	return 0;
}

static int device_release(struct inode *inode, struct file *file)
{
	dummy_mirror_close(file->private_data);
	return 0;
}

static int map_page(struct vm_area_struct *vma, unsigned long addr)
{
	struct page *page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	int ret;

	if (!page)
		return -ENOMEM;
	ret = vm_insert_page(vma, addr, page);
	put_page(page);
	return ret;
}

/* Ordinary pages, in a mapping of the kind that never migrates. */
static int device_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long addr;
	int ret = 0;

	if (vma->vm_end - vma->vm_start > MMAP_MAX)
		return -EINVAL;
	for (addr = vma->vm_start; addr < vma->vm_end && !ret; addr += PAGE_SIZE)
		ret = map_page(vma, addr);
	return ret;
}

static const struct file_operations device_fops = {
	.owner		= THIS_MODULE,
	.open		= device_open,
	.release	= device_release,
	.unlocked_ioctl	= device_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= device_mmap,
};

/**
 * dummy_file_mirror() - what an open file is
 * @file: any file
 *
 * Return: the mirror, or NULL if it is no file of ours.
 */
struct dummy_mirror *dummy_file_mirror(struct file *file)
{
	return file->f_op == &device_fops ? file->private_data : NULL;
}

/**
 * dummy_device_init() - make a device
 * @device: zeroed
 * @id: its number
 * @memory: ONEWALK_DUMMY_MEMORY_*
 */
void dummy_device_init(struct dummy_device *device, unsigned int id,
		       unsigned int memory)
{
	device->id = id;
	device->memory = memory;
	mutex_init(&device->growth);
	spin_lock_init(&device->lock);
	INIT_LIST_HEAD(&device->chunks);
	snprintf(device->name, sizeof(device->name), "hmm_dmirror%u", id);

	device->misc.minor = MISC_DYNAMIC_MINOR;
	device->misc.name = device->name;
	device->misc.fops = &device_fops;
	device->misc.mode = 0600;
}

/**
 * dummy_device_add_memory() - give a device its first memory
 * @device: made
 *
 * Here rather than at the first use, so that loading tells what is wrong.
 */
int dummy_device_add_memory(struct dummy_device *device)
{
	int ret;

	if (!dummy_has_memory(device))
		return 0;
	mutex_lock(&device->growth);
	ret = dummy_chunks_grow(device);
	mutex_unlock(&device->growth);
	return ret;
}

/**
 * dummy_device_add() - let the world open a device
 * @device: made
 */
int dummy_device_add(struct dummy_device *device)
{
	return misc_register(&device->misc);
}

/**
 * dummy_device_remove() - no file of it is open, and none can be any more
 * @device: made, and perhaps opened
 */
void dummy_device_remove(struct dummy_device *device)
{
	if (!IS_ERR_OR_NULL(device->misc.this_device))
		misc_deregister(&device->misc);
	dummy_chunks_remove(device);
	dummy_reserved_release(device);
}
