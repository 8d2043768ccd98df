/* The journal in ext2fs: libihash as the table of blocks.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdint.h>

#include <hurd/ihash.h>

#include "journal-ihash.h"

/* libihash writes key 0 into the slot of an entry that was removed, and a
   search for key 0 ends at such a slot.  So block N has key N + 1.  (With
   blocks of 4 KiB the superblock is in block 0.)  */
static inline hurd_ihash_key_t
key_of (uint64_t block)
{
  return (hurd_ihash_key_t) block + 1;
}

static int
ihash_make (uint64_t keys, void **table)
{
  hurd_ihash_t ht;
  error_t err;

  /* The largest key has to fit.  */
  if (keys > UINTPTR_MAX)
    return ENOTSUP;
  err = hurd_ihash_create (&ht, HURD_IHASH_NO_LOCP);
  if (! err)
    *table = ht;
  return err;
}

static void
ihash_destroy (void *table)
{
  hurd_ihash_free (table);
}

static void *
ihash_find (void *table, uint64_t block)
{
  return hurd_ihash_find (table, key_of (block));
}

static int
ihash_add (void *table, uint64_t block, void *value)
{
  return hurd_ihash_add (table, key_of (block), value);
}

static void
ihash_remove (void *table, uint64_t block)
{
  hurd_ihash_remove (table, key_of (block));
}

static void
ihash_each (void *table, void (*fn) (void *value, void *arg), void *arg)
{
  HURD_IHASH_ITERATE ((hurd_ihash_t) table, value)
    fn (value, arg);
}

const struct journal_table_ops ext2_journal_ihash = {
  .make = ihash_make,
  .destroy = ihash_destroy,
  .find = ihash_find,
  .add = ihash_add,
  .remove = ihash_remove,
  .each = ihash_each,
};
