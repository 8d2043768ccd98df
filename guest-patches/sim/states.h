/* Crash states: what a power cut may leave of a recorded run.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef STATES_H
#define STATES_H

#include "model.h"

struct campaign
{
  struct simdisk *disk;		/* D->now is the image before the records. */
  const struct record *records;
  size_t nrecords;
  const struct scenario *scenario;	/* Null: only soundness counts.  */
  uint64_t seed;
  unsigned subsets;		/* Drawn at each write, besides the prefix. */
  unsigned e2fsck_every;	/* Compare with e2fsck every so many.  */
  unsigned again_every;		/* Crash in recovery every so many.  */
  unsigned mount_every;		/* Mount and work on every so many.  */
  /* A further oracle: null, or what is wrong.  */
  const char *(*judge_more) (void *arg, size_t record);
  void *judge_arg;
  const char *scratch;		/* Directory for images.  */
  size_t about;			/* Judge about so many; 0: all.  */

  /* Results.  */
  unsigned long states, replayed, blocks, revoked, e2fsck_runs, again,
    torn, torn_ends, mounts, orphans;
};

/* Judge every state; dies with the state's coordinates on a failure.  */
void campaign_run (struct campaign *c);

/* Replay the image with e2fsck instead; dies if it complains of more than a
   commit block that was cut off.  IMAGE is left as it is, the result goes to
   RESULT.  */
void e2fsck_replay (const struct simdisk *image, struct simdisk *result,
		    const char *scratch, bool torn_end);
/* The same, but damage is allowed.  Returns whether e2fsck found none.  */
bool e2fsck_try (const struct simdisk *image, struct simdisk *result,
		 const char *scratch);
void debugfs_replay (const struct simdisk *image, struct simdisk *result,
		     const char *scratch);
void debugfs_script (struct simdisk *d, const char *script,
		     const char *scratch);
/* A full read-only check; dies if it finds anything.  */
void e2fsck_clean (const struct simdisk *image, const char *scratch);
/* Set the flag that makes e2fsck and Linux replay.  */
void set_needs_recovery (struct simdisk *d, bool on);
/* Do two images differ, but for what a replay may differ in?  Returns the
   first block that does, or 0.  */
uint32_t images_differ (const struct simdisk *a, const struct simdisk *b);

/* A fresh image made by mke2fs, cached in SCRATCH.  */
void make_image (struct simdisk *d, uint32_t bs, const char *scratch);
void halve_log (struct simdisk *d);
/* The directory for images: $ENGINE_SCRATCH or a new one.  */
const char *scratch_dir (void);

#endif
