/* The small ext2: pages, as a kernel keeps them.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdlib.h>

#include "mfs.h"

_Thread_local bool mfs_changed, mfs_sync_failed;
void (*mfs_trace) (uint32_t event);

static void
rdlock (struct page *p)
{
  lockorder_acquire ("page");
  pthread_rwlock_rdlock (&p->lock);
}

static void
wrlock (struct page *p)
{
  lockorder_acquire ("page");
  pthread_rwlock_wrlock (&p->lock);
}

static void
unlock (struct page *p)
{
  pthread_rwlock_unlock (&p->lock);
  lockorder_release ("page");
}

/* With P locked alone: have its bytes.  */
static int
fill (struct mfs *fs, uint32_t block, struct page *p)
{
  if (p->present)
    return 0;
  if (!p->data)
    p->data = malloc (fs->g.bs);
  CHECK (p->data, "out of memory");
  int err = 0;
  if (!p->meta || !journal_read (fs->j, block, p->data))
    err = simdisk_read (fs->disk, block, 1, p->data);
  p->present = !err;
  p->dirty = false;
  return err;
}

/* With P locked alone: what a kernel does when it returns a page.  */
static int
clean (struct mfs *fs, uint32_t block, struct page *p)
{
  if (!p->present || !p->dirty)
    return 0;
  int err = 0;
  if (!p->meta && fs->aborted)
    err = EROFS;
  else if (!p->meta)
    err = simdisk_write (fs->disk, block, p->data);
  else if (!journal_writeback (fs->j, block, p->data) && !fs->aborted)
    /* Every change is in the journal; so this page has to be what is at
       home already.  */
    CHECK (!memcmp (p->data, fs->disk->now + (size_t) block * fs->g.bs,
		    fs->g.bs),
	   "block %u is written back, the journal knows nothing of it, and"
	   " it is not what is at home", block);
  if (!err)
    p->dirty = false;
  return err;
}

/* Lock PAGE shared with its bytes there.  */
static int
hold (struct mfs *fs, uint32_t block, struct page **page)
{
  /* Only metadata is read through here, and a block that is new as metadata
     came through page_meta_new.  */
  struct page *p = &fs->pages[block];
  CHECK (block < fs->g.blocks, "block %u of %u", block, fs->g.blocks);
  for (;;)
    {
      rdlock (p);
      if (p->present)
	break;
      unlock (p);
      wrlock (p);
      p->meta = true;
      int err = fill (fs, block, p);
      unlock (p);
      if (err)
	return err;
    }
  *page = p;
  return 0;
}

/* Take the page of BLOCK away, or only write it back.  */
static void
evict (struct mfs *fs, uint32_t block, bool keep)
{
  struct page *p = &fs->pages[block];

  wrlock (p);
  if (p->present && clean (fs, block, p) == 0 && !keep)
    {
      /* Whoever still looks at the old bytes shall see that.  */
      memset (p->data, 0xDB, fs->g.bs);
      p->present = false;
    }
  unlock (p);
}

void
page_pressure (struct mfs *fs)
{
  struct rng *r = &fs->rng;
  static _Thread_local struct rng mine;

  if (fs->pressure == 0)
    return;
  if (fs->threads)
    {
      if (mine.s == 0)
	mine.s = (uint64_t) (uintptr_t) &mine;
      r = &mine;
    }
  if (rng_below (r, 1000) >= fs->pressure)
    return;
  unsigned n = 1 + rng_below (r, 4);
  while (n-- > 0)
    {
      /* Metadata lies at the front; pick from there half of the time.  */
      uint32_t limit = rng_below (r, 2) ? fs->g.blocks
	: fs->g.inode_table + 64;
      evict (fs, rng_below (r, limit), rng_below (r, 2));
    }
}

int
page_meta_read (struct mfs *fs, uint32_t block, uint32_t off, void *buf,
		uint32_t len)
{
  struct page *p;
  page_pressure (fs);
  int err = hold (fs, block, &p);
  if (err)
    return err;
  memcpy (buf, p->data + off, len);
  unlock (p);
  return 0;
}

int
page_meta_write (struct mfs *fs, struct journal_handle *h, uint32_t block,
		 uint32_t off, const void *buf, uint32_t len)
{
  struct page *p;
  page_pressure (fs);
  int err = journal_access (h, block);
  if (!err)
    err = hold (fs, block, &p);
  if (err)
    return err;
  CHECK (p->meta, "block %u is written as metadata and is data", block);
  memcpy (p->data + off, buf, len);
  __atomic_store_n (&p->dirty, true, __ATOMIC_RELAXED);
  unlock (p);
  mfs_changed = true;
  page_pressure (fs);
  if (mfs_trace)
    mfs_trace (block);
  return journal_dirty (h, block);
}

int
page_meta_new (struct mfs *fs, struct journal_handle *h, uint32_t block)
{
  struct page *p = &fs->pages[block];
  int err = journal_access (h, block);
  if (err)
    return err;
  wrlock (p);
  if (!p->data)
    p->data = malloc (fs->g.bs);
  CHECK (p->data, "out of memory");
  memset (p->data, 0, fs->g.bs);
  p->present = p->dirty = p->meta = true;
  unlock (p);
  mfs_changed = true;
  if (mfs_trace)
    mfs_trace (block);
  return journal_dirty (h, block);
}

void
page_drop (struct mfs *fs, uint32_t block)
{
  struct page *p = &fs->pages[block];
  wrlock (p);
  p->present = p->dirty = p->meta = false;
  __atomic_store_n (&p->ino, 0, __ATOMIC_RELAXED);
  unlock (p);
}

int
page_data_write (struct mfs *fs, uint32_t ino, uint32_t index,
		 uint32_t block, const void *data)
{
  struct page *p = &fs->pages[block];
  page_pressure (fs);
  wrlock (p);
  CHECK (!p->meta, "file data goes to block %u, which is metadata", block);
  if (!p->data)
    p->data = malloc (fs->g.bs);
  CHECK (p->data, "out of memory");
  memcpy (p->data, data, fs->g.bs);
  p->present = p->dirty = true;
  __atomic_store_n (&p->ino, ino, __ATOMIC_RELAXED);
  p->index = index;
  unlock (p);
  return 0;
}

/* Write the dirty data pages of INO (0: of all) in a range.  */
int
page_write_out (struct mfs *fs, uint32_t ino, uint32_t first, uint64_t count)
{
  int result = 0;
  for (uint32_t b = 0; b < fs->g.blocks; b++)
    {
      struct page *p = &fs->pages[b];
      uint32_t owner = __atomic_load_n (&p->ino, __ATOMIC_RELAXED);
      if (owner == 0 || (ino && owner != ino))
	continue;
      wrlock (p);
      if (p->ino == owner && !p->meta && p->index >= first
	  && p->index - first < count)
	{
	  int err = clean (fs, b, p);
	  result = result ? result : err;
	}
      unlock (p);
    }
  return result;
}

static int
copy_block (void *arg, uint64_t block, void *buf)
{
  struct mfs *fs = arg;
  struct page *p;
  page_pressure (fs);
  int err = hold (fs, (uint32_t) block, &p);
  if (err)
    return err;
  memcpy (buf, p->data, fs->g.bs);
  unlock (p);
  return 0;
}

static int
write_ordered (void *arg, uint64_t object, uint64_t first, uint64_t count)
{
  struct mfs *fs = arg;
  page_pressure (fs);
  return page_write_out (fs, (uint32_t) object, (uint32_t) first, count);
}

static void
aborted (void *arg, int err, const char *what)
{
  struct mfs *fs = arg;
  (void) what;
  fs->aborted = err;
}

void
mfs_params (struct journal_params *p, struct simdisk *d,
	    struct journal_extent *log, unsigned max)
{
  struct geometry g;
  geometry_read (&g, d->now, d->block_size);
  memset (p, 0, sizeof *p);
  p->ops = &simdisk_ops;
  p->ctx = d;
  p->block_size = d->block_size;
  p->fs_blocks = g.blocks;
  p->log = log;
  p->log_extents = journal_extents (d->now, &g, log, max);
  journal_preset (&p->settings, "hurdle");
  p->settings.daemons = false;
}

int
mfs_recover (struct simdisk *d, struct journal_recovery *result)
{
  struct journal_params p;
  struct journal_extent log[64];
  mfs_params (&p, d, log, 64);
  return journal_recover (&p, result);
}

int
mfs_mount (struct mfs *fs, struct simdisk *d,
	   const struct journal_settings *settings, uint64_t seed)
{
  memset (fs, 0, sizeof *fs);
  fs->disk = d;
  geometry_read (&fs->g, d->now, d->block_size);
  mfs_params (&fs->params, d, fs->log, 64);
  if (settings)
    fs->params.settings = *settings;
  fs->rng.s = seed;
  fs->pages = calloc (fs->g.blocks, sizeof *fs->pages);
  fs->nodes = calloc (fs->g.inodes + 1, sizeof *fs->nodes);
  CHECK (fs->pages && fs->nodes, "out of memory");
  for (uint32_t i = 0; i < fs->g.blocks; i++)
    pthread_rwlock_init (&fs->pages[i].lock, NULL);
  for (uint32_t i = 0; i <= fs->g.inodes; i++)
    pthread_mutex_init (&fs->nodes[i].lock, NULL);
  pthread_mutex_init (&fs->alloc_lock, NULL);
  pthread_mutex_init (&fs->rename_lock, NULL);
  d->fs = fs;
  d->copy_block = copy_block;
  d->write_ordered = write_ordered;
  d->aborted = aborted;

  struct journal_recovery rec;
  int err = mfs_recover (d, &rec);
  if (!err)
    err = journal_open (&fs->params, &fs->j);
  if (!err)
    err = mfs_process_orphans (fs);
  if (err)
    mfs_unmount (fs);
  return err;
}

int
mfs_unmount (struct mfs *fs)
{
  int err = 0, close_err = 0;

  for (uint32_t i = 0; i < fs->g.blocks && fs->j && !fs->aborted; i++)
    if (!fs->pages[i].meta && fs->pages[i].dirty)
      {
	int e = clean (fs, i, &fs->pages[i]);
	err = err ? err : e;
      }
  if (fs->j)
    close_err = journal_close (fs->j);
  for (uint32_t i = 0; i < fs->g.blocks; i++)
    {
      free (fs->pages[i].data);
      pthread_rwlock_destroy (&fs->pages[i].lock);
    }
  for (uint32_t i = 0; i <= fs->g.inodes; i++)
    pthread_mutex_destroy (&fs->nodes[i].lock);
  pthread_mutex_destroy (&fs->alloc_lock);
  pthread_mutex_destroy (&fs->rename_lock);
  free (fs->pages);
  free (fs->nodes);
  fs->j = NULL;
  return err ? err : close_err;
}
