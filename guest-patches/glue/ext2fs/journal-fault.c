/* The journal in ext2fs: faults that allocate.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <string.h>
#include <unistd.h>

#include "journal-glue.h"

/* A fault may allocate a block and as many as three indirect ones, each in
   another group; and the inode.  */
#define FAULT_CREDITS 14

static pthread_mutex_t writer_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t writer_idle = PTHREAD_COND_INITIALIZER;

void
diskfs_journal_copying (struct node *np, int copying, off_t offset,
			size_t amount)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;

  if (! ext2_journal)
    return;
  pthread_mutex_lock (&writer_lock);
  jn->writer = copying ? journal_current () : NULL;
  jn->writes_from = trunc_page (offset);
  jn->writes_end = offset + amount;
  /* Others may have faulted on the same file and use this handle.  */
  while (! copying && jn->faults > 0)
    pthread_cond_wait (&writer_idle, &writer_lock);
  pthread_mutex_unlock (&writer_lock);
}

/* How long a fault is held up that is to come again.  */
#define FAULT_PAUSE_US 3000

/* Start a handle for a fault on PAGE of NP.  *PARENT says whether it is that
   of the operation which writes there, whose thread waits for the fault.

   EAGAIN: there are no credits for it now, and it has to come again.  It must
   not wait here.  The commit that makes room writes the data of files first,
   and so needs the queue of this very pager, and operations to stop, which
   may need a thread like this one.  For the fault of an operation nothing
   better can come: it waits, and so the commit would.  */
static error_t
fault_start (struct node *np, vm_offset_t page, struct journal_handle **h,
	     bool *parent)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;
  error_t err = EAGAIN;
  bool own;

  ext2_journal_enter ();
  /* Who makes the file system read-only waits for all that entered
     before.  */
  if (diskfs_readonly)
    {
      ext2_journal_exit ();
      return EROFS;
    }
  pthread_mutex_lock (&writer_lock);
  own = jn->writer && page >= jn->writes_from && page < jn->writes_end;
  if (own)
    err = journal_start_worker (ext2_journal, jn->writer, FAULT_CREDITS, 0,
				h);
  *parent = own && ! err;
  if (*parent)
    jn->faults++;
  pthread_mutex_unlock (&writer_lock);
  if (err == EAGAIN)
    {
      err = journal_start_worker (ext2_journal, NULL, FAULT_CREDITS, 0, h);
      if (! err && (err = ext2_journal_in_use ()) != 0)
	journal_stop (*h);
      if (err == EAGAIN && own)
	err = ENOSPC;
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
  error_t err = diskfs_catch_exception ();
  struct ext2_inode *di;

  if (err)
    {
      ext2_journal_fail (err, "an inode cannot be changed");
      return;
    }
  di = dino_ref (np->cache_id);
  if (le32toh (di->i_blocks) == np->dn_stat.st_blocks
      && memcmp (di->i_block, diskfs_node_disknode (np)->info.i_data,
		 sizeof di->i_block) == 0)
    {
      diskfs_end_catch_exception ();
      dino_deref (di);
      return;
    }
  ext2_journal_access (di);
  ext2_journal_copy_blocks (np, di);
  diskfs_end_catch_exception ();
  record_global_poke (di);
}

/* NP's data is to be on disk before the transaction of H.  If that cannot be
   told, the new block of PAGE must not have what was there before.  */
static error_t
order (struct node *np, struct journal_handle *h, vm_offset_t page)
{
  struct pager *pager = ext2_journal_pager_of (np);
  error_t err = 0;

  if (pager)
    {
      err = ext2_journal_keep_pager (pager, journal_handle_tid (h))
	?: journal_order (h, (uintptr_t) pager, page >> log2_block_size, 1);
      ports_port_deref (pager);
    }
  if (! pager || err)
    ext2_journal_clear_fresh (np, journal_handle_tid (h) + 1);
  return err;
}

error_t
ext2_journal_unlock_page (struct user_pager_info *upi, vm_offset_t page)
{
  struct node *np = upi->node;
  struct journal_handle *h;
  error_t err, stop;
  bool parent;

  if (upi->type == DISK)
    return ext2_unlock_page (upi, page);
  if (! ext2_journal)
    /* Read-only, as from a halt on, or without a journal.  */
    return diskfs_readonly && ext2_journal_there () ? EROFS
      : ext2_unlock_page (upi, page);
  if (diskfs_node_disknode (np)->journal.cutting
      && page >= diskfs_node_disknode (np)->journal.cut)
    return 0;
  if (diskfs_readonly)
    return EROFS;
  /* Who extends a directory gives it the block first.  */
  if (S_ISDIR (np->dn_stat.st_mode))
    return ext2_unlock_page (upi, page);

  err = fault_start (np, page, &h, &parent);
  if (err == EAGAIN)
    usleep (FAULT_PAUSE_US);
  if (err)
    return err;
  ext2_journal_took ();
  err = ext2_unlock_page (upi, page);
  if (err && err != ENOSPC && ext2_journal_took ())
    ext2_journal_fail (err, "a block could not be given to a file");
  write_blocks (np);
  if (! err)
    err = order (np, h, page);
  stop = fault_stop (np, h, parent);
  return err ?: stop;
}
