/* The cost of the journal: a recorded trace of dirty calls, every preset.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"

/* compile.ops is what a compile of this engine and its tests did to files: each
   write of the assembler and the linker, recorded from the system calls of
   make (sim/record.py).  The small ext2 does the same, one build after the
   other, and each dirty call is noted.  This trace is replayed on a store of
   blocks in memory: each call announces a block, changes a few bytes, and
   says so.  The thread's run had 339,105 dirty calls, 2,133 a second, and a
   commit every 5 seconds: one in 10,665 calls.  */

#define CALLS 339105
#define CALLS_PER_COMMIT 10665
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

/* One line of compile.ops.  */
struct change
{
  char kind;
  unsigned file, offset, length, count;
};

#define MOST_CHANGES 20000
#define MOST_FILES 1000

static size_t
read_changes (struct change *c, FILE *from)
{
  char line[80];
  size_t n = 0;

  for (; fgets (line, sizeof line, from); n++)
    {
      CHECK (n < MOST_CHANGES, "more than %d changes", MOST_CHANGES);
      c[n] = (struct change) { .count = 1 };
      int got = sscanf (line, "%c %u %u %u %u", &c[n].kind, &c[n].file,
			&c[n].offset, &c[n].length, &c[n].count);
      CHECK (got >= 2 && c[n].file < MOST_FILES
	     && (c[n].kind != 'w' || (got == 5 && c[n].length > 0))
	     && (c[n].kind != 'c' || (got == 3 && c[n].offset < 2)),
	     "no change of a file: %s", line);
    }
  CHECK (n > 0, "no changes: give me compile.ops");
  return n;
}

/* Do as the build did.  INODES has those of the files that are there.  */
static void
change (struct mfs *fs, const struct change *c, const uint32_t *dirs,
	uint32_t *folders, uint32_t *inodes)
{
  char name[32];
  uint32_t ino = inodes[c->file];
  struct op_args a = { .dir = ino, .mode = 0644, .name = name };

  snprintf (name, sizeof name, "file%u.o", c->file);
  switch (c->kind)
    {
    case 'c':
      a.dir = folders[c->file] = dirs[c->offset];
      a.offset = c->file;
      CHECK (mfs_create (fs, &a, &inodes[c->file]) == 0, "create");
      break;
    case 't':
      CHECK (mfs_truncate (fs, &a) == 0, "truncate");
      break;
    case 'm':
      CHECK (mfs_chmod (fs, &a) == 0, "chmod");
      break;
    case 'u':
      a.dir = folders[c->file];
      CHECK (mfs_unlink (fs, &a, false) == 0, "unlink");
      inodes[c->file] = 0;
      break;
    case 'w':
      for (unsigned k = 0; k < c->count; k++)
	{
	  unsigned at = c->offset + k * c->length;
	  a.offset = at / BS;
	  a.length = (at + c->length - 1) / BS - a.offset + 1;
	  CHECK (mfs_write (fs, &a, 1) == 0, "write");
	}
      break;
    default:
      CHECK (false, "change %c", c->kind);
    }
}

static void
record_trace (const struct options *o)
{
  static struct change changes[MOST_CHANGES];
  uint32_t inodes[MOST_FILES] = { 0 }, folders[MOST_FILES], dirs[2];
  size_t n = read_changes (changes, stdin);
  struct simdisk d;
  struct mfs fs;
  struct op_args a = { .dir = ROOT_INO, .mode = 0755 };

  make_image (&d, BS, o->scratch);
  CHECK (mfs_mount (&fs, &d, NULL, 1) == 0, "mount");
  a.name = "tmp";
  CHECK (mfs_mkdir (&fs, &a, &dirs[0]) == 0, "mkdir");
  a.name = "out";
  CHECK (mfs_mkdir (&fs, &a, &dirs[1]) == 0, "mkdir");
  mfs_trace = note;
  while (ncalls < CALLS)
    {
      for (size_t i = 0; i < n && ncalls < CALLS; i++)
	{
	  change (&fs, &changes[i], dirs, folders, inodes);
	  if (i % 200 == 0)
	    {
	      mfs_trace = NULL;
	      CHECK (mfs_sync (&fs) == 0, "sync");
	      mfs_trace = note;
	    }
	}
      /* make clean.  */
      for (unsigned f = 0; f < MOST_FILES; f++)
	if (inodes[f])
	  change (&fs, &(struct change) { .kind = 'u', .file = f }, dirs,
		  folders, inodes);
    }
  mfs_trace = NULL;
  CHECK (mfs_unmount (&fs) == 0, "unmount");
  simdisk_free (&d);
}

/* The store.  */
unsigned char *store;

int
store_copy (void *fs, uint64_t block, void *buf)
{
  (void) fs;
  memcpy (buf, store + block * BS, BS);
  return 0;
}

uint64_t
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

struct journal_ops
bench_ops (void)
{
  struct journal_ops ops = simdisk_ops;
  ops.mutex_lock = plain_lock;
  ops.mutex_unlock = plain_unlock;
  return ops;
}

/* What one event of the trace took.  The same event is measured in five
   runs, and the least of them counts: what is more is not the journal's but
   that of who else runs on the machine.  */
struct cycles
{
  uint32_t access, dirty, stop;
};
static struct cycles *least;

static void
take (uint32_t *least_so_far, uint64_t cycles, uint64_t overhead)
{
  uint64_t net = cycles > overhead ? cycles - overhead : 0;
  if (net < *least_so_far)
    *least_so_far = (uint32_t) net;
}

struct result
{
  uint64_t access, dirty, stop, stop_max_ns, start_max_ns;
  uint64_t overhead;		/* Of reading the counter, per pair.  */
  struct journal_stats st;
};

/* The counter, read when all before it is done and nothing after it has
   begun.  */
static inline uint64_t
cycles_now (void)
{
#if defined __x86_64__
  __builtin_ia32_lfence ();
  uint64_t t = jcycles ();
  __builtin_ia32_lfence ();
  return t;
#else
  return jcycles ();
#endif
}

static uint64_t
counter_overhead (void)
{
  uint64_t best = UINT64_MAX;
  for (int k = 0; k < 10000; k++)
    {
      uint64_t t = cycles_now ();
      t = cycles_now () - t;
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
	  uint64_t ns = now_ns (), t = cycles_now ();
	  CHECK (journal_stop (h) == 0, "stop");
	  take (&least[i].stop, cycles_now () - t, r->overhead);
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
	  uint64_t t0 = cycles_now ();
	  journal_access (h, e);
	  uint64_t t1 = cycles_now ();
	  b[i % BS]++;
	  b[i * 7 % BS]++;
	  uint64_t t2 = cycles_now ();
	  journal_dirty (h, e);
	  uint64_t t3 = cycles_now ();
	  take (&least[i].access, t1 - t0, r->overhead);
	  take (&least[i].dirty, t3 - t2, r->overhead);
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

static uint64_t
cost (const struct result *r)
{
  return r->access + r->dirty + r->stop + r->st.freeze;
}

static struct result
best_of_five (const struct options *o, const char *preset, bool stub)
{
  struct result best = { .st.freeze = UINT64_MAX };

  memset (least, 0xFF, ntrace * sizeof *least);
  for (int n = 0; n < 5; n++)
    {
      struct result r;
      replay (o, preset, false, stub, &r);
      if (r.st.freeze < best.st.freeze)
	best = r;
    }
  for (size_t i = 0; i < ntrace; i++)
    if (trace[i] == MFS_TRACE_STOP)
      best.stop += least[i].stop;
    else if (trace[i] != MFS_TRACE_START)
      {
	best.access += least[i].access;
	best.dirty += least[i].dirty;
      }
  return best;
}

/* A call that returns at once also takes time between two readings of the
   counter: the stub's.  "Net" is what is more than that.  */
static void
print_presets (const struct options *o)
{
  static const char *const presets[] = { "v2", "v3", "v4", "v5", "hurdle" };
  struct result stub = best_of_five (o, "hurdle", true);
  double c = (double) ncalls, empty = (double) (stub.access + stub.dirty);
  double v3[3] = { 0 };

  printf ("Cycles a call, each the best of 5 runs of %zu dirty calls in one"
	  " process:\n%-8s %8s %8s %10s %8s | %s\n%-8s %8s %8s %10s %8s |"
	  " %12s %10s %10s %10s %9s\n", ncalls, "", "", "", "", "",
	  "a committed block", "preset", "access", "dirty", "stop/call",
	  "copies", "dirty+freeze", "all", "net", "freeze max", "memory");
  printf ("%-8s %8.1f %8.1f\n", "stub", (double) stub.access / c,
	  (double) stub.dirty / c);
  for (size_t k = 0; k < sizeof presets / sizeof *presets; k++)
    {
      struct result r = best_of_five (o, presets[k], false);
      double b = (double) r.st.frozen_blocks;
      double block[3] = { (double) (r.dirty + r.st.freeze) / b,
	(double) cost (&r) / b, ((double) cost (&r) - empty) / b
      };
      if (!strcmp (presets[k], "v3"))
	memcpy (v3, block, sizeof v3);
      printf ("%-8s %8.1f %8.1f %10.1f %8llu | %12.0f %10.0f %10.0f"
	      " %7.3f ms %6.2f MB\n", presets[k], (double) r.access / c,
	      (double) r.dirty / c, (double) r.stop / c,
	      (unsigned long long) r.st.copies, block[0], block[1], block[2],
	      (double) r.st.freeze_max_ns / 1e6,
	      (double) r.st.memory_peak / 1e6);
      if (!strcmp (presets[k], "hurdle"))
	printf ("%.0f blocks committed in %llu commits, %.0f calls a block;"
		" of v3's cost per committed block hurdle has %.3f (dirty and"
		" freeze), %.3f (all), %.3f (net)\n", b,
		(unsigned long long) r.st.commits, c / b, block[0] / v3[0],
		block[1] / v3[1], block[2] / v3[2]);
    }
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

int
main (int argc, char **argv)
{
  struct options o;
  options_parse (&o, argc, argv);
  store = malloc (4096 * (size_t) BS);
  CHECK (store, "out of memory");
  record_trace (&o);
  least = malloc (ntrace * sizeof *least);
  CHECK (least, "out of memory");
  print_presets (&o);
  print_freeze (&o);
  print_bandwidth (&o);
  print_pause (&o);
  if (o.verbose)
    {
      print_counters (&o, "v3");
      print_counters (&o, "hurdle");
    }
  options_done (&o);
  free (store);
  free (trace);
  free (least);
  return 0;
}
