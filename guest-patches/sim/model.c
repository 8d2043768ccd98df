/* The reference: which tree the operations should have made.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "model.h"


void
model_init (struct model *m)
{
  memset (m, 0, sizeof *m);
  m->node[0] = (struct model_node) {
    .used = true, .mode = IFDIR | 0755, .links = 3, .ino = ROOT_INO
  };
  m->next_generation = 1;
}

bool
model_is_dir (const struct model_node *n)
{
  return (n->mode & IFMT) == IFDIR;
}

static uint64_t
below (const struct model *m, int node)
{
  const struct model_node *n = &m->node[node];
  uint64_t sum = 0;
  if ((n->mode & IFMT) == IFLNK)
    return digest_target (n->target);
  if (!model_is_dir (n))
    return 0;
  for (int e = 0; e < MODEL_ENTRIES; e++)
    if (m->entry[e].used && m->entry[e].dir == node)
      {
	const struct model_node *to = &m->node[m->entry[e].node];
	sum += digest_entry (m->entry[e].name,
			     (unsigned) strlen (m->entry[e].name), to->mode,
			     to->uid, to->links, model_is_dir (to) ? 0 : to->size,
			     to->generation, below (m, m->entry[e].node));
      }
  return sum;
}

uint64_t
model_digest (const struct model *m)
{
  return digest_root (below (m, 0), m->node[0].links);
}

int
model_find (const struct model *m, int dir, const char *name)
{
  for (int e = 0; e < MODEL_ENTRIES; e++)
    if (m->entry[e].used && m->entry[e].dir == dir
	&& !strcmp (m->entry[e].name, name))
      return e;
  return -1;
}

bool
model_empty (const struct model *m, int dir)
{
  for (int e = 0; e < MODEL_ENTRIES; e++)
    if (m->entry[e].used && m->entry[e].dir == dir)
      return false;
  return true;
}

/* Is NODE in the tree below TOP, or TOP itself?  */
bool
model_inside (const struct model *m, int node, int top)
{
  if (node == top)
    return true;
  for (int e = 0; e < MODEL_ENTRIES; e++)
    if (m->entry[e].used && m->entry[e].node == node && node != 0)
      return model_inside (m, m->entry[e].dir, top);
  return false;
}

int
model_new_node (struct model *m)
{
  for (int n = 1; n < MODEL_NODES; n++)
    if (!m->node[n].used)
      {
	memset (&m->node[n], 0, sizeof m->node[n]);
	return n;
      }
  return -1;
}

void
model_add (struct model *m, int dir, const char *name, int node)
{
  for (int e = 0; e < MODEL_ENTRIES; e++)
    if (!m->entry[e].used)
      {
	m->entry[e].used = true;
	m->entry[e].dir = dir;
	m->entry[e].node = node;
	snprintf (m->entry[e].name, MODEL_NAME, "%s", name);
	return;
      }
  die ("the model is full");
}
