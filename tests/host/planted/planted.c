// SPDX-License-Identifier: GPL-2.0
/* A module that misbehaves on request: what the harness must notice. */
#include <linux/bug.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *misdeed = "none";
module_param(misdeed, charp, 0);
MODULE_PARM_DESC(misdeed, "what to do while loading: none, warn, cycle, sleep, leak, reuse");

static DEFINE_MUTEX(one);
static DEFINE_MUTEX(other);
static DEFINE_SPINLOCK(atomic);

/* Nothing hangs here: that it could is for lockdep to see. */
static void lock_in_both_orders(void)
{
	mutex_lock(&one);
	mutex_lock(&other);
	mutex_unlock(&other);
	mutex_unlock(&one);

	mutex_lock(&other);
	mutex_lock(&one);
	mutex_unlock(&one);
	mutex_unlock(&other);
}

static void sleep_under_a_spinlock(void)
{
	spin_lock(&atomic);
	mutex_lock(&one);
	mutex_unlock(&one);
	spin_unlock(&atomic);
}

/* Several, since an address that is left on a stack would hide the last one. */
static noinline void forget_objects(void)
{
	void *object;
	int i;

	for (i = 0; i < 100; i++) {
		object = kmalloc(100, GFP_KERNEL);
		OPTIMIZER_HIDE_VAR(object);
	}
}

static void read_a_freed_object(void)
{
	u8 *object = kmalloc(100, GFP_KERNEL);

	kfree(object);
	OPTIMIZER_HIDE_VAR(object);
	READ_ONCE(*object);
}

static int __init planted_init(void)
{
	WARN_ON(!strcmp(misdeed, "warn"));
	if (!strcmp(misdeed, "cycle"))
		lock_in_both_orders();
	if (!strcmp(misdeed, "sleep"))
		sleep_under_a_spinlock();
	if (!strcmp(misdeed, "leak"))
		forget_objects();
	if (!strcmp(misdeed, "reuse"))
		read_a_freed_object();
	return 0;
}
module_init(planted_init);

static void __exit planted_exit(void)
{
}
module_exit(planted_exit);

MODULE_DESCRIPTION("A planted misbehaviour");
MODULE_LICENSE("GPL");
