/* The journal engine: file data that goes to disk before the commit.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* A block that a transaction gives to a file still has the bytes of its
   last owner.  If the transaction is on disk and the file's data is not, a
   crash shows them.  So the data of every range that got blocks in a
   transaction is written before its commit block, and the flush before the
   commit block covers it.  One range is kept for each object, so the list is
   bounded by the objects that handles touched, and the index makes adding to
   it independent of its length.

   A range of the committing transaction stays on the list until it is
   written: a truncate of the object waits for that rather than pull its
   pages away.  */

int
journal_order (struct journal_handle *h, uint64_t object, uint64_t first,
	       uint64_t count)
{
  struct journal *j = h->j;
  struct jtxn *t = h->txn;
  int err = 0;

  if (j->set.stub || count == 0)
    return 0;
  if (!t)
    return EROFS;
  jlock (j);
  struct jorder *o = jindex_find (&t->objects, object);
  if (o)
    {
      uint64_t end = o->first + o->count;
      uint64_t new_end = first + count;
      if (first < o->first)
	o->first = first;
      o->count = (new_end > end ? new_end : end) - o->first;
    }
  else if (!(o = jmem_alloc (&j->mem, sizeof *o)))
    err = ENOMEM;
  else
    {
      o->object = object;
      o->first = first;
      o->count = count;
      err = jindex_add (&t->objects, object, o);
      if (err)
	jmem_free (&j->mem, o, sizeof *o);
      else
	jlist_append (&t->ordered, &o->link);
    }
  junlock (j);
  return err;
}

static void
drop (struct journal *j, struct jtxn *t, struct jorder *o)
{
  jindex_remove (&t->objects, o->object);
  jlist_remove (&o->link);
  jmem_free (&j->mem, o, sizeof *o);
}

void
journal_unorder (struct journal_handle *h, uint64_t object, uint64_t first)
{
  struct journal *j = h->j;

  if (j->set.stub || !h->txn)
    return;
  jlock (j);
  /* If the committing transaction gave blocks to the object, a crash after
     its commit shows them: their data must be written, not dropped.  */
  while (!j->err && j->committing
	 && jindex_find (&j->committing->objects, object))
    jwait (j, j->done_cond, 0);

  struct jtxn *t = h->txn;
  struct jorder *o = jindex_find (&t->objects, object);
  if (o)
    {
      if (first <= o->first)
	drop (j, t, o);
      else if (first < o->first + o->count)
	o->count = first - o->first;
    }
  junlock (j);
}

/* Called by the commit, without the lock.  With data-err=report an error is
   for those who wait for this commit: the metadata is sound without the
   data, but the blocks that could not be written show what was in them.
   With data-err=abort the transaction does not get to the log.  */
int
jordered_write (struct journal *j, struct jtxn *t)
{
  int result = 0;

  jlock (j);
  while (!jlist_empty (&t->ordered))
    {
      struct jorder *o = jlist_item (t->ordered.next, struct jorder, link);
      junlock (j);
      int err = j->ops->write_ordered (j->ctx, o->object, o->first,
				       o->count);
      jlock (j);
      if (err && !result)
	result = err;
      drop (j, t, o);
      jwake (j, j->done_cond);
    }
  junlock (j);
  return result;
}

void
jordered_release (struct journal *j, struct jtxn *t)
{
  while (!jlist_empty (&t->ordered))
    drop (j, t, jlist_item (t->ordered.next, struct jorder, link));
}
