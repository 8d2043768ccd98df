/* The command line of the tests.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "states.h"

static bool
number (const char *arg, const char *name, unsigned long *to)
{
  size_t n = strlen (name);
  char *end;
  if (strncmp (arg, name, n) || arg[n] != '=')
    return false;
  *to = strtoul (arg + n + 1, &end, 10);
  CHECK (*end == '\0' && end > arg + n + 1, "%s: not a number", arg);
  return true;
}

void
options_parse (struct options *o, int argc, char **argv)
{
  unsigned long v;

  memset (o, 0, sizeof *o);
  o->seed = 1;
  o->seeds = 1;
  o->ops = 60;
  o->warm = 1500;
  o->block_size = 1024;
  o->pressure = 60;
  o->threads = 4;
  o->small = 2;
  o->subsets = 2;
  o->e2fsck_every = 400;
  o->again_every = 200;
  o->pairs = 2000;
  o->mount_every = 40;
  journal_preset (&o->settings, "hurdle");
  o->settings.daemons = false;
  o->settings.data_abort = true;
  for (int i = 1; i < argc; i++)
    {
      const char *a = argv[i];
      if (number (a, "seed", &v))
	o->seed = v;
      else if (number (a, "seeds", &v))
	o->seeds = v;
      else if (number (a, "states", &v))
	o->states = v;
      else if (number (a, "ops", &v))
	o->ops = (uint32_t) v;
      else if (number (a, "warm", &v))
	o->warm = (uint32_t) v;
      else if (number (a, "bs", &v))
	o->block_size = (uint32_t) v;
      else if (number (a, "pressure", &v))
	o->pressure = (uint32_t) v;
      else if (number (a, "fail", &v))
	o->fail = (uint32_t) v;
      else if (number (a, "small", &v))
	o->small = (uint32_t) v;
      else if (number (a, "threads", &v))
	o->threads = (uint32_t) v;
      else if (number (a, "subsets", &v))
	o->subsets = (unsigned) v;
      else if (number (a, "e2fsck", &v))
	o->e2fsck_every = (unsigned) v;
      else if (number (a, "again", &v))
	o->again_every = (unsigned) v;
      else if (number (a, "pairs", &v))
	o->pairs = v;
      else if (number (a, "mount", &v))
	o->mount_every = (unsigned) v;
      else if (!strncmp (a, "preset=", 7))
	{
	  struct journal_settings old = o->settings;
	  CHECK (journal_preset (&o->settings, a + 7) == 0, "%s: no such"
		 " preset", a);
	  o->settings.daemons = old.daemons;
	  o->settings.data_abort = old.data_abort;
	  snprintf (o->preset, sizeof o->preset, "%s", a + 7);
	}
      else if (!strncmp (a, "set.", 4))
	CHECK (journal_setting (&o->settings, a + 4) == 0, "%s: no such"
	       " setting", a);
      else if (!strcmp (a, "-v"))
	o->verbose = true;
      else
	die ("%s: no such option", a);
    }
  o->keep = getenv ("ENGINE_SCRATCH") != NULL;
  o->scratch = scratch_dir ();
}

void
options_done (const struct options *o)
{
  static const char *const names[] = {
    "base-1024.img", "base-4096.img", "e2fsck.img", "clean.img",
    "script", "data",
  };
  char path[256];
  if (o->keep)
    return;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    {
      snprintf (path, sizeof path, "%s/%s", o->scratch, names[i]);
      unlink (path);
    }
  rmdir (o->scratch);
}
