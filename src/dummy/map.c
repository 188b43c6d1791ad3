// SPDX-License-Identifier: GPL-2.0
/*
 * Between onewalk_migrate_pages() and finalize: map into the device what came
 * along, and what stayed as far as it was reported.
 *
 * Why that is safe: an entry is made under &dummy_mirror.lock and after
 * mmu_interval_read_retry(), and whatever takes a page away announces it to the
 * notifier first.
 *
 * A page that moved is locked until finalize. A CPU fault, an eviction or
 * another migration of it wait for that, or leave it alone; afterwards they
 * announce themselves like anybody else. madvise(MADV_DONTNEED) in another
 * thread needs no folio lock, and may zap our migration entry, or the fresh
 * mapping of what was a hole, at any time. It announces that too: before our
 * look at the sequence, nothing is mapped here, and the device faults again;
 * after it, the notifier removes the entry before the page is freed. munmap(),
 * mremap() and fork() wait for the mmap lock. A second open of the device has a
 * notifier of its own, to which all of this is somebody else's doing; its
 * entries went when the page was unmapped. A further migration through this
 * mirror, which would not move our sequence, waits for &dummy_mirror.service.
 */
#include "dummy.h"

static u8 moved_access(const struct onewalk_migrate *migrate, unsigned long i)
{
	u8 access = ONEWALK_DUMMY_MAPPED_READ | ONEWALK_DUMMY_MAPPED_DEVICE;
	bool write = migrate->src[i] & MIGRATE_PFN_WRITE;

	/* What fills a hole is mapped with all that the VMA allows. */
	if (!(migrate->src[i] & MIGRATE_PFN_VALID))
		write = migrate->vma->vm_flags & VM_WRITE;
	return write ? access | ONEWALK_DUMMY_MAPPED_WRITE : access;
}

static int map_moved(struct dummy_mirror *mirror,
		     const struct onewalk_migrate *migrate, unsigned long i)
{
	struct folio *folio = page_folio(migrate_pfn_to_page(migrate->dst[i]));
	unsigned long addr = migrate->start + (i << PAGE_SHIFT);
	u8 access = moved_access(migrate, i);
	unsigned long j;
	int ret = 0;

	for (j = 0; j < dummy_step(migrate->dst[i]) && !ret; j++)
		ret = dummy_map(mirror, addr + (j << PAGE_SHIFT),
				folio_page(folio, j), access);
	return ret;
}

/*
 * The page may be one that was prepared and is about to be given back. That
 * brings back the mapping that was reported.
 */
static int map_in_place(struct dummy_mirror *mirror, unsigned long addr,
			unsigned long pfn)
{
	u8 access = ONEWALK_DUMMY_MAPPED_READ;

	if (!(pfn & ONEWALK_PFN_VALID))
		return -ENOENT;
	if (pfn & ONEWALK_PFN_WRITE)
		access |= ONEWALK_DUMMY_MAPPED_WRITE;
	return dummy_map(mirror, addr, onewalk_pfn_to_page(pfn), access);
}

static unsigned long map_all(struct dummy_mirror *mirror,
			     const struct onewalk_migrate *migrate,
			     const unsigned long *pfns)
{
	unsigned long i, nr, mapped = 0;
	int ret;

	for (i = 0; i < migrate->npages; i += nr) {
		nr = 1;
		ret = -ENOENT;
		if (dummy_is_moved(migrate, i)) {
			nr = dummy_step(migrate->dst[i]);
			ret = map_moved(mirror, migrate, i);
		} else if (pfns) {
			ret = map_in_place(mirror,
					   migrate->start + (i << PAGE_SHIFT),
					   pfns[i]);
		}
		if (!ret)
			mapped += nr;
	}
	return mapped;
}

/**
 * dummy_map_migrated() - map the result of a migration
 * @mirror: into its table
 * @migrate: after onewalk_migrate_pages(), before finalize
 * @seq: of before the pages were prepared
 * @pfns: NULL, or the report of the same pages
 *
 * Return: how many pages the device maps now; none when anything else happened
 * to the process's memory since @seq.
 */
unsigned long dummy_map_migrated(struct dummy_mirror *mirror,
				 const struct onewalk_migrate *migrate,
				 unsigned long seq, const unsigned long *pfns)
{
	unsigned long mapped = 0;

	lockdep_assert_held_write(&mirror->service);

	mutex_lock(&mirror->lock);
	if (!mmu_interval_read_retry(&mirror->notifier, seq))
		mapped = map_all(mirror, migrate, pfns);
	mutex_unlock(&mirror->lock);
	return mapped;
}
