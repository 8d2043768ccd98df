/* The command line of the tests.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef OPTIONS_H
#define OPTIONS_H

#include "journal.h"

struct options
{
  uint64_t seed;
  unsigned long seeds, states;	/* At least so many of each.  */
  uint32_t ops, warm, block_size, pressure, threads;
  uint32_t small;		/* One in so many has half a log.  */
  uint32_t fail;		/* The disk dies after so many calls.  */
  unsigned subsets, e2fsck_every, again_every, mount_every;
  unsigned long pairs;		/* Of crashes in recovery, a state.  */
  struct journal_settings settings;
  const char *scratch;
  bool verbose, keep;
  char preset[16];
};

/* Options are name=value; set.NAME=VALUE is a setting of the journal.  */
void options_parse (struct options *o, int argc, char **argv);
/* Remove the scratch directory if it was made here.  */
void options_done (const struct options *o);

#endif
