/* The journal in ext2fs: blocks of files that nobody has written yet.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <hurd/ihash.h>
#include <hurd/store.h>

#include "journal-glue.h"

/* A fault gives a file a block before there is anything to be written to it.
   Until then the page is clean: the kernel may drop it, and has nothing to
   return when the commit asks for the file's data.  What the block has on
   disk is of the file that had it before, and must neither be read nor be
   there after a crash.

   So each such block is known here until it is first written.  Who reads it
   gets zeros, and if it is still known when its transaction is about to
   commit, zeros are written to it.  A write costs an entry in a table, and
   mostly no more.

   What is done to a node's blocks is done under its alloc_lock: a page-out holds
   it for reading until the block is written and no more known here.  So who
   writes zeros holds it for writing.  A page-out that has begun is over then;
   one that begins comes after the zeros.  */

struct fresh
{
  block_t block;
  journal_tid_t tid;		/* What gave the file the block.  */
  struct fresh *next, **prev;	/* Of the same node; PREV may be null.  */
  hurd_ihash_locp_t locp;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hurd_ihash table
  = HURD_IHASH_INITIALIZER (offsetof (struct fresh, locp));
/* How many there are, to be asked without LOCK.  */
static _Atomic unsigned long count;

static void
unlink_fresh (struct fresh *f)
{
  if (f->prev)
    *f->prev = f->next;
  if (f->next)
    f->next->prev = f->prev;
}

static void
forget (struct fresh *f)
{
  hurd_ihash_locp_remove (&table, f->locp);
  unlink_fresh (f);
  free (f);
  count--;
}

static error_t
write_zeros (block_t block)
{
  size_t written = 0;
  error_t err = store_write (store, (store_offset_t) block
			     << log2_dev_blocks_per_fs_block,
			     (const void *) zeroblock, block_size, &written);

  return ! err && written != block_size ? EIO : err;
}

/* NP has the new BLOCK for data, and its alloc_lock is held, so nobody frees
   it meanwhile.  */
static void
remember (struct node *np, block_t block)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;
  struct fresh *f = malloc (sizeof *f);
  bool known;

  pthread_mutex_lock (&lock);
  known = f && hurd_ihash_add (&table, block, f) == 0;
  if (known)
    {
      f->block = block;
      f->tid = journal_handle_tid (journal_current ());
      f->next = jn->fresh;
      f->prev = &jn->fresh;
      if (f->next)
	f->next->prev = &f->next;
      jn->fresh = f;
      count++;
    }
  pthread_mutex_unlock (&lock);
  if (! known)
    {
      free (f);
      ext2_journal_wrote (np, write_zeros (block));
    }
}

void
ext2_journal_allocated (struct node *np, uint32_t block, int zero)
{
  if (! block || ! ext2_journal || ! journal_current ())
    return;
  /* The disk is not asked what a new indirect block has: it might fail, and
     the block be taken and belong to nobody.  */
  if (zero)
    ext2_journal_zero_block (block);
  else if (! S_ISDIR (np->dn_stat.st_mode))
    remember (np, block);
}

bool
ext2_journal_is_fresh (block_t block)
{
  bool known;

  if (count == 0)
    return false;
  pthread_mutex_lock (&lock);
  known = hurd_ihash_find (&table, block) != NULL;
  pthread_mutex_unlock (&lock);
  return known;
}

void
ext2_journal_written (uint32_t block, unsigned long blocks)
{
  struct fresh *f;

  if (count == 0)
    return;
  pthread_mutex_lock (&lock);
  for (; blocks > 0 && count > 0; block++, blocks--)
    if ((f = hurd_ihash_find (&table, block)) != NULL)
      forget (f);
  pthread_mutex_unlock (&lock);
}

/* What an earlier transaction gave, which is about to commit, would not find the
   block when it looks for what to clear.  */
void
ext2_journal_freed (block_t block, unsigned long blocks, journal_tid_t tid)
{
  struct fresh *f;

  if (count == 0)
    return;
  pthread_mutex_lock (&lock);
  for (; blocks > 0 && count > 0; block++, blocks--)
    if ((f = hurd_ihash_find (&table, block)) != NULL)
      {
	if ((int32_t) (f->tid - tid) < 0 && write_zeros (block))
	  ext2_journal_fail (EIO, "a new block could not be cleared");
	forget (f);
      }
  pthread_mutex_unlock (&lock);
}

/* What cannot be written stays known: it reads as zeros.  */
void
ext2_journal_clear_fresh (struct node *np, journal_tid_t before)
{
  struct disknode *dn = diskfs_node_disknode (np);
  struct fresh *f, *next;

  if (count == 0)
    return;
  pthread_mutex_lock (&lock);
  f = dn->journal.fresh;
  pthread_mutex_unlock (&lock);
  if (! f)
    return;
  pthread_rwlock_wrlock (&dn->alloc_lock);
  pthread_mutex_lock (&lock);
  for (f = dn->journal.fresh; f; f = next)
    {
      error_t err;

      next = f->next;
      if ((int32_t) (f->tid - before) >= 0)
	continue;
      /* The node's list, and F, stay as they are under alloc_lock.  */
      pthread_mutex_unlock (&lock);
      err = ext2_journal_wrote (np, write_zeros (f->block));
      pthread_mutex_lock (&lock);
      if (! err)
	forget (f);
    }
  pthread_mutex_unlock (&lock);
  pthread_rwlock_unlock (&dn->alloc_lock);
}

/* A write may have failed, or the journal may have given up before it.  */
void
ext2_journal_leave_fresh (struct node *np)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;
  struct fresh *f;

  if (count == 0)
    return;
  pthread_mutex_lock (&lock);
  while ((f = jn->fresh) != NULL)
    {
      unlink_fresh (f);
      f->next = NULL;
      f->prev = NULL;
    }
  pthread_mutex_unlock (&lock);
}

/* A journal that gave up leaves some, and the nodes that have them.  */
void
ext2_journal_forget_fresh (void)
{
  pthread_mutex_lock (&lock);
  HURD_IHASH_ITERATE (&table, value)
    {
      struct fresh *f = value;

      unlink_fresh (f);
      free (f);
    }
  hurd_ihash_destroy (&table);
  hurd_ihash_init (&table, offsetof (struct fresh, locp));
  count = 0;
  pthread_mutex_unlock (&lock);
}
