// SPDX-License-Identifier: GPL-2.0
/*
 * Between setup and finalize: find a destination for each page that is
 * migrating, and copy.
 */
#include <linux/highmem.h>
#include <linux/memremap.h>

#include <onewalk/pgmap.h>

#include "dummy.h"

/**
 * dummy_step() - how many pages an entry of src[] or dst[] is about
 * @mpfn: the entry
 */
unsigned long dummy_step(unsigned long mpfn)
{
	return mpfn & MIGRATE_PFN_COMPOUND ? DUMMY_PMD_NR : 1;
}

/**
 * dummy_fails_on_purpose() - is the next allocation to fail
 * @mirror: where FLAGS said so; NULL when there is none
 */
bool dummy_fails_on_purpose(struct dummy_mirror *mirror)
{
	return mirror && atomic_read(&mirror->fail_alloc) &&
	       atomic_xchg(&mirror->fail_alloc, 0);
}

/**
 * struct copying - one dummy_copy()
 * @mirror: its argument
 * @migrate: likewise
 * @to_device: likewise
 * @ready: NULL, or single destinations to take first
 * @batch: ordinary pages for it
 */
struct copying {
	struct dummy_mirror	*mirror;
	struct onewalk_migrate	*migrate;
	bool			to_device;
	struct dummy_ready	*ready;
	struct dummy_batch	batch;
};

static struct page *destination(struct copying *copying, unsigned long i,
				unsigned int order)
{
	const struct onewalk_migrate *migrate = copying->migrate;

	if (dummy_fails_on_purpose(copying->mirror))
		return NULL;
	if (!order && copying->ready && copying->ready->nr)
		return copying->ready->pages[--copying->ready->nr];
	if (copying->to_device)
		return dummy_memory_alloc(copying->mirror->device, order,
					  &copying->batch);
	return dummy_system_alloc(migrate->vma,
				  migrate->start + (i << PAGE_SHIFT), order,
				  &copying->batch);
}

static struct page *content(struct page *page, bool private, unsigned long i)
{
	return private ? dummy_chunk_backing(page + i) : page + i;
}

/* A hole and the zero page have no source: the destination is cleared. */
static void copy_pages(struct page *dst, struct page *src, unsigned long nr)
{
	bool dst_private = is_device_private_page(dst);
	bool src_private = src && is_device_private_page(src);
	unsigned long i;

	for (i = 0; i < nr; i++) {
		if (src)
			copy_highpage(content(dst, dst_private, i),
				      content(src, src_private, i));
		else
			clear_highpage(content(dst, dst_private, i));
	}
}

static unsigned long dst_entry(struct page *page, unsigned long src)
{
	return onewalk_page_to_migrate(page) | (src & MIGRATE_PFN_WRITE);
}

static bool copy_whole(struct copying *copying, unsigned long i)
{
	struct onewalk_migrate *migrate = copying->migrate;
	unsigned long mpfn = migrate->src[i];
	struct page *src = migrate_pfn_to_page(mpfn);
	struct page *dst;

	dst = destination(copying, i, DUMMY_PMD_ORDER);
	if (!dst)
		return false;
	copy_pages(dst, src, DUMMY_PMD_NR);
	migrate->dst[i] = dst_entry(dst, mpfn) | MIGRATE_PFN_COMPOUND;
	return true;
}

/*
 * Into @nr single pages; the source is split later, if it has to be. All of them
 * or none, since a large hole is filled without a look at each entry.
 */
static void copy_single(struct copying *copying, unsigned long i,
			unsigned long nr)
{
	struct onewalk_migrate *migrate = copying->migrate;
	unsigned long src = migrate->src[i];
	struct page *source = migrate_pfn_to_page(src);
	struct page *page;
	unsigned long j;

	for (j = 0; j < nr; j++) {
		page = destination(copying, i + j, 0);
		if (!page)
			goto undo;
		copy_pages(page, source ? source + j : NULL, 1);
		migrate->dst[i + j] = dst_entry(page, src);
	}
	return;
undo:
	while (j--) {
		dummy_page_free(migrate_pfn_to_page(migrate->dst[i + j]));
		migrate->dst[i + j] = 0;
	}
}

static void copy_all(struct copying *copying)
{
	const struct onewalk_migrate *migrate = copying->migrate;
	unsigned long i, nr;

	copying->batch.wanted = migrate->cpages;
	for (i = 0; i < migrate->npages; i += nr) {
		unsigned long src = migrate->src[i];

		nr = dummy_step(src);
		if (!(src & MIGRATE_PFN_MIGRATE))
			continue;
		/* Holes are always offered, but nothing comes back from one. */
		if (!copying->to_device && !(src & MIGRATE_PFN_VALID))
			continue;
		if (nr > 1 && copy_whole(copying, i))
			continue;
		copy_single(copying, i, nr);
	}
	dummy_batch_end(&copying->batch);
}

/**
 * dummy_copy() - allocate destinations and copy
 * @mirror: on whose behalf; NULL when a CPU fault brings pages back
 * @migrate: set up, for onewalk_migrate_pages()
 * @to_device: which way
 *
 * A page for which there is no destination keeps an empty entry in dst[], and
 * stays where it is.
 */
void dummy_copy(struct dummy_mirror *mirror, struct onewalk_migrate *migrate,
		bool to_device)
{
	struct copying copying = {
		.mirror = mirror,
		.migrate = migrate,
		.to_device = to_device,
	};

	copy_all(&copying);
}

/**
 * dummy_copy_ready() - likewise, to the device, with destinations in hand
 * @mirror: on whose behalf
 * @migrate: set up, for onewalk_migrate_pages()
 * @ready: destinations; those that are left over stay in it
 */
void dummy_copy_ready(struct dummy_mirror *mirror,
		      struct onewalk_migrate *migrate,
		      struct dummy_ready *ready)
{
	struct copying copying = {
		.mirror = mirror,
		.migrate = migrate,
		.to_device = true,
		.ready = ready,
	};

	copy_all(&copying);
}

/**
 * dummy_is_moved() - did this page migrate
 * @migrate: after onewalk_migrate_pages()
 * @i: number of the page, or of the first of a large one
 */
bool dummy_is_moved(const struct onewalk_migrate *migrate, unsigned long i)
{
	return (migrate->src[i] & MIGRATE_PFN_MIGRATE) &&
	       (migrate->dst[i] & MIGRATE_PFN_VALID);
}

/**
 * dummy_moved() - how many pages did migrate
 * @migrate: after onewalk_migrate_pages()
 */
unsigned long dummy_moved(const struct onewalk_migrate *migrate)
{
	unsigned long i, nr, moved = 0;

	for (i = 0; i < migrate->npages; i += nr) {
		nr = dummy_step(migrate->dst[i]);
		if (dummy_is_moved(migrate, i))
			moved += nr;
	}
	return moved;
}
