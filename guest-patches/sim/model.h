/* The reference: which tree the operations should have made.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef MODEL_H
#define MODEL_H

#include "check.h"

#define IFDIR 0x4000u
#define IFREG 0x8000u
#define IFLNK 0xA000u
#define IFMT 0xF000u

#define MODEL_NODES 200
#define MODEL_ENTRIES 600
#define MODEL_NAME 48

struct model_node
{
  bool used;
  uint32_t mode, uid, links, size, generation, ino, opens;
  uint32_t target[15];
};

struct model_entry
{
  bool used;
  int dir, node;
  char name[MODEL_NAME];
};

struct model
{
  struct model_node node[MODEL_NODES];	/* 0 is the root.  */
  struct model_entry entry[MODEL_ENTRIES];
  uint32_t next_generation;
};

bool model_is_dir (const struct model_node *n);
/* The entry NAME of node DIR, or -1.  */
int model_find (const struct model *m, int dir, const char *name);
bool model_empty (const struct model *m, int dir);
/* Is NODE in the tree below TOP, or TOP itself?  */
bool model_inside (const struct model *m, int node, int top);
/* A free node, or -1.  */
int model_new_node (struct model *m);
void model_add (struct model *m, int dir, const char *name, int node);
void model_init (struct model *m);
uint64_t model_digest (const struct model *m);

/* A scenario: operations drawn from a seed, run on the file system and on
   the model, which must agree on every result.  */
struct ack
{
  size_t at;			/* Position in the disk's records.  */
  uint32_t generation, index, version;
};

struct scenario
{
  struct simdisk *disk;
  struct mfs *fs;
  struct model m;
  struct rng rng;
  uint32_t ops;			/* Done so far.  */
  uint32_t first;		/* Durable before the record began.  */
  uint64_t *digests;		/* After each operation.  */
  struct ack *acks;
  size_t nacks, acks_room;
  /* Dirty data by generation and block, until it is synced.  */
  struct ack *pending;
  size_t npending, pending_room;
  bool expect_errors;		/* Faults are being injected.  */
  uint32_t sync_every;		/* One in so many operations.  */
  unsigned failed;
};

/* Marks in the disk's records: operation N begins, or all up to N are
   durable.  */
#define MARK_BEGIN(n) ((uint64_t) (n) << 1)
#define MARK_DURABLE(n) ((uint64_t) (n) << 1 | 1)

void scenario_init (struct scenario *s, struct simdisk *d, struct mfs *fs,
		    uint64_t seed, uint32_t max_ops);
void scenario_free (struct scenario *s);
/* One random operation.  Returns its error.  */
int scenario_step (struct scenario *s);
/* Make everything durable and say so.  */
int scenario_sync (struct scenario *s);

#endif
