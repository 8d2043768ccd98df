/* The journal engine: opening and closing.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void
jinvariant_failed (const char *name, const char *cond, const char *file,
		   int line)
{
  fprintf (stderr, "journal: %s:%d: invariant %s broken: %s\n", file, line,
	   name, cond);
  abort ();
}

static int
make_locks (struct journal *j)
{
  void **mutexes[] = { &j->lock, &j->copy_lock, &j->sb_lock };
  void **conds[] = { &j->gate, &j->drained, &j->done_cond, &j->work };

  for (size_t i = 0; i < sizeof mutexes / sizeof *mutexes; i++)
    if (!(*mutexes[i] = j->ops->mutex_new (j->ctx)))
      return ENOMEM;
  for (size_t i = 0; i < sizeof conds / sizeof *conds; i++)
    if (!(*conds[i] = j->ops->cond_new (j->ctx)))
      return ENOMEM;
  return 0;
}

static void
free_locks (struct journal *j)
{
  void *mutexes[] = { j->lock, j->copy_lock, j->sb_lock };
  void *conds[] = { j->gate, j->drained, j->done_cond, j->work };

  for (size_t i = 0; i < sizeof mutexes / sizeof *mutexes; i++)
    if (mutexes[i])
      j->ops->mutex_free (j->ctx, mutexes[i]);
  for (size_t i = 0; i < sizeof conds / sizeof *conds; i++)
    if (conds[i])
      j->ops->cond_free (j->ctx, conds[i]);
}

static void
free_block (void *block, void *journal)
{
  struct jblock *b = block;
  struct journal *j = journal;
  void *copies[] = { b->img, b->shadow, b->frozen, b->home };

  for (size_t i = 0; i < sizeof copies / sizeof *copies; i++)
    jpool_put (&j->images, copies[i]);
  jpool_put (&j->blocks, b);
}

static void
destroy (struct journal *j)
{
  /* After an abort blocks and transactions are still there.  */
  jtable_each (&j->index, free_block, j);
  if (j->running)
    jtxn_free (j, j->running);
  if (j->committing)
    jtxn_free (j, j->committing);
  while (!jlist_empty (&j->done))
    {
      struct jtxn *t = jlist_item (j->done.next, struct jtxn, link);
      jlist_remove (&t->link);
      jtxn_free (j, t);
    }
  jtable_destroy (&j->index);
  jindex_destroy (&j->failures);
  jpool_put (&j->images, j->spare);
  jpool_put (&j->images, j->copy_spare);
  for (unsigned i = 0; i < JDESC_BUFS; i++)
    jmem_free (&j->mem, j->descs[i], j->block_size);
  jmem_free (&j->mem, j->sb_buf, j->block_size);
  jpool_destroy (&j->blocks);
  jpool_destroy (&j->images);
  jmem_free (&j->mem, j->extents, j->nextents * sizeof *j->extents);
  free_locks (j);
  JOURNAL_INVARIANT (atomic_load (&j->mem.bytes) == sizeof *j, "leak");
  j->ops->free (j->ctx, j, sizeof *j);
}

static int
make_buffers (struct journal *j, const struct journal_params *p)
{
  j->extents = jmem_alloc (&j->mem, p->log_extents * sizeof *j->extents);
  j->nextents = j->extents ? p->log_extents : 0;
  j->spare = jpool_get (&j->images);
  j->copy_spare = jpool_get (&j->images);
  j->sb_buf = jmem_alloc (&j->mem, j->block_size);
  if (!j->extents || !j->spare || !j->copy_spare || !j->sb_buf)
    return ENOMEM;
  memcpy (j->extents, p->log, p->log_extents * sizeof *j->extents);
  for (unsigned i = 0; i < JDESC_BUFS; i++)
    if (!(j->descs[i] = jmem_alloc (&j->mem, j->block_size)))
      return ENOMEM;
  return make_locks (j);
}

/* What the settings want the log to look like.  The features reach the disk
   with the superblock that also says that the log is in use, and that is
   written before the first commit block: no log is ever read with the wrong
   features.  */
static void
set_features (struct journal *j)
{
  struct jfmt_sb *sb = &j->sb;

  if (sb->version == 1)
    {
      /* All that version 2 added is zero in a log of version 1 that mke2fs
	 made, but not for sure: jfmt_sb_write sets what we know of.  */
      memset (j->sb_buf + 0x24, 0, JFMT_SB_BYTES - 0x24);
      sb->version = 2;
      sb->nr_users = 1;
    }
  sb->compat &= ~JFMT_COMPAT_CHECKSUM;
  sb->incompat = 0;
  sb->checksum_type = 0;
  if (j->set.revoke)
    sb->incompat |= JFMT_INCOMPAT_REVOKE;
  if (j->set.bits64 || j->fs_blocks > UINT32_MAX)
    sb->incompat |= JFMT_INCOMPAT_64BIT;
  if (j->set.csum == JOURNAL_CSUM_V3)
    sb->incompat |= JFMT_INCOMPAT_CSUM_V3;
  if (j->set.csum == JOURNAL_CSUM_V2)
    sb->incompat |= JFMT_INCOMPAT_CSUM_V2;
  if (sb->incompat & (JFMT_INCOMPAT_CSUM_V2 | JFMT_INCOMPAT_CSUM_V3))
    sb->checksum_type = JFMT_CRC32C;
  if (j->set.csum == JOURNAL_CSUM_V1)
    sb->compat |= JFMT_COMPAT_CHECKSUM;
}

static int
read_log_sb (struct journal *j, const struct journal_params *p)
{
  uint64_t disk;
  uint32_t run;
  bool csum_ok;
  int err = jlog_map (p->log, p->log_extents, 0, &disk, &run);

  if (!err)
    err = j->ops->read (j->ctx, disk, 1, j->sb_buf);
  if (err)
    return err;
  if (!jfmt_sb_read (j->sb_buf, &j->sb, &csum_ok) || !csum_ok)
    return EINVAL;
  err = jlog_check_sb (p, &j->sb);
  if (err)
    return err;
  /* A log that was not replayed, or that an abort left an error in, is not
     written to.  Recovery clears the one and reports the other.  */
  if (j->sb.start || j->sb.err)
    return EUCLEAN;
  return 0;
}

static void
set_limits (struct journal *j)
{
  uint32_t reserve;

  j->first = j->head = j->sb.first;
  j->end = j->sb.maxlen;
  /* What is in use of the log is in memory as well, so this bounds both.  No
     less than in the smallest log.  */
  uint64_t most = ((uint64_t) j->set.memory_mb << 20) / j->block_size;
  if (most < JFMT_MIN_LOG_BLOCKS)
    most = JFMT_MIN_LOG_BLOCKS;
  j->size = j->end - j->first;
  if (j->size > most)
    j->size = (uint32_t) most;
  j->free = j->size;
  j->max_txn = j->size / 4;
  /* What is kept back for workers is a part of every transaction.  */
  if (j->set.worker_credits > j->max_txn / 8)
    j->set.worker_credits = j->max_txn / 8;
  reserve = jtxn_space (j, j->set.worker_credits, 0);
  j->max_handle = (j->max_txn - reserve) / 2;
  j->next_seq = j->sb.sequence ? j->sb.sequence : 1;
}

static int
open_log (struct journal *j, const struct journal_params *p)
{
  int err = jtable_init (&j->index, &j->mem, p->fs_blocks, j->set.index);
  if (!err)
    err = make_buffers (j, p);
  if (!err)
    err = read_log_sb (j, p);
  if (err)
    return err;
  set_features (j);
  jfmt_layout_init (&j->layout, &j->sb);
  set_limits (j);
  return jdaemons_start (j);
}

int
journal_open (const struct journal_params *p, struct journal **journal)
{
  struct journal_mem mem = { .ops = p->ops, .ctx = p->ctx };
  uint32_t bs = p->block_size;

  *journal = NULL;
  if (bs < 1024 || bs > 65536 || (bs & (bs - 1)) || p->log_extents == 0)
    return EINVAL;
  struct journal *j = jmem_alloc (&mem, sizeof *j);
  if (!j)
    return ENOMEM;
  memset (j, 0, sizeof *j);
  j->ops = p->ops;
  j->ctx = p->ctx;
  j->set = p->settings;
  j->set.front = j->set.front && j->set.alloc == JOURNAL_ALLOC_SLAB;
  j->mem.ops = mem.ops;
  j->mem.ctx = mem.ctx;
  atomic_store (&j->mem.bytes, sizeof *j);
  atomic_store (&j->mem.peak, sizeof *j);
  j->block_size = bs;
  j->fs_blocks = p->fs_blocks;
  jlist_init (&j->done);
  jindex_init (&j->failures, &j->mem);
  j->next_tid = 1;
  jpool_init (&j->blocks, &j->mem, j->set.alloc, sizeof (struct jblock), 64);
  jpool_init (&j->images, &j->mem, j->set.alloc, bs, 16);
  int err = open_log (j, p);
  if (err)
    {
      destroy (j);
      return err;
    }
  *journal = j;
  return 0;
}

int
journal_close (struct journal *j)
{
  int err = j->err ? EROFS : journal_quiesce (j);
  jdaemons_stop (j);
  destroy (j);
  return err;
}

void
journal_get_limits (struct journal *j, struct journal_limits *limits)
{
  jlock (j);
  limits->log_blocks = j->size;
  limits->max_transaction = j->max_txn;
  limits->max_handle = j->max_handle;
  limits->free = j->free;
  junlock (j);
}
