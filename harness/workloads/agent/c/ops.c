/* The operations, each one system call on what is watched where the system
   allows it.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later

   Each returns 0 or an error.  A target that is a path is opened for the
   operation alone, and never waits for a FIFO's other side.  */

#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
# include <sys/xattr.h>
#endif
#ifdef __GNU__
# include <hurd.h>
# include <hurd/fs.h>
#endif

#define CHUNK (1 << 20)
#define result(call) ((call) < 0 ? errno : 0)

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
static int
target_open (struct thread *thread, const struct arg *arg, int flags)
{
  if (arg->text != NULL)
    return open (arg->text, flags | O_NONBLOCK | O_CLOEXEC);
  if (thread->slots[arg->number] < 0)
    errno = EBADF;
  return thread->slots[arg->number];
}

/* The result of an operation on a target that ended with ERROR.  */
static int
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

static int
op_mwrite (struct thread *thread, const struct arg *args)
{
  return mapped_op (thread, args, true);
}

static int
op_msync (struct thread *thread, const struct arg *args)
{
  return mapped_op (thread, args, false);
}

static int
op_chmod (struct thread *thread, const struct arg *args)
{
  int fd;

  if (args[0].text != NULL)
    return result (chmod (args[0].text, args[1].number));
  fd = target_open (thread, &args[0], 0);
  return fd < 0 ? errno : result (fchmod (fd, args[1].number));
}

static int
op_chown (struct thread *thread, const struct arg *args)
{
  int fd;

  if (args[0].text != NULL)
    return result (chown (args[0].text, args[1].number, args[2].number));
  fd = target_open (thread, &args[0], 0);
  return fd < 0 ? errno : result (fchown (fd, args[1].number, args[2].number));
}

static int
op_utimes (struct thread *thread, const struct arg *args)
{
  struct timespec times[2] =
    { { .tv_sec = args[1].number }, { .tv_sec = args[2].number } };
  int fd;

  if (args[0].text != NULL)
    return result (utimensat (AT_FDCWD, args[0].text, times, 0));
  fd = target_open (thread, &args[0], 0);
  return fd < 0 ? errno : result (futimens (fd, times));
}

#ifdef __linux__
# define XATTR(name) char name[256]; \
  snprintf (name, sizeof name, "user.%s", args[1].text)
#endif

static int
op_setxattr (struct thread *thread, const struct arg *args)
{
#ifdef __linux__
  const char *value = args[2].text;
  int fd;
  XATTR (name);

  if (args[0].text != NULL)
    return result (setxattr (args[0].text, name, value, strlen (value), 0));
  fd = target_open (thread, &args[0], 0);
  return fd < 0 ? errno
    : result (fsetxattr (fd, name, value, strlen (value), 0));
#else
  (void) thread;
  (void) args;
  return ENOTSUP;
#endif
}

static int
op_removexattr (struct thread *thread, const struct arg *args)
{
#ifdef __linux__
  int fd;
  XATTR (name);

  if (args[0].text != NULL)
    return result (removexattr (args[0].text, name));
  fd = target_open (thread, &args[0], 0);
  return fd < 0 ? errno : result (fremovexattr (fd, name));
#else
  (void) thread;
  (void) args;
  return ENOTSUP;
#endif
}

/* Give the node at PATH the passive translator RECORD, or none if the record
   is empty; no translator is started or asked to go away.  */
static int
set_translator (const char *path, const char *record, size_t length)
{
#ifdef __GNU__
  error_t error;
  file_t node = file_name_lookup (path, O_NOTRANS, 0);

  if (node == MACH_PORT_NULL)
    return errno;
  error = file_set_translator (node, FS_TRANS_SET, 0, 0, (char *) record,
			       length, MACH_PORT_NULL,
			       MACH_MSG_TYPE_COPY_SEND);
  mach_port_deallocate (mach_task_self (), node);
  return error;
#else
  (void) path;
  (void) record;
  (void) length;
  return ENOTSUP;
#endif
}

static int
op_settrans (struct thread *thread, const struct arg *args)
{
  size_t length = strlen (args[1].text) + 1;
  char *record = allocate (length);
  int error;

  (void) thread;
  memcpy (record, args[1].text, length);
  for (char *c = record; *c != '\0'; c++)
    if (*c == ',')
      *c = '\0';
  error = set_translator (args[0].text, record, length);
  free (record);
  return error;
}

static int
op_rmtrans (struct thread *thread, const struct arg *args)
{
  (void) thread;
  return set_translator (args[0].text, NULL, 0);
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
