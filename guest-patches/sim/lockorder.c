/* A lock-order checker: fails when two locks are ever taken both ways.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "simdisk.h"

/* Locks are known by name; all locks of one name count as one.  Holding A
   while B is taken is an edge from A to B.  A cycle of edges is a deadlock
   that some schedule can reach, whether or not this run did.  A handle of
   the journal counts as a lock, too.  */

#define MAX_NAMES 32
#define MAX_HELD 16

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char names[MAX_NAMES][24];
static int nnames;
static bool edge[MAX_NAMES][MAX_NAMES];
static _Thread_local int held[MAX_HELD];
static _Thread_local int nheld;
/* Edges that this thread has reported: most acquisitions add none.  */
static _Thread_local bool seen[MAX_NAMES][MAX_NAMES];

static int
number (const char *name)
{
  pthread_mutex_lock (&lock);
  int i = 0;
  while (i < nnames && strcmp (names[i], name))
    i++;
  CHECK (i < MAX_NAMES, "too many locks");
  if (i == nnames)
    {
      snprintf (names[i], sizeof names[i], "%s", name);
      nnames++;
    }
  pthread_mutex_unlock (&lock);
  return i;
}

static bool
reaches (int from, int to, bool *visited)
{
  if (from == to)
    return true;
  visited[from] = true;
  for (int i = 0; i < nnames; i++)
    if (edge[from][i] && !visited[i] && reaches (i, to, visited))
      {
	fprintf (stderr, "  %s is held while %s is taken\n", names[from],
		 names[i]);
	return true;
      }
  return false;
}

void
lockorder_acquire (const char *name)
{
  int n = number (name);
  for (int i = 0; i < nheld; i++)
    if (held[i] != n && !seen[held[i]][n])
      {
	bool visited[MAX_NAMES] = { false };
	seen[held[i]][n] = true;
	pthread_mutex_lock (&lock);
	if (!edge[held[i]][n])
	  {
	    CHECK (!reaches (n, held[i], visited),
		   "lock order: %s is taken while %s is held", name,
		   names[held[i]]);
	    edge[held[i]][n] = true;
	  }
	pthread_mutex_unlock (&lock);
      }
  CHECK (nheld < MAX_HELD, "too many locks held");
  held[nheld++] = n;
}

void
lockorder_release (const char *name)
{
  int n = number (name);
  for (int i = nheld; i-- > 0;)
    if (held[i] == n)
      {
	memmove (held + i, held + i + 1,
		 (size_t) (nheld - i - 1) * sizeof *held);
	nheld--;
	return;
      }
  die ("%s is released and not held", name);
}
