/* Page workers.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

struct worker
{
  struct journal_handle *parent;
  int state;
};

static void *
committer_main (void *arg)
{
  (void) arg;
  EXPECT (journal_sync (fs.j), 0);
  return NULL;
}

static void *
worker_main (void *arg)
{
  struct worker *w = arg;
  struct journal_handle *h;
  unsigned char data[1024] = { 9 };
  if (w->parent)
    EXPECT (journal_start_worker (fs.j, w->parent, 100, 0, &h), EAGAIN);
  EXPECT (journal_start_worker (fs.j, NULL, 2000, 0, &h), EAGAIN);
  EXPECT (journal_start_worker (fs.j, w->parent, 2, 0, &h), 0);
  EXPECT (journal_dirty_data (h, w->parent ? 3001 : 3002, data), 0);
  EXPECT (journal_stop (h), 0);
  return NULL;
}

/* While a commit waits for a handle, a page worker that the handle waits
   for gets in, with the handle's credits or with those kept back.  */
void
test_worker (void)
{
  struct journal_handle *h;
  pthread_t committer, worker;
  struct worker w = { 0 };

  mount_with ("hurdle", false);
  EXPECT (journal_start (fs.j, 10, 0, &h), 0);
  EXPECT (journal_access (h, 3000), 0);
  EXPECT (journal_dirty (h, 3000), 0);
  pthread_create (&committer, NULL, committer_main, NULL);
  for (enum jtxn_state state = JTXN_RUNNING; state != JTXN_LOCKED;)
    {
      usleep (1000);
      jlock (fs.j);
      state = fs.j->running->state;
      junlock (fs.j);
    }
  for (int k = 0; k < 2; k++)
    {
      w.parent = k ? h : NULL;
      pthread_create (&worker, NULL, worker_main, &w);
      pthread_join (worker, NULL);
    }
  CHECK (journal_handle_credits (h) == 8, "%u credits are left",
	 journal_handle_credits (h));
  EXPECT (journal_stop (h), 0);
  pthread_join (committer, NULL);
  EXPECT (journal_quiesce (fs.j), 0);
  CHECK (d.now[3001 * 1024] == 9 && d.now[3002 * 1024] == 9,
	 "the workers' blocks");
  unmount ();
}

/* Faults of mapped files, with nobody else about: the worker opens the
   transaction, and its wish for a commit is left to others.  They fill the
   log, and find room in it without a commit of theirs.  */
void
test_worker_alone (bool daemons)
{
  struct journal_handle *h;
  struct journal_stats st;
  unsigned char data[1024] = { 2 };

  mount_with ("hurdle", daemons);
  /* Sums that do not fit a number are no small sums.  */
  EXPECT (journal_start_worker (fs.j, NULL, UINT_MAX - 20, 0, &h), EAGAIN);
  EXPECT (journal_start_worker (fs.j, NULL, 0, UINT_MAX, &h), EAGAIN);
  for (int k = 0; k < 120; k++)
    {
      EXPECT (journal_start_worker (fs.j, NULL, 12, 0, &h), 0);
      for (uint32_t b = 0; b < 12; b++)
	EXPECT (journal_dirty_data (h, 3000 + b, data), 0);
      journal_set_sync (h);
      EXPECT (journal_stop (h), 0);
      if (k % 3 == 0)
	journal_request_commit (fs.j);
      if (k % 2)
	EXPECT (journal_sync (fs.j), 0);
    }
  journal_get_stats (fs.j, &st);
  CHECK (st.worker_starts == 120 && st.commits >= 40, "%llu commits",
	 (unsigned long long) st.commits);
  /* A transaction in which nothing happened takes no place in the log.  */
  uint64_t blocks = st.log_blocks;
  EXPECT (journal_sync (fs.j), 0);
  journal_get_stats (fs.j, &st);
  blocks = st.log_blocks;
  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  EXPECT (journal_access (h, 3000), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  journal_get_stats (fs.j, &st);
  CHECK (st.empty_commits >= 1 && st.log_blocks == blocks, "empty commits");
  unmount ();
}

/* Faults alone fill transaction after transaction: they ask for the commits
   that make room for them, which nobody else wants.  */
void
test_worker_asks (void)
{
  struct journal_handle *h;
  struct journal_stats st;
  unsigned char data[1024] = { 3 };
  int tries = 0;

  mount_with ("hurdle", true);
  jlock (fs.j);
  fs.j->set.commit_interval_ms = 3600000;
  junlock (fs.j);
  for (uint32_t k = 0; k < 100; k++)
    {
      int err;
      while ((err = journal_start_worker (fs.j, NULL, 12, 0, &h)) == EAGAIN
	     && ++tries < 2000)
	usleep (1000);
      EXPECT (err, 0);
      if (err)
	break;
      for (uint32_t b = 0; b < 12; b++)
	EXPECT (journal_dirty_data (h, 3000 + (12 * k + b) % 1000, data), 0);
      EXPECT (journal_stop (h), 0);
    }
  journal_get_stats (fs.j, &st);
  CHECK (st.commits >= 4, "%llu commits", (unsigned long long) st.commits);
  unmount ();
}

/* A thread's worker, in a thread of its own: a handle belongs to one.  */
struct attempt
{
  pthread_t thread;
  struct journal_handle *parent;
  unsigned credits, revokes, dirty;
  bool sync;
  int err;
  journal_tid_t tid;
  int done;
};

static void *
attempt_main (void *arg)
{
  struct attempt *a = arg;
  struct journal_handle *h;
  unsigned char data[1024] = { 9 };

  a->err = journal_start_worker (fs.j, a->parent, a->credits, a->revokes, &h);
  if (!a->err)
    {
      a->tid = journal_handle_tid (h);
      for (unsigned k = 0; k < a->dirty; k++)
	EXPECT (journal_dirty_data (h, 3200 + k, data), 0);
      if (a->sync)
	journal_set_sync (h);
      EXPECT (journal_stop (h), 0);
    }
  __atomic_store_n (&a->done, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static int
attempt (struct attempt a)
{
  pthread_create (&a.thread, NULL, attempt_main, &a);
  pthread_join (a.thread, NULL);
  return a.err;
}

static bool transaction_fails;

static void *
failing_alloc (void *ctx, size_t size)
{
  return transaction_fails && size == sizeof (struct jtxn) ? NULL
    : simdisk_ops.alloc (ctx, size);
}

/* What a worker may take: of a full transaction what is kept back for it, to
   the last, and what it did not use comes back.  */
void
test_worker_credits (void)
{
  struct journal_handle *h;
  struct journal_limits l;

  mount_with ("hurdle", false);
  journal_get_limits (fs.j, &l);
  unsigned kept = fs.j->set.worker_credits;
  EXPECT (journal_start (fs.j, l.max_handle, 0, &h), 0);
  while (journal_extend (h, 1, 0) == 0)
    continue;
  struct jtxn *t = fs.j->running;
  CHECK (t->worker_left == kept && kept > 20, "%u kept back", kept);
  EXPECT (attempt ((struct attempt) { .credits = kept + 1 }), EAGAIN);
  EXPECT (attempt ((struct attempt) { .credits = 1, .revokes = 1 }), EAGAIN);
  EXPECT (attempt ((struct attempt) { .credits = kept }), 0);
  CHECK (t->worker_left == kept, "%u of %u came back", t->worker_left, kept);
  EXPECT (attempt ((struct attempt) { .credits = 12, .dirty = 9 }), 0);
  CHECK (t->worker_left == kept - 9, "%u of %u are left", t->worker_left,
	 kept);
  EXPECT (attempt ((struct attempt) { .credits = kept - 8 }), EAGAIN);

  /* With a parent: its credits, its revokes, its sync.  */
  unsigned all = journal_handle_credits (h);
  EXPECT (attempt ((struct attempt) { .parent = h, .credits = 9,
				      .revokes = 1 }), EAGAIN);
  EXPECT (attempt ((struct attempt) { .parent = h, .credits = all + 1 }),
	  EAGAIN);
  CHECK (!journal_needs_sync (h), "sync");
  /* They are in the transaction already.  */
  EXPECT (attempt ((struct attempt) { .parent = h, .credits = 20,
				      .dirty = 9, .sync = true }), 0);
  CHECK (journal_handle_credits (h) == all && journal_needs_sync (h),
	 "%u of %u credits came back", journal_handle_credits (h), all);
  EXPECT (journal_stop (h), 0);
  CHECK (!fs.j->running, "the parent's stop did not commit");
  unmount ();
}

/* A worker without memory, and one whose parent's restart failed.  */
void
test_worker_fails (void)
{
  struct journal_handle *h;
  struct journal_limits l;
  struct journal_ops ops = simdisk_ops;
  unsigned char data[1024] = { 1 };

  mount_with ("hurdle", false);
  ops.alloc = failing_alloc;
  fs.j->ops = fs.j->mem.ops = &ops;
  journal_get_limits (fs.j, &l);
  transaction_fails = true;
  EXPECT (attempt ((struct attempt) { .credits = 2 }), ENOMEM);
  EXPECT (journal_start (fs.j, 2, 0, &h), ENOMEM);
  transaction_fails = false;
  EXPECT (journal_start (fs.j, l.max_handle, 0, &h), 0);
  for (uint32_t k = 0; k < l.max_handle; k++)
    EXPECT (journal_dirty_data (h, 3000 + k, data), 0);
  transaction_fails = true;
  EXPECT (journal_restart (h, l.max_handle, 0), ENOMEM);
  transaction_fails = false;
  EXPECT (attempt ((struct attempt) { .parent = h }), EROFS);
  EXPECT (journal_stop (h), EROFS);
  CHECK (!journal_error (fs.j), "no reason to give up");
  unmount ();
}

static int (*real_copy) (void *fs, uint64_t block, void *buf);
static pthread_mutex_t copy_gate = PTHREAD_MUTEX_INITIALIZER;
static int copying;

static int
held_copy (void *arg, uint64_t block, void *buf)
{
  __atomic_store_n (&copying, 1, __ATOMIC_SEQ_CST);
  pthread_mutex_lock (&copy_gate);
  pthread_mutex_unlock (&copy_gate);
  return real_copy (arg, block, buf);
}

static void *
one_operation (void *arg)
{
  struct journal_handle *h;
  unsigned char byte = 6;

  EXPECT (journal_start (fs.j, 4, 0, &h), 0);
  *(journal_tid_t *) arg = journal_handle_tid (h);
  EXPECT (page_meta_write (&fs, h, 3000, 9, &byte, 1), 0);
  EXPECT (journal_stop (h), 0);
  EXPECT (journal_sync (fs.j), 0);
  return NULL;
}

/* While blocks are copied no worker comes in: it waits, and goes on in the
   next transaction after a freeze, in the same after a quiescent copy.  */
void
test_worker_waits (const char *preset)
{
  struct attempt a = { .credits = 2, .dirty = 1 };
  pthread_t operation;
  journal_tid_t tid = 0;

  mount_with (preset, false);
  bool quiescent = fs.j->set.copy == JOURNAL_COPY_QUIESCE;
  real_copy = d.copy_block;
  copying = 0;
  d.copy_block = held_copy;
  pthread_mutex_lock (&copy_gate);
  pthread_create (&operation, NULL, one_operation, &tid);
  while (!__atomic_load_n (&copying, __ATOMIC_SEQ_CST))
    usleep (1000);
  pthread_create (&a.thread, NULL, attempt_main, &a);
  usleep (100000);
  CHECK (!__atomic_load_n (&a.done, __ATOMIC_SEQ_CST),
	 "%s: a worker came in between", preset);
  pthread_mutex_unlock (&copy_gate);
  pthread_join (a.thread, NULL);
  pthread_join (operation, NULL);
  CHECK (a.err == 0 && (quiescent ? a.tid == tid || a.tid == tid + 1
			: a.tid == tid + 1),
	 "%s: %d, transaction %u after %u", preset, a.err, a.tid, tid);
  d.copy_block = real_copy;
  unmount ();
}
