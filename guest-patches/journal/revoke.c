/* The journal engine: freed blocks.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* What can go wrong with a freed block, and what keeps it from going wrong
   (I10):

   - It is freed in transaction N, given to a file before N commits, and the
     file's data is written home.  A crash now recovers to before N: the old
     owner finds the file's data.  So a freed block stays busy until N is on
     disk: the allocator asks journal_busy.

   - It was metadata, an older copy of it is in the log, and a file uses it
     after N.  A crash now replays the old copy over the file.  So freed
     metadata is revoked in N: replay skips copies from N and before.

   - Its older copy waits to go home, and goes there after the file's data.
     So the commit of N drops that copy, waiting if it is just being
     written, before it tells anyone that the block is free.

   - It becomes metadata again.  A later transaction may log it as if
     nothing had been: the revoke is for N and before.  In N itself the
     revoke would hide the new copy, so it is cancelled.

   Busy blocks are a set of bitmaps of 4096 blocks each, made on demand: a
   truncate that frees a whole file costs half a kilobyte per 4096 blocks.  */

#define BUSY_SHIFT 12
#define BUSY_BYTES ((size_t) 1 << (BUSY_SHIFT - 3))

static unsigned char *
busy_bits (const struct jtxn *t, uint64_t nr)
{
  return jindex_find (&t->busy, nr >> BUSY_SHIFT);
}

static bool
busy_in (const struct jtxn *t, uint64_t nr)
{
  if (!t || t->busy.items == 0)
    return false;
  const unsigned char *bits = busy_bits (t, nr);
  unsigned bit = nr & ((1u << BUSY_SHIFT) - 1);
  return bits && (bits[bit >> 3] >> (bit & 7) & 1);
}

/* Have a bitmap for NR.  */
static int
busy_prepare (struct journal *j, struct jtxn *t, uint64_t nr)
{
  if (busy_bits (t, nr))
    return 0;
  unsigned char *bits = jmem_alloc (&j->mem, BUSY_BYTES);
  if (!bits)
    return ENOMEM;
  memset (bits, 0, BUSY_BYTES);
  int err = jindex_add (&t->busy, nr >> BUSY_SHIFT, bits);
  if (err)
    jmem_free (&j->mem, bits, BUSY_BYTES);
  return err;
}

void
jbusy_release (struct journal *j, struct jtxn *t)
{
  size_t pos = 0;
  void *bits;
  while ((bits = jindex_next (&t->busy, &pos, NULL)) != NULL)
    jmem_free (&j->mem, bits, BUSY_BYTES);
  jindex_destroy (&t->busy);
}

bool
journal_busy (struct journal *j, uint64_t nr)
{
  jlock (j);
  bool busy = busy_in (j->running, nr) || busy_in (j->committing, nr);
  junlock (j);
  return busy;
}

void
jrevoke_cancel (struct journal *j, struct jtxn *t, uint64_t nr)
{
  if (t->revokes.items && jindex_remove (&t->revokes, nr))
    {
      t->nrevokes--;
      j->stats.revokes_cancelled++;
    }
}

/* Does this free add a revoke of NR?  The caller knows which blocks are
   metadata; a block that the journal holds a copy of is, whatever the caller
   says.  */
static bool
to_revoke (struct journal *j, struct jtxn *t, uint64_t nr, bool metadata)
{
  return j->set.revoke && (metadata || jblock_find (j, nr))
    && !jindex_find (&t->revokes, nr);
}

/* What may fail, for all blocks, before anything changes.  */
static int
free_prepare (struct journal_handle *h, uint64_t block, uint32_t count,
	      bool metadata)
{
  struct journal *j = h->j;
  struct jtxn *t = h->txn;
  uint32_t new = 0;
  int err = 0;

  for (uint32_t i = 0; i < count && !err; i++)
    {
      err = busy_prepare (j, t, block + i);
      new += to_revoke (j, t, block + i, metadata);
    }
  if (!err && new > h->revokes)
    err = ENOSPC;
  return err || !new ? err : jindex_reserve (&t->revokes, new);
}

int
journal_free (struct journal_handle *h, uint64_t block, uint32_t count,
	      bool metadata)
{
  struct journal *j = h->j;
  struct jtxn *t = h->txn;

  if (j->set.stub)
    return 0;
  if (!t)
    return EROFS;
  if (block >= j->fs_blocks || count > j->fs_blocks - block)
    return EINVAL;
  jlock (j);
  int err = j->err ? EROFS : free_prepare (h, block, count, metadata);
  for (uint32_t i = 0; i < count && !err; i++)
    {
      uint64_t nr = block + i;
      unsigned bit = nr & ((1u << BUSY_SHIFT) - 1);
      busy_bits (t, nr)[bit >> 3] |= (unsigned char) (1u << (bit & 7));
      if (to_revoke (j, t, nr, metadata))
	{
	  jindex_add (&t->revokes, nr, t);
	  t->nrevokes++;
	  h->revokes--;
	  t->revokes_out--;
	}
      struct jblock *b = jblock_find (j, nr);
      if (!b)
	continue;
      if (!b->running)
	{
	  /* It has to be in this transaction so that the commit drops its
	     older copy.  It takes no room in the log.  */
	  b->running = t;
	  jlist_append (&t->blocks, &b->run);
	}
      JOURNAL_INVARIANT (b->running == t, "I2-block");
      b->forgotten = true;
      b->dirty = false;
      atomic_store_explicit (&b->mark, 0, memory_order_release);
      atomic_store_explicit (&b->stale, false, memory_order_relaxed);
      jlist_remove (&b->copy);
    }
  junlock (j);
  return err;
}
