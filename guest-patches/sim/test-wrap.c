/* Large transactions in a log that is always full.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdio.h>
#include <stdlib.h>

#include "jformat.h"
#include "options.h"
#include "states.h"

/* Every transaction writes its number into the same blocks, as many as a
   transaction may have.  The log holds four of them, so each reuses room
   that was freed a moment ago.  In every crash state all blocks have one
   number, and it is not below the last that was acknowledged.  A block now
   and then begins with the log's magic number.  */

#define FIRST 2000

struct oracle
{
  const struct simdisk *d, *run;
  uint32_t n;
  size_t at;
  uint32_t begun, durable;
  char text[100];
};

static const char *
judge_more (void *arg, size_t record)
{
  struct oracle *o = arg;
  uint32_t bs = o->d->block_size;
  uint32_t v = le32 (o->d->now + (size_t) FIRST * bs + 4);

  for (; o->at <= record; o->at++)
    if (o->run->records[o->at].kind == REC_MARK)
      {
	uint64_t m = o->run->records[o->at].block;
	*(m & 1 ? &o->durable : &o->begun) = (uint32_t) (m >> 1);
      }
  for (uint32_t k = 0; k < o->n; k++)
    {
      const unsigned char *p = o->d->now + (size_t) (FIRST + k) * bs;
      if (le32 (p + 4) != v || le32 (p + bs - 4) != v)
	{
	  snprintf (o->text, sizeof o->text, "block %u has %u and block 0 has"
		    " %u", k, le32 (p + 4), v);
	  return o->text;
	}
      if (v && jfmt_get32 (p) != (k % 37 == v % 37 ? JFMT_MAGIC : v))
	return "the first word is another";
    }
  if (v < o->durable || v > o->begun)
    {
      snprintf (o->text, sizeof o->text, "transaction %u, and %u was"
		" acknowledged and %u begun", v, o->durable, o->begun);
      return o->text;
    }
  return NULL;
}

static void
write_all (struct mfs *fs, uint32_t first, uint32_t n, uint32_t v)
{
  struct journal_handle *h;
  unsigned char buf[65536];
  uint32_t bs = fs->g.bs;
  CHECK (journal_start (fs->j, n, 0, &h) == 0, "start");
  for (uint32_t k = first; k < first + n; k++)
    {
      memset (buf, (int) k, bs);
      jfmt_put32 (buf, k % 37 == v % 37 ? JFMT_MAGIC : v);
      put_le32 (buf + 4, v);
      put_le32 (buf + bs - 4, v);
      CHECK (journal_dirty_data (h, FIRST + k, buf) == 0, "dirty");
    }
  CHECK (journal_stop (h) == 0, "stop");
}

int
main (int argc, char **argv)
{
  struct options o;
  unsigned long states = 0, tails = 0;

  options_parse (&o, argc, argv);
  for (uint64_t seed = o.seed; seed < o.seed + o.seeds; seed++)
    {
      struct simdisk d, start;
      struct mfs fs;
      struct journal_limits l;
      struct journal_stats st;
      struct oracle oracle = { .d = &start, .run = &d };
      struct rng rng = { seed };

      make_image (&d, o.block_size, o.scratch);
      if (seed % 2)
	halve_log (&d);
      CHECK (mfs_mount (&fs, &d, &o.settings, seed) == 0, "mount");
      journal_get_limits (fs.j, &l);
      uint32_t n = l.max_handle - 4 - rng_below (&rng, 3);
      oracle.n = 2 * n;
      simdisk_init (&start, d.block_size, d.blocks);
      memcpy (start.now, d.now, d.blocks * d.block_size);
      d.recording = true;
      for (uint32_t v = 1; v <= o.ops / 2; v++)
	{
	  simdisk_mark (&d, MARK_BEGIN (v));
	  /* The two handles are one operation here: nothing else runs, and
	     nothing commits between them, or the oracle says so.  */
	  struct journal_handle *h;
	  if (seed % 3 == 0)
	    CHECK (journal_start (fs.j, 2, 0, &h) == 0
		   && journal_stop (h) == 0, "start");
	  write_all (&fs, 0, n, v);
	  write_all (&fs, n, n, v);
	  CHECK (journal_sync (fs.j) == 0, "sync");
	  simdisk_mark (&d, MARK_DURABLE (v));
	}
      d.recording = false;
      journal_get_stats (fs.j, &st);
      tails += st.tail_updates;
      struct campaign c = {
	.disk = &start, .records = d.records, .nrecords = d.nrecords,
	.seed = seed, .subsets = o.subsets, .judge_more = judge_more,
	.judge_arg = &oracle, .scratch = o.scratch,
	.e2fsck_every = o.e2fsck_every
      };
      campaign_run (&c);
      states += c.states;
      CHECK (mfs_unmount (&fs) == 0, "unmount");
      simdisk_free (&d);
      simdisk_free (&start);
    }
  CHECK (tails > o.seeds, "the log was never full");
  printf ("wrap: %lu states with one number everywhere, the tail moved %lu"
	  " times\n", states, tails);
  options_done (&o);
  return 0;
}
