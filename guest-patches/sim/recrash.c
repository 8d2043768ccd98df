/* Crashes in recovery, twice.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "states.h"

#include <stdio.h>
#include <stdlib.h>

/* A recovery is recorded once; what a crash in it leaves is then put together
   from the record.  That is the same as to cut the power in it, because a
   recovery depends on nothing but the image.  */

struct recrasher
{
  struct simdisk d;		/* The image to crash.  */
  unsigned char *base;		/* Before the first recovery.  */
  unsigned char *good;		/* After it.  */
  size_t bytes;
  struct record *first, *second;
  size_t nfirst, nsecond;
  char *text;
  size_t size;
};

static size_t
writes (const struct record *r, size_t n)
{
  size_t sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += r[i].kind == REC_WRITE;
  return sum;
}

/* Record what a recovery of the image writes.  */
static bool
record_recovery (struct recrasher *x, struct record **records, size_t *n)
{
  struct journal_recovery r;
  x->d.recording = true;
  int err = mfs_recover (&x->d, &r);
  x->d.recording = false;
  *records = x->d.records;
  *n = x->d.nrecords;
  x->d.records = NULL;
  x->d.nrecords = x->d.room = 0;
  return err == 0 && !r.corrupt;
}

static void
forget (struct record *r, size_t n)
{
  for (size_t i = 0; i < n; i++)
    free (r[i].data);
  free (r);
}

static unsigned char *
place (struct recrasher *x, unsigned char *image, const struct record *r)
{
  return image + r->block * x->d.block_size;
}

/* Put what a crash at write LAST leaves on the image.  What a flush covers
   is there; of the rest all, or with SUBSET some, the last perhaps torn.  */
static void
lay (struct recrasher *x, const struct record *r, size_t last, bool subset,
     uint64_t seed)
{
  uint32_t bs = x->d.block_size;
  struct rng rng = { seed };
  size_t epoch = 0;

  for (size_t i = 0; i < last; i++)
    if (r[i].kind == REC_FLUSH)
      epoch = i;
  for (size_t i = 0; i <= last; i++)
    {
      if (r[i].kind != REC_WRITE)
	continue;
      unsigned char *to = place (x, x->d.now, &r[i]);
      if (!subset || i < epoch)
	memcpy (to, r[i].data, bs);
      else if (i == last)
	for (uint32_t k = 0; k < bs; k += SECTOR)
	  {
	    if (rng_below (&rng, 2))
	      memcpy (to + k, r[i].data + k, SECTOR);
	  }
      else if (rng_below (&rng, 2))
	memcpy (to, r[i].data, bs);
    }
}

static void
put_back (struct recrasher *x, const struct record *r, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (r[i].kind == REC_WRITE)
      memcpy (place (x, x->d.now, &r[i]), place (x, x->base, &r[i]),
	      x->d.block_size);
}

static bool
as_good (struct recrasher *x, const struct record *r, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (r[i].kind == REC_WRITE
	&& memcmp (place (x, x->d.now, &r[i]), place (x, x->good, &r[i]),
		   x->d.block_size))
      return false;
  return true;
}

/* The second recovery makes the same writes and flushes as the first, unless
   the log was empty by then.  So what a crash in it leaves is some of those
   writes on top of some of them: what a crash in the first alone can leave as
   well.  Crashes in recoveries of recoveries bring nothing new, however many
   writes they have.  */
static bool
same_recovery (const struct recrasher *x)
{
  if (x->nsecond == 0)
    return true;
  if (x->nsecond != x->nfirst)
    return false;
  for (size_t i = 0; i < x->nfirst; i++)
    {
      const struct record *a = &x->first[i], *b = &x->second[i];
      if (a->kind != b->kind)
	return false;
      if (a->kind == REC_WRITE
	  && (a->block != b->block
	      || memcmp (a->data, b->data, x->d.block_size)))
	return false;
    }
  return true;
}

/* Recover after both crashes, and compare: the blocks that were written, and
   now and then all.  */
static bool
recover_and_compare (struct recrasher *x, bool all)
{
  struct journal_recovery r;
  return mfs_recover (&x->d, &r) == 0 && !r.corrupt
    && as_good (x, x->first, x->nfirst) && as_good (x, x->second, x->nsecond)
    && (!all || !memcmp (x->d.now, x->good, x->bytes));
}

/* A crash at write I of the first recovery, then one at each STEP-th write of
   the second.  */
static bool
crash_at (struct recrasher *x, size_t i, bool subset, uint64_t seed,
	  size_t from, size_t step, struct recrash *count)
{
  bool good = true;
  size_t nth = 0;

  lay (x, x->first, i, subset, seed);
  if (!record_recovery (x, &x->second, &x->nsecond)
      || !as_good (x, x->first, x->nfirst))
    {
      snprintf (x->text, x->size, "at record %zu of %zu%s", i, x->nfirst,
		subset ? ", a subset" : "");
      good = false;
    }
  else if (!same_recovery (x))
    {
      snprintf (x->text, x->size, "another recovery after record %zu of %zu%s",
		i, x->nfirst, subset ? ", a subset" : "");
      good = false;
    }
  count->crashes++;
  for (size_t k = 0; k < x->nsecond && good; k++)
    {
      if (x->second[k].kind != REC_WRITE || nth++ % step != from % step)
	continue;
      put_back (x, x->first, x->nfirst);
      put_back (x, x->second, x->nsecond);
      lay (x, x->first, i, subset, seed);
      lay (x, x->second, k, subset, seed + k);
      good = recover_and_compare (x, ++count->pairs % 64 == 0);
      if (!good)
	snprintf (x->text, x->size, "at record %zu of %zu, then at %zu of"
		  " %zu%s", i, x->nfirst, k, x->nsecond,
		  subset ? ", subsets" : "");
    }
  put_back (x, x->first, x->nfirst);
  put_back (x, x->second, x->nsecond);
  forget (x->second, x->nsecond);
  return good;
}

bool
recrash (struct simdisk *image, struct rng *rng, unsigned long most,
	 struct recrash *count, char *text, size_t size)
{
  struct recrasher x = { .text = text, .size = size,
    .bytes = image->blocks * image->block_size
  };
  bool good;

  simdisk_init (&x.d, image->block_size, image->blocks);
  x.base = malloc (x.bytes);
  x.good = malloc (x.bytes);
  CHECK (x.base && x.good, "out of memory");
  memcpy (x.base, image->now, x.bytes);
  memcpy (x.d.now, image->now, x.bytes);
  good = record_recovery (&x, &x.first, &x.nfirst);
  if (!good)
    snprintf (text, size, "the first recovery failed");
  memcpy (x.good, x.d.now, x.bytes);
  put_back (&x, x.first, x.nfirst);

  size_t n = writes (x.first, x.nfirst);
  size_t step = most && 2 * n * n > most ? (2 * n * n + most - 1) / most : 1;
  count->states += n > 0;
  count->whole += n > 0 && step == 1;
  for (size_t i = 0; i < x.nfirst && good; i++)
    for (int subset = 0; subset < 2 && good; subset++)
      if (x.first[i].kind == REC_WRITE)
	good = crash_at (&x, i, subset, rng_next (rng),
			 (size_t) (rng_next (rng) % step), step, count);
  for (size_t i = 0; i < x.nfirst; i++)
    if (x.first[i].kind == REC_WRITE)
      simdisk_poke (image, x.first[i].block, place (&x, x.good, &x.first[i]));
  forget (x.first, x.nfirst);
  free (x.base);
  free (x.good);
  simdisk_free (&x.d);
  return good;
}

void
recrash_add (struct recrash *sum, const struct recrash *more)
{
  sum->states += more->states;
  sum->whole += more->whole;
  sum->crashes += more->crashes;
  sum->pairs += more->pairs;
}

void
recrash_print (const struct recrash *r)
{
  if (r->states)
    printf ("recovery: %lu of them crashed at every write of their recovery"
	    " (%lu crashes, each recovered by the same writes), and then in the"
	    " recovery after it (%lu pairs; every pair of writes in %lu of"
	    " them)\n", r->states, r->crashes, r->pairs, r->whole);
}
