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
  if (S_ISDIR (np->dn_stat.st_mode) && amount == block_size
      && read_page (dev_block >> log2_dev_blocks_per_fs_block, buf, len))
    return 0;
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
      && ! ext2_getblk (np, offset >> log2_block_size, 0, &block))
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

static error_t
keep_pager (struct pager *pager, journal_tid_t tid)
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

  pager_sync_some (pager, first << log2_block_size, count << log2_block_size,
		   1);
  return atomic_exchange (&diskfs_node_disknode (np)->journal.unordered, 0);
}

/* A fault may allocate a block and as many as three indirect ones, each in
   another group; and the inode.  */
#define FAULT_CREDITS 14

static pthread_mutex_t writer_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t writer_idle = PTHREAD_COND_INITIALIZER;

void
diskfs_journal_copying (struct node *np, int copying)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;

  if (! ext2_journal)
    return;
  pthread_mutex_lock (&writer_lock);
  jn->writer = copying ? journal_current () : NULL;
  /* Others may have faulted on the same file and use this handle.  */
  while (! copying && jn->faults > 0)
    pthread_cond_wait (&writer_idle, &writer_lock);
  pthread_mutex_unlock (&writer_lock);
}

/* Start a handle for a fault on NP.  *PARENT says whether it is that of the
   operation which writes to NP.  */
static error_t
fault_start (struct node *np, struct journal_handle **h, bool *parent)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;
  error_t err = EAGAIN;

  ext2_journal_enter ();
  pthread_mutex_lock (&writer_lock);
  *parent = jn->writer != NULL;
  if (*parent)
    {
      jn->faults++;
      err = journal_start_worker (ext2_journal, jn->writer, FAULT_CREDITS, 0,
				  h);
    }
  if (*parent && err)
    {
      if (--jn->faults == 0)
	pthread_cond_broadcast (&writer_idle);
      *parent = false;
    }
  pthread_mutex_unlock (&writer_lock);
  if (err == EAGAIN)
    {
      err = journal_start_worker (ext2_journal, NULL, FAULT_CREDITS, 0, h);
      if (! err && (err = ext2_journal_in_use ()) != 0)
	journal_stop (*h);
    }
  if (err)
    ext2_journal_exit ();
  return err;
}

static error_t
fault_stop (struct node *np, struct journal_handle *h, bool parent)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;
  error_t err = journal_stop (h);

  ext2_journal_exit ();
  if (parent)
    {
      pthread_mutex_lock (&writer_lock);
      if (--jn->faults == 0)
	pthread_cond_broadcast (&writer_idle);
      pthread_mutex_unlock (&writer_lock);
    }
  return err;
}

/* The fault may have given NP blocks: its inode says so in the same
   transaction.  Its other fields belong to whoever has NP locked.  */
static void
write_blocks (struct node *np)
{
  struct ext2_inode *di = dino_ref (np->cache_id);

  if (le32toh (di->i_blocks) == np->dn_stat.st_blocks
      && memcmp (di->i_block, diskfs_node_disknode (np)->info.i_data,
		 sizeof di->i_block) == 0)
    {
      dino_deref (di);
      return;
    }
  ext2_journal_access (di);
  ext2_journal_copy_blocks (np, di);
  record_global_poke (di);
}

/* The block of PAGE of NP; EINVAL for a hole.  One queue serves all faults of
   NP, so nobody else fills that meanwhile.  */
static error_t
block_of (struct node *np, vm_offset_t page, block_t *block)
{
  struct disknode *dn = diskfs_node_disknode (np);
  error_t err;

  pthread_rwlock_rdlock (&dn->alloc_lock);
  err = diskfs_catch_exception ();
  if (! err)
    {
      err = ext2_getblk (np, page >> log2_block_size, 0, block);
      diskfs_end_catch_exception ();
    }
  pthread_rwlock_unlock (&dn->alloc_lock);
  return err;
}

/* The new block of PAGE of NP has what was there before.  No operation holds
   the commit up until whoever faulted has written to the page; until then it
   is clean, and the kernel has nothing to return.  */
static error_t
clear_new_block (struct node *np, vm_offset_t page)
{
  size_t written = 0;
  block_t block;
  error_t err = block_of (np, page, &block);

  if (! err)
    err = store_write (store,
		       (store_offset_t) block << log2_dev_blocks_per_fs_block,
		       (const void *) zeroblock, block_size, &written);
  if (! err && written != block_size)
    err = EIO;
  return ext2_journal_wrote (np, err);
}

error_t
ext2_journal_unlock_page (struct user_pager_info *upi, vm_offset_t page)
{
  struct node *np = upi->node;
  struct journal_handle *h;
  struct pager *pager;
  block_t block;
  bool parent, hole;
  error_t err, stop;

  if (upi->type == DISK || ! ext2_journal)
    return ext2_unlock_page (upi, page);
  if (diskfs_node_disknode (np)->journal.cutting
      && page >= diskfs_node_disknode (np)->journal.cut)
    return 0;
  if (diskfs_readonly)
    return EROFS;

  err = fault_start (np, &h, &parent);
  if (err)
    return err;
  hole = ! parent && ! S_ISDIR (np->dn_stat.st_mode)
    && block_of (np, page, &block) == EINVAL;
  err = ext2_unlock_page (upi, page);
  if (! err && hole)
    err = clear_new_block (np, page);
  if (! S_ISDIR (np->dn_stat.st_mode))
    {
      write_blocks (np);
      pager = ext2_journal_pager_of (np);
      if (! err && pager)
	err = keep_pager (pager, journal_handle_tid (h))
	  ?: journal_order (h, (uintptr_t) pager, page >> log2_block_size, 1);
      if (pager)
	ports_port_deref (pager);
    }
  stop = fault_stop (np, h, parent);
  return err ? err : stop;
}
