/* random: a translator for /dev/urandom in a guest for tests.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

/* Usage: settrans FILE /hurd/random SEED

   The Hurd's own needs libgcrypt.  This one starts from the file SEED, which
   whoever makes the image fills, and from the clock and the processor's cycle
   counter; it reads the latter at each use, takes what is written to it, and
   leaves a new seed in the file.  Two boots from the same image and seed
   differ by clock and counter alone, and a guest that is restored from a saved
   state goes on from there: good enough for a guest that only its host can
   reach, and for nothing else.  */

#include <error.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <hurd/ports.h>
#include <hurd/trivfs.h>

#include "pool.h"

#define SEED_BYTES 64
#define READ_MOST (1 << 20)

int trivfs_fstype = FSTYPE_DEV;
int trivfs_fsid = 0;
int trivfs_allow_open = O_READ | O_WRITE;
int trivfs_support_read = 1;
int trivfs_support_write = 1;
int trivfs_support_exec = 0;

static struct pool pool;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void
mix_time (void)
{
  struct timespec now;
  uint64_t cycles = __builtin_ia32_rdtsc ();

  clock_gettime (CLOCK_REALTIME, &now);
  pool_mix (&pool, &now, sizeof now);
  pool_mix (&pool, &cycles, sizeof cycles);
}

static void
take_seed (const char *name)
{
  unsigned char seed[SEED_BYTES];
  int file = open (name, O_RDWR);
  ssize_t size = file < 0 ? -1 : read (file, seed, sizeof seed);

  if (size <= 0)
    error (0, errno, "%s", name);
  else
    pool_mix (&pool, seed, size);
  mix_time ();
  pool_read (&pool, seed, sizeof seed);
  /* The root may still be read-only; then the next boot has the old seed.  */
  if (file >= 0 && pwrite (file, seed, sizeof seed, 0) < 0 && errno != EROFS)
    error (0, errno, "%s", name);
  if (file >= 0)
    close (file);
}

void
trivfs_modify_stat (struct trivfs_protid *cred, io_statbuf_t *st)
{
  st->st_mode = (st->st_mode & ~(S_IFMT | ALLPERMS)) | S_IFCHR | 0666;
  st->st_size = 0;
}

error_t
trivfs_goaway (struct trivfs_control *control, int flags)
{
  exit (0);
}

kern_return_t
trivfs_S_io_read (struct trivfs_protid *cred, mach_port_t reply,
		  mach_msg_type_name_t reply_type, data_t *data,
		  mach_msg_type_number_t *size, loff_t offset, vm_size_t amount)
{
  if (! cred)
    return EOPNOTSUPP;
  if (! (cred->po->openmodes & O_READ))
    return EBADF;
  if (amount > READ_MOST)
    amount = READ_MOST;
  if (amount > *size)
    {
      /* The stub gives it to the reader and frees it here.  */
      void *room = mmap (0, amount, PROT_READ | PROT_WRITE, MAP_ANON, 0, 0);

      if (room == MAP_FAILED)
	return errno;
      *data = room;
    }
  pthread_mutex_lock (&lock);
  mix_time ();
  pool_read (&pool, *data, amount);
  pthread_mutex_unlock (&lock);
  *size = amount;
  return 0;
}

kern_return_t
trivfs_S_io_write (struct trivfs_protid *cred, mach_port_t reply,
		   mach_msg_type_name_t reply_type, const_data_t data,
		   mach_msg_type_number_t size, loff_t offset,
		   vm_size_t *amount)
{
  if (! cred)
    return EOPNOTSUPP;
  if (! (cred->po->openmodes & O_WRITE))
    return EBADF;
  pthread_mutex_lock (&lock);
  pool_mix (&pool, data, size);
  pthread_mutex_unlock (&lock);
  *amount = size;
  return 0;
}

kern_return_t
trivfs_S_io_readable (struct trivfs_protid *cred, mach_port_t reply,
		      mach_msg_type_name_t reply_type, vm_size_t *amount)
{
  if (! cred)
    return EOPNOTSUPP;
  *amount = READ_MOST;
  return 0;
}

kern_return_t
trivfs_S_io_seek (struct trivfs_protid *cred, mach_port_t reply,
		  mach_msg_type_name_t reply_type, loff_t offset, int whence,
		  loff_t *at)
{
  if (! cred)
    return EOPNOTSUPP;
  *at = 0;
  return 0;
}

/* Always ready, for reading and for writing.  */
kern_return_t
trivfs_S_io_select (struct trivfs_protid *cred, mach_port_t reply,
		    mach_msg_type_name_t reply_type, int *type)
{
  if (! cred)
    return EOPNOTSUPP;
  *type &= SELECT_READ | SELECT_WRITE;
  return 0;
}

kern_return_t
trivfs_S_io_select_timeout (struct trivfs_protid *cred, mach_port_t reply,
			    mach_msg_type_name_t reply_type,
			    struct timespec until, int *type)
{
  return trivfs_S_io_select (cred, reply, reply_type, type);
}

kern_return_t
trivfs_S_file_set_size (struct trivfs_protid *cred, mach_port_t reply,
			mach_msg_type_name_t reply_type, loff_t size)
{
  return cred ? 0 : EOPNOTSUPP;
}

int
main (int argc, char **argv)
{
  mach_port_t bootstrap;
  struct trivfs_control *control;
  error_t err;

  if (argc != 2)
    error (2, 0, "usage: settrans FILE %s SEED", argv[0]);
  task_get_bootstrap_port (mach_task_self (), &bootstrap);
  if (bootstrap == MACH_PORT_NULL)
    error (1, 0, "must be started as a translator");
  take_seed (argv[1]);
  err = trivfs_startup (bootstrap, 0, 0, 0, 0, 0, &control);
  mach_port_deallocate (mach_task_self (), bootstrap);
  if (err)
    error (3, err, "trivfs_startup");
  ports_manage_port_operations_multithread (control->pi.bucket,
					    trivfs_demuxer, 0, 0, 0);
  return 0;
}
