/* What a file system with a journal is told by libdiskfs.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef _DISKFS_JOURNAL_H
#define _DISKFS_JOURNAL_H

#include "diskfs.h"

/* libdiskfs defines these functions weakly, so that a file system without a
   journal behaves as if none were called.  One with a journal defines them
   all.

   An operation is what one RPC changes.  It is the outermost lock of the
   file system: it starts before a node is locked, and ends when none is.
   It is not held while another server is called.  */

enum diskfs_journal_op
{
  DISKFS_JOURNAL_CHANGE,	/* Names, links, modes, translators.  */
  DISKFS_JOURNAL_WRITE,		/* SIZE bytes are written to NP.  */
  DISKFS_JOURNAL_TRUNCATE	/* NP may be cut.  */
};

/* The calling thread starts an operation; inside of one it only counts.  NP,
   which may be null, is not locked.  With an error nothing was started.  */
error_t diskfs_journal_start (enum diskfs_journal_op op, struct node *np,
			      off_t size);

/* How much of SIZE bytes one operation can write.  */
size_t diskfs_journal_most (size_t size);

/* The operation is over, with ERR.  Returns ERR, or if that is 0 the error
   that keeps the operation from the disk: if it has to be synchronous, this
   waits for the disk.  */
error_t diskfs_journal_stop (error_t err);

/* An operation found no room to write SIZE bytes.  Wait for files that were
   closed without a name, a few seconds at most: the kernel tells of them one by
   one, and it may have come first.  Nonzero if that was worth it.  */
int diskfs_journal_room (size_t size);

/* Another server is about to be called: let go of the operation, and take
   it up again.  Nothing may have changed in it, or no node is locked.  */
void diskfs_journal_leave (void);
void diskfs_journal_rejoin (void);

/* As diskfs_create_node, in an operation that was left for a translator's
   start and not taken up again, because nodes were locked.  */
error_t diskfs_journal_create_node (struct node *dir, const char *name,
				    mode_t mode, struct node **np,
				    struct protid *cred, struct dirstat *ds);

/* NP, which is locked, was changed by the operation: its inode is part of
   it.  If DISKFS_SYNCHRONOUS is set the change is on disk afterwards, or,
   with a journal, when the operation has stopped.  */
void diskfs_node_changed (struct node *np);
/* The same, and NP's data with it.  */
void diskfs_file_changed (struct node *np);
/* For NP that is not locked, at the end of an operation.  */
void diskfs_journal_update (struct node *np);

/* The thread of an operation copies AMOUNT bytes to the pages of NP at
   OFFSET, which is locked, or has finished to.  Faults that it takes belong to
   it.  */
void diskfs_journal_copying (struct node *np, int copying, off_t offset,
			     size_t amount);

/* The last reference to NP, which is locked, is gone.  If this returns
   nonzero the node is unlocked and will be dropped later.  */
int diskfs_journal_defer_drop (struct node *np);

/* As diskfs_cached_lookup, for who has a handle of the file, which may be
   older than the file's end: ESTALE then.  */
error_t diskfs_journal_getfile (ino_t inum, struct node **np);

/* NP, which is not locked, is to be on disk, if WAIT on return.  */
error_t diskfs_journal_fsync (struct node *np, int wait);

/* NP, which is not locked, is about to be cut to SIZE: cut what one
   operation cannot.  Outside of operations.  */
error_t diskfs_journal_shorten (struct node *np, off_t size);

/* As diskfs_truncate, for NP that is locked, in an operation in which nothing
   has changed: NP may be unlocked meanwhile, and the operation be another.  */
error_t diskfs_journal_truncate (struct node *np, off_t size);

/* Nonzero if changes no longer reach the disk.  */
error_t diskfs_journal_error (void);
/* The file system is about to become read-only, also at a halt, or writable:
   all was synced, and no RPC runs.  */
void diskfs_journal_changing (int readonly);
/* It has.  Nonzero if it could not become writable, or if what it has could not
   all be written home now.  Of a journal that had given up before, that was
   said then.  */
error_t diskfs_journal_changed (int readonly);
/* All was synced: nonzero if something could not be written since the last
   call.  */
error_t diskfs_journal_synced (void);

/* undo.c: what failed half-way is taken back.  */

void diskfs_undo_create (struct node *np, mode_t mode);
void diskfs_undo_link (struct node *np);
void diskfs_undo_parent (struct node *fnp, struct node *fdp,
			 struct node *tdp, struct protid *cred);

#endif
