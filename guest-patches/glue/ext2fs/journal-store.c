/* The journal in ext2fs: the store, memory and threads for the engine.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <device/device.h>
#include <hurd/store.h>

#include "journal-glue.h"
#include "journal-ihash.h"

/* At most this much goes to the store at once.  */
#define WRITE_BYTES (512 * 1024)

static int
op_read (void *ctx, uint64_t block, uint32_t count, void *data)
{
  size_t amount = (size_t) count << log2_block_size, done = 0;

  while (done < amount)
    {
      void *buf = NULL;
      size_t len = 0, want = amount - done;
      error_t err;

      if (want > WRITE_BYTES)
	want = WRITE_BYTES;
      err = store_read (store,
			((store_offset_t) block << log2_dev_blocks_per_fs_block)
			+ (done >> store->log2_block_size), want, &buf, &len);
      if (err)
	return err;
      if (len > want)
	len = want;
      memcpy ((char *) data + done, buf, len);
      munmap (buf, len);
      if (len != want)
	return EIO;
      done += len;
    }
  return 0;
}

/* The store takes one buffer at a time: pieces are gathered in one.  The
   commit and the checkpoint may both be writing; each brings its own.  */
static int
op_writev (void *ctx, uint64_t block, uint32_t count,
	   const struct journal_iov *iov, unsigned iovcnt)
{
  size_t left = (size_t) count << log2_block_size, skip = 0;
  size_t size = left < WRITE_BYTES ? left : WRITE_BYTES;
  store_offset_t addr = (store_offset_t) block << log2_dev_blocks_per_fs_block;
  error_t err = 0;
  char *buf = mmap (0, size, PROT_READ | PROT_WRITE, MAP_ANON, 0, 0);

  if (buf == MAP_FAILED)
    return ENOMEM;
  while (left > 0 && ! err)
    {
      size_t want = left < size ? left : size, fill = 0, written = 0;

      while (fill < want)
	{
	  size_t n = iov->len - skip;

	  if (n > want - fill)
	    n = want - fill;
	  memcpy (buf + fill, (const char *) iov->base + skip, n);
	  fill += n;
	  skip += n;
	  if (skip == iov->len)
	    {
	      iov++;
	      skip = 0;
	    }
	}
      err = store_write (store, addr, buf, want, &written);
      if (! err && written != want)
	err = EIO;
      addr += want >> store->log2_block_size;
      left -= want;
    }
  munmap (buf, size);
  return err;
}

static int
op_flush (void *ctx)
{
  static bool said;
  error_t err = store_sync (store);

  if (err == EOPNOTSUPP || err == D_INVALID_OPERATION)
    {
      /* There is nothing better to be had; the order of writes is all that
	 such a disk gives.  */
      if (! said)
	ext2_warning ("the disk cannot flush its cache: a power cut may lose or"
		      " tear what was synced");
      said = true;
      return 0;
    }
  return err;
}

/* Called while no handle is open, so nobody changes the block.  The page may
   be out: the fault ends in ext2_journal_read_global.  */
static int
op_copy_block (void *ctx, uint64_t block, void *buf)
{
  bool fixed = block < group_desc_block_end;
  error_t err = diskfs_catch_exception ();

  if (! err)
    {
      /* This reads the block, too.  */
      char *ptr = fixed ? bptr (block) : disk_cache_block_ref (block);

      memcpy (buf, ptr, block_size);
      diskfs_end_catch_exception ();
      if (! fixed)
	_disk_cache_block_deref (ptr);
    }
  /* The superblock is changed in its private copy.  */
  if (! err && block == boffs_block (SBLOCK_OFFS))
    memcpy ((char *) buf + SBLOCK_OFFS % block_size, sblock, SBLOCK_SIZE);
  return err;
}

static void
op_committed (void *ctx, journal_tid_t tid)
{
  ext2_journal_ordered_committed (tid);
  ext2_journal_blocks_committed (tid);
}

static void
op_aborted (void *ctx, int err, const char *what)
{
  ext2_warning ("journal: %s: %s; the file system is read-only now",
		what, strerror (err));
}

static uint64_t
op_now (void *ctx)
{
  struct timespec ts;

  clock_gettime (CLOCK_REALTIME, &ts);
  return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void *
op_alloc (void *ctx, size_t size)
{
  return malloc (size);
}

static void
op_free (void *ctx, void *mem, size_t size)
{
  free (mem);
}

static void *
op_mutex_new (void *ctx)
{
  pthread_mutex_t *m = malloc (sizeof *m);

  if (m)
    pthread_mutex_init (m, NULL);
  return m;
}

static void
op_mutex_free (void *ctx, void *mutex)
{
  pthread_mutex_destroy (mutex);
  free (mutex);
}

static void
op_mutex_lock (void *ctx, void *mutex)
{
  pthread_mutex_lock (mutex);
}

static void
op_mutex_unlock (void *ctx, void *mutex)
{
  pthread_mutex_unlock (mutex);
}

static void *
op_cond_new (void *ctx)
{
  pthread_cond_t *c = malloc (sizeof *c);

  if (c)
    pthread_cond_init (c, NULL);
  return c;
}

static void
op_cond_free (void *ctx, void *cond)
{
  pthread_cond_destroy (cond);
  free (cond);
}

static void
op_cond_wait (void *ctx, void *cond, void *mutex, unsigned timeout_ms)
{
  struct timespec ts;

  if (! timeout_ms)
    {
      pthread_cond_wait (cond, mutex);
      return;
    }
  clock_gettime (CLOCK_REALTIME, &ts);
  ts.tv_sec += timeout_ms / 1000;
  ts.tv_nsec += (timeout_ms % 1000) * 1000000;
  if (ts.tv_nsec >= 1000000000)
    {
      ts.tv_nsec -= 1000000000;
      ts.tv_sec++;
    }
  pthread_cond_timedwait (cond, mutex, &ts);
}

static void
op_cond_broadcast (void *ctx, void *cond)
{
  pthread_cond_broadcast (cond);
}

static int
op_thread_start (void *ctx, void *(*fn) (void *), void *arg, void **thread)
{
  pthread_t *t = malloc (sizeof *t);
  error_t err;

  if (! t)
    return ENOMEM;
  err = pthread_create (t, NULL, fn, arg);
  if (err)
    free (t);
  else
    *thread = t;
  return err;
}

static void
op_thread_join (void *ctx, void *thread)
{
  pthread_t *t = thread;

  pthread_join (*t, NULL);
  free (t);
}

const struct journal_ops ext2_journal_ops = {
  .read = op_read,
  .writev = op_writev,
  .flush = op_flush,
  .copy_block = op_copy_block,
  .write_ordered = ext2_journal_write_ordered,
  .committed = op_committed,
  .aborted = op_aborted,
  .is_protected = ext2_journal_protected,
  .now = op_now,
  .alloc = op_alloc,
  .free = op_free,
  .mutex_new = op_mutex_new,
  .mutex_free = op_mutex_free,
  .mutex_lock = op_mutex_lock,
  .mutex_unlock = op_mutex_unlock,
  .cond_new = op_cond_new,
  .cond_free = op_cond_free,
  .cond_wait = op_cond_wait,
  .cond_broadcast = op_cond_broadcast,
  .thread_start = op_thread_start,
  .thread_join = op_thread_join,
  .ihash = &ext2_journal_ihash,
};
