/* The journal in ext2fs: blocks of directories.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <string.h>

#include "journal-glue.h"

/* A directory is changed through a mapping of its file, whose pages come and
   go through the pager of its node.  Its lock is held from before the change
   until after the block was given to the journal, so the journal gets the
   content then and never asks for it.  */

static error_t
find (struct node *dp, int idx, block_t *block)
{
  struct disknode *dn = diskfs_node_disknode (dp);
  error_t err;

  pthread_rwlock_rdlock (&dn->alloc_lock);
  err = ext2_journal_getblk (dp, idx, block);
  pthread_rwlock_unlock (&dn->alloc_lock);
  if (err)
    ext2_journal_fail (err, "a block of a directory is not there");
  return err;
}

void
ext2_journal_dir_access (struct node *dp, int idx)
{
  block_t block;

  if (ext2_journal && ! find (dp, idx, &block))
    ext2_journal_access_block (block);
}

void
ext2_journal_dir_dirty (struct node *dp, int idx, const void *map)
{
  struct journal_handle *h = journal_current ();
  /* The page may be out, and the fault ends in the journal.  */
  char buf[block_size];
  block_t block;
  error_t err;

  if (! ext2_journal || find (dp, idx, &block))
    return;
  memcpy (buf, (const char *) map + ((off_t) idx << log2_block_size),
	  block_size);
  err = h ? journal_dirty_data (h, block, buf) : EPERM;
  if (err)
    ext2_journal_fail (err, "a directory's block could not be kept");
}

error_t
ext2_journal_dir_extend (struct node *dp, int idx)
{
  struct disknode *dn = diskfs_node_disknode (dp);
  block_t block;
  error_t err;

  if (! ext2_journal)
    return 0;
  ext2_journal_took ();
  pthread_rwlock_wrlock (&dn->alloc_lock);
  err = diskfs_catch_exception ();
  if (! err)
    {
      err = ext2_getblk (dp, idx, 1, &block);
      diskfs_end_catch_exception ();
    }
  pthread_rwlock_unlock (&dn->alloc_lock);
  if (! err)
    ext2_journal_zero_block (block);
  else if (err != ENOSPC && ext2_journal_took ())
    ext2_journal_fail (err, "a block could not be given to a directory");
  return err;
}
