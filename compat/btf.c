// SPDX-License-Identifier: GPL-2.0
/*
 * Prototypes of kernel functions, as the kernel's own BTF has them.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/module.h>
#include <linux/static_call.h>

DEFINE_STATIC_CALL_NULL(ksym_bpf_get_btf_vmlinux, bpf_get_btf_vmlinux);
DEFINE_STATIC_CALL_NULL(ksym_btf_find_by_name_kind, btf_find_by_name_kind);
DEFINE_STATIC_CALL_NULL(ksym_btf_name_by_offset, btf_name_by_offset);

static struct btf *vmlinux;

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
 * onewalk_btf_check() - does a function have a prototype that we know
 * @name: the function
 * @protos: what we know, separated by bars
 *
 * Return: 0, or an errno after onewalk_ksyms_refuse() was told.
 */
int onewalk_btf_check(const char *name, const char *protos)
{
	char found[128];
	size_t len;
	int ret;

	ret = spell_function(vmlinux, name, found, sizeof(found));
	if (ret)
		return onewalk_ksyms_refuse(ret, "BTF does not know %s(): %d",
					    name, ret);

	for (;;) {
		len = strcspn(protos, "|");
		if (strlen(found) == len && !memcmp(found, protos, len))
			return 0;
		if (!protos[len])
			break;
		protos += len + 1;
	}
	return onewalk_ksyms_refuse(-EPROTO, "%s() is %s here: not known", name,
				    found);
}

/* The names are not macros, so one level more does no harm here. */
#define RESOLVE(name) ({						\
	unsigned long _addr = onewalk_ksym_lookup(#name);		\
	if (_addr)							\
		static_call_update(ksym_##name, (typeof(name) *)_addr);	\
	_addr; })

/*
 * onewalk_btf_init() - find the kernel's BTF
 *
 * Return: 0, or an errno.
 */
int onewalk_btf_init(void)
{
	if (!RESOLVE(bpf_get_btf_vmlinux) || !RESOLVE(btf_find_by_name_kind) ||
	    !RESOLVE(btf_name_by_offset))
		return -ENOENT;

	vmlinux = static_call(ksym_bpf_get_btf_vmlinux)();
	if (!IS_ERR_OR_NULL(vmlinux))
		return 0;
	return -ENOENT;
}
