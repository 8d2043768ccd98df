/* Reading op lists, strictly: whatever is not as docs/workloads.md has it ends
   the program with the number of the line.

   Copyright (C) 2026 The hurdle authors.
   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "agent.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define MAX_BARRIERS 4096

/* A name at which threads wait for each other.  */
struct meeting
{
  char *name;
  unsigned int count;		/* Threads that meet there.  */
  unsigned int last;		/* The last of them that was read.  */
  pthread_barrier_t barrier;
};

static const char *file_name;
static unsigned int line_number;
static struct meeting meetings[MAX_BARRIERS];
static unsigned int n_meetings;

#define bad(format, ...) \
  die (1, "%s:%u: " format, file_name, line_number, ##__VA_ARGS__)

static int
hex_digit (char c)
{
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The text that WORD stands for, with its %XX undone.  */
static char *
unquoted (const char *word)
{
  char *text = allocate (strlen (word) + 1), *to = text;

  for (const char *from = word; *from != '\0'; from++)
    if (*from != '%')
      {
	if (*from < 0x21 || *from > 0x7e)
	  bad ("`%s' has a byte that is not printable", word);
	*to++ = *from;
      }
    else
      {
	int high = hex_digit (from[1]);
	int low = high < 0 ? -1 : hex_digit (from[2]);

	if (low < 0 || high * 16 + low == 0)
	  bad ("`%s' has a %% without two hexadecimal digits", word);
	*to++ = high * 16 + low;
	from += 2;
      }
  return text;
}

/* A path below the root of the file system under test.  */
static char *
path (const char *word)
{
  char *text = unquoted (word);
  const char *part = text;

  if (strcmp (text, ".") == 0)
    return text;
  if (*word == '@')
    bad ("`%s' is an open file where a path must be", word);
  while (part != NULL)
    {
      const char *slash = strchr (part, '/');
      size_t length = slash != NULL ? (size_t) (slash - part) : strlen (part);

      if (length == 0 || (length == 1 && part[0] == '.')
	  || (length == 2 && part[0] == '.' && part[1] == '.'))
	bad ("`%s' is no path below the root", word);
      part = slash != NULL ? slash + 1 : NULL;
    }
  return text;
}

static int64_t
number (const char *word, int base, int64_t least, int64_t most)
{
  char *end;
  long long value;

  errno = 0;
  value = strtoll (word, &end, base);
  if (!isdigit ((unsigned char) word[0]) || *end != '\0' || errno != 0
      || value < least || value > most)
    bad ("`%s' is no number from %lld to %lld", word, (long long) least,
	 (long long) most);
  return value;
}

static int64_t
slot (const char *word)
{
  if (*word != '@')
    bad ("`%s' is no open file: write @0 to @%d", word, MAX_SLOTS - 1);
  return number (word + 1, 10, 0, MAX_SLOTS - 1);
}

/* Read WORD as the kind of argument that LETTER stands for.  */
static void
read_argument (struct arg *arg, char letter, const char *word)
{
  switch (letter)
    {
    case 'p':
      arg->text = path (word);
      break;
    case 't':
      if (*word == '@')
	arg->number = slot (word);
      else
	arg->text = path (word);
      break;
    case 'x':
    case 'w':
    case 'f':
      arg->text = unquoted (word);
      break;
    case 's':
      arg->number = slot (word);
      break;
    case 'm':
      if (word[0] != '0')
	bad ("`%s' is no octal mode such as 0644", word);
      arg->number = number (word, 8, 0, 07777);
      break;
    case 'o':
      arg->number = number (word, 10, 0, (int64_t) 1 << 44);
      break;
    case 'l':
      arg->number = number (word, 10, 1, 1 << 30);
      break;
    case 'i':
      arg->number = number (word, 10, 0, 65535);
      break;
    case 'T':
      arg->number = number (word, 10, 0, 0x7fffffff);
      break;
    case 'M':
      arg->number = number (word, 10, 0, 600000);
      break;
    }
}

/* The place where the threads meet that is called NAME.  */
static void
meet (const char *name, unsigned int thread)
{
  struct meeting *found = NULL;

  for (unsigned int i = 0; i < n_meetings && found == NULL; i++)
    if (strcmp (meetings[i].name, name) == 0)
      found = &meetings[i];
  if (found == NULL)
    {
      if (n_meetings == MAX_BARRIERS)
	bad ("more than %d barriers", MAX_BARRIERS);
      found = &meetings[n_meetings++];
      found->name = strdup (name);
    }
  else if (found->last == thread)
    bad ("thread %u meets the barrier %s twice", thread, name);
  found->last = thread;
  found->count++;
}

static const struct rule *
find_rule (const char *name)
{
  for (const struct rule *rule = rules; rule->name != NULL; rule++)
    if (strcmp (rule->name, name) == 0)
      return rule;
  bad ("there is no operation `%s'", name);
}

static void
read_op (struct thread *thread, char *line)
{
  char *save = NULL, *word = strtok_r (line, " \t", &save);
  const struct rule *rule = find_rule (word);
  struct op *op;
  unsigned int count = 0;

  if (thread->n_ops == MAX_OPS)
    bad ("a thread has %d operations at most", MAX_OPS);
  /* The room doubles whenever the count is a power of two.  */
  if ((thread->n_ops & (thread->n_ops - 1)) == 0)
    {
      size_t room = thread->n_ops ? thread->n_ops * 2 : 1;

      thread->ops = realloc (thread->ops, room * sizeof *thread->ops);
      if (thread->ops == NULL)
	die (2, "no memory for %zu operations", room);
    }
  op = &thread->ops[thread->n_ops++];
  memset (op, 0, sizeof *op);
  op->rule = rule;
  while ((word = strtok_r (NULL, " \t", &save)) != NULL)
    {
      if (rule->signature[count] == '\0')
	bad ("`%s' has %u arguments", rule->name, count);
      read_argument (&op->args[count], rule->signature[count], word);
      count++;
    }
  if (rule->signature[count] != '\0')
    bad ("`%s' has %zu arguments", rule->name, strlen (rule->signature));
  if (strcmp (rule->name, "barrier") == 0)
    meet (op->args[0].text, thread->number);
}

static struct thread *
new_thread (struct list *list)
{
  struct thread *thread = &list->threads[list->n_threads];

  if (list->n_threads == MAX_THREADS)
    bad ("more than %d threads", MAX_THREADS);
  thread->number = list->n_threads++;
  thread->list = list;
  for (int i = 0; i < MAX_SLOTS; i++)
    thread->slots[i] = -1;
  return thread;
}

/* Give each thread room for its results and its barriers.  */
static void
finish (struct list *list)
{
  for (unsigned int i = 0; i < n_meetings; i++)
    {
      if (meetings[i].count < 2)
	die (1, "%s: only one thread meets the barrier %s", file_name,
	     meetings[i].name);
      pthread_barrier_init (&meetings[i].barrier, NULL, meetings[i].count);
    }
  for (unsigned int t = 0; t < list->n_threads; t++)
    {
      struct thread *thread = &list->threads[t];

      thread->results = allocate (thread->n_ops * sizeof *thread->results);
      for (size_t i = 0; i < thread->n_ops; i++)
	if (strcmp (thread->ops[i].rule->name, "barrier") == 0)
	  for (unsigned int m = 0; m < n_meetings; m++)
	    if (strcmp (meetings[m].name, thread->ops[i].args[0].text) == 0)
	      thread->ops[i].barrier = &meetings[m].barrier;
    }
}

void
list_read (struct list *list, const char *file)
{
  FILE *stream = fopen (file, "r");
  struct thread *thread = NULL;
  char *line = NULL;
  size_t room = 0;
  ssize_t length;

  if (stream == NULL)
    die (1, "%s: %s", file, strerror (errno));
  file_name = file;
  while ((length = getline (&line, &room, stream)) >= 0)
    {
      line_number++;
      if (length > 0 && line[length - 1] == '\n')
	line[--length] = '\0';
      if (line_number == 1)
	{
	  int used = 0;

	  if (sscanf (line, "hurdle-ops 1 run=%6x%n", &list->run, &used) != 1
	      || used != length || length != 23)
	    bad ("no op list: it begins with `hurdle-ops 1 run=' and six"
		 " hexadecimal digits");
	}
      else if (line[0] == '#' || line[strspn (line, " \t")] == '\0')
	continue;
      else if (strcmp (line, "thread") == 0)
	thread = new_thread (list);
      else if (thread == NULL)
	bad ("`thread' comes before the first operation");
      else
	read_op (thread, line);
    }
  if (ferror (stream))
    die (2, "%s: %s", file, strerror (errno));
  fclose (stream);
  free (line);
  if (list->n_threads == 0)
    bad ("the list has no thread");
  finish (list);
}
