/* Files that have no name, are closed, and mapped to be read; and unmapped one
   by one.

   unmapper FOLDER FILES MICROSECONDS

   Takes the files x0000, x0001, ... of FOLDER.  When all are mapped it makes
   /tmp/ready, and waits for /tmp/go.  */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST 1000

static char *
map (const char *folder, int number)
{
  char path[256], *at;
  int fd;

  snprintf (path, sizeof path, "%s/x%04d", folder, number);
  fd = open (path, O_RDONLY);
  at = fd < 0 ? MAP_FAILED : mmap (0, 4096, PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED || unlink (path))
    {
      perror (path);
      exit (2);
    }
  close (fd);
  (void) *(volatile char *) at;
  return at;
}

int
main (int argc, char **argv)
{
  int files = argc == 4 ? atoi (argv[2]) : 0, i;
  char *at[MOST];

  if (files < 1 || files > MOST)
    return 2;
  unlink ("/tmp/ready");
  unlink ("/tmp/go");
  for (i = 0; i < files; i++)
    at[i] = map (argv[1], i);
  fclose (fopen ("/tmp/ready", "w"));
  while (access ("/tmp/go", F_OK))
    usleep (20000);
  for (i = 0; i < files; i++)
    {
      munmap (at[i], 4096);
      usleep (atoi (argv[3]));
    }
  return 0;
}
