/* The journal engine: tables from block numbers to pointers.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* Two tables behind one interface, chosen when the journal is opened.

   robinhood  Open addressing.  An entry that is far from its place takes
	      the slot of one that is nearer to its own, so that all probes
	      are short; a removal moves the rest of the run back, so there
	      are no tombstones and the cost never depends on the past.

   ihash      The cost of libihash, for the thread's first version: a mixed
	      32-bit hash, linear probing, tombstones, a full table counts
	      them, at most three quarters full.  It is a stand-in: on Hurd
	      the build may put the real one behind the same calls.

   Both double when they fill up and start with 32 slots; a find in an empty
   table touches no memory.  */

#define JINDEX_MIN 32
#define TOMBSTONE ((void *) -1)

void
jindex_init (struct jindex *x, struct journal_mem *mem,
	     enum journal_index_kind kind)
{
  memset (x, 0, sizeof *x);
  x->mem = mem;
  x->kind = kind;
}

void
jindex_destroy (struct jindex *x)
{
  if (x->slots)
    jmem_free (x->mem, x->slots, x->size * sizeof *x->slots);
  x->slots = NULL;
  x->size = x->items = x->used = 0;
}

static inline size_t
place (const struct jindex *x, uint64_t key)
{
  if (x->kind == JOURNAL_INDEX_ROBINHOOD)
    return (size_t) (key * 0x9E3779B97F4A7C15u >> x->shift);
  uint32_t h = (uint32_t) key ^ (uint32_t) (key >> 32);
  h ^= h >> 16;
  h *= 0x85EBCA6Bu;
  h ^= h >> 13;
  h *= 0xC2B2AE35u;
  h ^= h >> 16;
  return h & (x->size - 1);
}

/* How far slot I is from the place of the key in it.  */
static inline size_t
distance (const struct jindex *x, size_t i)
{
  return (i - place (x, x->slots[i].key)) & (x->size - 1);
}

static inline bool
live (const void *value)
{
  return value != NULL && value != TOMBSTONE;
}

/* The slot of KEY, or x->size.  */
static size_t
lookup (const struct jindex *x, uint64_t key)
{
  if (x->items == 0)
    return x->size;
  size_t i = place (x, key);
  for (size_t d = 0; d < x->size; d++, i = (i + 1) & (x->size - 1))
    {
      const struct jslot *s = &x->slots[i];
      if (s->value == NULL)
	break;
      if (s->key == key && live (s->value))
	return i;
      if (x->kind == JOURNAL_INDEX_ROBINHOOD && distance (x, i) < d)
	break;
    }
  return x->size;
}

void *
jindex_find (const struct jindex *x, uint64_t key)
{
  size_t i = lookup (x, key);
  return i == x->size ? NULL : x->slots[i].value;
}

/* Put an entry whose key is not there into a table that has room.  */
static void
insert (struct jindex *x, struct jslot new)
{
  size_t i = place (x, new.key);
  for (size_t d = 0;; d++, i = (i + 1) & (x->size - 1))
    {
      struct jslot *s = &x->slots[i];
      if (!live (s->value))
	{
	  if (s->value == NULL)
	    x->used++;
	  *s = new;
	  x->items++;
	  return;
	}
      if (x->kind == JOURNAL_INDEX_ROBINHOOD && distance (x, i) < d)
	{
	  struct jslot tmp = *s;
	  d = distance (x, i);
	  *s = new;
	  new = tmp;
	}
    }
}

static int
grow (struct jindex *x)
{
  /* A table full of tombstones is only cleaned, not doubled.  */
  size_t size = x->size == 0 ? JINDEX_MIN
    : x->items * 2 > x->size ? x->size * 2 : x->size;
  struct jslot *old = x->slots;
  size_t old_size = x->size;
  struct jslot *slots = jmem_alloc (x->mem, size * sizeof *slots);

  if (!slots)
    return ENOMEM;
  memset (slots, 0, size * sizeof *slots);
  x->slots = slots;
  x->size = size;
  x->shift = (unsigned) (64 - __builtin_ctzll (size));
  x->items = x->used = 0;
  for (size_t i = 0; i < old_size; i++)
    if (live (old[i].value))
      insert (x, old[i]);
  if (old)
    jmem_free (x->mem, old, old_size * sizeof *old);
  return 0;
}

int
jindex_add (struct jindex *x, uint64_t key, void *value)
{
  JOURNAL_INVARIANT (live (value), "index-value");
  JOURNAL_INVARIANT (lookup (x, key) == x->size, "index-unique");
  if (x->used >= x->size - x->size / 4)
    {
      int err = grow (x);
      if (err)
	return err;
    }
  insert (x, (struct jslot) { key, value });
  return 0;
}

void *
jindex_remove (struct jindex *x, uint64_t key)
{
  size_t i = lookup (x, key);
  if (i == x->size)
    return NULL;

  void *value = x->slots[i].value;
  x->items--;
  if (x->kind == JOURNAL_INDEX_IHASH)
    {
      x->slots[i].value = TOMBSTONE;
      return value;
    }
  for (;;)
    {
      size_t next = (i + 1) & (x->size - 1);
      if (x->slots[next].value == NULL || distance (x, next) == 0)
	break;
      x->slots[i] = x->slots[next];
      i = next;
    }
  x->slots[i].value = NULL;
  x->used--;
  return value;
}

void *
jindex_next (const struct jindex *x, size_t *pos, uint64_t *key)
{
  while (*pos < x->size)
    {
      const struct jslot *s = &x->slots[(*pos)++];
      if (live (s->value))
	{
	  if (key)
	    *key = s->key;
	  return s->value;
	}
    }
  return NULL;
}
