/* Every write point of a scenario is a crash.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "states.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>

/* One scenario: work without a record until the log is somewhere in the
   middle, then record, then judge every state.  */
static void
one_seed (const struct options *o, uint64_t seed, struct campaign *total)
{
  struct simdisk d, start;
  struct mfs fs;
  struct scenario s;
  struct rng rng = { seed };
  uint32_t warm = rng_below (&rng, o->warm + 1);
  struct journal_settings set = o->settings;

  make_image (&d, o->block_size, o->scratch);
  if (o->small && seed % o->small == 0)
    halve_log (&d);
  /* A clock that stands still and jumps back now and then: only what the
     engine does about it keeps commit times in order.  */
  d.time_ns = 1700000000u * (uint64_t) 1000000000u;
  CHECK (mfs_mount (&fs, &d, &set, seed) == 0, "the mount failed");
  fs.pressure = o->pressure;
  fs.eager_dirs = rng_below (&rng, 2);
  scenario_init (&s, &d, &fs, seed, warm + o->ops);
  s.sync_every = 2 + rng_below (&rng, 8);
  for (uint32_t i = 0; i < warm; i++)
    CHECK (scenario_step (&s) == 0, "an operation failed");
  CHECK (scenario_sync (&s) == 0, "the sync failed");

  simdisk_init (&start, d.block_size, d.blocks);
  memcpy (start.now, d.now, d.blocks * d.block_size);
  s.nacks = 0;
  d.recording = true;
  simdisk_mark (&d, MARK_BEGIN (s.ops));
  simdisk_mark (&d, MARK_DURABLE (s.ops));
  for (uint32_t i = 0; i < o->ops; i++)
    {
      CHECK (scenario_step (&s) == 0, "an operation failed");
      d.time_ns += (uint64_t) rng_below (&rng, 3000000) * 1000;
      if (rng_below (&rng, 20) == 0)
	d.time_ns -= 5000000000u;
      if (rng_below (&rng, 12) == 0)
	CHECK (journal_checkpoint (fs.j, rng_below (&rng, 500)) == 0,
	       "the checkpoint failed");
      if (rng_below (&rng, 60) == 0)
	CHECK (journal_quiesce (fs.j) == 0, "quiesce failed");
    }
  d.recording = false;

  struct campaign c = {
    .disk = &start, .records = d.records, .nrecords = d.nrecords,
    .scenario = &s, .seed = seed, .subsets = o->subsets,
    .e2fsck_every = o->e2fsck_every, .again_every = o->again_every,
    .pairs = o->pairs, .mount_every = o->mount_every, .scratch = o->scratch,
  };
  campaign_run (&c);
  struct journal_stats st;
  journal_get_stats (fs.j, &st);
  CHECK (mfs_unmount (&fs) == 0, "the unmount failed");
  struct tree t;
  check_image (&d, &t, NULL, NULL);
  CHECK (!t.problem[0] && (t.orphans || t.digest == s.digests[s.ops]),
	 "after a clean unmount: %s", t.problem);
  if (o->e2fsck_every && !t.orphans)
    e2fsck_clean (&d, o->scratch);

  total->states += c.states;
  total->replayed += c.replayed;
  total->blocks += c.blocks;
  total->revoked += c.revoked;
  total->e2fsck_runs += c.e2fsck_runs;
  recrash_add (&total->again, &c.again);
  total->torn += c.torn;
  total->mounts += c.mounts;
  total->orphans += c.orphans;
  if (o->verbose)
    printf ("seed %llu: %u operations, %zu records, %lu states; %llu commits,"
	    " %llu revokes, %llu pages held, %llu served, %llu home\n",
	    (unsigned long long) seed, s.ops, d.nrecords, c.states,
	    (unsigned long long) st.commits, (unsigned long long) st.revokes,
	    (unsigned long long) st.writebacks_held,
	    (unsigned long long) st.reads_served,
	    (unsigned long long) st.home_blocks);
  scenario_free (&s);
  simdisk_free (&start);
  simdisk_free (&d);
}

int
main (int argc, char **argv)
{
  struct options o;
  struct campaign total = { 0 };

  options_parse (&o, argc, argv);
  for (uint64_t seed = o.seed; total.states < o.states
       || seed < o.seed + o.seeds; seed++)
    one_seed (&o, seed, &total);
  printf ("crash: %lu states recovered and sound (%lu transactions, %lu"
	  " blocks replayed, %lu revoked; %lu torn writes, %lu"
	  " orphan lists, %lu mounted and crashed again, %lu compared with"
	  " e2fsck)\n", total.states, total.replayed, total.blocks,
	  total.revoked, total.torn, total.orphans,
	  total.mounts, total.e2fsck_runs);
  recrash_print (&total.again);
  options_done (&o);
  return 0;
}
