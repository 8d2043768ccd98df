/* A small ext2 on the engine: what a file system asks of a journal.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef MFS_H
#define MFS_H

#include <pthread.h>
#include <string.h>

#include "simdisk.h"

/* The file system is a real ext2 made by mke2fs: one block group, 128-byte
   inodes, direct blocks and one indirect block, no file types in
   directories.  */

#define ROOT_INO 2
#define JOURNAL_INO 8
#define INODE_BYTES 128
#define NDIRECT 12

struct inode
{
  uint16_t mode, uid, gid, links;
  uint32_t size, atime, ctime, mtime, dtime, blocks, generation;
  uint32_t block[15];
};

/* Where things are; from the superblock and the one group descriptor.  */
struct geometry
{
  uint32_t bs, blocks, inodes, first_block, first_ino;
  uint32_t sb_block, sb_offset, gd_block;
  uint32_t block_bitmap, inode_bitmap, inode_table;
};

static inline uint16_t
le16 (const void *p)
{
  uint16_t v;
  memcpy (&v, p, 2);
  return v;
}

static inline uint32_t
le32 (const void *p)
{
  uint32_t v;
  memcpy (&v, p, 4);
  return v;
}

static inline void
put_le16 (void *p, uint16_t v)
{
  memcpy (p, &v, 2);
}

static inline void
put_le32 (void *p, uint32_t v)
{
  memcpy (p, &v, 4);
}

void geometry_read (struct geometry *g, const unsigned char *image,
		    uint32_t bs);
void inode_decode (struct inode *i, const unsigned char *p);
/* Changes the fields that struct inode has, all but dtime.  */
void inode_encode (const struct inode *i, unsigned char *p);
/* The log of the image, as extents; returns how many.  */
unsigned journal_extents (const unsigned char *image,
			  const struct geometry *g,
			  struct journal_extent *e, unsigned max);

/* A page of the cache.  The kernel may take it away at any time: it is
   written back and has to be asked for again.  A thread that changes bytes
   holds LOCK shared, as the kernel lets many threads write to a page; who
   takes it away holds it alone.  */
struct page
{
  pthread_rwlock_t lock;
  unsigned char *data;
  bool present, dirty, meta;
  uint32_t ino, index;		/* Of file data.  */
};

struct node
{
  pthread_mutex_t lock;
  unsigned opens;
  journal_tid_t tid;		/* Of its last change.  */
};

struct mfs
{
  struct simdisk *disk;
  struct geometry g;
  struct journal *j;
  struct journal_params params;
  struct journal_extent log[64];
  struct page *pages;
  struct node *nodes;
  pthread_mutex_t alloc_lock, rename_lock;
  struct rng rng;		/* Of the kernel's whims.  */
  unsigned pressure;		/* In 1000 page uses, how many evict.  */
  bool eager_dirs;		/* Give directory content at once.  */
  bool threads;
  uint32_t clock;		/* Stamped on inodes.  */
  _Atomic int aborted;
};

/* SETTINGS null: the default.  Recovers if the log needs it.  */
int mfs_mount (struct mfs *fs, struct simdisk *d,
	       const struct journal_settings *settings, uint64_t seed);
/* The memory is freed even if writing failed.  */
int mfs_unmount (struct mfs *fs);
/* Recovery alone, on the disk.  */
int mfs_recover (struct simdisk *d, struct journal_recovery *result);
void mfs_params (struct journal_params *p, struct simdisk *d,
		 struct journal_extent *log, unsigned max);

/* If set, called for each start, dirty call (its block) and stop.  */
#define MFS_TRACE_START (UINT32_MAX - 1)
#define MFS_TRACE_STOP UINT32_MAX
extern void (*mfs_trace) (uint32_t event);

/* Has the operation of this thread changed anything yet?  If it fails after
   that, half of it is in the transaction, and all that a file system can do
   is to give up.  */
extern _Thread_local bool mfs_changed;
/* It was done, but could not be made durable.  */
extern _Thread_local bool mfs_sync_failed;

/* Pages and blocks.  */
int page_meta_read (struct mfs *fs, uint32_t block, uint32_t off, void *buf,
		    uint32_t len);
int page_meta_write (struct mfs *fs, struct journal_handle *h,
		     uint32_t block, uint32_t off, const void *buf,
		     uint32_t len);
/* A new metadata block, all zero.  */
int page_meta_new (struct mfs *fs, struct journal_handle *h, uint32_t block);
void page_drop (struct mfs *fs, uint32_t block);
int page_data_write (struct mfs *fs, uint32_t ino, uint32_t index,
		     uint32_t block, const void *data);
int page_write_out (struct mfs *fs, uint32_t ino, uint32_t first,
		    uint64_t count);
/* Take pages away at random.  */
void page_pressure (struct mfs *fs);

/* Inodes and allocation, in a handle.  */
int inode_get (struct mfs *fs, uint32_t ino, struct inode *i);
int inode_put (struct mfs *fs, struct journal_handle *h, uint32_t ino,
	       const struct inode *i);
int block_alloc (struct mfs *fs, struct journal_handle *h, uint32_t *block);
int block_free (struct mfs *fs, struct journal_handle *h, uint32_t block,
		bool metadata);
int inode_alloc (struct mfs *fs, struct journal_handle *h, bool dir,
		 uint32_t *ino);
/* Free INO, which links and blocks have left.  */
int inode_retire (struct mfs *fs, struct journal_handle *h, uint32_t ino,
		  bool dir, uint32_t dtime);
int orphan_add (struct mfs *fs, struct journal_handle *h, uint32_t ino);
int orphan_del (struct mfs *fs, struct journal_handle *h, uint32_t ino,
		uint32_t dtime);
int mfs_process_orphans (struct mfs *fs);

/* File blocks.  */
int bmap (struct mfs *fs, struct journal_handle *h, struct inode *i,
	  uint32_t index, bool create, bool dir, uint32_t *block,
	  bool *fresh);
/* Free blocks from INDEX on; restarts the handle when it is used up, with
   the inode on the orphan list.  */
int truncate_blocks (struct mfs *fs, struct journal_handle *h, uint32_t ino,
		     struct inode *i, uint32_t index, bool dir);

/* Every operation begins and ends with these; the journal is the outermost
   lock.  */
int mfs_start (struct mfs *fs, struct journal_handle **h);
int mfs_stop (struct mfs *fs, struct journal_handle *h, bool sync, int err);
uint32_t mfs_stamp (struct mfs *fs);
void lock_node (struct mfs *fs, uint32_t ino, const char *name);
void unlock_node (struct mfs *fs, uint32_t ino, const char *name);

/* Operations: one handle each.  errno or 0.  SYNC: marked sync.  */
struct op_args
{
  uint32_t dir, dir2;		/* Inodes.  */
  const char *name, *name2;
  uint32_t offset, length, mode;
  bool sync;
};
int mfs_lookup (struct mfs *fs, uint32_t dir, const char *name,
		uint32_t *ino);
int mfs_create (struct mfs *fs, const struct op_args *a, uint32_t *ino);
int mfs_mkdir (struct mfs *fs, const struct op_args *a, uint32_t *ino);
int mfs_symlink (struct mfs *fs, const struct op_args *a, uint32_t *ino);
int mfs_link (struct mfs *fs, const struct op_args *a);
int mfs_unlink (struct mfs *fs, const struct op_args *a, bool keep_open);
int mfs_close (struct mfs *fs, uint32_t ino);
int mfs_rmdir (struct mfs *fs, const struct op_args *a);
int mfs_rename (struct mfs *fs, const struct op_args *a);
int mfs_chmod (struct mfs *fs, const struct op_args *a);
/* Writes whole blocks; every sector says whose it is, see data_fill.  */
int mfs_write (struct mfs *fs, const struct op_args *a, uint32_t version);
int mfs_truncate (struct mfs *fs, const struct op_args *a);
int mfs_fsync (struct mfs *fs, uint32_t ino);
int mfs_sync (struct mfs *fs);

/* Directories, in a handle.  */
int dir_find (struct mfs *fs, const struct inode *d, const char *name,
	      uint32_t *ino, uint32_t *block, uint32_t *off);
int dir_add (struct mfs *fs, struct journal_handle *h, uint32_t dir,
	     struct inode *d, const char *name, uint32_t ino);
int dir_remove (struct mfs *fs, struct journal_handle *h,
		const struct inode *d, const char *name);
int dir_set (struct mfs *fs, struct journal_handle *h, const struct inode *d,
	     const char *name, uint32_t ino);
/* 0, ENOTEMPTY or an error.  */
int dir_check_empty (struct mfs *fs, const struct inode *d);

/* Data: sectors that name their file, their place and their version.  */
void data_fill (unsigned char *buf, uint32_t bs, uint32_t generation,
		uint32_t index, uint32_t version);
/* The version of the sector, or 0 if it is not GENERATION's INDEX.  */
uint32_t data_version (const unsigned char *sector, uint32_t generation,
		       uint32_t index, uint32_t nth);

#endif
