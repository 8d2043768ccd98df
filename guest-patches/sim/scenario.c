/* Scenarios: random operations on the file system and on the model.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "model.h"

#define NAMES 14

/* A node that fits WANT (IFMT), or -1.  */
static int
pick (struct scenario *s, uint32_t want, bool linked)
{
  struct model *m = &s->m;
  uint32_t from = rng_below (&s->rng, MODEL_NODES);
  for (uint32_t k = 0; k < MODEL_NODES; k++)
    {
      struct model_node *n = &m->node[(from + k) % MODEL_NODES];
      if (n->used && (n->mode & IFMT) == want && (!linked || n->links))
	return (int) ((from + k) % MODEL_NODES);
    }
  return -1;
}

static void
pick_name (struct scenario *s, char *name)
{
  /* Some are long, so that directories get a second block.  */
  uint32_t n = rng_below (&s->rng, NAMES);
  snprintf (name, MODEL_NAME - 8, n % 3 ? "n%u" : "name-%u-%.*s", n,
	    (int) (10 + n), "................................");
}

static void
remember (struct ack **list, size_t *n, size_t *room, struct ack a)
{
  if (*n == *room)
    {
      *room = *room ? *room * 2 : 64;
      *list = realloc (*list, *room * sizeof **list);
      CHECK (*list, "out of memory");
    }
  (*list)[(*n)++] = a;
}

/* What was written to GENERATION (0: to anything) is safe from here on.  */
static void
data_safe (struct scenario *s, uint32_t generation)
{
  size_t keep = 0;
  for (size_t i = 0; i < s->npending; i++)
    {
      struct ack a = s->pending[i];
      a.at = s->disk->nrecords;
      if (generation == 0 || a.generation == generation)
	remember (&s->acks, &s->nacks, &s->acks_room, a);
      else
	s->pending[keep++] = s->pending[i];
    }
  s->npending = keep;
}

/* An operation and what the model says of it.  */
struct planned
{
  struct scenario *s;
  struct op_args a;
  char name[MODEL_NAME], name2[MODEL_NAME];
  int err, expect;		/* err -1: nothing was done.  */
};

/* Did it change nothing?  An operation of several transactions that was cut
   off in the middle is finished by the next mount, so when the file system
   gave up in it, it may come to be.  It is the last one then.  */
static bool
undone (const struct planned *p)
{
  return p->err && (p->expect || !p->s->fs->aborted);
}

static void
unlink_node (struct model *m, int node)
{
  struct model_node *n = &m->node[node];
  n->links -= model_is_dir (n) ? 2 : 1;
  if (n->links == 0 && n->opens == 0)
    n->used = false;
}

static void
do_make (struct planned *p, int dir, uint32_t type)
{
  struct scenario *s = p->s;
  struct model *m = &s->m;
  int n = model_new_node (m);
  uint32_t ino;

  if (n < 0 || s->fs->g.inodes < 40)
    return;
  p->a.offset = m->next_generation;
  p->a.mode = 0600 + rng_below (&s->rng, 0100);
  snprintf (p->name2, sizeof p->name2, "target-%u", m->next_generation);
  p->a.name2 = p->name2;
  if (model_find (m, dir, p->name) >= 0)
    p->expect = EEXIST;
  p->err = type == IFDIR ? mfs_mkdir (s->fs, &p->a, &ino)
    : type == IFREG ? mfs_create (s->fs, &p->a, &ino)
    : mfs_symlink (s->fs, &p->a, &ino);
  if (undone (p))
    return;
  struct model_node *new = &m->node[n];
  new->used = true;
  new->mode = type | (type == IFLNK ? 0777 : p->a.mode);
  new->links = type == IFDIR ? 2 : 1;
  new->generation = m->next_generation++;
  new->ino = ino;
  if (type == IFLNK)
    {
      new->size = (uint32_t) strlen (p->name2);
      memcpy (new->target, p->name2, new->size);
    }
  if (type == IFDIR)
    m->node[dir].links++;
  model_add (m, dir, p->name, n);
}

static void
do_unlink (struct planned *p, int dir, bool keep_open)
{
  struct model *m = &p->s->m;
  int e = model_find (m, dir, p->name);
  if (e < 0)
    p->expect = ENOENT;
  else if (model_is_dir (&m->node[m->entry[e].node]))
    p->expect = EISDIR;
  p->err = mfs_unlink (p->s->fs, &p->a, keep_open);
  if (undone (p))
    return;
  m->entry[e].used = false;
  if (keep_open)
    m->node[m->entry[e].node].opens++;
  unlink_node (m, m->entry[e].node);
}

static void
do_rmdir (struct planned *p, int dir)
{
  struct model *m = &p->s->m;
  int e = model_find (m, dir, p->name);
  if (e < 0)
    p->expect = ENOENT;
  else if (!model_is_dir (&m->node[m->entry[e].node]))
    p->expect = ENOTDIR;
  else if (!model_empty (m, m->entry[e].node))
    p->expect = ENOTEMPTY;
  p->err = mfs_rmdir (p->s->fs, &p->a);
  if (undone (p))
    return;
  m->entry[e].used = false;
  m->node[dir].links--;
  unlink_node (m, m->entry[e].node);
}

static void
do_rename (struct planned *p, int dir)
{
  struct scenario *s = p->s;
  struct model *m = &s->m;
  int dir2 = pick (s, IFDIR, true);
  int e = model_find (m, dir, p->name);

  pick_name (s, p->name2);
  p->a.name2 = p->name2;
  p->a.dir2 = m->node[dir2].ino;
  if (e >= 0 && model_is_dir (&m->node[m->entry[e].node])
      && model_inside (m, dir2, m->entry[e].node))
    return;			/* The caller of mfs_rename sees to that.  */
  int e2 = model_find (m, dir2, p->name2);
  int node = e < 0 ? -1 : m->entry[e].node;
  int old = e2 < 0 ? -1 : m->entry[e2].node;
  if (e < 0)
    p->expect = ENOENT;
  else if (old == node)
    p->expect = EEXIST;
  else if (old >= 0 && model_is_dir (&m->node[node]) != model_is_dir (&m->node[old]))
    p->expect = model_is_dir (&m->node[node]) ? ENOTDIR : EISDIR;
  else if (old >= 0 && model_is_dir (&m->node[old]) && !model_empty (m, old))
    p->expect = ENOTEMPTY;
  p->err = mfs_rename (s->fs, &p->a);
  if (undone (p))
    return;
  bool d = model_is_dir (&m->node[node]);
  m->entry[e].used = false;
  if (old >= 0)
    {
      m->entry[e2].used = false;
      if (d)
	m->node[dir2].links--;
      unlink_node (m, old);
    }
  if (d && dir != dir2)
    {
      m->node[dir].links--;
      m->node[dir2].links++;
    }
  model_add (m, dir2, p->name2, node);
}

static void
do_link (struct planned *p, int dir)
{
  struct scenario *s = p->s;
  struct model *m = &s->m;
  int n = pick (s, IFREG, true);
  if (n < 0 || m->node[n].links > 5)
    return;
  p->a.dir2 = m->node[n].ino;
  if (model_find (m, dir, p->name) >= 0)
    p->expect = EEXIST;
  p->err = mfs_link (s->fs, &p->a);
  if (undone (p))
    return;
  m->node[n].links++;
  model_add (m, dir, p->name, n);
}

static void
do_file (struct planned *p, uint32_t what)
{
  struct scenario *s = p->s;
  int node = pick (s, IFREG, false);
  if (node < 0)
    return;
  struct model_node *n = &s->m.node[node];
  uint32_t bs = s->fs->g.bs, have = n->size / bs;

  p->a.dir = n->ino;
  if (what == 0)
    {
      p->a.offset = rng_below (&s->rng, 3) ? have : rng_below (&s->rng, 30);
      p->a.length = 1 + rng_below (&s->rng, 6);
      if (p->a.offset > 60)
	p->a.offset = 0;
      p->err = mfs_write (s->fs, &p->a, s->ops + 1);
      if (undone (p))
	return;
      for (uint32_t k = 0; k < p->a.length; k++)
	remember (&s->pending, &s->npending, &s->pending_room,
		  (struct ack) { 0, n->generation, p->a.offset + k,
		  s->ops + 1 });
      if ((p->a.offset + p->a.length) * bs > n->size)
	n->size = (p->a.offset + p->a.length) * bs;
    }
  else if (what == 1)
    {
      p->a.length = rng_below (&s->rng, have + 2);
      p->err = mfs_truncate (s->fs, &p->a);
      if (!undone (p))
	n->size = p->a.length * bs;
    }
  else
    {
      p->a.mode = rng_below (&s->rng, 010000);
      p->a.offset = rng_below (&s->rng, 5000);
      p->err = mfs_chmod (s->fs, &p->a);
      if (!undone (p))
	{
	  n->mode = (n->mode & IFMT) | p->a.mode;
	  n->uid = p->a.offset;
	}
    }
}

static void
do_close (struct planned *p)
{
  struct model *m = &p->s->m;
  for (int n = 0; n < MODEL_NODES; n++)
    if (m->node[n].used && m->node[n].opens)
      {
	p->a.sync = false;
	p->err = mfs_close (p->s->fs, m->node[n].ino);
	m->node[n].opens--;
	if (m->node[n].links == 0 && m->node[n].opens == 0)
	  m->node[n].used = false;
	return;
      }
}

/* All operations so far are durable.  */
static void
all_durable (struct scenario *s)
{
  simdisk_mark (s->disk, MARK_DURABLE (s->ops));
}

int
scenario_sync (struct scenario *s)
{
  int err = mfs_sync (s->fs);
  if (!err)
    {
      data_safe (s, 0);
      all_durable (s);
    }
  return err;
}

static int
fsync_some (struct scenario *s)
{
  int n = pick (s, IFREG, false);
  if (n < 0)
    return 0;
  int err = mfs_fsync (s->fs, s->m.node[n].ino);
  if (!err)
    data_safe (s, s->m.node[n].generation);
  return err;
}

int
scenario_step (struct scenario *s)
{
  struct planned p = { .s = s, .err = -1 };
  int dir = pick (s, IFDIR, true);

  s->fs->clock = s->ops + 1000;
  simdisk_mark (s->disk, MARK_BEGIN (s->ops + 1));
  pick_name (s, p.name);
  p.a.name = p.name;
  p.a.dir = s->m.node[dir].ino;
  p.a.sync = s->sync_every && rng_below (&s->rng, s->sync_every * 2) == 0;
  uint32_t what = rng_below (&s->rng, 100);
  if (what < 20)
    do_make (&p, dir, IFREG);
  else if (what < 30)
    do_make (&p, dir, IFDIR);
  else if (what < 34)
    do_make (&p, dir, IFLNK);
  else if (what < 45)
    do_unlink (&p, dir, rng_below (&s->rng, 4) == 0);
  else if (what < 52)
    do_rmdir (&p, dir);
  else if (what < 63)
    do_rename (&p, dir);
  else if (what < 68)
    do_link (&p, dir);
  else if (what < 85)
    do_file (&p, 0);
  else if (what < 92)
    do_file (&p, 1);
  else if (what < 97)
    do_file (&p, 2);
  else
    do_close (&p);
  if (p.err == -1)
    {
      p.err = p.expect = 0;
      p.a.sync = false;
    }
  if (!s->expect_errors || !p.err)
    CHECK (p.err == p.expect, "operation %u (%u, %s in %u) ended with %d "
	   "instead of %d", s->ops + 1, what, p.name, p.a.dir, p.err,
	   p.expect);
  s->failed += p.err && p.err != p.expect;
  s->digests[++s->ops] = model_digest (&s->m);
  if (p.a.sync && !p.err && !mfs_sync_failed)
    all_durable (s);
  int err = p.err == p.expect ? 0 : p.err;
  if (!err && s->sync_every && rng_below (&s->rng, s->sync_every) == 0)
    err = rng_below (&s->rng, 2) ? scenario_sync (s) : fsync_some (s);
  return err;
}

void
scenario_init (struct scenario *s, struct simdisk *d, struct mfs *fs,
	       uint64_t seed, uint32_t max_ops)
{
  memset (s, 0, sizeof *s);
  s->disk = d;
  s->fs = fs;
  s->rng.s = seed;
  s->digests = calloc (max_ops + 1, sizeof *s->digests);
  CHECK (s->digests, "out of memory");
  model_init (&s->m);
  s->digests[0] = model_digest (&s->m);
}

void
scenario_free (struct scenario *s)
{
  free (s->digests);
  free (s->acks);
  free (s->pending);
}
