// SPDX-License-Identifier: GPL-2.0
/*
 * Finding kernel functions that are not exported.
 *
 * Once, at load: a kprobe tells where kallsyms_lookup_name() is, and that tells
 * where the others are. They are called by static_call(), which is patched into
 * a direct branch: on x86 an indirect call to a function whose address the
 * kernel itself never takes faults, because IBT seals its entry; so does kCFI.
 *
 * When a function is missing, or its prototype is not what we think, the reason
 * names it, and nothing is ever called.
 */
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/swapfile.h>

DEFINE_STATIC_CALL_NULL(ksym_kallsyms_lookup_name, kallsyms_lookup_name);

#define DEFINE_KSYM(name, as, user, protos)				\
	DEFINE_STATIC_CALL_NULL(ksym_##name, as);
ONEWALK_KSYMS(DEFINE_KSYM)

/* Set once by the kernel, long before any module loads. */
bool swap_migration_ad_supported;

#ifdef CONFIG_LOCKDEP
struct lockdep_map *onewalk_k_mmu_notifier_map;
#endif

/* 6.3 turned its 0 or errno into a bool, of which only the low byte counts. */
static bool isolate_returns_errno;

static char reason[128];

/* onewalk_ksyms_reason() - why onewalk_ksyms_init() failed */
const char *onewalk_ksyms_reason(void)
{
	return reason;
}

/*
 * onewalk_ksyms_refuse() - remember the first reason why
 * @err: what to return
 * @format: the reason
 */
int onewalk_ksyms_refuse(int err, const char *format, ...)
{
	va_list args;

	if (reason[0])
		return err;
	va_start(args, format);
	vscnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	return err;
}

#ifdef ONEWALK_DEBUG
static char *ksym_hide;
module_param(ksym_hide, charp, 0444);
MODULE_PARM_DESC(ksym_hide, "a kernel function to behave as if there were none");
#else
static const char *const ksym_hide;
#endif

bool folio_isolate_lru(struct folio *folio)
{
	int ret = static_call(ksym_folio_isolate_lru)(folio);

	return isolate_returns_errno ? !ret : (u8)ret;
}

/*
 * onewalk_ksym_lookup() - the address of a kernel function, or 0
 * @name: its name, which becomes the reason when it is missing
 *
 * kallsyms_lookup_name() also looks into modules, ours among them, where a
 * function of the same name would be found and call itself.
 */
unsigned long onewalk_ksym_lookup(const char *name)
{
	unsigned long addr = static_call(ksym_kallsyms_lookup_name)(name);

	if (addr && within_module(addr, THIS_MODULE))
		addr = 0;
	if (ksym_hide && !strcmp(name, ksym_hide))
		addr = 0;
	if (!addr)
		onewalk_ksyms_refuse(-ENOENT, "this kernel has no %s", name);
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

	if (ret)
		return onewalk_ksyms_refuse(ret, "no kprobe on kallsyms_lookup_name(): %d",
					    ret);
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

static int find_functions(void)
{
	unsigned int missing = 0;
	unsigned long addr;

	/* The names may be macros: no second level of them here. */
#define RESOLVE(name, as, user, protos)					\
	addr = onewalk_ksym_lookup(#name);				\
	if (!addr)							\
		missing++;						\
	else								\
		static_call_update(ksym_##name, (typeof(as) *)addr);
	ONEWALK_KSYMS(RESOLVE)
	return missing ? -ENOENT : 0;
}

/* Only with swap do migration entries have room for the accessed and dirty bits. */
static int find_data(void)
{
	unsigned long addr;

#ifdef CONFIG_LOCKDEP
	addr = onewalk_ksym_lookup("__mmu_notifier_invalidate_range_start_map");
	if (!addr)
		return -ENOENT;
	onewalk_k_mmu_notifier_map = (struct lockdep_map *)addr;
#endif
	if (!IS_ENABLED(CONFIG_SWAP))
		return 0;
	addr = onewalk_ksym_lookup("swap_migration_ad_supported");
	if (!addr)
		return -ENOENT;
	swap_migration_ad_supported = *(const bool *)addr;
	return 0;
}

static int check_prototypes(void)
{
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(ksyms); i++) {
		if (!ksyms[i].protos)
			continue;
		ret = onewalk_btf_check(ksyms[i].name, ksyms[i].protos);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * Without BTF nobody can tell whether the functions that no header declares are
 * still what they were: good enough for those who ask for it.
 */
static int check_or_warn(bool by_name)
{
	int ret = onewalk_btf_init();

	if (!ret)
		return check_prototypes();
	if (!by_name || ret != -EOPNOTSUPP)
		return onewalk_ksyms_refuse(ret, "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF) to check prototypes with");
	pr_warn("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF): the prototypes of its functions are believed to be those of the kernels that onewalk was tested on\n");
	return 0;
}

/*
 * A page that was never put on the LRU cannot be isolated from it: the answer
 * shows in which way this kernel says no. Read the wrong way round it would be
 * a lost page.
 */
static int check_isolate(void)
{
	struct page *page = alloc_page(GFP_KERNEL);
	u8 ret;

	if (!page)
		return -ENOMEM;
	ret = static_call(ksym_folio_isolate_lru)(page_folio(page));
	__free_page(page);

	isolate_returns_errno = ret == (u8)-EBUSY;
	if (!ret || isolate_returns_errno)
		return 0;
	return onewalk_ksyms_refuse(-EPROTO, "folio_isolate_lru() does not do here what it is known for");
}

/*
 * onewalk_ksyms_init() - find every function of the table, and check it
 * @by_name: the administrator has asked for what needs them
 *
 * At module load; may sleep.
 *
 * Return: 0, or an errno, and onewalk_ksyms_reason() names what is missing; then
 * nothing of the table may be called.
 */
int onewalk_ksyms_init(bool by_name)
{
	return find_lookup() ?: find_functions() ?: find_data() ?:
	       check_or_warn(by_name) ?: check_isolate();
}
