/* A full disk, files without a name that are closed all at once, and a write
   right behind that, which needs their room.

   closed FOLDER FILES BYTES ROUNDS

   Prints how much each round could write.  */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 1000

static char data[64 * 1024];

static int
make (const char *folder, const char *name)
{
  char path[256];
  int fd;

  snprintf (path, sizeof path, "%s/%s", folder, name);
  fd = open (path, O_RDWR | O_CREAT | O_EXCL, 0644);
  if (fd < 0 || unlink (path))
    {
      perror (path);
      exit (2);
    }
  return fd;
}

/* Write up to BYTES; returns how many there was room for.  */
static size_t
fill (int fd, size_t bytes)
{
  size_t done = 0;

  while (done < bytes)
    {
      size_t want = bytes - done < sizeof data ? bytes - done : sizeof data;
      ssize_t n = write (fd, data, want);

      if (n <= 0)
	{
	  printf ("%s\n", strerror (errno));
	  break;
	}
      done += n;
    }
  return done;
}

int
main (int argc, char **argv)
{
  int files = argc == 5 ? atoi (argv[2]) : 0, fds[MOST], rest, again, i, round;
  size_t bytes, got;
  int short_of = 0;

  if (files < 1 || files > MOST)
    return 2;
  bytes = atol (argv[3]);
  memset (data, 'x', sizeof data);
  for (round = 0; round < atoi (argv[4]); round++)
    {
      for (i = 0; i < files; i++)
	{
	  fds[i] = make (argv[1], "closed");
	  if (fill (fds[i], bytes) != bytes)
	    return 2;
	}
      rest = make (argv[1], "rest");
      again = make (argv[1], "again");
      while (fill (rest, 1 << 30) > 0)
	;
      for (i = 0; i < files; i++)
	close (fds[i]);
      got = fill (again, files / 2 * bytes);
      printf ("%zu of %zu\n", got, files / 2 * bytes);
      fflush (stdout);
      short_of += got < files / 2 * bytes;
      close (rest);
      close (again);
    }
  return short_of > 0;
}
