/* The journal in ext2fs: blocks are allocated and freed.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <string.h>

#include "journal-glue.h"

/* With a journal a block is allocated when a file gets it, and not before:
   blocks that ext2fs preallocates are marked in the bitmap and belong to no
   inode, which a crash would leave so.  Files still grow in one piece, since
   each allocation aims behind the one before.

   A freed block is not given away before the transaction that freed it is on
   disk.  */

/* The last transaction that freed blocks, and the last on disk.  */
static _Atomic journal_tid_t freed_tid, committed_tid;

/* How many blocks each transaction freed that is not on disk: there are two
   of them, and one whose end is just being told.  */
#define WAITING 4
static _Atomic unsigned long waiting[WAITING];

static unsigned long
count_waiting (void)
{
  unsigned long sum = 0;
  int i;

  for (i = 0; i < WAITING; i++)
    sum += waiting[i];
  return sum;
}

static bool
blocks_wait (void)
{
  return (int32_t) (freed_tid - committed_tid) > 0;
}

void
ext2_journal_blocks_committed (journal_tid_t tid)
{
  int i;

  committed_tid = tid;
  waiting[tid % WAITING] = 0;
  if (tid == 0)			/* A journal was opened.  */
    {
      freed_tid = 0;
      for (i = 0; i < WAITING; i++)
	waiting[i] = 0;
    }
}

void
ext2_journal_make_room (unsigned long blocks)
{
  /* Some more, for those that start at the same time.  */
  unsigned long want = 2 * blocks + 64;

  if (le32toh (sblock->s_free_blocks_count) < want
      && ! ext2_journal_reaping ())
    ext2_journal_reap_for (want);
  if (blocks_wait ()
      && le32toh (sblock->s_free_blocks_count) < want + count_waiting ())
    journal_sync (ext2_journal);
}

/* Is bit J of the bitmap at BH, in GROUP, for the taking?  */
static inline bool
is_free (unsigned char *bh, unsigned long group, unsigned long j)
{
  if (test_bit (j, bh))
    return false;
  return ! blocks_wait ()
    || ! journal_busy (ext2_journal,
		       group * le32toh (sblock->s_blocks_per_group)
		       + le32toh (sblock->s_first_data_block) + j);
}

static unsigned long
group_blocks (unsigned long group)
{
  unsigned long per = le32toh (sblock->s_blocks_per_group);
  unsigned long left = le32toh (sblock->s_blocks_count)
    - le32toh (sblock->s_first_data_block) - group * per;

  return left < per ? left : per;
}

/* A free bit in the bitmap at BH, of GROUP, or COUNT.  GOAL and what is
   right behind it are best; then the start of eight in a row; then any.  */
static unsigned long
find_bit (unsigned char *bh, unsigned long group, unsigned long goal,
	  unsigned long count)
{
  unsigned long j;

  for (j = goal; j < count && j < goal + 32; j++)
    if (is_free (bh, group, j))
      return j;
  for (j = goal / 8; j < count / 8; j++)
    if (bh[j] == 0 && is_free (bh, group, j * 8))
      return j * 8;
  for (j = goal; j < count; j++)
    if (((j & 7) || bh[j >> 3] != 0xff) && is_free (bh, group, j))
      return j;
    else if ((j & 7) == 0 && bh[j >> 3] == 0xff)
      j += 7;
  return count;
}

/* *BIT is the bit of the bitmap of GROUP that is best to take, if it has one
   below COUNT.  The descriptor, too, may be unreadable.  */
static error_t
look_for_bit (struct ext2_group_desc *gdp, unsigned long group,
	      unsigned long goal, unsigned long count, unsigned long *bit)
{
  error_t err = diskfs_catch_exception ();
  unsigned char *bh;

  if (err)
    return err;
  if (le16toh (gdp->bg_free_blocks_count) != 0)
    {
      bh = disk_cache_block_ref (le32toh (gdp->bg_block_bitmap));
      *bit = find_bit (bh, group, goal, count);
      disk_cache_block_deref (bh);
    }
  diskfs_end_catch_exception ();
  return 0;
}

/* COUNT bits of the bitmap of the group that GDP describes, from BIT on,
   become USED.  */
static void
change_bits (struct ext2_group_desc *gdp, unsigned long bit,
	     unsigned long count, bool used)
{
  unsigned long i, changed = 0;
  error_t err = diskfs_catch_exception ();
  unsigned char *bh;

  if (err)
    {
      ext2_journal_fail (err, "a bitmap cannot be changed");
      return;
    }
  bh = disk_cache_block_ref (le32toh (gdp->bg_block_bitmap));
  ext2_journal_access (bh);
  ext2_journal_access (gdp);
  for (i = bit; i < bit + count; i++)
    if (used ? ! set_bit (i, bh) : clear_bit (i, bh))
      changed++;
    else
      ext2_warning ("bit %lu already %s in the bitmap of blocks %u", i,
		    used ? "set" : "cleared", le32toh (gdp->bg_block_bitmap));
  if (used)
    changed = - changed;
  gdp->bg_free_blocks_count
    = htole16 (le16toh (gdp->bg_free_blocks_count) + changed);
  sblock->s_free_blocks_count
    = htole32 (le32toh (sblock->s_free_blocks_count) + changed);
  diskfs_end_catch_exception ();
  record_global_poke (bh);
  disk_cache_block_ref_ptr (gdp);
  record_global_poke (gdp);
  ext2_journal_super ();
}

static __thread bool took;

bool
ext2_journal_took (void)
{
  bool result = took;

  took = false;
  return result;
}

/* Take a block of GROUP, from bit GOAL on.  Called with global_lock held.  */
static block_t
take (unsigned long group, unsigned long goal)
{
  struct ext2_group_desc *gdp = group_desc (group);
  unsigned long count = group_blocks (group), j = count;
  error_t err;

  if (goal >= count)
    return 0;
  err = look_for_bit (gdp, group, goal, count, &j);
  if (err)
    ext2_warning ("the bitmap of group %lu cannot be read: %s", group,
		  strerror (err));
  if (err || j >= count)
    return 0;
  change_bits (gdp, j, 1, true);
  return group * le32toh (sblock->s_blocks_per_group)
    + le32toh (sblock->s_first_data_block) + j;
}

int
ext2_journal_new_block (uint32_t goal, uint32_t *block)
{
  unsigned long per, first, group, bit, i;

  if (! ext2_journal)
    return 0;
  per = le32toh (sblock->s_blocks_per_group);
  first = le32toh (sblock->s_first_data_block);
  if (goal < first || goal >= le32toh (sblock->s_blocks_count))
    goal = first;
  group = (goal - first) / per;
  bit = (goal - first) % per;

  pthread_mutex_lock (&global_lock);
  *block = take (group, bit);
  for (i = 1; i < groups_count && ! *block; i++)
    *block = take ((group + i) % groups_count, 0);
  if (! *block)
    *block = take (group, 0);
  took |= *block != 0;
  pthread_mutex_unlock (&global_lock);
  return 1;
}

error_t
ext2_journal_free_run (block_t block, unsigned long count, bool metadata)
{
  unsigned long per = le32toh (sblock->s_blocks_per_group);
  unsigned long first = le32toh (sblock->s_first_data_block);
  struct journal_handle *h = journal_current ();
  error_t err = EPERM;

  if (block < group_desc_block_end
      || block + count > le32toh (sblock->s_blocks_count))
    {
      ext2_error ("freeing blocks not in datazone - block = %u, count = %lu",
		  block, count);
      return EINVAL;
    }
  if (h)
    ext2_journal_freed (block, count, journal_handle_tid (h));
  pthread_mutex_lock (&global_lock);
  /* Before the bits are clear, or an allocation might take a block that the
     journal does not yet hold back.  */
  if (h)
    {
      freed_tid = journal_handle_tid (h);
      waiting[freed_tid % WAITING] += count;
      err = journal_free (h, block, count, metadata);
    }
  if (err)
    ext2_journal_fail (err, "a freed block could not be held back");
  while (count > 0)
    {
      unsigned long group = (block - first) / per;
      unsigned long bit = (block - first) % per;
      unsigned long n = count < per - bit ? count : per - bit;

      change_bits (group_desc (group), bit, n, false);
      block += n;
      count -= n;
    }
  pthread_mutex_unlock (&global_lock);
  return err;
}

/* What ext2fs frees by itself, with a journal, are single blocks of
   translators and extended attributes: metadata.  */
int
ext2_journal_free_blocks (uint32_t block, unsigned long count)
{
  if (! ext2_journal)
    return 0;
  ext2_journal_free_run (block, count, true);
  return 1;
}
