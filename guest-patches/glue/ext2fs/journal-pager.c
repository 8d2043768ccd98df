/* The journal in ext2fs: pages.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <hurd/store.h>

#include "journal-glue.h"

/* The kernel takes pages away and asks for them when it likes.  Metadata is
   never written home by a pager: all of it goes through the journal.  The
   threads here serve faults that others wait for, so they wait for no
   commit.  */

/* A page of its own with what the journal has for BLOCK.  A remount may be
   about to park the journal, so it is looked up once.  */
static bool
read_page (block_t block, void **buf, size_t *len)
{
  struct journal *j = __atomic_load_n (&ext2_journal, __ATOMIC_ACQUIRE);
  void *page;

  if (! j)
    return false;
  page = mmap (0, vm_page_size, PROT_READ | PROT_WRITE, MAP_ANON, 0, 0);
  if (page == MAP_FAILED)
    return false;
  if (! journal_read (j, block, page))
    {
      munmap (page, vm_page_size);
      return false;
    }
  *buf = page;
  *len = vm_page_size;
  return true;
}

error_t
ext2_journal_getblk (struct node *np, uint32_t index, uint32_t *block)
{
  error_t err = diskfs_catch_exception ();

  if (err)
    return err;
  err = ext2_getblk (np, index, 0, block);
  diskfs_end_catch_exception ();
  return err;
}

error_t
ext2_journal_read_global (off_t offset, size_t amount, void **buf,
			  size_t *len)
{
  if (read_page (offset >> log2_block_size, buf, len))
    {
      *len = amount;
      return 0;
    }
  return store_read (store, offset >> store->log2_block_size, amount, buf,
		     len);
}

/* Nobody told the journal of BLOCK, so the disk has the same, or a change
   was not announced: that is looked for on demand.  */
static void
check_unknown (block_t block, const void *data)
{
  void *buf = NULL;
  size_t len = 0;

  if (! ext2_journal_check
      || store_read (store, (store_offset_t) block
		     << log2_dev_blocks_per_fs_block, block_size, &buf, &len))
    return;
  if (len == block_size && memcmp (buf, data, block_size) != 0
      && block != boffs_block (SBLOCK_OFFS))
    ext2_warning ("journal: block %u came back with a change that is in no"
		  " transaction", block);
  munmap (buf, len);
}

static void
page_returned (block_t block, const void *data)
{
  struct journal *j = __atomic_load_n (&ext2_journal, __ATOMIC_ACQUIRE);

  /* If it was parked meanwhile, all is at home.  */
  if (! j || ! journal_writeback (j, block, data))
    check_unknown (block, data);
}

error_t
ext2_journal_write_global (off_t offset, void *buf, size_t amount,
			   size_t *written)
{
  if (! ext2_journal)
    return store_write (store, offset >> store->log2_block_size, buf, amount,
			written);
  page_returned (offset >> log2_block_size, buf);
  *written = amount;
  return 0;
}

error_t
ext2_journal_read_file (struct node *np, off_t dev_block, size_t amount,
			void **buf, size_t *len)
{
  block_t block = dev_block >> log2_dev_blocks_per_fs_block;

  if (S_ISDIR (np->dn_stat.st_mode) && amount == block_size
      && read_page (block, buf, len))
    return 0;
  if (ext2_journal_is_fresh (block))
    {
      *buf = mmap (0, amount, PROT_READ | PROT_WRITE, MAP_ANON, 0, 0);
      *len = amount;
      return *buf == MAP_FAILED ? ENOMEM : 0;
    }
  return store_read (store, dev_block, amount, buf, len);
}

int
ext2_journal_page_by_page (struct node *np)
{
  return ext2_journal && (S_ISDIR (np->dn_stat.st_mode)
			  || diskfs_node_disknode (np)->journal.cutting);
}

int
ext2_journal_write_file (struct node *np, vm_offset_t offset, void *buf,
			 error_t *err)
{
  struct disknode *dn = diskfs_node_disknode (np);
  block_t block;

  *err = 0;
  if (! ext2_journal)
    return 0;
  /* The page goes away, and may have been let in without a block.  */
  if (dn->journal.cutting && offset >= dn->journal.cut)
    return 1;
  if (! S_ISDIR (np->dn_stat.st_mode))
    return 0;
  pthread_rwlock_rdlock (&dn->alloc_lock);
  if (offset < np->allocsize
      && ! ext2_journal_getblk (np, offset >> log2_block_size, &block))
    page_returned (block, buf);
  pthread_rwlock_unlock (&dn->alloc_lock);
  return 1;
}

struct pager *
ext2_journal_pager_of (struct node *np)
{
  struct pager *pager;

  pthread_spin_lock (&node_to_page_lock);
  pager = diskfs_node_disknode (np)->pager;
  if (pager)
    ports_port_ref (pager);
  pthread_spin_unlock (&node_to_page_lock);
  return pager;
}

/* Data that has to be down before a commit is known by its pager, which is
   kept until then.  A pager that has ended has returned its pages.  */
struct ordered
{
  struct pager *pager;
  journal_tid_t tid;
  struct ordered *next;
};

static struct ordered *ordered;
static pthread_mutex_t ordered_lock = PTHREAD_MUTEX_INITIALIZER;

/* How far back is looked for a pager that was kept before: a few files grow
   at a time.  */
#define LOOK_BACK 16

error_t
ext2_journal_keep_pager (struct pager *pager, journal_tid_t tid)
{
  struct ordered *o;
  error_t err = 0;
  int i;

  pthread_mutex_lock (&ordered_lock);
  for (o = ordered, i = 0; o && i < LOOK_BACK; o = o->next, i++)
    if (o->pager == pager && o->tid == tid)
      break;
  if (! o || i == LOOK_BACK)
    {
      o = malloc (sizeof *o);
      if (o)
	{
	  ports_port_ref (pager);
	  o->pager = pager;
	  o->tid = tid;
	  o->next = ordered;
	  ordered = o;
	}
      else
	err = ENOMEM;
    }
  pthread_mutex_unlock (&ordered_lock);
  return err;
}

void
ext2_journal_ordered_committed (journal_tid_t tid)
{
  struct ordered *gone = NULL, **p, *o;

  pthread_mutex_lock (&ordered_lock);
  for (p = &ordered; (o = *p) != NULL;)
    if ((int32_t) (tid - o->tid) >= 0)
      {
	*p = o->next;
	o->next = gone;
	gone = o;
      }
    else
      p = &o->next;
  pthread_mutex_unlock (&ordered_lock);

  while ((o = gone) != NULL)
    {
      gone = o->next;
      ports_port_deref (o->pager);
      free (o);
    }
}

/* Of any file.  */
static _Atomic int lost_data;

error_t
ext2_journal_wrote (struct node *np, error_t err)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;

  if (err && ext2_journal)
    {
      if (! jn->lost)
	ext2_warning ("inode %llu: data could not be written: %s",
		      (unsigned long long) np->cache_id, strerror (err));
      jn->lost = jn->unordered = lost_data = err;
    }
  return err;
}

error_t
ext2_journal_lost (struct node *np)
{
  return atomic_exchange (np ? &diskfs_node_disknode (np)->journal.lost
			  : &lost_data, 0);
}

/* The kernel may have returned the page before: an error counts from when
   it happened.  */
int
ext2_journal_write_ordered (void *ctx, uint64_t object, uint64_t first,
			    uint64_t count)
{
  struct pager *pager = (struct pager *) (uintptr_t) object;
  struct node *np = pager_get_upi (pager)->node;
  struct journal *j = __atomic_load_n (&ext2_journal, __ATOMIC_ACQUIRE);

  pager_sync_some (pager, first << log2_block_size, count << log2_block_size,
		   1);
  /* What the kernel had nothing for.  */
  if (j)
    ext2_journal_clear_fresh (np, journal_running_tid (j));
  return atomic_exchange (&diskfs_node_disknode (np)->journal.unordered, 0);
}
