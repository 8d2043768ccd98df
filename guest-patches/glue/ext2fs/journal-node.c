/* The journal in ext2fs: inodes, and the list of those that are to go.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdlib.h>
#include <string.h>

#include "journal-glue.h"

/* An inode that has lost its last name and is still in use is on a list that
   begins in the superblock and goes on in the field i_dtime of each: after a
   crash its blocks are freed.  Linux and e2fsck know the list.  It is kept
   here in memory as well, newest first, as on disk.  */

struct orphan
{
  ino_t inum;
  struct orphan *next;
};

static struct orphan *orphans;
static pthread_mutex_t orphan_lock = PTHREAD_MUTEX_INITIALIZER;

/* Taken where block pointers go from a node to its inode: a fault does that
   too, and does not lock the node.  */
static pthread_mutex_t inode_lock = PTHREAD_MUTEX_INITIALIZER;

/* Where the number of the one behind INUM is, or null.  */
static struct orphan **
find_orphan (ino_t inum, struct orphan **before)
{
  struct orphan **p;

  *before = NULL;
  for (p = &orphans; *p && (*p)->inum != inum; p = &(*p)->next)
    *before = *p;
  return *p ? p : NULL;
}

size_t
ext2_journal_orphans (void)
{
  const struct orphan *o;
  size_t count = 0;

  pthread_mutex_lock (&orphan_lock);
  for (o = orphans; o; o = o->next)
    count++;
  pthread_mutex_unlock (&orphan_lock);
  return count;
}

static uint32_t
next_of (const struct orphan *o)
{
  return htole32 (o->next ? o->next->inum : 0);
}

static void
set_head (void)
{
  sblock->s_last_orphan = htole32 (orphans ? orphans->inum : 0);
  sblock_dirty = 1;
  ext2_journal_super ();
}

/* Enter INUM, whose inode the caller writes.  */
static struct orphan *
add_orphan (ino_t inum)
{
  struct orphan *o = malloc (sizeof *o);

  if (! o)
    {
      ext2_journal_fail (ENOMEM, "no memory for the list of orphans");
      return NULL;
    }
  o->inum = inum;
  o->next = orphans;
  orphans = o;
  set_head ();
  return o;
}

/* Change the field by which inode INUM names the next on the list.  */
static void
set_next (ino_t inum, uint32_t next)
{
  error_t err = diskfs_catch_exception ();
  struct ext2_inode *di;

  if (err)
    {
      ext2_journal_fail (err, "the list of orphans cannot be written");
      return;
    }
  di = dino_ref (inum);
  ext2_journal_access (di);
  di->i_dtime = next;
  diskfs_end_catch_exception ();
  record_global_poke (di);
}

static void
remove_orphan (struct orphan **p, struct orphan *before)
{
  struct orphan *o = *p;

  *p = o->next;
  if (before)
    set_next (before->inum, next_of (before));
  else
    set_head ();
  free (o);
}

/* NP's inode DI was just written: have it on the list if, and only if, it is
   to be freed or cut.  */
static void
place_orphan (struct node *np, struct ext2_inode *di)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;
  bool wanted = jn->steps
    || (np->dn_stat.st_nlink == 0 && np->dn_stat.st_mode != 0);
  struct orphan *before, **p, *o;

  if (jn->steps)
    {
      di->i_size = htole32 (jn->target);
      di->i_size_high = htole32 (jn->target >> 32);
    }
  pthread_mutex_lock (&orphan_lock);
  p = find_orphan (np->cache_id, &before);
  o = p ? *p : NULL;
  if (wanted && ! o)
    o = add_orphan (np->cache_id);
  else if (! wanted && o)
    {
      remove_orphan (p, before);
      o = NULL;
    }
  if (o)
    di->i_dtime = next_of (o);
  pthread_mutex_unlock (&orphan_lock);
}

void
ext2_journal_copy_blocks (struct node *np, struct ext2_inode *di)
{
  struct disknode *dn = diskfs_node_disknode (np);

  if (! ext2_journal || S_ISCHR (np->dn_stat.st_mode)
      || S_ISBLK (np->dn_stat.st_mode))
    return;
  pthread_mutex_lock (&inode_lock);
  di->i_blocks = htole32 (np->dn_stat.st_blocks);
  memcpy (di->i_block, dn->info.i_data, sizeof di->i_block);
  pthread_mutex_unlock (&inode_lock);
}

/* What inode INUM names as the next on the list.  */
static error_t
read_next (ino_t inum, uint32_t *next)
{
  error_t err = diskfs_catch_exception ();

  if (! err)
    {
      struct ext2_inode *di = dino_ref (inum);

      *next = le32toh (di->i_dtime);
      diskfs_end_catch_exception ();
      dino_deref (di);
    }
  return err;
}

int
ext2_journal_update_node (struct node *np, int wait)
{
  struct journal_handle *h;
  struct ext2_inode *di;
  uint32_t next;
  error_t err = 0;

  if (! ext2_journal)
    return 0;
  h = journal_current ();
  /* Without an operation, as when a read has set the time of access, the
     node stays as it is, to be written by the next sync or operation.  */
  if (! h || diskfs_readonly)
    return 1;
  /* It does not say whether it had nothing to write or could not read the
     inode; and a fault may have changed NP behind it.  */
  while (! (di = ext2_write_node (np)) && np->dn_stat_dirty && ! err)
    err = read_next (np->cache_id, &next);
  if (di)
    {
      place_orphan (np, di);
      record_global_poke (di);
    }
  else if (err)
    /* The rest of the operation must not go to the disk without it.  */
    ext2_journal_fail (err, "an inode cannot be changed");
  if (wait)
    journal_set_sync (h);
  return 1;
}

/* Nodes that update_nodes has yet to write.  */
struct pending
{
  struct node **nodes;
  size_t count, room;
};

static __thread struct pending *collecting;

/* Called with NP locked.  No operation may start then.  */
static error_t
collect (struct node *np)
{
  struct pending *p = collecting;

  if (! (np->dn_stat_dirty || np->dn_set_ctime || np->dn_set_atime
	 || np->dn_set_mtime))
    return 0;
  if (p->count == p->room)
    {
      size_t room = p->room ? 2 * p->room : 64;
      struct node **more = realloc (p->nodes, room * sizeof *more);

      if (! more)
	return ENOMEM;		/* The next sync takes the others.  */
      p->nodes = more;
      p->room = room;
    }
  diskfs_nref (np);
  p->nodes[p->count++] = np;
  return 0;
}

/* How many nodes are written in one operation.  */
#define BATCH 16

int
ext2_journal_update_nodes (void)
{
  struct pending p = { 0 };
  size_t i, j;

  if (! ext2_journal)
    return 0;
  collecting = &p;
  diskfs_node_iterate (collect);
  collecting = NULL;
  for (i = 0; i < p.count; i += BATCH)
    {
      size_t end = i + BATCH < p.count ? i + BATCH : p.count;
      /* Inode, and superblock and neighbour of an orphan.  */
      error_t err = ext2_journal_begin (3 * BATCH, 0);

      for (j = i; j < end && ! err; j++)
	{
	  pthread_mutex_lock (&p.nodes[j]->lock);
	  diskfs_node_update (p.nodes[j], 0);
	  pthread_mutex_unlock (&p.nodes[j]->lock);
	}
      if (! err)
	ext2_journal_end (0);
      for (j = i; j < end; j++)
	diskfs_nrele (p.nodes[j]);
    }
  free (p.nodes);
  return 1;
}

/* Forget the list, which was that of a journal before.  */
static void
forget_orphans (void)
{
  struct orphan *o;

  while ((o = orphans) != NULL)
    {
      orphans = o->next;
      free (o);
    }
}

/* Read the list from disk; *COUNT is how many are on it.  */
static error_t
read_orphans (size_t *count)
{
  uint32_t inum = le32toh (sblock->s_last_orphan);
  uint32_t most = le32toh (sblock->s_inodes_count);
  struct orphan **end = &orphans;
  error_t err = 0;

  forget_orphans ();
  for (*count = 0; inum != 0 && ! err; (*count)++)
    {
      struct orphan *o = malloc (sizeof *o);

      if (! o)
	return ENOMEM;
      o->inum = inum;
      o->next = NULL;
      *end = o;
      end = &o->next;
      if (inum > most || inum < EXT2_FIRST_INO (sblock) || *count > most)
	return EUCLEAN;
      err = read_next (inum, &inum);
    }
  return err;
}

/* What is left of the last block of NP is zero on disk before the cut is
   done, or a file that grows again shows what was there.  */
static error_t
clear_tail (struct node *np)
{
  struct disknode *dn = diskfs_node_disknode (np);
  off_t size = np->dn_stat.st_size;
  size_t used = size & (block_size - 1);
  block_t block;
  error_t err;

  if (used == 0 || np->dn_stat.st_nlink == 0)
    return 0;
  pthread_rwlock_rdlock (&dn->alloc_lock);
  err = ext2_journal_getblk (np, boffs_block (size), &block);
  pthread_rwlock_unlock (&dn->alloc_lock);
  /* A hole needs no block, which a full disk would not have.  */
  if (err)
    return err == EINVAL ? 0 : err;
  err = ext2_journal_begin (CHANGE_CREDITS, 0);
  if (err)
    return err;
  pthread_mutex_lock (&np->lock);
  err = diskfs_node_rdwr (np, (char *) zeroblock, size, block_size - used, 1,
			  0, 0);
  ext2_journal_tail_cleared (np, size);
  np->dn_stat.st_size = size;
  pthread_mutex_unlock (&np->lock);
  return ext2_journal_end (err ?: ext2_journal_lost (np));
}

/* A crash may have left NP half-cut: it is to end with its size.  If it has
   no name its size may be 0 already, and then nobody else would look for its
   blocks.  */
static error_t
finish_cut (struct node *np)
{
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;
  uint32_t end = boffs_block (round_block (np->dn_stat.st_size));
  unsigned most = ext2_journal_limits.max_handle;
  uint32_t from = UINT32_MAX;
  error_t err;

  jn->target = np->dn_stat.st_size;
  jn->steps = 1;
  err = clear_tail (np);
  while (from > end && ! err)
    {
      err = ext2_journal_begin (most, STEP_REVOKES);
      if (err)
	break;
      pthread_mutex_lock (&np->lock);
      err = ext2_journal_step (np, end, most - CHANGE_CREDITS, &from);
      if (! err)
	{
	  ext2_journal_trunc (np, from);
	  np->dn_set_ctime = 1;
	  diskfs_node_update (np, 0);
	}
      pthread_mutex_unlock (&np->lock);
      err = ext2_journal_end (err);
    }
  return err;
}

/* Finish what was begun with inode INUM.  If it has no name it is freed by who
   drops it last, which is this function.  */
static error_t
finish_orphan (ino_t inum)
{
  struct node *np;
  error_t err = diskfs_cached_lookup (inum, &np);

  if (err)
    return err;
  pthread_mutex_unlock (&np->lock);
  /* All others keep no blocks where these do.  */
  if (S_ISREG (np->dn_stat.st_mode) || S_ISDIR (np->dn_stat.st_mode))
    err = finish_cut (np);
  diskfs_nrele (np);
  return err;
}

/* What a crash left unfinished: cuts, of nodes with a name or without, and
   nodes without a name.  What cannot be finished now must not be forgotten,
   as it would be with the next change of the list: nothing is written
   then.  */
void
ext2_journal_load_orphans (void)
{
  size_t count, i;
  error_t err = read_orphans (&count);
  ino_t *inums = err ? NULL : malloc ((count + 1) * sizeof *inums);
  struct orphan *o;

  if (! err && ! inums)
    err = ENOMEM;
  for (o = orphans, i = 0; o && ! err; o = o->next)
    inums[i++] = o->inum;
  for (i = 0; i < count && ! err; i++)
    err = finish_orphan (inums[i]);
  free (inums);
  if (err)
    ext2_journal_fail (err, "what a crash left unfinished stays so;"
		       " run e2fsck -f");
  else if (count)
    ext2_warning ("finished freeing or cutting %zu file%s", count,
		  count > 1 ? "s" : "");
}
