/* The journal in ext2fs: files are cut.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <string.h>

#include "journal-glue.h"

/* To free a block costs its bitmap, its group's descriptor and the
   superblock, however many are freed.  So the cost of a cut is bounded by the
   groups that the file has blocks in, and it is one operation, done whole or
   not at all.  Indirect blocks that go away entirely are not changed but
   revoked.

   If the log is tiny and the groups are many, it is several operations, from
   the end of the file on.  No lock is held between them.  From the first to
   the last the inode on disk has its final size and is on the list of
   orphans, so whoever mounts it after a crash does the rest: on disk, too,
   the cut is done or not.  */

void
ext2_journal_trunc_cost (struct node *np, unsigned *credits,
			 unsigned *revokes)
{
  unsigned long blocks = np->dn_stat.st_blocks >> log2_stat_blocks_per_fs_block;
  unsigned long groups = blocks < groups_count ? blocks : groups_count;

  /* Three indirect blocks may stay, in part.  */
  *credits = groups + (groups < db_per_group ? groups : db_per_group) + 3;
  *revokes = S_ISDIR (np->dn_stat.st_mode) ? blocks
    : blocks / addr_per_block + 4;
}

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

/* A run of blocks of NODE to be freed.  */
struct run
{
  struct node *node;
  block_t first;
  unsigned long count;
  bool metadata;		/* A directory's data is.  */
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

/* BLOCK, which BH points to and has a reference to, is an indirect block all
   of whose blocks are freed.  */
static void
free_indirect (struct run *r, block_t block, block_t *bh)
{
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
  block_t block = *p, *bh;
  unsigned i;
  int d;

  if (block == 0)
    return;
  if (depth == 0)
    {
      run_add (r, block);
      *p = 0;
      return;
    }
  for (d = 1; d < depth; d++)
    span *= addr_per_block;
  bh = disk_cache_block_ref (block);
  if (from > 0)
    ext2_journal_access (bh);
  for (i = from / span; i < addr_per_block; i++)
    {
      block_t entry = bh[i];
      uint64_t skip = i == from / span ? from % span : 0;

      cut (r, &entry, depth - 1, skip);
      /* Of a block that goes away nothing is changed: that would only have
	 to be undone, should a crash keep it.  */
      if (from > 0)
	bh[i] = entry;
    }
  if (from == 0)
    {
      free_indirect (r, block, bh);
      *p = 0;
    }
  else
    record_global_poke (bh);
}

/* What a step may still free.  */
struct step
{
  unsigned char *groups;	/* Bits of those that are paid for.  */
  unsigned credits, revokes;
  bool directory;
  uint32_t end, from;
};

/* Pay for BLOCK.  Returns false if there is not enough left.  */
static bool
afford (struct step *s, block_t block, bool metadata)
{
  unsigned long group = (block - le32toh (sblock->s_first_data_block))
    / le32toh (sblock->s_blocks_per_group);

  if (metadata && s->revokes-- == 0)
    return false;
  if (group >= groups_count || test_bit (group, s->groups))
    return true;
  if (s->credits < 2)		/* Its bitmap and its descriptor.  */
    return false;
  s->credits -= 2;
  set_bit (group, s->groups);
  return true;
}

/* Pay for what BLOCK, at DEPTH levels above data, leads to, from its end on;
   BASE is where its range begins.  Returns false as above.  */
static bool
afford_tree (struct step *s, block_t block, int depth, uint64_t base)
{
  uint64_t span = 1;
  block_t *bh;
  unsigned i;
  bool paid = true;
  int d;

  if (block == 0)
    return true;
  if (! afford (s, block, depth > 0 || s->directory))
    return false;
  if (depth == 0)
    {
      s->from = base;
      return true;
    }
  for (d = 1; d < depth; d++)
    span *= addr_per_block;
  bh = disk_cache_block_ref (block);
  for (i = addr_per_block; i-- > 0 && paid && base + (i + 1) * span > s->end;)
    paid = afford_tree (s, bh[i], depth - 1, base + i * span);
  disk_cache_block_deref (bh);
  return paid;
}

uint32_t
ext2_journal_step (struct node *np, uint32_t end, unsigned credits)
{
  struct disknode *dn = diskfs_node_disknode (np);
  unsigned char groups[groups_count / 8 + 1];
  struct step s = {
    .groups = groups,
    .credits = credits,
    .revokes = STEP_REVOKES,
    .directory = S_ISDIR (np->dn_stat.st_mode),
    .end = end,
    .from = UINT32_MAX
  };
  uint64_t single = EXT2_NDIR_BLOCKS, twice = single + addr_per_block;
  uint64_t base[] = {
    single, twice, twice + (uint64_t) addr_per_block * addr_per_block
  };
  unsigned most, frees;
  bool paid = true;
  int i;

  /* Also what has no blocks at all.  */
  ext2_journal_trunc_cost (np, &most, &frees);
  if (most <= credits && frees <= STEP_REVOKES)
    return end;
  memset (groups, 0, sizeof groups);
  pthread_rwlock_rdlock (&dn->alloc_lock);
  for (i = 3; i-- > 0 && paid;)
    paid = afford_tree (&s, dn->info.i_data[EXT2_NDIR_BLOCKS + i], i + 1,
			base[i]);
  for (i = EXT2_NDIR_BLOCKS; i-- > (int) end && paid;)
    paid = afford_tree (&s, dn->info.i_data[i], 0, i);
  pthread_rwlock_unlock (&dn->alloc_lock);
  return paid ? end : s.from;
}

/* One operation of those that cut NP to SIZE, all but the last.  *MORE says
   whether there was any need.  */
static error_t
shorten_step (struct node *np, off_t size, bool *more)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;
  uint32_t end = boffs_block (round_block (size)), from;
  unsigned most = ext2_journal_limits.max_handle;
  error_t err = ext2_journal_begin (most, STEP_REVOKES);

  *more = false;
  if (err)
    return err;
  pthread_mutex_lock (&np->lock);
  from = ext2_journal_step (np, end, most - CHANGE_CREDITS);
  if (diskfs_check_readonly ())
    err = EROFS;
  else if (from > end && ((off_t) from << log2_block_size)
	   < np->dn_stat.st_size)
    {
      *more = true;
      jn->target = size;
      jn->steps = 1;
      err = diskfs_truncate (np, (off_t) from << log2_block_size);
      if (err)
	jn->steps = 0;
      diskfs_node_update (np, 0);
    }
  pthread_mutex_unlock (&np->lock);
  return ext2_journal_end (err);
}

error_t
diskfs_journal_shorten (struct node *np, off_t size)
{
  unsigned credits, revokes;
  error_t err = 0;
  bool more = true;

  while (ext2_journal && more && ! err)
    {
      ext2_journal_trunc_cost (np, &credits, &revokes);
      if (! S_ISREG (np->dn_stat.st_mode)
	  || credits + CHANGE_CREDITS <= ext2_journal_limits.max_handle)
	break;
      err = shorten_step (np, size, &more);
    }
  return err;
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
  for (i = end; i < EXT2_NDIR_BLOCKS; i++)
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
  if (jn->steps && end <= boffs_block (round_block (jn->target)))
    jn->steps = 0;		/* That was the last.  */
  np->dn_stat_dirty = 1;
}
