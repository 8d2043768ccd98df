/* The journal engine: writing a transaction to the log.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* The log is written in as few and as large writes as the ring and the
   place of the log on the disk allow: pieces are gathered until a run of
   the disk ends or the vector is full.

   A block that begins with the magic number of the log would look like a
   header to a reader.  It goes to the log with its first four bytes zero
   and a mark in its tag.  Only the log sees that: the frozen copy, which
   others may be reading, stays as it is, and the vector has a piece of four
   zero bytes in its place.  */

static const unsigned char zeros[4];

struct writer
{
  struct journal *j;
  uint32_t pos;			/* Next log block.  */
  uint32_t left;		/* Blocks that T may still write.  */
  uint64_t disk;		/* Of the first block gathered.  */
  uint32_t run;			/* Blocks left in this run.  */
  uint32_t count;		/* Blocks gathered.  */
  unsigned niov;
  unsigned descs;		/* Buffers of descs[] gathered.  */
  unsigned escapes;
  struct journal_iov iov[JIOV_MAX];
};

static int
submit (struct writer *w)
{
  struct journal *j = w->j;

  w->descs = 0;
  if (w->count == 0)
    return 0;
  int err = j->ops->writev (j->ctx, w->disk, w->count, w->iov, w->niov);
  jlock (j);
  j->stats.log_writes++;
  j->stats.log_blocks += w->count;
  junlock (j);
  w->count = w->niov = 0;
  return err;
}

/* Add one block of one or two pieces.  */
static int
gather (struct writer *w, const struct journal_iov *pieces, unsigned n)
{
  struct journal *j = w->j;
  int err = 0;

  JOURNAL_INVARIANT (w->left > 0, "I7-overrun");
  if (w->run == 0 || w->niov + n > JIOV_MAX)
    {
      err = submit (w);
      if (!err)
	err = jlog_map_open (j, w->pos, &w->disk, &w->run);
      if (err)
	return err;
    }
  memcpy (w->iov + w->niov, pieces, n * sizeof *pieces);
  w->niov += n;
  w->count++;
  w->run--;
  w->left--;
  if (++w->pos == j->end)
    w->pos = j->first;
  return 0;
}

/* A buffer of zeros for a block of the log's own.  */
static int
new_buf (struct writer *w, unsigned char **buf)
{
  if (w->descs == JDESC_BUFS)
    {
      int err = submit (w);
      w->run = 0;
      if (err)
	return err;
    }
  *buf = w->j->descs[w->descs++];
  memset (*buf, 0, w->j->block_size);
  return 0;
}

static int
add_buf (struct writer *w, unsigned char *buf)
{
  struct journal_iov piece = { buf, w->j->block_size };
  unsigned descs = w->descs;
  int err = gather (w, &piece, 1);

  /* If gather had to submit, only this buffer is still in use, and it is
     the highest one: keep the count so that it is not handed out again.  */
  w->descs = descs;
  return err;
}

/* An empty descriptor or revoke block.  */
static int
new_desc (struct writer *w, enum jfmt_type type, uint32_t seq,
	  unsigned char **buf)
{
  int err = new_buf (w, buf);

  if (!err)
    jfmt_header (*buf, type, seq);
  return err;
}

static int
add_desc (struct writer *w, unsigned char *buf)
{
  jfmt_tail_put (&w->j->layout, buf);
  return add_buf (w, buf);
}

/* A disk writes sectors, and a commit block has more than one.  Only its
   first says anything, but its checksum covers the rest: if a crash leaves
   there what an older turn of the ring wrote, e2fsck and Linux take the log
   for damaged and ask for a person.  So the rest is zero on disk before the
   commit block is written, which then changes one sector, and is there or
   is not.  */
static int
clear_commit (struct writer *w)
{
  unsigned char *buf;
  int err = new_buf (w, &buf);

  return err ? err : add_buf (w, buf);
}

static int
write_revokes (struct writer *w, struct jtxn *t)
{
  struct journal *j = w->j;
  unsigned char *buf = NULL;
  unsigned n = 0;
  size_t pos = 0;
  uint64_t nr;
  int err = 0;

  while (!err && jindex_next (&t->revokes, &pos, &nr))
    {
      if (!buf)
	err = new_desc (w, JFMT_REVOKE, t->seq, &buf);
      if (err)
	break;
      jfmt_revoke_put (&j->layout, buf, n++, nr);
      if (n == j->layout.revokes_per_block)
	{
	  jfmt_revoke_count (&j->layout, buf, n);
	  err = add_desc (w, buf);
	  buf = NULL;
	  n = 0;
	}
    }
  if (!err && buf)
    {
      jfmt_revoke_count (&j->layout, buf, n);
      err = add_desc (w, buf);
    }
  return err;
}

/* One descriptor and its blocks, from *LINK on.  */
static int
write_group (struct writer *w, struct jtxn *t, struct jlink **link)
{
  struct journal *j = w->j;
  const struct jfmt_layout *l = &j->layout;
  struct jlink *first = *link, *next = first;
  unsigned char *buf;
  size_t pos = JFMT_HEADER_BYTES;
  int err = new_desc (w, JFMT_DESCRIPTOR, t->seq, &buf);

  if (err)
    return err;
  for (unsigned n = 0; n < l->tags_per_block && next != &t->frozen;)
    {
      struct jblock *b = jlist_item (next, struct jblock, log);
      struct jlink *after = next->next;
      while (after != &t->frozen
	     && !jlist_item (after, struct jblock, log)->frozen)
	after = after->next;
      bool escape = jfmt_get32 (b->frozen) == JFMT_MAGIC;
      const unsigned char *data = b->frozen;
      n++;
      struct jfmt_tag tag = {
	.block = b->nr,
	.flags = (escape ? JFMT_TAG_ESCAPE : 0)
	  | (n > 1 ? JFMT_TAG_SAME_UUID : 0)
	  | (n == l->tags_per_block || after == &t->frozen
	     ? JFMT_TAG_LAST : 0),
	.checksum = jfmt_tag_sum (l, t->seq, escape ? zeros : data, 4,
				  data + 4),
      };
      jfmt_tag_put (l, buf, &pos, &tag);
      next = after;
    }
  err = add_desc (w, buf);
  if (l->v1_sum)
    t->sum = jfmt_crc32_be (t->sum, buf, l->block_size);

  for (struct jlink *i = first; !err && i != next; i = i->next)
    {
      struct jblock *b = jlist_item (i, struct jblock, log);
      if (!b->frozen)
	continue;
      const unsigned char *data = b->frozen;
      bool escape = jfmt_get32 (data) == JFMT_MAGIC;
      struct journal_iov pieces[2] = {
	{ escape ? zeros : data, 4 },
	{ data + 4, l->block_size - 4 }
      };
      if (!escape)
	pieces[0].len = l->block_size;
      if (l->v1_sum)
	{
	  t->sum = jfmt_crc32_be (t->sum, pieces[0].base, pieces[0].len);
	  if (escape)
	    t->sum = jfmt_crc32_be (t->sum, pieces[1].base, pieces[1].len);
	}
      err = gather (w, pieces, escape ? 2 : 1);
      if (escape)
	w->escapes++;
    }
  *link = next;
  return err;
}

/* Write all of T, with zeros in place of its commit block.  Not flushed.  */
int
jlog_write (struct journal *j, struct jtxn *t)
{
  struct writer w = { .j = j, .pos = t->log_start, .left = t->log_count };
  struct jlink *link = t->frozen.next;
  int err = 0;

  /* I6.  The superblock that says where the log starts becomes durable with
     the flush before the first commit block, so no committed transaction
     is ever in a log that is said to be empty.  */
  if (jsb_start (j) == 0)
    err = jsb_update (j, t->log_start, t->seq);
  t->sum = ~0u;
  if (!err)
    err = write_revokes (&w, t);
  while (!err)
    {
      while (link != &t->frozen
	     && !jlist_item (link, struct jblock, log)->frozen)
	link = link->next;
      if (link == &t->frozen)
	break;
      err = write_group (&w, t, &link);
    }
  if (!err)
    err = clear_commit (&w);
  if (!err)
    err = submit (&w);
  JOURNAL_INVARIANT (err || w.left == 0, "I7-log-count");
  jlock (j);
  j->stats.revokes += t->nrevokes;
  j->stats.escapes += w.escapes;
  junlock (j);
  return err;
}

int
jlog_commit_record (struct journal *j, struct jtxn *t)
{
  unsigned char *buf = j->descs[0];
  struct journal_iov piece = { buf, j->block_size };
  uint32_t pos = t->log_start + t->log_count - 1, run;
  uint64_t disk;

  if (pos >= j->end)
    pos = pos - j->end + j->first;
  /* Replay takes a commit that is older than the one before it for a
     leftover of the log's past: time never goes back in a log.  */
  uint64_t now = j->ops->now (j->ctx);
  if (now < j->last_commit_ns)
    now = j->last_commit_ns;
  j->last_commit_ns = now;
  jfmt_commit_put (&j->layout, buf, t->seq, now, t->sum);
  int err = jlog_map_open (j, pos, &disk, &run);
  if (!err)
    err = j->ops->writev (j->ctx, disk, 1, &piece, 1);
  jlock (j);
  j->stats.log_writes++;
  j->stats.log_blocks++;
  junlock (j);
  return err;
}
