/* The journal in ext2fs: what ext2fs's own files call.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef EXT2_JOURNAL_H
#define EXT2_JOURNAL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <argp.h>
#include <error.h>

/* Where there is no journal every function here returns at once, and its
   result says that the caller does what it always did.  */

struct node;
struct journal_handle;
struct user_pager_info;
struct fresh;

/* A part of struct disknode.  */
struct ext2_journal_node
{
  /* While an operation copies data to the pages of the node, its handle, and
     where it writes: faults there take their credits from it.  */
  struct journal_handle *writer;
  off_t writes_from, writes_end;
  int faults;			/* Faults that do so now.  */
  /* While the node is cut, the first page that goes away, or 0.  */
  vm_offset_t cut;
  int cutting;
  /* Data that could not be written: to be told by fsync, and by the commit
     that it was to come before.  */
  _Atomic int lost, unordered;
  /* While the node is cut in steps, the size that it will have: on disk it
     has it, and is on the list of orphans, from the first step on.  */
  off_t target;
  int steps;
  /* It was read by a handle, and had no name: another frees it, or has.  */
  int ghost;
  /* When it was last seen to be in use without a name.  */
  unsigned seen;
  /* Blocks that nobody has written yet.  */
  struct fresh *fresh;
};

/* journal-mount.c */

/* After get_hypermetadata, before the disk is mapped: replay the log.  */
void ext2_journal_recover (void);
/* All is set up but the root node: open the journal.  */
void ext2_journal_mount (void);
/* The file system became writable or read-only.  */
void ext2_journal_readonly_changed (int readonly);
/* What mount must not refuse because of a journal, of FEATURES.  */
uint32_t ext2_journal_unsupported (uint32_t features);
/* Nonzero if diskfs_set_hypermetadata has nothing left to do; *ERR is its
   result.  */
int ext2_journal_hypermetadata (int wait, int clean, error_t *err);

/* journal-handle.c */

/* The block that PTR points into, in the disk cache, is about to change.  */
void ext2_journal_access (const void *ptr);
/* It changed.  Nonzero if its reference was dropped, and the disk will have
   the change with the rest of its operation.  */
int ext2_journal_poke (void *ptr);
/* The same for sync_global_ptr: if WAIT, when the operation stops.  */
int ext2_journal_sync_poke (void *ptr, int wait);
/* Counters in the superblock changed.  */
void ext2_journal_super (void);

/* journal-node.c */

/* NP's inode is brought up to date in the current operation.  */
int ext2_journal_update_node (struct node *np, int wait);
/* The block pointers of NP go to the inode DI.  */
struct ext2_inode;
void ext2_journal_copy_blocks (struct node *np, struct ext2_inode *di);
/* Each changed inode is brought up to date.  */
int ext2_journal_update_nodes (void);

/* journal-reap.c */

/* NP was read from disk.  */
void ext2_journal_read_node (struct node *np);
/* NP's inode was allocated for a new file.  */
void ext2_journal_new_node (struct node *np);

/* journal-alloc.c */

int ext2_journal_new_block (uint32_t goal, uint32_t *block);
int ext2_journal_free_blocks (uint32_t block, unsigned long count);

/* journal-fresh.c */

/* NP was given BLOCK, or none if that is 0, under its alloc_lock; with ZERO as
   an indirect block.  */
void ext2_journal_allocated (struct node *np, uint32_t block, int zero);
/* BLOCKS blocks from BLOCK on have been written, under the alloc_lock of their
   node.  */
void ext2_journal_written (uint32_t block, unsigned long blocks);

/* journal-trunc.c */

/* NP is about to be cut to LENGTH.  Nonzero if that will be done when the
   node goes away.  */
int ext2_journal_defer_truncate (struct node *np, off_t length);
/* The last block of NP was cleared from LENGTH on.  */
void ext2_journal_tail_cleared (struct node *np, off_t length);
/* Write to the page at ADDR what it has.  It may be unreadable.  */
void ext2_journal_touch (vm_address_t addr);
/* Pages of NP from LENGTH on are about to be dropped; they are.  */
void ext2_journal_cut_pages (struct node *np, off_t length);
void ext2_journal_cut_done (struct node *np);
/* Free the blocks of NP from block END on.  */
void ext2_journal_trunc (struct node *np, uint32_t end);

/* journal-dir.c: a block of a directory, IDX, which is mapped at BASE.  */

void ext2_journal_dir_access (struct node *dp, int idx);
void ext2_journal_dir_dirty (struct node *dp, int idx, const void *map);
/* Block IDX is allocated, and is zero.  */
error_t ext2_journal_dir_extend (struct node *dp, int idx);

/* journal-pager.c: what takes the place of store_read and store_write.  */

/* Find block INDEX of NP, as ext2_getblk, with an error if the disk does not
   tell.  Also where there is no journal.  */
error_t ext2_journal_getblk (struct node *np, uint32_t index,
			     uint32_t *block);
error_t ext2_journal_read_global (off_t offset, size_t amount, void **buf,
				  size_t *len);
error_t ext2_journal_write_global (off_t offset, void *buf, size_t amount,
				   size_t *written);
error_t ext2_journal_read_file (struct node *np, off_t dev_block,
				size_t amount, void **buf, size_t *len);
/* Nonzero if the pages of NP are the journal's: a page at OFFSET came
   back.  */
int ext2_journal_write_file (struct node *np, vm_offset_t offset, void *buf,
			     error_t *err);
/* Data of NP was written, with ERR, which is returned.  */
error_t ext2_journal_wrote (struct node *np, error_t err);
/* Nonzero if pages of NP have to be looked at one by one.  */
int ext2_journal_page_by_page (struct node *np);
/* ext2_unlock_page, in an operation.  */
error_t ext2_journal_unlock_page (struct user_pager_info *pager,
				  vm_offset_t page);

/* journal-sync.c */

int ext2_journal_update_file (struct node *np, int wait);
int ext2_journal_sync_everything (int wait);

/* journal-options.c */

/* What diskfs_store_startup_argp and diskfs_std_runtime_argp have, and the
   journal's options.  */
extern const struct argp ext2_journal_startup_argp;
extern const struct argp ext2_journal_runtime_argp;
error_t ext2_journal_append_args (char **argz, size_t *argz_len);

#endif
