/* Threads that write to holes of mapped files, one byte to each of PAGES
   pages that are STRIDE pages apart: every fault allocates.

   mapped FOLDER THREADS PAGES STRIDE

   Prints what the first failing thread met, and what a second look finds
   missing.  */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

static const char *folder;
static long pages, stride;
static pthread_barrier_t begin;

struct writer
{
  pthread_t thread;
  int number;
  long failed;			/* The page that gave SIGBUS, plus one.  */
};

static __thread sigjmp_buf on_bus;

static void
bus (int sig)
{
  (void) sig;
  siglongjmp (on_bus, 1);
}

static void
die (const char *what)
{
  printf ("%s: %s\n", what, strerror (errno));
  fflush (stdout);
  _exit (2);
}

static int
file_of (int number, int flags)
{
  char path[256];
  int fd;

  snprintf (path, sizeof path, "%s/mapped%d", folder, number);
  fd = open (path, flags, 0644);
  if (fd < 0)
    die (path);
  return fd;
}

static void *
write_holes (void *arg)
{
  struct writer *w = arg;
  int fd = file_of (w->number, O_RDWR | O_CREAT | O_TRUNC);
  volatile long page = 0;

  if (ftruncate (fd, pages * stride * PAGE))
    die ("ftruncate");
  pthread_barrier_wait (&begin);
  /* A stretch is mapped at a time: the files are larger than the room.  */
  for (; page < pages && ! w->failed; page++)
    {
      char *map = mmap (0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			page * stride * PAGE);

      if (map == MAP_FAILED)
	die ("mmap");
      if (sigsetjmp (on_bus, 1) == 0)
	*map = (char) (w->number + page + 1);
      else
	w->failed = page + 1;
      munmap (map, PAGE);
    }
  if (fsync (fd))
    die ("fsync");
  close (fd);
  return NULL;
}

int
main (int argc, char **argv)
{
  struct writer writers[64] = { 0 };
  int threads = argc == 5 ? atoi (argv[2]) : 0, wrong = 0, i;
  struct sigaction act = { .sa_handler = bus };

  if (threads < 1 || threads > 64)
    return 2;
  folder = argv[1];
  pages = atol (argv[3]);
  stride = atol (argv[4]);
  sigaction (SIGBUS, &act, NULL);
  sigaction (SIGSEGV, &act, NULL);
  pthread_barrier_init (&begin, NULL, (unsigned) threads);
  for (i = 0; i < threads; i++)
    {
      writers[i].number = i;
      pthread_create (&writers[i].thread, NULL, write_holes, &writers[i]);
    }
  for (i = 0; i < threads; i++)
    pthread_join (writers[i].thread, NULL);
  for (i = 0; i < threads; i++)
    {
      int fd = file_of (i, O_RDONLY);
      long page;

      if (writers[i].failed)
	{
	  printf ("thread %d: page %ld cannot be written\n", i,
		  writers[i].failed - 1);
	  wrong++;
	}
      else
	for (page = 0; page < pages; page++)
	  {
	    char c = 0;

	    if (pread (fd, &c, 1, page * stride * PAGE) != 1
		|| c != (char) (i + page + 1))
	      {
		printf ("thread %d: page %ld has %d\n", i, page, c);
		wrong++;
		break;
	      }
	  }
      close (fd);
    }
  return wrong > 0;
}
