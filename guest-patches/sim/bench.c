/* The cost of the journal: a recorded trace of dirty calls, every preset.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "../journal/jpriv.h"
#include "options.h"
#include "states.h"

/* The trace is recorded from the small ext2 doing what a compile does:
   object files grow block by block, temporary files come and go.  It is
   replayed on a store of blocks in memory: each call announces a block,
   changes a few bytes, and says so.  The thread's run had 339,105 dirty
   calls, 2,133 a second, and a commit every 5 seconds: one in 10,665
   calls.  */

#define CALLS 339105
#define CALLS_PER_COMMIT 10665
#define BS 4096

static uint32_t *trace;
static size_t ntrace, ncalls;

static void
note (uint32_t event)
{
  static size_t room;
  if (ntrace == room)
    {
      room = room ? room * 2 : 65536;
      trace = realloc (trace, room * sizeof *trace);
      CHECK (trace, "out of memory");
    }
  trace[ntrace++] = event;
  ncalls += event < MFS_TRACE_START;
}

static void
record_trace (const struct options *o)
{
  struct simdisk d;
  struct mfs fs;
  struct rng rng = { o->seed };
  struct op_args a = { .dir = ROOT_INO, .mode = 0755 };
  char name[32];
  uint32_t dirs[16], ino, unit = 0;

  make_image (&d, BS, o->scratch);
  CHECK (mfs_mount (&fs, &d, NULL, 1) == 0, "mount");
  a.name = name;
  for (int k = 0; k < 16; k++)
    {
      snprintf (name, sizeof name, "dir%d", k);
      CHECK (mfs_mkdir (&fs, &a, &dirs[k]) == 0, "mkdir");
    }
  mfs_trace = note;
  for (; ncalls < CALLS; unit++)
    {
      uint32_t blocks = 2 + rng_below (&rng, 20);
      a.dir = dirs[unit % 16];
      snprintf (name, sizeof name, "unit%u.o", unit % 128);
      mfs_unlink (&fs, &a, false);
      a.offset = unit + 1;
      CHECK (mfs_create (&fs, &a, &ino) == 0, "create");
      struct op_args w = { .dir = ino, .length = 1 };
      for (uint32_t k = 0; k < blocks; k++)
	{
	  w.offset = k;
	  CHECK (mfs_write (&fs, &w, 1) == 0, "write");
	  /* The assembler goes back and patches.  */
	  if (k % 4 == 3)
	    CHECK (mfs_chmod (&fs, &(struct op_args) {.dir = ino,
						      .mode = 0644 }) == 0,
		   "chmod");
	}
      snprintf (name, sizeof name, "tmp%u.s", unit);
      CHECK (mfs_create (&fs, &a, &ino) == 0, "create");
      w.dir = ino;
      w.offset = 0;
      w.length = 5;
      CHECK (mfs_write (&fs, &w, 1) == 0, "write");
      CHECK (mfs_unlink (&fs, &a, false) == 0, "unlink");
      if (unit % 32 == 0)
	{
	  mfs_trace = NULL;
	  CHECK (mfs_sync (&fs) == 0, "sync");
	  mfs_trace = note;
	}
    }
  mfs_trace = NULL;
  CHECK (mfs_unmount (&fs) == 0, "unmount");
  simdisk_free (&d);
}

/* The store.  */
static unsigned char *store;

static int
store_copy (void *fs, uint64_t block, void *buf)
{
  (void) fs;
  memcpy (buf, store + block * BS, BS);
  return 0;
}

static uint64_t
now_ns (void)
{
  struct timespec ts;
  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

/* The engine's surroundings without the lock-order checker, which would be
   counted as part of every call that takes a lock.  A mutex of the
   simulation begins with a pthread_mutex_t.  */
static void
plain_lock (void *ctx, void *mutex)
{
  (void) ctx;
  pthread_mutex_lock (mutex);
}

static void
plain_unlock (void *ctx, void *mutex)
{
  (void) ctx;
  pthread_mutex_unlock (mutex);
}

static struct journal_ops
bench_ops (void)
{
  struct journal_ops ops = simdisk_ops;
  ops.mutex_lock = plain_lock;
  ops.mutex_unlock = plain_unlock;
  return ops;
}

struct result
{
  uint64_t access, dirty, stop, stop_max_ns, start_max_ns;
  uint64_t overhead;		/* Of reading the counter, per pair.  */
  struct journal_stats st;
};

static uint64_t
counter_overhead (void)
{
  uint64_t best = UINT64_MAX;
  for (int k = 0; k < 10000; k++)
    {
      uint64_t t = jcycles ();
      t = jcycles () - t;
      if (t < best)
	best = t;
    }
  return best;
}

static void
replay (const struct options *o, const char *preset, bool stats, bool stub,
	struct result *r)
{
  struct simdisk d;
  struct journal_params p;
  struct journal_extent log[64];
  struct journal *j;
  struct journal_handle *h = NULL;
  size_t calls = 0;

  memset (r, 0, sizeof *r);
  r->overhead = counter_overhead ();
  make_image (&d, BS, o->scratch);
  memcpy (store, d.now, d.blocks * BS);
  d.copy_block = store_copy;
  mfs_params (&p, &d, log, 64);
  struct journal_ops ops = bench_ops ();
  p.ops = &ops;
  CHECK (journal_preset (&p.settings, preset) == 0, "%s", preset);
  p.settings.daemons = false;
  p.settings.stats = stats;
  p.settings.stub = stub;
  CHECK (journal_open (&p, &j) == 0, "open");
  for (size_t i = 0; i < ntrace; i++)
    {
      uint32_t e = trace[i];
      if (e == MFS_TRACE_START)
	{
	  uint64_t t = now_ns ();
	  CHECK (journal_start (j, 24, 16, &h) == 0, "start");
	  t = now_ns () - t;
	  if (t > r->start_max_ns)
	    r->start_max_ns = t;
	}
      else if (e == MFS_TRACE_STOP)
	{
	  uint64_t ns = now_ns (), t = jcycles ();
	  CHECK (journal_stop (h) == 0, "stop");
	  r->stop += jcycles () - t - r->overhead;
	  ns = now_ns () - ns;
	  if (ns > r->stop_max_ns)
	    r->stop_max_ns = ns;
	  if (calls >= CALLS_PER_COMMIT)
	    {
	      calls = 0;
	      CHECK (journal_sync (j) == 0, "sync");
	      CHECK (journal_checkpoint (j, 700) == 0, "checkpoint");
	    }
	}
      else
	{
	  unsigned char *b = store + (size_t) e * BS;
	  uint64_t t0 = jcycles ();
	  journal_access (h, e);
	  uint64_t t1 = jcycles ();
	  b[i % BS]++;
	  b[i * 7 % BS]++;
	  uint64_t t2 = jcycles ();
	  journal_dirty (h, e);
	  uint64_t t3 = jcycles ();
	  r->access += t1 - t0 - r->overhead;
	  r->dirty += t3 - t2 - r->overhead;
	  calls++;
	}
    }
  journal_get_stats (j, &r->st);
  if (!stub)
    CHECK (journal_close (j) == 0, "close");
  else
    journal_close (j);
  simdisk_free (&d);
}

static void
print_presets (const struct options *o)
{
  static const char *const presets[] = { "v2", "v3", "v4", "v5", "hurdle" };
  struct result r;
  double per_v3 = 0;

  printf ("Cycles a call, best of 5 runs of %zu dirty calls in one process"
	  " (reading the counter subtracted):\n", ncalls);
  printf ("%-8s %8s %8s %8s %10s %10s %14s %12s %10s\n", "preset", "access",
	  "dirty", "pair", "stop/call", "copies", "per committed",
	  "freeze max", "memory");
  for (size_t k = 0; k < sizeof presets / sizeof *presets; k++)
    {
      struct result best = { .access = UINT64_MAX / 4, .dirty = UINT64_MAX / 4
      };
      for (int n = 0; n < 5; n++)
	{
	  replay (o, presets[k], false, false, &r);
	  if (r.access + r.dirty + r.stop + r.st.freeze
	      < best.access + best.dirty + best.stop + best.st.freeze)
	    best = r;
	}
      r = best;
      double c = (double) ncalls, b = (double) r.st.frozen_blocks;
      double per = ((double) r.access + (double) r.dirty + (double) r.stop
		    + (double) r.st.freeze) / b;
      if (!strcmp (presets[k], "v3"))
	per_v3 = per;
      printf ("%-8s %8.0f %8.0f %8.0f %10.0f %10llu %14.0f %9.3f ms %7.2f MB"
	      "\n", presets[k], (double) r.access / c, (double) r.dirty / c,
	      (double) (r.access + r.dirty) / c, (double) r.stop / c,
	      (unsigned long long) r.st.copies, per,
	      (double) r.st.freeze_max_ns / 1e6,
	      (double) r.st.memory_peak / 1e6);
      if (!strcmp (presets[k], "hurdle"))
	printf ("%.0f blocks committed in %llu commits, %.0f calls a block;"
		" hurdle costs %.3f of v3 per committed block\n", b,
		(unsigned long long) r.st.commits, c / b, per / per_v3);
    }
  replay (o, "hurdle", false, true, &r);
  printf ("%-8s %8.0f %8.0f %8.0f\n", "stub", (double) r.access
	  / (double) ncalls, (double) r.dirty / (double) ncalls,
	  (double) (r.access + r.dirty) / (double) ncalls);
}

static void
print_counters (const struct options *o, const char *preset)
{
  struct result r;
  char text[3000];
  replay (o, preset, true, false, &r);
  journal_format_stats (&r.st, text, sizeof text);
  printf ("\nCounters of %s (they cost cycles themselves):\n%s", preset,
	  text);
}

/* Freeze: N blocks of one transaction, dirtied and committed.  */
static void
print_freeze (const struct options *o)
{
  struct simdisk d;
  struct journal_params p;
  struct journal_extent log[64];
  struct journal *j;
  struct journal_stats st;
  struct journal_limits l;

  make_image (&d, BS, o->scratch);
  d.copy_block = store_copy;
  mfs_params (&p, &d, log, 64);
  struct journal_ops ops = bench_ops ();
  p.ops = &ops;
  CHECK (journal_open (&p, &j) == 0, "open");
  journal_get_limits (j, &l);
  uint64_t best = UINT64_MAX;
  uint32_t n = 0;
  for (int k = 0; k < 50; k++)
    {
      struct journal_handle *h;
      uint64_t cycles;
      n = 0;
      journal_get_stats (j, &st);
      cycles = st.freeze;
      while (n + 50 < l.max_transaction - 40)
	{
	  CHECK (journal_start (j, 50, 0, &h) == 0, "start");
	  for (uint32_t b = 0; b < 50; b++, n++)
	    CHECK (journal_access (h, 2000 + n) == 0
		   && journal_dirty (h, 2000 + n) == 0, "dirty");
	  CHECK (journal_stop (h) == 0, "stop");
	}
      uint64_t t = now_ns ();
      CHECK (journal_sync (j) == 0, "sync");
      t = now_ns () - t;
      journal_get_stats (j, &st);
      if (st.freeze - cycles < best)
	best = st.freeze - cycles;
    }
  uint64_t c0 = jcycles (), t0 = now_ns ();
  while (now_ns () - t0 < 20000000)
    continue;
  double ghz = (double) (jcycles () - c0) / (double) (now_ns () - t0);
  printf ("\nFreeze of %u blocks: %.0f cycles a block, %.4f ms; 1000 blocks"
	  " at that rate: %.3f ms (longest of 50: %.3f ms for %u)\n", n,
	  (double) best / n, (double) best / ghz / 1e6,
	  (double) best / n * 1000 / ghz / 1e6,
	  (double) st.freeze_max_ns / 1e6, n);
  CHECK (journal_close (j) == 0, "close");
  simdisk_free (&d);
}

/* A log on a file: its bandwidth against writing the same sequentially.  */
static int fd;

static int
file_writev (void *ctx, uint64_t block, uint32_t count,
	     const struct journal_iov *iov, unsigned iovcnt)
{
  struct iovec v[JIOV_MAX];
  (void) ctx;
  for (unsigned i = 0; i < iovcnt; i++)
    v[i] = (struct iovec) { (void *) (uintptr_t) iov[i].base, iov[i].len };
  ssize_t n = pwritev (fd, v, (int) iovcnt, (off_t) block * BS);
  return n == (ssize_t) count * BS ? 0 : EIO;
}

static int
file_flush (void *ctx)
{
  (void) ctx;
  return fdatasync (fd) ? errno : 0;
}

static void
print_bandwidth (const struct options *o)
{
  struct journal_ops ops = bench_ops ();
  struct simdisk d;
  struct journal_params p;
  struct journal_extent log[64];
  struct journal *j;
  struct journal_stats st;
  char path[] = "bench-XXXXXX";
  unsigned rounds = 40;

  fd = mkstemp (path);
  CHECK (fd >= 0 && unlink (path) == 0, "no file for the bandwidth");
  make_image (&d, BS, o->scratch);
  CHECK (pwrite (fd, d.now, d.blocks * BS, 0) == (ssize_t) (d.blocks * BS)
	 && fsync (fd) == 0, "write");
  d.copy_block = store_copy;
  mfs_params (&p, &d, log, 64);
  ops.writev = file_writev;
  ops.flush = file_flush;
  p.ops = &ops;
  CHECK (journal_open (&p, &j) == 0, "open");
  uint64_t spent = 0;
  for (unsigned k = 0; k < rounds; k++)
    {
      struct journal_handle *h;
      for (uint32_t n = 0; n < 200; n += 50)
	{
	  CHECK (journal_start (j, 50, 0, &h) == 0, "start");
	  for (uint32_t b = 0; b < 50; b++)
	    CHECK (journal_access (h, 2000 + n + b) == 0
		   && journal_dirty (h, 2000 + n + b) == 0, "dirty");
	  CHECK (journal_stop (h) == 0, "stop");
	}
      uint64_t t = now_ns ();
      CHECK (journal_sync (j) == 0, "sync");
      spent += now_ns () - t;
      CHECK (journal_checkpoint (j, UINT32_MAX) == 0, "checkpoint");
    }
  journal_get_stats (j, &st);
  double log_mb = (double) st.log_blocks * BS / 1e6;
  uint64_t plain = 0;
  for (unsigned k = 0; k < rounds; k++)
    {
      uint64_t t = now_ns ();
      size_t bytes = (size_t) st.log_blocks / rounds * BS;
      CHECK (pwrite (fd, store, bytes, 2000 * BS) == (ssize_t) bytes
	     && fdatasync (fd) == 0
	     && pwrite (fd, store, BS, 2000 * BS) == BS
	     && fdatasync (fd) == 0, "write");
      plain += now_ns () - t;
    }
  printf ("\nLog bandwidth, %u commits of 200 blocks to a file: %.0f MB/s; the"
	  " same bytes and flushes written plainly: %.0f MB/s; %llu writes"
	  " a commit\n", rounds, log_mb * 1e3 / ((double) spent / 1e6),
	  log_mb * 1e3 / ((double) plain / 1e6),
	  (unsigned long long) st.log_writes / rounds);
  CHECK (journal_close (j) == 0, "close");
  close (fd);
  simdisk_free (&d);
}

int
main (int argc, char **argv)
{
  struct options o;
  options_parse (&o, argc, argv);
  store = malloc (4096 * (size_t) BS);
  CHECK (store, "out of memory");
  record_trace (&o);
  print_presets (&o);
  print_freeze (&o);
  print_bandwidth (&o);
  if (o.verbose)
    {
      print_counters (&o, "v3");
      print_counters (&o, "hurdle");
    }
  options_done (&o);
  free (store);
  free (trace);
  return 0;
}
