/* The journal engine: tables from block numbers to pointers.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

/* Open addressing by Robin Hood's rule: an entry that is far from its place
   takes the slot of one that is nearer to its own, so that all probes are
   short.  A removal moves the rest of the run back, so there are no
   tombstones and the cost never depends on the past.  A table starts with 32
   slots and doubles when it is three quarters full; a find in an empty one
   touches no memory.

   The table of all blocks may be another, see jtable_init.  */

#define JINDEX_MIN 32

void
jindex_init (struct jindex *x, struct journal_mem *mem)
{
  memset (x, 0, sizeof *x);
  x->mem = mem;
}

void
jindex_destroy (struct jindex *x)
{
  if (x->slots)
    jmem_free (x->mem, x->slots, x->size * sizeof *x->slots);
  x->slots = NULL;
  x->size = x->items = 0;
}

static inline size_t
place (const struct jindex *x, uint64_t key)
{
  return (size_t) (key * 0x9E3779B97F4A7C15u >> x->shift);
}

/* How far slot I is from the place of the key in it.  */
static inline size_t
distance (const struct jindex *x, size_t i)
{
  return (i - place (x, x->slots[i].key)) & (x->size - 1);
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
      if (s->key == key)
	return i;
      if (distance (x, i) < d)
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
      if (s->value == NULL)
	{
	  *s = new;
	  x->items++;
	  return;
	}
      if (distance (x, i) < d)
	{
	  struct jslot tmp = *s;
	  d = distance (x, i);
	  *s = new;
	  new = tmp;
	}
    }
}

static bool
full (size_t size, size_t items)
{
  return items > size - size / 4;
}

/* Have room for N more, so that adding them does not fail.  */
int
jindex_reserve (struct jindex *x, size_t n)
{
  struct jindex old = *x;
  size_t size = x->size ? x->size : JINDEX_MIN;

  if (x->size && !full (x->size, x->items + n))
    return 0;
  while (full (size, x->items + n))
    size *= 2;
  struct jslot *slots = jmem_alloc (x->mem, size * sizeof *slots);
  if (!slots)
    return ENOMEM;
  memset (slots, 0, size * sizeof *slots);
  x->slots = slots;
  x->size = size;
  x->shift = (unsigned) (64 - __builtin_ctzll (size));
  x->items = 0;
  for (size_t i = 0; i < old.size; i++)
    if (old.slots[i].value)
      insert (x, old.slots[i]);
  if (old.slots)
    jmem_free (x->mem, old.slots, old.size * sizeof *slots);
  return 0;
}

int
jindex_add (struct jindex *x, uint64_t key, void *value)
{
  JOURNAL_INVARIANT (value, "index-value");
  JOURNAL_INVARIANT (lookup (x, key) == x->size, "index-unique");
  int err = jindex_reserve (x, 1);
  if (!err)
    insert (x, (struct jslot) { key, value });
  return err;
}

void *
jindex_remove (struct jindex *x, uint64_t key)
{
  size_t i = lookup (x, key);
  if (i == x->size)
    return NULL;

  void *value = x->slots[i].value;
  x->items--;
  for (;;)
    {
      size_t next = (i + 1) & (x->size - 1);
      if (x->slots[next].value == NULL || distance (x, next) == 0)
	break;
      x->slots[i] = x->slots[next];
      i = next;
    }
  x->slots[i].value = NULL;
  return value;
}

void *
jindex_next (const struct jindex *x, size_t *pos, uint64_t *key)
{
  while (*pos < x->size)
    {
      const struct jslot *s = &x->slots[(*pos)++];
      if (s->value)
	{
	  if (key)
	    *key = s->key;
	  return s->value;
	}
    }
  return NULL;
}

/* The table of all blocks: ours, or with index=ihash one that the
   surroundings bring, as the thread's first version had it.  */

int
jtable_init (struct jtable *x, struct journal_mem *mem, uint64_t keys,
	     enum journal_index_kind kind)
{
  x->ops = NULL;
  jindex_init (&x->own, mem);
  if (kind == JOURNAL_INDEX_ROBINHOOD)
    return 0;
  if (!mem->ops->ihash)
    return ENOTSUP;
  int err = mem->ops->ihash->make (keys, &x->table);
  if (!err)
    x->ops = mem->ops->ihash;
  return err;
}

void
jtable_destroy (struct jtable *x)
{
  if (x->ops)
    x->ops->destroy (x->table);
  jindex_destroy (&x->own);
}

int
jtable_add (struct jtable *x, uint64_t key, void *value)
{
  return x->ops ? x->ops->add (x->table, key, value)
    : jindex_add (&x->own, key, value);
}

void
jtable_remove (struct jtable *x, uint64_t key)
{
  if (x->ops)
    x->ops->remove (x->table, key);
  else
    jindex_remove (&x->own, key);
}

void
jtable_each (struct jtable *x, void (*fn) (void *value, void *arg), void *arg)
{
  size_t pos = 0;
  void *value;

  if (x->ops)
    x->ops->each (x->table, fn, arg);
  else
    while ((value = jindex_next (&x->own, &pos, NULL)) != NULL)
      fn (value, arg);
}
