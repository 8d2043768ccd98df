/* The journal engine: blocks of the running transaction, and pages.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* The rules of this room.

   B1 (I1). A block enters the running transaction before its first byte
   changes.  Its copies are set aside then: what could fail fails while
   nothing has changed, and nothing fails at the freeze.

   B2. A block stays in the running transaction while any handle is open.
   That makes a lookup without the lock sound: the MARK of a block says in
   which transaction it is; a thread with a handle that reads the mark of
   its own transaction knows that block and transaction stay as they are
   until it stops.  The slab keeps every block structure readable.

   B3. A page that comes back never clears STALE.  The kernel may have taken
   the page before the last change, and that change's dirty call may have
   run before the page arrives here: to trust the page then would lose the
   change.  So it only serves later reads, and the freeze asks the file
   system again.

   B4. What a read finds is the newest of: the page that came back, what is
   frozen for the log, what waits to go home.  If a page is asked for, the
   kernel has none, so nobody has changed it since it came back or was last
   supplied.  */

struct jblock *
jblock_find (struct journal *j, uint64_t nr)
{
  return jtable_find (&j->index, nr);
}

static inline unsigned
front_slot (uint64_t nr)
{
  return (unsigned) (nr * 0x9E3779B97F4A7C15u >> 54) & (JFRONT_SLOTS - 1);
}

/* The block NR if it is in the transaction of H and the front has it.  */
static inline struct jblock *
front_find (const struct journal_handle *h, uint64_t nr)
{
  struct jblock *b
    = atomic_load_explicit (&h->j->front[front_slot (nr)],
			    memory_order_acquire);
  if (b
      && atomic_load_explicit (&b->mark, memory_order_acquire) == h->mark
      && b->nr == nr)
    return b;
  return NULL;
}

static void
front_set (struct journal *j, struct jblock *b)
{
  if (j->set.front)
    atomic_store_explicit (&j->front[front_slot (b->nr)], b,
			   memory_order_release);
}

/* Forget B if it is nowhere.  */
void
jblock_put (struct journal *j, struct jblock *b)
{
  if (b->running || b->committing || b->home || b->writing)
    return;
  JOURNAL_INVARIANT (!b->frozen && !b->img && !b->done, "block-empty");
  jtable_remove (&j->index, b->nr);
  jpool_put (&j->blocks, b);
}

static struct jblock *
new_block (struct journal *j, uint64_t nr)
{
  uint64_t t0 = j->set.stats ? jcycles () : 0;
  struct jblock *b = jpool_get (&j->blocks);
  if (j->set.stats)
    j->stats.alloc += jcycles () - t0;
  if (!b)
    return NULL;
  /* All but the mark, which others may be reading: it is 0 here.  */
  b->nr = nr;
  atomic_store_explicit (&b->mark, 0, memory_order_relaxed);
  atomic_store_explicit (&b->stale, false, memory_order_relaxed);
  b->dirty = b->returned = b->forgotten = b->dead = b->shadow_valid = false;
  b->running = b->committing = b->done = NULL;
  b->img = b->frozen = b->home = b->shadow = b->writing = NULL;
  jlist_init (&b->run);
  jlist_init (&b->log);
  jlist_init (&b->ckpt);
  jlist_init (&b->copy);
  t0 = j->set.stats ? jcycles () : 0;
  int err = jtable_add (&j->index, nr, b);
  if (j->set.stats)
    j->stats.hash_add += jcycles () - t0;
  if (err)
    {
      jpool_put (&j->blocks, b);
      return NULL;
    }
  return b;
}

/* Take B out of the running transaction; its copies must have gone where
   they are wanted.  */
void
jblock_leave_running (struct journal *j, struct jblock *b)
{
  jpool_put (&j->images, b->img);
  jpool_put (&j->images, b->shadow);
  b->img = b->shadow = NULL;
  atomic_store_explicit (&b->mark, 0, memory_order_release);
  atomic_store_explicit (&b->stale, false, memory_order_relaxed);
  b->dirty = b->returned = b->forgotten = b->shadow_valid = false;
  b->running = NULL;
  jlist_remove (&b->run);
  jlist_remove (&b->copy);
}

/* Room for what comes back and for what goes to the log (B1).  */
static bool
set_copies_aside (struct journal *j, struct jblock *b)
{
  uint64_t t0 = j->set.stats ? jcycles () : 0;

  b->img = jpool_get (&j->images);
  if (b->img && j->set.copy != JOURNAL_COPY_COMMIT)
    {
      b->shadow = jpool_get (&j->images);
      if (!b->shadow)
	{
	  jpool_put (&j->images, b->img);
	  b->img = NULL;
	}
    }
  if (j->set.stats)
    j->stats.alloc += jcycles () - t0;
  return b->img != NULL;
}

/* Put NR into the transaction of H.  With the lock held.  */
static int
enter (struct journal_handle *h, uint64_t nr, struct jblock **block)
{
  struct journal *j = h->j;
  struct jtxn *t = h->txn;

  if (j->err)
    return EROFS;
  if (nr >= j->fs_blocks)
    return EINVAL;
  struct jblock *b = jblock_find (j, nr);
  JOURNAL_INVARIANT (!b || !b->running || b->running == t, "I2-block");
  bool fresh = !b;
  if (fresh || !b->img)
    {
      if (h->credits == 0)
	return ENOSPC;
      if (fresh)
	b = new_block (j, nr);
      if (!b)
	return ENOMEM;
      if (!set_copies_aside (j, b))
	{
	  if (fresh)
	    jblock_put (j, b);
	  return ENOMEM;
	}
      t->nblocks++;
      t->outstanding--;
      h->credits--;
    }
  /* Freed and in use again in one transaction.  */
  jrevoke_cancel (j, t, nr);
  b->forgotten = false;
  if (!b->running)
    {
      b->running = t;
      jlist_append (&t->blocks, &b->run);
    }
  atomic_store_explicit (&b->mark, JMARK (t->tid), memory_order_release);
  front_set (j, b);
  *block = b;
  return 0;
}

int
journal_access (struct journal_handle *h, uint64_t nr)
{
  struct journal *j = h->j;
  struct jblock *b;

  if (j->set.stub)
    return 0;
  if (!h->txn)
    return EROFS;
  if (j->set.front && (b = front_find (h, nr)) != NULL)
    {
      h->front_hits++;
      return 0;
    }
  jlock (j);
  int err = enter (h, nr, &b);
  junlock (j);
  return err;
}

/* Copy what the file system has for B into *SPARE and make that B's copy
   for the log.  Called with COPY_LOCK held and without the lock: the copy
   may fault, and the fault may end in journal_read.  */
static int
copy_shadow (struct journal *j, struct jblock *b, void **spare)
{
  uint64_t t0 = j->set.stats ? jcycles () : 0;
  int err = j->ops->copy_block (j->ctx, b->nr, *spare);
  uint64_t cycles = j->set.stats ? jcycles () - t0 : 0;

  jlock (j);
  j->stats.memcpy_cycles += cycles;
  j->stats.copies++;
  if (!err)
    {
      void *old = b->shadow;
      b->shadow = *spare;
      *spare = old;
      b->shadow_valid = true;
    }
  junlock (j);
  return err;
}

/* The quiescent copy: every block that changed since the last one, while no
   handle is open and none may start.  With the lock held, which is dropped
   on the way.  The list has only blocks to copy: nothing is searched.  A
   block that cannot be copied stays stale: the freeze tries again, or gives
   up.  */
void
jblock_quiesce (struct journal *j, struct jtxn *t)
{
  int err = 0;

  if (j->err || jlist_empty (&t->copies))
    return;
  JOURNAL_INVARIANT (t->updates == 0 && !t->copying, "I3-quiesce");
  t->copying = true;
  while (!err && !jlist_empty (&t->copies))
    {
      struct jblock *b = jlist_item (t->copies.next, struct jblock, copy);
      jlist_remove (&b->copy);
      if (b->forgotten)
	continue;
      junlock (j);
      j->ops->mutex_lock (j->ctx, j->copy_lock);
      err = copy_shadow (j, b, &j->copy_spare);
      j->ops->mutex_unlock (j->ctx, j->copy_lock);
      jlock (j);
      if (!err)
	atomic_store (&b->stale, false);
    }
  t->copying = false;
  jwake (j, j->gate);
}

/* B changed.  */
static int
note_change (struct journal_handle *h, struct jblock *b)
{
  struct journal *j = h->j;

  b->dirty = true;
  switch (j->set.copy)
    {
    case JOURNAL_COPY_COMMIT:
      atomic_store_explicit (&b->stale, true, memory_order_relaxed);
      return 0;
    case JOURNAL_COPY_QUIESCE:
      atomic_store_explicit (&b->stale, true, memory_order_relaxed);
      if (jlist_empty (&b->copy))
	jlist_append (&h->txn->copies, &b->copy);
      return 0;
    case JOURNAL_COPY_EAGER:
    default:
      /* One copy at a time, as under the one lock of the version that this
	 models.  The file system is read without LOCK, see copy_shadow.  */
      junlock (j);
      j->ops->mutex_lock (j->ctx, j->copy_lock);
      int err = copy_shadow (j, b, &j->copy_spare);
      j->ops->mutex_unlock (j->ctx, j->copy_lock);
      jlock (j);
      /* The freeze tries again, or gives up.  */
      if (err)
	atomic_store (&b->stale, true);
      return err;
    }
}

/* Lock, and count how long that took.  */
static void
lock_counted (struct journal *j)
{
  if (!j->set.stats)
    {
      jlock (j);
      return;
    }
  uint64_t t0 = jcycles ();
  jlock (j);
  j->stats.lock_wait += jcycles () - t0;
}

static struct jblock *
find_counted (struct journal_handle *h, uint64_t nr)
{
  if (!h->j->set.stats)
    return jblock_find (h->j, nr);
  uint64_t t0 = jcycles ();
  struct jblock *b = jblock_find (h->j, nr);
  h->find_cycles += jcycles () - t0;
  return b;
}

static int
dirty_slow (struct journal_handle *h, uint64_t nr, const void *data)
{
  struct journal *j = h->j;
  int err = 0;

  lock_counted (j);
  struct jblock *b = find_counted (h, nr);
  if (!b || b->running != h->txn || b->forgotten)
    {
      /* The change was not announced (I1).  Until here the block was not
	 protected from a write-back; count it, and go on.  */
      j->stats.late_access++;
      err = enter (h, nr, &b);
    }
  if (!err && data)
    {
      if (!b->shadow)
	b->shadow = jpool_get (&j->images);
      if (!b->shadow)
	err = ENOMEM;
      else
	{
	  memcpy (b->shadow, data, j->block_size);
	  b->dirty = b->shadow_valid = true;
	  atomic_store (&b->stale, false);
	  jlist_remove (&b->copy);
	}
    }
  else if (!err)
    {
      front_set (j, b);
      err = note_change (h, b);
    }
  junlock (j);
  return err;
}

int
journal_dirty (struct journal_handle *h, uint64_t nr)
{
  struct journal *j = h->j;
  struct jblock *b;

  if (j->set.stub)
    return 0;
  if (!h->txn)
    return EROFS;
  h->calls++;
  if (!j->set.stats)
    {
      if (j->set.front && (b = front_find (h, nr)) != NULL
	  && atomic_load_explicit (&b->stale, memory_order_relaxed))
	return 0;
      return dirty_slow (h, nr, NULL);
    }

  uint64_t t0 = jcycles ();
  int err = 0;
  if (!(j->set.front && (b = front_find (h, nr)) != NULL
	&& atomic_load_explicit (&b->stale, memory_order_relaxed)))
    err = dirty_slow (h, nr, NULL);
  h->cycles += jcycles () - t0;
  return err;
}

int
journal_dirty_data (struct journal_handle *h, uint64_t nr, const void *data)
{
  if (h->j->set.stub)
    return 0;
  if (!h->txn)
    return EROFS;
  h->calls++;
  return dirty_slow (h, nr, data);
}

bool
journal_writeback (struct journal *j, uint64_t nr, const void *data)
{
  bool held = true;

  jlock (j);
  struct jblock *b = jblock_find (j, nr);
  if (b && b->running)
    {
      /* After a free nobody reads the page again.  */
      if (!b->forgotten)
	{
	  memcpy (b->img, data, j->block_size);
	  b->returned = true;
	}
    }
  else if (!b)
    held = false;
  /* Else it is frozen, or in the log and on its way home, and has not
     changed since: the journal writes the same bytes (I4).  */
  if (held)
    j->stats.writebacks_held++;
  else
    j->stats.writebacks_unknown++;
  junlock (j);
  return held;
}

bool
journal_read (struct journal *j, uint64_t nr, void *buf)
{
  jlock (j);
  struct jblock *b = jblock_find (j, nr);
  const void *src = NULL;
  if (b)
    src = b->running && b->returned ? b->img
      : b->frozen ? b->frozen : b->home;
  if (src)
    {
      memcpy (buf, src, j->block_size);
      j->stats.reads_served++;
    }
  junlock (j);
  return src != NULL;
}
