/* Crash states: what a power cut may leave of a recorded run.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "states.h"

#include <stdio.h>
#include <stdlib.h>

/* The model of the disk.  A write that a later flush covers is on the
   medium.  Of the writes since the last flush, any subset is, and a write
   that was cut off has some sectors new and some old.  A state is named by
   the write that the power failed at and, if it is not the plain prefix, by
   the number of the subset drawn there.

   Judging a state changes the image in place; what changed is put back.  */

struct at
{
  struct campaign *c;
  size_t record;
  unsigned subset;
  uint32_t begun, durable;	/* Operations.  */
};

static void
state_die (const struct at *s, const char *what, const char *detail)
{
  if (s->c->scratch)
    {
      char path[256];
      snprintf (path, sizeof path, "%s/failed.img", s->c->scratch);
      simdisk_save (s->c->disk, path);
    }
  die ("%s: %s (seed %llu, record %zu of %zu, subset %u, operations %u to"
       " %u)", what, detail, (unsigned long long) s->c->seed, s->record,
       s->c->nrecords, s->subset, s->durable, s->begun);
}

struct data_check
{
  struct at *at;
  bool old;
  char text[100];
};

/* Is the data that a sync made safe there?  */
static void
data_found (void *arg, uint32_t generation, uint32_t index,
	    uint32_t version)
{
  struct data_check *k = arg;
  const struct scenario *s = k->at->c->scenario;
  for (size_t i = 0; i < s->nacks && s->acks[i].at <= k->at->record; i++)
    if (s->acks[i].generation == generation && s->acks[i].index == index
	&& version < s->acks[i].version)
      {
	k->old = true;
	snprintf (k->text, sizeof k->text, "file %u block %u has version %u,"
		  " and %u was synced", generation, index, version,
		  s->acks[i].version);
      }
}

/* Check the image as it is now.  */
static struct tree
judge_tree (struct at *s, const char *after)
{
  struct campaign *c = s->c;
  struct data_check k = { .at = s };
  struct tree t;
  bool had_orphans;

  check_image (c->disk, &t, c->scenario ? data_found : NULL, &k);
  had_orphans = t.orphans > 0;
  if (t.problem[0])
    state_die (s, after, t.problem);
  if (had_orphans)
    {
      /* As a mount does.  */
      struct mfs fs;
      c->orphans++;
      if (mfs_mount (&fs, c->disk, NULL, 1) || mfs_unmount (&fs))
	state_die (s, after, "the mount failed");
      check_image (c->disk, &t, c->scenario ? data_found : NULL, &k);
      if (t.problem[0])
	state_die (s, "after the mount", t.problem);
    }
  t.orphans = had_orphans;
  if (c->judge_more)
    {
      const char *what = c->judge_more (c->judge_arg, s->record);
      if (what)
	state_die (s, after, what);
    }
  if (!c->scenario)
    return t;
  if (k.old)
    state_die (s, "data is lost", k.text);
  for (uint32_t n = s->durable; n <= s->begun; n++)
    if (c->scenario->digests[n] == t.digest)
      return t;
  state_die (s, after, "the tree is that of no operation in range");
  return t;
}

static void
recover_or_die (struct at *s, struct journal_recovery *r)
{
  int err = mfs_recover (s->c->disk, r);
  if (err)
    state_die (s, "recovery failed", strerror (err));
  if (r->corrupt)
    state_die (s, "recovery", "the log is said to be damaged");
}

/* Recover with a crash at every write of the recovery, and in that one's
   recovery as well.  The image before recovery is D->now; it is undone by
   the caller.  */
static void
crash_in_recovery (struct at *s)
{
  struct campaign *c = s->c;
  struct rng rng = { c->seed ^ s->record * 31 ^ s->subset };
  char text[160];

  if (!recrash (c->disk, &rng, c->pairs, &c->again, text, sizeof text))
    state_die (s, "a crash in recovery", text);
  judge_tree (s, "after recovery");
}

/* e2fsck also works off the orphan list.  So without one every block has to
   be the same, and with one the tree.  */
static void
compare_e2fsck (struct at *s, const struct simdisk *raw, struct tree ours)
{
  struct campaign *c = s->c;
  struct simdisk theirs;
  struct tree t;

  c->e2fsck_runs++;
  simdisk_init (&theirs, c->disk->block_size, c->disk->blocks);
  e2fsck_replay (raw, &theirs, c->scratch, false);
  check_image (&theirs, &t, NULL, NULL);
  if (t.problem[0] || t.digest != ours.digest)
    state_die (s, "the tree after e2fsck's replay", t.problem);
  uint32_t b = ours.orphans ? 0 : images_differ (c->disk, &theirs);
  if (b)
    {
      char text[80];
      snprintf (text, sizeof text, "block %u differs", b);
      state_die (s, "our replay and e2fsck's", text);
    }
  simdisk_free (&theirs);
}

/* After recovery: work on, crash again, recover again.  */
static void
work_on (struct at *s)
{
  struct campaign *c = s->c;
  struct mfs fs;
  struct op_args a = { .dir = ROOT_INO, .name = "after", .offset = 77777,
    .mode = 0644
  };
  uint32_t ino, found;
  struct journal_recovery r;

  c->mounts++;
  if (mfs_mount (&fs, c->disk, NULL, 1))
    state_die (s, "after recovery", "the mount failed");
  int err = mfs_create (&fs, &a, &ino);
  a.dir = ino;
  a.offset = 0;
  a.length = 3;
  if (!err)
    err = mfs_write (&fs, &a, 1);
  if (!err)
    err = mfs_sync (&fs);
  if (err)
    state_die (s, "after recovery", strerror (err));
  /* The crash: nothing more reaches the disk.  */
  c->disk->fail_io_after = 0;
  c->disk->sticky = true;
  mfs_unmount (&fs);
  simdisk_no_faults (c->disk);
  recover_or_die (s, &r);
  struct tree t;
  check_image (c->disk, &t, NULL, NULL);
  if (t.problem[0] || r.transactions == 0)
    state_die (s, "after a second crash", t.problem[0] ? t.problem
	       : "nothing was replayed");
  if (mfs_mount (&fs, c->disk, NULL, 1)
      || mfs_lookup (&fs, ROOT_INO, "after", &found) || found != ino)
    state_die (s, "after a second crash", "the new file is not there");
  mfs_unmount (&fs);
}

/* The image is D->now, with undo on.  */
static void
judge (struct at *s)
{
  struct campaign *c = s->c;
  struct journal_recovery r;
  struct simdisk raw = *c->disk;
  bool compare = c->e2fsck_every && c->states % c->e2fsck_every == 0;

  c->states++;
  if (c->keep)
    c->keep (c->keep_arg, c->disk);
  if (compare)
    {
      raw.now = malloc (raw.blocks * raw.block_size);
      CHECK (raw.now, "out of memory");
      memcpy (raw.now, c->disk->now, raw.blocks * raw.block_size);
    }
  recover_or_die (s, &r);
  c->replayed += r.transactions;
  c->blocks += r.blocks;
  c->revoked += r.revoked;
  /* Sectors are whole, and a commit block changes one.  */
  if (r.torn_end)
    state_die (s, "in recovery", "the last commit block is torn");
  struct tree t = judge_tree (s, "after recovery");
  if (compare)
    {
      compare_e2fsck (s, &raw, t);
      free (raw.now);
    }
  if (c->mount_every && c->states % c->mount_every == 0)
    work_on (s);
}

/* Draw a subset of the writes from FIRST to S->record and put it on the
   image: each is there, is not, or is torn.  */
static void
apply_subset (struct at *s, size_t first, struct rng *rng)
{
  struct campaign *c = s->c;
  uint32_t bs = c->disk->block_size;
  unsigned style = rng_below (rng, 4), chance = 1 + rng_below (rng, 9);

  for (size_t i = first; i <= s->record; i++)
    {
      const struct record *r = &c->records[i];
      if (r->kind != REC_WRITE)
	continue;
      bool here = rng_below (rng, 10) < chance;
      /* Style 0: all but one; 1: only the last few; else at random.  */
      if (style == 0)
	here = rng_below (rng, (uint32_t) (s->record - first + 1)) != 0;
      else if (style == 1)
	here = s->record - i < chance;
      bool torn = rng_below (rng, 8) == 0;
      if (torn)
	{
	  unsigned char buf[65536];
	  memcpy (buf, c->disk->now + r->block * bs, bs);
	  for (uint32_t n = 0; n < bs / SECTOR; n++)
	    if (rng_below (rng, 2))
	      memcpy (buf + n * SECTOR, r->data + n * SECTOR, SECTOR);
	  simdisk_poke (c->disk, r->block, buf);
	  c->torn++;
	}
      else if (here)
	simdisk_poke (c->disk, r->block, r->data);
    }
}

void
campaign_run (struct campaign *c)
{
  struct at s = { .c = c };
  struct rng rng = { c->seed * 77 + 5 }, pick = { c->seed };
  size_t total = c->nrecords * (1 + c->subsets);
  uint32_t bs = c->disk->block_size;
  size_t epoch = 0;		/* First record since the last flush.  */

  c->disk->recording = false;
  for (size_t i = 0; i < c->nrecords; i++)
    {
      const struct record *r = &c->records[i];
      s.record = i;
      if (r->kind == REC_MARK)
	{
	  if (r->block & 1)
	    s.durable = (uint32_t) (r->block >> 1);
	  else
	    s.begun = (uint32_t) (r->block >> 1);
	  continue;
	}
      if (r->kind == REC_FLUSH)
	{
	  /* All of the epoch is on the medium from here on.  */
	  for (size_t k = epoch; k < i; k++)
	    if (c->records[k].kind == REC_WRITE)
	      memcpy (c->disk->now + c->records[k].block * bs,
		      c->records[k].data, bs);
	  epoch = i + 1;
	}
      for (s.subset = 0; s.subset <= c->subsets; s.subset++)
	{
	  if (s.subset && r->kind == REC_FLUSH)
	    break;
	  if (c->about && rng_below (&pick, (uint32_t) total) >= c->about)
	    continue;
	  simdisk_undo_begin (c->disk);
	  if (s.subset)
	    apply_subset (&s, epoch, &rng);
	  else
	    for (size_t k = epoch; k <= i; k++)
	      if (c->records[k].kind == REC_WRITE)
		simdisk_poke (c->disk, c->records[k].block,
			      c->records[k].data);
	  if (c->again_every && c->states % c->again_every == 1)
	    {
	      c->states++;
	      crash_in_recovery (&s);
	    }
	  else
	    judge (&s);
	  simdisk_undo (c->disk);
	}
    }
}
