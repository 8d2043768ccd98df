/* The journal in ext2fs: where the log is.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdlib.h>
#include <string.h>

#include "journal-glue.h"
#include "journal-log.h"

/* The log is found before the disk is mapped, so nothing here uses the disk
   cache.  What the disk says is not trusted.  */

#define EXTENTS_FL 0x80000	/* i_flags: ext4's way to keep blocks.  */

static error_t
add_block (struct ext2_journal_log *log, block_t block)
{
  struct journal_extent *last = log->extents + log->count - 1;

  if (block == 0 || block >= le32toh (sblock->s_blocks_count))
    return EINVAL;
  if (log->count > 0 && last->disk_block + last->count == block)
    {
      last->count++;
      return 0;
    }
  if (log->count == log->room)
    {
      unsigned room = log->room ? 2 * log->room : 16;
      struct journal_extent *more
	= realloc (log->extents, room * sizeof *more);

      if (! more)
	return ENOMEM;
      log->extents = more;
      log->room = room;
    }
  log->extents[log->count].disk_block = block;
  log->extents[log->count].count = 1;
  log->count++;
  return 0;
}

/* BLOCK leads to blocks of the log.  */
static error_t
keep_tree (struct ext2_journal_log *log, block_t block)
{
  if (log->tree_count == log->tree_room)
    {
      unsigned room = log->tree_room ? 2 * log->tree_room : 16;
      uint32_t *more = realloc (log->tree, room * sizeof *more);

      if (! more)
	return ENOMEM;
      log->tree = more;
      log->tree_room = room;
    }
  log->tree[log->tree_count++] = block;
  return 0;
}

/* Add up to *LEFT blocks of what BLOCK, at DEPTH levels above the log's
   blocks, leads to.  */
static error_t
add_tree (struct ext2_journal_log *log, block_t block, int depth,
	  uint32_t *left)
{
  block_t *entries;
  error_t err;
  unsigned i;

  if (*left == 0)
    return 0;
  if (depth == 0)
    {
      (*left)--;
      return add_block (log, block);
    }
  if (block == 0 || block >= le32toh (sblock->s_blocks_count))
    return EINVAL;
  err = keep_tree (log, block);
  if (err)
    return err;
  entries = malloc (block_size);
  if (! entries)
    return ENOMEM;
  err = ext2_journal_ops.read (NULL, block, 1, entries);
  for (i = 0; i < addr_per_block && *left > 0 && ! err; i++)
    err = add_tree (log, le32toh (entries[i]), depth - 1, left);
  free (entries);
  return err;
}

/* Read inode INUM to *INODE.  */
static error_t
read_inode (uint32_t inum, struct ext2_inode *inode)
{
  uint32_t per_group = le32toh (sblock->s_inodes_per_group);
  uint32_t group = (inum - 1) / per_group, index = (inum - 1) % per_group;
  char *buf = malloc (block_size);
  struct ext2_group_desc *desc = (struct ext2_group_desc *) buf;
  error_t err;

  if (! buf)
    return ENOMEM;
  err = ext2_journal_ops.read (NULL, group_desc_block
			       + group / desc_per_block, 1, buf);
  if (! err)
    {
      block_t table = le32toh (desc[group % desc_per_block].bg_inode_table);

      err = ext2_journal_ops.read (NULL, table + index / inodes_per_block, 1,
				   buf);
    }
  if (! err)
    memcpy (inode, buf + index % inodes_per_block * EXT2_INODE_SIZE (sblock),
	    sizeof *inode);
  free (buf);
  return err;
}

error_t
ext2_journal_find_log (struct ext2_journal_log *log)
{
  uint32_t inum = le32toh (sblock->s_journal_inum), left;
  struct ext2_inode inode;
  error_t err;
  int i;

  log->count = log->tree_count = 0;
  if (inum == 0)
    return ENOTSUP;
  if (inum > le32toh (sblock->s_inodes_count))
    return EINVAL;
  err = read_inode (inum, &inode);
  if (err)
    return err;
  if (! S_ISREG (le16toh (inode.i_mode)) || inode.i_links_count == 0
      || (le32toh (inode.i_flags) & EXTENTS_FL))
    return EINVAL;
  left = le32toh (inode.i_size) >> log2_block_size;
  for (i = 0; i < EXT2_N_BLOCKS && left > 0 && ! err; i++)
    err = add_tree (log, le32toh (inode.i_block[i]),
		    i < EXT2_NDIR_BLOCKS ? 0 : i - EXT2_NDIR_BLOCKS + 1,
		    &left);
  return ! err && left > 0 ? EINVAL : err;
}
