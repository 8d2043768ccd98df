/* The program's entry, and the threads.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "agent.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef AGENT_VERSION
# define AGENT_VERSION "unknown"
#endif

static const char usage[] =
  "usage: hurdle-agent run [-r PAUSE] LIST FOLDER [DEVICE OFFSET]\n"
  "       hurdle-agent lay PIECES DEVICE OFFSET RUN [AT:SEQUENCE]\n"
  "       hurdle-agent version\n"
  "run: the operations of LIST below FOLDER; marks go to DEVICE at OFFSET;\n"
  "  -r: the kernel's pages of directories are taken away, and again after\n"
  "  PAUSE milliseconds, until the list has ended.\n"
  "lay: the file system in PIECES onto DEVICE, then a mark of RUN at OFFSET.\n";

void
die (int code, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fputs ("hurdle-agent: ", stderr);
  vfprintf (stderr, format, args);
  fputc ('\n', stderr);
  va_end (args);
  _exit (code);
}

void *
allocate (size_t size)
{
  void *memory = calloc (1, size ? size : 1);

  if (memory == NULL)
    die (2, "no memory for %zu bytes", size);
  return memory;
}

static pthread_barrier_t start;

/* One thread's list.  Between two operations stands one mark: it says that
   the one has returned and that the other begins.  */
static void *
run_thread (void *argument)
{
  struct thread *thread = argument;
  char name[32];

  pthread_barrier_wait (&start);
  mark_write (thread, 0, "OK");
  for (size_t i = 0; i < thread->n_ops; i++)
    {
      struct op *op = &thread->ops[i];

      thread->current = i;
      if (op->barrier != NULL)
	pthread_barrier_wait (op->barrier);
      else
	thread->results[i] = op->rule->run (thread, op->args);
      mark_write (thread, i + 1,
		  error_name (thread->results[i], name, sizeof name));
    }
  return NULL;
}

/* What failed, and how much was done.  */
static void
report (const struct list *list)
{
  size_t failed = 0, count = 0;
  char name[32];

  for (unsigned int t = 0; t < list->n_threads; t++)
    {
      const struct thread *thread = &list->threads[t];

      count += thread->n_ops;
      for (size_t i = 0; i < thread->n_ops; i++)
	if (thread->results[i] != 0)
	  {
	    failed++;
	    printf ("failed %u %zu %s\n", t, i,
		    error_name (thread->results[i], name, sizeof name));
	  }
    }
  printf ("ran %zu failed %zu\n", count, failed);
}

static void
run (const char *file, const char *folder, const char *pause)
{
  static struct list list;
  pthread_t ids[MAX_THREADS];
  int error;

  list_read (&list, file);
  if (chdir (folder) < 0)
    die (1, "%s: %s", folder, strerror (errno));
  umask (0);
  catch_bus_errors ();
  pthread_barrier_init (&start, NULL, list.n_threads);
  if (pause != NULL)
    reclaim_start (pause);
  for (unsigned int t = 0; t < list.n_threads; t++)
    {
      mark_allocate (&list.threads[t]);
      error = pthread_create (&ids[t], NULL, run_thread, &list.threads[t]);
      if (error)
	die (2, "thread %u can't be made: %s", t, strerror (error));
    }
  for (unsigned int t = 0; t < list.n_threads; t++)
    pthread_join (ids[t], NULL);
  if (pause != NULL)
    reclaim_stop ();
  report (&list);
}

/* Run a list as the command line says; false if it is wrong.  */
static bool
run_marked (int count, char **args)
{
  const char *pause = NULL;

  if (count > 2 && strcmp (args[0], "-r") == 0)
    {
      pause = args[1];
      count -= 2;
      args += 2;
    }
  if (count != 2 && count != 4)
    return false;
  if (count == 4)
    marks_open (args[2], args[3]);
  run (args[0], args[1], pause);
  return true;
}

/* Lay a file system, and mark that it is there.  */
static void
lay_marked (char **args, const char *sequence)
{
  static struct list list;
  char *end;
  unsigned long run = strtoul (args[3], &end, 16);

  if (*end != '\0' || strlen (args[3]) != 6)
    die (1, "%s: a run has six hexadecimal digits", args[3]);
  list.run = run;
  list.threads[0].list = &list;
  lay (args[0], args[1], sequence);
  marks_open (args[1], args[2]);
  mark_allocate (&list.threads[0]);
  mark_write (&list.threads[0], 0, "LAID");
}

int
main (int argc, char **argv)
{
  const char *command = argc > 1 ? argv[1] : "";

  if (strcmp (command, "version") == 0 && argc == 2)
    puts ("hurdle-agent 1 " AGENT_VERSION);
  else if (strcmp (command, "run") == 0 && run_marked (argc - 2, argv + 2))
    ;
  else if (strcmp (command, "lay") == 0 && (argc == 6 || argc == 7))
    lay_marked (argv + 2, argc == 7 ? argv[6] : NULL);
  else
    {
      fputs (usage, stderr);
      return 1;
    }
  if (fflush (stdout) != 0)
    die (2, "standard output: %s", strerror (errno));
  return 0;
}
