/* A page that is given a block and never written, within the range of a write
   that ends before it.

   within FOLDER

   FOLDER's disk is full but for one block.  A write to a hole waits for its
   data, which has a pager of this program's.  Meanwhile the fifth page of the
   hole is wired, which faults as a write and is none, and takes the block; then
   the data is there, and the write has no room.  */

#include <errno.h>
#include <fcntl.h>
#include <mach.h>
#include <hurd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 7			/* Fewer than the kernel would copy by itself.  */
#define WIRED 5

#define INIT 2200
#define DATA_REQUEST 2203

/* What the kernel sends to the pager, as far as it is looked at.  */
struct request
{
  mach_msg_header_t head;
  mach_msg_type_t control_type;
  mach_port_t control;
  mach_msg_type_t offset_type;
  vm_offset_t offset;
  char more[512];
};

static mach_port_t object;
static pthread_barrier_t asked, answer;
static int file;
static char *data;

static void
must (const char *what, error_t err)
{
  if (err)
    {
      printf ("%s: %s\n", what, strerror (err));
      fflush (stdout);
      _exit (2);
    }
}

/* The first page that is asked for waits for the main thread.  */
static void *
serve (void *arg)
{
  static char page[PAGE] __attribute__ ((aligned (PAGE)));
  int first = 1;

  (void) arg;
  memset (page, 'n', sizeof page);
  for (;;)
    {
      struct request r;

      must ("receive", mach_msg (&r.head, MACH_RCV_MSG, 0, sizeof r, object,
				 MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL));
      if (r.head.msgh_id == INIT)
	memory_object_ready (r.control, FALSE, MEMORY_OBJECT_COPY_DELAY);
      else if (r.head.msgh_id == DATA_REQUEST)
	{
	  if (first)
	    {
	      pthread_barrier_wait (&asked);
	      pthread_barrier_wait (&answer);
	    }
	  first = 0;
	  memory_object_data_supply (r.control, r.offset,
				     (vm_address_t) page, PAGE, FALSE,
				     VM_PROT_NONE, FALSE, MACH_PORT_NULL);
	}
    }
  return NULL;
}

static void *
write_data (void *arg)
{
  ssize_t n = pwrite (file, data, PAGES * PAGE, 0);

  (void) arg;
  printf ("write: %s\n", n < 0 ? strerror (errno) : "done");
  return NULL;
}

int
main (int argc, char **argv)
{
  pthread_t pager, writer;
  mach_port_t host;
  char path[256], *map;

  if (argc != 2)
    return 2;
  snprintf (path, sizeof path, "%s/hole", argv[1]);
  file = open (path, O_RDWR);
  map = mmap (0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, WIRED * PAGE);
  if (file < 0 || map == MAP_FAILED)
    must (path, errno);
  must ("privileges", get_privileged_ports (&host, NULL));
  must ("port", mach_port_allocate (mach_task_self (),
				    MACH_PORT_RIGHT_RECEIVE, &object));
  must ("right", mach_port_insert_right (mach_task_self (), object, object,
					 MACH_MSG_TYPE_MAKE_SEND));
  pthread_barrier_init (&asked, NULL, 2);
  pthread_barrier_init (&answer, NULL, 2);
  pthread_create (&pager, NULL, serve, NULL);
  must ("map", vm_map (mach_task_self (), (vm_address_t *) &data,
		       PAGES * PAGE, 0, 1, object, 0, FALSE,
		       VM_PROT_READ | VM_PROT_WRITE,
		       VM_PROT_READ | VM_PROT_WRITE, VM_INHERIT_NONE));

  pthread_create (&writer, NULL, write_data, NULL);
  pthread_barrier_wait (&asked);
  must ("wire", vm_wire (host, mach_task_self (), (vm_address_t) map, PAGE,
			 VM_PROT_READ | VM_PROT_WRITE));
  pthread_barrier_wait (&answer);
  pthread_join (writer, NULL);
  must ("unwire", vm_wire (host, mach_task_self (), (vm_address_t) map, PAGE,
			   VM_PROT_NONE));
  return 0;
}
