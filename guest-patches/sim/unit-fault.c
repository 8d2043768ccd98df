/* The interface when something is wrong.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

/* A change after the content was given is not lost, nor is one that was
   given after a change.  */
void
test_given (void)
{
  struct journal_handle *h;
  struct journal_recovery r;
  unsigned char given[1024], byte = 5;

  mount_with ("hurdle", false);
  memset (given, 4, sizeof given);
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (journal_dirty_data (h, 3000, given), 0);
  EXPECT (page_meta_write (&fs, h, 3000, 100, &byte, 1), 0);
  EXPECT (page_meta_write (&fs, h, 3001, 100, &byte, 1), 0);
  EXPECT (journal_dirty_data (h, 3001, given), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  power_cut ();
  EXPECT (mfs_recover (&d, &r), 0);
  CHECK (d.now[3000 * 1024 + 100] == 5 && d.now[3000 * 1024 + 101] == 0
	 && d.now[3001 * 1024 + 100] == 4 && d.now[3001 * 1024] == 4,
	 "the last of two changes is not the one in the log");
  simdisk_free (&d);
}

static char last_words[80];

static void
note_abort (void *arg, int err, const char *what)
{
  (void) arg;
  (void) err;
  snprintf (last_words, sizeof last_words, "%s", what);
}

/* Leave data in the running transaction: of a new file, which is on disk.  */
static void
write_some_data (void)
{
  struct op_args a = { .dir = ROOT_INO, .name = "x", .offset = 1 };
  uint32_t ino;

  EXPECT (mfs_create (&fs, &a, &ino), 0);
  EXPECT (mfs_sync (&fs), 0);
  a.dir = ino;
  a.offset = 0;
  a.length = 2;
  EXPECT (mfs_write (&fs, &a, 1), 0);
}

/* File data that could not be written: an error for who waits, once, or
   the end, as the setting says.  */
void
test_data_error (bool give_up)
{
  mount_with ("hurdle", false);
  EXPECT (journal_setting (&fs.j->set, give_up ? "data-err=abort"
			   : "data-err=report"), 0);
  write_some_data ();
  d.fail_io_after = 0;
  d.aborted = note_abort;
  last_words[0] = '\0';
  EXPECT (journal_sync (fs.j), EIO);
  CHECK ((journal_error (fs.j) != 0) == give_up
	 && !strcmp (last_words, give_up ? "file data could not be written"
		     : ""), "give up: %s", last_words);
  if (!give_up)
    EXPECT (mfs_sync (&fs), 0);
  EXPECT (mfs_unmount (&fs), give_up ? EROFS : 0);
  simdisk_free (&d);
}

static int
no_copy (void *arg, uint64_t block, void *buf)
{
  (void) arg;
  (void) block;
  (void) buf;
  return EIO;
}

/* An error of a transaction's data is still there for who asks for it many
   transactions later.  */
void
test_error_kept (void)
{
  unsigned char data[1024] = { 1 };
  struct journal_handle *h;

  mount_with ("hurdle", false);
  write_some_data ();
  journal_tid_t tid = journal_running_tid (fs.j);
  d.fail_io_after = 0;
  EXPECT (journal_force (fs.j, tid), EIO);
  for (int k = 0; k < 200; k++)
    {
      EXPECT (journal_start (fs.j, 4, 0, &h), 0);
      EXPECT (journal_dirty_data (h, 3000, data), 0);
      journal_set_sync (h);
      EXPECT (journal_stop (h), 0);
    }
  EXPECT (journal_force (fs.j, tid), EIO);
  EXPECT (journal_force (fs.j, tid + 1), 0);
  unmount ();
}

/* A copy at the dirty call fails and the caller does not look: the freeze
   makes the copy.  */
void
test_copy_fails_once (void)
{
  int (*copy) (void *fs, uint64_t block, void *buf);
  struct journal_handle *h;
  struct journal_recovery r;
  unsigned char byte = 6;

  mount_with ("v3", false);
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (page_meta_write (&fs, h, 3000, 9, &byte, 1), 0);
  copy = d.copy_block;
  d.copy_block = no_copy;
  EXPECT (page_meta_write (&fs, h, 3000, 10, &byte, 1), EIO);
  d.copy_block = copy;
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  power_cut ();
  EXPECT (mfs_recover (&d, &r), 0);
  CHECK (d.now[3000 * 1024 + 9] == 6 && d.now[3000 * 1024 + 10] == 6,
	 "the change is not in the log");
  simdisk_free (&d);
}

/* A block that cannot be copied ends it, and then every call says so; what
   was committed is still read from the journal.  */
void
test_abort (const char *preset)
{
  struct journal_handle *h;
  struct journal_recovery r;
  unsigned char buf[1024], byte = 6;

  mount_with (preset, false);
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (page_meta_write (&fs, h, 3000, 9, &byte, 1), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (page_meta_write (&fs, h, 3001, 9, &byte, 1), 0);
  d.copy_block = no_copy;
  int err = journal_stop (h);
  if (!err)
    err = journal_sync (fs.j);
  CHECK (err != 0 && journal_error (fs.j) == EIO && fs.aborted == EIO,
	 "%s: %d, %d", preset, err, journal_error (fs.j));
  EXPECT (journal_start (fs.j, 4, 0, &h), EROFS);
  EXPECT (journal_start_worker (fs.j, NULL, 4, 0, &h), EROFS);
  EXPECT (journal_sync (fs.j), EIO);
  EXPECT (journal_checkpoint (fs.j, 5000), EROFS);
  CHECK (journal_read (fs.j, 3000, buf) && buf[9] == 6, "read");
  EXPECT (mfs_unmount (&fs), EROFS);
  EXPECT (mfs_recover (&d, &r), 0);
  CHECK (r.log_errno == EIO && r.transactions == 1
	 && d.now[3000 * 1024 + 9] == 6 && d.now[3001 * 1024 + 9] == 0,
	 "recovery after an abort");
  simdisk_free (&d);
}

/* What the log says is never more than what the disk has: when it is marked
   in use, when the tail moves, when it is marked empty.  */
void
test_open (void)
{
  struct journal_params p;
  struct journal_extent log[64];
  struct journal *j;
  struct journal_recovery r;

  make_image (&d, 1024, o.scratch);
  mfs_params (&p, &d, log, 64);
  unsigned char *sb = d.now + log[0].disk_block * 1024;
  EXPECT (journal_recover (&p, &r), 0);
  CHECK (!r.was_dirty, "a new log");
  jfmt_put32 (sb + 0x1c, 5);
  EXPECT (journal_open (&p, &j), EUCLEAN);
  jfmt_put32 (sb + 0x1c, 0);
  jfmt_put32 (sb + 0x20, (uint32_t) -EIO);
  EXPECT (journal_open (&p, &j), EUCLEAN);
  EXPECT (journal_recover (&p, &r), 0);
  CHECK (r.log_errno == EIO && jfmt_get32 (sb + 0x20) == 0, "errno");
  static const struct { unsigned off; uint32_t value; int err; } bad[] = {
    { 0x0, 0, EINVAL }, { 0x4, 2, EINVAL }, { 0xc, 4096, EINVAL },
    { 0x10, 1023, EINVAL }, { 0x10, 2000, EINVAL }, { 0x14, 0, EINVAL },
    { 0x14, 900, EINVAL }, { 0x1c, 1024, EINVAL }, { 0x28, 0x20, ENOTSUP },
    { 0x28, 0x18, EINVAL }, { 0x28, 0x80, ENOTSUP }, { 0x2c, 1, ENOTSUP },
    { 0x24, 2, ENOTSUP }, { 0x28, 0x10, EINVAL },
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    {
      uint32_t old = jfmt_get32 (sb + bad[i].off);
      jfmt_put32 (sb + bad[i].off, bad[i].value);
      int err = journal_open (&p, &j);
      CHECK (err == bad[i].err, "field %x: %d", bad[i].off, err);
      EXPECT (journal_recover (&p, &r), bad[i].err);
      jfmt_put32 (sb + bad[i].off, old);
    }
  p.block_size = 1000;
  EXPECT (journal_open (&p, &j), EINVAL);
  EXPECT (journal_recover (&p, &r), EINVAL);
  p.block_size = 1024;
  /* Version 1: replayed, and made version 2 when it is written.  */
  jfmt_put32 (sb + 4, 3);
  memset (sb + 0x24, 0x5A, 1024 - 0x24);
  EXPECT (journal_recover (&p, &r), 0);
  EXPECT (mfs_mount (&fs, &d, NULL, 1), 0);
  struct op_args a = { .dir = ROOT_INO, .name = "x", .sync = true };
  uint32_t ino;
  EXPECT (mfs_create (&fs, &a, &ino), 0);
  CHECK (jfmt_get32 (sb + 4) == 4 && jfmt_get32 (sb + 0x1c) == 1
	 && jfmt_get32 (sb + 0x28) == 0x11, "version 2 in use");
  unmount ();
}

/* A restart in a journal that gave up leaves a handle that can only be
   stopped.  */
void
test_dead_handle (void)
{
  struct journal_handle *h, *h2;
  unsigned char data[1024] = { 1 };

  mount_with ("hurdle", false);
  EXPECT (journal_start (fs.j, 4, 4, &h), 0);
  EXPECT (journal_start (fs.j, 250, 4, &h2), EAGAIN);
  EXPECT (journal_start (fs.j, 4, 9, &h2), 0);
  EXPECT (journal_stop (h2), 0);
  EXPECT (journal_restart (h, 1000, 0), E2BIG);
  EXPECT (journal_dirty_data (h, 3000, data), 0);
  journal_abort (fs.j, EIO, "a test");
  journal_abort (fs.j, ENOSPC, "only the first counts");
  EXPECT (journal_error (fs.j), EIO);
  EXPECT (journal_access (h, 3001), EROFS);
  EXPECT (journal_free (h, 3000, 1, true), EROFS);
  EXPECT (journal_extend (h, 1, 0), EROFS);
  EXPECT (journal_restart (h, 4, 0), EROFS);
  EXPECT (journal_access (h, 3000), EROFS);
  EXPECT (journal_dirty (h, 3000), EROFS);
  EXPECT (journal_dirty_data (h, 3000, data), EROFS);
  EXPECT (journal_free (h, 3000, 1, true), EROFS);
  EXPECT (journal_order (h, 5, 0, 1), EROFS);
  EXPECT (journal_extend (h, 1, 0), EROFS);
  journal_unorder (h, 5, 0);
  CHECK (journal_handle_tid (h) == 0 && journal_handle_credits (h) == 0,
	 "a dead handle");
  EXPECT (journal_stop (h), EROFS);
  EXPECT (mfs_unmount (&fs), EROFS);
  simdisk_free (&d);
}

/* File data was lost and there is no memory to remember that by: nothing
   may claim later that it was written.  */
void
test_error_not_kept (void)
{
  mount_with ("hurdle", false);
  write_some_data ();
  journal_tid_t tid = journal_running_tid (fs.j);
  d.aborted = note_abort;
  d.fail_io_after = d.fail_mem_after = 0;
  EXPECT (journal_force (fs.j, tid), EIO);
  CHECK (journal_error (fs.j) == ENOMEM
	 && !strcmp (last_words, "file data could not be written"),
	 "%d: %s", journal_error (fs.j), last_words);
  EXPECT (journal_force (fs.j, tid), EIO);
  EXPECT (mfs_unmount (&fs), EROFS);
  simdisk_free (&d);
}

/* A quiesce that finds file data lost says so, and leaves an empty log.  */
void
test_quiesce_after_data_error (void)
{
  mount_with ("hurdle", false);
  write_some_data ();
  d.fail_io_after = 0;
  EXPECT (journal_quiesce (fs.j), EIO);
  CHECK (fs.j->sb.start == 0 && !journal_error (fs.j), "the log is in use");
  EXPECT (journal_quiesce (fs.j), 0);
  unmount ();
}

static bool table_fails;

static void *
no_big_alloc (void *ctx, size_t size)
{
  return table_fails && size > 2000 ? NULL : simdisk_ops.alloc (ctx, size);
}

/* A free that fails has changed nothing: not what an earlier one of the same
   transaction did, either.  */
void
test_free_fails (void)
{
  struct journal_handle *h;
  struct journal_recovery r;
  struct journal_ops ops = simdisk_ops;
  unsigned char data[1024] = { 1 };

  mount_with ("hurdle", false);
  ops.alloc = no_big_alloc;
  fs.j->ops = fs.j->mem.ops = &ops;
  EXPECT (journal_start (fs.j, 8, 0, &h), 0);
  EXPECT (journal_dirty_data (h, 3001, data), 0);
  EXPECT (journal_dirty_data (h, 3002, data), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  EXPECT (journal_start (fs.j, 8, 900, &h), 0);
  EXPECT (journal_dirty_data (h, 3003, data), 0);
  EXPECT (journal_free (h, 3001, 1, true), 0);
  /* The second fails for want of credits, the third of memory.  */
  EXPECT (journal_free (h, 3000, 901, true), ENOSPC);
  table_fails = true;
  EXPECT (journal_free (h, 3000, 899, true), ENOMEM);
  table_fails = false;
  CHECK (h->revokes == 899 && fs.j->running->nrevokes == 1
	 && !journal_busy (fs.j, 3000) && journal_busy (fs.j, 3001),
	 "%u credits left, %u revoked", h->revokes, fs.j->running->nrevokes);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  power_cut ();
  EXPECT (mfs_recover (&d, &r), 0);
  CHECK (d.now[3001 * 1024] == 0 && d.now[3002 * 1024] == 1
	 && d.now[3003 * 1024] == 1 && r.revoked == 1, "%u revoked", r.revoked);
  simdisk_free (&d);
}

#define BIG_LOG 8192
#define FIRST_HOME 10000
#define HOMES 12000

/* Fill a log of BIG_LOG blocks by 200 transactions of 60 blocks each.
   Returns the memory that took.  */
static uint64_t
fill_big_log (struct journal_params *p, uint32_t *most)
{
  struct journal_handle *h;
  struct journal_stats st;
  struct journal *j;
  unsigned char data[1024] = { 1 };

  *most = 0;
  EXPECT (journal_open (p, &j), 0);
  for (uint32_t k = 0; k < HOMES; k++)
    {
      if (k % 60 == 0)
	EXPECT (journal_start (j, 60, 0, &h), 0);
      put_le32 (data + 4, k);
      EXPECT (journal_dirty_data (h, FIRST_HOME + k, data), 0);
      if (k % 60 == 59)
	{
	  journal_set_sync (h);
	  EXPECT (journal_stop (h), 0);
	}
      if (j->head > *most)
	*most = j->head;
    }
  journal_get_stats (j, &st);
  journal_abort (j, EIO, "the power is cut");
  EXPECT (journal_close (j), EROFS);
  return st.memory_peak;
}

/* Of a large log only so much is in use at one time as memory may be; but all
   of it in turn, and it can be replayed wherever it is.  */
void
test_memory_bound (void)
{
  struct journal_extent log = { .disk_block = 1000, .count = BIG_LOG };
  struct journal_params p = { .ops = &simdisk_ops, .ctx = &d,
    .block_size = 1024, .fs_blocks = FIRST_HOME + HOMES, .log = &log,
    .log_extents = 1
  };
  struct jfmt_sb sb = { .version = 2, .block_size = 1024, .maxlen = BIG_LOG,
    .first = 1, .sequence = 1
  };
  uint64_t peak[2];

  for (unsigned k = 0; k < 2; k++)
    {
      struct journal_recovery r;
      uint32_t most;

      simdisk_init (&d, 1024, p.fs_blocks);
      jfmt_sb_write (d.now + 1000 * 1024, &sb);
      EXPECT (journal_preset (&p.settings, "hurdle"), 0);
      p.settings.daemons = false;
      p.settings.memory_mb = k ? 64 : 1;
      peak[k] = fill_big_log (&p, &most);
      CHECK (most > BIG_LOG - 70, "no further than %u", most);
      EXPECT (journal_recover (&p, &r), 0);
      CHECK (r.transactions > 5, "%u replayed", r.transactions);
      for (uint32_t n = 0; n < HOMES; n++)
	CHECK (le32 (d.now + (FIRST_HOME + n) * 1024u + 4) == n, "block %u",
	       n);
      simdisk_free (&d);
    }
  CHECK (peak[0] < 1600 * 1024 && peak[1] > 6000 * 1024,
	 "%llu bytes, and without the bound %llu",
	 (unsigned long long) peak[0], (unsigned long long) peak[1]);
}
