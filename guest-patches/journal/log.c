/* The journal engine: the place of the log on the disk and its superblock.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* The disk block of LOG_BLOCK, and how many log blocks from there on lie
   one after the other.  EINVAL outside of the log.  */
int
jlog_map (const struct journal_extent *extents, unsigned n,
	  uint32_t log_block, uint64_t *disk_block, uint32_t *run)
{
  for (unsigned i = 0; i < n; i++)
    {
      if (log_block < extents[i].count)
	{
	  *disk_block = extents[i].disk_block + log_block;
	  *run = extents[i].count - log_block;
	  return 0;
	}
      log_block -= extents[i].count;
    }
  return EINVAL;
}

/* The same in an open journal, where a run also ends with the ring.  */
int
jlog_map_open (struct journal *j, uint32_t log_block, uint64_t *disk_block,
	       uint32_t *run)
{
  int err = jlog_map (j->extents, j->nextents, log_block, disk_block, run);
  if (!err && *run > j->end - log_block)
    *run = j->end - log_block;
  return err;
}

uint32_t
jlog_extent_blocks (const struct journal_params *p)
{
  uint64_t sum = 0;
  for (unsigned i = 0; i < p->log_extents; i++)
    {
      const struct journal_extent *e = &p->log[i];
      if (e->disk_block >= p->fs_blocks
	  || e->count > p->fs_blocks - e->disk_block)
	return 0;
      sum += e->count;
    }
  return sum > UINT32_MAX ? 0 : (uint32_t) sum;
}

/* Is this a superblock that the engine can work with?  Nothing in it is
   trusted before.  */
int
jlog_check_sb (const struct journal_params *p, const struct jfmt_sb *sb)
{
  if (sb->block_size != p->block_size)
    return EINVAL;
  if (sb->maxlen < JFMT_MIN_LOG_BLOCKS || sb->maxlen > jlog_extent_blocks (p))
    return EINVAL;
  if (sb->first < 1 || sb->first > sb->maxlen - JFMT_MIN_LOG_BLOCKS / 2)
    return EINVAL;
  if (sb->start && (sb->start < sb->first || sb->start >= sb->maxlen))
    return EINVAL;
  if ((sb->incompat & ~JFMT_INCOMPAT_KNOWN) || sb->ro_compat
      || (sb->compat & ~JFMT_COMPAT_CHECKSUM))
    return ENOTSUP;
  if ((sb->incompat & JFMT_INCOMPAT_CSUM_V2)
      && (sb->incompat & JFMT_INCOMPAT_CSUM_V3))
    return ENOTSUP;
  return 0;
}

uint32_t
jsb_start (struct journal *j)
{
  j->ops->mutex_lock (j->ctx, j->sb_lock);
  uint32_t start = j->sb.start;
  j->ops->mutex_unlock (j->ctx, j->sb_lock);
  return start;
}

/* Write the superblock; the caller flushes.  An abort keeps the start that
   is on disk: what was committed can still be replayed.  With SB_LOCK
   held.  */
int
jsb_put (struct journal *j, uint32_t start, uint32_t seq)
{
  struct journal_iov piece = { j->sb_buf, j->block_size };
  uint64_t disk;
  uint32_t run;

  struct jfmt_sb old = j->sb;
  j->sb.start = start;
  j->sb.sequence = seq;
  jfmt_sb_write (j->sb_buf, &j->sb);
  int err = jlog_map_open (j, 0, &disk, &run);
  if (!err)
    err = j->ops->writev (j->ctx, disk, 1, &piece, 1);
  if (err)
    j->sb = old;
  return err;
}

int
jsb_update (struct journal *j, uint32_t start, uint32_t seq)
{
  j->ops->mutex_lock (j->ctx, j->sb_lock);
  int err = jsb_put (j, start, seq);
  j->ops->mutex_unlock (j->ctx, j->sb_lock);
  return err;
}

/* Give up.  The first error stays; it is written to the superblock of the
   log, so that the next check of the file system looks closer.  */
void
journal_abort (struct journal *j, int err, const char *what)
{
  struct journal_iov piece = { j->sb_buf, j->block_size };
  uint64_t disk;
  uint32_t run;

  jlock (j);
  bool first = !j->err;
  if (first)
    j->err = err;
  jwake (j, j->gate);
  jwake (j, j->drained);
  jwake (j, j->done_cond);
  jwake (j, j->work);
  junlock (j);
  if (!first)
    return;

  j->ops->mutex_lock (j->ctx, j->sb_lock);
  j->sb.err = -err;
  jfmt_sb_write (j->sb_buf, &j->sb);
  /* Best effort: the disk has just failed.  */
  if (!jlog_map_open (j, 0, &disk, &run)
      && !j->ops->writev (j->ctx, disk, 1, &piece, 1))
    j->ops->flush (j->ctx);
  j->ops->mutex_unlock (j->ctx, j->sb_lock);
  if (j->ops->aborted)
    j->ops->aborted (j->ctx, err, what);
}

int
journal_error (struct journal *j)
{
  return j->err;
}
