/* libFuzzer on replay: any log, no access out of bounds, an end.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jformat.h"
#include "journal.h"

/* The input is: a byte that says which features the log has, a byte that
   says where it starts, then the log from there on.  With bit 7 of the first
   byte the checksums of what look like headers are made right, so that what
   is behind a checksum is reached.  The file system has 2048 blocks, the log
   is in the middle, in two pieces.  */

#define BS 1024
#define LOG 1024
#define BLOCKS 2048

static unsigned char disk[BLOCKS][BS];
static unsigned long reads;
/* Blocks that a run changed, to clear before the next.  */
static unsigned touched[BLOCKS * 4], ntouched;

static unsigned char *
touch (uint64_t block)
{
  if (ntouched < sizeof touched / sizeof *touched)
    touched[ntouched++] = (unsigned) block;
  return disk[block];
}

static const struct journal_extent extents[2] = { { 100, 600 }, { 900, 424 } };

static int
fz_read (void *ctx, uint64_t block, uint32_t count, void *buf)
{
  (void) ctx;
  if (block >= BLOCKS || count > BLOCKS - block)
    abort ();
  memcpy (buf, disk[block], (size_t) count * BS);
  /* Three walks of at most the ring, and read-ahead.  */
  if (++reads > 200000)
    abort ();
  return 0;
}

static int
in_log (uint64_t block)
{
  return block - 100 < 600 || block - 900 < 424;
}

static int
fz_writev (void *ctx, uint64_t block, uint32_t count,
	   const struct journal_iov *iov, unsigned iovcnt)
{
  size_t len = 0;
  (void) ctx;
  /* Only the superblock of the log is written in the log.  */
  if (block >= BLOCKS || count != 1 || (in_log (block) && block != 100)
      || block == 5)
    abort ();
  unsigned char *to = touch (block);
  for (unsigned i = 0; i < iovcnt; i++)
    {
      if (iov[i].len > BS - len)
	abort ();
      memcpy (to + len, iov[i].base, iov[i].len);
      len += iov[i].len;
    }
  if (len != BS)
    abort ();
  return 0;
}

static int
fz_flush (void *ctx)
{
  (void) ctx;
  return 0;
}

static bool
fz_protected (void *ctx, uint64_t block)
{
  (void) ctx;
  return block == 5;
}

static void *
fz_alloc (void *ctx, size_t size)
{
  (void) ctx;
  return malloc (size);
}

static void
fz_free (void *ctx, void *mem, size_t size)
{
  (void) ctx;
  (void) size;
  free (mem);
}

static const struct journal_ops fz_ops = {
  .read = fz_read, .writev = fz_writev, .flush = fz_flush,
  .is_protected = fz_protected, .alloc = fz_alloc, .free = fz_free
};

static unsigned char *
log_block (uint32_t pos)
{
  return touch (pos < 600 ? 100 + pos : 900 + pos - 600);
}

static void
mend_sums (const struct jfmt_layout *l, uint32_t first, uint32_t n)
{
  for (uint32_t k = 0; k < n; k++)
    {
      unsigned char *p = log_block (first + k);
      uint32_t type, tid;
      if (!jfmt_is_header (p, &type, &tid))
	continue;
      if (type == JFMT_DESCRIPTOR || type == JFMT_REVOKE)
	jfmt_tail_put (l, p);
      else if (type == JFMT_COMMIT && (l->v2 || l->v3))
	jfmt_commit_put (l, p, tid, jfmt_commit_sec (p) * 1000000000u, 0);
    }
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct jfmt_sb sb = { .version = 2, .block_size = BS, .maxlen = LOG,
    .first = 1, .sequence = 1, .nr_users = 1
  };
  struct journal_params p = { .ops = &fz_ops, .block_size = BS,
    .fs_blocks = BLOCKS, .log = extents, .log_extents = 2
  };
  struct jfmt_layout layout;
  struct journal_recovery r;

  if (size < 2)
    return 0;
  if (ntouched == sizeof touched / sizeof *touched)
    memset (disk, 0, sizeof disk);
  while (ntouched > 0)
    memset (disk[touched[--ntouched]], 0, BS);
  sb.incompat = data[0] & 0x1f;
  if ((sb.incompat & 0x18) == 0x18)
    sb.incompat &= ~0x10u;
  sb.compat = data[0] >> 5 & 1;
  sb.checksum_type = sb.incompat & 0x18 ? JFMT_CRC32C : 0;
  /* Near the end of the ring, or anywhere else.  */
  sb.start = data[1] & 1 ? LOG - 1 - (data[1] >> 1) : 1 + data[1] * 3;
  if (data[0] & 0x40)
    sb.sequence = UINT32_MAX;
  jfmt_sb_write (touch (100), &sb);
  jfmt_layout_init (&layout, &sb);
  uint32_t pos = sb.start, first = sb.start, n = 0;
  for (size_t off = 2; off < size && n < 200; off += BS, n++)
    {
      size_t len = size - off < BS ? size - off : BS;
      memcpy (log_block (pos), data + off, len);
      pos = pos + 1 == LOG ? 1 : pos + 1;
    }
  if (data[0] & 0x80)
    {
      uint32_t tail = LOG - first < n ? LOG - first : n;
      mend_sums (&layout, first, tail);
      mend_sums (&layout, 1, n - tail);
    }
  reads = 0;
  int err = journal_recover (&p, &r);
  if (err != 0 && err != EINVAL && err != ENOTSUP)
    abort ();
  if (!err && r.was_dirty)
    {
      /* It is empty now, whatever was in it.  */
      err = journal_inspect (&p, &r);
      if (err || r.was_dirty)
	abort ();
    }
  return 0;
}
