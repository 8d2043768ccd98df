/* A disk in memory that remembers its writes and fails on demand.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "simdisk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void
die (const char *fmt, ...)
{
  va_list ap;
  fflush (stdout);
  va_start (ap, fmt);
  fprintf (stderr, "FAILED: ");
  vfprintf (stderr, fmt, ap);
  fprintf (stderr, "\n");
  va_end (ap);
  abort ();
}

void
simdisk_init (struct simdisk *d, uint32_t block_size, uint64_t blocks)
{
  memset (d, 0, sizeof *d);
  d->block_size = block_size;
  d->blocks = blocks;
  d->now = calloc (blocks, block_size);
  CHECK (d->now, "out of memory");
  pthread_mutex_init (&d->lock, NULL);
  simdisk_no_faults (d);
}

void
simdisk_no_faults (struct simdisk *d)
{
  d->fail_io_after = d->fail_mem_after = -1;
  d->sticky = false;
}

void
simdisk_forget_records (struct simdisk *d)
{
  for (size_t i = 0; i < d->nrecords; i++)
    free (d->records[i].data);
  d->nrecords = 0;
}

void
simdisk_free (struct simdisk *d)
{
  simdisk_forget_records (d);
  free (d->records);
  free (d->undo);
  free (d->saved);
  free (d->now);
  pthread_mutex_destroy (&d->lock);
}

void
simdisk_load (struct simdisk *d, const char *path)
{
  FILE *f = fopen (path, "rb");
  CHECK (f, "%s: %s", path, strerror (errno));
  size_t n = fread (d->now, d->block_size, d->blocks, f);
  CHECK (n == d->blocks, "%s: %zu blocks instead of %llu", path, n,
	 (unsigned long long) d->blocks);
  fclose (f);
}

void
simdisk_save (const struct simdisk *d, const char *path)
{
  FILE *f = fopen (path, "wb");
  CHECK (f, "%s: %s", path, strerror (errno));
  size_t n = fwrite (d->now, d->block_size, d->blocks, f);
  CHECK (n == d->blocks && fclose (f) == 0, "%s: write error", path);
}

static void
record (struct simdisk *d, enum record_kind kind, uint64_t block,
	const void *data)
{
  if (!d->recording)
    return;
  if (d->nrecords == d->room)
    {
      d->room = d->room ? d->room * 2 : 1024;
      d->records = realloc (d->records, d->room * sizeof *d->records);
      CHECK (d->records, "out of memory");
    }
  struct record *r = &d->records[d->nrecords++];
  *r = (struct record) { kind, block, NULL };
  if (data)
    {
      r->data = malloc (d->block_size);
      CHECK (r->data, "out of memory");
      memcpy (r->data, data, d->block_size);
    }
}

/* Is it this call's turn to fail?  */
static bool
fails (struct simdisk *d, long *after, unsigned long *failed)
{
  if (*after < 0)
    return false;
  if (*after == 0)
    {
      ++*failed;
      if (!d->sticky)
	*after = -1;
      return true;
    }
  --*after;
  return false;
}

static bool
io_fails (struct simdisk *d)
{
  d->io_calls++;
  return fails (d, &d->fail_io_after, &d->io_failed);
}

int
simdisk_read (struct simdisk *d, uint64_t block, uint32_t count, void *buf)
{
  CHECK (block < d->blocks && count <= d->blocks - block,
	 "read of %u blocks at %llu is beyond the disk", count,
	 (unsigned long long) block);
  pthread_mutex_lock (&d->lock);
  bool bad = io_fails (d);
  d->reads++;
  if (!bad)
    memcpy (buf, d->now + block * d->block_size,
	    (size_t) count * d->block_size);
  pthread_mutex_unlock (&d->lock);
  return bad ? EIO : 0;
}

static void
save_block (struct simdisk *d, uint64_t block)
{
  if (!d->undoing || d->saved[block])
    return;
  if (d->nundo == d->undo_room)
    {
      d->undo_room = d->undo_room ? d->undo_room * 2 : 256;
      d->undo = realloc (d->undo, d->undo_room * sizeof *d->undo);
      CHECK (d->undo, "out of memory");
    }
  struct record *r = &d->undo[d->nundo++];
  *r = (struct record) { REC_WRITE, block, malloc (d->block_size) };
  CHECK (r->data, "out of memory");
  memcpy (r->data, d->now + block * d->block_size, d->block_size);
  d->saved[block] = 1;
}

void
simdisk_undo_begin (struct simdisk *d)
{
  CHECK (!d->undoing, "undo in undo");
  if (!d->saved)
    d->saved = calloc (d->blocks, 1);
  CHECK (d->saved, "out of memory");
  d->undoing = true;
}

void
simdisk_undo (struct simdisk *d)
{
  while (d->nundo > 0)
    {
      struct record *r = &d->undo[--d->nundo];
      memcpy (d->now + r->block * d->block_size, r->data, d->block_size);
      d->saved[r->block] = 0;
      free (r->data);
    }
  d->undoing = false;
}

void
simdisk_poke (struct simdisk *d, uint64_t block, const void *data)
{
  save_block (d, block);
  memcpy (d->now + block * d->block_size, data, d->block_size);
}

static void
put_block (struct simdisk *d, uint64_t block, const void *data)
{
  save_block (d, block);
  memcpy (d->now + block * d->block_size, data, d->block_size);
  d->writes++;
  d->bytes_written += d->block_size;
  record (d, REC_WRITE, block, data);
}

int
simdisk_write (struct simdisk *d, uint64_t block, const void *buf)
{
  CHECK (block < d->blocks, "write at %llu is beyond the disk",
	 (unsigned long long) block);
  pthread_mutex_lock (&d->lock);
  bool bad = io_fails (d);
  if (!bad)
    put_block (d, block, buf);
  pthread_mutex_unlock (&d->lock);
  return bad ? EIO : 0;
}

int
simdisk_flush (struct simdisk *d)
{
  if (d->slow_us)
    usleep (d->slow_us);
  pthread_mutex_lock (&d->lock);
  bool bad = io_fails (d);
  d->flushes++;
  if (!bad)
    record (d, REC_FLUSH, 0, NULL);
  pthread_mutex_unlock (&d->lock);
  return bad ? EIO : 0;
}

void
simdisk_mark (struct simdisk *d, uint64_t value)
{
  pthread_mutex_lock (&d->lock);
  record (d, REC_MARK, value, NULL);
  pthread_mutex_unlock (&d->lock);
}

/* The engine's surroundings.  */

static int
op_read (void *ctx, uint64_t block, uint32_t count, void *buf)
{
  return simdisk_read (ctx, block, count, buf);
}

static int
op_writev (void *ctx, uint64_t block, uint32_t count,
	   const struct journal_iov *iov, unsigned iovcnt)
{
  struct simdisk *d = ctx;
  unsigned char buf[65536];
  size_t fill = 0;

  CHECK (block < d->blocks && count <= d->blocks - block && count > 0,
	 "write of %u blocks at %llu is beyond the disk", count,
	 (unsigned long long) block);
  if (d->slow_us)
    usleep (d->slow_us);
  pthread_mutex_lock (&d->lock);
  bool bad = io_fails (d);
  uint64_t at = block;
  for (unsigned i = 0; i < iovcnt; i++)
    for (size_t done = 0; done < iov[i].len;)
      {
	size_t n = d->block_size - fill;
	if (n > iov[i].len - done)
	  n = iov[i].len - done;
	memcpy (buf + fill, (const char *) iov[i].base + done, n);
	done += n;
	fill += n;
	if (fill == d->block_size)
	  {
	    /* Of a request that fails, the first half gets there.  */
	    if (!bad || at - block < count / 2)
	      put_block (d, at, buf);
	    at++;
	    fill = 0;
	  }
      }
  pthread_mutex_unlock (&d->lock);
  CHECK (fill == 0 && at - block == count,
	 "a gathered write of %u blocks has %llu", count,
	 (unsigned long long) (at - block));
  return bad ? EIO : 0;
}

static int
op_flush (void *ctx)
{
  return simdisk_flush (ctx);
}

static int
op_copy_block (void *ctx, uint64_t block, void *buf)
{
  struct simdisk *d = ctx;
  return d->copy_block (d->fs, block, buf);
}

static int
op_write_ordered (void *ctx, uint64_t object, uint64_t first, uint64_t count)
{
  struct simdisk *d = ctx;
  return d->write_ordered (d->fs, object, first, count);
}

static void
op_aborted (void *ctx, int err, const char *what)
{
  struct simdisk *d = ctx;
  if (d->aborted)
    d->aborted (d->fs, err, what);
}

static uint64_t
op_now (void *ctx)
{
  struct simdisk *d = ctx;
  struct timespec ts;

  if (d->time_ns)
    return d->time_ns;
  clock_gettime (CLOCK_REALTIME, &ts);
  return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

static void *
op_alloc (void *ctx, size_t size)
{
  struct simdisk *d = ctx;
  pthread_mutex_lock (&d->lock);
  d->mem_calls++;
  bool bad = fails (d, &d->fail_mem_after, &d->mem_failed);
  pthread_mutex_unlock (&d->lock);
  return bad ? NULL : malloc (size);
}

static void
op_free (void *ctx, void *mem, size_t size)
{
  (void) ctx;
  (void) size;
  free (mem);
}

/* Threads.  */

struct sim_mutex
{
  pthread_mutex_t m;
  char name[16];
};

static void *
op_mutex_new (void *ctx)
{
  static const char *const names[] = { "journal", "journal-copy",
    "journal-sb"
  };
  struct simdisk *d = ctx;
  struct sim_mutex *m = op_alloc (ctx, sizeof *m);
  static _Thread_local unsigned n;
  (void) d;
  if (!m)
    {
      n = 0;
      return NULL;
    }
  /* The engine makes its three in this order.  */
  strcpy (m->name, names[n++ % 3]);
  pthread_mutex_init (&m->m, NULL);
  return m;
}

static void
op_mutex_free (void *ctx, void *mutex)
{
  struct sim_mutex *m = mutex;
  (void) ctx;
  pthread_mutex_destroy (&m->m);
  free (m);
}

static void
op_mutex_lock (void *ctx, void *mutex)
{
  struct sim_mutex *m = mutex;
  (void) ctx;
  lockorder_acquire (m->name);
  pthread_mutex_lock (&m->m);
}

static void
op_mutex_unlock (void *ctx, void *mutex)
{
  struct sim_mutex *m = mutex;
  (void) ctx;
  pthread_mutex_unlock (&m->m);
  lockorder_release (m->name);
}

static void *
op_cond_new (void *ctx)
{
  pthread_cond_t *c = op_alloc (ctx, sizeof *c);
  if (c)
    pthread_cond_init (c, NULL);
  return c;
}

static void
op_cond_free (void *ctx, void *cond)
{
  (void) ctx;
  pthread_cond_destroy (cond);
  free (cond);
}

static void
op_cond_wait (void *ctx, void *cond, void *mutex, unsigned timeout_ms)
{
  struct sim_mutex *m = mutex;
  struct timespec ts;
  (void) ctx;
  /* A wait of half a minute in a simulation is a hang: say so.  */
  unsigned ms = timeout_ms ? timeout_ms : 30000;
  clock_gettime (CLOCK_REALTIME, &ts);
  ts.tv_sec += ms / 1000;
  ts.tv_nsec += (long) (ms % 1000) * 1000000;
  if (ts.tv_nsec >= 1000000000)
    {
      ts.tv_sec++;
      ts.tv_nsec -= 1000000000;
    }
  int err = pthread_cond_timedwait (cond, &m->m, &ts);
  CHECK (timeout_ms || err != ETIMEDOUT,
	 "a thread waited for 30 s: lost wake-up or deadlock");
}

static void
op_cond_broadcast (void *ctx, void *cond)
{
  (void) ctx;
  pthread_cond_broadcast (cond);
}

static int
op_thread_start (void *ctx, void *(*fn) (void *), void *arg, void **thread)
{
  pthread_t *t = op_alloc (ctx, sizeof *t);
  if (!t)
    return ENOMEM;
  int err = pthread_create (t, NULL, fn, arg);
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
  (void) ctx;
  pthread_join (*t, NULL);
  free (t);
}

const struct journal_ops simdisk_ops = {
  .read = op_read,
  .writev = op_writev,
  .flush = op_flush,
  .copy_block = op_copy_block,
  .write_ordered = op_write_ordered,
  .aborted = op_aborted,
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
};
