// SPDX-License-Identifier: GPL-2.0
/*
 * Players: processes whose threads do something at random, fork children that
 * do so too, and end in every way.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress.h"

#define THREADS		4

static const op_fn fns[NR_WORKER_OPS] = {
#define OP(name) [OP_##name] = op_##name,
	WORKER_OPS(OP)
#undef OP
};

/* --- work --- */

static bool init_worker(struct worker *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	/* so that neighbouring seeds have nothing in common */
	w->random = (seed + 1) * 0x9e3779b97f4a7c15ULL ?: 1;
	w->buffer = aligned_alloc(PAGE, BLOCK_MAX * PAGE);
	w->bytes = malloc(BLOCK_MAX);
	return w->buffer && w->bytes;
}

static void end_worker(struct worker *w)
{
	free(w->buffer);
	free(w->bytes);
}

/* As from a deck of cards: each has its turn, however short a run is. */
static enum op deal(struct worker *w)
{
	unsigned int i;
	enum op op;

	if (!w->left) {
		w->left = NR_WORKER_OPS;
		for (i = 0; i < w->left; i++)
			w->deck[i] = i;
	}
	i = below(w, w->left);
	op = w->deck[i];
	w->deck[i] = w->deck[--w->left];
	return op;
}

static void run_ops(struct worker *w, uint64_t until)
{
	enum outcome outcome;

	while (!time_is_up() && now_ms() < until) {
		w->op = deal(w);
		if (left_out(w->op))
			continue;
		if (w->op == OP_reopen) {
			outcome = op_reopen(w);
		} else {
			pthread_rwlock_rdlock(&files_lock);
			outcome = fns[w->op](w);
			pthread_rwlock_unlock(&files_lock);
		}
		count_op(w->op, outcome);
	}
}

/* --- children --- */

static void signalled(int signal, siginfo_t *info, void *context)
{
	(void)context;
	wrong(info->si_addr, "%s at %p", strsignal(signal), info->si_addr);
	_exit(1);
}

static void catch_signals(void)
{
	struct sigaction action = {
		.sa_sigaction = signalled,
		.sa_flags = SA_SIGINFO,
	};

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

static void open_devices(void)
{
	int file;

	init_files_lock();
	for (file = 0; file < NR_FILES; file++)
		reopen_device(file);
}

/* The files that it has inherited mirror its parent. */
static void begin_child(struct worker *w, bool keeps_files, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* too late for that */
	if (getppid() != parent)
		_exit(0);
	init_locks();
	init_files_lock();
	if (!keeps_files)
		open_devices();
	ancestors[nr_ancestors++] = parent;
	w->depth++;
}

/*
 * What its parent's memory holds when it begins is what its own does, and so is
 * what is known of it. Returns 0 in the child.
 */
static pid_t fork_child(struct worker *w, bool keeps_files)
{
	pid_t parent = getpid(), pid;

	if (w->depth >= MAX_DEPTH)
		return -1;
	lock_world();
	pid = fork();
	if (pid > 0)
		history("stress: fork %d", pid);
	if (pid)
		unlock_world();
	if (!pid)
		begin_child(w, keeps_files, parent);
	return pid;
}

/* Devices may be opened anew meanwhile, by this process's other threads. */
static int wait_for(pid_t pid, bool killed, unsigned int usec)
{
	int status;

	pthread_rwlock_unlock(&files_lock);
	if (killed) {
		usleep(usec);
		kill(pid, SIGKILL);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	pthread_rwlock_rdlock(&files_lock);
	return status;
}

static enum outcome child_ended(pid_t pid, bool killed, unsigned int usec)
{
	int status = wait_for(pid, killed, usec);

	/* memory cgroups kill, too */
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return killed ? DONE : FAILED;
	if (killed && control->stop)
		return FAILED;
	if (!WIFEXITED(status) || WEXITSTATUS(status) || killed)
		wrong(NULL, "child %d ended with status %#x", pid, status);
	return DONE;
}

/* A child that does what its parent does, for so many ms, and then this. */
static enum outcome fork_for(struct worker *w, unsigned int ms, void (*end)(void))
{
	uint64_t until = now_ms() + below(w, ms);
	pid_t pid = fork_child(w, false);

	if (pid < 0)
		return BUSY;
	if (pid)
		return child_ended(pid, false, 0);
	run_ops(w, until);
	end();
	_exit(127);
}

static void exit_right(void)
{
	check_world();
	_exit(control->wrong ? 1 : 0);
}

static void exec_nothing(void)
{
	execl("/proc/self/exe", "stress", "nothing", NULL);
}

enum outcome op_fork_exit(struct worker *w)
{
	return fork_for(w, 1500, exit_right);
}

enum outcome op_fork_exec(struct worker *w)
{
	return fork_for(w, 200, exec_nothing);
}

enum outcome op_fork_kill(struct worker *w)
{
	bool keeps_files = one_in(w, 4);
	pid_t pid = fork_child(w, keeps_files);

	if (pid < 0)
		return BUSY;
	if (pid)
		return child_ended(pid, true, below(w, 300000));
	while (!control->stop && !keeps_files)
		run_ops(w, -1ULL);
	pause();
	_exit(0);
}

/* --- a player --- */

struct thread {
	pthread_t id;
	struct worker worker;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	run_ops(w, -1ULL);
	return NULL;
}

int play(int number)
{
	uint64_t seed = control->seed * 1000003 + number * 1009;
	static struct thread threads[THREADS];
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	catch_signals();
	for (i = 0; i < NR_FILES; i++)
		files[i] = -1;
	open_devices();
	world_map();

	for (i = 0; i < THREADS; i++)
		if (!init_worker(&threads[i].worker, seed + i) ||
		    pthread_create(&threads[i].id, NULL, work, &threads[i].worker))
			wrong(NULL, "no thread: %s", strerror(errno));
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i].id, NULL);

	while (!control->quiet)
		usleep(1000);
	if (!control->wrong)
		account_process(number);
	for (i = 0; i < THREADS; i++)
		end_worker(&threads[i].worker);
	return control->wrong ? 1 : 0;
}
