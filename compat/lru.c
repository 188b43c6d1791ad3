// SPDX-License-Identifier: GPL-2.0
/*
 * Draining this CPU's LRU batches with exported symbols alone: releasing a batch
 * drains first, and an empty one is released at no cost.
 */
#ifdef ONEWALK_HAVE_FOLIO_BATCH_HEADER
#include <linux/folio_batch.h>
#else
#include <linux/pagevec.h>
#endif

#ifdef ONEWALK_EXPORTS___FOLIO_BATCH_RELEASE
void lru_add_drain(void)
{
	struct folio_batch batch;

	folio_batch_init(&batch);
	__folio_batch_release(&batch);
}
#else
void lru_add_drain(void)
{
	struct pagevec batch;

	pagevec_init(&batch);
	__pagevec_release(&batch);
}
#endif
