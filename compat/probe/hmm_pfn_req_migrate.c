// SPDX-License-Identifier: GPL-2.0
/*
 * Does the kernel itself fault and migrate in one walk?
 *
 * Not as of 7.3: "mm: unified hmm fault and migrate device pagewalk paths" of the
 * series "Migrate on fault for device pages" is not merged.
 */
#include <linux/hmm.h>

unsigned long probe(void);
unsigned long probe(void)
{
	return HMM_PFN_REQ_MIGRATE;
}
