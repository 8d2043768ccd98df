/* Inputs for the fuzzer to start from: logs that the engine wrote.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdio.h>

#include "jformat.h"
#include "options.h"
#include "states.h"

/* The argument "set.NAME=VALUE" chooses the format; the log goes to standard
   output in the form that fuzz-recovery.c takes.  */
int
main (int argc, char **argv)
{
  struct options o;
  struct simdisk d;
  struct mfs fs;
  struct scenario s;
  struct journal_extent log[64];

  options_parse (&o, argc, argv);
  make_image (&d, 1024, o.scratch);
  CHECK (mfs_mount (&fs, &d, &o.settings, o.seed) == 0, "mount");
  scenario_init (&s, &d, &fs, o.seed, 30);
  for (int i = 0; i < 30; i++)
    CHECK (scenario_step (&s) == 0 && (i % 10 || scenario_sync (&s) == 0),
	   "an operation failed");
  CHECK (scenario_sync (&s) == 0, "sync");
  journal_extents (d.now, &fs.g, log, 64);
  const unsigned char *sb = d.now + log[0].disk_block * 1024;
  uint32_t n = jfmt_get32 (sb + 0x1c) ? 40 : 1;
  putchar ((int) (0x80 | (jfmt_get32 (sb + 0x28) & 0x1f)
		  | (jfmt_get32 (sb + 0x24) & 1) << 5));
  putchar (0);
  fwrite (sb + 1024, 1024, n, stdout);
  mfs_unmount (&fs);
  scenario_free (&s);
  simdisk_free (&d);
  options_done (&o);
  return 0;
}
