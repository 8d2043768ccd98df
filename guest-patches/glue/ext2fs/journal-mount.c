/* The journal in ext2fs: mount, remount, halt.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <hurd/store.h>

#include "journal-glue.h"
#include "journal-log.h"

#define EXT2_STATE_ERROR 2	/* s_state: errors were seen.  */

struct journal *ext2_journal;
struct journal_limits ext2_journal_limits;
struct journal_settings ext2_journal_settings;

/* The journal of a file system that is read-only now.  A pager may just be
   asking it, so it is freed when the next one is opened.  */
static struct journal *parked;

static struct ext2_journal_log the_log;

bool
ext2_journal_protected (void *ctx, uint64_t block)
{
  unsigned i;

  for (i = 0; i < the_log.tree_count; i++)
    if (the_log.tree[i] == block)
      return true;
  return block < le32toh (sblock->s_first_data_block);
}

uint32_t
ext2_journal_unsupported (uint32_t features)
{
  return ext2_journal_there () ? features & ~EXT3_FEATURE_INCOMPAT_RECOVER
    : features;
}

/* Faults may come in between, one after the other.  */
#define QUIESCE_TRIES 50
#define QUIESCE_PAUSE_US 1000

/* What kept the last quiesce from its end.  */
static error_t unfinished;

/* All is on disk and at home, and the log is empty.  No operation runs.  */
static error_t
quiesce (void)
{
  error_t err = EBUSY;
  int i;

  ext2_journal_reap_wait ();
  for (i = 0; i < QUIESCE_TRIES && err == EBUSY; i++)
    {
      /* Data that was lost has been said, and the log is empty all the
	 same.  */
      if (i > 0)
	usleep (QUIESCE_PAUSE_US);
      journal_quiesce (ext2_journal);
      err = journal_error (ext2_journal) ?: ext2_journal_clear_recover ();
    }
  /* While it is writable something may always come in between, and who makes
     it read-only tries once more.  */
  if (err && (err != EBUSY || diskfs_readonly))
    ext2_warning ("the journal stays in use: %s", strerror (err));
  unfinished = err;
  return err;
}

int
ext2_journal_hypermetadata (int wait, int clean, error_t *err)
{
  *err = 0;
  if (! ext2_journal)
    return 0;
  if (journal_error (ext2_journal))
    *err = EROFS;
  else if (clean)
    quiesce ();
  return 1;
}

/* The settings that --journal-settings names.  */
static error_t
read_settings (struct journal_settings *set)
{
  char *text = strdupa (ext2_journal_preset ?: "hurdle"), *word, *save;
  error_t err = journal_preset (set, "hurdle");

  for (word = strtok_r (text, ",", &save); word && ! err;
       word = strtok_r (NULL, ",", &save))
    {
      struct journal_settings preset;

      if (journal_preset (&preset, word) == 0)
	*set = preset;
      else
	err = journal_setting (set, word);
    }
  return err;
}

static void
fill_params (struct journal_params *params)
{
  memset (params, 0, sizeof *params);
  params->ops = &ext2_journal_ops;
  params->block_size = block_size;
  params->fs_blocks = le32toh (sblock->s_blocks_count);
  params->log = the_log.extents;
  params->log_extents = the_log.count;
  params->settings = ext2_journal_settings;
}

/* After a replay the superblock is another.  */
static error_t
after_replay (const struct journal_recovery *r)
{
  size_t read = 0;
  error_t err;

  munmap (sblock, SBLOCK_SIZE);
  sblock = NULL;
  err = store_read (store, SBLOCK_OFFS >> store->log2_block_size,
		    SBLOCK_SIZE, (void **) &sblock, &read);
  if (err || read != SBLOCK_SIZE)
    ext2_panic ("cannot read the superblock after a replay");
  if (r->log_errno || r->corrupt)
    sblock->s_state |= htole16 (EXT2_STATE_ERROR);
  /* e2fsck looks at a log's error only where there is something to
     recover.  */
  return ext2_journal_set_recover (r->corrupt);
}

/* Why the file system is not written to.  */
static bool refused;

static void
refuse (error_t err, const char *what)
{
  refused = true;
  ext2_warning ("%s%s%s; mounted read-only, run e2fsck -f", what,
		err ? ": " : "", err ? strerror (err) : "");
  diskfs_readonly = 1;
}

/* Blocks may be at home that are newer than what could be replayed of a
   damaged log, and nobody knows which: the file system has all of its last
   sound state but may be no such state as a whole.  */
static error_t
replay (void)
{
  struct journal_params params;
  struct journal_recovery r;
  error_t err;

  fill_params (&params);
  err = journal_inspect (&params, &r);
  if (err)
    return err;
  if (! ext2_journal_needs_recovery ())
    /* A log that is in use, and nobody says that it is to be replayed: it
       may be older than the file system.  */
    return r.was_dirty ? EUCLEAN : 0;
  if (r.log_errno)
    {
      /* Before recovery forgets it.  */
      sblock->s_state |= htole16 (EXT2_STATE_ERROR);
      err = ext2_journal_write_super ();
    }
  if (! err)
    err = journal_recover (&params, &r);
  if (! err)
    err = ext2_journal_ops.flush (NULL);
  if (! err)
    err = after_replay (&r);
  if (! err && (r.was_dirty || ! r.corrupt))
    ext2_warning ("recovered %u transaction%s, %u blocks%s",
		  r.transactions, r.transactions == 1 ? "" : "s", r.blocks,
		  r.log_errno && ! r.corrupt ? "; it had given up" : "");
  if (! err && r.corrupt)
    refuse (0, "the log is damaged");
  return err;
}

void
ext2_journal_recover (void)
{
  error_t err;

  refused = false;
  ext2_journal_forget_fresh ();
  if (! ext2_journal_there ())
    return;
  err = ext2_journal_find_log (&the_log);
  if (err)
    {
      refuse (err, "the journal cannot be used");
      return;
    }
  if (store->flags & STORE_HARD_READONLY)
    {
      if (ext2_journal_needs_recovery ())
	refuse (EROFS, "the journal cannot be replayed");
      return;
    }
  /* A disk that is mounted read-only has to be sound, too.  */
  store_clear_flags (store, STORE_READONLY);
  err = replay ();
  if (diskfs_readonly)
    store_set_flags (store, STORE_READONLY);
  if (err)
    refuse (err, "the journal cannot be replayed");
}

static error_t
open_journal (void)
{
  struct journal_params params;
  struct journal *j;
  error_t err = read_settings (&ext2_journal_settings);

  if (err)
    return err;
  if (parked)
    {
      journal_close (parked);
      parked = NULL;
    }
  if (ext2_journal_needs_recovery ())
    err = EUCLEAN;		/* A replay was tried, and failed.  */
  fill_params (&params);
  if (! err)
    err = journal_open (&params, &j);
  if (err)
    return err;
  journal_get_limits (j, &ext2_journal_limits);
  ext2_journal_blocks_committed (0);
  ext2_journal_unmarked ();
  err = ext2_journal_reaper_start ();
  if (err)
    journal_close (j);
  else
    ext2_journal = j;
  return err;
}

static error_t
start (void)
{
  error_t err = open_journal ();

  if (err)
    refuse (err, "the journal cannot be opened");
  else
    ext2_journal_load_orphans ();
  return err;
}

static void
make_writable (int writable)
{
  if (writable)
    store_clear_flags (store, STORE_READONLY);
  else
    store_set_flags (store, STORE_READONLY);
  mprotect (disk_cache, disk_cache_size,
	    PROT_READ | (writable ? PROT_WRITE : 0));
  diskfs_readonly = ! writable;
}

/* No operation starts any more.  */
static void
park (void)
{
  parked = ext2_journal;
  ext2_journal = NULL;
}

/* Replay is a part of what mount does after a crash, the list of orphans the
   other: read-only or not, what is mounted then is sound, and e2fsck, which
   at boot looks at a root that is mounted already, has nothing to mend behind
   our back.  */
static void
finish_orphans (void)
{
  make_writable (1);
  if (! start ())
    {
      quiesce ();
      park ();
    }
  make_writable (0);
}

void
ext2_journal_mount (void)
{
  if (! ext2_journal_there ())
    return;
  if (! diskfs_readonly)
    start ();
  else if (sblock->s_last_orphan && ! refused
	   && ! (store->flags & STORE_HARD_READONLY)
	   && (sblock->s_state & htole16 (EXT2_VALID_FS)))
    finish_orphans ();
}

/* NP is read again, and nothing is known of what was to become of it.  */
static error_t
reload_node (struct node *np)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;

  jn->steps = jn->cutting = 0;
  jn->lost = jn->unordered = 0;
  return diskfs_node_reload (np);
}

/* While the file system was read-only another program, e2fsck at boot, may
   have changed the disk, and it does not always say so.  */
static error_t
reload (void)
{
  error_t err;

  diskfs_readonly = 1;
  err = diskfs_reload_global_state ();
  if (! err)
    err = diskfs_node_iterate (reload_node);
  if (! err && refused)
    err = EROFS;
  return err;
}

/* What the reaper has begun needs a writable file system to its end, and so
   has what a fault began since the last quiesce: the store takes no write
   afterwards.  A fault that does not see diskfs_readonly yet has entered, and
   RECOVER stays on until it is gone.  */
void
diskfs_journal_changing (int readonly)
{
  if (! ext2_journal || ! readonly)
    return;
  ext2_journal_reaper_stop ();
  diskfs_readonly = 1;
  if (! journal_error (ext2_journal)
      && (ext2_journal_marked () || unfinished))
    quiesce ();
}

error_t
diskfs_journal_changed (int readonly)
{
  error_t err = unfinished;

  unfinished = 0;
  return diskfs_readonly != readonly ? EROFS : readonly ? err : 0;
}

void
ext2_journal_readonly_changed (int readonly)
{
  if (! ext2_journal_there ())
    return;
  if (readonly)
    {
      if (ext2_journal)
	park ();
      return;
    }
  make_writable (! reload ());
  if (! diskfs_readonly && start ())
    make_writable (0);
}
