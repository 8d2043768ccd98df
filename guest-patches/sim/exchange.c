/* Logs for another to replay, and logs that another wrote.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jformat.h"
#include "states.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* exchange write SEED COUNT	  COUNT images with a log to replay, 0.img ...
				  in $ENGINE_SCRATCH
   exchange compare COUNT	  N.theirs is what a kernel made of N.img (there
				  is no such file if it refused): as ours, and
				  as e2fsck's?
   exchange replay FILE		  FILE has a log that another wrote: does our
				  replay agree with e2fsck's?  */

static const enum journal_csum_kind sums[] = {
  JOURNAL_CSUM_V3, JOURNAL_CSUM_V2, JOURNAL_CSUM_V1, JOURNAL_CSUM_NONE
};

/* Scenarios in which states are drawn: one for each format.  */
#define FORMATS 8
/* Logs that debugfs writes.  */
#define FOREIGN 6

struct keeper
{
  unsigned long next, end;
};

static void
save (const struct simdisk *d, unsigned long n)
{
  char path[300];
  struct simdisk image;

  simdisk_init (&image, d->block_size, d->blocks);
  memcpy (image.now, d->now, d->blocks * d->block_size);
  set_needs_recovery (&image, true);
  snprintf (path, sizeof path, "%s/%lu.img", scratch_dir (), n);
  simdisk_save (&image, path);
  simdisk_free (&image);
}

static void
keep (void *arg, const struct simdisk *image)
{
  struct keeper *k = arg;
  if (k->next < k->end)
    save (image, k->next++);
}

/* Crash states of one scenario, in the format of FORMAT, until K is full.  */
static void
write_states (uint64_t seed, unsigned format, struct keeper *k)
{
  struct simdisk d, start;
  struct mfs fs;
  struct scenario s;
  struct journal_settings set;
  /* Anywhere in the ring, also over its end.  */
  struct rng rng = { seed };
  uint32_t warm = rng_below (&rng, 1500);

  CHECK (journal_preset (&set, "hurdle") == 0, "preset");
  set.daemons = false;
  set.csum = sums[format % 4];
  set.bits64 = format / 4;
  make_image (&d, 1024, scratch_dir ());
  CHECK (mfs_mount (&fs, &d, &set, seed) == 0, "the mount failed");
  fs.pressure = 60;
  scenario_init (&s, &d, &fs, seed, warm + 100);
  s.sync_every = 5;
  for (uint32_t i = 0; i < warm; i++)
    CHECK (scenario_step (&s) == 0, "an operation failed");
  CHECK (scenario_sync (&s) == 0, "the sync failed");
  simdisk_init (&start, d.block_size, d.blocks);
  memcpy (start.now, d.now, d.blocks * d.block_size);
  s.nacks = 0;
  d.recording = true;
  simdisk_mark (&d, MARK_BEGIN (s.ops));
  simdisk_mark (&d, MARK_DURABLE (s.ops));
  for (int i = 0; i < 100; i++)
    CHECK (scenario_step (&s) == 0, "an operation failed");
  d.recording = false;
  CHECK (mfs_unmount (&fs) == 0, "the unmount failed");

  /* More are drawn than are kept: the draw is at random.  */
  struct campaign c = {
    .disk = &start, .records = d.records, .nrecords = d.nrecords,
    .scenario = &s, .seed = seed, .subsets = 2, .scratch = scratch_dir (),
    .about = 2 * (k->end - k->next) + 20, .keep = keep, .keep_arg = k,
  };
  campaign_run (&c);
  CHECK (k->next == k->end, "too few states were drawn: %lu of %lu", k->next,
	 k->end);
  scenario_free (&s);
  simdisk_free (&start);
  simdisk_free (&d);
}

static void
write_foreign (unsigned n, unsigned long name)
{
  static const unsigned versions[] = { 0, 2, 3 };
  struct simdisk d;
  char script[400], open[40] = "jo";

  make_image (&d, 1024, scratch_dir ());
  if (versions[n / 2])
    snprintf (open, sizeof open, "jo -c -v %u", versions[n / 2]);
  snprintf (script, sizeof script, "%s\njw -b 2000,2001,2002,3000,3001 data\n"
	    "jw -b 2100 data\n%sjw -b 2002,2200 data\njc\n", open,
	    n % 2 ? "jw -r 2001,3000\njw -b 3000 data\n" : "");
  debugfs_script (&d, script, scratch_dir ());
  save (&d, name);
  simdisk_free (&d);
}

static void
write_images (uint64_t seed, unsigned long count)
{
  struct keeper k = { 0 };
  CHECK (count >= FOREIGN + FORMATS, "at least %d images", FOREIGN + FORMATS);
  for (unsigned n = 0; n < FOREIGN; n++)
    write_foreign (n, k.next++);
  for (unsigned f = 0; f < FORMATS; f++)
    {
      k.end = k.next + (count - k.next) / (FORMATS - f);
      write_states (seed * FORMATS + f, f, &k);
    }
}

static struct simdisk
load (const char *path)
{
  struct stat st;
  struct simdisk d;
  unsigned char sb[1024];
  FILE *f = fopen (path, "rb");

  CHECK (f && fstat (fileno (f), &st) == 0 && fseek (f, 1024, SEEK_SET) == 0
	 && fread (sb, 1, sizeof sb, f) == sizeof sb, "%s: %s", path,
	 strerror (errno));
  fclose (f);
  uint32_t bs = 1024u << le32 (sb + 0x18);
  simdisk_init (&d, bs, (uint64_t) st.st_size / bs);
  simdisk_load (&d, path);
  return d;
}

static struct simdisk
copy_of (const struct simdisk *d)
{
  struct simdisk c;
  simdisk_init (&c, d->block_size, d->blocks);
  memcpy (c.now, d->now, d->blocks * d->block_size);
  return c;
}

struct sums
{
  unsigned long same, trees, torn, transactions, blocks, revoked;
};

/* Linux leaves the totals in the superblock as they were when it works off
   orphans, and adds the groups up when it mounts: do that.  */
static void
add_up (struct simdisk *d)
{
  struct geometry g;
  geometry_read (&g, d->now, d->block_size);
  const unsigned char *group = d->now + (size_t) g.gd_block * d->block_size;
  put_le32 (d->now + 1024 + 12, le16 (group + 12));
  put_le32 (d->now + 1024 + 16, le16 (group + 14));
}

/* Ours, theirs and e2fsck's from one log.  */
static void
compare_one (unsigned long n, struct sums *sum)
{
  char path[300];
  struct journal_recovery r;
  struct tree ours_tree, theirs_tree;

  snprintf (path, sizeof path, "%s/%lu.img", scratch_dir (), n);
  struct simdisk raw = load (path), ours = copy_of (&raw);
  struct simdisk checked = copy_of (&raw);
  CHECK (mfs_recover (&ours, &r) == 0 && !r.corrupt, "%s: no recovery",
	 path);
  sum->transactions += r.transactions;
  sum->blocks += r.blocks;
  sum->revoked += r.revoked;
  check_image (&ours, &ours_tree, NULL, NULL);
  CHECK (!ours_tree.problem[0], "%s: %s", path, ours_tree.problem);
  uint32_t orphans = ours_tree.orphans;
  e2fsck_replay (&raw, &checked, scratch_dir (), r.torn_end);
  uint32_t b = orphans ? 0 : images_differ (&ours, &checked);
  CHECK (b == 0, "%s: block %u is not as e2fsck's", path, b);
  snprintf (path, sizeof path, "%s/%lu.theirs", scratch_dir (), n);
  if (access (path, R_OK) != 0)
    {
      /* A commit block that the power cut in two is damage to Linux.  */
      CHECK (r.torn_end, "%s: refused, and no torn end", path);
      sum->torn++;
    }
  else
    {
      struct simdisk theirs = load (path);
      if (orphans)
	{
	  struct mfs fs;
	  CHECK (mfs_mount (&fs, &ours, NULL, 1) == 0
		 && mfs_unmount (&fs) == 0, "%s: the mount failed", path);
	  check_image (&ours, &ours_tree, NULL, NULL);
	  add_up (&theirs);
	  sum->trees++;
	}
      else
	{
	  b = images_differ (&ours, &theirs);
	  CHECK (b == 0, "%s: block %u is not as ours", path, b);
	  sum->same++;
	}
      check_image (&theirs, &theirs_tree, NULL, NULL);
      CHECK (!theirs_tree.problem[0]
	     && theirs_tree.digest == ours_tree.digest,
	     "%s: the tree is not as ours: %s", path, theirs_tree.problem);
      simdisk_free (&theirs);
    }
  simdisk_free (&raw);
  simdisk_free (&ours);
  simdisk_free (&checked);
}

/* A file system of a kernel, as a crash left it.  */
static void
replay (const char *path)
{
  struct simdisk raw = load (path), ours = copy_of (&raw);
  struct simdisk theirs = copy_of (&raw);
  struct journal_recovery r;
  struct geometry g;
  struct journal_extent log[64];

  geometry_read (&g, raw.now, raw.block_size);
  CHECK (journal_extents (raw.now, &g, log, 64) > 0, "%s: no log", path);
  const unsigned char *sb = raw.now + log[0].disk_block * raw.block_size;
  int err = mfs_recover (&ours, &r);
  CHECK (err == 0 && !r.corrupt, "%s: our recovery: %s", path,
	 strerror (err));
  bool orphans = le32 (ours.now + 1024 + 0xE8) != 0;
  if (orphans)
    debugfs_replay (&raw, &theirs, scratch_dir ());
  else
    e2fsck_replay (&raw, &theirs, scratch_dir (), r.torn_end);
  uint32_t b = images_differ (&ours, &theirs);
  CHECK (b == 0, "%s: block %u is not as e2fsck's", path, b);
  CHECK (r.transactions > 0, "%s: nothing to replay", path);
  printf ("features %x %x: %u transactions, %u blocks, %u revoked%s\n",
	  jfmt_get32 (sb + 0x24), jfmt_get32 (sb + 0x28), r.transactions,
	  r.blocks, r.revoked, orphans ? ", orphans" : "");
  simdisk_free (&raw);
  simdisk_free (&ours);
  simdisk_free (&theirs);
}

int
main (int argc, char **argv)
{
  struct sums sum = { 0 };

  CHECK (getenv ("ENGINE_SCRATCH"), "ENGINE_SCRATCH is not set");
  if (argc == 4 && !strcmp (argv[1], "write"))
    write_images (strtoull (argv[2], NULL, 10), strtoul (argv[3], NULL, 10));
  else if (argc == 3 && !strcmp (argv[1], "compare"))
    {
      unsigned long count = strtoul (argv[2], NULL, 10);
      for (unsigned long n = 0; n < count; n++)
	compare_one (n, &sum);
      printf ("%lu states: %lu block for block as ours and e2fsck's, %lu with"
	      " orphans of the same tree, %lu refused for a torn commit block"
	      " (%lu transactions, %lu blocks, %lu revoked)\n", count,
	      sum.same, sum.trees, sum.torn, sum.transactions, sum.blocks,
	      sum.revoked);
    }
  else if (argc == 3 && !strcmp (argv[1], "replay"))
    replay (argv[2]);
  else
    die ("exchange write SEED COUNT | compare COUNT | replay FILE");
  return 0;
}
