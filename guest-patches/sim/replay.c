/* What our ext2fs does to a log when it mounts, on an image of the host.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* replay IMAGE BLOCK_SIZE BLOCKS FIRST:COUNT ...

   The log is in the runs FIRST:COUNT of blocks.  Replays it in place, as
   glue/ext2fs/journal-mount.c does, and prints what it did.  Orphans are
   left alone: a mount releases them through the journal.  Exit status 1:
   recovery failed or found damage; 2: it could not be tried.  */

#define SUPER 1024
#define S_STATE (SUPER + 0x3A)
#define S_INCOMPAT (SUPER + 0x60)
#define STATE_ERROR 2
#define INCOMPAT_RECOVER 4
#define MAX_RUNS 256

struct image
{
  unsigned char *map;
  uint32_t block_size;
  uint64_t blocks;
};

static int
image_read (void *ctx, uint64_t block, uint32_t count, void *buf)
{
  struct image *d = ctx;
  if (block > d->blocks || count > d->blocks - block)
    return EIO;
  memcpy (buf, d->map + block * d->block_size,
	  (size_t) count * d->block_size);
  return 0;
}

static int
image_writev (void *ctx, uint64_t block, uint32_t count,
	      const struct journal_iov *iov, unsigned iovcnt)
{
  struct image *d = ctx;
  if (block > d->blocks || count > d->blocks - block)
    return EIO;
  unsigned char *to = d->map + block * d->block_size;
  for (unsigned i = 0; i < iovcnt; to += iov[i++].len)
    memcpy (to, iov[i].base, iov[i].len);
  return 0;
}

static int
image_flush (void *ctx)
{
  (void) ctx;
  return 0;
}

static uint64_t
now (void *ctx)
{
  struct timespec t;
  (void) ctx;
  clock_gettime (CLOCK_REALTIME, &t);
  return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

static void *
get (void *ctx, size_t size)
{
  (void) ctx;
  return malloc (size);
}

static void
put (void *ctx, void *mem, size_t size)
{
  (void) ctx;
  (void) size;
  free (mem);
}

/* Recovery has neither threads nor locks.  */
static const struct journal_ops ops = {
  .read = image_read, .writev = image_writev, .flush = image_flush,
  .now = now, .alloc = get, .free = put
};

static int
fail (const char *what)
{
  fprintf (stderr, "replay: %s\n", what);
  return 2;
}

int
main (int argc, char **argv)
{
  static struct journal_extent log[MAX_RUNS];
  struct image d;
  struct journal_params p = { .ops = &ops, .ctx = &d, .log = log };
  struct journal_recovery r;

  if (argc < 5 || argc - 4 > MAX_RUNS)
    return fail ("IMAGE BLOCK_SIZE BLOCKS FIRST:COUNT ...");
  d.block_size = p.block_size = (uint32_t) strtoul (argv[2], NULL, 10);
  d.blocks = p.fs_blocks = strtoull (argv[3], NULL, 10);
  p.log_extents = (unsigned) argc - 4;
  for (int i = 4; i < argc; i++)
    if (sscanf (argv[i], "%" SCNu64 ":%" SCNu32, &log[i - 4].disk_block,
		&log[i - 4].count) != 2)
      return fail (argv[i]);
  journal_preset (&p.settings, "hurdle");
  p.settings.daemons = false;

  int fd = open (argv[1], O_RDWR);
  size_t size = d.blocks * d.block_size;
  if (fd < 0 || lseek (fd, 0, SEEK_END) < (off_t) size)
    return fail (fd < 0 ? strerror (errno) : "the image is too short");
  d.map = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (d.map == MAP_FAILED)
    return fail (strerror (errno));

  int err = journal_recover (&p, &r);
  if (err)
    {
      printf ("failed: %s\n", strerror (err));
      return 1;
    }
  if (r.log_errno || r.corrupt)
    d.map[S_STATE] |= STATE_ERROR;
  d.map[S_INCOMPAT] &= (unsigned char) ~INCOMPAT_RECOVER;
  printf ("%u transactions, %u blocks, %u revoked%s%s\n", r.transactions,
	  r.blocks, r.revoked, r.torn_end ? ", a torn end" : "",
	  r.corrupt ? ", damage" : "");
  return r.corrupt;
}
