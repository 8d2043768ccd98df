/* The journal engine: handles of pager workers.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* A worker of a pager serves a fault, and a thread with a handle may be
   waiting for it, with the worker's transaction locked.  So it

   - joins a LOCKED transaction, and one that is full;
   - takes its credits from the handle that waits for it, if it knows that,
     or else from what the transaction keeps back for workers;
   - waits for a freeze or a quiescent copy, which are short and need no
     worker that starts a handle, and, if it has to open a transaction, for
     blocks to go home, which needs only the disk (R2, R3 in
     transaction.c);
   - never commits, and waits for no commit.  If there are no credits for it
     now, it is told so (EAGAIN), and comes again: the commit that makes
     room is asked for here.  */

/* T is full, or is being committed already: the next has room.  Have it
   committed, by the daemon or the next thread that stops.  */
static void
ask_for_commit (struct journal *j, struct jtxn *t)
{
  t->wanted = true;
  if (j->set.daemons && !jtxn_closed (t))
    {
      j->commit_wanted = true;
      jwake (j, j->work);
    }
}

/* The transaction that a worker joins.  */
static int
worker_join (struct journal *j, struct journal_handle *parent,
	     unsigned credits, unsigned revokes, struct jtxn **txn,
	     unsigned *kept)
{
  for (;;)
    {
      struct jtxn *t = parent ? parent->txn : j->running;
      *kept = 0;
      if (j->err || (parent && !t))
	return EROFS;
      if (t && (t->copying || t->state == JTXN_SWITCH))
	{
	  jwait (j, j->gate, 0);
	  continue;
	}
      if (parent)
	{
	  if (parent->credits < credits || parent->revokes < revokes)
	    return EAGAIN;
	  *txn = t;
	  return 0;
	}
      if (!t && !jtxn_fits_log (j, jtxn_space (j, j->set.worker_credits, 0)))
	{
	  /* Waits for writes home only, see R2: if none were under way, all
	     but one transaction's room would be free.  */
	  JOURNAL_INVARIANT (jcheckpoint_possible (j), "I7-worker");
	  jcheckpoint (j, j->size / 4);
	  continue;
	}
      if (!t)
	t = jtxn_new (j);
      if (!t)
	return ENOMEM;
      /* What is kept back is for a locked or a full transaction.  */
      uint32_t bound = jtxn_bound (j, t, credits, revokes);
      if (jtxn_closed (t) || bound > j->max_txn || !jtxn_fits_log (j, bound))
	{
	  ask_for_commit (j, t);
	  if (t->worker_left < credits || revokes > 0)
	    return EAGAIN;
	  *kept = credits;
	}
      *txn = t;
      return 0;
    }
}

int
journal_start_worker (struct journal *j, struct journal_handle *parent,
		      unsigned credits, unsigned revokes,
		      struct journal_handle **handle)
{
  struct journal_handle *h = jhandle_begin (j);
  struct jtxn *t = NULL;
  unsigned kept;

  JOURNAL_INVARIANT (!parent || parent->j == j, "I2");
  if (jtxn_too_big (j, credits, revokes))
    return EAGAIN;
  jlock (j);
  int err = worker_join (j, parent, credits, revokes, &t, &kept);
  if (!err)
    {
      h->worker = true;
      h->parent = parent;
      h->kept = kept;
      t->worker_left -= kept;
      if (parent)
	{
	  parent->credits -= credits;
	  parent->revokes -= revokes;
	  t->outstanding -= credits;
	  t->revokes_out -= revokes;
	}
      jhandle_enter (h, t, credits, revokes);
      h->depth = 1;
      j->stats.worker_starts++;
      *handle = h;
    }
  junlock (j);
  return err;
}
