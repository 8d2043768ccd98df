/* An I/O error or a failed allocation at every call in turn.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "options.h"
#include "states.h"

enum fault { FAULT_IO, FAULT_IO_STICKY, FAULT_MEM, FAULTS };
static const char *const fault_name[] = {
  "I/O error", "dead disk", "failed allocation"
};

struct totals
{
  unsigned long runs, aborts, clean_failures, mount_failures;
};

/* After the file system gave up: it says so, and writes nothing more.  */
static void
check_read_only (struct mfs *fs, struct simdisk *d)
{
  struct op_args a = { .dir = ROOT_INO, .name = "late", .offset = 1,
    .mode = 0644
  };
  uint32_t ino;
  unsigned long writes = d->writes;
  CHECK (mfs_create (fs, &a, &ino) != 0, "an operation on a file system"
	 " that gave up succeeded");
  CHECK (mfs_sync (fs) != 0, "a sync after giving up succeeded");
  CHECK (journal_checkpoint (fs->j, UINT32_MAX) != 0,
	 "a checkpoint after giving up succeeded");
  CHECK (d->writes == writes, "%lu blocks were written after giving up",
	 d->writes - writes);
}

/* The tree has to be that of an operation in [LOW, HIGH].  */
static void
check_tree (struct simdisk *d, const struct scenario *s, uint32_t low,
	    uint32_t high, const char *when)
{
  struct tree t;
  struct mfs fs;
  check_image (d, &t, NULL, NULL);
  CHECK (!t.problem[0], "%s: %s", when, t.problem);
  if (t.orphans)
    {
      CHECK (mfs_mount (&fs, d, NULL, 1) == 0 && mfs_unmount (&fs) == 0,
	     "%s: the mount failed", when);
      check_image (d, &t, NULL, NULL);
      CHECK (!t.problem[0], "%s, mounted: %s", when, t.problem);
    }
  for (uint32_t n = low; n <= high; n++)
    if (s->digests[n] == t.digest)
      return;
  die ("%s: the tree is that of no operation from %u to %u", when, low,
       high);
}

static void
last_marks (const struct simdisk *d, uint32_t *durable)
{
  for (size_t i = d->nrecords; i-- > 0;)
    if (d->records[i].kind == REC_MARK && d->records[i].block & 1)
      {
	*durable = (uint32_t) (d->records[i].block >> 1);
	return;
      }
}

/* The power fails right after the fault: of what no flush that succeeded
   covers, some is not on the medium.  What was acknowledged has to be.  */
static void
check_power_cut (const struct simdisk *base, const struct simdisk *d,
		 const struct scenario *s, uint64_t seed, const char *when)
{
  uint32_t durable = 0;
  size_t epoch = 0;
  struct rng rng = { seed };

  last_marks (d, &durable);
  for (size_t i = 0; i < d->nrecords; i++)
    if (d->records[i].kind == REC_FLUSH)
      epoch = i;
  for (int k = 0; k < 3; k++)
    {
      struct simdisk c;
      struct journal_recovery r;
      simdisk_init (&c, base->block_size, base->blocks);
      memcpy (c.now, base->now, c.blocks * c.block_size);
      /* All of it, and two subsets.  */
      for (size_t i = 0; i < d->nrecords; i++)
	if (d->records[i].kind == REC_WRITE
	    && (i < epoch || k == 0 || rng_below (&rng, 2)))
	  simdisk_poke (&c, d->records[i].block, d->records[i].data);
      CHECK (mfs_recover (&c, &r) == 0 && !r.corrupt,
	     "%s, power cut: no recovery", when);
      check_tree (&c, s, durable ? durable : s->first, s->ops, when);
      simdisk_free (&c);
    }
}

/* Run the scenario with the N-th call failing.  Returns whether any did.  */
static bool
one_run (const struct options *o, const struct simdisk *base,
	 const struct scenario *before, uint64_t seed, enum fault fault,
	 long n, struct totals *t)
{
  struct simdisk d;
  struct mfs fs;
  struct scenario s;
  struct journal_recovery r;
  char when[80];
  uint32_t durable = before->ops;
  bool cut = false;

  snprintf (when, sizeof when, "seed %llu, %s %ld",
	    (unsigned long long) seed, fault_name[fault], n);
  t->runs++;
  simdisk_init (&d, base->block_size, base->blocks);
  memcpy (d.now, base->now, d.blocks * d.block_size);
  d.recording = true;
  *(fault == FAULT_MEM ? &d.fail_mem_after : &d.fail_io_after) = n;
  d.sticky = fault == FAULT_IO_STICKY;
  int err = mfs_mount (&fs, &d, &o->settings, seed);
  scenario_init (&s, &d, &fs, seed + 1, before->ops + o->ops);
  s.m = before->m;
  s.ops = s.first = before->ops;
  memcpy (s.digests, before->digests,
	  (before->ops + 1) * sizeof *s.digests);
  s.expect_errors = true;
  s.sync_every = 4;
  if (err)
    t->mount_failures++;
  else
    {
      fs.pressure = o->pressure;
      for (uint32_t i = 0; i < o->ops && !fs.aborted; i++)
	{
	  int e = scenario_step (&s);
	  t->clean_failures += e && !fs.aborted;
	  if ((d.io_failed || d.mem_failed) && !cut)
	    {
	      cut = true;
	      check_power_cut (base, &d, &s, seed + (uint64_t) n, when);
	      d.fs = &fs;
	    }
	  if (i % 8 == 7 && !fs.aborted)
	    journal_checkpoint (fs.j, 700 + i);
	  if (i == o->ops / 2 && !fs.aborted)
	    journal_quiesce (fs.j);
	}
    }
  bool failed = d.io_failed || d.mem_failed;
  bool gave_up = !err && fs.aborted;
  bool sticky = d.sticky;
  simdisk_no_faults (&d);
  last_marks (&d, &durable);
  if (gave_up)
    {
      t->aborts++;
      check_read_only (&fs, &d);
    }
  d.recording = false;
  if (!err)
    {
      int e = mfs_unmount (&fs);
      CHECK (gave_up || e == 0, "%s: the unmount failed: %s", when,
	     strerror (e));
    }
  CHECK (mfs_recover (&d, &r) == 0 && !r.corrupt, "%s: no recovery", when);
  CHECK (!gave_up || sticky || r.log_errno, "%s: the log knows of no error",
	 when);
  /* If it gave up, the log still has what was committed; else all is
     there.  */
  check_tree (&d, &s, gave_up || err ? durable : s.ops, s.ops, when);
  scenario_free (&s);
  simdisk_free (&d);
  return failed;
}

int
main (int argc, char **argv)
{
  struct options o;
  struct totals t = { 0 };

  options_parse (&o, argc, argv);
  if (o.ops > 30)
    o.ops = 30;
  for (uint64_t seed = o.seed; seed < o.seed + o.seeds; seed++)
    {
      struct simdisk d;
      struct mfs fs;
      struct scenario s;

      /* A log with something to replay.  */
      make_image (&d, o.block_size, o.scratch);
      CHECK (mfs_mount (&fs, &d, &o.settings, seed) == 0, "the mount failed");
      scenario_init (&s, &d, &fs, seed, 40);
      for (int i = 0; i < 40; i++)
	CHECK (scenario_step (&s) == 0, "an operation failed");
      CHECK (scenario_sync (&s) == 0, "the sync failed");
      d.fail_io_after = 0;
      d.sticky = true;
      mfs_unmount (&fs);
      simdisk_no_faults (&d);

      /* What was unlinked and held open is gone after a crash.  */
      for (int n = 0; n < MODEL_NODES; n++)
	if (s.m.node[n].opens)
	  {
	    s.m.node[n].opens = 0;
	    s.m.node[n].used = s.m.node[n].links > 0;
	  }
      for (int fault = 0; fault < FAULTS; fault++)
	for (long n = 0; one_run (&o, &d, &s, seed, fault, n, &t); n++)
	  continue;
      scenario_free (&s);
      simdisk_free (&d);
    }
  printf ("fault: %lu runs, each with another call failing: %lu gave up, %lu"
	  " operations failed cleanly, %lu mounts failed; all recovered\n",
	  t.runs, t.aborts, t.clean_failures, t.mount_failures);
  CHECK (t.aborts && t.clean_failures && t.mount_failures,
	 "a kind of failure did not happen");
  options_done (&o);
  return 0;
}
