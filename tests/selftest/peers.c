// SPDX-License-Identifier: GPL-2.0
/*
 * Peer-to-peer: what one device does with the memory of another.
 *
 * engines: both
 */
/* vm: not with memory=coherent; vm: not with memory=system: a device asks about device-private pages alone */
#include "kselftest_harness.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "common.h"

#define NPAGES	16
#define ASK	ONEWALK_DUMMY_PEERS_ASK
#define OWN	ONEWALK_DUMMY_PEERS_OWN
#define OTHERS	ONEWALK_DUMMY_PEERS_OTHERS
#define PEERS	ONEWALK_DUMMY_MIGRATE_PEERS
#define ANEW	ONEWALK_DUMMY_MIGRATE_ANEW
#define FAULT	ONEWALK_DUMMY_MIGRATE_FAULT

static int set_peers(int fd, unsigned int flags)
{
	struct onewalk_dummy_peers peers = { .flags = flags };

	return ioctl(fd, ONEWALK_DUMMY_PEERS, &peers) ? -errno : 0;
}

/* The pages are on the device @home, and the device 0 wants them. */
static void set_up(struct __test_metadata *_metadata, int *fds, char **addr,
		   int home)
{
	fds[0] = dummy_open(0);
	ASSERT_LE(0, fds[0]);
	fds[1] = dummy_open(1);
	ASSERT_LE(0, fds[1]);
	*addr = map_pages(NPAGES);
	ASSERT_NE(NULL, *addr);
	fill(*addr, NPAGES, 1);
	ASSERT_EQ(NPAGES, to_device(fds[home], *addr, NPAGES));
}

static void tear_down(struct __test_metadata *_metadata, int *fds)
{
	int i;

	unmap_all();
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(device_is_empty(fds[i]));
		close(fds[i]);
	}
}

static uint64_t pages_on(int fd)
{
	struct onewalk_dummy_info info = {};

	dummy_info(fd, &info);
	return info.pages_total - info.pages_free;
}

/* --- all that there is to tell apart --- */

FIXTURE(peers) {
	int fds[2];
	char *addr;
	uint64_t pfns[NPAGES];
	uint8_t status[NPAGES];
	char buf[NPAGES * PAGE];
	struct onewalk_dummy_migrate result;
};

FIXTURE_VARIANT(peers) {
	int home;	/* on which device the pages are */
	bool selected;	/* pages of peers are to migrate */
	bool allowed;
};

FIXTURE_VARIANT_ADD(peers, own) {
	.home = 0, .selected = false, .allowed = false,
};

FIXTURE_VARIANT_ADD(peers, own_allowed) {
	.home = 0, .selected = false, .allowed = true,
};

FIXTURE_VARIANT_ADD(peers, own_selected) {
	.home = 0, .selected = true, .allowed = false,
};

FIXTURE_VARIANT_ADD(peers, own_selected_allowed) {
	.home = 0, .selected = true, .allowed = true,
};

FIXTURE_VARIANT_ADD(peers, foreign) {
	.home = 1, .selected = false, .allowed = false,
};

FIXTURE_VARIANT_ADD(peers, foreign_allowed) {
	.home = 1, .selected = false, .allowed = true,
};

FIXTURE_VARIANT_ADD(peers, foreign_selected) {
	.home = 1, .selected = true, .allowed = false,
};

FIXTURE_VARIANT_ADD(peers, foreign_selected_allowed) {
	.home = 1, .selected = true, .allowed = true,
};

FIXTURE_SETUP(peers)
{
	/* what it is not asked about has the other answer */
	unsigned int mine = variant->home == 0 ? OWN : OTHERS;
	unsigned int flags = variant->allowed ? mine : (OWN | OTHERS) & ~mine;

	set_up(_metadata, self->fds, &self->addr, variant->home);
	ASSERT_EQ(0, set_peers(self->fds[0], ASK | flags));
}

FIXTURE_TEARDOWN(peers)
{
	tear_down(_metadata, self->fds);
}

TEST_F(peers, are_reported_in_place_if_allowed)
{
	size_t i;

	ASSERT_OK(dummy_report(self->fds[0], self->addr, NPAGES, self->pfns, 0,
			       false));
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(variant->allowed, !!(self->pfns[i] & PFN_VALID));
	EXPECT_EQ(NPAGES, pages_on(self->fds[variant->home]));
}

TEST_F(peers, are_faulted_back_unless_allowed)
{
	size_t i;

	ASSERT_OK(dummy_report(self->fds[0], self->addr, NPAGES, self->pfns,
			       REQ_FAULT, false));
	for (i = 0; i < NPAGES; i++)
		EXPECT_TRUE(self->pfns[i] & PFN_VALID);
	EXPECT_EQ(variant->allowed ? NPAGES : 0,
		  pages_on(self->fds[variant->home]));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* And its own ones, since it has them mapped already, whatever it says now. */
TEST_F(peers, are_used_in_place_if_allowed)
{
	bool stay = variant->allowed || variant->home == 0;

	ASSERT_OK(dummy_read(self->fds[0], self->addr, NPAGES, self->buf));
	EXPECT_EQ(-1, wrong_buffer(self->buf, self->addr, NPAGES, 1));
	fill_buffer(self->buf, self->addr, NPAGES, 2);
	ASSERT_OK(dummy_write(self->fds[0], self->addr, NPAGES, self->buf));
	EXPECT_EQ(stay ? NPAGES : 0, pages_on(self->fds[variant->home]));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 2));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/* What becomes of them when no fault is asked for, which would bring them back. */
static uint8_t expected(const FIXTURE_VARIANT(peers) *variant)
{
	if (!variant->allowed)
		return ONEWALK_STATUS_FOREIGN_DEVICE;
	if (variant->home == 0)
		return ONEWALK_STATUS_MIGRATING;
	if (!variant->selected)
		return ONEWALK_STATUS_NOT_SELECTED;
	return engine_is_portable() ? ONEWALK_STATUS_FOREIGN_DEVICE :
				      ONEWALK_STATUS_MIGRATING;
}

static void migrate_without_fault(struct __test_metadata *_metadata,
				  FIXTURE_DATA(peers) *self,
				  const FIXTURE_VARIANT(peers) *variant,
				  unsigned int method)
{
	uint8_t status = expected(variant);
	bool moves = status == ONEWALK_STATUS_MIGRATING;
	size_t i;

	ASSERT_OK(dummy_migrate(self->fds[0], self->addr, NPAGES, method,
				ANEW | (variant->selected ? PEERS : 0),
				self->status, NULL, &self->result));
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(status, self->status[i]);
	EXPECT_EQ(moves ? NPAGES : 0, self->result.moved);
	EXPECT_EQ(NPAGES, pages_on(self->fds[moves ? 0 : variant->home]));
	EXPECT_EQ(0, pages_on(self->fds[moves ? 1 : !variant->home]));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/* From device to device: nothing can have faulted. */
TEST_F(peers, migrate_if_allowed_and_selected)
{
	migrate_without_fault(_metadata, self, variant, ONEWALK_DUMMY_RANGE);
}

TEST_F(peers, migrate_by_setup_if_allowed_and_selected)
{
	migrate_without_fault(_metadata, self, variant, ONEWALK_DUMMY_SETUP);
}

/* With a fault they come, directly or by way of system memory, or are used there. */
TEST_F(peers, are_had_with_a_fault)
{
	bool stays = variant->home == 1 && variant->allowed &&
		     !variant->selected;

	ASSERT_OK(dummy_migrate(self->fds[0], self->addr, NPAGES,
				ONEWALK_DUMMY_RANGE,
				ANEW | FAULT | (variant->selected ? PEERS : 0),
				self->status, NULL, &self->result));
	EXPECT_EQ(stays ? 0 : NPAGES, self->result.moved);
	EXPECT_EQ(NPAGES, self->result.mapped);
	EXPECT_EQ(stays ? NPAGES : 0, pages_on(self->fds[1]));
	EXPECT_EQ(stays ? 0 : NPAGES, pages_on(self->fds[0]));
	EXPECT_EQ(-1, wrong_on_device(self->fds[0], self->addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, NPAGES));
}

/* --- devices that share an owner --- */

#define SHARED	"/sys/module/onewalk_dummy/parameters/shared_owner"

FIXTURE(one_owner) {
	int fds[2];
	char *addr;
	uint64_t pfns[NPAGES];
	uint8_t status[NPAGES];
	struct onewalk_dummy_migrate result;
};

/* The owner is that of memory which is added from now on. */
static void release_all(void)
{
	int id, fd;

	for (id = 0; id < 2; id++) {
		fd = dummy_open(id);
		dummy_cmd(fd, ONEWALK_DUMMY_RELEASE, NULL, 0, NULL, NULL);
		close(fd);
	}
}

FIXTURE_SETUP(one_owner)
{
	release_all();
	ASSERT_EQ(0, set_file(SHARED, "Y"));
	set_up(_metadata, self->fds, &self->addr, 1);
}

FIXTURE_TEARDOWN(one_owner)
{
	tear_down(_metadata, self->fds);
	release_all();
	restore_settings();
}

TEST_F(one_owner, counts_if_nobody_is_asked)
{
	size_t i;

	ASSERT_OK(dummy_report(self->fds[0], self->addr, NPAGES, self->pfns, 0,
			       false));
	for (i = 0; i < NPAGES; i++)
		EXPECT_TRUE(self->pfns[i] & PFN_VALID);
}

TEST_F(one_owner, is_no_answer_if_the_driver_is_asked)
{
	size_t i;

	ASSERT_OK(dummy_report(self->fds[0], self->addr, NPAGES, self->pfns, 0,
			       false));
	for (i = 0; i < NPAGES; i++)
		ASSERT_TRUE(self->pfns[i] & PFN_VALID);

	ASSERT_EQ(0, set_peers(self->fds[0], ASK | OWN));
	ASSERT_OK(dummy_report(self->fds[0], self->addr, NPAGES, self->pfns, 0,
			       false));
	for (i = 0; i < NPAGES; i++)
		EXPECT_FALSE(self->pfns[i] & PFN_VALID);

	ASSERT_OK(dummy_migrate(self->fds[0], self->addr, NPAGES,
				ONEWALK_DUMMY_RANGE, ANEW | PEERS, self->status,
				NULL, &self->result));
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(ONEWALK_STATUS_FOREIGN_DEVICE, self->status[i]);
	EXPECT_EQ(NPAGES, pages_on(self->fds[1]));
}

TEST_F(one_owner, lets_pages_go_from_device_to_device)
{
	ASSERT_EQ(0, set_peers(self->fds[0], ASK | OWN | OTHERS));
	ASSERT_OK(dummy_migrate(self->fds[0], self->addr, NPAGES,
				ONEWALK_DUMMY_RANGE, ANEW, self->status, NULL,
				&self->result));
	EXPECT_EQ(NPAGES, self->result.moved);
	EXPECT_EQ(NPAGES, pages_on(self->fds[0]));
	EXPECT_EQ(0, pages_on(self->fds[1]));
	EXPECT_EQ(-1, wrong_page(self->addr, NPAGES, 1));
}

/* --- huge pages --- */

FIXTURE(huge_peer) {
	int fds[2];
	char *addr;
	struct onewalk_dummy_migrate result;
};

FIXTURE_SETUP(huge_peer)
{
	void *addr;

	self->fds[0] = dummy_open(0);
	self->fds[1] = dummy_open(1);
	ASSERT_LE(0, self->fds[0]);
	ASSERT_LE(0, self->fds[1]);
	MUST(map_huge(&addr, 1));
	self->addr = addr;
	ASSERT_EQ(0, dummy_migrate(self->fds[1], addr, 512, ONEWALK_DUMMY_RANGE,
				   ONEWALK_DUMMY_MIGRATE_COMPOUND, NULL, NULL,
				   &self->result));
	ASSERT_EQ(512, self->result.moved);
	ASSERT_EQ(0, set_peers(self->fds[0], ASK | OTHERS));
}

FIXTURE_TEARDOWN(huge_peer)
{
	tear_down(_metadata, self->fds);
}

TEST_F(huge_peer, is_used_in_place)
{
	uint64_t on_peer = pages_on(self->fds[1]);

	EXPECT_LT(0, on_peer);
	EXPECT_EQ(-1, wrong_on_device(self->fds[0], self->addr, 512, 1));
	EXPECT_EQ(on_peer, pages_on(self->fds[1]));
	EXPECT_EQ(-1, wrong_page(self->addr, 512, 1));
}

TEST_F(huge_peer, goes_from_device_to_device)
{
	uint64_t on_peer = pages_on(self->fds[1]);

	if (engine_is_portable())
		SKIP(return, "the portable engine does not collect other devices' pages");
	ASSERT_OK(dummy_migrate(self->fds[0], self->addr, 512,
				ONEWALK_DUMMY_RANGE,
				PEERS | ONEWALK_DUMMY_MIGRATE_COMPOUND, NULL,
				NULL, &self->result));
	EXPECT_EQ(0, pages_on(self->fds[1]));
	EXPECT_LE(on_peer, pages_on(self->fds[0]));
	EXPECT_EQ(-1, wrong_page(self->addr, 512, 1));
	EXPECT_EQ(0, forgotten_pages(self->addr, 512));
}

/* --- what fork() shares --- */

/* No write makes a peer's read-only page writable where it is. */
TEST(what_fork_shares_is_written_in_a_copy)
{
	char buf[NPAGES * PAGE], *addr;
	struct peer peer;
	int fds[2];

	set_up(_metadata, fds, &addr, 1);
	ASSERT_EQ(0, set_peers(fds[0], ASK | OWN | OTHERS));
	ASSERT_OK(peer_start(&peer));
	EXPECT_EQ(-1, wrong_on_device(fds[0], addr, NPAGES, 1));
	EXPECT_EQ(NPAGES, pages_on(fds[1]));
	fill_buffer(buf, addr, NPAGES, 2);
	ASSERT_OK(dummy_write(fds[0], addr, NPAGES, buf));
	EXPECT_EQ(-1, peer_wrong_page(&peer, addr, NPAGES, 1));
	EXPECT_EQ(-1, wrong_page(addr, NPAGES, 2));
	peer_stop(&peer);
	tear_down(_metadata, fds);
}

/* --- what only the device knows --- */

/* Nobody but the device that wrote knows that the page is worth keeping. */
TEST(what_a_peer_wrote_outlives_reclaim)
{
	char buf[NPAGES * PAGE], *addr;
	int fds[2];

	set_up(_metadata, fds, &addr, 0);
	EXPECT_EQ(NPAGES, to_system(fds[0], addr, NPAGES));
	/* clean, and to be thrown away unless somebody writes */
	SET_UP(swap_out(addr, NPAGES));
	EXPECT_EQ(-1, wrong_page(addr, NPAGES, 1));
	ASSERT_EQ(0, madvise(addr, NPAGES * PAGE, MADV_FREE));
	ASSERT_EQ(NPAGES, to_device(fds[1], addr, NPAGES));
	ASSERT_EQ(0, set_peers(fds[0], ASK | OWN | OTHERS));
	fill_buffer(buf, addr, NPAGES, 2);
	ASSERT_OK(dummy_write(fds[0], addr, NPAGES, buf));
	EXPECT_EQ(NPAGES, pages_on(fds[1]));
	EXPECT_EQ(NPAGES, to_system(fds[1], addr, NPAGES));
	drain_all();
	madvise(addr, NPAGES * PAGE, MADV_PAGEOUT);
	EXPECT_EQ(-1, wrong_page(addr, NPAGES, 2));
	tear_down(_metadata, fds);
}

/* --- bad input --- */

TEST(peers_without_a_callback_or_with_unknown_flags_are_einval)
{
	struct onewalk_dummy_migrate result = {};
	int fd = dummy_open(0);
	char *addr = map_pages(1);

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, addr);
	fill(addr, 1, 1);
	EXPECT_EQ(-EINVAL, set_peers(fd, 8));
	EXPECT_EQ(-EINVAL, dummy_migrate(fd, addr, 1, ONEWALK_DUMMY_RANGE, PEERS,
					 NULL, NULL, &result));
	EXPECT_EQ(-EINVAL, dummy_migrate(fd, addr, 1, ONEWALK_DUMMY_SETUP, PEERS,
					 NULL, NULL, &result));
	unmap_all();
	close(fd);
}

ONEWALK_MAIN
