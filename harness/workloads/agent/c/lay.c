/* Laying a fresh file system over the device: the blocks that mke2fs wrote,
   prepared on the host.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later

   The file of pieces has a line `hurdle-pieces 1 COUNT', then COUNT lines
   `OFFSET LENGTH KIND' where KIND is `data' or `zero', then the bytes of the
   pieces of data, one after the other.  */

#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNIT 4096
#define CHUNK (256 * UNIT)

#ifndef O_DIRECT
# define O_DIRECT 0
#endif

struct piece
{
  long long offset;
  long long length;
  bool data;
};

/* Four bytes that differ each time: the first transaction's number, so that
   what the journal's blocks still hold of earlier runs has lower ones.  */
struct patch
{
  long long offset;
  unsigned long value;
};

static struct patch
read_patch (const char *text)
{
  struct patch patch = { -1, 0 };

  if (text != NULL
      && (sscanf (text, "%lld:%lu", &patch.offset, &patch.value) != 2
	  || patch.offset < 0))
    die (1, "%s: write the offset of the sequence and its value as AT:VALUE",
	 text);
  return patch;
}

/* Put the part of PATCH that lies in [OFFSET, OFFSET + LENGTH) into BUFFER.  */
static void
apply (const struct patch *patch, char *buffer, long long offset, size_t length)
{
  if (patch->offset < 0)
    return;
  for (int i = 0; i < 4; i++)
    {
      long long at = patch->offset + i - offset;

      if (at >= 0 && at < (long long) length)
	buffer[at] = patch->value >> (24 - 8 * i);
    }
}

static void
lay_piece (int fd, FILE *stream, const struct piece *piece, char *buffer,
	   const struct patch *patch)
{
  for (long long done = 0; done < piece->length; done += CHUNK)
    {
      size_t part = piece->length - done < CHUNK ? piece->length - done : CHUNK;
      int error;

      if (!piece->data)
	memset (buffer, 0, part);
      else if (fread (buffer, 1, part, stream) != part)
	die (2, "the file of pieces is too short");
      apply (patch, buffer, piece->offset + done, part);
      error = write_all (fd, buffer, part, piece->offset + done);
      if (error)
	die (2, "the device can't be written at %lld: %s",
	     piece->offset + done, strerror (error));
    }
}

void
lay (const char *pieces, const char *device, const char *sequence)
{
  struct patch patch = read_patch (sequence);
  FILE *stream = fopen (pieces, "r");
  struct piece *list;
  struct stat status;
  void *buffer;
  unsigned int count;
  int fd, end;

  if (stream == NULL)
    die (1, "%s: %s", pieces, strerror (errno));
  if (fscanf (stream, "hurdle-pieces 1 %u", &count) != 1 || count > 1000000)
    die (1, "%s:1: no file of pieces", pieces);
  list = allocate (count * sizeof *list);
  for (unsigned int i = 0; i < count; i++)
    {
      char kind[5];

      if (fscanf (stream, "%lld %lld %4s", &list[i].offset, &list[i].length,
		  kind) != 3
	  || list[i].offset < 0 || list[i].offset % UNIT != 0
	  || list[i].length <= 0 || list[i].length % UNIT != 0)
	die (1, "%s:%u: write OFFSET LENGTH KIND", pieces, i + 2);
      list[i].data = strcmp (kind, "data") == 0;
    }
  end = getc (stream);
  if (end != '\n')
    die (1, "%s: no line end before the data", pieces);
  if (stat (device, &status) < 0)
    die (1, "%s: %s", device, strerror (errno));
  fd = open (device,
	     O_WRONLY | O_CLOEXEC | (S_ISREG (status.st_mode) ? 0 : O_DIRECT));
  if (fd < 0 || posix_memalign (&buffer, UNIT, CHUNK) != 0)
    die (2, "%s can't be written: %s", device, strerror (errno));
  for (unsigned int i = 0; i < count; i++)
    lay_piece (fd, stream, &list[i], buffer, &patch);
  close (fd);
  fclose (stream);
}
