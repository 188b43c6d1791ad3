// SPDX-License-Identifier: GPL-2.0
/*
 * Injection points, in /sys/kernel/debug/onewalk/:
 *
 *	inject	write "POINT PID [SKIP [TIMES]]": for calls of that process, let
 *		the point pass SKIP times, then have it fail or wait TIMES times
 *		(1). "POINT 0" ends it.
 *		Or "POINT every N": for calls of all processes, have it fail, or
 *		wait for a moment, each time that it is passed for the Nth time.
 *		Read: every point, how often it was passed by whom it is for, how
 *		often it failed or waited, and how often something in the process
 *		was invalidated meanwhile.
 *	resume	write: what waits for it goes on. Read: the number of calls that
 *		wait.
 *
 * Who waits is woken by a fatal signal, too.
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "onewalk.h"

static struct point {
	const char	*name;
	pid_t		tgid;
	unsigned int	skip;
	unsigned int	times;
	unsigned int	every;
	unsigned int	passed;
	unsigned int	struck;
	unsigned int	invalidated;
} points[] = {
#define POINT(id, text) [ONEWALK_POINT_##id] = { .name = text },
	ONEWALK_FAIL_POINTS(POINT)
	ONEWALK_PAUSE_POINTS(POINT)
};

/* A moment is as long as this, in us. */
#define MOMENT		1000

static DEFINE_SPINLOCK(lock);	/* protects the points, and resumed */
static unsigned int resumed;
static atomic_t waiting = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(resume_queue);
static struct dentry *dir;

/* @every: says whether it strikes for everybody, or for the process it was set for */
static bool strikes(struct point *p, bool *every)
{
	bool now = false;

	*every = READ_ONCE(p->every);
	if (!*every && READ_ONCE(p->tgid) != current->tgid)
		return false;

	spin_lock(&lock);
	*every = p->every;
	if (p->every) {
		now = ++p->passed % p->every == 0;
	} else if (p->tgid == current->tgid) {
		p->passed++;
		now = p->passed > p->skip && p->struck < p->times;
	}
	p->struck += now;
	spin_unlock(&lock);
	return now;
}

/*
 * onewalk_fails() - shall this go wrong now
 * @point: where
 *
 * Any context but interrupts.
 */
bool onewalk_fails(enum onewalk_point point)
{
	bool every;

	return strikes(&points[point], &every);
}

static void wait_a_moment(struct point *p,
			  const struct mmu_interval_notifier *notifier)
{
	unsigned long before = notifier ?
		READ_ONCE(notifier->invalidate_seq) : 0;

	usleep_range(MOMENT / 10, MOMENT);
	if (!notifier || READ_ONCE(notifier->invalidate_seq) == before)
		return;
	spin_lock(&lock);
	p->invalidated++;
	spin_unlock(&lock);
}

/*
 * onewalk_pause() - wait here if told to
 * @point: where
 * @notifier: the driver's, or NULL
 *
 * May sleep, with whatever the caller holds.
 */
void onewalk_pause(enum onewalk_point point,
		   const struct mmu_interval_notifier *notifier)
{
	unsigned int before = READ_ONCE(resumed);
	bool every;

	if (!strikes(&points[point], &every))
		return;
	if (every) {
		wait_a_moment(&points[point], notifier);
		return;
	}

	atomic_inc(&waiting);
	wait_event_killable(resume_queue, READ_ONCE(resumed) != before);
	atomic_dec(&waiting);
}

static struct point *find_point(const char *name)
{
	unsigned int i;

	for (i = 0; i < ONEWALK_NR_POINTS; i++)
		if (!strcmp(points[i].name, name))
			return &points[i];
	return NULL;
}

static ssize_t inject_write(struct file *file, const char __user *from,
			    size_t size, loff_t *pos)
{
	unsigned int skip = 0, times = 1, every = 0;
	char text[64] = "", name[32];
	struct point *point;
	int pid = 0;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, size))
		return -EFAULT;
	if (sscanf(text, "%31s every %u", name, &every) < 2 &&
	    sscanf(text, "%31s %d %u %u", name, &pid, &skip, &times) < 2)
		return -EINVAL;
	point = find_point(name);
	if (!point)
		return -ENOENT;

	spin_lock(&lock);
	*point = (struct point){
		.name = point->name,
		.tgid = pid,
		.skip = skip,
		.times = times,
		.every = every,
	};
	spin_unlock(&lock);
	return size;
}

static int inject_show(struct seq_file *seq, void *unused)
{
	unsigned int i;

	for (i = 0; i < ONEWALK_NR_POINTS; i++)
		seq_printf(seq, "%s %u %u %u\n", points[i].name,
			   points[i].passed, points[i].struck,
			   points[i].invalidated);
	return 0;
}

static int inject_open(struct inode *inode, struct file *file)
{
	return single_open(file, inject_show, NULL);
}

static const struct file_operations inject_fops = {
	.owner		= THIS_MODULE,
	.open		= inject_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= single_release,
	.write		= inject_write,
};

static ssize_t resume_write(struct file *file, const char __user *from,
			    size_t size, loff_t *pos)
{
	spin_lock(&lock);
	WRITE_ONCE(resumed, resumed + 1);
	spin_unlock(&lock);
	wake_up_all(&resume_queue);
	return size;
}

static ssize_t resume_read(struct file *file, char __user *to, size_t size,
			   loff_t *pos)
{
	char text[16];
	int n = scnprintf(text, sizeof(text), "%d\n", atomic_read(&waiting));

	return simple_read_from_buffer(to, size, pos, text, n);
}

static const struct file_operations resume_fops = {
	.owner	= THIS_MODULE,
	.read	= resume_read,
	.write	= resume_write,
};

void onewalk_debug_init(void)
{
	dir = debugfs_create_dir("onewalk", NULL);
	debugfs_create_file("inject", 0600, dir, NULL, &inject_fops);
	debugfs_create_file("resume", 0600, dir, NULL, &resume_fops);
	pr_info("debug build: what it checks and injects costs time\n");
}

void onewalk_debug_exit(void)
{
	debugfs_remove(dir);
}
