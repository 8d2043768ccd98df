/* The small ext2: operations, each one handle.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>

#include "mfs.h"

#define CREDITS 24
#define REVOKES 16
#define IFDIR 0x4000
#define IFREG 0x8000
#define IFLNK 0xA000
#define IFMT 0xF000

void
lock_node (struct mfs *fs, uint32_t ino, const char *name)
{
  lockorder_acquire (name);
  pthread_mutex_lock (&fs->nodes[ino].lock);
}

void
unlock_node (struct mfs *fs, uint32_t ino, const char *name)
{
  pthread_mutex_unlock (&fs->nodes[ino].lock);
  lockorder_release (name);
}

/* The journal is the outermost lock.  */
int
mfs_start (struct mfs *fs, struct journal_handle **h)
{
  int err = journal_start (fs->j, CREDITS, REVOKES, h);
  mfs_changed = mfs_sync_failed = false;
  if (mfs_trace)
    mfs_trace (MFS_TRACE_START);
  if (!err)
    lockorder_acquire ("handle");
  return err;
}

int
mfs_stop (struct mfs *fs, struct journal_handle *h, bool sync, int err)
{
  if (err && mfs_changed && !fs->aborted)
    journal_abort (fs->j, err, "an operation was cut off in the middle");
  if (mfs_trace)
    mfs_trace (MFS_TRACE_STOP);
  if (sync && !err)
    journal_set_sync (h);
  lockorder_release ("handle");
  int e = journal_stop (h);
  if (err || !e || fs->aborted)
    return err ? err : e;
  /* It is done, but its data is not on disk.  */
  mfs_sync_failed = true;
  return 0;
}

uint32_t
mfs_stamp (struct mfs *fs)
{
  return __atomic_load_n (&fs->clock, __ATOMIC_RELAXED);
}

int
mfs_lookup (struct mfs *fs, uint32_t dir, const char *name, uint32_t *ino)
{
  struct inode d;
  lock_node (fs, dir, "directory");
  int err = inode_get (fs, dir, &d);
  if (!err)
    err = dir_find (fs, &d, name, ino, NULL, NULL);
  unlock_node (fs, dir, "directory");
  return err;
}

static int
must_be_new (struct mfs *fs, const struct inode *d, const char *name)
{
  uint32_t there;
  int err = dir_find (fs, d, name, &there, NULL, NULL);
  return err == ENOENT ? 0 : err ? err : EEXIST;
}

/* Create an inode NEW and enter it.  */
static int
make (struct mfs *fs, const struct op_args *a, struct inode *new,
      uint32_t *ino)
{
  struct journal_handle *h;
  struct inode d;
  bool dir = (new->mode & IFMT) == IFDIR, fresh;
  int err = mfs_start (fs, &h);

  if (err)
    return err;
  lock_node (fs, a->dir, "directory");
  err = inode_get (fs, a->dir, &d);
  if (!err)
    err = must_be_new (fs, &d, a->name);
  if (!err)
    err = inode_alloc (fs, h, dir, ino);
  if (!err && dir)
    {
      uint32_t block;
      unsigned char raw[24] = { 0 };
      err = bmap (fs, h, new, 0, true, true, &block, &fresh);
      put_le32 (raw, *ino);
      put_le16 (raw + 4, 12);
      put_le16 (raw + 6, 1);
      memcpy (raw + 8, ".", 1);
      put_le32 (raw + 12, a->dir);
      put_le16 (raw + 16, (uint16_t) (fs->g.bs - 12));
      put_le16 (raw + 18, 2);
      memcpy (raw + 20, "..", 2);
      if (!err)
	err = page_meta_write (fs, h, block, 0, raw, sizeof raw);
      new->size = fs->g.bs;
      d.links++;
    }
  new->atime = new->ctime = new->mtime = mfs_stamp (fs);
  d.mtime = d.ctime = mfs_stamp (fs);
  if (!err)
    err = inode_put (fs, h, *ino, new);
  if (!err)
    err = dir_add (fs, h, a->dir, &d, a->name, *ino);
  if (!err)
    err = inode_put (fs, h, a->dir, &d);
  unlock_node (fs, a->dir, "directory");
  return mfs_stop (fs, h, a->sync, err);
}

int
mfs_create (struct mfs *fs, const struct op_args *a, uint32_t *ino)
{
  struct inode new = { .mode = (uint16_t) (IFREG | a->mode), .links = 1,
    .generation = a->offset
  };
  return make (fs, a, &new, ino);
}

int
mfs_mkdir (struct mfs *fs, const struct op_args *a, uint32_t *ino)
{
  struct inode new = { .mode = (uint16_t) (IFDIR | a->mode), .links = 2,
    .generation = a->offset
  };
  return make (fs, a, &new, ino);
}

int
mfs_symlink (struct mfs *fs, const struct op_args *a, uint32_t *ino)
{
  struct inode new = { .mode = IFLNK | 0777, .links = 1,
    .generation = a->offset
  };
  size_t n = strlen (a->name2);
  CHECK (n < sizeof new.block, "a long symlink");
  memcpy (new.block, a->name2, n);
  new.size = (uint32_t) n;
  return make (fs, a, &new, ino);
}

int
mfs_link (struct mfs *fs, const struct op_args *a)
{
  struct journal_handle *h;
  struct inode d, i;
  int err = mfs_start (fs, &h);

  if (err)
    return err;
  lock_node (fs, a->dir, "directory");
  lock_node (fs, a->dir2, "file");
  err = inode_get (fs, a->dir, &d);
  if (!err)
    err = inode_get (fs, a->dir2, &i);
  if (!err && i.links == 0)
    err = ENOENT;
  if (!err)
    err = must_be_new (fs, &d, a->name);
  i.links++;
  i.ctime = d.mtime = mfs_stamp (fs);
  if (!err)
    err = inode_put (fs, h, a->dir2, &i);
  if (!err)
    err = dir_add (fs, h, a->dir, &d, a->name, a->dir2);
  if (!err)
    err = inode_put (fs, h, a->dir, &d);
  unlock_node (fs, a->dir2, "file");
  unlock_node (fs, a->dir, "directory");
  return mfs_stop (fs, h, a->sync, err);
}

/* The last link is gone and nobody has it open: free all.  */
static int
destroy (struct mfs *fs, struct journal_handle *h, uint32_t ino,
	 struct inode *i, bool on_list)
{
  bool dir = (i->mode & IFMT) == IFDIR;
  int err = 0;

  journal_unorder (h, ino, 0);
  /* With threads nothing restarts, and the list would have threads read
     inodes that others own.  */
  if (!on_list && i->blocks && !fs->threads)
    {
      err = inode_put (fs, h, ino, i);
      if (!err)
	err = orphan_add (fs, h, ino);
      on_list = true;
    }
  if (!err && i->blocks)
    err = truncate_blocks (fs, h, ino, i, 0, dir);
  if (!err && on_list)
    err = orphan_del (fs, h, ino, 0);
  i->size = 0;
  if (!err)
    err = inode_put (fs, h, ino, i);
  return err ? err : inode_retire (fs, h, ino, dir, mfs_stamp (fs) + 1);
}

/* One link fewer.  */
static int
drop_link (struct mfs *fs, struct journal_handle *h, uint32_t ino,
	   struct inode *i)
{
  i->links -= (i->mode & IFMT) == IFDIR ? 2 : 1;
  i->ctime = mfs_stamp (fs);
  if (i->links > 0)
    return inode_put (fs, h, ino, i);
  if (fs->nodes[ino].opens == 0)
    return destroy (fs, h, ino, i, false);
  int err = inode_put (fs, h, ino, i);
  return err ? err : orphan_add (fs, h, ino);
}

int
mfs_unlink (struct mfs *fs, const struct op_args *a, bool keep_open)
{
  struct journal_handle *h;
  struct inode d, i;
  uint32_t ino = 0;
  int err = mfs_start (fs, &h);

  if (err)
    return err;
  lock_node (fs, a->dir, "directory");
  err = inode_get (fs, a->dir, &d);
  if (!err)
    err = dir_find (fs, &d, a->name, &ino, NULL, NULL);
  if (!err)
    {
      lock_node (fs, ino, "file");
      err = inode_get (fs, ino, &i);
      if (!err && (i.mode & IFMT) == IFDIR)
	err = EISDIR;
      if (keep_open)
	fs->nodes[ino].opens++;
      d.mtime = mfs_stamp (fs);
      if (!err)
	err = dir_remove (fs, h, &d, a->name);
      if (!err)
	err = inode_put (fs, h, a->dir, &d);
      if (!err)
	err = drop_link (fs, h, ino, &i);
      if (err && keep_open)
	fs->nodes[ino].opens--;
      unlock_node (fs, ino, "file");
    }
  unlock_node (fs, a->dir, "directory");
  return mfs_stop (fs, h, a->sync, err);
}

int
mfs_close (struct mfs *fs, uint32_t ino)
{
  struct journal_handle *h;
  struct inode i;
  int err = mfs_start (fs, &h);
  if (err)
    return err;
  lock_node (fs, ino, "file");
  err = inode_get (fs, ino, &i);
  if (--fs->nodes[ino].opens == 0 && !err && i.links == 0)
    err = destroy (fs, h, ino, &i, true);
  unlock_node (fs, ino, "file");
  return mfs_stop (fs, h, false, err);
}

int
mfs_rmdir (struct mfs *fs, const struct op_args *a)
{
  struct journal_handle *h;
  struct inode d, i;
  uint32_t ino = 0;
  int err = mfs_start (fs, &h);

  if (err)
    return err;
  lock_node (fs, a->dir, "directory");
  err = inode_get (fs, a->dir, &d);
  if (!err)
    err = dir_find (fs, &d, a->name, &ino, NULL, NULL);
  if (!err)
    {
      lock_node (fs, ino, "subdirectory");
      err = inode_get (fs, ino, &i);
      if (!err && (i.mode & IFMT) != IFDIR)
	err = ENOTDIR;
      if (!err)
	err = dir_check_empty (fs, &i);
      d.links--;
      if (!err)
	err = dir_remove (fs, h, &d, a->name);
      if (!err)
	err = inode_put (fs, h, a->dir, &d);
      if (!err)
	err = drop_link (fs, h, ino, &i);
      unlock_node (fs, ino, "subdirectory");
    }
  unlock_node (fs, a->dir, "directory");
  return mfs_stop (fs, h, a->sync, err);
}

/* The target, if there is one, gives way.  */
static int
rename_over (struct mfs *fs, struct journal_handle *h, struct inode *to_dir,
	     const struct op_args *a, uint32_t ino, bool dir, uint32_t old,
	     struct inode *i)
{
  int err = inode_get (fs, old, i);
  if (err)
    return err;
  bool old_dir = (i->mode & IFMT) == IFDIR;
  if (dir != old_dir)
    return dir ? ENOTDIR : EISDIR;
  if (old_dir && (err = dir_check_empty (fs, i)) != 0)
    return err;
  err = dir_set (fs, h, to_dir, a->name2, ino);
  if (old_dir)
    to_dir->links--;
  return err;
}

/* Rename A->name in A->dir to A->name2 in A->dir2.  A directory stays below
   directories that are not below itself: the caller sees to that.  */
int
mfs_rename (struct mfs *fs, const struct op_args *a)
{
  struct journal_handle *h;
  struct inode from, to, i, victim;
  uint32_t ino = 0, old = 0;
  bool cross = a->dir != a->dir2;
  int err = mfs_start (fs, &h);

  if (err)
    return err;
  lockorder_acquire ("rename");
  pthread_mutex_lock (&fs->rename_lock);
  lock_node (fs, a->dir < a->dir2 ? a->dir : a->dir2, "directory");
  if (cross)
    lock_node (fs, a->dir < a->dir2 ? a->dir2 : a->dir, "directory");
  struct inode *t = cross ? &to : &from;
  err = inode_get (fs, a->dir, &from);
  if (!err && cross)
    err = inode_get (fs, a->dir2, &to);
  if (!err)
    err = dir_find (fs, &from, a->name, &ino, NULL, NULL);
  if (!err)
    err = inode_get (fs, ino, &i);
  if (!err)
    {
      bool dir = (i.mode & IFMT) == IFDIR;
      int e = dir_find (fs, t, a->name2, &old, NULL, NULL);
      if (e == 0 && old == ino)
	err = EEXIST;
      else if (e == 0)
	err = rename_over (fs, h, t, a, ino, dir, old, &victim);
      else if (e == ENOENT)
	err = dir_add (fs, h, a->dir2, t, a->name2, ino);
      else
	err = e;
      if (!err)
	err = dir_remove (fs, h, &from, a->name);
      if (!err && dir && cross)
	{
	  from.links--;
	  to.links++;
	  err = dir_set (fs, h, &i, "..", a->dir2);
	}
      from.mtime = t->mtime = mfs_stamp (fs);
      if (!err)
	err = inode_put (fs, h, a->dir, &from);
      if (!err && cross)
	err = inode_put (fs, h, a->dir2, &to);
      /* Last: it may go on in another transaction, and all else has to be
	 in order then.  */
      if (!err && old)
	err = drop_link (fs, h, old, &victim);
    }
  unlock_node (fs, a->dir, "directory");
  if (cross)
    unlock_node (fs, a->dir2, "directory");
  pthread_mutex_unlock (&fs->rename_lock);
  lockorder_release ("rename");
  return mfs_stop (fs, h, a->sync, err);
}
