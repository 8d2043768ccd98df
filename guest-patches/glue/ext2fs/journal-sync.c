/* The journal in ext2fs: what is on disk when.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <string.h>

#include "journal-glue.h"

/* A directory's content is the journal's; of a file, data goes home.  */
static void
write_data (struct node *np, int wait)
{
  struct pager *pager;

  if (S_ISDIR (np->dn_stat.st_mode))
    return;
  pager = ext2_journal_pager_of (np);
  if (pager)
    {
      pager_sync (pager, wait);
      ports_port_deref (pager);
    }
}

/* In an operation.  If WAIT, it is on disk when that has stopped.  */
int
ext2_journal_update_file (struct node *np, int wait)
{
  if (! ext2_journal)
    return 0;
  write_data (np, wait);
  diskfs_node_update (np, wait);
  if (wait)
    ext2_journal_spoil (ext2_journal_lost (np));
  return 1;
}

error_t
diskfs_journal_fsync (struct node *np, int wait)
{
  journal_tid_t tid;
  error_t err, lost;

  if (! ext2_journal)
    {
      diskfs_file_update (np, wait);
      return 0;
    }
  write_data (np, wait);
  lost = ext2_journal_lost (np);
  err = ext2_journal_begin (4, 0);
  if (err)
    return err;
  pthread_mutex_lock (&np->lock);
  diskfs_node_update (np, 0);
  pthread_mutex_unlock (&np->lock);
  tid = journal_handle_tid (journal_current ());
  err = ext2_journal_end (0);
  if (! err && wait)
    err = journal_fsync (ext2_journal, tid);
  return err ?: lost;
}

static error_t
sync_one (void *p)
{
  struct user_pager_info *upi = pager_get_upi (p);

  if (! S_ISDIR (upi->node->dn_stat.st_mode))
    pager_sync (p, 0);
  return 0;
}

static error_t
sync_one_wait (void *p)
{
  struct user_pager_info *upi = pager_get_upi (p);

  if (! S_ISDIR (upi->node->dn_stat.st_mode))
    pager_sync (p, 1);
  return 0;
}

int
ext2_journal_sync_everything (int wait)
{
  error_t err;

  if (! ext2_journal_update_nodes ())
    return 0;
  ports_bucket_iterate (file_pager_bucket, wait ? sync_one_wait : sync_one);
  if (! wait)
    journal_request_commit (ext2_journal);
  else
    {
      err = journal_sync (ext2_journal);
      if (err)
	ext2_warning ("sync failed: %s", strerror (err));
    }
  return 1;
}
