/* The journal engine: memory.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jpriv.h"

void *
jmem_alloc (struct journal_mem *m, size_t size)
{
  void *p = m->ops->alloc (m->ctx, size);
  if (p)
    {
      uint64_t now = atomic_fetch_add (&m->bytes, size) + size;
      uint64_t peak = atomic_load (&m->peak);
      while (now > peak
	     && !atomic_compare_exchange_weak (&m->peak, &peak, now))
	continue;
    }
  return p;
}

void
jmem_free (struct journal_mem *m, void *p, size_t size)
{
  if (p)
    {
      atomic_fetch_sub (&m->bytes, size);
      m->ops->free (m->ctx, p, size);
    }
}

/* A chunk of a slab begins with a pointer to the one before it, in room for
   the strictest alignment.  */
#define CHUNK_HEADER 64

void
jpool_init (struct jpool *p, struct journal_mem *m,
	    enum journal_alloc_kind kind, size_t size, size_t per_chunk)
{
  memset (p, 0, sizeof *p);
  p->mem = m;
  p->kind = kind;
  p->size = (size + 15) & ~(size_t) 15;
  p->per_chunk = per_chunk;
}

static size_t
chunk_bytes (const struct jpool *p)
{
  return CHUNK_HEADER + p->per_chunk * p->size;
}

void
jpool_destroy (struct jpool *p)
{
  while (p->chunks)
    {
      void *chunk = p->chunks;
      memcpy (&p->chunks, chunk, sizeof p->chunks);
      jmem_free (p->mem, chunk, chunk_bytes (p));
    }
  p->free = NULL;
}

static bool
add_chunk (struct jpool *p)
{
  char *chunk = jmem_alloc (p->mem, chunk_bytes (p));
  if (!chunk)
    return false;
  memset (chunk, 0, CHUNK_HEADER);
  memcpy (chunk, &p->chunks, sizeof p->chunks);
  p->chunks = chunk;
  /* Objects are zero when they are new: a lookup without the lock may read
     the mark of one that was never used.  The link of a free object lies at
     its end, away from the mark.  */
  memset (chunk + CHUNK_HEADER, 0, p->per_chunk * p->size);
  for (size_t i = p->per_chunk; i-- > 0;)
    jpool_put (p, chunk + CHUNK_HEADER + i * p->size);
  return true;
}

void *
jpool_get (struct jpool *p)
{
  if (p->kind == JOURNAL_ALLOC_MALLOC)
    return jmem_alloc (p->mem, p->size);
  if (!p->free && !add_chunk (p))
    return NULL;
  char *obj = p->free;
  memcpy (&p->free, obj + p->size - sizeof p->free, sizeof p->free);
  return obj;
}

void
jpool_put (struct jpool *p, void *obj)
{
  if (!obj)
    return;
  if (p->kind == JOURNAL_ALLOC_MALLOC)
    {
      jmem_free (p->mem, obj, p->size);
      return;
    }
  memcpy ((char *) obj + p->size - sizeof p->free, &p->free,
	  sizeof p->free);
  p->free = obj;
}
