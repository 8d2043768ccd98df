/* Crash states: what a power cut may leave of a recorded run.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef STATES_H
#define STATES_H

#include "model.h"

/* Crashes in recovery.  A state is whole if every pair of a write of its
   recovery and a write of the second recovery was a crash.  */
struct recrash
{
  unsigned long states, whole, crashes, pairs;
};

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
  unsigned long pairs;		/* At most so many pairs a state, see recrash. */
  unsigned mount_every;		/* Mount and work on every so many.  */
  /* A further oracle: null, or what is wrong.  */
  const char *(*judge_more) (void *arg, size_t record);
  void *judge_arg;
  /* Given each image before it is recovered, or null.  */
  void (*keep) (void *arg, const struct simdisk *image);
  void *keep_arg;
  const char *scratch;		/* Directory for images.  */
  size_t about;			/* Judge about so many; 0: all.  */

  /* Results.  */
  struct recrash again;
  unsigned long states, replayed, blocks, revoked, e2fsck_runs,
    torn, mounts, orphans;
};

/* Recover IMAGE with a crash at every write of the recovery, and at every
   write of the recovery after that crash, or at as many of these as make
   MOST pairs (0: all).  At each crash twice: with all writes so far, and
   with a subset of those that no flush covers.  Each recovery that follows
   has to leave the image that one without a crash leaves, and so does this
   call.  False: it does not; TEXT says where.  */
bool recrash (struct simdisk *image, struct rng *rng, unsigned long most,
	      struct recrash *count, char *text, size_t size);
void recrash_add (struct recrash *sum, const struct recrash *more);
void recrash_print (const struct recrash *r);

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
