/* The pieces: tables, the format, settings.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

void
test_index (void)
{
  static int values[4000];
  struct journal_mem mem = { .ops = &simdisk_ops, .ctx = &d };
  struct jindex x;
  struct rng r = { 5 };
  bool in[4000] = { false };
  size_t items = 0;

  simdisk_init (&d, 1024, 1);
  jindex_init (&x, &mem);
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
  /* What was reserved is there, and does not move.  */
  EXPECT (jindex_reserve (&x, 3000), 0);
  struct jslot *slots = x.slots;
  for (uint64_t k = 1; k <= 3000; k++)
    EXPECT (jindex_add (&x, k << 50, &values[0]), 0);
  CHECK (x.slots == slots, "it grew after all");
  jindex_destroy (&x);
  CHECK (mem.bytes == 0, "leak");
  simdisk_free (&d);
}

static void
count_value (void *value, void *arg)
{
  (void) value;
  ++*(size_t *) arg;
}

/* The table of blocks, by the numbers that blocks have: from 0 on, densely,
   coming and going.  */
void
test_table (enum journal_index_kind kind)
{
  static int values[600];
  struct journal_mem mem = { .ops = &simdisk_ops, .ctx = &d };
  struct jtable x = { 0 };
  struct rng r = { 7 };
  bool in[600] = { false };
  size_t seen = 0;

  simdisk_init (&d, 1024, 1);
  EXPECT (jtable_init (&x, &mem, 600, kind), 0);
  CHECK ((x.ops != NULL) == (kind == JOURNAL_INDEX_IHASH), "which table");
  jtable_remove (&x, 5);
  for (int k = 0; k < 200000; k++)
    {
      /* Some in bursts, so that 0 and its neighbours often go.  */
      uint32_t n = rng_below (&r, k % 1000 < 500 ? 600 : 8) * (k % 3 + 1)
	% 600;
      CHECK (jtable_find (&x, n) == (in[n] ? &values[n] : NULL), "find %u", n);
      if (!in[n])
	EXPECT (jtable_add (&x, n, &values[n]), 0);
      else
	jtable_remove (&x, n);
      in[n] = !in[n];
    }
  /* 0 is found behind an entry that was in its place and is gone.  */
  for (uint32_t n = 0; n < 600; n++)
    if (in[n])
      jtable_remove (&x, n);
  for (uint32_t n = 0; n < 600; n += 32)
    EXPECT (jtable_add (&x, n == 576 ? 0 : n + 32, &values[n]), 0);
  for (uint32_t n = 0; n < 576; n += 32)
    {
      jtable_remove (&x, n + 32);
      CHECK (jtable_find (&x, 0) == &values[576], "0 after %u is gone", n);
    }
  jtable_each (&x, count_value, &seen);
  CHECK (seen == 1, "%zu seen", seen);
  jtable_destroy (&x);
  CHECK (mem.bytes == 0, "leak");
  simdisk_free (&d);
}

static int
no_memory (uint64_t keys, void **table)
{
  (void) keys;
  (void) table;
  return ENOMEM;
}

/* A table that is not there, that cannot be made, or whose keys are too
   small.  */
void
test_no_table (void)
{
  struct journal_table_ops table = *simdisk_ops.ihash;
  struct journal_ops ops = simdisk_ops;
  struct journal_params p;
  struct journal_extent log[64];
  struct journal *j;

  make_image (&d, 1024, o.scratch);
  mfs_params (&p, &d, log, 64);
  EXPECT (journal_preset (&p.settings, "v2"), 0);
  p.settings.daemons = false;
  p.ops = &ops;
  ops.ihash = NULL;
  EXPECT (journal_open (&p, &j), ENOTSUP);
  ops.ihash = &table;
  table.make = no_memory;
  EXPECT (journal_open (&p, &j), ENOMEM);
  table.make = simdisk_ops.ihash->make;
  EXPECT (journal_open (&p, &j), 0);
  EXPECT (journal_close (j), 0);
  simdisk_free (&d);
}

void
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

void
test_settings (void)
{
  struct journal_settings s;
  static const char *const bad[] = { "index=btree", "copy", "=", "",
    "commit-ms=0", "commit-ms=x", "commit-ms=", "commit-ms=99999999999999999999",
    "commit-ms=3600001", "nothing=on", "alloc=x", "csum=v4", "revoke=x",
    "64bit=x", "front=x", "data-err=x", "stub=x", "stats=x", "daemons=x",
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
