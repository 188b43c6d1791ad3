// SPDX-License-Identifier: GPL-2.0
/*
 * The public entry: arguments, the phases of a call, and what to do when they
 * do not fit together.
 *
 * A call looks ahead first. It descends without locks, writes down what it sees
 * and faults in what is asked for and missing, one page at a time; nothing is
 * held there, so all of it may sleep. Then it checks that nothing was
 * invalidated meanwhile, and the engine collects what is to migrate. If a page
 * that was there is gone by then, all that was collected is given back and the
 * call starts over, a bounded number of times. Where there is but one page table
 * to look at, the engine does both in one descent.
 */
#include <linux/export.h>
#include <linux/hmm.h>
#include <linux/hugetlb.h>
#include <linux/ksm.h>
#include <linux/leafops.h>
#include <linux/memremap.h>
#include <linux/oom.h>
#include <linux/sched/signal.h>
#include <linux/userfaultfd_k.h>

#include "onewalk.h"

/* How often a call starts over before it reports -EBUSY. */
#define MAX_ROUNDS	8

/* Entries from @addr on are still input; those before it become so again. */
static void restore_input(struct onewalk_call *call, unsigned long addr)
{
	unsigned long *pfns = call->range->hmm_pfns;
	unsigned long i;

	for (i = 0; i < onewalk_index(call, addr); i++) {
		onewalk_resched(i);
		pfns[i] = onewalk_input_of(pfns[i]);
	}
}

static void keep_output(struct onewalk_call *call)
{
	unsigned long *pfns = call->range->hmm_pfns;
	unsigned long i;

	for (i = 0; i < onewalk_index(call, call->range->end); i++) {
		onewalk_resched(i);
		pfns[i] &= ~ONEWALK_PFN_PRIVATE;
		/* A page that a NUMA hint hides. */
		if (!(pfns[i] & ONEWALK_PFN_VALID))
			pfns[i] &= ONEWALK_PFN_FLAGS;
	}
}

/* Until a page has its turn. */
static void clear_status(const struct onewalk_call *call)
{
	unsigned long npages = onewalk_index(call, call->range->end);

	if (call->status)
		memset(call->status, ONEWALK_STATUS_STOPPED, npages);
}

/*
 * onewalk_stop_status() - nothing is migrating any more
 * @status: NULL, or the caller's array
 * @npages: its length
 */
void onewalk_stop_status(u8 *status, unsigned long npages)
{
	unsigned long i;

	for (i = 0; status && i < npages; i++)
		if (status[i] == ONEWALK_STATUS_MIGRATING)
			status[i] = ONEWALK_STATUS_STOPPED;
}

/* Of a page that this phase has not looked at yet. */
static unsigned long input_at(const struct onewalk_call *call, unsigned long i)
{
	unsigned long pfn = call->range->hmm_pfns[i];

	return call->looked ? onewalk_input_of(pfn) : pfn;
}

static unsigned long request_at(const struct onewalk_call *call,
				unsigned long i)
{
	return onewalk_request(call, input_at(call, i));
}

/* A pin does not care who owns what. */
static enum onewalk_status
coherent_status(const struct onewalk_call *call, const void *owner)
{
	const struct onewalk_migrate *migrate = call->migrate;

	if (!owner || (owner != migrate->pgmap_owner && !call->pin))
		return ONEWALK_STATUS_FOREIGN_DEVICE;
	if (!(migrate->flags & ONEWALK_MIGRATE_SELECT_DEVICE_COHERENT))
		return ONEWALK_STATUS_NOT_SELECTED;
	return ONEWALK_STATUS_MIGRATING;
}

/*
 * onewalk_reaches() - can the caller's device use this device memory where it is
 * @call: the call
 * @owner: its owner, or NULL
 * @pfn: its pfn
 *
 * With p2p that is the driver's to say: under the page table lock then, or with
 * the folio locked.
 */
bool onewalk_reaches(const struct onewalk_call *call, const void *owner,
		     unsigned long pfn)
{
	const struct onewalk_p2p *p2p = call->range->p2p;

	if (!owner)
		return false;
	return p2p ? p2p->ops->allow(p2p, pfn_to_page(pfn)) :
		     owner == call->range->dev_private_owner;
}

/* By migrate_vma_setup(), which collects no other device's pages for us. */
static bool by_the_kernel(const struct onewalk_migrate *migrate)
{
	return !onewalk_engine->peers || migrate->fault_page;
}

static enum onewalk_status private_status(const struct onewalk_call *call,
					  const struct onewalk_entry *entry)
{
	const struct onewalk_migrate *migrate = call->migrate;
	bool own = entry->owner && entry->owner == migrate->pgmap_owner;
	unsigned long select = own ? ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE :
				     ONEWALK_MIGRATE_SELECT_DEVICE_P2P;

	if (call->range->p2p ? !onewalk_reaches(call, entry->owner, entry->pfn) : !own)
		return ONEWALK_STATUS_FOREIGN_DEVICE;
	if (!(migrate->flags & select))
		return ONEWALK_STATUS_NOT_SELECTED;
	if (!own && by_the_kernel(migrate))
		return ONEWALK_STATUS_FOREIGN_DEVICE;
	return ONEWALK_STATUS_MIGRATING;
}

static enum onewalk_status
zone_device_status(const struct onewalk_call *call, struct page *page)
{
	if (!is_device_coherent_page(page))
		return ONEWALK_STATUS_SPECIAL;
	return coherent_status(call, onewalk_owner(page));
}

/*
 * What has to be elsewhere before it is pinned for long: coherent device memory,
 * whoever owns it. But in place of what fork() shares, pinning gives the process
 * a page of its own; there the old one may stay, for the others. Whether it is
 * shared may change at once: what is left here the pin moves itself.
 */
static bool stays_for_pin(const struct onewalk_entry *entry)
{
	struct page *page;

	if (entry->kind != ONEWALK_PAGE && entry->kind != ONEWALK_PROTNONE)
		return true;
	page = pfn_to_page(entry->pfn);
	if (!is_device_coherent_page(page))
		return true;
	return !entry->write && atomic_read(&page->_mapcount) > 0;
}

/*
 * The pins of a small folio are counted in its references, where those of its
 * mappings must not be taken for them.
 */
static bool maybe_pinned(struct page *page)
{
	struct folio *folio = page_folio(page);

	/* Not folio_maybe_dma_pinned(), which tests flags: see below. */
	if (PageHead(&folio->page))
		return atomic_read(&folio->_pincount) > 0;
	return page_ref_count(page) - (atomic_read(&page->_mapcount) + 1) >=
	       GUP_PIN_COUNTING_BIAS;
}

/*
 * onewalk_page_status() - may this present page migrate, as far as can be seen
 * @call: the call; vma is where the page is
 * @page: a page that the page table holds, without a reference
 *
 * Refuses what the kernel would refuse only after the driver has copied. What
 * is read here may change at once: whoever needs it to last looks again while
 * holding the folio lock. The page may even become part of another folio, which
 * folio_test_*() of a kernel with CONFIG_DEBUG_VM_PGFLAGS takes for a bug, and
 * Page*() does not.
 */
enum onewalk_status onewalk_page_status(const struct onewalk_call *call,
					struct page *page)
{
	const struct onewalk_migrate *migrate = call->migrate;
	struct folio *folio = page_folio(page);

	if (is_zone_device_page(page))
		return zone_device_status(call, page);
	if (!(migrate->flags & ONEWALK_MIGRATE_SELECT_SYSTEM))
		return ONEWALK_STATUS_NOT_SELECTED;
	if (!(call->vma->vm_flags & VM_READ))
		return ONEWALK_STATUS_SPECIAL;
	if (PageHWPoison(page))
		return ONEWALK_STATUS_POISONED;
	if (!folio_test_anon(folio))
		return ONEWALK_STATUS_FILE;
	if (folio_test_ksm(folio))
		return ONEWALK_STATUS_KSM;
	if (PageWriteback(page))
		return ONEWALK_STATUS_WRITEBACK;
	if (maybe_pinned(page))
		return ONEWALK_STATUS_PINNED;
	if ((migrate->flags & ONEWALK_MIGRATE_SKIP_NODE) &&
	    page_to_nid(page) == migrate->nid)
		return ONEWALK_STATUS_ON_NODE;
	return ONEWALK_STATUS_MIGRATING;
}

/*
 * onewalk_hole_status() - may a hole, or the zero page, be filled by the driver
 * @call: the call; vma is where it is
 *
 * Not where userfaultfd is armed: the driver's page would not carry a protection
 * that comes to the zero page, which a hole may become at any time, before that
 * page does. The kernel does not look for one.
 */
enum onewalk_status onewalk_hole_status(const struct onewalk_call *call)
{
	if (!(call->vma->vm_flags & VM_READ))
		return ONEWALK_STATUS_SPECIAL;
	if (!vma_is_anonymous(call->vma))
		return ONEWALK_STATUS_FILE;
	if (userfaultfd_armed(call->vma))
		return ONEWALK_STATUS_UFFD;
	return ONEWALK_STATUS_MIGRATING;
}

static enum onewalk_status zero_status(const struct onewalk_call *call)
{
	if (!(call->migrate->flags & ONEWALK_MIGRATE_SELECT_SYSTEM))
		return ONEWALK_STATUS_NOT_SELECTED;
	return onewalk_hole_status(call);
}

/* A VMA of a kind that migrate_vma_setup() refuses. */
static bool special_vma(struct vm_area_struct *vma)
{
	return is_vm_hugetlb_page(vma) || (vma->vm_flags & VM_SPECIAL) ||
	       vma_is_dax(vma);
}

/* Is it asked of all pages that they migrate? */
static bool is_usual(const struct onewalk_call *call)
{
	return call->migrate && !call->never && !call->range->pfn_flags_mask &&
	       (call->range->default_flags & ONEWALK_PFN_REQ_MIGRATE) &&
	       IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL);
}

static void enter_vma(struct onewalk_call *call, struct vm_area_struct *vma)
{
	call->vma = vma;
	/* A device's page has no room for tags. */
	call->never = vma && (special_vma(vma) || (vma->vm_flags & VM_MTE));
	call->usual = vma && is_usual(call) ? call->migrate->flags &
		(ONEWALK_MIGRATE_SELECT_SYSTEM |
		 ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE) : 0;
	/* The driver is to be asked. */
	if (call->range->p2p)
		call->usual &= ~(unsigned long)ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE;
}

/* Why a page that is to migrate stays, or ONEWALK_STATUS_MIGRATING. */
static enum onewalk_status entry_status(const struct onewalk_call *call,
					const struct onewalk_entry *entry)
{
	if (call->never)
		return ONEWALK_STATUS_SPECIAL;

	switch (entry->kind) {
	case ONEWALK_HOLE:
		return onewalk_hole_status(call);
	case ONEWALK_ZERO:
		return zero_status(call);
	case ONEWALK_PROTNONE:
		/* Protected from reads, and not by the scan for NUMA hints. */
		if (entry->uffd && userfaultfd_rwp(call->vma))
			return ONEWALK_STATUS_UFFD;
		fallthrough;
	case ONEWALK_PAGE:
		return onewalk_page_status(call, pfn_to_page(entry->pfn));
	case ONEWALK_DEVICE:
		return private_status(call, entry);
	case ONEWALK_SWAP:
		return ONEWALK_STATUS_SWAPPED;
	case ONEWALK_MIGRATION:
		return ONEWALK_STATUS_LOCKED;
	case ONEWALK_EXCLUSIVE:
		return ONEWALK_STATUS_FOREIGN_DEVICE;
	case ONEWALK_UFFD:
		return ONEWALK_STATUS_UFFD;
	case ONEWALK_POISON:
		return ONEWALK_STATUS_POISONED;
	default:
		return ONEWALK_STATUS_SPECIAL;
	}
}

static unsigned long present_output(const struct onewalk_entry *entry)
{
	unsigned long output = entry->pfn | ONEWALK_PFN_VALID;

	if (entry->write)
		output |= ONEWALK_PFN_WRITE;
	return output | (unsigned long)entry->order << ONEWALK_PFN_ORDER_SHIFT;
}

/* From one device to another, with an engine that cannot do it directly. */
static bool goes_by_system(const struct onewalk_call *call, unsigned long req,
			   const void *owner)
{
	const unsigned long select = ONEWALK_MIGRATE_SELECT_DEVICE_P2P |
				     ONEWALK_MIGRATE_SELECT_SYSTEM;
	const unsigned long both = ONEWALK_PFN_REQ_MIGRATE |
				   ONEWALK_PFN_REQ_FAULT;

	return call->migrate && (req & both) == both &&
	       by_the_kernel(call->migrate) &&
	       (call->migrate->flags & select) == select &&
	       owner != call->migrate->pgmap_owner;
}

/* What hmm_range_fault() would report for this entry. */
static unsigned long entry_output(const struct onewalk_call *call,
				  unsigned long req,
				  const struct onewalk_entry *entry)
{
	switch (entry->kind) {
	case ONEWALK_PAGE:
	case ONEWALK_ZERO:
		return present_output(entry);
	case ONEWALK_DEVICE:
		if (!onewalk_reaches(call, entry->owner, entry->pfn) ||
		    goes_by_system(call, req, entry->owner))
			return 0;
		return present_output(entry);
	case ONEWALK_SPECIAL:
	case ONEWALK_BAD:
		return ONEWALK_PFN_ERROR;
	default:
		return 0;
	}
}

/*
 * onewalk_report() - what is reported of a page that was collected and restored
 * @call: the call
 * @pfn: its entry of hmm_pfns, with MIGRATE; the folio is still held
 */
unsigned long onewalk_report(const struct onewalk_call *call,
			     unsigned long pfn)
{
	struct page *page = onewalk_pfn_to_page(pfn & ~ONEWALK_PFN_PRIVATE);
	unsigned long input = onewalk_input_of(pfn);

	if (is_device_private_page(page) &&
	    !onewalk_reaches(call, onewalk_owner(page), page_to_pfn(page)))
		return onewalk_output_over(input, 0);
	return pfn & ~(ONEWALK_PFN_MIGRATE | ONEWALK_PFN_COMPOUND);
}

/* Does this request need a fault, given what would be reported? */
static bool needs_fault(unsigned long req, const struct onewalk_entry *entry,
			unsigned long output)
{
	if (!(req & ONEWALK_PFN_REQ_FAULT))
		return false;
	/* A device page of its own is the driver's to upgrade. */
	if (entry->kind == ONEWALK_DEVICE && (output & ONEWALK_PFN_VALID))
		return false;
	if ((req & ONEWALK_PFN_REQ_WRITE) && !(output & ONEWALK_PFN_WRITE))
		return true;
	return !(output & ONEWALK_PFN_VALID);
}

/*
 * No fault makes the access possible that is asked for. In a private mapping a
 * write may: it breaks COW, and the copy is an ordinary page.
 */
static bool is_error(const struct onewalk_entry *entry, unsigned long req)
{
	if (entry->kind == ONEWALK_SPECIAL)
		return entry->write || !(req & ONEWALK_PFN_REQ_WRITE);
	return entry->kind == ONEWALK_POISON || entry->kind == ONEWALK_BAD;
}

static enum onewalk_status error_status(const struct onewalk_entry *entry)
{
	return entry->kind == ONEWALK_POISON ? ONEWALK_STATUS_POISONED :
					       ONEWALK_STATUS_FAULT_EFAULT;
}

/*
 * A hole or zero page that migrates needs no system page: the driver fills a
 * fresh page of the device. Write to a read-only mapping stays an error.
 */
static bool driver_fills(const struct onewalk_call *call,
			 const struct onewalk_entry *entry,
			 enum onewalk_status status, unsigned long req)
{
	if (status != ONEWALK_STATUS_MIGRATING)
		return false;
	if (entry->kind != ONEWALK_HOLE && entry->kind != ONEWALK_ZERO)
		return false;
	return !(req & ONEWALK_PFN_REQ_WRITE) ||
	       (call->vma->vm_flags & VM_WRITE);
}

/*
 * onewalk_may_move_whole() - could huge pages of this call migrate whole
 * @call: the call
 */
bool onewalk_may_move_whole(const struct onewalk_call *call)
{
	const struct onewalk_range *range = call->range;

	return MIGRATE_VMA_SELECT_COMPOUND && call->migrate &&
	       (call->migrate->flags & ONEWALK_MIGRATE_SELECT_COMPOUND) &&
	       ALIGN(range->start, PMD_SIZE) + PMD_SIZE <= range->end;
}

/*
 * onewalk_asks_whole() - shall a huge page here migrate as one
 * @call: the call
 * @addr: where it begins
 * @end: where it ends, or the range does
 */
bool onewalk_asks_whole(const struct onewalk_call *call, unsigned long addr,
			unsigned long end)
{
	unsigned long first = onewalk_index(call, addr);
	unsigned long i, req;

	if (end - addr != PMD_SIZE || !onewalk_may_move_whole(call))
		return false;
	req = request_at(call, first);
	if (!(req & ONEWALK_PFN_REQ_MIGRATE))
		return false;
	if (!call->range->pfn_flags_mask)
		return true;
	for (i = 1; i < ONEWALK_PMD_NR; i++)
		if (request_at(call, first + i) != req)
			return false;
	return true;
}

/*
 * While somebody migrates a folio, mappings of it do not count: so the kernel,
 * which does not ask again when it has locked it, is not given one for which that
 * was not asked under its lock. One that is locked in passing is split. From then
 * on it stays true: the mmap lock keeps fork() out, and only from the swap cache
 * could another process still map it.
 */
static bool mapped_once(const struct onewalk_call *call, struct folio *folio)
{
	bool once;

	if (onewalk_engine->whole ||
	    onewalk_is_fault_folio(call->migrate, folio))
		return folio_mapcount(folio) == 1;

	if (!folio_trylock(folio))
		return false;
	once = folio_mapcount(folio) == 1 && !folio_test_swapcache(folio);
	folio_unlock(folio);
	return once;
}

/*
 * onewalk_fit_for_whole() - can this huge page migrate as one
 * @call: the call
 * @entry: it, as it is mapped under the page table lock that is held
 *
 * Not when it is mapped elsewhere too. It would have to be split if the driver
 * had no large page for it, while it is locked: and to split a folio that others
 * map means to wait for them.
 */
bool onewalk_fit_for_whole(const struct onewalk_call *call,
			   const struct onewalk_entry *entry)
{
	struct folio *folio;

	switch (entry->kind) {
	case ONEWALK_ZERO:
		return true;
	case ONEWALK_PAGE:
	case ONEWALK_PROTNONE:
	case ONEWALK_DEVICE:
		folio = page_folio(pfn_to_page(entry->pfn));
		if (folio_nr_pages(folio) != ONEWALK_PMD_NR ||
		    !mapped_once(call, folio))
			return false;
		/* Flags of a device's tail pages are what they once were. */
		return entry->kind == ONEWALK_DEVICE ||
		       !folio_test_has_hwpoisoned(folio);
	default:
		return false;
	}
}

static bool has_system_page(const struct onewalk_entry *entry)
{
	return entry->kind == ONEWALK_PAGE || entry->kind == ONEWALK_PROTNONE;
}

/* In the batch of some CPU: it would not be isolated. */
static bool off_lru(struct page *page)
{
	return !PageLRU(page) && !is_zone_device_page(page);
}

/*
 * The large folio that has to be split before this page can migrate, or NULL. It
 * is split while nothing is held, since splitting waits for locks and announces
 * invalidations of pages that are not collected. The folio of fault_page may be
 * left to an engine that leaves it to the kernel.
 */
static const struct folio *to_split(const struct onewalk_call *call,
				    const struct onewalk_entry *entry)
{
	struct folio *folio;
	struct page *page;

	if (entry->kind == ONEWALK_HOLE || entry->whole)
		return NULL;
	if (entry->kind == ONEWALK_ZERO &&
	    (!entry->order || !onewalk_engine->whole))
		return NULL;

	page = pfn_to_page(entry->pfn);
	if (!PageCompound(page))
		return NULL;
	folio = page_folio(page);
	if (onewalk_is_fault_folio(call->migrate, folio) &&
	    !onewalk_engine->whole)
		return NULL;
	return folio;
}

/* Once for each folio and, since the huge zero page is but one, each table. */
static bool was_to_split(const struct onewalk_call *call,
			 const struct folio *folio, unsigned long addr)
{
	return call->split == folio && call->split_at == (addr & PMD_MASK);
}

static enum onewalk_status migrate_status(const struct onewalk_call *call,
					  unsigned long req,
					  const struct onewalk_entry *entry)
{
	if (!call->migrate || !(req & ONEWALK_PFN_REQ_MIGRATE))
		return ONEWALK_STATUS_NOT_REQUESTED;
	if (call->pin && stays_for_pin(entry))
		return ONEWALK_STATUS_NOT_SELECTED;
	return entry_status(call, entry);
}

/*
 * onewalk_look() - decide on one entry of the page table
 * @call: the call
 * @addr: its address
 * @entry: what is there
 *
 * Called under RCU, or under the page table lock. Writes down the output, and
 * marks what is to be collected.
 *
 * Return: 0 to go on; ONEWALK_NEED_FAULT, ONEWALK_NEED_SPLIT,
 * ONEWALK_NEED_KERNEL or an errno to stop, with nothing written for this entry.
 */
int onewalk_look(struct onewalk_call *call, unsigned long addr,
		 const struct onewalk_entry *entry)
{
	unsigned long i = onewalk_index(call, addr);
	unsigned long *pfn = &call->range->hmm_pfns[i];
	unsigned long req = onewalk_request(call, *pfn);
	const struct folio *folio;
	enum onewalk_status status;
	unsigned long output;

	call->addr = addr;
	if (entry->kind == ONEWALK_EXOTIC)
		return ONEWALK_NEED_KERNEL;

	output = entry_output(call, req, entry);
	status = migrate_status(call, req, entry);

	if (needs_fault(req, entry, output) &&
	    !driver_fills(call, entry, status, req)) {
		if (is_error(entry, req)) {
			onewalk_set_status(call, i, error_status(entry));
			return -EFAULT;
		}
		call->write = req & ONEWALK_PFN_REQ_WRITE;
		return ONEWALK_NEED_FAULT;
	}

	folio = status == ONEWALK_STATUS_MIGRATING ?
		to_split(call, entry) : NULL;
	if (folio && (call->looked ? call->was_fit :
				     !was_to_split(call, folio, addr))) {
		call->split = folio;
		call->split_at = addr & PMD_MASK;
		call->order = entry->order;
		return ONEWALK_NEED_SPLIT;
	}
	/* In vain. */
	if (folio)
		status = ONEWALK_STATUS_SPLIT_FAILED;

	if (status == ONEWALK_STATUS_MIGRATING) {
		output |= ONEWALK_PFN_COLLECT | entry->pfn;
		if (!call->off_lru && has_system_page(entry) &&
		    off_lru(pfn_to_page(entry->pfn)))
			call->off_lru = i + 1;
	}
	*pfn = onewalk_output_over(*pfn, output);
	onewalk_set_status(call, i, status);
	return 0;
}

/* A page is there, but not as it is asked for. */
static bool lacks_write(const struct onewalk_call *call, bool write)
{
	return !write && (call->range->default_flags & ONEWALK_PFN_REQ_WRITE);
}

/* A single page of system memory that is fit to migrate, or NULL. */
static struct page *usual_page(const struct onewalk_call *call, pte_t pte,
			       bool *write)
{
	struct page *page;

	*write = pte_write(pte);
	if (!(call->usual & ONEWALK_MIGRATE_SELECT_SYSTEM) ||
	    pte_protnone(pte) || pte_special(pte) || lacks_write(call, *write))
		return NULL;

	page = pte_page(pte);
	if (PageCompound(page) ||
	    onewalk_page_status(call, page) != ONEWALK_STATUS_MIGRATING)
		return NULL;
	return page;
}

/* A single page that is on the caller's device, and is to come back, or NULL. */
static struct page *usual_device_page(const struct onewalk_call *call,
				      softleaf_t leaf, bool *write)
{
	const void *owner = call->migrate->pgmap_owner;
	struct page *page;

	*write = softleaf_is_device_private_write(leaf);
	if (!(call->usual & ONEWALK_MIGRATE_SELECT_DEVICE_PRIVATE) ||
	    !softleaf_is_device_private(leaf) || lacks_write(call, *write))
		return NULL;

	page = pfn_to_page(softleaf_to_pfn(leaf));
	if (PageCompound(page) || !owner || onewalk_owner(page) != owner ||
	    owner != call->range->dev_private_owner)
		return NULL;
	return page;
}

/*
 * onewalk_is_swapped() - has this page to be faulted in, as onewalk_look() would say
 * @call: the call
 * @addr: its address
 * @pte: what is there
 *
 * Return: true, with the page noted in @call, or false where it takes a look.
 */
bool onewalk_is_swapped(struct onewalk_call *call, unsigned long addr,
			pte_t pte)
{
	unsigned long req;

	if (!call->usual || pte_none(pte) || pte_present(pte) ||
	    !softleaf_is_swap(softleaf_from_pte(pte)))
		return false;
	/* The same of all pages. */
	req = onewalk_request(call, 0);
	if (!(req & ONEWALK_PFN_REQ_FAULT))
		return false;

	call->addr = addr;
	call->write = req & ONEWALK_PFN_REQ_WRITE;
	return true;
}

/*
 * onewalk_look_at_usual() - decide on the usual page
 * @call: the call
 * @addr: its address
 * @pte: what is there
 *
 * A single page that is there and fit to migrate, where that is asked of all: a
 * short way to what onewalk_look() would do with it. Called under RCU.
 *
 * Return: false, with nothing written, when it is anything else.
 */
bool onewalk_look_at_usual(struct onewalk_call *call, unsigned long addr,
			   pte_t pte)
{
	unsigned long i = onewalk_index(call, addr);
	unsigned long *pfn = &call->range->hmm_pfns[i];
	struct page *page;
	bool write;

	if (!call->usual || pte_none(pte))
		return false;
	page = pte_present(pte) ? usual_page(call, pte, &write) :
		usual_device_page(call, softleaf_from_pte(pte), &write);
	if (!page)
		return false;

	if (!call->off_lru && off_lru(page))
		call->off_lru = i + 1;
	call->addr = addr;
	*pfn = onewalk_output_over(*pfn, page_to_pfn(page) | ONEWALK_PFN_VALID |
					 (write ? ONEWALK_PFN_WRITE : 0) |
					 ONEWALK_PFN_COLLECT);
	onewalk_set_status(call, i, ONEWALK_STATUS_MIGRATING);
	return true;
}

/*
 * onewalk_look_alike() - what was decided on a page holds for those behind it
 * @call: the call
 * @addr: the page, which onewalk_look() has just looked at
 * @end: up to here they have one entry together, or none at all
 *
 * As far as the same is asked of them.
 *
 * Return: the address of the first one that it does not hold for.
 */
unsigned long onewalk_look_alike(struct onewalk_call *call, unsigned long addr,
				 unsigned long end)
{
	unsigned long i = onewalk_index(call, addr), first = i;
	unsigned long last = i + ((end - addr) >> PAGE_SHIFT);
	unsigned long *pfns = call->range->hmm_pfns;
	unsigned long req = onewalk_request(call, onewalk_input_of(pfns[i]));
	unsigned long output = pfns[i] &
			       ~(ONEWALK_PFN_INOUT_FLAGS | ONEWALK_PFN_WAS);
	bool has_pfn = onewalk_noted_pfn(output);
	bool looked = call->looked;
	unsigned long input;

	while (++i < last) {
		input = looked ? onewalk_input_of(pfns[i]) : pfns[i];
		if (onewalk_request(call, input) != req)
			break;
		output += has_pfn;
		pfns[i] = onewalk_output_over(input, output);
	}
	if (call->status)
		memset(call->status + first, call->status[first], i - first);
	return addr + ((i - first) << PAGE_SHIFT);
}

/*
 * onewalk_look_at_nothing() - a stretch without access, or without pages
 * @call: the call
 * @addr: its start
 * @end: its end
 */
int onewalk_look_at_nothing(struct onewalk_call *call, unsigned long addr,
			    unsigned long end)
{
	for (; addr < end; addr += PAGE_SIZE) {
		unsigned long i = onewalk_index(call, addr);
		unsigned long *pfn = &call->range->hmm_pfns[i];
		unsigned long req = onewalk_request(call, *pfn);

		call->addr = addr;
		if (req & ONEWALK_PFN_REQ_FAULT) {
			onewalk_set_status(call, i, ONEWALK_STATUS_FAULT_EFAULT);
			return -EFAULT;
		}
		onewalk_set_status(call, i, req & ONEWALK_PFN_REQ_MIGRATE ?
				   ONEWALK_STATUS_SPECIAL :
				   ONEWALK_STATUS_NOT_REQUESTED);
		*pfn = onewalk_output_over(*pfn, ONEWALK_PFN_ERROR);
		if (!(addr & ~PMD_MASK))
			cond_resched();
	}
	return 0;
}

/*
 * What a device cannot read it shall not have. But memory that was made
 * unreadable while it was on the device must be able to come back: there each
 * page is decided on by itself.
 */
static bool accessible(const struct onewalk_call *call)
{
	const struct vm_area_struct *vma = call->vma;

	if (vma->vm_flags & (VM_IO | VM_PFNMAP))
		return false;
	if (vma->vm_flags & VM_READ)
		return true;
	return !call->range->notifier &&
	       !(call->migrate->flags & ONEWALK_MIGRATE_FAULT);
}

static int look_at_vma(struct onewalk_call *call, unsigned long addr,
		       unsigned long end)
{
	struct vm_area_struct *vma = call->vma;
	int ret;

	if (!accessible(call))
		return onewalk_look_at_nothing(call, addr, end);

	if (is_vm_hugetlb_page(vma))
		return onewalk_delegate(call, end);

	for (;;) {
		ret = onewalk_scan_and_fault(call, call->addr, end);
		if (ret == ONEWALK_NEED_FAULT)
			ret = onewalk_fault(call);
		else if (ret == ONEWALK_NEED_SPLIT)
			ret = onewalk_too_many_tries(call) ?
				-EBUSY : onewalk_engine->split(call);
		else if (ret == ONEWALK_NEED_KERNEL)
			return onewalk_delegate(call, end);
		else
			return ret;
		if (ret)
			return ret;
	}
}

/*
 * The first phase. Nothing is held but the mmap lock. On an error call->addr
 * tells where: entries before it are output, from there on they are input.
 */
static int look_ahead(struct onewalk_call *call)
{
	struct onewalk_range *range = call->range;
	unsigned long addr = range->start;
	unsigned long end;
	int ret;

	while (addr < range->end) {
		call->addr = addr;
		enter_vma(call, find_vma(call->mm, addr));
		if (!call->vma || addr < call->vma->vm_start) {
			end = call->vma ? min(range->end, call->vma->vm_start) :
					  range->end;
			ret = onewalk_look_at_nothing(call, addr, end);
		} else {
			end = min(range->end, call->vma->vm_end);
			ret = look_at_vma(call, addr, end);
		}
		if (ret)
			return ret;
		addr = end;
	}
	return 0;
}

/* Has anything in the range been invalidated since the caller's sequence? */
static bool invalidated(const struct onewalk_call *call)
{
	const struct onewalk_range *range = call->range;

	if (onewalk_fails(ONEWALK_POINT_INVALIDATED))
		return true;
	return range->notifier &&
	       mmu_interval_check_retry(range->notifier, range->notifier_seq);
}

/*
 * onewalk_end_look() - may what the look-ahead has written down be relied on
 * @call: the call; all entries hold their output
 *
 * What changes from here on is found when it is collected. May sleep.
 *
 * Return: 0, or -EBUSY: faults have broken COW, or somebody else has changed
 * what was written down. The caller begins anew.
 */
int onewalk_end_look(struct onewalk_call *call)
{
	call->addr = call->range->end;
	call->looked = true;
	onewalk_may_wait(call);
	onewalk_drain(call);
	onewalk_pause(ONEWALK_POINT_LOOKED, call->range->notifier);
	return invalidated(call) ? -EBUSY : 0;
}

/* Fill in what the caller's migration lacks, before anything is collected. */
static int begin_migrate(struct onewalk_call *call)
{
	const struct onewalk_range *range = call->range;
	struct onewalk_migrate *migrate = call->migrate;
	struct vm_area_struct *vma;

	vma = find_vma_intersection(call->mm, range->start, range->end);
	migrate->vma = NULL;
	migrate->npages = 0;
	migrate->cpages = 0;
	migrate->moved = false;
	migrate->huge = false;
	migrate->start = range->start;
	migrate->end = range->end;
	if (range->notifier)
		migrate->notifier = range->notifier;
	if (range->status)
		migrate->status = range->status;
	if (!vma)
		return 0;
	if (range->start < vma->vm_start || range->end > vma->vm_end)
		return -ERANGE;
	migrate->vma = vma;
	return 0;
}

/*
 * onewalk_nothing_fit() - did the look-ahead find nothing that is to migrate
 * @call: the call, looked ahead
 */
bool onewalk_nothing_fit(const struct onewalk_call *call)
{
	unsigned long i, npages = onewalk_index(call, call->range->end);

	for (i = 0; i < npages; i++) {
		onewalk_resched(i);
		if (call->range->hmm_pfns[i] & ONEWALK_PFN_COLLECT)
			return false;
	}
	return true;
}

static int collect(struct onewalk_call *call)
{
	struct onewalk_migrate *migrate = call->migrate;
	unsigned long npages = onewalk_index(call, call->range->end);
	int ret = 0;

	if (!migrate || !migrate->vma)
		return 0;

	onewalk_pause(ONEWALK_POINT_CHECKED, call->range->notifier);
	memset(migrate->dst, 0, npages * sizeof(*migrate->dst));
	if (!call->looked || !onewalk_nothing_fit(call))
		ret = onewalk_engine->collect(call);
	onewalk_assert(!ret || !call->held);
	onewalk_assert(!call->bracket);
	if (!ret)
		migrate->npages = npages;
	onewalk_pause(ONEWALK_POINT_UNMAPPED, call->range->notifier);
	return ret;
}

/*
 * May the range be looked at and collected in one descent? It is the usual window
 * of a GPU's fault, and most often there is nothing missing in it.
 */
static bool at_once(struct onewalk_call *call)
{
	const struct onewalk_range *range = call->range;
	unsigned long may_ask = range->default_flags | range->pfn_flags_mask;

	if (!call->migrate || !call->migrate->vma ||
	    !(may_ask & ONEWALK_PFN_REQ_MIGRATE))
		return false;
	if (!onewalk_engine->at_once || !onewalk_engine->at_once(call))
		return false;
	if ((range->start ^ (range->end - 1)) & PMD_MASK)
		return false;

	enter_vma(call, call->migrate->vma);
	return accessible(call) && !special_vma(call->vma);
}

/* Nothing is looked at yet. */
static void begin_round(struct onewalk_call *call)
{
	call->addr = call->range->start;
	call->looked = false;
	call->split = NULL;
	call->off_lru = 0;
}

/* Return: 0, an error, or ONEWALK_NEED_* to look ahead first. */
static int collect_at_once(struct onewalk_call *call)
{
	int ret;

	begin_round(call);
	/* What this process has just touched is in this CPU's batch. */
	lru_add_drain();
	ret = collect(call);
	if (ret)
		restore_input(call, call->addr);
	return ret;
}

static int one_round(struct onewalk_call *call)
{
	int ret;

	clear_status(call);
	begin_round(call);
	ret = look_ahead(call);
	if (!ret)
		ret = onewalk_end_look(call);
	return ret ?: collect(call);
}

static int range_fault(struct onewalk_call *call)
{
	unsigned long npages = onewalk_index(call, call->range->end);
	unsigned int rounds = MAX_ROUNDS;
	int ret;

	mmap_assert_locked(call->mm);

	call->status = call->range->status;
	if (!call->status && call->migrate)
		call->status = call->migrate->status;
	clear_status(call);
	if (call->migrate) {
		ret = begin_migrate(call);
		if (ret)
			return ret;
	}
	onewalk_pause(ONEWALK_POINT_ENTERED, call->range->notifier);
	if (invalidated(call))
		return -EBUSY;

	ret = at_once(call) ? collect_at_once(call) : ONEWALK_NEED_LOOK;
	while (ret > 0 || (ret == -EAGAIN && --rounds)) {
		ret = one_round(call);
		if (ret)
			restore_input(call, call->addr);
	}
	if (!ret) {
		keep_output(call);
		return 0;
	}

	onewalk_stop_status(call->status, npages);
	return ret == -EAGAIN ? -EBUSY : ret;
}

static int check_range(const struct onewalk_range *range)
{
	if (!range || !range->notifier || !range->hmm_pfns)
		return -EINVAL;
	if (!PAGE_ALIGNED(range->start) || !PAGE_ALIGNED(range->end) ||
	    range->start >= range->end)
		return -EINVAL;
	return 0;
}

static bool can_ask(const struct onewalk_p2p *p2p)
{
	return p2p->ops && p2p->ops->allow;
}

/* @may_ask: what a page's request can have */
static int check_migrate(const struct onewalk_migrate *migrate,
			 const struct onewalk_p2p *p2p, unsigned long may_ask)
{
	if (!migrate->src || !migrate->dst)
		return -EINVAL;
	if (migrate->flags & ~(unsigned long)ONEWALK_MIGRATE_FLAGS)
		return -EINVAL;
	if ((migrate->flags & ONEWALK_MIGRATE_SELECT_DEVICE_P2P) && !p2p)
		return -EINVAL;
	if (!migrate->fault_page)
		return 0;
	/* To fault with a folio locked could wait for another such caller. */
	if (!is_device_private_page(migrate->fault_page) ||
	    (migrate->flags & ONEWALK_MIGRATE_FAULT) ||
	    (may_ask & ONEWALK_PFN_REQ_FAULT))
		return -EINVAL;
	return 0;
}

static int check_requests(const struct onewalk_range *range)
{
	if (range->default_flags & ~(unsigned long)ONEWALK_PFN_REQ_FLAGS)
		return -EINVAL;
	if (range->p2p && !can_ask(range->p2p))
		return -EINVAL;
	if (!range->migrate)
		return range->default_flags & ONEWALK_PFN_REQ_MIGRATE ?
			-EINVAL : 0;
	return check_migrate(range->migrate, range->p2p,
			     range->default_flags | range->pfn_flags_mask);
}

/* The default flags cannot tell: a single page may ask for what is not there. */
static int check_pfns(const struct onewalk_range *range)
{
	unsigned long npages = (range->end - range->start) >> PAGE_SHIFT;
	unsigned long i;

	if (range->migrate || !(range->pfn_flags_mask & ONEWALK_PFN_REQ_MIGRATE))
		return 0;

	for (i = 0; i < npages; i++)
		if (range->hmm_pfns[i] & ONEWALK_PFN_REQ_MIGRATE)
			return -EINVAL;
	return 0;
}

static int check(struct onewalk_range *range)
{
	int ret;

	if (range && range->migrate) {
		range->migrate->npages = 0;
		range->migrate->cpages = 0;
	}
	ret = check_range(range);
	if (!ret)
		ret = check_requests(range);
	if (!ret)
		ret = check_pfns(range);
	return ret;
}

static int begin_call(struct onewalk_call *call)
{
	struct onewalk_range *range = call->range;
	int ret = check(range);

	if (ret)
		return ret;
	call->migrate = range->migrate;
	call->mm = range->notifier->mm;
	return 0;
}

/**
 * onewalk_range_fault() - report, fault in and prepare a range for migration
 * @range: what to do; every entry of @range->hmm_pfns holds its page's request
 *	when &onewalk_range.pfn_flags_mask lets it through
 *
 * For each page of the range the request says what to do with it: nothing but
 * report what is mapped (0), make it present (REQ_FAULT, with REQ_WRITE
 * writable), and prepare it for migration (REQ_MIGRATE). Only pages that are
 * missing what is asked are faulted. Mirrors hmm_range_fault() and its
 * HMM_PFN_REQ_MIGRATE of "Migrate on fault for device pages"; without
 * REQ_MIGRATE the result is that of hmm_range_fault(), but that a huge device
 * page of another owner is 0 and not an error when no fault is asked for.
 *
 * With &onewalk_range.migrate set and 0 returned, the next call is
 * onewalk_migrate_range_setup(), and the mmap lock must be kept until
 * onewalk_migrate_finalize(); pages that are migrating have their folio locked.
 * A page that was not prepared is still reported, and its status says why.
 *
 * Context: Process context; may sleep. The caller holds a reference to the
 * process's memory (mmget_not_zero()) and the mmap lock, for reading or writing,
 * before and after, and no folio lock before.
 * mmu_interval_read_begin() was called for &onewalk_range.notifier before the
 * mmap lock was taken.
 *
 * Return: 0, or an error, after which nothing is prepared, @range->hmm_pfns
 * holds its requests and in-out flags again, and onewalk_migrate_range_setup()
 * does nothing:
 *
 * * -EINVAL: an argument is NULL that must not be, addresses are unaligned,
 *   empty or wrapped, a flag is unknown, REQ_MIGRATE without @range->migrate,
 *   ONEWALK_MIGRATE_SELECT_DEVICE_P2P or a callback is missing of what p2p
 *   needs, or &onewalk_migrate.fault_page is not device-private.
 * * -ERANGE: with @range->migrate: the range is not inside one VMA.
 * * -EBUSY: something in the range was invalidated, by a fault of this very
 *   call or by anybody else. Call again with a fresh sequence number, a bounded
 *   number of times: what was faulted in stays.
 * * -EFAULT: a page that must be present cannot be: no VMA, no read permission,
 *   no struct page, poison, or its fault failed.
 * * -EPERM: REQ_WRITE in a VMA that may not be written.
 * * -ENOMEM: a fault, or the call itself, ran out of memory.
 * * -EINTR: a fatal signal is pending.
 */
int onewalk_range_fault(struct onewalk_range *range)
{
	struct onewalk_call call = { .range = range };
	int ret = begin_call(&call);

	return ret ?: range_fault(&call);
}
EXPORT_SYMBOL_GPL(onewalk_range_fault);

/* @waited: a fault dropped the lock, that is, it waited for something. */
static int lock_and_fault(struct onewalk_call *call, bool *waited)
{
	bool locked = true;
	int ret;

	call->range->notifier_seq =
		mmu_interval_read_begin(call->range->notifier);
	ret = mmap_read_lock_killable(call->mm);
	if (ret)
		return ret;

	call->locked = &locked;
	call->faults = 0;
	call->tries = 0;
	if (check_stable_address_space(call->mm))
		ret = -EFAULT;
	else
		ret = range_fault(call);

	if (locked && (ret || !call->migrate))
		mmap_read_unlock(call->mm);
	*waited = !locked;
	return ret;
}

/*
 * onewalk_range_fault_once() - one try of onewalk_range_fault_unlocked()
 * @range: as for that
 * @waited: out: the mmap lock was dropped, to wait for a page
 *
 * Return: as that, with -EBUSY at once.
 */
int onewalk_range_fault_once(struct onewalk_range *range, bool *waited)
{
	struct onewalk_call call = { .range = range };
	int ret = begin_call(&call);

	return ret ?: lock_and_fault(&call, waited);
}

/**
 * onewalk_range_fault_unlocked() - onewalk_range_fault() that takes the lock
 * @range: as for onewalk_range_fault(); &onewalk_range.notifier_seq is out only
 * @timeout: how long to go on after invalidations, in jiffies; 0 for ever
 *
 * Takes the mmap lock for reading, lets faults drop it, so that it also serves
 * mappings whose fault handler needs that (userfaultfd), and begins again with
 * a fresh sequence number when it was dropped or something was invalidated. A
 * fault in progress is not cut short by @timeout, which begins anew after a
 * fault that dropped the lock. hugetlb pages are faulted with the lock held, and
 * with userfaultfd armed give -EFAULT. Mirrors
 * hmm_range_fault_unlocked_timeout().
 *
 * Context: Process context; may sleep. The caller holds a reference to the
 * process's memory (mmget_not_zero()). The mmap lock is not held before. After
 * success with &onewalk_range.migrate set it is held for reading, since a
 * migration needs it: the caller releases it with mmap_read_unlock() after
 * onewalk_migrate_finalize(). In every other case it is not held after.
 *
 * Return: 0, or an error as onewalk_range_fault(); -EBUSY only when @timeout
 * has passed, and -EINTR also when a fatal signal ended a wait for the lock or
 * a fault.
 */
int onewalk_range_fault_unlocked(struct onewalk_range *range,
				 unsigned long timeout)
{
	struct onewalk_call call = { .range = range };
	unsigned long deadline = jiffies + timeout;
	bool waited = false;
	int ret = begin_call(&call);

	if (ret)
		return ret;

	do {
		ret = lock_and_fault(&call, &waited);
		if (ret != -EBUSY)
			return ret;
		if (waited)
			deadline = jiffies + timeout;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	} while (!timeout || time_before(jiffies, deadline));
	return -EBUSY;
}
EXPORT_SYMBOL_GPL(onewalk_range_fault_unlocked);

static int check_setup(const struct onewalk_migrate *args)
{
	const struct vm_area_struct *vma;

	if (!args || !args->vma)
		return -EINVAL;
	vma = args->vma;
	if (special_vma(args->vma))
		return -EINVAL;
	if (!PAGE_ALIGNED(args->start) || !PAGE_ALIGNED(args->end) ||
	    args->start >= args->end)
		return -EINVAL;
	if (args->start < vma->vm_start || args->end > vma->vm_end)
		return -EINVAL;
	if (args->p2p && !can_ask(args->p2p))
		return -EINVAL;
	return check_migrate(args, args->p2p, 0);
}

/* @pin: for onewalk_pin_setup() */
static int migrate_setup(struct onewalk_migrate *args, bool pin)
{
	struct onewalk_range range = {
		.default_flags = ONEWALK_PFN_REQ_MIGRATE,
	};
	struct onewalk_call call = {
		.range = &range,
		.migrate = args,
		.pin = pin,
	};
	int ret;

	if (args) {
		args->npages = 0;
		args->cpages = 0;
	}
	ret = check_setup(args);
	if (ret)
		return ret;

	range.start = args->start;
	range.end = args->end;
	range.hmm_pfns = args->src;
	range.dev_private_owner = args->pgmap_owner;
	range.p2p = args->p2p;
	range.migrate = args;
	call.mm = args->vma->vm_mm;
	memset(args->src, 0, ((args->end - args->start) >> PAGE_SHIFT) *
			     sizeof(*args->src));

	ret = range_fault(&call);
	if (!ret)
		onewalk_migrate_range_setup(&range);
	/* Drivers answer any error with SIGBUS. The CPU may just try again. */
	if (ret == -EBUSY && args->fault_page)
		return 0;
	return ret;
}

/**
 * onewalk_migrate_setup() - fault in and prepare part of a VMA for migration
 * @args: &onewalk_migrate.vma, start, end, src, dst, pgmap_owner and flags are
 *	set; fault_page, notifier, nid, p2p and status where they are wanted
 *
 * The walk of onewalk_range_fault() and onewalk_migrate_range_setup() for a
 * caller that starts from a VMA and does not want a report. Without
 * ONEWALK_MIGRATE_FAULT it is migrate_vma_setup(), but that what nobody may read
 * does not go to a device, it only comes back; with it, it is that function
 * with MIGRATE_VMA_FAULT of "Migrate on fault for device pages": what is
 * swapped out or otherwise missing is faulted in first.
 *
 * Context: Process context; may sleep. The mmap lock is held, for reading or
 * writing, from before this call until after onewalk_migrate_finalize(). With
 * fault_page, that page is in the state in which migrate_to_ram() got it.
 *
 * Return: 0, with src[] filled and &onewalk_migrate.cpages pages migrating,
 * which may be none; or an error, after which nothing is prepared and npages
 * is 0:
 *
 * * -EINVAL: an argument is NULL, unaligned, empty or wrapped, the range is not
 *   inside the VMA, the VMA is a hugetlb, DAX or otherwise special one, a flag
 *   is unknown, p2p is missing or has no callback, or fault_page is not
 *   device-private or comes with ONEWALK_MIGRATE_FAULT.
 * * -EBUSY: pages kept vanishing while they were being collected. Not with
 *	fault_page: then this is 0, with nothing prepared.
 * * -EFAULT, -EPERM, -ENOMEM, -EINTR: as onewalk_range_fault().
 */
int onewalk_migrate_setup(struct onewalk_migrate *args)
{
	return migrate_setup(args, false);
}
EXPORT_SYMBOL_GPL(onewalk_migrate_setup);

/*
 * onewalk_pin_setup() - prepare what a long-term pin has to move first
 * @args: as for onewalk_migrate_setup(), with ONEWALK_MIGRATE_SELECT_DEVICE_COHERENT
 *	and no &onewalk_migrate.pgmap_owner
 *
 * It goes to system memory, whoever owns it. Since no owner is named, no driver
 * takes this for a migration of its own, and each lets go of what it maps. Holes
 * are not offered.
 *
 * Return: as onewalk_migrate_setup().
 */
int onewalk_pin_setup(struct onewalk_migrate *args)
{
	return migrate_setup(args, true);
}
