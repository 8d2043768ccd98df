/* Is this image a sound ext2, and which tree is on it?

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct checker
{
  const struct simdisk *d;
  struct geometry g;
  struct tree *t;
  unsigned char *owned;		/* By block: it has an owner.  */
  uint16_t *links;		/* By inode: entries that name it.  */
  unsigned char *seen;		/* By inode: its blocks were counted.  */
  uint64_t *digests;		/* Of what is below a directory.  */
  check_data_fn *data;
  void *arg;
  unsigned depth;
};

static void
problem (struct checker *c, const char *fmt, ...)
  __attribute__ ((format (printf, 2, 3)));

/* The first is the one to look at.  */
static void
problem (struct checker *c, const char *fmt, ...)
{
  va_list ap;
  if (c->t->problem[0])
    return;
  va_start (ap, fmt);
  vsnprintf (c->t->problem, sizeof c->t->problem, fmt, ap);
  va_end (ap);
}

static const unsigned char *
at (const struct checker *c, uint32_t block)
{
  return c->d->now + (size_t) block * c->g.bs;
}

static uint64_t
mix (uint64_t h, uint64_t v)
{
  struct rng r = { h ^ v * 0xD6E8FEB86659FD93u };
  return rng_next (&r);
}

uint64_t
digest_target (const uint32_t target[15])
{
  uint64_t h = 0;
  for (int k = 0; k < 15; k++)
    h = mix (h, target[k]);
  return h;
}

uint64_t
digest_root (uint64_t below, uint32_t links)
{
  return mix (below, links);
}

uint64_t
digest_entry (const char *name, unsigned name_len, uint32_t mode,
	      uint32_t uid, uint32_t links, uint32_t size,
	      uint32_t generation, uint64_t below)
{
  uint64_t h = 1;
  for (unsigned i = 0; i < name_len; i++)
    h = mix (h, (unsigned char) name[i]);
  h = mix (h, (uint64_t) mode << 32 | uid);
  h = mix (h, (uint64_t) links << 32 | size);
  h = mix (h, generation);
  return mix (h, below);
}

static bool
own (struct checker *c, uint32_t block, uint32_t ino)
{
  if (block < c->g.first_block || block >= c->g.blocks)
    {
      problem (c, "inode %u has block %u", ino, block);
      return false;
    }
  if (c->owned[block]++)
    {
      problem (c, "block %u of inode %u has another owner", block, ino);
      return false;
    }
  return true;
}

static void
check_data (struct checker *c, uint32_t ino, const struct inode *i,
	    uint32_t index, uint32_t block)
{
  uint32_t lowest = UINT32_MAX;
  for (uint32_t n = 0; n < c->g.bs / SECTOR; n++)
    {
      uint32_t v = data_version (at (c, block) + n * SECTOR, i->generation,
				 index, n);
      if (v == 0)
	problem (c, "block %u, block %u of inode %u, sector %u, shows data"
		 " of someone else", block, index, ino, n);
      if (v < lowest)
	lowest = v;
    }
  if (c->data)
    c->data (c->arg, i->generation, index, lowest);
}

static uint32_t
file_block (const struct checker *c, const struct inode *i, uint32_t k)
{
  if (k < NDIRECT)
    return i->block[k];
  if (!i->block[NDIRECT])
    return 0;
  return le32 (at (c, i->block[NDIRECT]) + 4 * (k - NDIRECT));
}

static void
check_blocks (struct checker *c, uint32_t ino, const struct inode *i)
{
  bool reg = (i->mode & 0xF000) == 0x8000, dir = (i->mode & 0xF000) == 0x4000;
  uint32_t n = 0, last = 0, end = NDIRECT;

  if (!reg && !dir)
    {
      if (i->blocks)
	problem (c, "inode %u has blocks", ino);
      return;
    }
  if (i->block[13] || i->block[14])
    problem (c, "inode %u has far blocks", ino);
  if (i->block[NDIRECT])
    {
      if (!own (c, i->block[NDIRECT], ino))
	return;
      n++;
      end += c->g.bs / 4;
    }
  for (uint32_t k = 0; k < end; k++)
    {
      uint32_t b = file_block (c, i, k);
      if (!b)
	continue;
      if (!own (c, b, ino))
	return;
      n++;
      last = k + 1;
      if (reg)
	check_data (c, ino, i, k, b);
    }
  if (n * (c->g.bs / 512) != i->blocks)
    problem (c, "inode %u counts %u sectors and has %u blocks", ino,
	     i->blocks, n);
  if (last > (i->size + c->g.bs - 1) / c->g.bs)
    problem (c, "inode %u of %u bytes has block %u", ino, i->size, last - 1);
}

static uint64_t check_dir (struct checker *c, uint32_t ino,
			   const struct inode *i, uint32_t parent);

/* One entry that is not a dot.  Returns its part of the digest.  */
static uint64_t
check_entry (struct checker *c, uint32_t dir, uint32_t ino,
	     const char *name, unsigned len)
{
  struct inode i;
  uint32_t off = (ino - 1) * INODE_BYTES;

  if (ino == 0 || ino > c->g.inodes)
    {
      problem (c, "entry %.*s of inode %u names inode %u", (int) len, name,
	       dir, ino);
      return 0;
    }
  inode_decode (&i, at (c, c->g.inode_table) + off);
  if (i.links == 0 || i.mode == 0)
    {
      problem (c, "entry %.*s of inode %u names inode %u, which is free",
	       (int) len, name, dir, ino);
      return 0;
    }
  c->links[ino]++;
  bool is_dir = (i.mode & 0xF000) == 0x4000;
  if (is_dir && c->seen[ino])
    problem (c, "directory %u has two names", ino);
  else if (!c->seen[ino])
    {
      c->seen[ino] = 1;
      check_blocks (c, ino, &i);
      if (is_dir && !c->t->problem[0])
	c->digests[ino] = check_dir (c, ino, &i, dir);
      *(is_dir ? &c->t->dirs : &c->t->files) += 1;
    }
  if (!strncmp (name, "lost+found", len) && len == 10)
    return 0;
  if ((i.mode & 0xF000) == 0xA000)
    c->digests[ino] = digest_target (i.block);
  return digest_entry (name, len, i.mode, i.uid, i.links,
		       is_dir ? 0 : i.size, i.generation, c->digests[ino]);
}

static uint64_t
check_dir (struct checker *c, uint32_t ino, const struct inode *i,
	   uint32_t parent)
{
  uint64_t sum = 0;
  unsigned n = 0;

  if (++c->depth > 64)
    problem (c, "directories too deep");
  for (uint32_t k = 0; k < i->size / c->g.bs && !c->t->problem[0]; k++)
    {
      uint32_t block = file_block (c, i, k);
      if (!block)
	{
	  problem (c, "directory %u has a hole", ino);
	  break;
	}
      const unsigned char *p = at (c, block);
      for (uint32_t off = 0; off < c->g.bs && !c->t->problem[0]; n++)
	{
	  uint32_t to = le32 (p + off), len = le16 (p + off + 4);
	  uint32_t name_len = le16 (p + off + 6);
	  const char *name = (const char *) p + off + 8;
	  if (len < 8 || len % 4 || off + len > c->g.bs
	      || name_len + 8 > len)
	    problem (c, "directory %u, block %u: bad entry at %u", ino,
		     block, off);
	  else if (n < 2)
	    {
	      if (name_len != n + 1 || memcmp (name, "..", n + 1)
		  || to != (n ? parent : ino))
		problem (c, "directory %u: entry %u is not right", ino, n);
	      else
		c->links[to]++;
	    }
	  else if (to)
	    sum += check_entry (c, ino, to, name, name_len);
	  off += len;
	}
    }
  c->depth--;
  return sum;
}

static bool
bit (const unsigned char *p, uint32_t n)
{
  return p[n / 8] >> n % 8 & 1;
}

static void
check_orphans (struct checker *c)
{
  uint32_t ino = le32 (c->d->now + 1024 + 0xE8);
  while (ino && !c->t->problem[0])
    {
      struct inode i;
      if (ino > c->g.inodes || ++c->t->orphans > c->g.inodes)
	{
	  problem (c, "the orphan list leads to inode %u", ino);
	  return;
	}
      inode_decode (&i, at (c, c->g.inode_table) + (ino - 1) * INODE_BYTES);
      ino = i.dtime;
    }
}

static void
check_maps (struct checker *c)
{
  const unsigned char *sb = c->d->now + 1024, *gd = at (c, c->g.gd_block);
  uint32_t free_blocks = 0, free_inodes = 0;

  for (uint32_t b = c->g.first_block; b < c->g.blocks; b++)
    {
      bool used = bit (at (c, c->g.block_bitmap), b - c->g.first_block);
      free_blocks += !used;
      if (used != !!c->owned[b])
	problem (c, "block %u is %s and marked %s", b,
		 c->owned[b] ? "in use" : "free", used ? "used" : "free");
    }
  for (uint32_t n = 1; n <= c->g.inodes; n++)
    {
      struct inode i;
      bool used = bit (at (c, c->g.inode_bitmap), n - 1);
      inode_decode (&i, at (c, c->g.inode_table) + (n - 1) * INODE_BYTES);
      free_inodes += !used;
      if (n < c->g.first_ino && n != ROOT_INO)
	continue;
      if (used != (c->links[n] > 0))
	problem (c, "inode %u has %u names and is marked %s", n,
		 c->links[n], used ? "used" : "free");
      else if (used && i.links != c->links[n])
	problem (c, "inode %u counts %u links and has %u", n, i.links,
		 c->links[n]);
      else if (used && i.dtime)
	problem (c, "inode %u is in use and has a time of deletion", n);
      else if (!used && i.links)
	problem (c, "inode %u is free and counts %u links", n, i.links);
    }
  if (le16 (gd + 12) != free_blocks || le32 (sb + 12) != free_blocks)
    problem (c, "%u blocks are free; the counts are %u and %u", free_blocks,
	     le16 (gd + 12), le32 (sb + 12));
  if (le16 (gd + 14) != free_inodes || le32 (sb + 16) != free_inodes)
    problem (c, "%u inodes are free; the counts are %u and %u", free_inodes,
	     le16 (gd + 14), le32 (sb + 16));
  if (le16 (gd + 16) != c->t->dirs + 1)
    problem (c, "there are %u directories; the count is %u",
	     c->t->dirs + 1, le16 (gd + 16));
}

/* What mke2fs gave away before there was a file.  */
static void
own_fixed (struct checker *c)
{
  struct journal_extent e[64];
  struct inode j;
  uint32_t table = (c->g.inodes * INODE_BYTES + c->g.bs - 1) / c->g.bs;

  own (c, c->g.sb_block, 0);
  own (c, c->g.gd_block, 0);
  own (c, c->g.block_bitmap, 0);
  own (c, c->g.inode_bitmap, 0);
  for (uint32_t n = 0; n < table; n++)
    own (c, c->g.inode_table + n, 0);
  unsigned ne = journal_extents (c->d->now, &c->g, e, 64);
  for (unsigned n = 0; n < ne; n++)
    for (uint32_t k = 0; k < e[n].count; k++)
      own (c, (uint32_t) e[n].disk_block + k, JOURNAL_INO);
  inode_decode (&j, at (c, c->g.inode_table)
		+ (JOURNAL_INO - 1) * INODE_BYTES);
  if (j.block[12])
    own (c, j.block[12], JOURNAL_INO);
  if (j.block[13])
    {
      own (c, j.block[13], JOURNAL_INO);
      for (uint32_t k = 0; k < c->g.bs / 4; k++)
	if (le32 (at (c, j.block[13]) + 4 * k))
	  own (c, le32 (at (c, j.block[13]) + 4 * k), JOURNAL_INO);
    }
}

void
check_image (const struct simdisk *d, struct tree *t, check_data_fn *data,
	     void *arg)
{
  struct checker c = { .d = d, .t = t, .data = data, .arg = arg };
  struct inode root;

  memset (t, 0, sizeof *t);
  geometry_read (&c.g, d->now, d->block_size);
  c.owned = calloc (c.g.blocks, 1);
  c.links = calloc (c.g.inodes + 1, sizeof *c.links);
  c.seen = calloc (c.g.inodes + 1, 1);
  c.digests = calloc (c.g.inodes + 1, sizeof *c.digests);
  CHECK (c.owned && c.links && c.seen && c.digests, "out of memory");
  own_fixed (&c);
  inode_decode (&root, at (&c, c.g.inode_table)
		+ (ROOT_INO - 1) * INODE_BYTES);
  c.seen[ROOT_INO] = 1;
  check_blocks (&c, ROOT_INO, &root);
  if (!t->problem[0])
    t->digest = check_dir (&c, ROOT_INO, &root, ROOT_INO);
  t->digest = digest_root (t->digest, root.links);
  check_orphans (&c);
  if (!t->problem[0] && t->orphans == 0)
    check_maps (&c);
  free (c.owned);
  free (c.links);
  free (c.seen);
  free (c.digests);
}
