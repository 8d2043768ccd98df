/* The journal in ext2fs: operations, and the blocks that they change.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "journal-glue.h"

/* The thread's operation.  Its handle is the engine's, which is there from
   the first start to the last stop, but not while the operation is left.  */
static __thread struct
{
  unsigned depth;
  bool left;
  error_t err;			/* What ended a part that was left.  */
  unsigned credits, revokes;
} operation;

/* Directories, indirect blocks and the like that it frees.  They cost one
   block of the log, whether it is one or a thousand.  */
#define CHANGE_REVOKES 1000

error_t
ext2_journal_begin (unsigned credits, unsigned revokes)
{
  /* A remount may just have parked it: the reaper is not an RPC.  */
  struct journal *j = __atomic_load_n (&ext2_journal, __ATOMIC_ACQUIRE);
  struct journal_handle *h;
  error_t err;

  if (! j)
    return EROFS;
  if (credits > ext2_journal_limits.max_handle)
    credits = ext2_journal_limits.max_handle;
  ext2_journal_enter ();
  err = journal_start (j, credits, revokes, &h);
  if (! err)
    {
      /* Now nothing is committed before the disk says that the log is in
	 use.  */
      err = ext2_journal_in_use ();
      if (err)
	journal_stop (h);
    }
  if (err)
    ext2_journal_exit ();
  return err;
}

error_t
ext2_journal_end (error_t err)
{
  struct journal_handle *h = journal_current ();
  error_t stop = 0;

  if (h)
    {
      stop = journal_stop (h);
      ext2_journal_exit ();
    }
  return err ? err : stop;
}

/* What it takes at most, besides CHANGE_CREDITS, to write BLOCKS blocks that a
   file does not have: each in a group of its own, and the indirect blocks that
   lead to them.  CHANGE_CREDITS has those at the two ends.  */
static unsigned
write_credits (unsigned long blocks)
{
  unsigned long indirect = blocks / addr_per_block;
  unsigned long groups = blocks + indirect < groups_count
    ? blocks + indirect : groups_count;

  return indirect + groups + (groups < db_per_group ? groups : db_per_group);
}

size_t
diskfs_journal_most (size_t size)
{
  unsigned most = ext2_journal_limits.max_handle - CHANGE_CREDITS;

  if (ext2_journal)
    while (size > block_size
	   && write_credits ((size >> log2_block_size) + 2) > most)
      size = (size / 2 + block_size - 1) & - (size_t) block_size;
  return size;
}

error_t
diskfs_journal_start (enum diskfs_journal_op op, struct node *np, off_t size)
{
  unsigned credits = CHANGE_CREDITS, revokes = CHANGE_REVOKES;
  unsigned long room = 8;
  error_t err;

  if (! ext2_journal)
    return 0;
  if (operation.depth > 0)
    {
      operation.depth++;
      return 0;
    }

  if (op == DISKFS_JOURNAL_WRITE)
    {
      unsigned long blocks = (size >> log2_block_size) + 2;

      room += blocks + blocks / addr_per_block;
      credits += write_credits (blocks);
    }
  else if (op == DISKFS_JOURNAL_TRUNCATE && np)
    {
      unsigned more, frees;

      ext2_journal_trunc_cost (np, &more, &frees);
      credits += more;
      revokes += frees < STEP_REVOKES ? frees : STEP_REVOKES;
    }
  ext2_journal_make_room (room);
  err = ext2_journal_begin (credits, revokes);
  if (! err)
    {
      operation.depth = 1;
      operation.left = false;
      operation.err = 0;
      operation.credits = credits;
      operation.revokes = revokes;
    }
  return err;
}

error_t
diskfs_journal_stop (error_t err)
{
  if (operation.depth == 0 || --operation.depth > 0)
    return err;
  err = ext2_journal_end (err ?: operation.err);
  return err;
}

void
diskfs_journal_leave (void)
{
  error_t err;

  if (operation.depth == 0 || operation.left)
    return;
  err = ext2_journal_end (0);
  if (err && ! operation.err)
    operation.err = err;
  operation.left = true;
}

/* As rejoin, with what it takes to cut NP.  */
void
ext2_journal_rejoin_for (struct node *np)
{
  unsigned more, frees;

  ext2_journal_trunc_cost (np, &more, &frees);
  operation.credits = CHANGE_CREDITS + more;
  operation.revokes = CHANGE_REVOKES
    + (frees < STEP_REVOKES ? frees : STEP_REVOKES);
  diskfs_journal_rejoin ();
}

void
diskfs_journal_rejoin (void)
{
  error_t err;

  if (operation.depth == 0 || ! operation.left)
    return;
  err = ext2_journal_begin (operation.credits, operation.revokes);
  if (err && ! operation.err)
    operation.err = err;
  operation.left = false;
}

/* Nodes are locked, so this must not wait for a commit: what is kept back
   for faults serves here too.  */
error_t
diskfs_journal_create_node (struct node *dir, const char *name, mode_t mode,
			    struct node **np, struct protid *cred,
			    struct dirstat *ds)
{
  if (operation.depth > 0 && operation.left)
    {
      struct journal_handle *h;
      error_t err;

      ext2_journal_enter ();
      err = journal_start_worker (ext2_journal, NULL, CHANGE_CREDITS, 0, &h);
      if (! err && (err = ext2_journal_in_use ()) != 0)
	journal_stop (h);
      if (err)
	{
	  ext2_journal_exit ();
	  diskfs_drop_dirstat (dir, ds);
	  *np = NULL;
	  return err;
	}
      operation.left = false;
    }
  return diskfs_create_node (dir, name, mode, np, cred, ds);
}

void
diskfs_node_changed (struct node *np)
{
  if (diskfs_synchronous)
    diskfs_node_update (np, 1);
  else if (ext2_journal)
    diskfs_node_update (np, 0);
}

void
diskfs_file_changed (struct node *np)
{
  if (diskfs_synchronous)
    diskfs_file_update (np, 1);
  else if (ext2_journal)
    diskfs_node_update (np, 0);
}

void
diskfs_journal_update (struct node *np)
{
  if (! ext2_journal || ! journal_current ())
    return;
  pthread_mutex_lock (&np->lock);
  diskfs_node_update (np, diskfs_synchronous);
  pthread_mutex_unlock (&np->lock);
}

error_t
diskfs_journal_error (void)
{
  return ext2_journal && journal_error (ext2_journal) ? EIO : 0;
}

error_t
diskfs_journal_synced (void)
{
  return diskfs_journal_error () ?: ext2_journal_lost (NULL);
}

void
ext2_journal_spoil (error_t err)
{
  if (operation.depth > 0 && err && ! operation.err)
    operation.err = err;
}

/* The file system in memory has a change that the journal has not: nothing
   may go to the disk any more, or half of an operation would.  */
void
ext2_journal_fail (error_t err, const char *what)
{
  if (! journal_error (ext2_journal))
    journal_abort (ext2_journal, err, what);
}

void
ext2_journal_access_block (block_t block)
{
  struct journal_handle *h = journal_current ();
  error_t err = h ? journal_access (h, block) : EPERM;

  if (err)
    ext2_journal_fail (err, h ? "an operation changes more than it said"
		       : "a change outside of an operation");
}

void
ext2_journal_dirty_block (block_t block)
{
  struct journal_handle *h = journal_current ();
  error_t err = h ? journal_dirty (h, block) : EPERM;

  if (err)
    ext2_journal_fail (err, h ? "a change could not be kept"
		       : "a change outside of an operation");
}

void
ext2_journal_zero_block (block_t block)
{
  ext2_journal_access_block (block);
  journal_writeback (ext2_journal, block, (const void *) zeroblock);
}

void
ext2_journal_access (const void *ptr)
{
  if (ext2_journal)
    ext2_journal_access_block (bptr_block ((void *) ptr));
}

int
ext2_journal_poke (void *ptr)
{
  if (! ext2_journal)
    return 0;
  ext2_journal_dirty_block (bptr_block (ptr));
  _disk_cache_block_deref (ptr);
  return 1;
}

int
ext2_journal_sync_poke (void *ptr, int wait)
{
  struct journal_handle *h = journal_current ();

  if (! ext2_journal_poke (ptr))
    return 0;
  if (wait && h)
    journal_set_sync (h);
  return 1;
}

void
ext2_journal_super (void)
{
  if (ext2_journal)
    {
      ext2_journal_access_block (boffs_block (SBLOCK_OFFS));
      ext2_journal_dirty_block (boffs_block (SBLOCK_OFFS));
    }
}
