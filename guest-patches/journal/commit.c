/* The journal engine: commit.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* A commit, step by step, and why in this order:

   1. LOCK.  New handles wait; those that are open finish.  Only pager
      workers still join, because an open handle may wait for one.
   2. SWITCH.  No handle is open.  Every changed block is copied once: what
      the log gets is the state between operations, torn by none.
   3. The next transaction may run from here on.
   4. File data that the transaction gave blocks to is written.
   5. If the log was empty, its superblock says where the transaction
      starts (I6).  Revokes, descriptors and blocks are written.
   6. Flush: 4 and 5 are durable.
   7. The commit block is written, and flushed.  The transaction is on disk.
   8. Blocks that it freed lose their older copies (revoke.c), the rest take
      the place of older copies on the way home.  Freed blocks are free.
      Waiters go on.

   A commit writes nothing home and frees no log space (I7).

   One thread commits at a time.  It is whoever needs the commit: a thread
   that waits for a transaction finds another committing, and waits, or
   leads.  All threads that wait for the next transaction while one is being
   written are served by one commit: that is the group commit.  With
   daemons, a thread leaves it to the commit thread.  */

#define GATHER_NS 15000000u

/* Freeze T.  With the lock held, dropped while a block is copied: a copy
   may fault, and a fault ends in journal_read.  The copy goes to a spare
   that then changes places with the image that was set aside, so a page
   that comes back in the middle has a place to go and a read a place to
   look.  */
static int
freeze (struct journal *j, struct jtxn *t)
{
  uint64_t t0 = jcycles (), ns = j->ops->now (j->ctx);
  int err = 0;

  JOURNAL_INVARIANT (t->updates == 0 && t->outstanding == 0
		     && t->revokes_out == 0 && !t->copying, "I3-freeze");
  t->nblocks = 0;
  while (!err && !jlist_empty (&t->blocks))
    {
      struct jblock *b = jlist_item (t->blocks.next, struct jblock, run);
      void **copy = &b->shadow;
      bool dead = b->forgotten;

      if (b->dirty && (atomic_load (&b->stale) || !b->shadow_valid))
	{
	  junlock (j);
	  err = j->ops->copy_block (j->ctx, b->nr, j->spare);
	  jlock (j);
	  if (err)
	    break;
	  void *old = b->img;
	  b->img = j->spare;
	  j->spare = old;
	  copy = &b->img;
	  j->stats.copies++;
	}
      if (b->dirty)
	{
	  JOURNAL_INVARIANT (!b->committing && !b->frozen, "I2-one-commit");
	  b->frozen = *copy;
	  *copy = NULL;
	  t->nblocks++;
	}
      bool keep = b->dirty || dead;
      jblock_leave_running (j, b);
      if (keep)
	{
	  b->committing = t;
	  b->dead = dead;
	  jlist_append (&t->frozen, &b->log);
	}
      else
	jblock_put (j, b);
    }
  j->stats.freeze += jcycles () - t0;
  ns = jelapsed (j, ns);
  if (ns > j->stats.freeze_max_ns)
    j->stats.freeze_max_ns = ns;
  j->stats.frozen_blocks += t->nblocks;
  return err;
}

/* Step 8 for one block.  With the lock held, dropped while the block's
   older copy is being written home.  */
static void
settle (struct journal *j, struct jtxn *t, struct jblock *b)
{
  /* An older copy that is being written is left to the checkpoint, which
     sees that it is no longer the block's.  A dead block's must be down:
     whoever gets the block next writes it.  */
  while (b->dead && b->writing)
    jwait (j, j->done_cond, 0);

  jlist_remove (&b->log);
  b->committing = NULL;
  if (b->home && b->home != b->writing)
    jpool_put (&j->images, b->home);
  jlist_remove (&b->ckpt);
  b->home = NULL;
  b->done = NULL;
  if (b->dead)
    {
      JOURNAL_INVARIANT (!b->frozen, "I10-dead");
      b->dead = false;
    }
  else
    {
      b->home = b->frozen;
      b->frozen = NULL;
      b->done = t;
      jlist_append (&t->homes, &b->ckpt);
    }
  jblock_put (j, b);
}

/* Whoever asks for T will be told that file data of it could not be written,
   however late: keep a place for that.  */
static int
keep_data_error (struct journal *j, struct jtxn *t)
{
  if (!t->data_err)
    return 0;
  if (j->set.data_abort)
    return t->data_err;
  jlock (j);
  int err = jindex_reserve (&j->failures, 1);
  junlock (j);
  return err;
}

/* Steps 4 to 7, without the lock.  *WHAT says what failed.  */
static int
write_out (struct journal *j, struct jtxn *t, bool empty, const char **what)
{
  t->data_err = jordered_write (j, t);
  *what = "file data could not be written";
  int err = keep_data_error (j, t);
  if (err)
    return err;
  *what = "the log could not be written";
  if (empty)
    /* Nothing for the log; who waits still wants the data durable.  */
    return t->wanted ? j->ops->flush (j->ctx) : 0;
  err = jlog_write (j, t);
  if (!err)
    err = j->ops->flush (j->ctx);
  if (!err)
    err = jlog_commit_record (j, t);
  if (!err)
    err = j->ops->flush (j->ctx);
  return err;
}

/* Those that the last commit served have gone on and will soon want the
   next, beside those that want it already: wait for them, at most as long as
   the last commit took, rather than have them wait for a whole commit.  A
   thread by itself never waits here.  With the lock held.  */
static void
gather (struct journal *j, struct jtxn *t)
{
  uint64_t start = j->ops->now (j->ctx);
  uint64_t most = j->commit_ns < GATHER_NS ? j->commit_ns : GATHER_NS;

  while (t->waiters > 0 && t->waiters < j->expected && !j->err
	 && j->ops->now (j->ctx) - start < most)
    jwait (j, j->work, 1);
}

/* Commit the running transaction.  With the lock held.  */
static void
commit (struct journal *j)
{
  struct jtxn *t = j->running;
  const char *what;

  gather (j, t);
  t->state = JTXN_LOCKED;
  while (t->updates > 0 || t->copying)
    jwait (j, j->drained, 0);
  t->state = JTXN_SWITCH;
  int err = j->err ? EROFS : freeze (j, t);
  if (err)
    {
      /* The blocks stay where they are, and the gate opens to an abort.  */
      junlock (j);
      journal_abort (j, err, "a block could not be copied");
      jlock (j);
      return;
    }

  bool empty = t->nblocks == 0 && t->nrevokes == 0;
  if (!empty)
    {
      t->seq = j->next_seq++;
      t->log_start = j->head;
      t->log_count = jtxn_space (j, t->nblocks, t->nrevokes);
      JOURNAL_INVARIANT (t->log_count <= j->free
			 && t->log_count <= j->max_txn, "I7-log-space");
      j->free -= t->log_count;
      j->head += t->log_count;
      if (j->head >= j->end)
	j->head = j->head - j->end + j->first;
    }
  t->state = JTXN_COMMIT;
  j->running = NULL;
  j->committing = t;
  j->commit_wanted = false;
  jwake (j, j->gate);

  junlock (j);
  uint64_t start = j->ops->now (j->ctx);
  err = write_out (j, t, empty, &what);
  j->commit_ns = jelapsed (j, start);
  if (err)
    journal_abort (j, err, what);
  jlock (j);
  if (j->err)
    return;			/* T stays, to be read from, until close.  */

  while (!jlist_empty (&t->frozen))
    settle (j, t, jlist_item (t->frozen.next, struct jblock, log));
  t->state = JTXN_DONE;
  j->committing = NULL;
  j->committed = t->tid;
  jbusy_release (j, t);
  jindex_destroy (&t->revokes);
  if (empty)
    j->stats.empty_commits++;
  else
    j->stats.commits++;
  j->expected = t->waiters + (j->running ? j->running->waiters : 0);
  journal_tid_t tid = t->tid;
  /* Numbers of transactions come again, in the end.  */
  jindex_remove (&j->failures, tid);
  if (t->data_err)
    jindex_add (&j->failures, tid, (void *) (intptr_t) t->data_err);
  if (empty)
    jtxn_free (j, t);
  else
    jlist_append (&j->done, &t->link);
  if (j->ops->committed)
    {
      junlock (j);
      j->ops->committed (j->ctx, tid);
      jlock (j);
    }
  jwake (j, j->done_cond);
  jwake (j, j->work);
}

/* Commit the running transaction, after the one that is being committed.
   With the lock held.  */
void
jcommit_lead (struct journal *j)
{
  JOURNAL_INVARIANT (journal_current () == NULL, "I3-lead");
  if (!j->running)
    return;
  journal_tid_t tid = j->running->tid;
  /* Another thread may commit it meanwhile: look at the transaction, not
     only at who leads, or this thread waits for a commit that it has no part
     in.  */
  while (j->leading && !j->err && j->running && j->running->tid == tid)
    jwait (j, j->done_cond, 0);
  if (j->err || !j->running || j->running->tid != tid)
    return;
  j->leading = true;
  commit (j);
  j->leading = false;
  jwake (j, j->done_cond);
}

/* Return when handles may start in a transaction after T, or after an
   abort.  With the lock held.  */
void
jcommit_wait_gate (struct journal *j, struct jtxn *t)
{
  if (!j->set.daemons)
    {
      jcommit_lead (j);
      return;
    }
  while (!j->err && j->running == t)
    {
      j->commit_wanted = true;
      jwake (j, j->work);
      jwait (j, j->gate, 0);
    }
}

/* Is TID after the last committed one, up to the one that comes next?  Any
   other number is of the past, however long ago.  */
static bool
pending (const struct journal *j, journal_tid_t tid)
{
  return tid - j->committed - 1 < j->next_tid - j->committed;
}

/* The error of the file data of TID.  */
static int
data_error (const struct journal *j, journal_tid_t tid)
{
  return (int) (intptr_t) jindex_find (&j->failures, tid);
}

/* Return when TID is on disk, or the error that keeps it from it.  With the
   lock held.  */
int
jcommit_wait (struct journal *j, journal_tid_t tid)
{
  if (j->running && j->running->tid == tid)
    {
      j->running->waiters++;
      jwake (j, j->work);
    }
  while (!j->err && pending (j, tid))
    {
      if (j->running && j->running->tid == tid)
	{
	  j->running->wanted = true;
	  if (!j->set.daemons)
	    {
	      jcommit_lead (j);
	      continue;
	    }
	  j->commit_wanted = true;
	  jwake (j, j->work);
	}
      else if (!j->committing)
	break;			/* No such transaction.  */
      jwait (j, j->done_cond, 0);
    }
  if (pending (j, tid) && j->err)
    return EIO;
  return data_error (j, tid);
}
