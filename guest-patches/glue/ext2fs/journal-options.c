/* The journal in ext2fs: options.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <argz.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal-glue.h"

char *ext2_journal_preset;
bool ext2_journal_check;

#define OPT_SETTINGS 700
#define OPT_STATS 701
#define OPT_CHECK 702

static const struct argp_option options[] = {
  {"journal-settings", OPT_SETTINGS, "SETTINGS", 0,
   "Of a journal: a preset (hurdle, v2 to v5), names=values, or both,"
   " separated by commas; for the next time that it is opened"},
  {"journal-stats", OPT_STATS, 0, 0,
   "Print what the journal did to the console"},
  {"journal-check", OPT_CHECK, 0, 0,
   "Look for changes of metadata that the journal was not told of"},
  {0}
};

/* TEXT is "PRESET", "NAME=VALUE", or several of them.  */
static error_t
check_settings (const char *text)
{
  struct journal_settings set;
  char *copy = strdupa (text), *word, *save;

  for (word = strtok_r (copy, ",", &save); word;
       word = strtok_r (NULL, ",", &save))
    if (journal_preset (&set, word) && journal_setting (&set, word))
      return EINVAL;
  return 0;
}

static void
print_stats (void)
{
  struct journal_stats stats;
  char buf[4096];

  if (! ext2_journal)
    {
      fprintf (stderr, "%s: no journal is open\n", diskfs_disk_name);
      return;
    }
  journal_get_stats (ext2_journal, &stats);
  journal_format_stats (&stats, buf, sizeof buf);
  fprintf (stderr, "%s:\n%s", diskfs_disk_name, buf);
}

static error_t
parse_opt (int key, char *arg, struct argp_state *state)
{
  switch (key)
    {
    case ARGP_KEY_INIT:
      state->child_inputs[0] = state->input;
      return 0;

    case OPT_SETTINGS:
      if (check_settings (arg))
	{
	  argp_error (state, "%s: no preset or setting of a journal", arg);
	  return EINVAL;
	}
      free (ext2_journal_preset);
      ext2_journal_preset = strdup (arg);
      return ext2_journal_preset ? 0 : ENOMEM;

    case OPT_STATS:
      print_stats ();
      return 0;

    case OPT_CHECK:
      ext2_journal_check = true;
      return 0;

    default:
      return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child startup_children[] =
  {{&diskfs_store_startup_argp}, {0}};
const struct argp ext2_journal_startup_argp =
  {options, parse_opt, 0, 0, startup_children};

static const struct argp_child runtime_children[] =
  {{&diskfs_std_runtime_argp}, {0}};
const struct argp ext2_journal_runtime_argp =
  {options, parse_opt, 0, 0, runtime_children};

error_t
ext2_journal_append_args (char **argz, size_t *argz_len)
{
  char *text;
  error_t err = 0;

  if (! ext2_journal)
    return 0;
  if (asprintf (&text, "--journal-settings=%s",
		ext2_journal_preset ?: "hurdle") < 0)
    return ENOMEM;
  err = argz_add (argz, argz_len, text);
  free (text);
  if (! err && ext2_journal_check)
    err = argz_add (argz, argz_len, "--journal-check");
  return err;
}
