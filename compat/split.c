// SPDX-License-Identifier: GPL-2.0
/*
 * Before 6.19 migrate_vma_setup() splits the huge page that it meets. If that is
 * locked, it forgets the reference which it has taken: the page is never freed.
 */
#ifndef ONEWALK_HAVE_SELECT_COMPOUND
#include <linux/huge_mm.h>
#include <linux/jiffies.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>

/* How long somebody else's lock is waited for, in ms: 1, 2, 4, ... up to this. */
#define LAST_WAIT	512

/* Those that split would meet each other's folio lock, more than anybody's. */
static DEFINE_MUTEX(splitting);

/* The mmap lock is held: what is above a PTE table stays. */
static pmd_t *pmd_of(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgdp = pgd_offset(mm, addr);
	p4d_t *p4dp;
	pud_t *pudp;

	if (!pgd_present(*pgdp))
		return NULL;
	p4dp = p4d_offset(pgdp, addr);
	if (!p4d_present(*p4dp))
		return NULL;
	pudp = pud_offset(p4dp, addr);
	if (!pud_present(*pudp) || pud_leaf(*pudp))
		return NULL;
	return pmd_offset(pudp, addr);
}

static pmd_t pmd_at(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmdp = pmd_of(mm, addr);

	return pmdp ? pmdp_get_lockless(pmdp) : __pmd(0);
}

/* Anonymous or of a file; not the huge zero page. */
static bool is_huge(pmd_t pmd)
{
	return pmd_trans_huge(pmd) && pmd_page(pmd)->mapping;
}

/* With a reference; NULL if there is none. */
static struct folio *get_huge(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmdp = pmd_of(mm, addr);
	struct folio *folio = NULL;
	spinlock_t *ptl;	/* of the PMD entry */

	if (!pmdp)
		return NULL;

	ptl = pmd_lock(mm, pmdp);
	if (is_huge(*pmdp)) {
		folio = page_folio(pmd_page(*pmdp));
		folio_get(folio);
	}
	spin_unlock(ptl);
	return folio;
}

/*
 * Of anonymous memory, it stays one under the mmap lock, unless the kernel frees
 * what is empty.
 */
static bool stays_table(pmd_t pmd)
{
	return !IS_ENABLED(CONFIG_PT_RECLAIM) && pmd_present(pmd) &&
	       !pmd_leaf(pmd);
}

static bool is_migrating(pmd_t pmd)
{
	return !pmd_none(pmd) && !pmd_present(pmd);
}

/* Is there a huge page that somebody has locked, or will have next? */
static bool is_locked(struct mm_struct *mm, unsigned long addr)
{
	struct folio *folio = get_huge(mm, addr);
	bool locked = true;

	if (!folio)
		return is_migrating(pmd_at(mm, addr));

	if (folio_trylock(folio)) {
		locked = folio_test_waiters(folio);
		folio_unlock(folio);
	}
	folio_put(folio);
	return locked;
}

/**
 * onewalk_begin_setup() - before migrate_vma_setup() works on a PTE table's range
 * @mm: its mmap lock is held
 * @addr: in that range
 *
 * Does not wait for a folio lock, since its caller may hold some: who has the
 * mutex does not wait for one either. Before migrate_vma_setup() locks a huge
 * page it announces an invalidation, and who comes and locks the page meanwhile,
 * such as reclaim, still makes it lose that: nothing that is exported can prevent
 * it.
 *
 * Return: what onewalk_end_setup() is to be given; -EAGAIN when a huge page
 * there is locked; or -EINTR.
 */
int onewalk_begin_setup(struct mm_struct *mm, unsigned long addr)
{
	if (stays_table(pmd_at(mm, addr)))
		return 0;

	if (mutex_lock_killable(&splitting))
		return -EINTR;
	if (!is_locked(mm, addr))
		return 1;
	mutex_unlock(&splitting);
	return -EAGAIN;
}

/**
 * onewalk_begin_split() - likewise, and wait for who has the huge page locked
 * @mm: its mmap lock is held, but no folio lock
 * @addr: where the huge page is
 *
 * Without a reference, with which nobody could split the page.
 *
 * Return: as onewalk_begin_setup(); -EAGAIN when it has been locked for a second.
 */
int onewalk_begin_split(struct mm_struct *mm, unsigned long addr)
{
	unsigned int ms;
	int ret;

	for (ms = 1; ms <= LAST_WAIT; ms *= 2) {
		ret = onewalk_begin_setup(mm, addr);
		if (ret != -EAGAIN)
			return ret;
		schedule_timeout_killable(msecs_to_jiffies(ms));
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return -EAGAIN;
}

/**
 * onewalk_end_setup() - after migrate_vma_setup()
 * @begun: what the function before it returned
 */
void onewalk_end_setup(int begun)
{
	if (begun)
		mutex_unlock(&splitting);
}
#endif
