/* The cost of the journal: freeze, bandwidth, pauses.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench.h"

/* Freeze: N blocks of one transaction, dirtied and committed.  */
void
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

void
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

/* The longest that a start or a stop takes while another thread wants
   commit after commit and the disk needs a millisecond for each call.  */

static int
slow_flush (void *ctx)
{
  usleep (1000);
  return simdisk_ops.flush (ctx);
}

struct pauses
{
  struct journal *j;
  bool end;
  uint64_t longest, total, handles;
};

static void *
pause_main (void *arg)
{
  struct pauses *p = arg;
  struct journal_handle *h;
  while (!__atomic_load_n (&p->end, __ATOMIC_RELAXED))
    {
      uint64_t t = now_ns (), t2;
      CHECK (journal_start (p->j, 8, 0, &h) == 0, "start");
      t = now_ns () - t;
      for (uint32_t b = 0; b < 8; b++)
	CHECK (journal_access (h, 2000 + (p->handles * 8 + b) % 200) == 0
	       && journal_dirty (h, 2000 + (p->handles * 8 + b) % 200) == 0,
	       "dirty");
      t2 = now_ns ();
      CHECK (journal_stop (h) == 0, "stop");
      t += now_ns () - t2;
      p->total += t;
      p->handles++;
      if (t > p->longest)
	p->longest = t;
    }
  return NULL;
}

void
print_pause (const struct options *o)
{
  struct journal_ops ops = bench_ops ();
  struct simdisk d;
  struct journal_params p;
  struct journal_extent log[64];
  struct journal *j;
  struct journal_stats st;
  pthread_t thread;

  make_image (&d, BS, o->scratch);
  d.copy_block = store_copy;
  mfs_params (&p, &d, log, 64);
  ops.flush = slow_flush;
  p.ops = &ops;
  p.settings.daemons = true;
  CHECK (journal_open (&p, &j) == 0, "open");
  struct pauses pauses = { .j = j };
  pthread_create (&thread, NULL, pause_main, &pauses);
  uint64_t t0 = now_ns ();
  while (now_ns () - t0 < 3000000000u)
    CHECK (journal_sync (j) == 0, "sync");
  __atomic_store_n (&pauses.end, true, __ATOMIC_RELAXED);
  pthread_join (thread, NULL);
  journal_get_stats (j, &st);
  printf ("\nPauses: %llu handles beside %llu commits of up to 200 blocks in 3"
	  " s: %.2f us in the mean, %.3f ms at most (the longest freeze:"
	  " %.3f ms)\n", (unsigned long long) pauses.handles,
	  (unsigned long long) st.commits,
	  (double) pauses.total / (double) pauses.handles / 1e3,
	  (double) pauses.longest / 1e6, (double) st.freeze_max_ns / 1e6);
  CHECK (journal_close (j) == 0, "close");
  simdisk_free (&d);
}
