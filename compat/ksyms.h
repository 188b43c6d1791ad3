/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel functions that modules are not given.
 *
 * The table: a function's name, what it is called as, the file of src/ that
 * needs it, and, where no header that distributions ship declares it, its
 * prototype as BTF has it; NULL where one does, and the compiler has checked the
 * call. Prototypes that changed over time are separated by bars, newest first.
 */
#ifndef _ONEWALK_KSYMS_H
#define _ONEWALK_KSYMS_H

#include <linux/errno.h>
#include <linux/printk.h>

#define ONEWALK_KSYMS(X)						\
	X(folio_isolate_lru, onewalk_isolate_lru, "unmap.c",		\
	  "bool(struct folio*)|int(struct folio*)")			\
	X(folio_putback_lru, folio_putback_lru, "unmap.c",		\
	  "void(struct folio*)")					\
	X(try_to_migrate, try_to_migrate, "unmap.c", NULL)		\
	X(lru_add_drain_all, lru_add_drain_all, "fault.c", NULL)

int onewalk_ksyms_init(void);
unsigned long onewalk_ksym_lookup(const char *name);

#ifdef CONFIG_DEBUG_INFO_BTF
int onewalk_btf_init(void);
int onewalk_btf_check(const char *name, const char *protos);
#else
static inline int onewalk_btf_init(void)
{
	pr_err("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF) to check prototypes with\n");
	return -ENOENT;
}

static inline int onewalk_btf_check(const char *name, const char *protos)
{
	return -ENOENT;
}
#endif

#endif /* _ONEWALK_KSYMS_H */
