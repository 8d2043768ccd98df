/* The small ext2: blocks of files, and directories.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>

#include "mfs.h"

/* How many blocks one handle frees before it restarts.  Small, so that
   every scenario has truncates of several transactions.  Not with threads:
   a restart waits for other handles, and theirs may wait for our locks.  */
#define FREE_AT_ONCE 6

int
bmap (struct mfs *fs, struct journal_handle *h, struct inode *i,
      uint32_t index, bool create, bool dir, uint32_t *block, bool *fresh)
{
  int err = 0;
  unsigned char raw[4];

  *fresh = false;
  *block = 0;
  if (index < NDIRECT)
    {
      if (!i->block[index] && create)
	{
	  err = block_alloc (fs, h, &i->block[index]);
	  i->blocks += err ? 0 : fs->g.bs / 512;
	  *fresh = !err;
	}
      *block = i->block[index];
    }
  else
    {
      uint32_t at = index - NDIRECT;
      if (at >= fs->g.bs / 4)
	return EFBIG;
      if (!i->block[NDIRECT])
	{
	  if (!create)
	    return 0;
	  err = block_alloc (fs, h, &i->block[NDIRECT]);
	  if (!err)
	    err = page_meta_new (fs, h, i->block[NDIRECT]);
	  if (err)
	    return err;
	  i->blocks += fs->g.bs / 512;
	}
      err = page_meta_read (fs, i->block[NDIRECT], at * 4, raw, 4);
      *block = le32 (raw);
      if (!err && !*block && create)
	{
	  err = block_alloc (fs, h, block);
	  put_le32 (raw, *block);
	  if (!err)
	    err = page_meta_write (fs, h, i->block[NDIRECT], at * 4, raw, 4);
	  i->blocks += err ? 0 : fs->g.bs / 512;
	  *fresh = !err;
	}
    }
  if (!err && *fresh && dir)
    err = page_meta_new (fs, h, *block);
  return err;
}

/* Take block INDEX out of the inode and free it.  */
static int
drop_block (struct mfs *fs, struct journal_handle *h, struct inode *i,
	    uint32_t index, bool dir, unsigned *freed)
{
  uint32_t block;
  bool fresh;
  unsigned char raw[4] = { 0 };
  int err = bmap (fs, NULL, i, index, false, false, &block, &fresh);

  if (err || !block)
    return err;
  if (index < NDIRECT)
    i->block[index] = 0;
  else
    err = page_meta_write (fs, h, i->block[NDIRECT], (index - NDIRECT) * 4,
			   raw, 4);
  if (!err)
    err = block_free (fs, h, block, dir);
  i->blocks -= fs->g.bs / 512;
  ++*freed;
  return err;
}

int
truncate_blocks (struct mfs *fs, struct journal_handle *h, uint32_t ino,
		 struct inode *i, uint32_t index, bool dir)
{
  unsigned freed = 0;
  uint32_t end = i->block[NDIRECT] ? NDIRECT + fs->g.bs / 4 : NDIRECT;
  int err = 0;

  for (uint32_t k = end; k-- > index && !err;)
    {
      err = drop_block (fs, h, i, k, dir, &freed);
      if (!err && k == NDIRECT && i->block[NDIRECT])
	{
	  err = block_free (fs, h, i->block[NDIRECT], true);
	  i->block[NDIRECT] = 0;
	  i->blocks -= fs->g.bs / 512;
	}
      if (!err && freed >= FREE_AT_ONCE && !fs->threads)
	{
	  /* The inode is on the orphan list: a crash between the two
	     transactions is finished at the next mount.  */
	  err = inode_put (fs, h, ino, i);
	  if (!err)
	    err = journal_restart (h, 24, 8);
	  freed = 0;
	}
    }
  return err ? err : inode_put (fs, h, ino, i);
}

/* Directories.  Entries: inode, length of entry, length of name (16 bits
   each), name.  */

struct place
{
  uint32_t block, off, ino;
  uint16_t len, name_len;
};

/* Call FN for every entry until it returns true.  */
static int
dir_each (struct mfs *fs, const struct inode *d,
	  bool (*fn) (void *arg, const struct place *p, const char *name),
	  void *arg)
{
  unsigned char raw[65536];
  for (uint32_t k = 0; k < d->size / fs->g.bs; k++)
    {
      int err = page_meta_read (fs, d->block[k], 0, raw, fs->g.bs);
      if (err)
	return err;
      for (uint32_t off = 0; off < fs->g.bs;)
	{
	  struct place p = { d->block[k], off, le32 (raw + off),
	    le16 (raw + off + 4), le16 (raw + off + 6)
	  };
	  CHECK (p.len >= 8 && off + p.len <= fs->g.bs
		 && p.name_len + 8 <= p.len, "a bad entry in block %u",
		 p.block);
	  if (fn (arg, &p, (char *) raw + off + 8))
	    return 0;
	  off += p.len;
	}
    }
  return 0;
}

struct find
{
  const char *name;
  struct place at, before;
  uint32_t need;
};

static bool
is_name (void *arg, const struct place *p, const char *name)
{
  struct find *f = arg;
  if (p->ino && p->name_len == strlen (f->name)
      && !memcmp (name, f->name, p->name_len))
    {
      f->at = *p;
      return true;
    }
  f->before = *p;
  return false;
}

static uint32_t
used (const struct place *p)
{
  return p->ino ? (8u + p->name_len + 3) & ~3u : 0;
}

static bool
has_room (void *arg, const struct place *p, const char *name)
{
  struct find *f = arg;
  (void) name;
  if (p->len < used (p) + f->need)
    return false;
  f->at = *p;
  return true;
}

static bool
is_child (void *arg, const struct place *p, const char *name)
{
  bool *empty = arg;
  bool dots = p->name_len <= 2 && !memcmp (name, "..", p->name_len);
  if (p->ino && !dots)
    *empty = false;
  return !*empty;
}

int
dir_find (struct mfs *fs, const struct inode *d, const char *name,
	  uint32_t *ino, uint32_t *block, uint32_t *off)
{
  struct find f = { .name = name };
  int err = dir_each (fs, d, is_name, &f);
  if (err)
    return err;
  *ino = f.at.ino;
  if (block)
    *block = f.at.block;
  if (off)
    *off = f.at.off;
  return f.at.ino ? 0 : ENOENT;
}

int
dir_check_empty (struct mfs *fs, const struct inode *d)
{
  bool empty = true;
  int err = dir_each (fs, d, is_child, &empty);
  return err ? err : empty ? 0 : ENOTEMPTY;
}

/* Tell the journal the content of a directory block at once: its one owner
   holds the lock.  */
static int
give (struct mfs *fs, struct journal_handle *h, uint32_t block)
{
  unsigned char raw[65536];
  if (!fs->eager_dirs)
    return 0;
  int err = page_meta_read (fs, block, 0, raw, fs->g.bs);
  return err ? err : journal_dirty_data (h, block, raw);
}

static int
write_entry (struct mfs *fs, struct journal_handle *h, uint32_t block,
	     uint32_t off, uint32_t len, uint32_t ino, const char *name)
{
  unsigned char raw[264];
  uint32_t n = (uint32_t) strlen (name);
  put_le32 (raw, ino);
  put_le16 (raw + 4, (uint16_t) len);
  put_le16 (raw + 6, (uint16_t) n);
  memcpy (raw + 8, name, n);
  int err = page_meta_write (fs, h, block, off, raw, 8 + n);
  return err ? err : give (fs, h, block);
}

int
dir_add (struct mfs *fs, struct journal_handle *h, uint32_t dir,
	 struct inode *d, const char *name, uint32_t ino)
{
  struct find f = { .name = name };
  f.need = (8u + (uint32_t) strlen (name) + 3) & ~3u;
  int err = dir_each (fs, d, has_room, &f);
  if (err)
    return err;
  if (!f.at.block)
    {
      uint32_t block;
      bool fresh;
      err = bmap (fs, h, d, d->size / fs->g.bs, true, true, &block, &fresh);
      if (err)
	return err;
      d->size += fs->g.bs;
      err = write_entry (fs, h, block, 0, fs->g.bs, ino, name);
      return err ? err : inode_put (fs, h, dir, d);
    }
  uint32_t keep = used (&f.at);
  if (keep)
    {
      unsigned char raw[2];
      put_le16 (raw, (uint16_t) keep);
      err = page_meta_write (fs, h, f.at.block, f.at.off + 4, raw, 2);
    }
  return err ? err : write_entry (fs, h, f.at.block, f.at.off + keep,
				  f.at.len - keep, ino, name);
}

int
dir_remove (struct mfs *fs, struct journal_handle *h, const struct inode *d,
	    const char *name)
{
  struct find f = { .name = name };
  unsigned char raw[4] = { 0 };
  int err = dir_each (fs, d, is_name, &f);
  if (err)
    return err;
  CHECK (f.at.ino, "%s is not there to remove", name);
  if (f.at.off == 0)
    err = page_meta_write (fs, h, f.at.block, 0, raw, 4);
  else
    {
      CHECK (f.before.block == f.at.block, "entry before in another block");
      put_le16 (raw, (uint16_t) (f.before.len + f.at.len));
      err = page_meta_write (fs, h, f.at.block, f.before.off + 4, raw, 2);
    }
  return err ? err : give (fs, h, f.at.block);
}

int
dir_set (struct mfs *fs, struct journal_handle *h, const struct inode *d,
	 const char *name, uint32_t ino)
{
  uint32_t old, block, off;
  unsigned char raw[4];
  int err = dir_find (fs, d, name, &old, &block, &off);
  if (err)
    return err;
  put_le32 (raw, ino);
  err = page_meta_write (fs, h, block, off, raw, 4);
  return err ? err : give (fs, h, block);
}

/* Data.  */

#define DATA_MAGIC 0x48524454u

static void
sector_head (unsigned char *p, uint32_t generation, uint32_t index,
	     uint32_t version, uint32_t nth)
{
  put_le32 (p, DATA_MAGIC);
  put_le32 (p + 4, generation);
  put_le32 (p + 8, index);
  put_le32 (p + 12, version);
  put_le32 (p + 16, nth);
}

void
data_fill (unsigned char *buf, uint32_t bs, uint32_t generation,
	   uint32_t index, uint32_t version)
{
  for (uint32_t n = 0; n < bs / SECTOR; n++)
    {
      unsigned char *p = buf + n * SECTOR;
      sector_head (p, generation, index, version, n);
      memset (p + 20, (int) (version * 31 + index * 7 + n), SECTOR - 20);
    }
}

uint32_t
data_version (const unsigned char *sector, uint32_t generation,
	      uint32_t index, uint32_t nth)
{
  unsigned char want[SECTOR];
  uint32_t version = le32 (sector + 12);
  sector_head (want, generation, index, version, nth);
  memset (want + 20, (int) (version * 31 + index * 7 + nth), SECTOR - 20);
  return memcmp (want, sector, SECTOR) ? 0 : version;
}
