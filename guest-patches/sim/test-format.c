/* Logs of others, and damaged logs: our replay against e2fsck's.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "jformat.h"
#include "options.h"
#include "states.h"

static unsigned long same, better, refused, damaged_seen, foreign;

static bool
in_log (const struct journal_params *p, uint32_t pos, uint64_t *block)
{
  for (unsigned i = 0; i < p->log_extents; i++)
    {
      if (pos < p->log[i].count)
	{
	  *block = p->log[i].disk_block + pos;
	  return true;
	}
      pos -= p->log[i].count;
    }
  return false;
}

/* Take every header of transaction SEQ or later out of the log: what e2fsck
   then finds is the log up to SEQ.  */
static void
cut_log (struct simdisk *d, uint32_t seq)
{
  struct journal_params p;
  struct journal_extent log[64];
  uint64_t b;
  uint32_t type, tid;

  mfs_params (&p, d, log, 64);
  for (uint32_t pos = 1; in_log (&p, pos, &b); pos++)
    {
      unsigned char *block = d->now + b * d->block_size;
      if (jfmt_is_header (block, &type, &tid) && (int32_t) (tid - seq) >= 0)
	memset (block, 0, JFMT_HEADER_BYTES);
    }
}

static struct simdisk
copy_disk (const struct simdisk *d)
{
  struct simdisk c;
  simdisk_init (&c, d->block_size, d->blocks);
  memcpy (c.now, d->now, d->blocks * d->block_size);
  return c;
}

static void
replay_cut (const struct simdisk *image, struct simdisk *result,
	    const char *scratch)
{
  e2fsck_try (image, result, scratch);
}

/* Replay D both ways.  Our tree has to be e2fsck's; if the log is damaged,
   it may instead be what e2fsck makes of the log up to the transaction
   that we found damaged, where e2fsck replays less or nothing.  */
static void
compare (const struct simdisk *d, const char *scratch, const char *what)
{
  struct simdisk ours = copy_disk (d), theirs = copy_disk (d);
  struct journal_recovery r;
  int err = mfs_recover (&ours, &r);

  if (err)
    {
      /* Refused: nothing may have changed.  */
      CHECK (err == EINVAL || err == ENOTSUP, "%s: %s", what,
	     strerror (err));
      CHECK (!memcmp (ours.now, d->now, d->blocks * d->block_size),
	     "%s: refused, and changed", what);
      refused++;
    }
  else
    {
      bool sound = e2fsck_try (d, &theirs, scratch);
      damaged_seen += r.corrupt;
      CHECK (sound || r.corrupt || r.torn_end,
	     "%s: e2fsck finds damage and we do not", what);
      bool orphans = le32 (ours.now + 1024 + 0xE8) != 0;
      if (orphans)
	debugfs_replay (d, &theirs, scratch);
      if (images_differ (&ours, &theirs) == 0)
	same++;
      else
	{
	  CHECK (r.corrupt || r.torn_end,
		 "%s: another tree, and no damage", what);
	  struct simdisk cut = copy_disk (d);
	  cut_log (&cut, r.next_tid - 1);
	  (orphans ? debugfs_replay : replay_cut) (&cut, &theirs,
							  scratch);
	  uint32_t b = images_differ (&ours, &theirs);
	  CHECK (b == 0, "%s: block %u differs even so", what, b);
	  better++;
	  simdisk_free (&cut);
	}
      /* Replayed is replayed: a second time finds nothing to do.  */
      CHECK (mfs_recover (&ours, &r) == 0 && !r.was_dirty,
	     "%s: the log is still in use", what);
    }
  simdisk_free (&ours);
  simdisk_free (&theirs);
}

/* A log with several transactions, as a crash leaves it.  */
static void
make_log (struct simdisk *d, const struct options *o, uint64_t seed)
{
  struct mfs fs;
  struct scenario s;

  make_image (d, o->block_size, o->scratch);
  CHECK (mfs_mount (&fs, d, &o->settings, seed) == 0, "the mount failed");
  scenario_init (&s, d, &fs, seed, 600);
  /* Long enough, for every second seed, that the log has wrapped.  */
  for (int i = 0; i < (seed % 2 ? 60 : 600); i++)
    {
      CHECK (scenario_step (&s) == 0, "an operation failed");
      if (i % 5 == 4)
	CHECK (scenario_sync (&s) == 0, "the sync failed");
      if (i % 60 == 59)
	CHECK (journal_quiesce (fs.j) == 0, "quiesce failed");
    }
  /* The orphan list is e2fsck's to work off: leave it out of this.  */
  for (int n = 0; n < MODEL_NODES; n++)
    while (s.m.node[n].used && s.m.node[n].opens-- > 0)
      CHECK (mfs_close (&fs, s.m.node[n].ino) == 0, "the close failed");
  struct op_args a = { .dir = ROOT_INO, .name = "last", .offset = 9,
    .mode = 0600
  };
  uint32_t ino;
  for (int i = 0; i < 5; i++)
    {
      char name[16];
      snprintf (name, sizeof name, "last%d", i);
      a.name = name;
      CHECK (mfs_create (&fs, &a, &ino) == 0 && mfs_sync (&fs) == 0,
	     "the last operations failed");
      if (i % 2)
	CHECK (mfs_unlink (&fs, &a, false) == 0 && mfs_sync (&fs) == 0,
	       "the last operations failed");
    }
  d->fail_io_after = 0;
  d->sticky = true;
  mfs_unmount (&fs);
  simdisk_no_faults (d);
  scenario_free (&s);
}

/* The disk blocks of headers in the log that a replay would look at.  */
static unsigned
live_headers (struct simdisk *d, uint64_t *blocks, unsigned max)
{
  struct journal_params p;
  struct journal_extent log[64];
  struct journal_recovery r;
  uint64_t b;
  uint32_t type, tid;
  unsigned n = 0;

  mfs_params (&p, d, log, 64);
  CHECK (journal_inspect (&p, &r) == 0, "no log");
  for (uint32_t pos = 1; in_log (&p, pos, &b); pos++)
    if (jfmt_is_header (d->now + b * d->block_size, &type, &tid)
	&& tid - r.first_tid < r.transactions && n < max)
      blocks[n++] = b;
  CHECK (n > 0, "a log without transactions");
  return n;
}

/* Damage one thing; says what in TEXT.  */
static void
damage (struct simdisk *d, struct rng *rng, char *text, size_t size)
{
  static uint64_t headers[1024];
  unsigned n = live_headers (d, headers, 1024);
  uint64_t b = headers[rng_below (rng, n)];
  unsigned char *p = d->now + b * d->block_size;
  uint32_t bs = d->block_size, off = rng_below (rng, bs);
  uint32_t type = jfmt_get32 (p + 4), how = rng_below (rng, 7);

  snprintf (text, size, "damage %u at %u of block %llu, type %u", how, off,
	    (unsigned long long) b, type);
  switch (how)
    {
    case 0:			/* A bit of a header block.  */
      p[off] ^= (unsigned char) (1u << rng_below (rng, 8));
      break;
    case 1:			/* A bit of what follows: data, mostly.  */
      if (b + 1 < d->blocks)
	p[bs + off] ^= (unsigned char) (1u << rng_below (rng, 8));
      break;
    case 2:			/* The block never got there.  */
      memset (p, 0, bs);
      break;
    case 3:			/* Half of it did.  */
      memset (p + bs / 2, (int) rng_below (rng, 256), bs / 2);
      break;
    case 4:			/* Another transaction's number.  */
      jfmt_put32 (p + 8, jfmt_get32 (p + 8) + 1 + rng_below (rng, 3));
      break;
    case 5:			/* Another type.  */
      jfmt_put32 (p + 4, 1 + rng_below (rng, 8));
      break;
    case 6:			/* The first words, where counts are.  */
      jfmt_put32 (p + 12, (uint32_t) rng_next (rng));
      break;
    }
}

/* Replay what debugfs makes of SCRIPT.  */
static void
judge_foreign (struct simdisk *d, const char *script, const char *scratch,
	       const char *what, uint32_t transactions)
{
  struct journal_params p;
  struct journal_extent log[64];
  struct journal_recovery r;

  debugfs_script (d, script, scratch);
  mfs_params (&p, d, log, 64);
  CHECK (journal_inspect (&p, &r) == 0 && r.transactions >= transactions,
	 "%s: %u transactions found", what, r.transactions);
  compare (d, scratch, what);
  foreign++;
  simdisk_free (d);
}

/* Logs that debugfs writes: VERSION of checksums, or none.  */
static void
foreign_log (const struct options *o, unsigned version, bool revoke,
	     bool commit)
{
  struct simdisk d;
  char script[600], what[80], open[40] = "jo";

  make_image (&d, o->block_size, o->scratch);
  snprintf (what, sizeof what, "debugfs, checksums %u, %s, %s", version,
	    revoke ? "revokes" : "no revokes", commit ? "committed" : "cut");
  if (version)
    snprintf (open, sizeof open, "jo -c -v %u", version);
  snprintf (script, sizeof script,
	    "%s\njw -b 2000,2001,2002,3000,3001 data\njw -b 2100 data\n"
	    "%s%s"
	    "jw -b 2000-2040 data\njw %s -b 2002,2200 data\njc\n", open,
	    revoke ? "jw -r 2001,3000\n" : "",
	    revoke ? "jw -b 3000 data\n" : "", commit ? "" : "-c");
  judge_foreign (&d, script, o->scratch, what, 2);
}

/* A revoke kills the copy in its own transaction.  (debugfs ends a
   transaction with both only right if it is the last.)  */
static void
foreign_revoke (const struct options *o)
{
  struct simdisk d;
  make_image (&d, o->block_size, o->scratch);
  judge_foreign (&d, "jo\njw -b 2600,2601 -r 2601 data\njc\n", o->scratch,
		 "debugfs, a revoke of its own block", 1);
}

int
main (int argc, char **argv)
{
  static const enum journal_csum_kind sums[] = {
    JOURNAL_CSUM_V3, JOURNAL_CSUM_V2, JOURNAL_CSUM_V1, JOURNAL_CSUM_NONE
  };
  struct options o;
  unsigned long logs = 0;

  options_parse (&o, argc, argv);
  for (unsigned version = 0; version <= 3; version++)
    if (version != 1)
      for (unsigned k = 0; k < 4; k++)
	foreign_log (&o, version, k & 1, k & 2);
  foreign_revoke (&o);

  for (uint64_t seed = o.seed; seed < o.seed + o.seeds; seed++)
    {
      struct simdisk d;
      struct rng rng = { seed };
      o.settings.csum = sums[seed % 4];
      o.settings.bits64 = seed / 4 % 2;
      make_log (&d, &o, seed);
      compare (&d, o.scratch, "an undamaged log");
      for (unsigned n = 0; n < 24; n++)
	{
	  char text[120], what[160];
	  struct simdisk bad = copy_disk (&d);
	  damage (&bad, &rng, text, sizeof text);
	  snprintf (what, sizeof what, "seed %llu, %u: %s",
		    (unsigned long long) seed, n, text);
	  if (o.verbose)
	    printf ("%s\n", what);
	  compare (&bad, o.scratch, what);
	  simdisk_free (&bad);
	  logs++;
	}
      simdisk_free (&d);
    }
  printf ("format: %lu logs of debugfs, %lu damaged logs (%lu noticed): %lu as"
	  " e2fsck, %lu better by the rule, %lu refused\n", foreign, logs,
	  damaged_seen, same, better, refused);
  options_done (&o);
  return 0;
}
