/* Takes the pages of directories out of the kernel's memory while lists run.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later

   A kernel that is short of memory does this to any page at any moment, but
   a guest with so little memory dies of other things.  On a Hurd msync with
   MS_INVALIDATE asks for it, page by page: the kernel returns what has
   changed to the file system and forgets the page, by the message with which
   it does so when memory is short, and the next use asks for it again.  Who
   may read a directory may map it.  Linux maps no directory.  */

#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef O_NOTRANS		/* Here nothing starts a translator.  */
# define O_NOTRANS 0
#endif

#define FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOTRANS | O_CLOEXEC)

static pthread_t taker;
static unsigned long pause_ms;
static _Atomic bool ends;
static unsigned long taken;	/* Directories whose pages were taken.  */
static int last_error;		/* Of one of which they were not.  */

/* A directory may go away meanwhile, so an error is no news, unless there is
   nothing else.  */
static void
take (int fd)
{
  struct stat status;
  void *map;

  if (fstat (fd, &status) < 0 || status.st_size <= 0)
    return;
  map = mmap (NULL, status.st_size, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED)
    {
      last_error = errno;
      return;
    }
  if (msync (map, status.st_size, MS_SYNC | MS_INVALIDATE) < 0)
    last_error = errno;
  else
    taken++;
  munmap (map, status.st_size);
}

/* Of the directory FD and all below.  */
static void
take_below (int fd)
{
  struct dirent *entry;
  DIR *folder;
  int below;

  take (fd);
  folder = fdopendir (fd);
  if (folder == NULL)
    {
      close (fd);
      return;
    }
  while (!ends && (entry = readdir (folder)) != NULL)
    if (strcmp (entry->d_name, ".") != 0 && strcmp (entry->d_name, "..") != 0
	&& (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN))
      {
	below = openat (fd, entry->d_name, FLAGS);
	if (below >= 0)
	  take_below (below);
      }
  closedir (folder);
}

static void *
run_taker (void *unused)
{
  (void) unused;
  do
    {
      int fd = open (".", FLAGS);

      if (fd >= 0)
	take_below (fd);
      else
	last_error = errno;
      usleep (pause_ms * 1000);
    }
  while (!ends);
  return NULL;
}

void
reclaim_start (const char *pause)
{
  char *end;
  int error;

  pause_ms = strtoul (pause, &end, 10);
  if (*pause < '0' || *pause > '9' || *end != '\0' || pause_ms > 1000000)
    die (1, "%s: a pause is a number of milliseconds", pause);
  error = pthread_create (&taker, NULL, run_taker, NULL);
  if (error)
    die (2, "the thread that takes pages can't be made: %s", strerror (error));
}

void
reclaim_stop (void)
{
  ends = true;
  pthread_join (taker, NULL);
  if (taken == 0)
    die (2, "no page of a directory could be taken: %s",
	 strerror (last_error));
  printf ("took pages of %lu\n", taken);
}
