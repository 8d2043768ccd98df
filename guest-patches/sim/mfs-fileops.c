/* The small ext2: operations on one file.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>

#include "mfs.h"

#define IFMT 0xF000

int
mfs_chmod (struct mfs *fs, const struct op_args *a)
{
  struct journal_handle *h;
  struct inode i;
  int err = mfs_start (fs, &h);
  if (err)
    return err;
  lock_node (fs, a->dir, "file");
  err = inode_get (fs, a->dir, &i);
  i.mode = (uint16_t) ((i.mode & IFMT) | (a->mode & 07777));
  i.uid = (uint16_t) a->offset;
  i.ctime = mfs_stamp (fs);
  if (!err)
    err = inode_put (fs, h, a->dir, &i);
  unlock_node (fs, a->dir, "file");
  return mfs_stop (fs, h, a->sync, err);
}

int
mfs_write (struct mfs *fs, const struct op_args *a, uint32_t version)
{
  struct journal_handle *h;
  struct inode i;
  unsigned char buf[65536];
  int err = mfs_start (fs, &h);

  if (err)
    return err;
  lock_node (fs, a->dir, "file");
  err = inode_get (fs, a->dir, &i);
  for (uint32_t k = a->offset; k < a->offset + a->length && !err; k++)
    {
      uint32_t block;
      bool fresh;
      err = bmap (fs, h, &i, k, true, false, &block, &fresh);
      if (err)
	break;
      data_fill (buf, fs->g.bs, i.generation, k, version);
      err = page_data_write (fs, a->dir, k, block, buf);
      if (!err && fresh)
	err = journal_order (h, a->dir, k, 1);
      if ((k + 1) * fs->g.bs > i.size)
	i.size = (k + 1) * fs->g.bs;
    }
  i.mtime = mfs_stamp (fs);
  if (!err)
    err = inode_put (fs, h, a->dir, &i);
  unlock_node (fs, a->dir, "file");
  return mfs_stop (fs, h, a->sync, err);
}

int
mfs_truncate (struct mfs *fs, const struct op_args *a)
{
  struct journal_handle *h;
  struct inode i;
  int err = mfs_start (fs, &h);

  if (err)
    return err;
  lock_node (fs, a->dir, "file");
  err = inode_get (fs, a->dir, &i);
  i.size = a->length * fs->g.bs;
  i.mtime = mfs_stamp (fs);
  if (!err)
    {
      journal_unorder (h, a->dir, a->length);
      err = inode_put (fs, h, a->dir, &i);
    }
  /* A file that is only held open is on the list already.  */
  bool listed = i.links && !fs->threads;
  if (!err && listed)
    err = orphan_add (fs, h, a->dir);
  if (!err)
    err = truncate_blocks (fs, h, a->dir, &i, a->length, false);
  if (!err && listed)
    err = orphan_del (fs, h, a->dir, 0);
  unlock_node (fs, a->dir, "file");
  return mfs_stop (fs, h, a->sync, err);
}

int
mfs_fsync (struct mfs *fs, uint32_t ino)
{
  int err = page_write_out (fs, ino, 0, UINT64_MAX);
  return err ? err : journal_fsync (fs->j, fs->nodes[ino].tid);
}

int
mfs_sync (struct mfs *fs)
{
  int err = page_write_out (fs, 0, 0, UINT64_MAX);
  return err ? err : journal_sync (fs->j);
}
