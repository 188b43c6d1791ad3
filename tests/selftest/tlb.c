// SPDX-License-Identifier: GPL-2.0
/*
 * No CPU goes on using what it remembers of an entry that is gone. Somebody who
 * holds the mmap lock for reading only, as a migration does, may find a migration
 * entry and take it for granted that no TLB has what was there before.
 */
/* vm: --append "preempt=full" */
/* vm: not on a slow kernel: nothing here depends on what it checks */
/* vm: one kind of memory: nor on where pages go */
#include "kselftest_harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "common.h"

/* A PTE table, whose lock is held for a while when all of it is collected. */
#define NPAGES	512
/* Those in the middle that are thrown away: so few that they are flushed one by one. */
#define SPAN	16
#define FIRST	((NPAGES - SPAN) / 2)
#define ROUNDS	20

struct discarder {
	pthread_t thread;
	char *addr;
	atomic_bool stop;
	atomic_ulong laps, found;
};

static volatile uint64_t *word_of(struct discarder *discarder, size_t i)
{
	return (uint64_t *)(discarder->addr + i * PAGE);
}

/*
 * Writes to some pages for a while, so that their entries are in this CPU's TLB, and
 * throws them away: what was written must not be there any more.
 */
static void *discard(void *arg)
{
	struct discarder *discarder = arg;
	uint64_t word, n = 0;
	size_t i;

	run_on_cpu(1);
	while (!atomic_load(&discarder->found) &&
	       !atomic_load(&discarder->stop)) {
		for (i = 0; i < 100 * SPAN; i++)
			*word_of(discarder, i % SPAN) = ++n;
		madvise(discarder->addr, SPAN * PAGE, MADV_DONTNEED);
		for (i = 0; i < SPAN; i++) {
			word = *word_of(discarder, i);
			if (word)
				atomic_store(&discarder->found, word);
		}
		atomic_fetch_add(&discarder->laps, 1);
	}
	return NULL;
}

static uint64_t now_usec(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/*
 * Wants the CPU again and again, goes before everybody else, and keeps it until
 * the other one has done its work, unless that waits for who runs here. Also who
 * holds a spinlock loses the CPU to it, in the very moment when that is dropped.
 */
static void *interrupt(void *arg)
{
	struct sched_param param = { .sched_priority = 1 };
	struct discarder *discarder = arg;
	unsigned long laps;
	uint64_t until;

	run_on_cpu(0);
	pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
	while (!atomic_load(&discarder->stop)) {
		usleep(200);
		laps = atomic_load(&discarder->laps);
		until = now_usec() + 5000;
		while (atomic_load(&discarder->laps) < laps + 2 &&
		       now_usec() < until)
			;
	}
	return NULL;
}

TEST(memory_discarded_while_it_moves_is_gone_at_once)
{
	struct discarder discarder = {};
	pthread_t interrupter;
	uint8_t status[NPAGES];
	size_t i, moved = 0;
	char *addr;
	int fd;

	fd = dummy_open(0);
	ASSERT_LE(0, fd);
	addr = map_aligned(NPAGES, HUGE);
	ASSERT_NE(NULL, addr);
	run_on_cpu(0);
	discarder.addr = addr + FIRST * PAGE;
	fill(addr, NPAGES, 1);
	pthread_create(&discarder.thread, NULL, discard, &discarder);
	pthread_create(&interrupter, NULL, interrupt, &discarder);
	/* without a notifier: what is discarded would have it begin anew for ever */
	for (i = 0; i < ROUNDS && !atomic_load(&discarder.found); i++) {
		ASSERT_OK(dummy_migrate(fd, addr, NPAGES, ONEWALK_DUMMY_SETUP,
					0, status, NULL, NULL));
		moved += status[NPAGES / 2] == ONEWALK_STATUS_MIGRATING;
		ASSERT_OK(dummy_migrate(fd, addr, NPAGES, ONEWALK_DUMMY_SETUP,
					ONEWALK_DUMMY_MIGRATE_TO_SYSTEM, NULL,
					NULL, NULL));
	}
	atomic_store(&discarder.stop, true);
	pthread_join(discarder.thread, NULL);
	pthread_join(interrupter, NULL);
	EXPECT_EQ(0, atomic_load(&discarder.found));
	TH_LOG("moved in %zu rounds of %zu, thrown away %lu times", moved, i,
	       atomic_load(&discarder.laps));
	EXPECT_LT(0, moved);
	EXPECT_EQ(-1, wrong_page(addr, FIRST, 1));
	EXPECT_EQ(-1, wrong_page(addr + (FIRST + SPAN) * PAGE,
				 NPAGES - FIRST - SPAN, 1));
	unmap_all();
	EXPECT_TRUE(device_is_empty(fd));
	close(fd);
}

TEST_HARNESS_MAIN
