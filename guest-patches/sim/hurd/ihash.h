/* A stand-in for libihash on hosts that have none.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef SIM_HURD_IHASH_H
#define SIM_HURD_IHASH_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

/* The names, types and results of libihash's interface, as far as
   journal-ihash.c uses it, and its costs: the key is its own hash, probes are
   linear, removed entries stay as tombstones until the table is made anew,
   which is when more than three quarters of it are in use or tombstones; a
   table begins with 32 slots.  It also shares the trait that a search for
   key 0 ends at a tombstone.  The code is our own.  */

typedef int error_t;
typedef uintptr_t hurd_ihash_key_t;
typedef void *hurd_ihash_value_t;

struct hurd_ihash_slot
{
  hurd_ihash_value_t value;
  hurd_ihash_key_t key;
};

struct hurd_ihash
{
  struct hurd_ihash_slot *slots;
  size_t size, items, unused;	/* UNUSED: neither items nor tombstones.  */
};
typedef struct hurd_ihash *hurd_ihash_t;

#define HURD_IHASH_NO_LOCP INTPTR_MIN
#define HURD_IHASH_GONE ((hurd_ihash_value_t) -1)

error_t hurd_ihash_create (hurd_ihash_t *ht, intptr_t locp_offs);
void hurd_ihash_free (hurd_ihash_t ht);
error_t hurd_ihash_add (hurd_ihash_t ht, hurd_ihash_key_t key,
			hurd_ihash_value_t value);
hurd_ihash_value_t hurd_ihash_find (hurd_ihash_t ht, hurd_ihash_key_t key);
int hurd_ihash_remove (hurd_ihash_t ht, hurd_ihash_key_t key);

/* The next value from *POS on, or null at the end.  */
hurd_ihash_value_t hurd_ihash_step (hurd_ihash_t ht, size_t *pos);

#define HURD_IHASH_ITERATE(ht, val)					\
  for (size_t pos_##val = 0, once_##val = 1; once_##val; once_##val = 0) \
    for (hurd_ihash_value_t val;					\
	 (val = hurd_ihash_step (ht, &pos_##val)) != NULL;)

#endif
