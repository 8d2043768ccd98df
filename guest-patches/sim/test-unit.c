/* The interface, call by call.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../journal/jpriv.h"
#include "options.h"
#include "states.h"

#define EXPECT(call, want)						\
  do									\
    {									\
      int got_ = (call);						\
      CHECK (got_ == (want), "%s:%d: %s is %d, not %d", __FILE__,	\
	     __LINE__, #call, got_, (want));				\
    }									\
  while (0)

static struct options o;
static struct simdisk d;
static struct mfs fs;

static void
mount_with (const char *preset, bool daemons)
{
  struct journal_settings s;
  EXPECT (journal_preset (&s, preset), 0);
  s.daemons = daemons;
  s.commit_interval_ms = 20;
  make_image (&d, 1024, o.scratch);
  EXPECT (mfs_mount (&fs, &d, &s, 1), 0);
}

static void
unmount (void)
{
  EXPECT (mfs_unmount (&fs), 0);
  simdisk_free (&d);
}

static void
test_index (enum journal_index_kind kind)
{
  static int values[4000];
  struct journal_mem mem = { .ops = &simdisk_ops, .ctx = &d };
  struct jindex x;
  struct rng r = { 5 };
  bool in[4000] = { false };
  size_t items = 0;

  simdisk_init (&d, 1024, 1);
  jindex_init (&x, &mem, kind);
  CHECK (!jindex_find (&x, 1) && !jindex_remove (&x, 1), "empty");
  for (int k = 0; k < 200000; k++)
    {
      uint32_t n = rng_below (&r, k % 50000 < 25000 ? 4000 : 60);
      uint64_t key = (uint64_t) n * 64 + ((uint64_t) n << 40);
      void *found = jindex_find (&x, key);
      CHECK (found == (in[n] ? &values[n] : NULL), "find %u", n);
      if (!in[n])
	EXPECT (jindex_add (&x, key, &values[n]), 0);
      else
	CHECK (jindex_remove (&x, key) == &values[n], "remove %u", n);
      items += in[n] ? (size_t) -1 : 1;
      in[n] = !in[n];
    }
  size_t pos = 0, seen = 0;
  uint64_t key;
  int *v;
  while ((v = jindex_next (&x, &pos, &key)) != NULL)
    {
      CHECK (in[v - values] && key % 64 == 0, "step to %td", v - values);
      seen++;
    }
  CHECK (seen == items && x.items == items, "%zu of %zu", seen, items);
  /* It never grows beyond twice what it needed at its fullest.  */
  CHECK (x.size <= 16384, "%zu slots for 4000 items", x.size);
  jindex_destroy (&x);
  CHECK (mem.bytes == 0, "leak");
  simdisk_free (&d);
}

static void
test_format (void)
{
  /* Check values of the two sums for "123456789", without inversions.  */
  uint32_t c = jfmt_crc32c (~0u, "123456789", 9);
  CHECK (~c == 0xE3069283u, "crc32c is %x", ~c);
  struct rng r = { 3 };
  unsigned char text[300];
  for (uint32_t n = 0; n < 290; n++)
    {
      for (size_t k = 0; k < sizeof text; k++)
	text[k] = (unsigned char) rng_next (&r);
      CHECK (jfmt_crc32c (n, text + n % 9, n)
	     == jfmt_crc32c_table (n, text + n % 9, n), "crc32c of %u", n);
    }
  c = jfmt_crc32_be (~0u, "123456789", 9);
  CHECK (~c == 0xFC891918u, "crc32_be is %x", ~c);
  for (unsigned f = 0; f < 8; f++)
    {
      struct jfmt_sb sb = { .version = 2, .block_size = 1024,
	.maxlen = 1024, .first = 1,
	.incompat = (f & 1 ? JFMT_INCOMPAT_64BIT : 0)
	  | (f & 2 ? JFMT_INCOMPAT_CSUM_V3 : f & 4 ? JFMT_INCOMPAT_CSUM_V2
	     : 0)
      };
      struct jfmt_layout l;
      unsigned char buf[1024] = { 0 };
      size_t put = 12, get = 12;
      struct jfmt_tag t = { .block = f & 1 ? 0x123456789ull : 0x2345,
	.checksum = 0xBEEF
      }, u;
      jfmt_layout_init (&l, &sb);
      for (unsigned n = 0; n < l.tags_per_block; n++)
	{
	  t.flags = n ? JFMT_TAG_SAME_UUID : 0;
	  jfmt_tag_put (&l, buf, &put, &t);
	}
      CHECK (put <= 1024 - l.tail_bytes && put + l.tag_bytes
	     > 1024 - l.tail_bytes, "layout %u: %zu bytes", f, put);
      unsigned n = 0;
      while (jfmt_tag_get (&l, buf, &get, &u) && n < l.tags_per_block)
	{
	  CHECK (u.block == t.block && (!l.tail_bytes
					|| u.checksum == t.checksum),
		 "tag %u of layout %u", n, f);
	  n++;
	}
      CHECK (n == l.tags_per_block, "%u tags", n);
      for (unsigned k = 0; k < l.revokes_per_block; k++)
	jfmt_revoke_put (&l, buf, k, t.block + k);
      jfmt_revoke_count (&l, buf, l.revokes_per_block);
      EXPECT (jfmt_revoke_entries (&l, buf), (int) l.revokes_per_block);
      CHECK (jfmt_revoke_get (&l, buf, 3) == t.block + 3, "revoke");
      jfmt_revoke_count (&l, buf, l.revokes_per_block + 300);
      EXPECT (jfmt_revoke_entries (&l, buf), -1);
    }
}

static void
test_settings (void)
{
  struct journal_settings s;
  static const char *const bad[] = { "index=btree", "copy", "=", "",
    "commit-ms=0", "commit-ms=x", "nothing=on",
    "a-name-that-is-longer-than-any=on"
  };
  EXPECT (journal_preset (&s, "v9"), EINVAL);
  EXPECT (journal_preset (&s, "v2"), 0);
  CHECK (s.index == JOURNAL_INDEX_IHASH && s.copy == JOURNAL_COPY_EAGER
	 && s.alloc == JOURNAL_ALLOC_MALLOC && !s.revoke, "v2");
  EXPECT (journal_preset (&s, "v4"), 0);
  CHECK (s.index == JOURNAL_INDEX_ROBINHOOD && s.alloc
	 == JOURNAL_ALLOC_SLAB && s.copy == JOURNAL_COPY_QUIESCE, "v4");
  EXPECT (journal_setting (&s, "copy=eager"), 0);
  EXPECT (journal_setting (&s, "index=ihash"), 0);
  EXPECT (journal_setting (&s, "alloc=malloc"), 0);
  EXPECT (journal_setting (&s, "csum=v2"), 0);
  EXPECT (journal_setting (&s, "stub"), 0);
  EXPECT (journal_setting (&s, "stats=on"), 0);
  EXPECT (journal_setting (&s, "revoke=off"), 0);
  EXPECT (journal_setting (&s, "front=off"), 0);
  EXPECT (journal_setting (&s, "64bit=on"), 0);
  EXPECT (journal_setting (&s, "daemons=off"), 0);
  EXPECT (journal_setting (&s, "commit-ms=100"), 0);
  EXPECT (journal_setting (&s, "worker-credits=9"), 0);
  CHECK (s.copy == JOURNAL_COPY_EAGER && s.stub && s.stats && !s.revoke
	 && s.bits64 && s.commit_interval_ms == 100
	 && s.worker_credits == 9, "settings");
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    EXPECT (journal_setting (&s, bad[i]), EINVAL);
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
static void
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

/* A change after the content was given is not lost, nor is one that was
   given after a change.  */
static void
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

/* File data that could not be written: an error for who waits, once, or
   the end, as the setting says.  */
static void
test_data_error (bool give_up)
{
  struct op_args a = { .dir = ROOT_INO, .name = "x", .offset = 1 };
  uint32_t ino;

  mount_with ("hurdle", false);
  EXPECT (journal_setting (&fs.j->set, give_up ? "data-err=abort"
			   : "data-err=report"), 0);
  EXPECT (mfs_create (&fs, &a, &ino), 0);
  EXPECT (mfs_sync (&fs), 0);
  a.dir = ino;
  a.offset = 0;
  a.length = 2;
  EXPECT (mfs_write (&fs, &a, 1), 0);
  d.fail_io_after = 0;
  EXPECT (journal_sync (fs.j), EIO);
  CHECK ((journal_error (fs.j) != 0) == give_up, "give up");
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

/* A block that cannot be copied ends it, and then every call says so; what
   was committed is still read from the journal.  */
static void
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

struct waiter
{
  pthread_t thread;
  uint32_t n;
};

static void *
waiter_main (void *arg)
{
  struct waiter *w = arg;
  struct journal_handle *h;
  unsigned char data[1024];
  memset (data, (int) w->n, sizeof data);
  for (int k = 0; k < 20; k++)
    {
      EXPECT (journal_start (fs.j, 4, 0, &h), 0);
      EXPECT (journal_dirty_data (h, 3000 + w->n, data), 0);
      journal_set_sync (h);
      CHECK (journal_needs_sync (h), "sync");
      EXPECT (journal_stop (h), 0);
    }
  return NULL;
}

static int (*plain_flush) (void *ctx);

static int
slow_flush (void *ctx)
{
  usleep (2000);
  return plain_flush (ctx);
}

/* Eight threads that each want twenty commits share them: while one is
   being written, the rest gather in the next.  */
static void
test_group_commit (bool daemons)
{
  struct waiter w[8];
  struct journal_stats st;
  struct journal_ops slow = simdisk_ops;

  mount_with ("hurdle", daemons);
  EXPECT (journal_quiesce (fs.j), 0);
  plain_flush = slow.flush;
  slow.flush = slow_flush;
  fs.j->ops = &slow;
  for (uint32_t n = 0; n < 8; n++)
    {
      w[n].n = n;
      pthread_create (&w[n].thread, NULL, waiter_main, &w[n]);
    }
  for (uint32_t n = 0; n < 8; n++)
    pthread_join (w[n].thread, NULL);
  journal_get_stats (fs.j, &st);
  CHECK (st.commits >= 20 && st.commits <= 120, "%llu commits for 160 waits",
	 (unsigned long long) st.commits);
  fs.j->ops = &simdisk_ops;
  unmount ();
}

/* A transaction that nobody waits for is committed when it is old.  */
static void
test_interval (void)
{
  struct journal_handle *h;
  struct journal_stats st;
  unsigned char data[1024] = { 7 };

  mount_with ("hurdle", true);
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (journal_dirty_data (h, 3000, data), 0);
  EXPECT (journal_stop (h), 0);
  for (int k = 0; k < 200; k++)
    {
      journal_get_stats (fs.j, &st);
      if (st.commits)
	break;
      usleep (10000);
    }
  CHECK (st.commits == 1, "%llu commits", (unsigned long long) st.commits);
  unmount ();
}

struct worker
{
  struct journal_handle *parent;
  int state;
};

static void *
committer_main (void *arg)
{
  (void) arg;
  EXPECT (journal_sync (fs.j), 0);
  return NULL;
}

static void *
worker_main (void *arg)
{
  struct worker *w = arg;
  struct journal_handle *h;
  unsigned char data[1024] = { 9 };
  if (w->parent)
    EXPECT (journal_start_worker (fs.j, w->parent, 100, 0, &h), EAGAIN);
  EXPECT (journal_start_worker (fs.j, NULL, 2000, 0, &h), EAGAIN);
  EXPECT (journal_start_worker (fs.j, w->parent, 2, 0, &h), 0);
  EXPECT (journal_dirty_data (h, w->parent ? 3001 : 3002, data), 0);
  EXPECT (journal_stop (h), 0);
  return NULL;
}

/* While a commit waits for a handle, a page worker that the handle waits
   for gets in, with the handle's credits or with those kept back.  */
static void
test_worker (void)
{
  struct journal_handle *h;
  pthread_t committer, worker;
  struct worker w = { 0 };

  mount_with ("hurdle", false);
  EXPECT (journal_start (fs.j, 10, 0, &h), 0);
  EXPECT (journal_access (h, 3000), 0);
  EXPECT (journal_dirty (h, 3000), 0);
  pthread_create (&committer, NULL, committer_main, NULL);
  while (__atomic_load_n (&fs.j->running->state, __ATOMIC_SEQ_CST)
	 != JTXN_LOCKED)
    usleep (1000);
  for (int k = 0; k < 2; k++)
    {
      w.parent = k ? h : NULL;
      pthread_create (&worker, NULL, worker_main, &w);
      pthread_join (worker, NULL);
    }
  CHECK (journal_handle_credits (h) == 8, "%u credits are left",
	 journal_handle_credits (h));
  EXPECT (journal_stop (h), 0);
  pthread_join (committer, NULL);
  EXPECT (journal_quiesce (fs.j), 0);
  CHECK (d.now[3001 * 1024] == 9 && d.now[3002 * 1024] == 9,
	 "the workers' blocks");
  unmount ();
}

/* What the log says is never more than what the disk has: when it is marked
   in use, when the tail moves, when it is marked empty.  */
static void
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
  test_index (JOURNAL_INDEX_ROBINHOOD);
  test_index (JOURNAL_INDEX_IHASH);
  test_format ();
  test_settings ();
  test_handles ();
  test_revoke_cancel ();
  test_escape ();
  test_sequence ();
  test_pages ();
  test_given ();
  test_abort ("hurdle");
  test_abort ("v4");
  test_data_error (false);
  test_data_error (true);
  test_group_commit (false);
  test_group_commit (true);
  test_interval ();
  test_worker ();
  test_open ();
  test_stats ();
  printf ("unit: all right\n");
  options_done (&o);
  return 0;
}
