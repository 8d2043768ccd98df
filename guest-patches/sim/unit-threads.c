/* The interface with threads: group commit, daemons, page workers.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

struct waiter
{
  pthread_t thread;
  uint32_t n;
};

static void *
waiter_main (void *arg)
{
  struct waiter *w = arg;
  struct journal_handle *h;
  unsigned char data[1024];
  memset (data, (int) w->n, sizeof data);
  for (int k = 0; k < 20; k++)
    {
      EXPECT (journal_start (fs.j, 4, 0, &h), 0);
      EXPECT (journal_dirty_data (h, 3000 + w->n, data), 0);
      journal_set_sync (h);
      CHECK (journal_needs_sync (h), "sync");
      EXPECT (journal_stop (h), 0);
    }
  return NULL;
}

/* The commits that eight threads take which each want twenty.  */
static uint64_t
count_commits (bool daemons)
{
  struct waiter w[8];
  struct journal_stats st;

  mount_with ("hurdle", daemons);
  EXPECT (journal_quiesce (fs.j), 0);
  d.slow_us = 1000;
  for (uint32_t n = 0; n < 8; n++)
    {
      w[n].n = n;
      pthread_create (&w[n].thread, NULL, waiter_main, &w[n]);
    }
  for (uint32_t n = 0; n < 8; n++)
    pthread_join (w[n].thread, NULL);
  journal_get_stats (fs.j, &st);
  d.slow_us = 0;
  unmount ();
  return st.commits;
}

/* They share them: while one is being written, the rest gather in the next.
   A thread that the machine has no processor for comes too late, so there
   are five tries.  */
void
test_group_commit (bool daemons)
{
  uint64_t commits = 0;

  for (int k = 0; k < 5 && (commits < 20 || commits > 32); k++)
    commits = count_commits (daemons);
  CHECK (commits >= 20 && commits <= 32, "%llu commits for 160 waits",
	 (unsigned long long) commits);
}

/* A transaction that nobody waits for is committed when it is old.  */
void
test_interval (void)
{
  struct journal_handle *h;
  struct journal_stats st;
  unsigned char data[1024] = { 7 };

  mount_with ("hurdle", true);
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (journal_dirty_data (h, 3000, data), 0);
  EXPECT (journal_stop (h), 0);
  for (int k = 0; k < 200; k++)
    {
      journal_get_stats (fs.j, &st);
      if (st.commits)
	break;
      usleep (10000);
    }
  CHECK (st.commits == 1, "%llu commits", (unsigned long long) st.commits);
  unmount ();
}

static pthread_mutex_t hold_lock = PTHREAD_MUTEX_INITIALIZER;
static bool held_back;
static int synced;

/* Holds a write of HELD_BLOCK back until hold_lock is free.  */
static uint64_t held_block;

static int
held_writev (void *ctx, uint64_t block, uint32_t count,
	     const struct journal_iov *iov, unsigned iovcnt)
{
  if (block == held_block)
    {
      __atomic_store_n (&held_back, true, __ATOMIC_SEQ_CST);
      pthread_mutex_lock (&hold_lock);
      pthread_mutex_unlock (&hold_lock);
    }
  return simdisk_ops.writev (ctx, block, count, iov, iovcnt);
}

static void *
checkpoint_main (void *arg)
{
  (void) arg;
  EXPECT (journal_checkpoint (fs.j, 5000), 0);
  return NULL;
}

static void *
sync_main (void *arg)
{
  (void) arg;
  EXPECT (journal_sync (fs.j), 0);
  __atomic_store_n (&synced, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

/* A block is freed while its older copy is on its way home: it is not free
   before that write is down, or the write would land on its next owner's
   data.  */
void
test_freed_on_its_way_home (void)
{
  struct journal_handle *h;
  struct journal_ops held = simdisk_ops;
  pthread_t checkpoint, sync;
  unsigned char data[1024] = { 3 };

  mount_with ("hurdle", false);
  held_back = false;
  held_block = 3000;
  synced = 0;
  held.writev = held_writev;
  fs.j->ops = &held;
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (journal_dirty_data (h, 3000, data), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  pthread_mutex_lock (&hold_lock);
  pthread_create (&checkpoint, NULL, checkpoint_main, NULL);
  while (!__atomic_load_n (&held_back, __ATOMIC_SEQ_CST))
    usleep (1000);
  EXPECT (journal_start (fs.j, 4, 4, &h), 0);
  EXPECT (journal_free (h, 3000, 1, true), 0);
  EXPECT (journal_dirty_data (h, 3001, data), 0);
  EXPECT (journal_stop (h), 0);
  pthread_create (&sync, NULL, sync_main, NULL);
  usleep (200000);
  CHECK (!__atomic_load_n (&synced, __ATOMIC_SEQ_CST)
	 && journal_busy (fs.j, 3000), "free before its old copy is down");
  pthread_mutex_unlock (&hold_lock);
  pthread_join (checkpoint, NULL);
  pthread_join (sync, NULL);
  CHECK (!journal_busy (fs.j, 3000), "still busy");
  fs.j->ops = &simdisk_ops;
  unmount ();
}

/* Who waits for a transaction of long ago, so long that its number looks like
   one to come, does not wait for the commit that is under way.  */
void
test_number_of_the_past (void)
{
  struct journal_handle *h;
  struct journal_ops held = simdisk_ops;
  pthread_t sync;
  unsigned char data[1024] = { 3 };
  uint32_t run;

  mount_with ("hurdle", false);
  held_back = false;
  held.writev = held_writev;
  EXPECT (jlog_map_open (fs.j, fs.j->head, &held_block, &run), 0);
  fs.j->ops = &held;
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (journal_dirty_data (h, 3000, data), 0);
  EXPECT (journal_stop (h), 0);
  pthread_mutex_lock (&hold_lock);
  pthread_create (&sync, NULL, sync_main, NULL);
  while (!__atomic_load_n (&held_back, __ATOMIC_SEQ_CST))
    usleep (1000);
  EXPECT (journal_force (fs.j, fs.j->committed + 0x40000000u), 0);
  pthread_mutex_unlock (&hold_lock);
  pthread_join (sync, NULL);
  fs.j->ops = &simdisk_ops;
  unmount ();
}

static unsigned longest_wait;
static struct journal *aging;

static void
noted_wait (void *ctx, void *cond, void *mutex, unsigned ms)
{
  if (aging && aging->running && aging->commit_thread
      && pthread_equal (pthread_self (), *(pthread_t *) aging->commit_thread)
      && ms > longest_wait)
    longest_wait = ms;
  simdisk_ops.cond_wait (ctx, cond, mutex, ms);
}

/* The commit thread sleeps no longer than until the transaction is old.  */
void
test_age (void)
{
  struct journal_handle *h;
  struct journal_ops noted = simdisk_ops;
  struct journal_params p;
  struct journal_extent log[64];
  struct journal *j;
  unsigned wait = 0;

  make_image (&d, 1024, o.scratch);
  d.time_ns = 1700000000u * (uint64_t) 1000000000u;
  mfs_params (&p, &d, log, 64);
  noted.cond_wait = noted_wait;
  p.ops = &noted;
  EXPECT (journal_preset (&p.settings, "hurdle"), 0);
  p.settings.commit_interval_ms = 20000;
  EXPECT (journal_open (&p, &j), 0);
  EXPECT (journal_start (j, 4, 0, &h), 0);
  jlock (j);
  d.time_ns += 15 * (uint64_t) 1000000000u;
  aging = j;
  jwake (j, j->work);
  junlock (j);
  for (int k = 0; k < 500 && !wait; k++)
    {
      usleep (10000);
      jlock (j);
      wait = longest_wait;
      junlock (j);
    }
  CHECK (wait > 0 && wait <= 5001, "a sleep of %u ms, with 5 s to go", wait);
  jlock (j);
  aging = NULL;
  junlock (j);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_close (j), 0);
  simdisk_free (&d);
}

static bool fault_armed;

/* Before the log's superblock is locked, a fault comes in and is made
   durable.  */
static void
fault_lock (void *ctx, void *mutex)
{
  if (fault_armed && mutex == fs.j->sb_lock)
    {
      struct journal_handle *h;
      unsigned char data[1024] = { 9 };
      fault_armed = false;
      EXPECT (journal_start_worker (fs.j, NULL, 2, 0, &h), 0);
      EXPECT (journal_dirty_data (h, 3000, data), 0);
      EXPECT (journal_stop (h), 0);
      EXPECT (journal_sync (fs.j), 0);
    }
  simdisk_ops.mutex_lock (ctx, mutex);
}

/* A log in which something was committed is not marked empty, however late
   it came.  */
void
test_fault_at_quiesce (void)
{
  struct journal_handle *h;
  struct journal_ops faulting = simdisk_ops;
  struct journal_recovery r;
  unsigned char data[1024] = { 1 };

  mount_with ("hurdle", false);
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (journal_dirty_data (h, 3001, data), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  EXPECT (journal_checkpoint (fs.j, UINT32_MAX), 0);
  faulting.mutex_lock = fault_lock;
  fault_armed = true;
  fs.j->ops = &faulting;
  EXPECT (journal_quiesce (fs.j), EBUSY);
  CHECK (!fault_armed && !journal_is_empty (fs.j), "no fault came");
  fs.j->ops = &simdisk_ops;
  power_cut ();
  EXPECT (mfs_recover (&d, &r), 0);
  CHECK (d.now[3000 * 1024] == 9, "what was durable is lost");
  simdisk_free (&d);
}

#define FILLERS 4
#define FILLER_ROUNDS 40

/* Fill transactions to the brim, without a sync: others commit for it, and
   make room.  */
static void *
filler_main (void *arg)
{
  struct waiter *w = arg;
  unsigned char data[1024];

  for (uint32_t k = 0; k < FILLER_ROUNDS; k++)
    {
      struct journal_handle *h;
      memset (data, (int) k, sizeof data);
      EXPECT (journal_start (fs.j, 100, 0, &h), 0);
      for (uint32_t b = 0; b < 100; b++)
	EXPECT (journal_dirty_data (h, 3000 + w->n * 200 + k % 2 * 100 + b,
				    data), 0);
      EXPECT (journal_stop (h), 0);
    }
  return NULL;
}

/* Threads that want more than there is, of a transaction and of the log: they
   wait for commits and for blocks to go home, and all go on.  */
void
test_full_log (bool daemons)
{
  struct waiter w[FILLERS];
  struct journal_stats st;

  mount_with ("hurdle", daemons);
  /* Nothing is done because of its age.  */
  jlock (fs.j);
  fs.j->set.commit_interval_ms = 3600000;
  junlock (fs.j);
  /* The way home is slower than the log.  */
  d.slower_from = 3000;
  d.slower_us = 5000;
  alarm (60);
  for (uint32_t n = 0; n < FILLERS; n++)
    {
      w[n].n = n;
      pthread_create (&w[n].thread, NULL, filler_main, &w[n]);
    }
  for (uint32_t n = 0; n < FILLERS; n++)
    pthread_join (w[n].thread, NULL);
  alarm (0);
  EXPECT (journal_quiesce (fs.j), 0);
  d.slower_us = 0;
  journal_get_stats (fs.j, &st);
  CHECK (st.commits >= FILLERS * FILLER_ROUNDS / 2 && st.tail_updates > 10
	 && st.pause_max_ns > 0, "%llu commits, the tail moved %llu times",
	 (unsigned long long) st.commits,
	 (unsigned long long) st.tail_updates);
  for (uint32_t b = 0; b < FILLERS * 200; b++)
    CHECK (d.now[(3000 + b) * 1024] == FILLER_ROUNDS - 1 - (b / 100 + 1) % 2,
	   "block %u is %u", 3000 + b, d.now[(3000 + b) * 1024]);
  unmount ();
}
