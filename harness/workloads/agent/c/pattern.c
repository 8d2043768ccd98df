/* What operations write into files: cells of 32 bytes that name the run, the
   thread, the operation and their own place.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "agent.h"

#include <stdio.h>
#include <string.h>

#define CELL 32

void
pattern_fill (char *buffer, const struct thread *thread, off_t offset,
	      size_t length)
{
  char cell[CELL + 1];

  while (length > 0)
    {
      size_t skip = offset % CELL;
      size_t part = CELL - skip < length ? CELL - skip : length;

      snprintf (cell, sizeof cell, "hw:%06x.%02x.%05x@%012llx\n",
		(unsigned int) thread->list->run, thread->number,
		(unsigned int) thread->current,
		(unsigned long long) (offset - skip));
      memcpy (buffer, cell + skip, part);
      buffer += part;
      offset += part;
      length -= part;
    }
}
