// SPDX-License-Identifier: GPL-2.0
/*
 * Finding and calling kernel functions that are not exported.
 *
 * Once, at load: a kprobe tells where kallsyms_lookup_name() is, and that tells
 * where the others are. They are called by static_call(), which is patched into
 * a direct branch: on x86 an indirect call to a function whose address the
 * kernel itself never takes faults, because IBT seals its entry; so does kCFI.
 *
 * A function that is missing, or whose prototype is not what we think, is named
 * in the log, and nothing is ever called.
 */
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/static_call.h>

#include "ksyms.h"

DEFINE_STATIC_CALL_NULL(ksym_kallsyms_lookup_name, kallsyms_lookup_name);

/* A type alone: the widest that folio_isolate_lru() returned over time. */
int onewalk_isolate_lru(struct folio *folio);

#define DEFINE_KSYM(name, as, user, protos)				\
	DEFINE_STATIC_CALL_NULL(ksym_##name, as);
ONEWALK_KSYMS(DEFINE_KSYM)

/* 6.3 turned its 0 or errno into a bool, of which only the low byte counts. */
static bool isolate_returns_errno;

bool folio_isolate_lru(struct folio *folio)
{
	int ret = static_call(ksym_folio_isolate_lru)(folio);

	return isolate_returns_errno ? !ret : (u8)ret;
}

void folio_putback_lru(struct folio *folio)
{
	static_call(ksym_folio_putback_lru)(folio);
}

void try_to_migrate(struct folio *folio, enum ttu_flags flags)
{
	static_call(ksym_try_to_migrate)(folio, flags);
}

void lru_add_drain_all(void)
{
	static_call(ksym_lru_add_drain_all)();
}

/*
 * onewalk_ksym_lookup() - the address of a kernel function, or 0
 * @name: its name, which the log is told when it is missing
 *
 * kallsyms_lookup_name() also looks into modules, ours among them, where a
 * function of the same name would be found and call itself.
 */
unsigned long onewalk_ksym_lookup(const char *name)
{
	unsigned long addr = static_call(ksym_kallsyms_lookup_name)(name);

	if (addr && within_module(addr, THIS_MODULE))
		addr = 0;
	if (!addr)
		pr_err("this kernel has no %s()\n", name);
	return addr;
}

/*
 * The kprobe sits behind the function's ENDBR where there is one, so what it
 * tells is good for one call only: asking the function where it is itself.
 */
static int find_lookup(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long addr;
	int ret = register_kprobe(&probe);

	if (ret) {
		pr_err("no kprobe on kallsyms_lookup_name(): %d\n", ret);
		return ret;
	}
	addr = (unsigned long)probe.addr;
	unregister_kprobe(&probe);

	static_call_update(ksym_kallsyms_lookup_name,
			   (typeof(kallsyms_lookup_name) *)addr);
	addr = onewalk_ksym_lookup("kallsyms_lookup_name");
	if (!addr)
		return -ENOENT;
	static_call_update(ksym_kallsyms_lookup_name,
			   (typeof(kallsyms_lookup_name) *)addr);
	return 0;
}

static const struct ksym {
	const char *name;
	const char *protos;
} ksyms[] = {
#define KSYM(name, as, user, protos) { #name, protos },
	ONEWALK_KSYMS(KSYM)
};

static int check_prototypes(void)
{
	unsigned int i;
	int which;

	for (i = 0; i < ARRAY_SIZE(ksyms); i++) {
		if (!ksyms[i].protos)
			continue;
		which = onewalk_btf_check(ksyms[i].name, ksyms[i].protos);
		if (which < 0)
			return which;
		if (!strcmp(ksyms[i].name, "folio_isolate_lru"))
			isolate_returns_errno = which;
	}
	return 0;
}

/*
 * A page that was never put on the LRU cannot be isolated from it. An answer
 * that is read the wrong way round shows here, and not as a lost page.
 */
static int check_by_calling(void)
{
	struct page *page = alloc_page(GFP_KERNEL);
	bool isolated;

	if (!page)
		return -ENOMEM;
	isolated = folio_isolate_lru(page_folio(page));
	__free_page(page);
	if (!isolated)
		return 0;

	pr_err("folio_isolate_lru() does not do here what it is known for\n");
	return -EPROTO;
}

/*
 * onewalk_ksyms_init() - find every function of the table, and check it
 *
 * At module load; may sleep.
 *
 * Return: 0, or an errno after the log names what is missing; then nothing of
 * the table may be called.
 */
int onewalk_ksyms_init(void)
{
	unsigned int missing = 0;
	unsigned long addr;
	int ret = find_lookup() ?: onewalk_btf_init();

	if (ret)
		return ret;

	/* The names may be macros: no second level of them here. */
#define RESOLVE(name, as, user, protos)					\
	addr = onewalk_ksym_lookup(#name);						\
	if (!addr)							\
		missing++;						\
	else								\
		static_call_update(ksym_##name, (typeof(as) *)addr);
	ONEWALK_KSYMS(RESOLVE)
	if (missing)
		return -ENOENT;

	ret = check_prototypes();
	if (!ret)
		ret = check_by_calling();
	if (!ret)
		pr_info("found all %zu kernel functions that are not exported\n",
			ARRAY_SIZE(ksyms));
	return ret;
}
