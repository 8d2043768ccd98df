/* Marks: blocks behind the file system's end that say how far a thread is.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later

   harness/workloads/agent/marks.py says what they prove.  A mark must not
   make the system flush the disk: the flush would hide one that the journal
   forgot.  So there is no O_SYNC here, and on Linux there is O_DIRECT, by
   which a write is on its way to the disk when it returns.  A Hurd's storeio
   writes to the device at once.  */

#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOT 4096		/* Bytes from one thread's mark to the next.  */
#define MARK 512

#ifndef O_DIRECT
# define O_DIRECT 0
#endif

struct marks marks = { -1, 0 };

void
marks_open (const char *device, const char *offset)
{
  struct stat status;
  char *end;
  long long value = strtoll (offset, &end, 10);
  int flags = O_WRONLY | O_CLOEXEC;

  if (*end != '\0' || value <= 0 || value % SLOT != 0)
    die (1, "%s: an offset is a multiple of %d", offset, SLOT);
  if (stat (device, &status) < 0)
    die (1, "%s: %s", device, strerror (errno));
  /* A file in a file system may not take it, and serves only for tests.  */
  if (!S_ISREG (status.st_mode))
    flags |= O_DIRECT;
  marks.fd = open (device, flags);
  if (marks.fd < 0)
    die (2, "%s can't be opened for marks: %s", device, strerror (errno));
  marks.offset = value;
}

void
mark_allocate (struct thread *thread)
{
  void *block;

  if (posix_memalign (&block, SLOT, SLOT) != 0)
    die (2, "no memory for marks");
  thread->mark = block;
}

int
write_all (int fd, const char *data, size_t length, off_t offset)
{
  while (length > 0)
    {
      ssize_t done = pwrite (fd, data, length, offset);

      if (done < 0 && errno == EINTR)
	continue;
      if (done < 0)
	return errno;
      if (done == 0)
	return EIO;
      data += done;
      length -= done;
      offset += done;
    }
  return 0;
}

/* CRC-32 as in zlib, bit by bit: a mark has some sixty bytes.  */
static uint32_t
crc32 (const char *data, size_t length)
{
  uint32_t crc = ~0u;

  while (length-- > 0)
    {
      crc ^= (unsigned char) *data++;
      for (int bit = 0; bit < 8; bit++)
	crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
  return ~crc;
}

void
mark_write (struct thread *thread, size_t next, const char *result)
{
  int length, error;

  if (marks.fd < 0)
    return;
  memset (thread->mark, 0, MARK);
  length = sprintf (thread->mark,
		    "hurdle-mark 1 run=%06x thread=%02x next=%05x errno=%s",
		    (unsigned int) thread->list->run, thread->number,
		    (unsigned int) next, result);
  sprintf (thread->mark + length, " crc=%08x\n",
	   (unsigned int) crc32 (thread->mark, length));
  error = write_all (marks.fd, thread->mark, MARK,
		     marks.offset + (off_t) SLOT * thread->number);
  if (error)
    die (2, "a mark can't be written: %s", strerror (error));
}

#define NAME(error) { error, #error }

/* The numbers differ between systems, so marks have names.  */
static const struct
{
  int error;
  const char *name;
} names[] =
{
  NAME (EACCES), NAME (EAGAIN), NAME (EBADF), NAME (EBUSY), NAME (EDQUOT),
  NAME (EEXIST), NAME (EFAULT), NAME (EFBIG), NAME (EINTR), NAME (EINVAL),
  NAME (EIO), NAME (EISDIR), NAME (ELOOP), NAME (EMFILE), NAME (EMLINK),
  NAME (ENAMETOOLONG), NAME (ENFILE), NAME (ENODATA), NAME (ENODEV),
  NAME (ENOENT), NAME (ENOMEM), NAME (ENOSPC), NAME (ENOSYS), NAME (ENOTDIR),
  NAME (ENOTEMPTY), NAME (ENOTSUP), NAME (ENXIO), NAME (EOVERFLOW),
  NAME (EPERM), NAME (EPIPE), NAME (ERANGE), NAME (EROFS), NAME (ESPIPE),
  NAME (ESTALE), NAME (ETIMEDOUT), NAME (ETXTBSY), NAME (EXDEV),
};

const char *
error_name (int error, char *buffer, size_t size)
{
  if (error == 0)
    return "OK";
  if (error == ERROR_SIGBUS)
    return "SIGBUS";
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].error == error)
      return names[i].name;
  snprintf (buffer, size, "E%d", error);
  return buffer;
}
