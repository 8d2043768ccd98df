/* Operations on attributes and on translators' records.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

int
op_chmod (struct thread *thread, const struct arg *args)
{
  int fd;

  if (args[0].text != NULL)
    return result (chmod (args[0].text, args[1].number));
  fd = target_open (thread, &args[0], 0);
  return fd < 0 ? errno : result (fchmod (fd, args[1].number));
}

int
op_chown (struct thread *thread, const struct arg *args)
{
  int fd;

  if (args[0].text != NULL)
    return result (chown (args[0].text, args[1].number, args[2].number));
  fd = target_open (thread, &args[0], 0);
  return fd < 0 ? errno : result (fchown (fd, args[1].number, args[2].number));
}

int
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

int
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

int
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

int
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

int
op_rmtrans (struct thread *thread, const struct arg *args)
{
  (void) thread;
  return set_translator (args[0].text, NULL, 0);
}
