/* The journal engine: its two threads, and waiting for a commit.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* The commit thread commits when someone asks and when the running
   transaction is older than the interval.  The checkpoint thread frees log
   space when someone asks and when less than half is free.  They are two
   because a commit must go on while blocks are written home, and because
   neither ever waits for the other (C5, I7).  */

/* Milliseconds until the running transaction is old.  A clock that went back
   makes it old.  */
static unsigned
until_old (struct journal *j)
{
  uint64_t now = j->ops->now (j->ctx), started = j->running->started_ns;
  uint64_t age = (now - started) / 1000000;
  return now < started || age >= j->set.commit_interval_ms ? 0
    : j->set.commit_interval_ms - (unsigned) age;
}

static void *
commit_daemon (void *arg)
{
  struct journal *j = arg;

  jlock (j);
  while (!j->stopping)
    {
      bool open = j->running && !j->err;
      unsigned sleep = !open ? j->set.commit_interval_ms
	: j->commit_wanted ? 0 : until_old (j);
      if (sleep == 0)
	jcommit_lead (j);
      else
	{
	  j->commit_wanted = false;
	  jwait (j, j->work, sleep);
	}
    }
  junlock (j);
  return NULL;
}

static void *
checkpoint_daemon (void *arg)
{
  struct journal *j = arg;

  jlock (j);
  while (!j->stopping)
    {
      uint32_t want = j->space_wanted;
      j->space_wanted = 0;
      if (want < j->size / 2)
	want = j->size / 2;
      if (!j->err && j->free < want && !jlist_empty (&j->done))
	jcheckpoint_run (j, want);
      else
	{
	  /* Whoever waits for space looks again.  */
	  jwake (j, j->done_cond);
	  jwait (j, j->work, j->set.commit_interval_ms);
	}
    }
  junlock (j);
  return NULL;
}

int
jdaemons_start (struct journal *j)
{
  if (!j->set.daemons)
    return 0;
  int err = j->ops->thread_start (j->ctx, commit_daemon, j,
				  &j->commit_thread);
  if (err)
    return err;
  err = j->ops->thread_start (j->ctx, checkpoint_daemon, j,
			      &j->checkpoint_thread);
  if (err)
    jdaemons_stop (j);
  return err;
}

void
jdaemons_stop (struct journal *j)
{
  jlock (j);
  j->stopping = true;
  jwake (j, j->work);
  junlock (j);
  if (j->commit_thread)
    j->ops->thread_join (j->ctx, j->commit_thread);
  if (j->checkpoint_thread)
    j->ops->thread_join (j->ctx, j->checkpoint_thread);
  j->commit_thread = j->checkpoint_thread = NULL;
}

journal_tid_t
journal_running_tid (struct journal *j)
{
  jlock (j);
  journal_tid_t tid = j->running ? j->running->tid : j->next_tid;
  junlock (j);
  return tid;
}

int
journal_force (struct journal *j, journal_tid_t tid)
{
  jlock (j);
  int err = jcommit_wait (j, tid);
  junlock (j);
  return err;
}

/* A commit that begins after the caller's writes covers them with its
   flushes.  One that has begun may be past its flushes, or have none.  */
int
journal_fsync (struct journal *j, journal_tid_t tid)
{
  jlock (j);
  bool covered = j->running && j->running->tid == tid
    && j->running->state == JTXN_RUNNING;
  int err = jcommit_wait (j, tid);
  junlock (j);
  if (!err && !covered)
    err = j->ops->flush (j->ctx);
  return err;
}

int
journal_sync (struct journal *j)
{
  return journal_fsync (j, journal_running_tid (j));
}

void
journal_request_commit (struct journal *j)
{
  jlock (j);
  j->commit_wanted = true;
  if (j->running)
    j->running->wanted = true;
  jwake (j, j->work);
  junlock (j);
}

int
journal_checkpoint (struct journal *j, uint32_t want)
{
  jlock (j);
  int err = jcheckpoint_run (j, want);
  junlock (j);
  return err;
}

/* With the lock held.  */
static bool
nothing_left (const struct journal *j)
{
  return !j->running && !j->committing && jlist_empty (&j->done);
}

bool
journal_is_empty (struct journal *j)
{
  j->ops->mutex_lock (j->ctx, j->sb_lock);
  jlock (j);
  bool empty = nothing_left (j) && j->sb.start == 0;
  junlock (j);
  j->ops->mutex_unlock (j->ctx, j->sb_lock);
  return empty;
}

/* A page worker may come in at any time.  SB_LOCK is held from the look to
   the write: a commit that is not seen here has yet to ask whether the log is
   marked in use, and marks it.  */
static int
mark_empty (struct journal *j)
{
  int err = 0;

  j->ops->mutex_lock (j->ctx, j->sb_lock);
  jlock (j);
  bool empty = nothing_left (j);
  uint32_t seq = j->next_seq;
  junlock (j);
  /* The log stays as it is, in use and right.  */
  if (!empty)
    err = EBUSY;
  else if (j->sb.start != 0)
    {
      err = jsb_put (j, 0, seq);
      if (!err)
	err = j->ops->flush (j->ctx);
    }
  j->ops->mutex_unlock (j->ctx, j->sb_lock);
  return err;
}

int
journal_quiesce (struct journal *j)
{
  /* File data that was lost is reported, and keeps nobody from going.  */
  int lost = journal_sync (j);
  int err = journal_checkpoint (j, UINT32_MAX);
  if (!err)
    {
      err = mark_empty (j);
      if (err && err != EBUSY)
	journal_abort (j, err, "the log could not be marked empty");
    }
  return lost ? lost : err;
}
