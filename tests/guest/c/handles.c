/* Files that lose their name and their last user while someone has a handle of
   them.

   handles FOLDER FILES BYTES

   Makes FILES files of BYTES bytes, keeps a handle of each, removes and closes
   them all at once, and asks for each by its handle while they are being
   freed.  Prints how many were found again.  */

#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <hurd.h>
#include <hurd/fs.h>
#include <hurd/fsys.h>
#include <mach.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 256

static void
die (const char *what, error_t err)
{
  printf ("%s: %s\n", what, strerror (err));
  exit (2);
}

struct handle
{
  data_t data;
  mach_msg_type_number_t len;
  char buf[64];
};

static void
make (const char *path, size_t bytes, int *fd, struct handle *h)
{
  static char zeros[65536];
  file_t file;
  error_t err;

  *fd = open (path, O_RDWR | O_CREAT | O_EXCL, 0644);
  if (*fd < 0)
    die (path, errno);
  for (; bytes >= sizeof zeros; bytes -= sizeof zeros)
    if (write (*fd, zeros, sizeof zeros) != sizeof zeros)
      die ("write", errno);
  file = getdport (*fd);
  h->data = h->buf;
  h->len = sizeof h->buf;
  err = file_getfh (file, &h->data, &h->len);
  if (err)
    die ("file_getfh", err);
  mach_port_deallocate (mach_task_self (), file);
}

/* Look a file up by its handle, use it, and let go of it.  */
static int
find (fsys_t control, struct handle *h)
{
  uid_t uid = 0;
  gid_t gid = 0;
  mach_port_t file;
  struct stat st;
  error_t err = fsys_getfile (control, &uid, 1, &gid, 1, h->data, h->len,
			      &file);

  if (err)
    return 0;
  io_stat (file, &st);
  mach_port_deallocate (mach_task_self (), file);
  return 1;
}

int
main (int argc, char **argv)
{
  int files = argc == 4 ? atoi (argv[2]) : 0, found = 0, round, i;
  static struct handle handles[MOST];
  int fds[MOST];
  char path[256];
  fsys_t control;
  file_t root;
  error_t err;

  if (files < 1 || files > MOST)
    return 2;
  root = file_name_lookup (argv[1], 0, 0);
  if (root == MACH_PORT_NULL)
    die (argv[1], errno);
  err = file_getcontrol (root, &control);
  if (err)
    die ("file_getcontrol", err);
  for (i = 0; i < files; i++)
    {
      snprintf (path, sizeof path, "%s/h%d", argv[1], i);
      make (path, atol (argv[3]), &fds[i], &handles[i]);
    }
  for (i = 0; i < files; i++)
    {
      snprintf (path, sizeof path, "%s/h%d", argv[1], i);
      if (unlink (path))
	die (path, errno);
      /* In use without a name: it is found.  */
      if (! find (control, &handles[i]))
	die ("an open file is not found by its handle", 0);
      close (fds[i]);
    }
  for (round = 0; round < 5; round++)
    for (i = files; i-- > 0;)
      found += find (control, &handles[i]);
  printf ("found %d\n", found);
  return 0;
}
