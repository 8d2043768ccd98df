/* The journal engine: replay.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* Three walks over the log, as every JBD2 has them:

   SCAN    finds the end: the first transaction without a good commit block.
   REVOKE  collects the revokes of the transactions before the end.
   REPLAY  writes their blocks home, except those that a revoke of the same
	   or a later transaction names.

   Nothing in a log is trusted.  Positions stay in the ring, a walk looks at
   no more blocks than the ring has, tags stay in their block, a block goes
   home only into the file system and never into the log itself.

   Damage.  A transaction with a bad checksum in a descriptor, revoke or
   commit block ends the log: it is not replayed, nor any after it, but all
   before it are.  (e2fsck replays nothing at all if it is a descriptor or
   revoke block.)  If its commit time is older than the one before, it is a
   leftover from the log's past and no damage.  Nor is a bad commit block
   that nothing follows: the power failed while it was written.  (e2fsck
   calls that damage.)  A data block with a bad
   checksum, or a tag that names a block which must not be written, is left
   out, and the rest is written, as e2fsck does.

   A damaged log is left empty with an error in its superblock, which only
   e2fsck takes out: the file system needs a check before it is written to.

   Replay can be cut off at any write and be done again: the log is marked
   empty only after what was written home is flushed.  */

enum pass { SCAN, REVOKE, REPLAY };

#define WINDOW 32

struct revoke_record
{
  uint32_t seq;
};

struct replay
{
  const struct journal_params *p;
  struct journal_mem mem;
  struct jfmt_sb sb;
  struct jfmt_layout layout;
  struct jindex revokes;
  struct jpool records;
  unsigned char *sb_buf;
  unsigned char *head;		/* The header block looked at.  */
  unsigned char *window;	/* Log blocks read ahead.  */
  uint32_t window_pos, window_count;
  uint32_t visited;		/* Blocks, in this walk.  */
  uint32_t end_seq;		/* The first that is not replayed.  */
  bool write;			/* Not an inspection.  */
  struct journal_recovery *result;
};

/* *DATA is the log block POS until the next call.  */
static int
log_block (struct replay *r, uint32_t pos, const unsigned char **data)
{
  uint32_t bs = r->p->block_size;

  if (pos - r->window_pos >= r->window_count)
    {
      uint64_t disk;
      uint32_t run;
      int err = jlog_map (r->p->log, r->p->log_extents, pos, &disk, &run);
      if (err)
	return err;
      if (run > WINDOW)
	run = WINDOW;
      if (run > r->sb.maxlen - pos)
	run = r->sb.maxlen - pos;
      r->window_count = 0;
      err = r->p->ops->read (r->p->ctx, disk, run, r->window);
      if (err)
	return err;
      r->window_pos = pos;
      r->window_count = run;
    }
  *data = r->window + (size_t) (pos - r->window_pos) * bs;
  return 0;
}

static uint32_t
next_pos (const struct replay *r, uint32_t pos)
{
  return pos + 1 == r->sb.maxlen ? r->sb.first : pos + 1;
}

/* May BLOCK be written?  */
static bool
may_write (const struct replay *r, uint64_t block)
{
  const struct journal_params *p = r->p;

  if (block >= p->fs_blocks)
    return false;
  for (unsigned i = 0; i < p->log_extents; i++)
    if (block - p->log[i].disk_block < p->log[i].count)
      return false;
  return !p->ops->is_protected || !p->ops->is_protected (p->ctx, block);
}

static int
replay_block (struct replay *r, const struct jfmt_tag *tag, uint32_t seq,
	      const unsigned char *data)
{
  static const unsigned char magic[4] = { 0xC0, 0x3B, 0x39, 0x98 };
  uint32_t bs = r->p->block_size;
  const struct revoke_record *rec = jindex_find (&r->revokes, tag->block);

  if (rec && (int32_t) (rec->seq - seq) >= 0)
    {
      r->result->revoked++;
      return 0;
    }
  if (!may_write (r, tag->block)
      || !jfmt_tag_sum_ok (&r->layout, seq, tag, data))
    {
      r->result->bad_blocks++;
      r->result->corrupt = true;
      return 0;
    }
  bool escape = tag->flags & JFMT_TAG_ESCAPE;
  struct journal_iov pieces[2] = {
    { escape ? magic : data, escape ? 4 : bs }, { data + 4, bs - 4 }
  };
  r->result->blocks++;
  return r->p->ops->writev (r->p->ctx, tag->block, 1, pieces,
			    escape ? 2 : 1);
}

/* The blocks that the descriptor in r->head describes.  SCAN steps over
   them, and sums them up in *SUM if the log has such sums.  */
static int
walk_tags (struct replay *r, enum pass pass, uint32_t seq, uint32_t *pos,
	   uint32_t *sum)
{
  struct jfmt_tag tag;
  size_t at = JFMT_HEADER_BYTES;
  int err = 0;

  if (pass == SCAN && r->layout.v1_sum)
    *sum = jfmt_crc32_be (*sum, r->head, r->layout.block_size);
  while (!err && jfmt_tag_get (&r->layout, r->head, &at, &tag))
    {
      const unsigned char *data;
      if (++r->visited > r->sb.maxlen)
	break;
      if (pass == REPLAY || (pass == SCAN && r->layout.v1_sum))
	{
	  err = log_block (r, *pos, &data);
	  if (!err && pass == SCAN)
	    *sum = jfmt_crc32_be (*sum, data, r->layout.block_size);
	  else if (!err)
	    err = replay_block (r, &tag, seq, data);
	}
      *pos = next_pos (r, *pos);
      if (tag.flags & JFMT_TAG_LAST)
	break;
    }
  return err;
}

static int
collect_revokes (struct replay *r, uint32_t seq)
{
  int n = jfmt_revoke_entries (&r->layout, r->head);

  for (int i = 0; i < n; i++)
    {
      uint64_t block = jfmt_revoke_get (&r->layout, r->head, (unsigned) i);
      struct revoke_record *rec = jindex_find (&r->revokes, block);
      if (!rec)
	{
	  rec = jpool_get (&r->records);
	  if (!rec)
	    return ENOMEM;
	  rec->seq = seq;
	  int err = jindex_add (&r->revokes, block, rec);
	  if (err)
	    {
	      jpool_put (&r->records, rec);
	      return err;
	    }
	}
      if ((int32_t) (seq - rec->seq) > 0)
	rec->seq = seq;
    }
  return 0;
}

struct walk
{
  enum pass pass;
  uint32_t pos, seq, sum;
  uint64_t last_time;		/* Of the commit block before.  */
  bool bad;			/* A checksum of this transaction is bad.  */
  bool done;
};

/* A commit block in SCAN; w->pos is after it.  */
static int
scan_commit (struct replay *r, struct walk *w)
{
  uint64_t now = jfmt_commit_sec (r->head);
  bool commit_ok = jfmt_commit_ok (&r->layout, r->head, w->sum);
  const unsigned char *data;
  uint32_t type, tid;

  if (commit_ok && !w->bad)
    {
      w->last_time = now;
      return 0;
    }
  w->done = true;
  if (now < w->last_time)
    return 0;
  /* The commit block of the last transaction may have been cut off by the
     crash: nothing was written after it then, and nothing promised.  */
  int err = commit_ok ? 0 : log_block (r, w->pos, &data);
  if (err)
    return err;
  if (!commit_ok && !(jfmt_is_header (data, &type, &tid)
		      && tid == w->seq + 1))
    r->result->torn_end = true;
  else
    r->result->corrupt = true;
  return 0;
}

/* One header block.  */
static int
step (struct replay *r, struct walk *w)
{
  const unsigned char *data;
  uint32_t type, tid;

  w->done = true;
  if (w->pass != SCAN && w->seq == r->end_seq)
    return 0;
  if (++r->visited > r->sb.maxlen)
    return 0;
  int err = log_block (r, w->pos, &data);
  if (err)
    return err;
  memcpy (r->head, data, r->p->block_size);
  if (!jfmt_is_header (r->head, &type, &tid) || tid != w->seq)
    return 0;
  w->pos = next_pos (r, w->pos);
  switch (type)
    {
    case JFMT_DESCRIPTOR:
      w->done = false;
      if (w->pass == SCAN && !jfmt_tail_ok (&r->layout, r->head))
	w->bad = true;
      return walk_tags (r, w->pass, w->seq, &w->pos, &w->sum);

    case JFMT_REVOKE:
      w->done = false;
      if (w->pass == SCAN && (!jfmt_tail_ok (&r->layout, r->head)
			      || jfmt_revoke_entries (&r->layout,
						      r->head) < 0))
	w->bad = true;
      return w->pass == REVOKE ? collect_revokes (r, w->seq) : 0;

    case JFMT_COMMIT:
      w->done = false;
      if (w->pass == SCAN)
	err = scan_commit (r, w);
      if (w->pass == REPLAY)
	r->result->transactions++;
      if (!w->done)
	{
	  w->seq++;
	  w->sum = ~0u;
	}
      return err;

    default:
      return 0;
    }
}

static int
run_pass (struct replay *r, enum pass pass)
{
  struct walk w = {
    .pass = pass, .pos = r->sb.start, .seq = r->sb.sequence, .sum = ~0u
  };
  int err = 0;

  r->visited = 0;
  while (!w.done && !err)
    err = step (r, &w);
  if (!err && pass == SCAN)
    r->end_seq = w.seq;
  return err;
}

static int
read_sb (struct replay *r)
{
  const struct journal_params *p = r->p;
  uint64_t disk;
  uint32_t run;
  bool csum_ok;
  int err = jlog_map (p->log, p->log_extents, 0, &disk, &run);

  if (!err)
    err = p->ops->read (p->ctx, disk, 1, r->sb_buf);
  if (err)
    return err;
  if (!jfmt_sb_read (r->sb_buf, &r->sb, &csum_ok) || !csum_ok)
    return EINVAL;
  err = jlog_check_sb (p, &r->sb);
  if (!err)
    jfmt_layout_init (&r->layout, &r->sb);
  return err;
}

/* The log is empty from here on.  */
static int
mark_empty (struct replay *r)
{
  const struct journal_params *p = r->p;
  struct journal_iov piece = { r->sb_buf, p->block_size };
  uint64_t disk;
  uint32_t run;
  int err = p->ops->flush (p->ctx);

  r->sb.start = 0;
  r->sb.sequence = r->result->next_tid;
  /* What lies behind the damage is lost, and a part of it may be at home.  */
  r->sb.err = r->result->corrupt ? -JFMT_DAMAGED : 0;
  jfmt_sb_write (r->sb_buf, &r->sb);
  if (!err)
    err = jlog_map (p->log, p->log_extents, 0, &disk, &run);
  if (!err)
    err = p->ops->writev (p->ctx, disk, 1, &piece, 1);
  if (!err)
    err = p->ops->flush (p->ctx);
  return err;
}

static int
replay_log (struct replay *r)
{
  struct journal_recovery *res = r->result;
  int err = read_sb (r);

  if (err)
    return err;
  res->log_errno = r->sb.err < 0 ? -r->sb.err : r->sb.err;
  res->first_tid = res->next_tid = r->sb.sequence;
  res->was_dirty = r->sb.start != 0;
  if (!res->was_dirty && res->log_errno == JFMT_DAMAGED)
    {
      res->corrupt = true;	/* As another replay left it.  */
      return 0;
    }
  if (res->was_dirty)
    {
      err = run_pass (r, SCAN);
      if (err)
	return err;
      /* Skip one: the end may have left blocks with its tid in the log.  */
      res->next_tid = r->end_seq + 1;
      if (!r->write)
	res->transactions = r->end_seq - res->first_tid;
    }
  if (!r->write || (!res->was_dirty && !res->log_errno))
    return 0;
  if (res->was_dirty)
    err = run_pass (r, REVOKE);
  if (!err && res->was_dirty)
    err = run_pass (r, REPLAY);
  return err ? err : mark_empty (r);
}

static int
recover (const struct journal_params *p, struct journal_recovery *result,
	 bool write)
{
  struct replay r = { .p = p, .write = write, .result = result };
  uint32_t bs = p->block_size;
  int err = ENOMEM;

  memset (result, 0, sizeof *result);
  if (bs < 1024 || bs > 65536 || (bs & (bs - 1)) || p->log_extents == 0)
    return EINVAL;
  r.mem.ops = p->ops;
  r.mem.ctx = p->ctx;
  jindex_init (&r.revokes, &r.mem);
  jpool_init (&r.records, &r.mem, JOURNAL_ALLOC_SLAB,
	      sizeof (struct revoke_record), 256);
  r.sb_buf = jmem_alloc (&r.mem, bs);
  r.head = jmem_alloc (&r.mem, bs);
  r.window = jmem_alloc (&r.mem, (size_t) WINDOW * bs);
  if (r.sb_buf && r.head && r.window)
    err = replay_log (&r);
  jmem_free (&r.mem, r.sb_buf, bs);
  jmem_free (&r.mem, r.head, bs);
  jmem_free (&r.mem, r.window, (size_t) WINDOW * bs);
  jindex_destroy (&r.revokes);
  jpool_destroy (&r.records);
  JOURNAL_INVARIANT (atomic_load (&r.mem.bytes) == 0, "leak");
  return err;
}

int
journal_recover (const struct journal_params *p,
		 struct journal_recovery *result)
{
  return recover (p, result, true);
}

int
journal_inspect (const struct journal_params *p,
		 struct journal_recovery *result)
{
  return recover (p, result, false);
}
