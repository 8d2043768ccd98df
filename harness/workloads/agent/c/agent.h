/* hurdle-agent: runs op lists in a guest, and marks when each operation
   begins and returns.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later

   docs/workloads.md describes the lists and the marks;
   harness/workloads/agent/ has the other side of both in Python, and its
   tests hold the two together.  */

#ifndef HURDLE_AGENT_H
#define HURDLE_AGENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_THREADS 64
#define MAX_OPS 0xfffff
#define MAX_SLOTS 16
#define MAX_ARGS 4

/* What an operation ends with, besides the values of errno: the signal for a
   mapped page that the file system could not provide.  */
#define ERROR_SIGBUS (-1)

struct thread;

struct arg
{
  char *text;			/* A path or a word; null for a number.  */
  int64_t number;		/* A number, or a slot where TEXT is null.  */
};

struct rule
{
  const char *name;
  const char *signature;	/* A letter for each argument, as in list.c.  */
  int (*run) (struct thread *, const struct arg *);
};

struct op
{
  const struct rule *rule;
  struct arg args[MAX_ARGS];
  pthread_barrier_t *barrier;
};

struct thread
{
  unsigned int number;
  struct list *list;
  struct op *ops;
  size_t n_ops;
  int *results;			/* Of each operation: 0 or an error.  */
  size_t current;		/* The operation that runs.  */
  int slots[MAX_SLOTS];		/* File descriptors, or -1.  */
  char *buffer;			/* For writes, when one was needed.  */
  char *mark;			/* A block for marks.  */
};

struct list
{
  uint32_t run;			/* 24 bits that tell lists apart.  */
  struct thread threads[MAX_THREADS];
  unsigned int n_threads;
};

/* The area of the marks, or a FD of -1 for a run without marks.  */
struct marks
{
  int fd;
  off_t offset;
};

extern struct marks marks;
extern const struct rule rules[];

/* A message and the end, with exit code 1 for the caller's mistakes and 2 for
   a system that fails.  */
void die (int code, const char *format, ...)
     __attribute__ ((noreturn, format (printf, 2, 3)));

/* Memory, or the end.  */
void *allocate (size_t size);

/* list.c */
void list_read (struct list *list, const char *file);

/* mark.c */
void marks_open (const char *device, const char *offset);
void mark_allocate (struct thread *thread);
void mark_write (struct thread *thread, size_t next, const char *result);
const char *error_name (int error, char *buffer, size_t size);
int write_all (int fd, const char *data, size_t length, off_t offset);

/* pattern.c */
void pattern_fill (char *buffer, const struct thread *thread, off_t offset,
		   size_t length);

/* What an operation returns for a call that says what went wrong in errno.  */
#define result(call) ((call) < 0 ? errno : 0)

/* ops.c */
int target_open (struct thread *thread, const struct arg *arg, int flags);
int target_close (const struct arg *arg, int fd, int error);

/* map.c */
void catch_bus_errors (void);
int op_mwrite (struct thread *thread, const struct arg *args);
int op_msync (struct thread *thread, const struct arg *args);

/* attributes.c */
int op_chmod (struct thread *thread, const struct arg *args);
int op_chown (struct thread *thread, const struct arg *args);
int op_utimes (struct thread *thread, const struct arg *args);
int op_setxattr (struct thread *thread, const struct arg *args);
int op_removexattr (struct thread *thread, const struct arg *args);
int op_settrans (struct thread *thread, const struct arg *args);
int op_rmtrans (struct thread *thread, const struct arg *args);

/* reclaim.c */
void reclaim_start (const char *pause);
void reclaim_stop (void);

/* lay.c */
void lay (const char *pieces, const char *device, const char *sequence);

#endif
