/* Where there is no journal.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "diskfs-journal.h"

/* What each function is for is said in diskfs-journal.h.  Together these
   do what libdiskfs did before it knew of journals.  */

error_t __attribute__ ((weak))
diskfs_journal_start (enum diskfs_journal_op op, struct node *np, off_t size)
{
  return 0;
}

size_t __attribute__ ((weak))
diskfs_journal_most (size_t size)
{
  return size;
}

error_t __attribute__ ((weak))
diskfs_journal_stop (error_t err)
{
  return err;
}

int __attribute__ ((weak))
diskfs_journal_room (size_t size)
{
  return 0;
}

void __attribute__ ((weak))
diskfs_journal_leave (void)
{
}

void __attribute__ ((weak))
diskfs_journal_rejoin (void)
{
}

error_t __attribute__ ((weak))
diskfs_journal_create_node (struct node *dir, const char *name, mode_t mode,
			    struct node **np, struct protid *cred,
			    struct dirstat *ds)
{
  return diskfs_create_node (dir, name, mode, np, cred, ds);
}

void __attribute__ ((weak))
diskfs_node_changed (struct node *np)
{
  if (diskfs_synchronous)
    diskfs_node_update (np, 1);
}

void __attribute__ ((weak))
diskfs_file_changed (struct node *np)
{
  if (diskfs_synchronous)
    diskfs_file_update (np, 1);
}

void __attribute__ ((weak))
diskfs_journal_update (struct node *np)
{
}

void __attribute__ ((weak))
diskfs_journal_copying (struct node *np, int copying, off_t offset,
			size_t amount)
{
}

int __attribute__ ((weak))
diskfs_journal_defer_drop (struct node *np)
{
  return 0;
}

error_t __attribute__ ((weak))
diskfs_journal_getfile (ino_t inum, struct node **np)
{
  return diskfs_cached_lookup (inum, np);
}

error_t __attribute__ ((weak))
diskfs_journal_fsync (struct node *np, int wait)
{
  diskfs_file_update (np, wait);
  return 0;
}

error_t __attribute__ ((weak))
diskfs_journal_shorten (struct node *np, off_t size)
{
  return 0;
}

error_t __attribute__ ((weak))
diskfs_journal_truncate (struct node *np, off_t size)
{
  return diskfs_truncate (np, size);
}

void __attribute__ ((weak))
diskfs_journal_changing (int readonly)
{
}

error_t __attribute__ ((weak))
diskfs_journal_changed (int readonly)
{
  return 0;
}

error_t __attribute__ ((weak))
diskfs_journal_synced (void)
{
  return 0;
}

error_t __attribute__ ((weak))
diskfs_journal_error (void)
{
  return 0;
}
