/* The journal engine: transactions, handles and credits.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* The rules of this room.

   R1 (I2, I3). A handle belongs to one transaction from its outermost start
   to its outermost stop.  No handle starts in a LOCKED transaction but that
   of a pager worker, whose fault a thread with a handle may be waiting for;
   none at all while it SWITCHes or makes a quiescent copy.

   R2 (I7). Log space is found before a handle starts, never in a commit:
   what all open handles may still dirty, and what workers may, fits into
   the log together with what is there.  A transaction takes at most a
   quarter of the log.  So the running and the committing one leave half of
   it to transactions whose blocks only have to go home, and waiting for
   them to go home needs no commit and no handle.

   R3. The room of the workers (settings.worker_credits) is left free twice:
   in the running transaction, and behind it for the next one, so that a
   worker can always open a transaction without a commit.  */

static _Thread_local struct journal_handle self;

/* Log blocks for BLOCKS blocks and REVOKES revokes: the blocks, their
   descriptors, the revoke blocks and the commit block.  */
uint32_t
jtxn_space (const struct journal *j, uint32_t blocks, uint32_t revokes)
{
  uint32_t tags = j->layout.tags_per_block;
  uint32_t revs = j->layout.revokes_per_block;
  return blocks + (blocks + tags - 1) / tags
    + (revokes + revs - 1) / revs + 1;
}

/* Log blocks that T may take in the end, with a handle of CREDITS and
   REVOKES more.  */
uint32_t
jtxn_bound (const struct journal *j, const struct jtxn *t, uint32_t credits,
	    uint32_t revokes)
{
  return jtxn_space (j, t->nblocks + t->outstanding + t->worker_left
		     + credits, t->nrevokes + t->revokes_out + revokes);
}

bool
jtxn_fits_log (const struct journal *j, uint32_t bound)
{
  return bound + jtxn_space (j, j->set.worker_credits, 0) <= j->free;
}

void
jtxn_free (struct journal *j, struct jtxn *t)
{
  jbusy_release (j, t);
  jindex_destroy (&t->revokes);
  jordered_release (j, t);
  jindex_destroy (&t->objects);
  jmem_free (&j->mem, t, sizeof *t);
}

struct jtxn *
jtxn_new (struct journal *j)
{
  struct jtxn *t = jmem_alloc (&j->mem, sizeof *t);
  if (!t)
    return NULL;
  memset (t, 0, sizeof *t);
  jlist_init (&t->link);
  jlist_init (&t->blocks);
  jlist_init (&t->frozen);
  jlist_init (&t->homes);
  jlist_init (&t->copies);
  jlist_init (&t->ordered);
  jindex_init (&t->revokes, &j->mem);
  jindex_init (&t->busy, &j->mem);
  jindex_init (&t->objects, &j->mem);
  t->state = JTXN_RUNNING;
  t->worker_left = j->set.worker_credits;
  t->tid = j->next_tid++;
  t->started_ns = j->ops->now (j->ctx);
  j->running = t;
  return t;
}

bool
jtxn_closed (const struct jtxn *t)
{
  return t->state != JTXN_RUNNING || t->copying;
}

/* One step towards a running transaction that a handle of CREDITS and
   REVOKES fits in: it is in *TXN, or EAGAIN and the caller looks again.  */
static int
try_join (struct journal *j, unsigned credits, unsigned revokes,
	  struct jtxn **txn)
{
  struct jtxn *t = j->running;
  uint32_t reserve = jtxn_space (j, j->set.worker_credits, 0);

  if (j->err)
    return EROFS;
  if (t && jtxn_closed (t))
    {
      jwait (j, j->gate, 0);
      return EAGAIN;
    }
  uint32_t bound = t ? jtxn_bound (j, t, credits, revokes)
    : jtxn_space (j, credits + j->set.worker_credits, revokes);
  if (t && bound > j->max_txn)
    {
      jcommit_wait_gate (j, t);
      return EAGAIN;
    }
  if (!jtxn_fits_log (j, bound))
    {
      /* Blocks of done transactions go home.  If there is none, the
	 committing one will be done.  */
      if (jcheckpoint_possible (j))
	jcheckpoint (j, bound + reserve + j->size / 8);
      else if (j->committing)
	jcommit_wait (j, j->committing->tid);
      else
	{
	  JOURNAL_INVARIANT (t != NULL, "I7-space");
	  jcommit_wait_gate (j, t);
	}
      return EAGAIN;
    }
  *txn = t ? t : jtxn_new (j);
  return *txn ? 0 : ENOMEM;
}

/* Returns with the lock held.  */
static int
join (struct journal *j, unsigned credits, unsigned revokes,
      struct jtxn **txn)
{
  int err = try_join (j, credits, revokes, txn);
  if (err != EAGAIN)
    return err;

  uint64_t before = j->ops->now (j->ctx);
  while (err == EAGAIN)
    err = try_join (j, credits, revokes, txn);
  uint64_t pause = jelapsed (j, before);
  if (pause > j->stats.pause_max_ns)
    j->stats.pause_max_ns = pause;
  return err;
}

void
jhandle_enter (struct journal_handle *h, struct jtxn *t, unsigned credits,
	       unsigned revokes)
{
  /* The worker's gate is checked by its own start.  */
  JOURNAL_INVARIANT (!t->copying && (t->state == JTXN_RUNNING
				     || (h->worker
					 && t->state == JTXN_LOCKED)), "I3");
  h->txn = t;
  h->mark = JMARK (t->tid);
  h->credits = credits;
  h->revokes = revokes;
  t->updates++;
  t->outstanding += credits;
  t->revokes_out += revokes;
}

struct journal_handle *
jhandle_begin (struct journal *j)
{
  struct journal_handle *h = &self;
  JOURNAL_INVARIANT (h->depth == 0, "I2");
  memset (h, 0, sizeof *h);
  h->j = j;
  return h;
}

struct journal_handle *
journal_current (void)
{
  return self.depth ? &self : NULL;
}

/* No transaction can ever have room for such a handle.  Looked at before
   anything is added up: a sum could fall out of its type.  */
bool
jtxn_too_big (const struct journal *j, unsigned credits, unsigned revokes)
{
  return credits > j->max_handle
    || revokes / j->layout.revokes_per_block >= j->max_handle / 4
    || jtxn_space (j, credits + j->set.worker_credits, revokes) > j->max_txn;
}

int
journal_start (struct journal *j, unsigned credits, unsigned revokes,
	       struct journal_handle **handle)
{
  struct journal_handle *h = &self;

  if (h->depth)
    {
      /* One thread works on one journal at a time (I2).  */
      JOURNAL_INVARIANT (h->j == j, "I2");
      int err = 0;
      if (h->credits < credits || h->revokes < revokes)
	err = journal_extend (h, h->credits < credits
			      ? credits - h->credits : 0,
			      h->revokes < revokes
			      ? revokes - h->revokes : 0);
      if (err)
	return err;
      h->depth++;
      *handle = h;
      return 0;
    }
  if (jtxn_too_big (j, credits, revokes))
    return E2BIG;

  h = jhandle_begin (j);
  jlock (j);
  struct jtxn *t = NULL;
  int err = join (j, credits, revokes, &t);
  if (!err)
    {
      jhandle_enter (h, t, credits, revokes);
      h->depth = 1;
      *handle = h;
    }
  junlock (j);
  return err;
}

int
journal_extend (struct journal_handle *h, unsigned credits, unsigned revokes)
{
  struct journal *j = h->j;
  struct jtxn *t = h->txn;
  int err = 0;

  if (!t)
    return EROFS;
  if (jtxn_too_big (j, credits, revokes))
    return EAGAIN;
  jlock (j);
  uint32_t bound = jtxn_bound (j, t, credits, revokes);
  if (j->err)
    err = EROFS;
  else if (bound > j->max_txn || !jtxn_fits_log (j, bound))
    err = EAGAIN;
  else
    {
      h->credits += credits;
      h->revokes += revokes;
      t->outstanding += credits;
      t->revokes_out += revokes;
    }
  junlock (j);
  return err;
}

/* Take H out of its transaction; returns whether that must be committed by
   this thread.  With the lock held.  */
static bool
leave (struct journal_handle *h)
{
  struct journal *j = h->j;
  struct jtxn *t = h->txn;

  JOURNAL_INVARIANT (t->updates > 0 && t->outstanding >= h->credits
		     && t->revokes_out >= h->revokes, "I2-credits");
  t->outstanding -= h->credits;
  t->revokes_out -= h->revokes;
  if (h->parent)
    {
      /* What is left goes back; the parent is in the same transaction.  */
      h->parent->credits += h->credits;
      h->parent->revokes += h->revokes;
      t->outstanding += h->credits;
      t->revokes_out += h->revokes;
      h->parent->sync |= h->sync;
    }
  else
    t->worker_left += h->kept < h->credits ? h->kept : h->credits;
  if (h->sync)
    t->wanted = true;
  t->updates--;
  j->stats.dirty_calls += h->calls;
  j->stats.function += h->cycles;
  j->stats.hash_find += h->find_cycles;
  j->stats.front_hits += h->front_hits;
  h->calls = h->cycles = h->find_cycles = h->front_hits = 0;
  if (t->updates == 0)
    {
      if (j->set.copy == JOURNAL_COPY_QUIESCE)
	jblock_quiesce (j, t);
      jwake (j, j->drained);
    }
  return t->wanted && !h->worker && !j->set.daemons;
}

/* Set-sync-and-stop: the stop of a handle that is marked sync waits until
   its transaction is on disk.  Without daemons the last stop of a
   transaction that anyone wants commits it, marked or not.  A worker never
   does: it leaves the wish to the daemon or to the next stop.  */
int
journal_stop (struct journal_handle *h)
{
  struct journal *j = h->j;

  JOURNAL_INVARIANT (h == &self && h->depth > 0, "I2");
  if (--h->depth > 0)
    return 0;
  struct jtxn *t = h->txn;
  if (!t)
    return EROFS;		/* A restart failed.  */

  jlock (j);
  journal_tid_t tid = t->tid;
  bool mine = leave (h);
  int err = j->err ? EROFS : 0;
  if (h->worker)
    {
      if (h->sync && !h->parent)
	{
	  j->commit_wanted = true;
	  jwake (j, j->work);
	}
    }
  else if (!err && h->sync)
    err = jcommit_wait (j, tid);
  else if (!err && mine && j->running == t && t->updates == 0 && !jtxn_closed (t))
    jcommit_lead (j);
  junlock (j);
  return err;
}

int
journal_restart (struct journal_handle *h, unsigned credits,
		 unsigned revokes)
{
  struct journal *j = h->j;

  JOURNAL_INVARIANT (h == &self && h->depth == 1 && !h->worker, "I2");
  if (jtxn_too_big (j, credits, revokes))
    return E2BIG;
  jlock (j);
  bool sync = h->sync;
  h->sync = false;
  leave (h);
  struct jtxn *t = NULL;
  h->depth = 0;			/* Joining may have to lead a commit.  */
  int err = join (j, credits, revokes, &t);
  h->depth = 1;
  if (!err)
    jhandle_enter (h, t, credits, revokes);
  else
    {
      /* There is no transaction to go on in.  The handle stays open so that
	 its stop is valid; every call on it fails.  */
      h->txn = NULL;
      h->mark = 0;
      h->credits = h->revokes = 0;
    }
  h->sync = sync;
  junlock (j);
  return err;
}

void
journal_set_sync (struct journal_handle *h)
{
  h->sync = true;
}

bool
journal_needs_sync (const struct journal_handle *h)
{
  return h->sync;
}

journal_tid_t
journal_handle_tid (const struct journal_handle *h)
{
  return h->txn ? h->txn->tid : 0;
}

unsigned
journal_handle_credits (const struct journal_handle *h)
{
  return h->credits;
}
