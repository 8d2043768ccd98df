/* The engine's surroundings in the simulation.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "simdisk.h"
#include "../glue/ext2fs/journal-ihash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
  unsigned us = d->slower_us && block >= d->slower_from ? d->slower_us
    : d->slow_us;
  if (us)
    usleep (us);
  pthread_mutex_lock (&d->lock);
  bool bad = simdisk_io_fails (d);
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
	      simdisk_put (d, at, buf);
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
  bool bad = simdisk_fails (d, &d->fail_mem_after, &d->mem_failed);
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
  .ihash = &ext2_journal_ihash,
};
