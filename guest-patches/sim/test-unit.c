/* The interface, call by call.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

struct options o;
struct simdisk d;
struct mfs fs;

void
mount_with (const char *preset, bool daemons)
{
  struct journal_settings s;
  EXPECT (journal_preset (&s, preset), 0);
  s.daemons = daemons;
  s.commit_interval_ms = 20;
  make_image (&d, 1024, o.scratch);
  EXPECT (mfs_mount (&fs, &d, &s, 1), 0);
}

void
unmount (void)
{
  EXPECT (mfs_unmount (&fs), 0);
  simdisk_free (&d);
}

static void
test_handles (void)
{
  struct journal_handle *h, *h2;
  struct journal_limits l;

  mount_with ("hurdle", false);
  journal_get_limits (fs.j, &l);
  CHECK (l.log_blocks == 1023 && l.max_transaction == 255
	 && l.max_handle < l.max_transaction / 2, "limits");
  EXPECT (journal_start (fs.j, l.max_handle + 1, 0, &h), E2BIG);
  CHECK (!journal_current (), "a handle that failed to start");
  EXPECT (journal_start (fs.j, l.max_handle, 0, &h), 0);
  EXPECT (journal_stop (h), 0);

  /* Nested: one handle, and more credits if they are needed.  */
  EXPECT (journal_start (fs.j, 3, 1, &h), 0);
  EXPECT (journal_start (fs.j, 5, 1, &h2), 0);
  CHECK (h == h2 && journal_current () == h
	 && journal_handle_credits (h) == 5, "nested");
  EXPECT (journal_stop (h2), 0);
  for (uint32_t b = 3000; b < 3005; b++)
    {
      EXPECT (journal_access (h, b), 0);
      EXPECT (journal_access (h, b), 0);
      EXPECT (journal_dirty (h, b), 0);
    }
  EXPECT (journal_access (h, 3005), ENOSPC);
  EXPECT (journal_dirty (h, 3005), ENOSPC);
  EXPECT (journal_access (h, 1u << 30), EINVAL);
  EXPECT (journal_extend (h, 2, 1), 0);
  EXPECT (journal_access (h, 3005), 0);
  EXPECT (journal_extend (h, 255, 0), EAGAIN);
  /* Sums that do not fit a number are no small sums.  */
  EXPECT (journal_extend (h, UINT_MAX - 60, 0), EAGAIN);
  EXPECT (journal_extend (h, 0, UINT_MAX), EAGAIN);
  /* Revoke credits; a free that fails takes nothing.  */
  EXPECT (journal_free (h, 3100, 3, true), ENOSPC);
  CHECK (!journal_busy (fs.j, 3103), "busy");
  EXPECT (journal_free (h, 3100, 2, true), 0);
  CHECK (journal_busy (fs.j, 3100) && journal_busy (fs.j, 3101)
	 && !journal_busy (fs.j, 3099), "busy");
  EXPECT (journal_free (h, 4095, 2, false), EINVAL);
  journal_tid_t tid = journal_handle_tid (h);
  CHECK (tid == journal_running_tid (fs.j), "tid");
  EXPECT (journal_restart (h, 4, 0), 0);
  /* A restart may have to commit what it left.  */
  for (uint32_t b = 3200; b < 3600; b += 50)
    {
      EXPECT (journal_restart (h, 50, 0), 0);
      for (uint32_t k = 0; k < 50; k++)
	EXPECT (journal_access (h, b + k), 0);
    }
  CHECK (journal_handle_tid (h) > tid, "all in one transaction");
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_force (fs.j, tid), 0);
  CHECK (!journal_busy (fs.j, 3100), "busy after the commit");
  tid = journal_running_tid (fs.j);
  EXPECT (journal_sync (fs.j), 0);
  CHECK (journal_running_tid (fs.j) == tid + 1, "tid after the commit");
  unmount ();
}

/* The crash: nothing more reaches the disk.  */
void
power_cut (void)
{
  d.fail_io_after = 0;
  d.sticky = true;
  mfs_unmount (&fs);
  simdisk_no_faults (&d);
}

/* A block that is freed and used again in one transaction is not
   revoked.  */
static void
test_revoke_cancel (void)
{
  struct journal_handle *h;
  struct journal_stats st;
  struct journal_recovery r;
  unsigned char data[1024];

  mount_with ("hurdle", false);
  EXPECT (journal_start (fs.j, 8, 8, &h), 0);
  memset (data, 0x11, sizeof data);
  EXPECT (journal_dirty_data (h, 3000, data), 0);
  EXPECT (journal_dirty_data (h, 3001, data), 0);
  EXPECT (journal_dirty_data (h, 3002, data), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  EXPECT (journal_start (fs.j, 8, 8, &h), 0);
  EXPECT (journal_free (h, 3000, 3, true), 0);
  memset (data, 0x22, sizeof data);
  EXPECT (journal_dirty_data (h, 3001, data), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  journal_get_stats (fs.j, &st);
  CHECK (st.revokes_cancelled == 1 && st.revokes == 2, "%d revokes",
	 (int) st.revokes);
  power_cut ();
  EXPECT (mfs_recover (&d, &r), 0);
  CHECK (r.revoked == 2 && d.now[3001 * 1024] == 0x22
	 && d.now[3000 * 1024] == 0 && d.now[3002 * 1024] == 0,
	 "%u revoked, %x", r.revoked, d.now[3001 * 1024]);
  simdisk_free (&d);
}

/* A block that begins with the log's magic number, in a log with checksums
   and in one without.  */
static void
test_escape (void)
{
  static const char *const presets[] = { "hurdle", "v3" };
  static const unsigned char magic[4] = { 0xC0, 0x3B, 0x39, 0x98 };
  for (int k = 0; k < 2; k++)
    {
      struct journal_handle *h;
      struct journal_recovery r;
      struct simdisk theirs;
      unsigned char data[1024];

      mount_with (presets[k], false);
      EXPECT (journal_start (fs.j, 8, 0, &h), 0);
      memset (data, 0x33, sizeof data);
      EXPECT (journal_dirty_data (h, 3001, data), 0);
      memcpy (data, magic, 4);
      /* What follows looks like a commit block of this transaction.  */
      jfmt_put32 (data + 4, JFMT_COMMIT);
      jfmt_put32 (data + 8, 1);
      EXPECT (journal_dirty_data (h, 3000, data), 0);
      EXPECT (journal_dirty_data (h, 3002, data), 0);
      EXPECT (journal_stop (h), 0);
      EXPECT (journal_sync (fs.j), 0);
      /* In the log, only headers look like headers.  */
      struct journal_extent log[64];
      unsigned ne = journal_extents (d.now, &fs.g, log, 64), headers = 0;
      for (unsigned e = 0; e < ne; e++)
	for (uint32_t b = 0; b < log[e].count; b++)
	  headers += jfmt_get32 (d.now + (log[e].disk_block + b) * 1024)
	    == JFMT_MAGIC;
      CHECK (headers == 3, "%u blocks of the log look like headers",
	     headers);
      power_cut ();
      simdisk_init (&theirs, d.block_size, d.blocks);
      e2fsck_replay (&d, &theirs, o.scratch, false);
      EXPECT (mfs_recover (&d, &r), 0);
      CHECK (r.blocks == 3 && !r.corrupt
	     && !memcmp (d.now + 3000 * 1024, data, 1024)
	     && !memcmp (d.now + 3002 * 1024, data, 1024)
	     && d.now[3001 * 1024] == 0x33, "%u blocks", r.blocks);
      CHECK (images_differ (&d, &theirs) == 0, "e2fsck's replay differs");
      simdisk_free (&theirs);
      simdisk_free (&d);
    }
}

/* Commit times never go back, whatever the clock does; the number of a
   transaction that was cut off is not used again.  */
static void
test_sequence (void)
{
  struct journal_handle *h;
  struct journal_recovery r;
  unsigned char data[1024] = { 1 };
  uint64_t last = 0;
  unsigned commits = 0;

  mount_with ("hurdle", false);
  for (int k = 0; k < 3; k++)
    {
      d.time_ns = (uint64_t) (2000 - k * 100) * 1000000000u;
      EXPECT (journal_start (fs.j, 8, 0, &h), 0);
      EXPECT (journal_dirty_data (h, 3000, data), 0);
      EXPECT (journal_stop (h), 0);
      if (k == 2)
	d.fail_io_after = 2;	/* The commit block.  */
      int err = journal_sync (fs.j);
      CHECK ((err != 0) == (k == 2), "commit %d: %d", k, err);
    }
  for (uint32_t b = 1; b < 1100; b++)
    {
      const unsigned char *p = d.now + b * 1024;
      uint32_t type, tid;
      if (!jfmt_is_header (p, &type, &tid) || type != JFMT_COMMIT)
	continue;
      CHECK (jfmt_commit_sec (p) >= last, "a commit time went back");
      last = jfmt_commit_sec (p);
      commits++;
    }
  CHECK (commits == 2 && last == 2000, "%u commits", commits);
  power_cut ();
  EXPECT (mfs_recover (&d, &r), 0);
  CHECK (r.transactions == 2 && r.next_tid == r.first_tid + 3,
	 "%u replayed, then %u", r.transactions, r.next_tid);
  simdisk_free (&d);
}

/* Reads and write-backs find the newest copy; homes get none early.  */
static void
test_pages (void)
{
  struct journal_handle *h;
  unsigned char one[1024], two[1024], got[1024];

  mount_with ("hurdle", false);
  memset (one, 1, sizeof one);
  memset (two, 2, sizeof two);
  CHECK (!journal_read (fs.j, 3000, got), "a block nobody knows");
  CHECK (!journal_writeback (fs.j, 3000, one), "a block nobody knows");
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (journal_dirty_data (h, 3000, one), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  CHECK (journal_read (fs.j, 3000, got) && got[5] == 1, "committed");
  CHECK (d.now[3000 * 1024] == 0, "home too early");
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (journal_access (h, 3000), 0);
  CHECK (journal_writeback (fs.j, 3000, two), "in a transaction");
  CHECK (journal_read (fs.j, 3000, got) && got[5] == 2, "returned");
  EXPECT (journal_checkpoint (fs.j, 10000), 0);
  CHECK (d.now[3000 * 1024] == 1, "the committed copy goes home");
  EXPECT (journal_dirty_data (h, 3000, two), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_quiesce (fs.j), 0);
  CHECK (d.now[3000 * 1024] == 2, "the next copy goes home");
  CHECK (!journal_read (fs.j, 3000, got), "forgotten");
  unmount ();
}

/* More revokes than a block holds.  */
static void
test_many_revokes (void)
{
  struct journal_handle *h;
  struct journal_recovery r;
  unsigned char data[1024] = { 1 };

  mount_with ("hurdle", false);
  for (uint32_t b = 3000; b < 3600; b += 100)
    {
      EXPECT (journal_start (fs.j, 100, 0, &h), 0);
      for (uint32_t k = 0; k < 100; k++)
	EXPECT (journal_dirty_data (h, b + k, data), 0);
      EXPECT (journal_stop (h), 0);
    }
  EXPECT (journal_sync (fs.j), 0);
  EXPECT (journal_start (fs.j, 4, 600, &h), 0);
  EXPECT (journal_free (h, 3000, 600, true), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_start (fs.j, 4, 100000, &h), E2BIG);
  EXPECT (journal_sync (fs.j), 0);
  power_cut ();
  EXPECT (mfs_recover (&d, &r), 0);
  CHECK (r.revoked == 600 && r.blocks == 0, "%u blocks, %u revoked",
	 r.blocks, r.revoked);
  simdisk_free (&d);
}

static void
test_stats (void)
{
  struct journal_stats st;
  char text[3000];

  mount_with ("hurdle", false);
  fs.j->set.stats = true;
  struct op_args a = { .dir = ROOT_INO, .name = "x", .sync = true };
  uint32_t ino;
  EXPECT (mfs_create (&fs, &a, &ino), 0);
  journal_get_stats (fs.j, &st);
  CHECK (st.dirty_calls >= 5 && st.commits == 1 && st.function
	 && st.frozen_blocks >= 5 && st.memory_peak >= st.memory_bytes
	 && st.late_access == 0, "counters");
  CHECK (journal_format_stats (&st, text, sizeof text) < sizeof text
	 && strstr (text, "Total Dirty Calls:"), "report");
  unmount ();
  /* The stub touches nothing.  */
  mount_with ("hurdle", false);
  fs.j->set.stub = true;
  EXPECT (mfs_create (&fs, &a, &ino), 0);
  journal_get_stats (fs.j, &st);
  CHECK (st.frozen_blocks == 0 && st.commits == 0, "stub");
  mfs_unmount (&fs);
  simdisk_free (&d);
}

int
main (int argc, char **argv)
{
  options_parse (&o, argc, argv);
  test_index ();
  test_table (JOURNAL_INDEX_ROBINHOOD);
  test_table (JOURNAL_INDEX_IHASH);
  test_no_table ();
  test_format ();
  test_settings ();
  test_replay ();
  test_handles ();
  test_revoke_cancel ();
  test_escape ();
  test_sequence ();
  test_pages ();
  test_given ();
  test_dead_handle ();
  test_many_revokes ();
  test_abort ("hurdle");
  test_abort ("v4");
  test_data_error (false);
  test_data_error (true);
  test_group_commit (false);
  test_group_commit (true);
  test_interval ();
  test_age ();
  test_fault_at_quiesce ();
  test_number_of_the_past ();
  test_error_kept ();
  test_copy_fails_once ();
  test_worker ();
  test_freed_on_its_way_home ();
  test_full_log (false);
  test_full_log (true);
  test_worker_alone (false);
  test_worker_alone (true);
  test_worker_asks ();
  test_worker_credits ();
  test_worker_fails ();
  test_worker_waits ("hurdle");
  test_worker_waits ("v4");
  test_memory_bound ();
  test_free_fails ();
  test_error_not_kept ();
  test_quiesce_after_data_error ();
  test_open ();
  test_stats ();
  printf ("unit: all right\n");
  options_done (&o);
  return 0;
}
