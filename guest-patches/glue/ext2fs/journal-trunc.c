/* The journal in ext2fs: files are cut.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdlib.h>
#include <string.h>
#include <hurd/sigpreempt.h>

#include "journal-glue.h"

/* To free a block costs its bitmap, its group's descriptor and the
   superblock, however many are freed.  So the cost of a cut is bounded by the
   groups that the file has blocks in, and it is one operation, done whole or
   not at all.  Indirect blocks that go away entirely are not changed but
   revoked.

   If the log is tiny and the groups are many, it is several operations:
   journal-step.c.

   A disk that fails in the middle of a cut leaves half of one in memory, so
   the journal is given up.  */

/* A node that has lost its last name is cut by the reaper.  */
int
ext2_journal_defer_truncate (struct node *np, off_t length)
{
  return ext2_journal && np->dn_stat.st_nlink == 0
    && S_ISDIR (np->dn_stat.st_mode) && ! ext2_journal_reaping ();
}

/* That must be on disk before the cut is, or a file that grows again shows
   what was there.  */
void
ext2_journal_tail_cleared (struct node *np, off_t length)
{
  struct pager *pager;

  if (! ext2_journal)
    {
      diskfs_file_update (np, 1);
      return;
    }
  pager = ext2_journal_pager_of (np);
  if (pager)
    {
      pager_sync_some (pager, trunc_page (length), vm_page_size, 1);
      ports_port_deref (pager);
    }
}

void
ext2_journal_touch (vm_address_t addr)
{
  int word;

  if (! hurd_safe_copyin (&word, (void *) addr, sizeof word))
    hurd_safe_copyout ((void *) addr, &word, sizeof word);
}

void
ext2_journal_cut_pages (struct node *np, off_t length)
{
  struct disknode *dn = diskfs_node_disknode (np);
  struct journal_handle *h = journal_current ();
  struct pager *pager;

  if (! ext2_journal)
    return;
  /* The committing transaction may be writing data of NP: it has to, and
     takes alloc_lock for it.  */
  pager = ext2_journal_pager_of (np);
  if (pager)
    {
      if (h)
	journal_unorder (h, (uintptr_t) pager, round_page (length)
			 >> log2_block_size);
      ports_port_deref (pager);
    }
  dn->journal.cut = round_page (length);
  dn->journal.cutting = 1;
}

void
ext2_journal_cut_done (struct node *np)
{
  diskfs_node_disknode (np)->journal.cutting = 0;
}

error_t
ext2_journal_read_indirect (block_t block, block_t *entries)
{
  return ext2_journal_ops.copy_block (NULL, block, entries);
}

/* The indirect block BLOCK gets ENTRIES from FIRST on.  */
static error_t
change_indirect (block_t block, const block_t *entries, unsigned first)
{
  error_t err = diskfs_catch_exception ();
  block_t *bh;

  if (err)
    return err;
  bh = disk_cache_block_ref (block);
  ext2_journal_access (bh);
  memcpy (bh + first, entries + first, (addr_per_block - first) * sizeof *bh);
  diskfs_end_catch_exception ();
  record_global_poke (bh);
  return 0;
}

/* A run of blocks of NODE to be freed.  */
struct run
{
  struct node *node;
  block_t first;
  unsigned long count;
  bool metadata;		/* A directory's data is.  */
  block_t *entries;		/* Room for three indirect blocks.  */
  error_t err;
};

static void
run_flush (struct run *r)
{
  if (r->count == 0)
    return;
  r->node->dn_stat.st_blocks -= r->count << log2_stat_blocks_per_fs_block;
  ext2_journal_free_run (r->first, r->count, r->metadata);
  r->count = 0;
}

static void
run_add (struct run *r, block_t block)
{
  if (r->count > 0 && r->first + r->count == block)
    r->count++;
  else
    {
      run_flush (r);
      r->first = block;
      r->count = 1;
    }
}

/* All blocks of the indirect block BLOCK are freed.  */
static void
free_indirect (struct run *r, block_t block)
{
  block_t *bh = disk_cache_block_ref (block);

  pager_flush_some (diskfs_disk_pager, bptr_index (bh) << log2_block_size,
		    block_size, 1);
  _disk_cache_block_deref (bh);
  r->node->dn_stat.st_blocks -= 1 << log2_stat_blocks_per_fs_block;
  ext2_journal_free_run (block, 1, true);
}

/* Free what *P, at DEPTH levels above data, leads to, from block FROM of its
   range on.  *P is zero afterwards if that was everything.  */
static void
cut (struct run *r, block_t *p, int depth, uint64_t from)
{
  uint64_t span = 1;		/* Blocks that each entry stands for.  */
  block_t block = *p, *entries;
  unsigned i;
  int d;

  if (block == 0 || r->err)
    return;
  if (depth == 0)
    {
      run_add (r, block);
      *p = 0;
      return;
    }
  for (d = 1; d < depth; d++)
    span *= addr_per_block;
  entries = r->entries + (depth - 1) * addr_per_block;
  r->err = ext2_journal_read_indirect (block, entries);
  for (i = from / span; i < addr_per_block && ! r->err; i++)
    cut (r, &entries[i], depth - 1, i == from / span ? from % span : 0);
  if (r->err)
    return;
  /* Of a block that goes away nothing is changed: that would only have to be
     undone, should a crash keep it.  */
  if (from > 0)
    r->err = change_indirect (block, entries, from / span);
  else
    {
      free_indirect (r, block);
      *p = 0;
    }
}

void
ext2_journal_trunc (struct node *np, uint32_t end)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;
  struct run r = { .node = np, .metadata = S_ISDIR (np->dn_stat.st_mode) };
  block_t *blocks = diskfs_node_disknode (np)->info.i_data;
  uint64_t start = EXT2_NDIR_BLOCKS, span = addr_per_block;
  int i;

  if (! ext2_journal)
    return;
  r.entries = malloc (3 * block_size);
  if (! r.entries)
    r.err = ENOMEM;
  for (i = end; i < EXT2_NDIR_BLOCKS && ! r.err; i++)
    cut (&r, &blocks[i], 0, 0);
  for (i = 1; i <= 3; i++)
    {
      if (end < start + span)
	cut (&r, &blocks[EXT2_NDIR_BLOCKS + i - 1], i,
	     end > start ? end - start : 0);
      start += span;
      span *= addr_per_block;
    }
  run_flush (&r);
  free (r.entries);
  if (r.err)
    {
      ext2_journal_fail (r.err, "a file could not be cut");
      ext2_journal_spoil (r.err);
    }
  if (jn->steps && end <= boffs_block (round_block (jn->target)))
    jn->steps = 0;		/* That was the last.  */
  np->dn_stat_dirty = 1;
}
