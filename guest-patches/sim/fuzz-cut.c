/* A cut of the fuzzing of replay for machines without libFuzzer.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simdisk.h"

/* fuzz-cut RUNS FILE...: changes what is in the files a little, at random,
   and has each change replayed.  It doesn't look at what was covered.  */

#define LONGEST 65538

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

void
die (const char *fmt, ...)
{
  fprintf (stderr, "FAILED: %s\n", fmt);
  abort ();
}

static size_t
read_file (const char *path, unsigned char *buf)
{
  FILE *f = fopen (path, "rb");
  CHECK (f, "a file of the corpus cannot be read");
  size_t n = fread (buf, 1, LONGEST, f);
  fclose (f);
  CHECK (n > 2, "a file of the corpus is empty");
  return n;
}

/* One change: where headers are more often than elsewhere.  */
static size_t
change (struct rng *rng, unsigned char *buf, size_t size)
{
  size_t at = rng_below (rng, (uint32_t) size);
  if (rng_below (rng, 2))
    at = 2 + (at - at % 1024) + rng_below (rng, 64);
  if (at + 4 >= size)
    at = 0;
  switch (rng_below (rng, 6))
    {
    case 0:
      buf[at] ^= (unsigned char) (1u << rng_below (rng, 8));
      break;
    case 1:
      buf[at] = (unsigned char) rng_next (rng);
      break;
    case 2:
      memset (buf + at, rng_below (rng, 2) ? 0xff : 0, 4);
      break;
    case 3:			/* A block in the place of another.  */
      if (size > 3 * 1024)
	memcpy (buf + 2 + 1024 * rng_below (rng, (uint32_t) size / 1024 - 1),
		buf + 2 + 1024 * rng_below (rng, (uint32_t) size / 1024 - 1),
		1024);
      break;
    case 4:			/* A type, or a number.  */
      buf[at - at % 4 + 1] = (unsigned char) rng_below (rng, 8);
      break;
    case 5:
      if (size > 2048)
	size -= rng_below (rng, 1024);
      break;
    }
  return size;
}

int
main (int argc, char **argv)
{
  static unsigned char seed[LONGEST], buf[LONGEST];
  struct rng rng = { 1 };

  CHECK (argc > 2, "fuzz-cut RUNS FILE...");
  unsigned long runs = strtoul (argv[1], NULL, 10);
  size_t size = 0;
  for (unsigned long n = 0; n < runs; n++)
    {
      if (n % 64 == 0)
	size = read_file (argv[2 + n / 64 % (unsigned) (argc - 2)], seed);
      memcpy (buf, seed, size);
      size_t now = size;
      for (uint32_t k = rng_below (&rng, 8); k > 0; k--)
	now = change (&rng, buf, now);
      LLVMFuzzerTestOneInput (buf, now);
    }
  printf ("fuzz: %lu damaged logs replayed\n", runs);
  return 0;
}
