/* Replay of logs made by hand, field by field.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "unit.h"

/* A log in two pieces on a disk without a file system.  */
#define BS 1024
static const struct journal_extent pieces[2] = { { 10, 700 }, { 800, 324 } };
static struct simdisk disk;
static struct journal_ops ops;
static struct journal_params p;
static struct jfmt_layout l;
static uint32_t at;		/* Next log block.  */

static bool
five_is_protected (void *ctx, uint64_t block)
{
  (void) ctx;
  return block == 5;
}

static unsigned char *
log_at (uint32_t pos)
{
  return disk.now + (pos < 700 ? 10 + pos : 800 + pos - 700) * BS;
}

static void
new_log (uint32_t compat, uint32_t incompat, uint32_t start)
{
  struct jfmt_sb sb = { .version = 2, .block_size = BS, .maxlen = 1024,
    .first = 1, .sequence = 7, .start = start, .nr_users = 1,
    .compat = compat, .incompat = incompat,
    .checksum_type = incompat & 0x18 ? JFMT_CRC32C : 0
  };
  memset (disk.now, 0, disk.blocks * BS);
  jfmt_sb_write (log_at (0), &sb);
  jfmt_layout_init (&l, &sb);
  at = start;
}

static unsigned char *
next_block (void)
{
  unsigned char *b = log_at (at);
  at = at + 1 == 1024 ? 1 : at + 1;
  return b;
}

/* A descriptor for the blocks in LIST, up to a 0, and their data.  */
static void
put_blocks (uint32_t tid, const uint64_t *list)
{
  unsigned char *desc = next_block ();
  size_t pos = JFMT_HEADER_BYTES;
  jfmt_header (desc, JFMT_DESCRIPTOR, tid);
  for (unsigned n = 0; list[n]; n++)
    {
      unsigned char *data = next_block ();
      memset (data, (int) tid, BS);
      struct jfmt_tag tag = { .block = list[n],
	.flags = (n ? JFMT_TAG_SAME_UUID : 0)
	  | (list[n + 1] ? 0 : JFMT_TAG_LAST),
	.checksum = jfmt_tag_sum (&l, tid, data, 0, data)
      };
      jfmt_tag_put (&l, desc, &pos, &tag);
    }
  jfmt_tail_put (&l, desc);
}

static unsigned char *
put_revokes (uint32_t tid, const uint64_t *list)
{
  unsigned char *b = next_block ();
  unsigned n = 0;
  jfmt_header (b, JFMT_REVOKE, tid);
  for (; list[n]; n++)
    jfmt_revoke_put (&l, b, n, list[n]);
  jfmt_revoke_count (&l, b, n);
  jfmt_tail_put (&l, b);
  return b;
}

static unsigned char *
put_commit (uint32_t tid, uint32_t sec)
{
  unsigned char *b = next_block ();
  jfmt_commit_put (&l, b, tid, sec * (uint64_t) 1000000000u, 0);
  return b;
}

static struct journal_recovery
replay (void)
{
  struct journal_recovery r;
  EXPECT (journal_recover (&p, &r), 0);
  CHECK (r.was_dirty, "nothing to replay");
  return r;
}

static unsigned
home (uint64_t block)
{
  return disk.now[block * BS];
}

#define LIST(...) (const uint64_t[]) { __VA_ARGS__, 0 }

/* Until e2fsck takes the error out, a log that was damaged is.  */
static void
damage_is_kept (void)
{
  struct journal_recovery r;
  struct journal *j;

  EXPECT (journal_recover (&p, &r), 0);
  CHECK (r.corrupt && ! r.was_dirty && r.blocks == 0, "forgotten");
  EXPECT (journal_inspect (&p, &r), 0);
  CHECK (r.corrupt && r.log_errno == JFMT_DAMAGED, "forgotten");
  EXPECT (journal_open (&p, &j), EUCLEAN);
}

static void
where_blocks_may_go (void)
{
  new_log (0, 1, 1000);
  put_blocks (7, LIST (1500, 5, 10, 700, 709, 800, 1123, 1124, 4095, 4096,
		       0xFFFFFFFF));
  put_commit (7, 100);
  /* Over the end of the ring.  */
  put_blocks (8, LIST (2000, 2001, 2002, 2003, 2004, 2005, 2006, 2007, 2008,
		       2009, 2010, 2011, 2012));
  put_commit (8, 101);
  CHECK (at < 100, "the log did not wrap");
  struct journal_recovery r = replay ();
  CHECK (r.transactions == 2 && r.blocks == 16 && r.bad_blocks == 8
	 && r.corrupt && r.next_tid == 10, "%u blocks, %u bad", r.blocks,
	 r.bad_blocks);
  CHECK (home (1500) == 7 && home (1124) == 7 && home (4095) == 7
	 && home (5) == 0 && home (2000) == 8 && home (2012) == 8, "homes");
  damage_is_kept ();
}

static void
revokes (void)
{
  for (uint32_t incompat = 0x1; incompat <= 0x13; incompat += 2)
    {
      if ((incompat & 4) || (incompat & 0x18) == 0x18)
	continue;
      new_log (0, incompat, 1);
      put_blocks (7, LIST (2000, 2001, 2002, 2003));
      put_commit (7, 100);
      put_revokes (8, LIST (2001, 2002));
      put_blocks (8, LIST (2004));
      put_commit (8, 100);
      put_blocks (9, LIST (2002));
      put_commit (9, 100);
      /* Not committed: neither its revokes nor its blocks count.  */
      put_revokes (10, LIST (2000));
      put_blocks (10, LIST (2003));
      struct journal_recovery r = replay ();
      CHECK (r.transactions == 3 && r.revoked == 2 && !r.corrupt
	     && !r.torn_end && home (2000) == 7 && home (2001) == 0
	     && home (2002) == 9 && home (2003) == 7 && home (2004) == 8,
	     "features %x: %u revoked", incompat, r.revoked);
    }
}

static void
ends (void)
{
  struct journal_recovery r;

  /* Nothing but revokes, all round the ring: no end, but one walk.  */
  new_log (0, 1, 1);
  for (int n = 0; n < 1023; n++)
    put_revokes (7, LIST (2000));
  r = replay ();
  CHECK (r.transactions == 0, "an endless log");
  /* Descriptors full of tags, none the last.  */
  new_log (0, 1, 1);
  for (int n = 0; n < 1023; n++)
    {
      unsigned char *b = next_block ();
      memset (b, 0, BS);
      for (size_t k = 8 + 6; k < BS; k += 8)
	b[k + 5] = JFMT_TAG_SAME_UUID;
      jfmt_header (b, JFMT_DESCRIPTOR, 7);
    }
  r = replay ();
  CHECK (r.transactions == 0, "an endless descriptor");
  /* A revoke block that counts too many or too few bytes.  */
  for (uint32_t bytes = 0; bytes < 2000; bytes += 1999)
    {
      new_log (0, 1, 1);
      put_blocks (7, LIST (2000));
      put_commit (7, 100);
      jfmt_put32 (put_revokes (8, LIST (2000)) + 12, bytes);
      put_blocks (8, LIST (2001));
      put_commit (8, 100);
      r = replay ();
      CHECK (r.transactions == 1 && r.corrupt && home (2000) == 7
	     && home (2001) == 0, "a revoke block of %u bytes", bytes);
    }
  /* An unknown block ends the log.  */
  new_log (0, 1, 1);
  put_blocks (7, LIST (2000));
  jfmt_header (next_block (), (enum jfmt_type) 9, 7);
  r = replay ();
  CHECK (r.transactions == 0 && !r.corrupt, "an unknown block");
}

/* A commit block with a bad sum: a leftover, a torn end, or damage.  */
static void
bad_commits (void)
{
  static const struct
  {
    uint32_t sec;
    bool followed, corrupt, torn;
  } cases[] = {
    { 99, false, false, false }, { 99, true, false, false },
    { 100, false, false, true }, { 101, true, true, false },
  };
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
    {
      new_log (0, 0x11, 1);
      put_blocks (7, LIST (2000));
      put_commit (7, 100);
      put_blocks (8, LIST (2001));
      put_commit (8, cases[k].sec)[0x3c] ^= 1;
      if (cases[k].followed)
	{
	  put_blocks (9, LIST (2002));
	  put_commit (9, 102);
	}
      struct journal_recovery r = replay ();
      CHECK (r.transactions == 1 && r.corrupt == cases[k].corrupt
	     && r.torn_end == cases[k].torn && home (2001) == 0
	     && home (2002) == 0, "case %zu", k);
    }
}

/* Sums of version 1: right, wrong, none, of another kind.  */
static void
old_sums (void)
{
  for (int k = 0; k < 6; k++)
    {
      new_log (JFMT_COMPAT_CHECKSUM, 1, 1);
      put_blocks (7, LIST (2000, 2001));
      uint32_t sum = ~0u;
      for (uint32_t n = 1; n < at; n++)
	sum = jfmt_crc32_be (sum, log_at (n), BS);
      unsigned char *c = next_block ();
      jfmt_commit_put (&l, c, 7, 100, sum);
      if (k == 1)
	c[0x10] ^= 1;
      if (k == 2)
	memset (c + 0xc, 0, 8);
      if (k == 3)
	c[0xc] = JFMT_CRC32C;
      if (k == 4)
	c[0xd] = 20;
      if (k == 5)
	memset (c + 0xc, 0, 2);
      struct journal_recovery r = replay ();
      bool good = k == 0 || k == 2;
      CHECK (r.transactions == (good ? 1 : 0) && r.torn_end == !good
	     && home (2001) == (good ? 7 : 0), "sum %d", k);
    }
}

/* What the caller says of the disk is checked as well.  */
static void
bad_params (void)
{
  static const struct
  {
    uint32_t bs;
    uint64_t fs_blocks;
    unsigned extents;
    int err;
  } cases[] = {
    { 512, 4096, 2, EINVAL }, { 131072, 4096, 2, EINVAL },
    { 3072, 4096, 2, EINVAL }, { 1024, 4096, 0, EINVAL },
    { 1024, 900, 2, EINVAL }, { 1024, 9, 2, EINVAL },
    { 1024, 4096, 1, EINVAL }, { 2048, 4096, 2, EINVAL },
  };
  struct journal_params good = p;
  struct journal_recovery r;
  struct journal *j;
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
    {
      new_log (0, 1, 0);
      p.block_size = cases[k].bs;
      p.fs_blocks = cases[k].fs_blocks;
      p.log_extents = cases[k].extents;
      EXPECT (journal_recover (&p, &r), cases[k].err);
      EXPECT (journal_open (&p, &j), cases[k].err);
      p = good;
    }
}

static journal_tid_t last_committed;

static void
note_commit (void *ctx, journal_tid_t tid)
{
  (void) ctx;
  last_committed = tid;
}

/* A journal on a log in two pieces; a number that wraps; a caller without
   the calls that may be missing.  */
static void
numbers_wrap (void)
{
  struct journal *j;
  struct journal_handle *h;
  unsigned char data[BS];

  new_log (0, 1, 0);
  jfmt_put32 (log_at (0) + 0x18, UINT32_MAX - 2);
  p.settings.data_abort = false;
  EXPECT (journal_open (&p, &j), 0);
  j->next_tid = UINT32_MAX - 4;
  j->committed = UINT32_MAX - 5;
  for (int k = 1; k <= 10; k++)
    {
      memset (data, k, BS);
      EXPECT (journal_start (j, 90, 0, &h), 0);
      for (uint32_t b = 0; b < 90; b++)
	EXPECT (journal_dirty_data (h, 2000 + b, data), 0);
      EXPECT (journal_stop (h), 0);
      EXPECT (journal_sync (j), 0);
      CHECK (last_committed == (uint32_t) (UINT32_MAX - 5 + k),
	     "committed %u", last_committed);
    }
  journal_abort (j, EIO, "the power fails");
  EXPECT (journal_close (j), EROFS);
  struct journal_recovery r = replay ();
  CHECK (r.transactions >= 2 && !r.corrupt && home (2000) == 10
	 && home (2089) == 10, "%u transactions", r.transactions);
}

void
test_replay (void)
{
  simdisk_init (&disk, BS, 4096);
  ops = simdisk_ops;
  ops.is_protected = five_is_protected;
  ops.aborted = NULL;
  ops.committed = note_commit;
  p.ops = &ops;
  p.ctx = &disk;
  p.block_size = BS;
  p.fs_blocks = 4096;
  p.log = pieces;
  p.log_extents = 2;
  journal_preset (&p.settings, "hurdle");
  p.settings.daemons = false;
  where_blocks_may_go ();
  revokes ();
  ends ();
  bad_commits ();
  old_sums ();
  bad_params ();
  numbers_wrap ();
  simdisk_free (&disk);
}
