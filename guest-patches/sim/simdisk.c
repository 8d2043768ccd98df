/* A disk in memory that remembers its writes and fails on demand.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "simdisk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
die (const char *fmt, ...)
{
  va_list ap;
  fflush (stdout);
  va_start (ap, fmt);
  fprintf (stderr, "FAILED: ");
  vfprintf (stderr, fmt, ap);
  fprintf (stderr, "\n");
  va_end (ap);
  abort ();
}

void
simdisk_init (struct simdisk *d, uint32_t block_size, uint64_t blocks)
{
  memset (d, 0, sizeof *d);
  d->block_size = block_size;
  d->blocks = blocks;
  d->now = calloc (blocks, block_size);
  CHECK (d->now, "out of memory");
  pthread_mutex_init (&d->lock, NULL);
  simdisk_no_faults (d);
}

void
simdisk_no_faults (struct simdisk *d)
{
  pthread_mutex_lock (&d->lock);
  d->fail_io_after = d->fail_mem_after = -1;
  d->sticky = false;
  pthread_mutex_unlock (&d->lock);
}

void
simdisk_forget_records (struct simdisk *d)
{
  for (size_t i = 0; i < d->nrecords; i++)
    free (d->records[i].data);
  d->nrecords = 0;
}

void
simdisk_free (struct simdisk *d)
{
  simdisk_forget_records (d);
  free (d->records);
  free (d->undo);
  free (d->saved);
  free (d->now);
  pthread_mutex_destroy (&d->lock);
}

void
simdisk_load (struct simdisk *d, const char *path)
{
  FILE *f = fopen (path, "rb");
  CHECK (f, "%s: %s", path, strerror (errno));
  size_t n = fread (d->now, d->block_size, d->blocks, f);
  CHECK (n == d->blocks, "%s: %zu blocks instead of %llu", path, n,
	 (unsigned long long) d->blocks);
  fclose (f);
}

void
simdisk_save (const struct simdisk *d, const char *path)
{
  FILE *f = fopen (path, "wb");
  CHECK (f, "%s: %s", path, strerror (errno));
  size_t n = fwrite (d->now, d->block_size, d->blocks, f);
  CHECK (n == d->blocks && fclose (f) == 0, "%s: write error", path);
}

static void
record (struct simdisk *d, enum record_kind kind, uint64_t block,
	const void *data)
{
  if (!d->recording)
    return;
  if (d->nrecords == d->room)
    {
      d->room = d->room ? d->room * 2 : 1024;
      d->records = realloc (d->records, d->room * sizeof *d->records);
      CHECK (d->records, "out of memory");
    }
  struct record *r = &d->records[d->nrecords++];
  *r = (struct record) { kind, block, NULL };
  if (data)
    {
      r->data = malloc (d->block_size);
      CHECK (r->data, "out of memory");
      memcpy (r->data, data, d->block_size);
    }
}

/* Is it this call's turn to fail?  */
bool
simdisk_fails (struct simdisk *d, long *after, unsigned long *failed)
{
  if (*after < 0)
    return false;
  if (*after == 0)
    {
      ++*failed;
      if (!d->sticky)
	*after = -1;
      return true;
    }
  --*after;
  return false;
}

bool
simdisk_io_fails (struct simdisk *d)
{
  d->io_calls++;
  return simdisk_fails (d, &d->fail_io_after, &d->io_failed);
}

int
simdisk_read (struct simdisk *d, uint64_t block, uint32_t count, void *buf)
{
  CHECK (block < d->blocks && count <= d->blocks - block,
	 "read of %u blocks at %llu is beyond the disk", count,
	 (unsigned long long) block);
  pthread_mutex_lock (&d->lock);
  bool bad = simdisk_io_fails (d);
  d->reads++;
  if (!bad)
    memcpy (buf, d->now + block * d->block_size,
	    (size_t) count * d->block_size);
  pthread_mutex_unlock (&d->lock);
  return bad ? EIO : 0;
}

static void
save_block (struct simdisk *d, uint64_t block)
{
  if (!d->undoing || d->saved[block])
    return;
  if (d->nundo == d->undo_room)
    {
      d->undo_room = d->undo_room ? d->undo_room * 2 : 256;
      d->undo = realloc (d->undo, d->undo_room * sizeof *d->undo);
      CHECK (d->undo, "out of memory");
    }
  struct record *r = &d->undo[d->nundo++];
  *r = (struct record) { REC_WRITE, block, malloc (d->block_size) };
  CHECK (r->data, "out of memory");
  memcpy (r->data, d->now + block * d->block_size, d->block_size);
  d->saved[block] = 1;
}

void
simdisk_undo_begin (struct simdisk *d)
{
  CHECK (!d->undoing, "undo in undo");
  if (!d->saved)
    d->saved = calloc (d->blocks, 1);
  CHECK (d->saved, "out of memory");
  d->undoing = true;
}

void
simdisk_undo (struct simdisk *d)
{
  while (d->nundo > 0)
    {
      struct record *r = &d->undo[--d->nundo];
      memcpy (d->now + r->block * d->block_size, r->data, d->block_size);
      d->saved[r->block] = 0;
      free (r->data);
    }
  d->undoing = false;
}

void
simdisk_poke (struct simdisk *d, uint64_t block, const void *data)
{
  save_block (d, block);
  memcpy (d->now + block * d->block_size, data, d->block_size);
}

void
simdisk_put (struct simdisk *d, uint64_t block, const void *data)
{
  save_block (d, block);
  memcpy (d->now + block * d->block_size, data, d->block_size);
  d->writes++;
  d->bytes_written += d->block_size;
  record (d, REC_WRITE, block, data);
}

int
simdisk_write (struct simdisk *d, uint64_t block, const void *buf)
{
  CHECK (block < d->blocks, "write at %llu is beyond the disk",
	 (unsigned long long) block);
  pthread_mutex_lock (&d->lock);
  bool bad = simdisk_io_fails (d);
  if (!bad)
    simdisk_put (d, block, buf);
  pthread_mutex_unlock (&d->lock);
  return bad ? EIO : 0;
}

int
simdisk_flush (struct simdisk *d)
{
  if (d->slow_us)
    usleep (d->slow_us);
  pthread_mutex_lock (&d->lock);
  bool bad = simdisk_io_fails (d);
  d->flushes++;
  if (!bad)
    record (d, REC_FLUSH, 0, NULL);
  pthread_mutex_unlock (&d->lock);
  return bad ? EIO : 0;
}

void
simdisk_mark (struct simdisk *d, uint64_t value)
{
  pthread_mutex_lock (&d->lock);
  record (d, REC_MARK, value, NULL);
  pthread_mutex_unlock (&d->lock);
}
