/* The journal engine: writing blocks home and moving the tail.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

#include <stdlib.h>

/* The rules of this room.

   C1 (I4). Only copies that are on disk in the log are written home: a
   block is on a transaction's HOMES list only after its commit.

   C2 (I5). The tail moves in four steps: the blocks of the oldest
   transactions are written home; flush; the superblock of the log names the
   first transaction that is still needed; flush.  Only then is the room of
   those before it free for new transactions.

   C3.  A newer committed copy of a block relieves older transactions of it:
   replay would write the newer one last anyway.

   C4.  A block that is being written home may be committed anew meanwhile.
   WRITING keeps the old copy alive until it is down; then it is dropped,
   and the block stays on the list of the newer transaction.

   C5.  A checkpoint waits for nothing but the disk.  So a thread may wait
   for it that holds a commit up.  */

#define BATCH 512

struct home
{
  struct jblock *block;
  uint64_t nr;
  void *copy;
};

static int
by_block (const void *a, const void *b)
{
  uint64_t x = ((const struct home *) a)->nr;
  uint64_t y = ((const struct home *) b)->nr;
  return x < y ? -1 : x > y;
}

/* Write N sorted copies in runs of consecutive blocks.  Without the lock.  */
static int
write_runs (struct journal *j, const struct home *h, unsigned n)
{
  struct journal_iov iov[BATCH];
  int err = 0;

  for (unsigned i = 0, count; i < n && !err; i += count)
    {
      count = 0;
      do
	{
	  iov[count].base = h[i + count].copy;
	  iov[count].len = j->block_size;
	  count++;
	}
      while (i + count < n && h[i + count].nr == h[i].nr + count);
      err = j->ops->writev (j->ctx, h[i].nr, count, iov, count);
    }
  return err;
}

/* Write up to BATCH blocks of T home.  With the lock held, dropped on the
   way.  */
static int
write_batch (struct journal *j, struct jtxn *t)
{
  struct home homes[BATCH];
  unsigned n = 0;

  for (struct jlink *l = t->homes.next; l != &t->homes && n < BATCH;
       l = l->next)
    {
      struct jblock *b = jlist_item (l, struct jblock, ckpt);
      JOURNAL_INVARIANT (b->done == t && b->home && !b->writing, "I4");
      b->writing = b->home;
      homes[n++] = (struct home) { b, b->nr, b->home };
    }
  junlock (j);
  qsort (homes, n, sizeof *homes, by_block);
  int err = write_runs (j, homes, n);
  jlock (j);
  for (unsigned i = 0; i < n; i++)
    {
      struct jblock *b = homes[i].block;
      b->writing = NULL;
      if (b->home != homes[i].copy)
	jpool_put (&j->images, homes[i].copy);
      else if (!err)
	{
	  jpool_put (&j->images, b->home);
	  b->home = NULL;
	  b->done = NULL;
	  jlist_remove (&b->ckpt);
	}
      jblock_put (j, b);
    }
  if (!err)
    j->stats.home_blocks += n;
  jwake (j, j->done_cond);
  return err;
}

/* Write all of T home.  */
static int
write_home (struct journal *j, struct jtxn *t)
{
  int err = 0;
  while (!err && !j->err && !jlist_empty (&t->homes))
    err = write_batch (j, t);
  return err ? err : j->err;
}

bool
jcheckpoint_possible (const struct journal *j)
{
  return !jlist_empty (&j->done) || j->checkpointing;
}

/* The last of the oldest transactions that have to go for WANT free
   blocks.  */
static struct jtxn *
last_to_go (struct journal *j, uint32_t want)
{
  struct jtxn *t = NULL;
  uint32_t free = j->free;

  for (struct jlink *l = j->done.next; l != &j->done && free < want;
       l = l->next)
    {
      t = jlist_item (l, struct jtxn, link);
      free += t->log_count;
    }
  return t;
}

/* Name the first transaction that is still needed in the superblock, and
   free the room of those before it.  What was written home is flushed.  */
static int
move_tail (struct journal *j)
{
  struct jlink gone;
  uint32_t start = j->head, seq = j->next_seq, room = 0;

  jlist_init (&gone);
  while (!jlist_empty (&j->done))
    {
      struct jtxn *t = jlist_item (j->done.next, struct jtxn, link);
      if (!jlist_empty (&t->homes))
	break;
      room += t->log_count;
      jlist_remove (&t->link);
      jlist_append (&gone, &t->link);
    }
  const struct jtxn *first = !jlist_empty (&j->done)
    ? jlist_item (j->done.next, struct jtxn, link) : j->committing;
  /* An empty transaction that is being committed has no place in the log.  */
  if (first && first->log_count)
    {
      start = first->log_start;
      seq = first->seq;
    }
  if (jlist_empty (&gone))
    return 0;

  junlock (j);
  int err = jsb_update (j, start, seq);
  if (!err)
    err = j->ops->flush (j->ctx);
  jlock (j);
  if (!err)
    {
      j->free += room;
      j->stats.tail_updates++;
      JOURNAL_INVARIANT (j->free <= j->size, "I5-free");
    }
  while (!jlist_empty (&gone))
    {
      struct jtxn *t = jlist_item (gone.next, struct jtxn, link);
      jlist_remove (&t->link);
      jtxn_free (j, t);
    }
  jwake (j, j->done_cond);
  return err;
}

/* One thread checkpoints at a time; others wait for it and look again.  */
static int
checkpoint_once (struct journal *j, uint32_t want)
{
  struct jtxn *last = last_to_go (j, want);
  int err = 0;

  if (!last)
    return 0;
  j->checkpointing = true;
  j->stats.checkpoints++;
  /* Only this thread takes transactions off the list, so LAST stays.  */
  for (struct jlink *l = j->done.next; !err; l = l->next)
    {
      struct jtxn *t = jlist_item (l, struct jtxn, link);
      err = write_home (j, t);
      if (t == last)
	break;
    }
  if (!err)
    {
      junlock (j);
      err = j->ops->flush (j->ctx);
      jlock (j);
    }
  if (!err && !j->err)
    err = move_tail (j);
  j->checkpointing = false;
  jwake (j, j->done_cond);
  if (err && !j->err)
    {
      /* What is not home is in the log: the next mount replays it.  */
      junlock (j);
      journal_abort (j, err, "a committed block could not be written home");
      jlock (j);
    }
  return err ? err : j->err ? EROFS : 0;
}

/* Free room until WANT blocks are free.  In a thread that may checkpoint.  */
int
jcheckpoint_run (struct journal *j, uint32_t want)
{
  if (want > j->size)
    want = j->size;
  while (!j->err && j->free < want)
    {
      if (j->checkpointing)
	{
	  jwait (j, j->done_cond, 0);
	  continue;
	}
      if (jlist_empty (&j->done))
	break;
      int err = checkpoint_once (j, want);
      if (err)
	return err;
    }
  return j->err ? EROFS : 0;
}

/* The same, by the checkpoint thread if there is one.  Returns when some
   room was freed: the caller looks again.  */
int
jcheckpoint (struct journal *j, uint32_t want)
{
  if (!j->set.daemons)
    return jcheckpoint_run (j, want);
  if (j->space_wanted < want)
    j->space_wanted = want;
  jwake (j, j->work);
  jwait (j, j->done_cond, 0);
  return j->err ? EROFS : 0;
}
