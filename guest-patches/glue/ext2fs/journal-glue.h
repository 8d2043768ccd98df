/* The journal in ext2fs: what its rooms share.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef JOURNAL_GLUE_H
#define JOURNAL_GLUE_H

#include <stdbool.h>

#include "ext2fs.h"
#include "journal.h"
#include "../libdiskfs/diskfs-journal.h"

/* Locks, in this order:

     operation (journal_start)
     locks of libdiskfs: directory, node, node cache
     alloc_lock of a node
     orphan_lock
     global_lock
     inode_lock (journal-node.c)
     locks of the disk cache
     the lock of fresh blocks (journal-fresh.c)
     the lock of the journal

   An operation is never started, and nothing waits for a commit, under any
   of the others.  */

/* The journal, or null where there is none or the file system is not
   writable.  */
extern struct journal *ext2_journal;
extern struct journal_limits ext2_journal_limits;
extern struct journal_settings ext2_journal_settings;
extern const struct journal_ops ext2_journal_ops;

/* What --journal-settings said.  */
extern char *ext2_journal_preset;
/* Compare what a pager returns and the journal does not know with the
   disk.  */
extern bool ext2_journal_check;

/* journal-handle.c */

/* What an operation may change at most, besides what depends on sizes: a
   rename over a directory changes two parents' inodes and blocks, the
   parent's entry in the moved directory, four inodes in all, and may extend
   the target by a block with its indirect blocks.  */
#define CHANGE_CREDITS 32

/* As diskfs_journal_start, with what it may change: CREDITS blocks, and
   REVOKES freed blocks of metadata.  */
error_t ext2_journal_begin (unsigned credits, unsigned revokes);
error_t ext2_journal_end (error_t err);
/* A change cannot be kept in the journal: give up.  */
void ext2_journal_fail (error_t err, const char *what);
void ext2_journal_access_block (block_t block);
void ext2_journal_dirty_block (block_t block);
/* BLOCK, which is new, is announced.  Who maps it gets zeros, as if a page of
   them had come back, and the disk is not asked.  */
void ext2_journal_zero_block (block_t block);
/* The current operation will end with ERR, if that is not 0.  */
void ext2_journal_spoil (error_t err);
/* As diskfs_journal_rejoin, with what it takes to cut NP.  */
void ext2_journal_rejoin_for (struct node *np);

/* journal-alloc.c */

/* Freed blocks that wait for a commit, or for the reaper, may be all that
   is free: have them.  Without an operation.  */
void ext2_journal_make_room (unsigned long blocks);
/* TID is on disk.  */
void ext2_journal_blocks_committed (journal_tid_t tid);
error_t ext2_journal_free_run (block_t block, unsigned long count,
			       bool metadata);

/* Did the thread take a block since the last call?  */
bool ext2_journal_took (void);

/* journal-fresh.c */

/* Nobody has written BLOCK of a file yet: it reads as zeros.  */
bool ext2_journal_is_fresh (block_t block);
/* Write zeros to the fresh blocks that transactions before BEFORE gave to
   NP, whose alloc_lock is taken.  */
void ext2_journal_clear_fresh (struct node *np, journal_tid_t before);
/* BLOCKS blocks from BLOCK on are about to be freed in TID.  */
void ext2_journal_freed (block_t block, unsigned long blocks,
			 journal_tid_t tid);
/* NP may go away: its blocks are still known, but no longer as NP's.  */
void ext2_journal_leave_fresh (struct node *np);
/* The disk is read anew.  */
void ext2_journal_forget_fresh (void);

/* journal-trunc.c */

/* Copy the indirect block BLOCK to ENTRIES: the disk may fail to have it.  */
error_t ext2_journal_read_indirect (block_t block, block_t *entries);

/* journal-step.c */

/* What it takes to free the blocks of NP from END on.  */
void ext2_journal_trunc_cost (struct node *np, unsigned *credits,
			      unsigned *revokes);
/* How many blocks of metadata one step of a cut frees at most.  */
#define STEP_REVOKES 5000
/* *FROM is the block from which on one operation with that many CREDITS can
   cut NP, and END if it can cut all behind END.  */
error_t ext2_journal_step (struct node *np, uint32_t end, unsigned credits,
			   uint32_t *from);

/* journal-mount.c */

/* What replay must not write, whatever a log says: the blocks that lead to
   those of the log, which never change, and the boot block.  */
bool ext2_journal_protected (void *ctx, uint64_t block);
/* journal-super.c */

/* The file system has a journal; it says that there is something to
   replay.  */
bool ext2_journal_there (void);
bool ext2_journal_needs_recovery (void);
/* Write the superblock past the journal.  */
error_t ext2_journal_write_super (void);
/* RECOVER is on disk, or is not.  */
error_t ext2_journal_set_recover (bool on);
/* The log was empty a moment ago.  If it is still, the disk says so; else
   EBUSY.  */
error_t ext2_journal_clear_recover (void);
/* RECOVER is on since this journal was opened.  */
bool ext2_journal_marked (void);
/* A journal was opened, and RECOVER is off.  */
void ext2_journal_unmarked (void);
/* A handle is about to be started, and is gone.  */
void ext2_journal_enter (void);
void ext2_journal_exit (void);
/* With a handle: the superblock says that the log is in use.  */
error_t ext2_journal_in_use (void);

/* journal-node.c */

void ext2_journal_load_orphans (void);
/* How many nodes are on the list of orphans.  */
size_t ext2_journal_orphans (void);

/* journal-reap.c */

/* Begin, or go on.  */
error_t ext2_journal_reaper_start (void);
/* Return when it is idle.  Nodes that come later stay orphans, until the file
   system is writable again.  */
void ext2_journal_reaper_stop (void);
/* Return when all nodes are freed.  */
void ext2_journal_reap_wait (void);
/* Return when BLOCKS blocks are free, or all nodes that were there to be freed
   at the call: those that come later are no concern of the caller, who might
   wait for ever.  */
void ext2_journal_reap_for (unsigned long blocks);
/* The thread that frees nodes.  */
bool ext2_journal_reaping (void);

/* journal-pager.c */

/* PAGER has data to be written before TID commits: keep it until then.  */
error_t ext2_journal_keep_pager (struct pager *pager, journal_tid_t tid);
void ext2_journal_ordered_committed (journal_tid_t tid);
int ext2_journal_write_ordered (void *ctx, uint64_t object, uint64_t first,
				uint64_t count);
struct pager *ext2_journal_pager_of (struct node *np);
/* What kept data from the disk since the last call, of NP or, for null, of
   any file.  */
error_t ext2_journal_lost (struct node *np);

/* inode.c, made known.  */
struct ext2_inode *ext2_write_node (struct node *np);

/* pager.c */
extern struct port_bucket *file_pager_bucket;
error_t ext2_unlock_page (struct user_pager_info *pager, vm_offset_t page);

#endif
