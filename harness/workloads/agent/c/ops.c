/* The operations, each one system call on what is watched where the system
   allows it.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later

   Each returns 0 or an error.  A target that is a path is opened for the
   operation alone, and never waits for a FIFO's other side.  */

#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (1 << 20)

static int
op_creat (struct thread *thread, const struct arg *args)
{
  int fd = open (args[0].text, O_CREAT | O_EXCL | O_WRONLY, args[1].number);

  (void) thread;
  return fd < 0 ? errno : result (close (fd));
}

/* The flags of open that WORDS name, or -1.  */
static int
open_flags (const char *words)
{
  static const struct
  {
    const char *name;
    int flag;
  } known[] =
  {
    { "rd", O_RDONLY }, { "wr", O_WRONLY }, { "rdwr", O_RDWR },
    { "creat", O_CREAT }, { "excl", O_EXCL }, { "trunc", O_TRUNC },
    { "append", O_APPEND }, { "sync", O_SYNC }, { "dsync", O_DSYNC },
  };
  int flags = O_NONBLOCK;

  while (words != NULL)
    {
      size_t length = strcspn (words, "+"), i;

      for (i = 0; i < sizeof known / sizeof *known; i++)
	if (strlen (known[i].name) == length
	    && strncmp (words, known[i].name, length) == 0)
	  break;
      if (i == sizeof known / sizeof *known)
	return -1;
      flags |= known[i].flag;
      words = words[length] == '+' ? words + length + 1 : NULL;
    }
  return flags;
}

static int
op_open (struct thread *thread, const struct arg *args)
{
  int flags = open_flags (args[2].text), fd;

  if (thread->slots[args[0].number] >= 0)
    return EBUSY;
  if (flags == -1)
    return EINVAL;
  fd = open (args[1].text, flags, args[3].number);
  if (fd < 0)
    return errno;
  thread->slots[args[0].number] = fd;
  return 0;
}

static int
op_close (struct thread *thread, const struct arg *args)
{
  int fd = thread->slots[args[0].number];

  if (fd < 0)
    return EBADF;
  thread->slots[args[0].number] = -1;
  return result (close (fd));
}

static int
op_mkdir (struct thread *thread, const struct arg *args)
{
  (void) thread;
  return result (mkdir (args[0].text, args[1].number));
}

static int
op_rmdir (struct thread *thread, const struct arg *args)
{
  (void) thread;
  return result (rmdir (args[0].text));
}

static int
op_mkfifo (struct thread *thread, const struct arg *args)
{
  (void) thread;
  return result (mkfifo (args[0].text, args[1].number));
}

static int
op_rename (struct thread *thread, const struct arg *args)
{
  (void) thread;
  return result (rename (args[0].text, args[1].text));
}

static int
op_link (struct thread *thread, const struct arg *args)
{
  (void) thread;
  return result (linkat (AT_FDCWD, args[0].text, AT_FDCWD, args[1].text, 0));
}

static int
op_symlink (struct thread *thread, const struct arg *args)
{
  (void) thread;
  return result (symlink (args[0].text, args[1].text));
}

static int
op_unlink (struct thread *thread, const struct arg *args)
{
  (void) thread;
  return result (unlink (args[0].text));
}

/* The descriptor of a target, or -1 with errno set.  One that was opened for
   the operation is given back by `target_close'.  */
int
target_open (struct thread *thread, const struct arg *arg, int flags)
{
  if (arg->text != NULL)
    return open (arg->text, flags | O_NONBLOCK | O_CLOEXEC);
  if (thread->slots[arg->number] < 0)
    errno = EBADF;
  return thread->slots[arg->number];
}

/* The result of an operation on a target that ended with ERROR.  */
int
target_close (const struct arg *arg, int fd, int error)
{
  if (arg->text != NULL && close (fd) < 0 && error == 0)
    return errno;
  return error;
}

static int
op_truncate (struct thread *thread, const struct arg *args)
{
  int fd;

  if (args[0].text != NULL)
    return result (truncate (args[0].text, args[1].number));
  fd = target_open (thread, &args[0], 0);
  return fd < 0 ? errno : result (ftruncate (fd, args[1].number));
}

/* Write LENGTH bytes of the pattern at OFFSET.  */
static int
write_pattern (struct thread *thread, int fd, off_t offset, size_t length)
{
  if (thread->buffer == NULL)
    thread->buffer = allocate (CHUNK);
  while (length > 0)
    {
      size_t part = length < CHUNK ? length : CHUNK;
      int error;

      pattern_fill (thread->buffer, thread, offset, part);
      error = write_all (fd, thread->buffer, part, offset);
      if (error)
	return error;
      offset += part;
      length -= part;
    }
  return 0;
}

static int
write_with (struct thread *thread, const struct arg *args, int flags)
{
  int fd = target_open (thread, &args[0], O_WRONLY | flags);

  if (fd < 0)
    return errno;
  return target_close (&args[0], fd,
		       write_pattern (thread, fd, args[1].number,
				      args[2].number));
}

static int
op_write (struct thread *thread, const struct arg *args)
{
  return write_with (thread, args, 0);
}

/* On an open file it writes as the file was opened.  */
static int
op_swrite (struct thread *thread, const struct arg *args)
{
  return write_with (thread, args, O_SYNC);
}

static int
op_append (struct thread *thread, const struct arg *args)
{
  struct stat status;
  int error, fd = target_open (thread, &args[0], O_WRONLY);

  if (fd < 0)
    return errno;
  error = result (fstat (fd, &status));
  if (error == 0)
    error = write_pattern (thread, fd, status.st_size, args[1].number);
  return target_close (&args[0], fd, error);
}

static int
with_descriptor (struct thread *thread, const struct arg *arg,
		 int (*call) (int))
{
  int fd = target_open (thread, arg, O_RDONLY);

  if (fd < 0)
    return errno;
  return target_close (arg, fd, result (call (fd)));
}

static int
op_fsync (struct thread *thread, const struct arg *args)
{
  return with_descriptor (thread, &args[0], fsync);
}

static int
op_fdatasync (struct thread *thread, const struct arg *args)
{
  return with_descriptor (thread, &args[0], fdatasync);
}

static int
op_syncfs (struct thread *thread, const struct arg *args)
{
  return with_descriptor (thread, &args[0], syncfs);
}

static int
op_sync (struct thread *thread, const struct arg *args)
{
  (void) thread;
  (void) args;
  sync ();
  return 0;
}

static int
op_sleep (struct thread *thread, const struct arg *args)
{
  struct timespec left =
    { args[0].number / 1000, args[0].number % 1000 * 1000000 };

  (void) thread;
  while (nanosleep (&left, &left) < 0)
    if (errno != EINTR)
      return errno;
  return 0;
}

/* The threads meet in `run_thread'.  */
static int
op_barrier (struct thread *thread, const struct arg *args)
{
  (void) thread;
  (void) args;
  return 0;
}

const struct rule rules[] =
{
  { "creat", "pm", op_creat },
  { "open", "spfm", op_open },
  { "close", "s", op_close },
  { "mkdir", "pm", op_mkdir },
  { "rmdir", "p", op_rmdir },
  { "mkfifo", "pm", op_mkfifo },
  { "rename", "pp", op_rename },
  { "link", "pp", op_link },
  { "symlink", "xp", op_symlink },
  { "unlink", "p", op_unlink },
  { "truncate", "to", op_truncate },
  { "write", "tol", op_write },
  { "swrite", "tol", op_swrite },
  { "append", "tl", op_append },
  { "mwrite", "tol", op_mwrite },
  { "msync", "tol", op_msync },
  { "chmod", "tm", op_chmod },
  { "chown", "tii", op_chown },
  { "utimes", "tTT", op_utimes },
  { "setxattr", "tww", op_setxattr },
  { "removexattr", "tw", op_removexattr },
  { "settrans", "pw", op_settrans },
  { "rmtrans", "p", op_rmtrans },
  { "fsync", "t", op_fsync },
  { "fdatasync", "t", op_fdatasync },
  { "syncfs", "t", op_syncfs },
  { "sync", "", op_sync },
  { "sleep", "M", op_sleep },
  { "barrier", "w", op_barrier },
  { NULL, NULL, NULL },
};
