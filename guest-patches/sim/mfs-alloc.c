/* The small ext2: inodes, bitmaps, the orphan list.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdlib.h>

#include "mfs.h"

/* Offsets in the superblock and the group descriptor.  */
#define SB_FREE_BLOCKS 12
#define SB_FREE_INODES 16
#define SB_LAST_ORPHAN 0xE8
#define GD_FREE_BLOCKS 12
#define GD_FREE_INODES 14
#define GD_DIRS 16

void
geometry_read (struct geometry *g, const unsigned char *image, uint32_t bs)
{
  const unsigned char *sb = image + 1024;
  g->bs = bs;
  CHECK (le16 (sb + 0x38) == 0xEF53, "no ext2 on the disk");
  CHECK (1024u << le32 (sb + 0x18) == bs, "another block size");
  g->inodes = le32 (sb);
  g->blocks = le32 (sb + 4);
  g->first_block = le32 (sb + 0x14);
  g->first_ino = le32 (sb + 0x4C) ? le32 (sb + 0x54) : 11;
  CHECK (g->blocks - g->first_block <= le32 (sb + 0x20), "many groups");
  g->sb_block = 1024 / bs;
  g->sb_offset = 1024 % bs;
  g->gd_block = g->first_block + 1;
  const unsigned char *gd = image + (size_t) g->gd_block * bs;
  g->block_bitmap = le32 (gd);
  g->inode_bitmap = le32 (gd + 4);
  g->inode_table = le32 (gd + 8);
}

void
inode_decode (struct inode *i, const unsigned char *p)
{
  i->mode = le16 (p);
  i->uid = le16 (p + 2);
  i->size = le32 (p + 4);
  i->atime = le32 (p + 8);
  i->ctime = le32 (p + 12);
  i->mtime = le32 (p + 16);
  i->dtime = le32 (p + 20);
  i->gid = le16 (p + 24);
  i->links = le16 (p + 26);
  i->blocks = le32 (p + 28);
  for (int n = 0; n < 15; n++)
    i->block[n] = le32 (p + 40 + 4 * n);
  i->generation = le32 (p + 100);
}

void
inode_encode (const struct inode *i, unsigned char *p)
{
  put_le16 (p, i->mode);
  put_le16 (p + 2, i->uid);
  put_le32 (p + 4, i->size);
  put_le32 (p + 8, i->atime);
  put_le32 (p + 12, i->ctime);
  put_le32 (p + 16, i->mtime);
  put_le16 (p + 24, i->gid);
  put_le16 (p + 26, i->links);
  put_le32 (p + 28, i->blocks);
  for (int n = 0; n < 15; n++)
    put_le32 (p + 40 + 4 * n, i->block[n]);
  put_le32 (p + 100, i->generation);
}

static void
inode_place (const struct geometry *g, uint32_t ino, uint32_t *block,
	     uint32_t *off)
{
  uint32_t at = (ino - 1) * INODE_BYTES;
  *block = g->inode_table + at / g->bs;
  *off = at % g->bs;
}

unsigned
journal_extents (const unsigned char *image, const struct geometry *g,
		 struct journal_extent *e, unsigned max)
{
  uint32_t block, off, n = 0, per = g->bs / 4;
  struct inode i;

  inode_place (g, JOURNAL_INO, &block, &off);
  inode_decode (&i, image + (size_t) block * g->bs + off);
  for (uint32_t k = 0; k < i.size / g->bs; k++)
    {
      uint32_t b, j = k;
      if (k < NDIRECT)
	b = i.block[k];
      else if ((j = k - NDIRECT) < per)
	b = le32 (image + (size_t) i.block[12] * g->bs + 4 * j);
      else
	{
	  j -= per;
	  CHECK (j < per * per, "the log is too large");
	  b = le32 (image + (size_t) i.block[13] * g->bs + 4 * (j / per));
	  b = le32 (image + (size_t) b * g->bs + 4 * (j % per));
	}
      CHECK (b && b < g->blocks, "a hole in the log");
      if (n && e[n - 1].disk_block + e[n - 1].count == b)
	e[n - 1].count++;
      else
	{
	  CHECK (n < max, "the log has many pieces");
	  e[n++] = (struct journal_extent) { b, 1 };
	}
    }
  return n;
}

int
inode_get (struct mfs *fs, uint32_t ino, struct inode *i)
{
  uint32_t block, off;
  unsigned char raw[INODE_BYTES];
  CHECK (ino > 0 && ino <= fs->g.inodes, "inode %u", ino);
  inode_place (&fs->g, ino, &block, &off);
  int err = page_meta_read (fs, block, off, raw, sizeof raw);
  if (!err)
    inode_decode (i, raw);
  return err;
}

int
inode_put (struct mfs *fs, struct journal_handle *h, uint32_t ino,
	   const struct inode *i)
{
  uint32_t block, off;
  unsigned char raw[INODE_BYTES];
  inode_place (&fs->g, ino, &block, &off);
  int err = page_meta_read (fs, block, off, raw, sizeof raw);
  if (err)
    return err;
  inode_encode (i, raw);
  fs->nodes[ino].tid = journal_handle_tid (h);
  return page_meta_write (fs, h, block, off, raw, sizeof raw);
}

/* Add D to a counter of WIDTH bytes.  */
static int
count (struct mfs *fs, struct journal_handle *h, uint32_t block,
       uint32_t off, unsigned width, int d)
{
  unsigned char raw[4];
  int err = page_meta_read (fs, block, off, raw, width);
  if (err)
    return err;
  if (width == 2)
    put_le16 (raw, (uint16_t) (le16 (raw) + d));
  else
    put_le32 (raw, le32 (raw) + (uint32_t) d);
  return page_meta_write (fs, h, block, off, raw, width);
}

static int
count_blocks (struct mfs *fs, struct journal_handle *h, int d)
{
  int err = count (fs, h, fs->g.gd_block, GD_FREE_BLOCKS, 2, d);
  return err ? err : count (fs, h, fs->g.sb_block,
			    fs->g.sb_offset + SB_FREE_BLOCKS, 4, d);
}

static int
count_inodes (struct mfs *fs, struct journal_handle *h, int d, int dirs)
{
  int err = count (fs, h, fs->g.gd_block, GD_FREE_INODES, 2, d);
  if (!err && dirs)
    err = count (fs, h, fs->g.gd_block, GD_DIRS, 2, dirs);
  return err ? err : count (fs, h, fs->g.sb_block,
			    fs->g.sb_offset + SB_FREE_INODES, 4, d);
}

static void
lock_alloc (struct mfs *fs)
{
  lockorder_acquire ("alloc");
  pthread_mutex_lock (&fs->alloc_lock);
}

static void
unlock_alloc (struct mfs *fs)
{
  pthread_mutex_unlock (&fs->alloc_lock);
  lockorder_release ("alloc");
}

static int
flip (struct mfs *fs, struct journal_handle *h, uint32_t bitmap,
      uint32_t bit, bool set)
{
  unsigned char byte;
  int err = page_meta_read (fs, bitmap, bit / 8, &byte, 1);
  if (err)
    return err;
  CHECK (!!(byte & 1 << bit % 8) != set, "bit %u of block %u is %d", bit,
	 bitmap, set);
  byte ^= (unsigned char) (1 << bit % 8);
  return page_meta_write (fs, h, bitmap, bit / 8, &byte, 1);
}

/* The lowest free bit of BITMAP below N that BUSY lets through.  */
static int
find_bit (struct mfs *fs, uint32_t bitmap, uint32_t n, bool blocks,
	  uint32_t *bit)
{
  for (uint32_t i = 0; i < n; i++)
    {
      unsigned char byte;
      int err = i % 8 ? 0 : page_meta_read (fs, bitmap, i / 8, &byte, 1);
      if (err)
	return err;
      if (i % 8 == 0 && byte == 0xff)
	i += 7;
      else
	{
	  err = i % 8 ? page_meta_read (fs, bitmap, i / 8, &byte, 1) : 0;
	  if (err)
	    return err;
	  if (!(byte & 1 << i % 8)
	      && !(blocks && journal_busy (fs->j, fs->g.first_block + i)))
	    {
	      *bit = i;
	      return 0;
	    }
	}
    }
  return ENOSPC;
}

int
block_alloc (struct mfs *fs, struct journal_handle *h, uint32_t *block)
{
  uint32_t bit;
  lock_alloc (fs);
  int err = find_bit (fs, fs->g.block_bitmap,
		      fs->g.blocks - fs->g.first_block, true, &bit);
  if (!err)
    err = flip (fs, h, fs->g.block_bitmap, bit, true);
  if (!err)
    err = count_blocks (fs, h, -1);
  unlock_alloc (fs);
  if (!err)
    {
      *block = fs->g.first_block + bit;
      page_drop (fs, *block);
    }
  return err;
}

int
block_free (struct mfs *fs, struct journal_handle *h, uint32_t block,
	    bool metadata)
{
  int err = journal_free (h, block, 1, metadata);
  if (err)
    return err;
  mfs_changed = true;
  page_drop (fs, block);
  lock_alloc (fs);
  err = flip (fs, h, fs->g.block_bitmap, block - fs->g.first_block, false);
  if (!err)
    err = count_blocks (fs, h, 1);
  unlock_alloc (fs);
  return err;
}

/* dtime is a link of the orphan list and belongs to ALLOC_LOCK, not to the inode's
   owner: inode_put leaves it alone.  */
static int
set_dtime (struct mfs *fs, struct journal_handle *h, uint32_t ino,
	   uint32_t value)
{
  uint32_t block, off;
  unsigned char raw[4];
  inode_place (&fs->g, ino, &block, &off);
  put_le32 (raw, value);
  return page_meta_write (fs, h, block, off + 20, raw, 4);
}

int
inode_alloc (struct mfs *fs, struct journal_handle *h, bool dir,
	     uint32_t *ino)
{
  uint32_t bit;
  lock_alloc (fs);
  int err = find_bit (fs, fs->g.inode_bitmap, fs->g.inodes, false, &bit);
  if (!err)
    err = flip (fs, h, fs->g.inode_bitmap, bit, true);
  if (!err)
    err = count_inodes (fs, h, -1, dir ? 1 : 0);
  *ino = bit + 1;
  if (!err)
    err = set_dtime (fs, h, *ino, 0);
  unlock_alloc (fs);
  return err;
}

/* The orphan list: the superblock names the first inode, each inode's dtime
   the next.  What is on it after a crash is cut to its size, or freed if
   nothing links to it.  */

static int
orphan_head (struct mfs *fs, struct journal_handle *h, uint32_t *old,
	     uint32_t new)
{
  unsigned char raw[4];
  uint32_t off = fs->g.sb_offset + SB_LAST_ORPHAN;
  int err = page_meta_read (fs, fs->g.sb_block, off, raw, 4);
  if (err)
    return err;
  *old = le32 (raw);
  if (!h)
    return 0;
  put_le32 (raw, new);
  return page_meta_write (fs, h, fs->g.sb_block, off, raw, 4);
}

int
orphan_add (struct mfs *fs, struct journal_handle *h, uint32_t ino)
{
  uint32_t old;
  lock_alloc (fs);
  int err = orphan_head (fs, h, &old, ino);
  if (!err)
    err = set_dtime (fs, h, ino, old);
  unlock_alloc (fs);
  return err;
}

/* Take INO off the list; its dtime becomes DTIME.  */
int
orphan_del (struct mfs *fs, struct journal_handle *h, uint32_t ino,
	    uint32_t dtime)
{
  uint32_t at, old;
  struct inode i, prev;
  lock_alloc (fs);
  int err = orphan_head (fs, NULL, &at, 0);
  if (!err)
    err = inode_get (fs, ino, &i);
  if (!err && at == ino)
    err = orphan_head (fs, h, &old, i.dtime);
  else
    while (!err)
      {
	CHECK (at != 0, "inode %u is not on the orphan list", ino);
	err = inode_get (fs, at, &prev);
	if (!err && prev.dtime == ino)
	  {
	    err = set_dtime (fs, h, at, i.dtime);
	    break;
	  }
	at = prev.dtime;
      }
  if (!err)
    err = set_dtime (fs, h, ino, dtime);
  unlock_alloc (fs);
  return err;
}

int
inode_retire (struct mfs *fs, struct journal_handle *h, uint32_t ino,
	      bool dir, uint32_t dtime)
{
  int err;
  lock_alloc (fs);
  err = set_dtime (fs, h, ino, dtime);
  if (!err)
    err = flip (fs, h, fs->g.inode_bitmap, ino - 1, false);
  if (!err)
    err = count_inodes (fs, h, 1, dir ? -1 : 0);
  unlock_alloc (fs);
  return err;
}

/* After a mount: finish what a crash cut off.  */
int
mfs_process_orphans (struct mfs *fs)
{
  for (unsigned n = 0;; n++)
    {
      uint32_t ino;
      struct inode i;
      struct journal_handle *h;
      int err = orphan_head (fs, NULL, &ino, 0);
      if (err || ino == 0)
	return err;
      CHECK (n < fs->g.inodes, "the orphan list has no end");
      err = journal_start (fs->j, 24, 8, &h);
      if (err)
	return err;
      err = inode_get (fs, ino, &i);
      bool dir = !err && (i.mode & 0xF000) == 0x4000;
      uint32_t keep = i.links ? (i.size + fs->g.bs - 1) / fs->g.bs : 0;
      if (!err && i.blocks)
	err = truncate_blocks (fs, h, ino, &i, keep, dir);
      if (!err)
	err = orphan_del (fs, h, ino, 0);
      if (!err && i.links == 0)
	err = inode_retire (fs, h, ino, dir, fs->clock + 1000);
      if (err)
	journal_abort (fs->j, err, "an orphan could not be worked off");
      int e = journal_stop (h);
      if (err || e)
	return err ? err : e;
    }
}
