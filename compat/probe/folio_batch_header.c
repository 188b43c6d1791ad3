// SPDX-License-Identifier: GPL-2.0
/*
 * Does struct folio_batch have a header of its own?
 *
 * Yes since 7.2: the last pagevec is gone from <linux/pagevec.h>.
 */
#include <linux/folio_batch.h>

void probe(struct folio_batch *fbatch);
void probe(struct folio_batch *fbatch)
{
	folio_batch_init(fbatch);
}
