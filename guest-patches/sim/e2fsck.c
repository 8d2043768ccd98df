/* mke2fs and e2fsck, and comparing images.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "states.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const char *
scratch_dir (void)
{
  static char dir[200];
  const char *env = getenv ("ENGINE_SCRATCH");
  struct stat st;

  if (dir[0])
    return dir;
  if (env)
    snprintf (dir, sizeof dir, "%s", env);
  else
    {
      /* In memory if there is such a place: images come and go.  */
      snprintf (dir, sizeof dir, "%s/engine-XXXXXX",
		stat ("/dev/shm", &st) == 0 ? "/dev/shm" : "/tmp");
      CHECK (mkdtemp (dir), "no scratch directory");
    }
  return dir;
}

static int
run (const char *fmt, const char *dir, uint32_t n, char *out, size_t size)
{
  char command[700];
  /* The tools are in sbin, which is not on everyone's path.  */
  int len = snprintf (command, sizeof command,
		      "PATH=$PATH:/usr/sbin:/sbin; export PATH LC_ALL=C; ");
  snprintf (command + len, sizeof command - (size_t) len, fmt, dir, n);
  FILE *f = popen (command, "r");
  CHECK (f, "cannot run %s", command);
  size_t got = fread (out, 1, size - 1, f);
  out[got] = '\0';
  while (fgetc (f) != EOF)
    continue;
  int status = pclose (f);
  CHECK (WIFEXITED (status), "%s was killed", command);
  return WEXITSTATUS (status);
}

void
make_image (struct simdisk *d, uint32_t bs, const char *scratch)
{
  char out[4000], path[256];
  uint32_t blocks = 4096;

  snprintf (path, sizeof path, "%s/base-%u.img", scratch, bs);
  simdisk_init (d, bs, blocks);
  if (access (path, R_OK) != 0)
    {
      int rc = run ("cd '%s' && rm -f new.img && mke2fs -q -F -t ext2 -o hurd"
		    " -O ^resize_inode,^dir_index,^filetype,has_journal"
		    " -U 6d6e6f70-7172-7374-7576-777879808182"
		    " -I 128 -N 256 -m 0 -b %u new.img 4096 2>&1", scratch,
		    bs, out, sizeof out);
      CHECK (rc == 0, "mke2fs: %s", out);
      rc = run ("cd '%s' && mv new.img base-%u.img 2>&1", scratch, bs, out,
		sizeof out);
      CHECK (rc == 0, "%s", out);
    }
  simdisk_load (d, path);
}

/* Let the log begin in its middle: half the size, and it wraps soon.  */
void
halve_log (struct simdisk *d)
{
  struct geometry g;
  struct journal_extent log[64];
  geometry_read (&g, d->now, d->block_size);
  journal_extents (d->now, &g, log, 64);
  /* s_first, from 1 to 512.  */
  d->now[log[0].disk_block * d->block_size + 0x16] = 2;
  d->now[log[0].disk_block * d->block_size + 0x17] = 0;
}

/* s_feature_incompat in the superblock.  */
void
set_needs_recovery (struct simdisk *d, bool on)
{
  unsigned char *sb = d->now + 1024;
  uint32_t incompat = le32 (sb + 0x60);
  put_le32 (sb + 0x60, on ? incompat | 4 : incompat & ~4u);
}

/* The same, but damage is allowed.  Returns whether e2fsck found none.  */
bool
e2fsck_try (const struct simdisk *image, struct simdisk *result,
	    const char *scratch)
{
  char out[4000], path[256];

  memcpy (result->now, image->now, image->blocks * image->block_size);
  set_needs_recovery (result, true);
  snprintf (path, sizeof path, "%s/e2fsck.img", scratch);
  simdisk_save (result, path);
  int rc = run ("cd '%s' && e2fsck -y -E journal_only e2fsck.img 2>&1",
		scratch, 0, out, sizeof out);
  CHECK (rc < 8, "e2fsck -E journal_only: %d: %s", rc, out);
  simdisk_load (result, path);
  return rc <= 1 && !strstr (out, "orrupt") && !strstr (out, "checksum")
    && !strstr (out, "error");
}

/* debugfs has the recovery code of e2fsck, and leaves the orphan list
   alone.  */
void
debugfs_replay (const struct simdisk *image, struct simdisk *result,
		const char *scratch)
{
  char out[4000], path[256];

  memcpy (result->now, image->now, image->blocks * image->block_size);
  set_needs_recovery (result, true);
  snprintf (path, sizeof path, "%s/e2fsck.img", scratch);
  simdisk_save (result, path);
  run ("cd '%s' && debugfs -w -R jr e2fsck.img 2>&1", scratch, 0, out,
       sizeof out);
  simdisk_load (result, path);
}

/* Run a script in debugfs.  The file "data" has 64 blocks, one of them
   beginning with the log's magic number.  */
void
debugfs_script (struct simdisk *d, const char *script, const char *scratch)
{
  char out[8000], path[256];

  snprintf (path, sizeof path, "%s/e2fsck.img", scratch);
  set_needs_recovery (d, true);
  simdisk_save (d, path);
  snprintf (path, sizeof path, "%s/script", scratch);
  FILE *f = fopen (path, "w");
  CHECK (f && fputs (script, f) >= 0 && fclose (f) == 0, "%s: error", path);
  snprintf (path, sizeof path, "%s/data", scratch);
  f = fopen (path, "w");
  CHECK (f, "%s: error", path);
  for (uint32_t i = 0; i < 64 * d->block_size / 4; i++)
    {
      uint32_t word = i * 2654435761u;
      if (i == d->block_size / 4)
	word = 0x98393BC0u;	/* Little-endian.  */
      CHECK (fwrite (&word, 4, 1, f) == 1, "%s: error", path);
    }
  CHECK (fclose (f) == 0, "%s: error", path);
  int rc = run ("cd '%s' && debugfs -w -f script e2fsck.img 2>&1", scratch,
		0, out, sizeof out);
  CHECK (rc == 0 && !strstr (out, "rror") && !strstr (out, "sage"),
	 "debugfs: %s", out);
  snprintf (path, sizeof path, "%s/e2fsck.img", scratch);
  simdisk_load (d, path);
}

void
e2fsck_replay (const struct simdisk *image, struct simdisk *result,
	       const char *scratch, bool torn_end)
{
  char out[4000], path[256];

  memcpy (result->now, image->now, image->blocks * image->block_size);
  set_needs_recovery (result, true);
  snprintf (path, sizeof path, "%s/e2fsck.img", scratch);
  simdisk_save (result, path);
  int rc = run ("cd '%s' && e2fsck -y -E journal_only e2fsck.img 2>&1",
		scratch, 0, out, sizeof out);
  CHECK (rc <= 1 && (torn_end || !strstr (out, "corrupt"))
	 && !strstr (out, "checksum"),
	 "e2fsck -E journal_only: %d: %s", rc, out);
  simdisk_load (result, path);
}

void
e2fsck_clean (const struct simdisk *image, const char *scratch)
{
  char out[4000], path[256];

  snprintf (path, sizeof path, "%s/clean.img", scratch);
  simdisk_save (image, path);
  int rc = run ("cd '%s' && e2fsck -fn clean.img 2>&1", scratch, 0, out,
		sizeof out);
  CHECK (rc == 0, "e2fsck -fn: %d: %s", rc, out);
}

/* A replay by e2fsck also writes the superblock (times, flags) and the
   log's superblock; those may differ.  */
uint32_t
images_differ (const struct simdisk *a, const struct simdisk *b)
{
  struct geometry g;
  struct journal_extent log[64];

  geometry_read (&g, a->now, a->block_size);
  unsigned n = journal_extents (a->now, &g, log, 64);
  for (uint32_t k = 0; k < g.blocks; k++)
    {
      unsigned char x[65536], y[65536];
      bool in_log = false;
      for (unsigned i = 0; i < n; i++)
	in_log |= k - log[i].disk_block < log[i].count;
      if (in_log || !memcmp (a->now + (size_t) k * g.bs,
			     b->now + (size_t) k * g.bs, g.bs))
	continue;
      if (k != g.sb_block)
	return k;
      memcpy (x, a->now + (size_t) k * g.bs, g.bs);
      memcpy (y, b->now + (size_t) k * g.bs, g.bs);
      /* Mount and write times and counts, state, last check, incompat,
	 lifetime writes, the backup of the log's inode, the sum of all.  */
      static const struct { unsigned off, len; } may[] = {
	{ 0x2c, 8 }, { 0x34, 4 }, { 0x3a, 2 }, { 0x40, 4 }, { 0x60, 4 },
	{ 0x178, 8 }, { 0x10c, 68 }, { 0x3fc, 4 },
      };
      for (size_t i = 0; i < sizeof may / sizeof *may; i++)
	{
	  memset (x + g.sb_offset + may[i].off, 0, may[i].len);
	  memset (y + g.sb_offset + may[i].off, 0, may[i].len);
	}
      if (memcmp (x, y, g.bs))
	return k ? k : 1;
    }
  return 0;
}
