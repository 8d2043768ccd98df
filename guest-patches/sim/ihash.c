/* A stand-in for libihash on hosts that have none.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdbool.h>
#include <stdlib.h>

#include "hurd/ihash.h"

#define FIRST_SIZE 32

static bool
in_use (const struct hurd_ihash_slot *s)
{
  return s->value && s->value != HURD_IHASH_GONE;
}

/* Where KEY is, or the slot that it would take, or null in a table without a
   free one.  */
static struct hurd_ihash_slot *
probe (hurd_ihash_t ht, hurd_ihash_key_t key)
{
  struct hurd_ihash_slot *gone = NULL;

  for (size_t n = 0; n < ht->size; n++)
    {
      struct hurd_ihash_slot *s = &ht->slots[(key + n) & (ht->size - 1)];
      if (!s->value)
	return gone ? gone : s;
      if (s->key == key)
	return s;
      if (!gone && s->value == HURD_IHASH_GONE)
	gone = s;
    }
  return gone;
}

error_t
hurd_ihash_create (hurd_ihash_t *ht, intptr_t locp_offs)
{
  (void) locp_offs;
  *ht = calloc (1, sizeof **ht);
  return *ht ? 0 : ENOMEM;
}

void
hurd_ihash_free (hurd_ihash_t ht)
{
  free (ht->slots);
  free (ht);
}

static void
put (hurd_ihash_t ht, hurd_ihash_key_t key, hurd_ihash_value_t value)
{
  struct hurd_ihash_slot *s = probe (ht, key);

  ht->unused -= !s->value;
  ht->items += !in_use (s);
  s->key = key;
  s->value = value;
}

static bool
loaded (size_t n, size_t size)
{
  return n * 4 > size * 3;
}

error_t
hurd_ihash_add (hurd_ihash_t ht, hurd_ihash_key_t key,
		hurd_ihash_value_t value)
{
  struct hurd_ihash old = *ht;

  if (!ht->size || loaded (ht->size - ht->unused, ht->size))
    {
      /* Tombstones are only cleared away, unless it is the items.  */
      size_t size = !old.size ? FIRST_SIZE
	: loaded (old.items, old.size) ? old.size * 2 : old.size;
      struct hurd_ihash_slot *slots = calloc (size, sizeof *slots);
      if (!slots)
	return ENOMEM;
      *ht = (struct hurd_ihash) { .slots = slots, .size = size,
				  .unused = size };
      for (size_t i = 0; i < old.size; i++)
	if (in_use (&old.slots[i]))
	  put (ht, old.slots[i].key, old.slots[i].value);
      free (old.slots);
    }
  put (ht, key, value);
  return 0;
}

hurd_ihash_value_t
hurd_ihash_find (hurd_ihash_t ht, hurd_ihash_key_t key)
{
  struct hurd_ihash_slot *s = probe (ht, key);

  return s && in_use (s) && s->key == key ? s->value : NULL;
}

int
hurd_ihash_remove (hurd_ihash_t ht, hurd_ihash_key_t key)
{
  struct hurd_ihash_slot *s = probe (ht, key);

  if (!s || !in_use (s) || s->key != key)
    return 0;
  s->value = HURD_IHASH_GONE;
  s->key = 0;
  ht->items--;
  return 1;
}

hurd_ihash_value_t
hurd_ihash_step (hurd_ihash_t ht, size_t *pos)
{
  while (*pos < ht->size)
    {
      struct hurd_ihash_slot *s = &ht->slots[(*pos)++];
      if (in_use (s))
	return s->value;
    }
  return NULL;
}
