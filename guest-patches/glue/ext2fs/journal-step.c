/* The journal in ext2fs: how much of a file one operation can cut.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdlib.h>
#include <string.h>

#include "journal-glue.h"

/* A cut that is too much for one operation is several, from the end of the
   file on.  No lock is held between them.  From the first to the last the
   inode on disk has its final size and is on the list of orphans, so whoever
   mounts it after a crash does the rest: on disk, too, the cut is done or
   not.  */

void
ext2_journal_trunc_cost (struct node *np, unsigned *credits,
			 unsigned *revokes)
{
  unsigned long blocks = np->dn_stat.st_blocks >> log2_stat_blocks_per_fs_block;
  unsigned long groups = blocks < groups_count ? blocks : groups_count;
  /* Indirect blocks: a file with holes may have little else.  Blocks may lie
     behind its end, if a crash left it half-cut.  */
  unsigned long length = np->allocsize >> log2_block_size;
  unsigned long indirect = (length > blocks ? length : blocks) / addr_per_block;

  indirect += indirect / addr_per_block + 4;
  /* Three indirect blocks may stay, in part.  */
  *credits = groups + (groups < db_per_group ? groups : db_per_group) + 3;
  *revokes = S_ISDIR (np->dn_stat.st_mode) || blocks < indirect ? blocks
    : indirect;
}

/* What a step may still free.  */
struct step
{
  unsigned char *groups;	/* Bits of those that are paid for.  */
  unsigned credits, revokes;
  bool directory;
  uint32_t end, from;
  block_t *entries;		/* Room for three indirect blocks.  */
  error_t err;
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
   BASE is where its range begins.  Returns false as above, or with an
   error.  */
static bool
afford_tree (struct step *s, block_t block, int depth, uint64_t base)
{
  uint64_t span = 1;
  block_t *entries;
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
  entries = s->entries + (depth - 1) * addr_per_block;
  s->err = ext2_journal_read_indirect (block, entries);
  if (s->err)
    return false;
  for (i = addr_per_block; i-- > 0 && paid && base + (i + 1) * span > s->end;)
    paid = afford_tree (s, entries[i], depth - 1, base + i * span);
  return paid;
}

error_t
ext2_journal_step (struct node *np, uint32_t end, unsigned credits,
		   uint32_t *from)
{
  struct disknode *dn = diskfs_node_disknode (np);
  struct step s = {
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
  *from = end;
  ext2_journal_trunc_cost (np, &most, &frees);
  if (most <= credits && frees <= STEP_REVOKES)
    return 0;
  s.entries = malloc (3 * block_size);
  s.groups = calloc (1, groups_count / 8 + 1);
  if (! s.entries || ! s.groups)
    s.err = ENOMEM;
  pthread_rwlock_rdlock (&dn->alloc_lock);
  for (i = 3; i-- > 0 && paid && ! s.err;)
    paid = afford_tree (&s, dn->info.i_data[EXT2_NDIR_BLOCKS + i], i + 1,
			base[i]);
  for (i = EXT2_NDIR_BLOCKS; i-- > (int) end && paid && ! s.err;)
    paid = afford_tree (&s, dn->info.i_data[i], 0, i);
  pthread_rwlock_unlock (&dn->alloc_lock);
  free (s.entries);
  free (s.groups);
  if (! paid)
    *from = s.from;
  return s.err;
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
  if (diskfs_check_readonly ())
    err = EROFS;
  else
    err = ext2_journal_step (np, end, most - CHANGE_CREDITS, &from);
  if (! err && from > end && ((off_t) from << log2_block_size)
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

/* Can one operation cut NP for sure?  */
static bool
fits_one (struct node *np)
{
  unsigned credits, revokes;

  if (! ext2_journal || ! S_ISREG (np->dn_stat.st_mode))
    return true;
  ext2_journal_trunc_cost (np, &credits, &revokes);
  return credits + CHANGE_CREDITS <= ext2_journal_limits.max_handle
    && revokes <= STEP_REVOKES;
}

/* If a step cannot start, the file is what the steps before it left: the next
   that writes its inode says so on disk.  */
error_t
diskfs_journal_shorten (struct node *np, off_t size)
{
  error_t err = 0;
  bool more = true;

  while (more && ! err && ! fits_one (np))
    err = shorten_step (np, size, &more);
  if (err)
    {
      pthread_mutex_lock (&np->lock);
      diskfs_node_disknode (np)->journal.steps = 0;
      np->dn_stat_dirty = 1;
      pthread_mutex_unlock (&np->lock);
    }
  return err;
}

/* Has the current operation what it takes to cut NP, which is locked?  *MORE
   says that it has not.  */
static error_t
look_at_cut (struct node *np, uint32_t end, bool *more)
{
  struct journal_handle *h = ext2_journal ? journal_current () : NULL;
  unsigned credits = h ? journal_handle_credits (h) : 0;
  uint32_t from = end;
  error_t err = 0;

  if (h && credits >= CHANGE_CREDITS && S_ISREG (np->dn_stat.st_mode))
    err = ext2_journal_step (np, end, credits - CHANGE_CREDITS, &from);
  *more = from > end;
  return err;
}

error_t
diskfs_journal_truncate (struct node *np, off_t size)
{
  uint32_t end = boffs_block (round_block (size));
  bool more;
  error_t err = look_at_cut (np, end, &more);

  while (more && ! err)
    {
      pthread_mutex_unlock (&np->lock);
      diskfs_journal_leave ();
      err = diskfs_journal_shorten (np, size);
      ext2_journal_rejoin_for (np);
      pthread_mutex_lock (&np->lock);
      err = err ?: look_at_cut (np, end, &more);
    }
  return err ?: diskfs_truncate (np, size);
}
