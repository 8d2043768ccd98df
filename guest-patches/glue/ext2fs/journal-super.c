/* The journal in ext2fs: what the superblock says of it.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <string.h>
#include <hurd/store.h>

#include "journal-glue.h"

/* EXT3_FEATURE_INCOMPAT_RECOVER is on disk: e2fsck and Linux replay the log
   before they look at anything.  It is on before the log is in use and off
   after the log is empty, and never changed through the log.  */
static _Atomic bool in_use;
static pthread_mutex_t in_use_lock = PTHREAD_MUTEX_INITIALIZER;

bool
ext2_journal_there (void)
{
  return EXT2_HAS_COMPAT_FEATURE (sblock, EXT3_FEATURE_COMPAT_HAS_JOURNAL);
}

bool
ext2_journal_needs_recovery (void)
{
  return EXT2_HAS_INCOMPAT_FEATURE (sblock, EXT3_FEATURE_INCOMPAT_RECOVER);
}

bool
ext2_journal_marked (void)
{
  return in_use;
}

void
ext2_journal_unmarked (void)
{
  in_use = false;
}

/* The journal has no block of it to write then.  */
error_t
ext2_journal_write_super (void)
{
  size_t size = round_page (SBLOCK_SIZE), written = 0;
  void *buf = mmap (0, size, PROT_READ | PROT_WRITE, MAP_ANON, 0, 0);
  error_t err;

  if (buf == MAP_FAILED)
    return ENOMEM;
  memcpy (buf, sblock, SBLOCK_SIZE);
  err = store_write (store, SBLOCK_OFFS >> store->log2_block_size, buf,
		     SBLOCK_SIZE, &written);
  munmap (buf, size);
  if (! err && written != SBLOCK_SIZE)
    err = EIO;
  return err ? err : ext2_journal_ops.flush (NULL);
}

error_t
ext2_journal_set_recover (bool on)
{
  if (on)
    EXT2_SET_INCOMPAT_FEATURE (sblock, EXT3_FEATURE_INCOMPAT_RECOVER);
  else
    EXT2_CLEAR_INCOMPAT_FEATURE (sblock, EXT3_FEATURE_INCOMPAT_RECOVER);
  return ext2_journal_write_super ();
}

/* Handles that are open or about to be.  While LOOKING is set none is added:
   RECOVER goes off only when nobody who saw it on is on the way to a
   commit.  */
static _Atomic unsigned handles;
static _Atomic bool looking;

void
ext2_journal_enter (void)
{
  handles++;
  while (looking)
    {
      handles--;
      pthread_mutex_lock (&in_use_lock);
      pthread_mutex_unlock (&in_use_lock);
      handles++;
    }
}

void
ext2_journal_exit (void)
{
  handles--;
}

error_t
ext2_journal_in_use (void)
{
  error_t err = 0;

  if (in_use)
    return 0;
  pthread_mutex_lock (&in_use_lock);
  if (! in_use)
    {
      err = ext2_journal_set_recover (true);
      if (! err)
	in_use = true;
    }
  pthread_mutex_unlock (&in_use_lock);
  return err;
}

error_t
ext2_journal_clear_recover (void)
{
  error_t err = EBUSY;

  pthread_mutex_lock (&in_use_lock);
  looking = true;
  if (handles == 0 && journal_is_empty (ext2_journal))
    {
      err = in_use ? ext2_journal_set_recover (false) : 0;
      in_use = false;
    }
  looking = false;
  pthread_mutex_unlock (&in_use_lock);
  return err;
}
