/* The journal in ext2fs: nodes without a name are freed.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "journal-glue.h"

/* A node's last reference may go away anywhere: under the lock of a
   directory, in a thread of a pager or one that serves dead names, inside of
   an operation or outside.  To free its blocks is an operation of its own,
   of any size.  So whoever drops the node hands it over to the one thread
   here.  The inode is on the list of orphans by then, so a crash in between
   loses nothing.  */

struct item
{
  struct node *np;
  struct item *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct item *first, **last = &first;
/* How many nodes were ever handed over, and are done with.  */
static unsigned long handed, done;
static bool started, stopped;

static __thread bool reaping;

bool
ext2_journal_reaping (void)
{
  return reaping;
}

/* A node that has lost its last name and its last user leaves the cache, and
   from then on its inode, until it is freed, tells nobody that it is the
   reaper's.  Names do not lead to it, but an old handle does: what is read for
   one without a name is a ghost, which may be looked at, and whose inode
   belongs to another node or to none.  (A file that is in use without a name
   is in the cache, and is found there.)  */

/* The thread looks a node up by its handle.  */
static __thread bool by_handle;

void
ext2_journal_read_node (struct node *np)
{
  if (by_handle)
    diskfs_node_disknode (np)->journal.ghost = np->dn_stat.st_nlink == 0;
}

/* A look at the old handle may have read it just before.  */
void
ext2_journal_new_node (struct node *np)
{
  diskfs_node_disknode (np)->journal.ghost = 0;
}

error_t
diskfs_journal_getfile (ino_t inum, struct node **np)
{
  error_t err;

  by_handle = ext2_journal != NULL;
  err = diskfs_cached_lookup (inum, np);
  by_handle = false;
  if (! err && (*np)->dn_stat.st_nlink == 0
      && diskfs_node_disknode (*np)->journal.ghost)
    {
      diskfs_nput (*np);
      err = ESTALE;
    }
  return err;
}

/* NP goes away, and nothing of it to the disk.  */
static void
let_go (struct node *np)
{
  np->dn_stat.st_nlink = 1;
  np->dn_stat_dirty = 0;
  np->dn_set_ctime = np->dn_set_atime = np->dn_set_mtime = 0;
}

int
diskfs_journal_defer_drop (struct node *np)
{
  struct item *item;

  ext2_journal_leave_fresh (np);
  /* What goes away while the journal is not open, as just before the file system
     becomes writable, stays an orphan on disk, and is freed from there.  */
  if (np->dn_stat.st_nlink == 0
      && (diskfs_node_disknode (np)->journal.ghost
	  || (! ext2_journal && ext2_journal_there ())))
    {
      let_go (np);
      return 0;
    }
  if (! ext2_journal || reaping || np->dn_stat.st_nlink != 0
      || diskfs_readonly || ! started)
    return 0;
  item = malloc (sizeof *item);
  pthread_mutex_lock (&lock);
  if (! item || stopped)
    {
      /* It stays an orphan, too.  */
      pthread_mutex_unlock (&lock);
      free (item);
      let_go (np);
      return 0;
    }
  refcounts_unsafe_ref (&np->refcounts, NULL);
  item->np = np;
  item->next = NULL;
  *last = item;
  last = &item->next;
  handed++;
  pthread_cond_broadcast (&changed);
  pthread_mutex_unlock (&lock);
  pthread_mutex_unlock (&np->lock);
  return 1;
}

/* What is freed at the end of a node: its inode, xattr and translator
   blocks, bitmaps and descriptors of these, the superblock, the neighbour on
   the list.  */
#define DROP_CREDITS 24

/* Cut NP until one operation can do the rest.  */
static error_t
shorten (struct node *np)
{
  unsigned most = ext2_journal_limits.max_handle;
  error_t err = 0;
  uint32_t from;

  while (! (err = ext2_journal_step (np, 0, most - DROP_CREDITS, &from))
	 && from > 0)
    {
      err = ext2_journal_begin (most, STEP_REVOKES);
      if (err)
	break;
      pthread_mutex_lock (&np->lock);
      np->dn_stat.st_size = np->allocsize;
      err = diskfs_truncate (np, (off_t) from << log2_block_size);
      pthread_mutex_unlock (&np->lock);
      err = ext2_journal_end (err);
      if (err)
	break;
    }
  return err;
}

static void
reap (struct node *np)
{
  unsigned credits, revokes;

  error_t err = shorten (np);

  if (err)
    {
      /* It stays an orphan, for the next mount.  */
      ext2_warning ("inode %llu cannot be freed now: %s",
		    (unsigned long long) np->cache_id, strerror (err));
      return;
    }
  ext2_journal_trunc_cost (np, &credits, &revokes);
  if (ext2_journal_begin (credits + DROP_CREDITS, revokes + 16))
    return;			/* The journal has given up, and said so.  */
  pthread_mutex_lock (&np->lock);
  diskfs_nput (np);
  ext2_journal_end (0);
}

static void *
reaper (void *arg)
{
  pthread_setname_np (pthread_self (), "reaper");
  reaping = true;
  pthread_mutex_lock (&lock);
  for (;;)
    {
      struct item *item = first;

      if (! item)
	{
	  pthread_cond_wait (&changed, &lock);
	  continue;
	}
      first = item->next;
      if (! first)
	last = &first;
      pthread_mutex_unlock (&lock);
      reap (item->np);
      free (item);
      pthread_mutex_lock (&lock);
      done++;
      pthread_cond_broadcast (&changed);
    }
  return NULL;
}

error_t
ext2_journal_reaper_start (void)
{
  pthread_t thread;
  error_t err;

  pthread_mutex_lock (&lock);
  stopped = false;
  pthread_mutex_unlock (&lock);
  if (started)
    return 0;
  err = pthread_create (&thread, NULL, reaper, NULL);
  if (! err)
    {
      pthread_detach (thread);
      started = true;
    }
  return err;
}

void
ext2_journal_reap_wait (void)
{
  pthread_mutex_lock (&lock);
  while (done != handed)
    pthread_cond_wait (&changed, &lock);
  pthread_mutex_unlock (&lock);
}

void
ext2_journal_reaper_stop (void)
{
  pthread_mutex_lock (&lock);
  while (done != handed)
    pthread_cond_wait (&changed, &lock);
  stopped = true;
  pthread_mutex_unlock (&lock);
}

void
ext2_journal_reap_for (unsigned long blocks)
{
  unsigned long last_one;

  pthread_mutex_lock (&lock);
  last_one = handed;
  while ((long) (last_one - done) > 0
	 && le32toh (sblock->s_free_blocks_count) < blocks)
    pthread_cond_wait (&changed, &lock);
  pthread_mutex_unlock (&lock);
}

/* Nodes without a name that a client has open.  Called with IN_USE_LOCK
   held.  */
static pthread_mutex_t in_use_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t in_use;
static unsigned look;

static error_t
count_in_use (void *port)
{
  struct node *np = ((struct protid *) port)->po->np;
  struct ext2_journal_node *jn = &diskfs_node_disknode (np)->journal;

  if (np->dn_stat.st_nlink == 0 && jn->seen != look)
    {
      jn->seen = look;
      in_use++;
    }
  return 0;
}

/* Are there nodes without a name that nobody has open, and so may be handed
   over soon?  (One that is mapped is such a node, too.)  */
static bool
any_closed (void)
{
  bool closed;

  pthread_mutex_lock (&in_use_lock);
  in_use = 0;
  look++;
  closed = ports_class_iterate (diskfs_protid_class, count_in_use)
    || ext2_journal_orphans () > in_use;
  pthread_mutex_unlock (&in_use_lock);
  return closed;
}

/* How long it takes until the kernel has told that a client closed a file; how
   long the reaper is idle before no more nodes are expected, since the kernel
   may have pages of theirs to return first; and how long is waited in all.  */
#define NEWS_US 50000
#define IDLE_S 1
#define ROOM_S 5

static struct timespec
seconds_from_now (int seconds)
{
  struct timespec t;

  clock_gettime (CLOCK_REALTIME, &t);
  t.tv_sec += seconds;
  return t;
}

/* Wait for another node, which the reaper has not.  Called with LOCK held, which
   is dropped meanwhile.  */
static bool
wait_for_another (void)
{
  unsigned long before = handed;
  struct timespec until;
  bool closed;

  pthread_mutex_unlock (&lock);
  closed = any_closed ();
  if (! closed)
    {
      usleep (NEWS_US);
      closed = any_closed ();
    }
  pthread_mutex_lock (&lock);
  until = seconds_from_now (IDLE_S);
  while (closed && handed == before)
    if (pthread_cond_timedwait (&changed, &lock, &until) == ETIMEDOUT)
      break;
  return handed != before;
}

int
diskfs_journal_room (size_t size)
{
  unsigned long blocks = (size >> log2_block_size) + 2, before;
  unsigned long want = blocks + blocks / addr_per_block + EXT2_N_BLOCKS;
  struct timespec until = seconds_from_now (ROOM_S);
  error_t err = 0;
  bool enough;

  /* Whatever may come has no name, and so is on the list of orphans.  */
  if (! ext2_journal || ! sblock->s_last_orphan)
    return 0;
  /* Until then their data is the commit's to write, and keeps them.  */
  journal_sync (ext2_journal);
  pthread_mutex_lock (&lock);
  before = done;
  while (! (enough = le32toh (sblock->s_free_blocks_count) >= want)
	 && err != ETIMEDOUT)
    if (done != handed)
      err = pthread_cond_timedwait (&changed, &lock, &until);
    else if (! wait_for_another ()
	     || seconds_from_now (0).tv_sec >= until.tv_sec)
      break;
  enough |= done != before;
  pthread_mutex_unlock (&lock);
  return enough;
}
