/* Threads: operations, page workers and daemons at once.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "options.h"
#include "states.h"

/* What is tested, besides that nothing hangs and no invariant breaks:

   - Whatever a thread was told is durable is there in every later crash
     state: its files carry a number each.
   - Torn copies.  Each thread has an inode of its own, all in one block, and
     keeps its uid and gid equal, in two writes in one handle.  A log that
     was copied in the middle shows them different.
   - A thread with a handle waits for a pager worker while others commit.
   - The lock order, by lockorder.c.  */

#define MAX_THREADS 8
#define MAX_FILES 4096

struct actor
{
  struct mfs *fs;
  const struct options *o;
  unsigned n;
  uint32_t dir, twin;		/* Inodes.  */
  pthread_t thread;
  uint32_t files;		/* Durable files made.  */
  size_t durable_at[MAX_FILES];
};

/* The pager: one thread that does what it is asked, for who waits.  */
struct pager
{
  struct mfs *fs;
  pthread_mutex_t lock;
  pthread_cond_t cond;
  pthread_t thread;
  bool busy, done, stop;
  struct journal_handle *parent;
  uint32_t ino, index;
  int err;
  unsigned long served, own_credits, refused;
};

static struct pager pager;
static struct actor actors[MAX_THREADS];

static void
must (int err, const char *what, unsigned n)
{
  CHECK (err == 0, "thread %u: %s: %s", n, what, strerror (err));
}

/* The same for what fails when the disk dies: then the thread ends.  */
static bool
failed (const struct actor *a, int err, const char *what)
{
  if (!a->o->fail)
    must (err, what, a->n);
  return err != 0;
}

/* A fault: give file INO block INDEX, in a handle of the worker's own.  */
static int
serve_fault (struct pager *p)
{
  struct mfs *fs = p->fs;
  struct journal_handle *h, *parent = p->parent;
  struct inode i;
  uint32_t block;
  bool fresh;
  unsigned char buf[65536];

  /* Every other one has no parent, as a fault of a mapped file.  */
  int err = EAGAIN;
  if (p->served++ % 2)
    {
      err = journal_start_worker (fs->j, NULL, 8, 0, &h);
      if (err == 0)
	p->own_credits++;
      else if (err == EAGAIN)
	p->refused++;
    }
  if (err == EAGAIN)
    err = journal_start_worker (fs->j, parent, 8, 0, &h);
  if (err)
    return err;
  err = inode_get (fs, p->ino, &i);
  if (!err)
    err = bmap (fs, h, &i, p->index, true, false, &block, &fresh);
  if (!err)
    {
      data_fill (buf, fs->g.bs, i.generation, p->index, 1);
      err = page_data_write (fs, p->ino, p->index, block, buf);
    }
  if (!err && fresh)
    err = journal_order (h, p->ino, p->index, 1);
  if ((p->index + 1) * fs->g.bs > i.size)
    i.size = (p->index + 1) * fs->g.bs;
  if (!err)
    err = inode_put (fs, h, p->ino, &i);
  int e = journal_stop (h);
  return err ? err : e;
}

static void *
pager_main (void *arg)
{
  struct pager *p = arg;
  pthread_mutex_lock (&p->lock);
  while (!p->stop)
    {
      if (!p->busy)
	{
	  pthread_cond_wait (&p->cond, &p->lock);
	  continue;
	}
      pthread_mutex_unlock (&p->lock);
      int err = serve_fault (p);
      pthread_mutex_lock (&p->lock);
      p->err = err;
      p->busy = false;
      p->done = true;
      pthread_cond_broadcast (&p->cond);
    }
  pthread_mutex_unlock (&p->lock);
  return NULL;
}

/* Have the pager do it, with a handle and a lock held.  */
static int
fault (struct journal_handle *h, uint32_t ino, uint32_t index)
{
  struct pager *p = &pager;
  pthread_mutex_lock (&p->lock);
  while (p->busy || p->done)
    pthread_cond_wait (&p->cond, &p->lock);
  p->parent = h;
  p->ino = ino;
  p->index = index;
  p->busy = true;
  pthread_cond_broadcast (&p->cond);
  while (!p->done)
    pthread_cond_wait (&p->cond, &p->lock);
  p->done = false;
  int err = p->err;
  pthread_cond_broadcast (&p->cond);
  pthread_mutex_unlock (&p->lock);
  return err;
}

static bool
fault_op (struct actor *a, struct rng *r, uint32_t ino)
{
  struct journal_handle *h;
  if (failed (a, journal_start (a->fs->j, 24, 4, &h), "start"))
    return false;
  pthread_mutex_lock (&a->fs->nodes[ino].lock);
  bool bad = failed (a, fault (h, ino, rng_below (r, 8)), "a fault");
  pthread_mutex_unlock (&a->fs->nodes[ino].lock);
  if (bad)
    journal_abort (a->fs->j, EIO, "a fault failed");
  return !failed (a, journal_stop (h), "stop") && !bad;
}

/* The same value in two places, in two steps.  */
static bool
twin_op (struct actor *a, uint32_t value)
{
  struct journal_handle *h;
  struct inode i;
  if (failed (a, journal_start (a->fs->j, 24, 4, &h), "start"))
    return false;
  int err = inode_get (a->fs, a->twin, &i);
  i.uid = (uint16_t) value;
  if (!err)
    err = inode_put (a->fs, h, a->twin, &i);
  if (value % 8 == 0)
    usleep (50);
  i.gid = (uint16_t) value;
  if (!err)
    err = inode_put (a->fs, h, a->twin, &i);
  if (err)
    journal_abort (a->fs->j, err, "half of it is done");
  int e = journal_stop (h);
  return !failed (a, err ? err : e, "twin");
}

/* All threads together; the file system has 256 inodes.  */
#define DURABLE_FILES 160

/* A file with a number, durable when this returns.  */
static bool
durable_op (struct actor *a)
{
  char name[32];
  uint32_t ino;
  struct op_args args = { .dir = a->dir, .name = name, .mode = 0600,
    .offset = (a->n + 1) << 16 | a->files
  };
  if (a->files == MAX_FILES || a->files >= DURABLE_FILES / a->o->threads)
    return true;
  snprintf (name, sizeof name, "d%u", a->files);
  if (failed (a, mfs_create (a->fs, &args, &ino), "create"))
    return false;
  args.dir = ino;
  args.offset = 0;
  args.length = 1;
  args.sync = a->files % 2;
  if (failed (a, mfs_write (a->fs, &args, 1), "write") || mfs_sync_failed
      || (!args.sync && failed (a, mfs_fsync (a->fs, ino), "fsync")))
    return false;
  pthread_mutex_lock (&a->fs->disk->lock);
  a->durable_at[a->files++] = a->fs->disk->nrecords;
  pthread_mutex_unlock (&a->fs->disk->lock);
  return true;
}

static bool
churn (struct actor *a, struct rng *r)
{
  char name[32], name2[32];
  uint32_t ino;
  struct op_args args = { .dir = rng_below (r, 3) ? a->dir : ROOT_INO,
    .name = name, .name2 = name2, .mode = 0600,
    .offset = (a->n + 1) << 24 | rng_below (r, 1000000)
  };
  snprintf (name, sizeof name, "c%u", rng_below (r, 6));
  snprintf (name2, sizeof name2, "c%u", rng_below (r, 6));
  uint32_t what = rng_below (r, 10);
  int err = 0;
  if (what < 4)
    {
      err = mfs_create (a->fs, &args, &ino);
      if (!err && args.dir == a->dir)
	{
	  args.dir = ino;
	  args.offset = 0;
	  args.length = 1 + rng_below (r, 5);
	  err = mfs_write (a->fs, &args, 1);
	}
      if (!err && args.dir == ino && rng_below (r, 2))
	return fault_op (a, r, ino);
    }
  else if (what < 7)
    err = mfs_unlink (a->fs, &args, false);
  else if (what < 8)
    err = mfs_mkdir (a->fs, &args, &ino);
  else if (what < 9)
    err = mfs_rmdir (a->fs, &args);
  else
    {
      args.dir2 = args.dir;
      err = mfs_rename (a->fs, &args);
    }
  return err == EEXIST || err == ENOENT || err == EISDIR || err == ENOTDIR
    || err == ENOTEMPTY || !failed (a, err, "an operation");
}

static void *
actor_main (void *arg)
{
  struct actor *a = arg;
  struct rng r = { a->o->seed * 1000 + a->n };
  bool alive = true;
  for (uint32_t k = 0; k < a->o->ops * 4 && alive; k++)
    {
      alive = twin_op (a, k) && churn (a, &r);
      if (alive && rng_below (&r, 12) == 0)
	alive = durable_op (a);
      if (alive && rng_below (&r, 40) == 0)
	alive = !failed (a, mfs_sync (a->fs), "sync");
      /* Write all home while others commit.  */
      if (alive && rng_below (&r, 30) == 0)
	alive = !failed (a, journal_checkpoint (a->fs->j, UINT32_MAX),
			 "checkpoint");
    }
  return NULL;
}

/* The oracle.  */

struct found
{
  const struct options *o;
  struct simdisk *d;
  struct geometry g;
  char text[100];
  bool there[MAX_THREADS][MAX_FILES];
};

static void
note_file (void *arg, uint32_t generation, uint32_t index, uint32_t version)
{
  struct found *f = arg;
  uint32_t n = (generation >> 16) - 1;
  (void) version;
  if (n < f->o->threads && index == 0)
    f->there[n][generation & 0xffff] = true;
}

static const char *
judge_more (void *arg, size_t record)
{
  struct found *f = arg;
  struct tree t;

  memset (f->there, 0, sizeof f->there);
  check_image (f->d, &t, note_file, f);
  for (unsigned n = 0; n < f->o->threads; n++)
    {
      struct inode i;
      inode_decode (&i, f->d->now + (size_t) f->g.inode_table * f->g.bs
		    + (actors[n].twin - 1) * INODE_BYTES);
      if (i.uid != i.gid)
	{
	  snprintf (f->text, sizeof f->text, "inode %u was torn: %u, %u",
		    actors[n].twin, i.uid, i.gid);
	  return f->text;
	}
      for (uint32_t k = 0; k < actors[n].files; k++)
	if (actors[n].durable_at[k] <= record && !f->there[n][k])
	  {
	    snprintf (f->text, sizeof f->text,
		      "file %u of thread %u was durable and is gone", k, n);
	    return f->text;
	  }
    }
  return NULL;
}

static void
set_up (struct mfs *fs, const struct options *o)
{
  for (unsigned n = 0; n < o->threads; n++)
    {
      char name[16];
      struct op_args a = { .dir = ROOT_INO, .name = name, .mode = 0755,
	.offset = 1 + n
      };
      memset (&actors[n], 0, sizeof actors[n]);
      actors[n].fs = fs;
      actors[n].o = o;
      actors[n].n = n;
      snprintf (name, sizeof name, "dir%u", n);
      must (mfs_mkdir (fs, &a, &actors[n].dir), "mkdir", n);
    }
  for (unsigned n = 0; n < o->threads; n++)
    {
      char name[16];
      struct op_args a = { .dir = ROOT_INO, .name = name, .mode = 0644,
	.offset = 100 + n
      };
      snprintf (name, sizeof name, "twin%u", n);
      must (mfs_create (fs, &a, &actors[n].twin), "create", n);
    }
  must (mfs_sync (fs), "sync", 0);
}

static void
run_threads (struct mfs *fs, const struct options *o)
{
  memset (&pager, 0, sizeof pager);
  pager.fs = fs;
  pthread_mutex_init (&pager.lock, NULL);
  pthread_cond_init (&pager.cond, NULL);
  pthread_create (&pager.thread, NULL, pager_main, &pager);
  for (unsigned n = 0; n < o->threads; n++)
    pthread_create (&actors[n].thread, NULL, actor_main, &actors[n]);
  for (unsigned n = 0; n < o->threads; n++)
    pthread_join (actors[n].thread, NULL);
  pthread_mutex_lock (&pager.lock);
  pager.stop = true;
  pthread_cond_broadcast (&pager.cond);
  pthread_mutex_unlock (&pager.lock);
  pthread_join (pager.thread, NULL);
  pthread_mutex_destroy (&pager.lock);
  pthread_cond_destroy (&pager.cond);
}

int
main (int argc, char **argv)
{
  struct options o;
  struct mfs fs;
  struct simdisk d, start;
  struct journal_stats st;
  struct tree t;

  options_parse (&o, argc, argv);
  CHECK (o.threads > 0 && o.threads <= MAX_THREADS, "1 to 8 threads");
  make_image (&d, o.block_size, o.scratch);
  must (mfs_mount (&fs, &d, &o.settings, o.seed), "mount", 0);
  fs.threads = true;
  fs.pressure = o.pressure;
  set_up (&fs, &o);
  simdisk_init (&start, d.block_size, d.blocks);
  memcpy (start.now, d.now, d.blocks * d.block_size);
  d.recording = true;
  /* So that commits, checkpoints and operations overlap.  */
  d.slow_us = 100;
  if (o.fail)
    {
      d.fail_io_after = o.fail;
      d.sticky = true;
    }
  run_threads (&fs, &o);
  d.recording = false;
  d.slow_us = 0;
  journal_get_stats (fs.j, &st);
  CHECK (st.late_access == 0, "%llu blocks changed unannounced",
	 (unsigned long long) st.late_access);
  CHECK (!o.fail || d.io_failed, "the disk did not die");
  simdisk_no_faults (&d);
  int err = mfs_unmount (&fs);
  if (!o.fail)
    {
      must (err, "unmount", 0);
      check_image (&d, &t, NULL, NULL);
      CHECK (!t.problem[0], "after the unmount: %s", t.problem);
    }

  struct found found = { .o = &o, .d = &start };
  struct campaign c = {
    .disk = &start, .records = d.records, .nrecords = d.nrecords,
    .seed = o.seed, .subsets = o.subsets, .about = o.states,
    .e2fsck_every = o.e2fsck_every, .judge_more = judge_more,
    .judge_arg = &found, .scratch = o.scratch
  };
  geometry_read (&found.g, start.now, start.block_size);
  campaign_run (&c);
  printf ("threads: %u threads, %lu states sound, %u durable files there;"
	  " %llu commits, %lu faults served (%lu on kept credits, %lu"
	  " refused), %llu pages held, %llu served, longest pause %llu us\n",
	  o.threads, c.states, actors[0].files,
	  (unsigned long long) st.commits, pager.served, pager.own_credits,
	  pager.refused, (unsigned long long) st.writebacks_held,
	  (unsigned long long) st.reads_served,
	  (unsigned long long) st.pause_max_ns / 1000);
  simdisk_free (&d);
  simdisk_free (&start);
  options_done (&o);
  return 0;
}
