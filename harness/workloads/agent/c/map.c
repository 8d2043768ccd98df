/* Operations through a mapping of a file.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static __thread sigjmp_buf bus_error;
static __thread volatile sig_atomic_t mapped;

static void
on_bus_error (int signal_number)
{
  if (!mapped)
    {
      signal (signal_number, SIG_DFL);
      raise (signal_number);
      return;
    }
  siglongjmp (bus_error, 1);
}

void
catch_bus_errors (void)
{
  struct sigaction action;

  memset (&action, 0, sizeof action);
  action.sa_handler = on_bus_error;
  action.sa_flags = SA_NODEFER;
  sigaction (SIGBUS, &action, NULL);
  sigaction (SIGSEGV, &action, NULL);
}

/* Map [OFFSET, OFFSET + LENGTH) of FD, which the file must have, and write the
   pattern there if WRITES, else sync it.  */
static int
with_map (struct thread *thread, int fd, off_t offset, size_t length,
	  bool writes)
{
  size_t skip = offset % sysconf (_SC_PAGESIZE);
  volatile int error = 0;
  struct stat status;
  char *map;

  if (fstat (fd, &status) < 0)
    return errno;
  if (!S_ISREG (status.st_mode))
    return S_ISDIR (status.st_mode) ? EISDIR : ENXIO;
  if (offset + (off_t) length > status.st_size)
    return EINVAL;
  map = mmap (NULL, length + skip, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
	      offset - skip);
  if (map == MAP_FAILED)
    return errno;
  if (!writes)
    error = result (msync (map, length + skip, MS_SYNC));
  else if (sigsetjmp (bus_error, 1) == 0)
    {
      mapped = 1;
      pattern_fill (map + skip, thread, offset, length);
    }
  else
    error = ERROR_SIGBUS;
  mapped = 0;
  if (munmap (map, length + skip) < 0 && error == 0)
    error = errno;
  return error;
}

static int
mapped_op (struct thread *thread, const struct arg *args, bool writes)
{
  int fd = target_open (thread, &args[0], O_RDWR);

  if (fd < 0)
    return errno;
  return target_close (&args[0], fd,
		       with_map (thread, fd, args[1].number, args[2].number,
				 writes));
}

int
op_mwrite (struct thread *thread, const struct arg *args)
{
  return mapped_op (thread, args, true);
}

int
op_msync (struct thread *thread, const struct arg *args)
{
  return mapped_op (thread, args, false);
}
