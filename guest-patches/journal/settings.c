/* The journal engine: settings and counters.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The versions of the mail thread are settings of this one engine: models
   of their cost, not of their faults.  All of them announce blocks before
   they change, keep log space ahead, write nothing home before its commit,
   and hold freed blocks; the versions did not.  Like them, v2 to v5 write
   neither checksums nor revokes.  */
int
journal_preset (struct journal_settings *s, const char *name)
{
  struct journal_settings base = {
    .index = JOURNAL_INDEX_ROBINHOOD,
    .alloc = JOURNAL_ALLOC_SLAB,
    .copy = JOURNAL_COPY_COMMIT,
    .csum = JOURNAL_CSUM_V3,
    .revoke = true,
    .front = true,
    .daemons = true,
    .commit_interval_ms = 5000,
    .worker_credits = 64,
    .memory_mb = 64,
  };

  *s = base;
  if (!strcmp (name, "hurdle"))
    return 0;
  s->csum = JOURNAL_CSUM_NONE;
  s->revoke = false;
  s->front = false;
  if (!strcmp (name, "v2"))
    {
      s->index = JOURNAL_INDEX_IHASH;
      s->alloc = JOURNAL_ALLOC_MALLOC;
      s->copy = JOURNAL_COPY_EAGER;
    }
  else if (!strcmp (name, "v3"))
    s->copy = JOURNAL_COPY_EAGER;
  else if (!strcmp (name, "v4") || !strcmp (name, "v5"))
    s->copy = JOURNAL_COPY_QUIESCE;
  else
    {
      *s = base;
      return EINVAL;
    }
  return 0;
}

struct choice
{
  const char *text;
  int value;
};

static bool
choose (const struct choice *c, const char *text, int *value)
{
  for (; c->text; c++)
    if (!strcmp (c->text, text))
      {
	*value = c->value;
	return true;
      }
  return false;
}

static const struct choice index_choices[] = {
  { "robinhood", JOURNAL_INDEX_ROBINHOOD },
  { "ihash", JOURNAL_INDEX_IHASH }, { NULL, 0 }
};
static const struct choice alloc_choices[] = {
  { "slab", JOURNAL_ALLOC_SLAB }, { "malloc", JOURNAL_ALLOC_MALLOC },
  { NULL, 0 }
};
static const struct choice copy_choices[] = {
  { "commit", JOURNAL_COPY_COMMIT }, { "quiesce", JOURNAL_COPY_QUIESCE },
  { "eager", JOURNAL_COPY_EAGER }, { NULL, 0 }
};
static const struct choice csum_choices[] = {
  { "v3", JOURNAL_CSUM_V3 }, { "v2", JOURNAL_CSUM_V2 },
  { "v1", JOURNAL_CSUM_V1 }, { "none", JOURNAL_CSUM_NONE }, { NULL, 0 }
};
static const struct choice data_choices[] = {
  { "abort", true }, { "report", false }, { NULL, 0 }
};
static const struct choice bool_choices[] = {
  { "on", true }, { "off", false }, { "1", true }, { "0", false },
  { NULL, 0 }
};

static int
set_number (unsigned *to, const char *text, unsigned min, unsigned max)
{
  char *end;
  errno = 0;
  unsigned long v = strtoul (text, &end, 10);
  if (errno || end == text || *end || v < min || v > max)
    return EINVAL;
  *to = (unsigned) v;
  return 0;
}

int
journal_setting (struct journal_settings *s, const char *text)
{
  char name[32];
  const char *eq = strchr (text, '=');
  size_t len = eq ? (size_t) (eq - text) : strlen (text);
  const char *value = eq ? eq + 1 : "on";
  int v;

  if (len == 0 || len >= sizeof name)
    return EINVAL;
  memcpy (name, text, len);
  name[len] = '\0';

  if (!strcmp (name, "index") && choose (index_choices, value, &v))
    s->index = (enum journal_index_kind) v;
  else if (!strcmp (name, "alloc") && choose (alloc_choices, value, &v))
    s->alloc = (enum journal_alloc_kind) v;
  else if (!strcmp (name, "copy") && choose (copy_choices, value, &v))
    s->copy = (enum journal_copy_kind) v;
  else if (!strcmp (name, "csum") && choose (csum_choices, value, &v))
    s->csum = (enum journal_csum_kind) v;
  else if (!strcmp (name, "revoke") && choose (bool_choices, value, &v))
    s->revoke = v;
  else if (!strcmp (name, "64bit") && choose (bool_choices, value, &v))
    s->bits64 = v;
  else if (!strcmp (name, "front") && choose (bool_choices, value, &v))
    s->front = v;
  else if (!strcmp (name, "data-err") && choose (data_choices, value, &v))
    s->data_abort = v;
  else if (!strcmp (name, "stub") && choose (bool_choices, value, &v))
    s->stub = v;
  else if (!strcmp (name, "stats") && choose (bool_choices, value, &v))
    s->stats = v;
  else if (!strcmp (name, "daemons") && choose (bool_choices, value, &v))
    s->daemons = v;
  else if (!strcmp (name, "commit-ms"))
    return set_number (&s->commit_interval_ms, value, 1, 3600000);
  else if (!strcmp (name, "worker-credits"))
    return set_number (&s->worker_credits, value, 0, 65536);
  else if (!strcmp (name, "memory-mb"))
    return set_number (&s->memory_mb, value, 1, 65536);
  else
    return EINVAL;
  return 0;
}

void
journal_get_stats (struct journal *j, struct journal_stats *stats)
{
  jlock (j);
  *stats = j->stats;
  junlock (j);
  stats->memory_bytes = atomic_load (&j->mem.bytes);
  stats->memory_peak = atomic_load (&j->mem.peak);
}

size_t
journal_format_stats (const struct journal_stats *s, char *buf, size_t size)
{
  uint64_t calls = s->dirty_calls ? s->dirty_calls : 1;
  int n = snprintf
    (buf, size,
     "=== JBD2 STATS ===\n"
     "Total Dirty Calls:      %" PRIu64 "\n"
     "Total Function:         %" PRIu64 " cycles\n"
     "Total Lock Wait:        %" PRIu64 " cycles\n"
     "Total Alloc:            %" PRIu64 " cycles\n"
     "Total Memcpy:           %" PRIu64 " cycles\n"
     "Total Hash Add:         %" PRIu64 " cycles\n"
     "Total Hash Find:        %" PRIu64 " cycles\n"
     "--- AVERAGES (Amortized per call) ---\n"
     "Avg Function Time: %" PRIu64 " cycles\n"
     "Avg Lock Wait:     %" PRIu64 " cycles\n"
     "Avg Memcpy:        %" PRIu64 " cycles\n"
     "Avg Malloc 1:      %" PRIu64 " cycles\n"
     "Avg Hash Add:      %" PRIu64 " cycles\n"
     "Avg Hash Find:     %" PRIu64 " cycles\n"
     "--- THIS ENGINE ---\n"
     "Freeze:            %" PRIu64 " cycles for %" PRIu64 " blocks, at most %"
     PRIu64 " ns at once\n"
     "Commits:           %" PRIu64 " (%" PRIu64 " empty), %" PRIu64
     " log blocks in %" PRIu64 " writes\n"
     "Checkpoints:       %" PRIu64 ", %" PRIu64 " blocks home, tail moved %"
     PRIu64 " times\n"
     "Revokes:           %" PRIu64 " (%" PRIu64 " cancelled)\n"
     "Pages:             %" PRIu64 " held, %" PRIu64 " unknown, %" PRIu64
     " served\n"
     "Late announcements: %" PRIu64 "\n"
     "Longest pause:     %" PRIu64 " ns\n"
     "Memory:            %" PRIu64 " bytes, at most %" PRIu64 "\n"
     "==================\n",
     s->dirty_calls, s->function, s->lock_wait, s->alloc, s->memcpy_cycles,
     s->hash_add, s->hash_find, s->function / calls, s->lock_wait / calls,
     s->memcpy_cycles / calls, s->alloc / calls, s->hash_add / calls,
     s->hash_find / calls, s->freeze, s->frozen_blocks, s->freeze_max_ns,
     s->commits, s->empty_commits, s->log_blocks, s->log_writes,
     s->checkpoints, s->home_blocks, s->tail_updates, s->revokes,
     s->revokes_cancelled, s->writebacks_held, s->writebacks_unknown,
     s->reads_served, s->late_access, s->pause_max_ns, s->memory_bytes,
     s->memory_peak);
  return n < 0 ? 0 : (size_t) n;
}
