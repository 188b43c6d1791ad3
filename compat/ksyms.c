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
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/static_call.h>

#include "ksyms.h"

/* What finding and checking the others takes. */
DEFINE_STATIC_CALL_NULL(ksym_kallsyms_lookup_name, kallsyms_lookup_name);
DEFINE_STATIC_CALL_NULL(ksym_bpf_get_btf_vmlinux, bpf_get_btf_vmlinux);
DEFINE_STATIC_CALL_NULL(ksym_btf_find_by_name_kind, btf_find_by_name_kind);
DEFINE_STATIC_CALL_NULL(ksym_btf_name_by_offset, btf_name_by_offset);

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
 * kallsyms_lookup_name() also looks into modules, ours among them, where a
 * function of the same name would be found and call itself.
 */
static unsigned long lookup(const char *name)
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
	addr = lookup("kallsyms_lookup_name");
	if (!addr)
		return -ENOENT;
	static_call_update(ksym_kallsyms_lookup_name,
			   (typeof(kallsyms_lookup_name) *)addr);
	return 0;
}

static const char *btf_name(const struct btf *btf, const struct btf_type *type)
{
	return static_call(ksym_btf_name_by_offset)(btf, type->name_off) ?: "?";
}

/* Append the C spelling of a type, as far as arguments of ours go. */
static size_t spell(const struct btf *btf, u32 id, char *buf, size_t size)
{
	const struct btf_type *type = btf_type_by_id(btf, id);
	size_t n;

	while (id && type && (BTF_INFO_KIND(type->info) == BTF_KIND_CONST ||
			      BTF_INFO_KIND(type->info) == BTF_KIND_VOLATILE)) {
		id = type->type;
		type = btf_type_by_id(btf, id);
	}
	if (!id || !type)
		return scnprintf(buf, size, "void");

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_PTR:
		n = spell(btf, type->type, buf, size);
		return n + scnprintf(buf + n, size - n, "*");
	case BTF_KIND_STRUCT:
		return scnprintf(buf, size, "struct %s", btf_name(btf, type));
	case BTF_KIND_ENUM:
		return scnprintf(buf, size, "int");
	default:
		return scnprintf(buf, size, "%s", btf_name(btf, type));
	}
}

static int spell_function(const struct btf *btf, const char *name, char *buf,
			  size_t size)
{
	const struct btf_param *param;
	const struct btf_type *type;
	unsigned int i;
	size_t n;
	s32 id;

	id = static_call(ksym_btf_find_by_name_kind)(btf, name, BTF_KIND_FUNC);
	if (id < 0)
		return id;
	type = btf_type_by_id(btf, id);
	type = btf_type_by_id(btf, type->type);

	n = spell(btf, type->type, buf, size);
	n += scnprintf(buf + n, size - n, "(");
	param = (const struct btf_param *)(type + 1);
	for (i = 0; i < BTF_INFO_VLEN(type->info); i++) {
		if (i)
			n += scnprintf(buf + n, size - n, ",");
		n += spell(btf, param[i].type, buf + n, size - n);
	}
	scnprintf(buf + n, size - n, ")");
	return 0;
}

/*
 * Return: which of the prototypes, separated by bars, the function has, counted
 * from 0; negative when none of them.
 */
static int check_prototype(const struct btf *btf, const char *name,
			   const char *protos)
{
	char found[128];
	size_t len;
	int which;
	int ret;

	ret = spell_function(btf, name, found, sizeof(found));
	if (ret) {
		pr_err("BTF does not know %s(): %d\n", name, ret);
		return ret;
	}

	for (which = 0; ; which++) {
		len = strcspn(protos, "|");
		if (strlen(found) == len && !memcmp(found, protos, len))
			return which;
		if (!protos[len])
			break;
		protos += len + 1;
	}
	pr_err("%s() is %s here: not known\n", name, found);
	return -EPROTO;
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
	struct btf *btf = static_call(ksym_bpf_get_btf_vmlinux)();
	unsigned int i;
	int which;

	if (IS_ERR_OR_NULL(btf)) {
		pr_err("this kernel has no BTF to check prototypes with\n");
		return -ENOENT;
	}

	for (i = 0; i < ARRAY_SIZE(ksyms); i++) {
		if (!ksyms[i].protos)
			continue;
		which = check_prototype(btf, ksyms[i].name, ksyms[i].protos);
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
	int ret = find_lookup();

	if (ret)
		return ret;

	/* The names may be macros: no second level of them here. */
#define RESOLVE(name, as, user, protos)					\
	addr = lookup(#name);						\
	if (!addr)							\
		missing++;						\
	else								\
		static_call_update(ksym_##name, (typeof(as) *)addr);
	RESOLVE(bpf_get_btf_vmlinux, bpf_get_btf_vmlinux, "ksyms.c", NULL)
	RESOLVE(btf_find_by_name_kind, btf_find_by_name_kind, "ksyms.c", NULL)
	RESOLVE(btf_name_by_offset, btf_name_by_offset, "ksyms.c", NULL)
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
