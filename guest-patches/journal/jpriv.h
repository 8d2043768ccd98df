/* The journal engine: what its rooms share.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef JPRIV_H
#define JPRIV_H

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "jformat.h"
#include "journal.h"

/* Where a block is.  A block that the journal knows has one struct jblock,
   and it can be in three places at once, each with a copy of its own:

   running     an open handle may change it.  IMG was set aside when it came
	       in, so that neither a page that comes back nor the freeze has
	       to allocate.
   committing  FROZEN is what goes to the log.  It never changes.
   home        HOME is on disk in the log and not yet at its home.

   freeze: img -> frozen; end of commit: frozen -> home; checkpoint: home is
   written and dropped.  A newer copy replaces an older one on the way.  */

/* Invariants are checked in every build: a journal that has lost count of
   its blocks must not write any.  */
#define JOURNAL_INVARIANT(cond, name)					\
  do									\
    if (__builtin_expect (!(cond), 0))					\
      jinvariant_failed (name, #cond, __FILE__, __LINE__);		\
  while (0)
_Noreturn void jinvariant_failed (const char *name, const char *cond,
				  const char *file, int line);

struct jlink
{
  struct jlink *next, *prev;
};

static inline void
jlist_init (struct jlink *l)
{
  l->next = l->prev = l;
}

static inline bool
jlist_empty (const struct jlink *l)
{
  return l->next == l;
}

static inline void
jlist_append (struct jlink *list, struct jlink *l)
{
  l->prev = list->prev;
  l->next = list;
  list->prev->next = l;
  list->prev = l;
}

/* Leaves L an empty list, so that a second removal does no harm.  */
static inline void
jlist_remove (struct jlink *l)
{
  l->prev->next = l->next;
  l->next->prev = l->prev;
  jlist_init (l);
}

#define jlist_item(l, type, member) \
  ((type *) (void *) ((char *) (l) - offsetof (type, member)))

/* A table from 64-bit keys to pointers.  */
struct jslot
{
  uint64_t key;
  void *value;			/* Null: empty.  */
};

struct jindex
{
  struct journal_mem *mem;
  struct jslot *slots;
  size_t size;			/* A power of two, or 0.  */
  size_t items;
  unsigned shift;
};

void jindex_init (struct jindex *x, struct journal_mem *mem);
void jindex_destroy (struct jindex *x);
void *jindex_find (const struct jindex *x, uint64_t key);
int jindex_reserve (struct jindex *x, size_t n);
int jindex_add (struct jindex *x, uint64_t key, void *value);
void *jindex_remove (struct jindex *x, uint64_t key);
/* Step through: start with *POS 0; null at the end.  */
void *jindex_next (const struct jindex *x, size_t *pos, uint64_t *key);

/* The same for the table of all blocks, which may be another.  */
struct jtable
{
  const struct journal_table_ops *ops;	/* Null: OWN.  */
  void *table;
  struct jindex own;
};

int jtable_init (struct jtable *x, struct journal_mem *mem, uint64_t keys,
		 enum journal_index_kind kind);
void jtable_destroy (struct jtable *x);
int jtable_add (struct jtable *x, uint64_t key, void *value);
void jtable_remove (struct jtable *x, uint64_t key);
void jtable_each (struct jtable *x, void (*fn) (void *value, void *arg),
		  void *arg);

static inline void *
jtable_find (const struct jtable *x, uint64_t key)
{
  return x->ops ? x->ops->find (x->table, key) : jindex_find (&x->own, key);
}

/* Memory, counted.  */
struct journal_mem
{
  const struct journal_ops *ops;
  void *ctx;
  _Atomic uint64_t bytes;
  _Atomic uint64_t peak;
};

void *jmem_alloc (struct journal_mem *m, size_t size);
void jmem_free (struct journal_mem *m, void *p, size_t size);

/* Objects of one size.  The slab keeps what it got until it is destroyed,
   so a pointer to a freed object still points to an object of its type; the
   front of a lookup relies on it.  */
struct jpool
{
  struct journal_mem *mem;
  enum journal_alloc_kind kind;
  size_t size;
  size_t per_chunk;
  void *free;
  void *chunks;
};

void jpool_init (struct jpool *p, struct journal_mem *m,
		 enum journal_alloc_kind kind, size_t size,
		 size_t per_chunk);
void jpool_destroy (struct jpool *p);
void *jpool_get (struct jpool *p);
void jpool_put (struct jpool *p, void *obj);

enum jtxn_state
{
  JTXN_RUNNING,			/* Handles start.  */
  JTXN_LOCKED,			/* Those that are open finish.  */
  JTXN_SWITCH,			/* None is open; blocks are frozen.  */
  JTXN_COMMIT,			/* Being written to the log.  */
  JTXN_DONE			/* In the log; blocks go home.  */
};

struct jtxn
{
  struct jlink link;		/* In journal.done.  */
  journal_tid_t tid;		/* Counts transactions.  */
  uint32_t seq;			/* Counts those in the log.  */
  enum jtxn_state state;
  unsigned updates;		/* Open handles.  */
  bool copying;			/* A quiescent copy is under way.  */
  bool wanted;			/* Someone waits for its commit.  */
  unsigned waiters;		/* How many do.  */
  int data_err;			/* An ordered write failed.  */
  uint64_t started_ns;

  struct jlink blocks;		/* jblock.run.  */
  struct jlink frozen;		/* jblock.log, from the freeze on.  */
  struct jlink homes;		/* jblock.ckpt.  */
  struct jlink copies;		/* jblock.copy: to copy at quiescence.  */
  uint32_t nblocks;		/* In it; each may cost one log block.  */
  uint32_t outstanding;		/* Credits of open handles.  */
  uint32_t worker_left;		/* Kept back for pager workers.  */
  uint32_t revokes_out;		/* Revoke credits of open handles.  */
  uint32_t nrevokes;
  struct jindex revokes;	/* Block -> itself, as a set.  */
  struct jindex busy;		/* Freed blocks, see revoke.c.  */
  struct jlink ordered;		/* jorder.link.  */
  struct jindex objects;	/* Object -> jorder.  */

  uint32_t log_start;		/* First block in the log.  */
  uint32_t log_count;
  uint32_t sum;			/* For JFMT_COMPAT_CHECKSUM.  */
};

struct jorder
{
  struct jlink link;
  uint64_t object, first, count;
};

struct jblock
{
  uint64_t nr;
  /* The running transaction that it is in, as JMARK of its tid, or 0.
     Readable without the lock, see jblock_front.  */
  _Atomic uint64_t mark;
  _Atomic bool stale;		/* Changed since it was last copied.  */
  bool dirty;			/* Changed in the running transaction.  */
  bool returned;		/* IMG has a page that came back.  */
  bool forgotten;		/* Freed in the running transaction.  */
  bool dead;			/* Freed in the committing one.  */
  struct jtxn *running, *committing, *done;
  struct jlink run, log, ckpt, copy;
  void *img, *frozen, *home;
  void *shadow;			/* Copy for the log made before freeze.  */
  bool shadow_valid;
  void *writing;		/* The home copy being written.  */
};

#define JMARK(tid) ((uint64_t) 1 << 32 | (tid))

struct journal_handle
{
  struct journal *j;
  struct jtxn *txn;
  uint64_t mark;
  unsigned depth;
  unsigned credits, revokes;
  bool sync, worker;
  struct journal_handle *parent;
  unsigned kept;		/* Credits that came from worker_left.  */
  uint64_t calls, cycles, find_cycles, front_hits;
};

#define JFRONT_SLOTS 1024
#define JDESC_BUFS 4
#define JIOV_MAX 512

struct journal
{
  const struct journal_ops *ops;
  void *ctx;
  struct journal_settings set;
  struct journal_mem mem;
  uint32_t block_size;
  uint64_t fs_blocks;
  struct journal_extent *extents;
  unsigned nextents;

  void *lock;			/* Everything below, unless said.  */
  void *gate;			/* Broadcast: a handle may start.  */
  void *drained;		/* Broadcast: updates fell to 0.  */
  void *done_cond;		/* Broadcast: a commit or checkpoint ended. */
  void *work;			/* Broadcast: the daemons have work.  */
  void *copy_lock;		/* Before LOCK.  Eager copies, SPARE.  */
  void *sb_lock;		/* Before LOCK.  The log's superblock.  */

  struct jtable index;
  struct jpool blocks, images;
  _Atomic (struct jblock *) front[JFRONT_SLOTS];

  struct jtxn *running, *committing;
  struct jlink done;		/* jtxn.link, oldest first.  */
  journal_tid_t next_tid, committed;
  struct jindex failures;	/* Of ordered writes: tid -> errno.  */
  bool leading;			/* A thread commits.  */
  bool checkpointing;		/* A thread checkpoints.  */
  unsigned expected;		/* Threads that will want the next commit. */
  bool commit_wanted, stopping;
  uint32_t space_wanted;	/* Free blocks asked of the daemon.  */
  _Atomic int err;		/* Set once by an abort.  */

  /* The log is a ring of blocks from FIRST up to, not including, END.  SIZE
     of them may be in use at one time.  */
  uint32_t first, end, size, head, free, max_txn, max_handle;
  uint32_t next_seq;
  uint64_t last_commit_ns;	/* The time in the last commit block.  */
  uint64_t commit_ns;		/* What the last commit took to write.  */
  void *spare;			/* Takes the copy in a freeze.  */
  void *copy_spare;		/* Takes an eager or quiescent one.  */
  unsigned char *descs[JDESC_BUFS];

  struct jfmt_sb sb;		/* Under SB_LOCK.  */
  unsigned char *sb_buf;
  struct jfmt_layout layout;

  void *commit_thread, *checkpoint_thread;
  struct journal_stats stats;
};

static inline void
jlock (struct journal *j)
{
  j->ops->mutex_lock (j->ctx, j->lock);
}

static inline void
junlock (struct journal *j)
{
  j->ops->mutex_unlock (j->ctx, j->lock);
}

static inline void
jwait (struct journal *j, void *cond, unsigned ms)
{
  j->ops->cond_wait (j->ctx, cond, j->lock, ms);
}

static inline void
jwake (struct journal *j, void *cond)
{
  j->ops->cond_broadcast (j->ctx, cond);
}

/* Nanoseconds since START; 0 if the clock went back.  */
static inline uint64_t
jelapsed (struct journal *j, uint64_t start)
{
  uint64_t now = j->ops->now (j->ctx);
  return now > start ? now - start : 0;
}

/* Cycles, for the counters of the mail thread.  */
static inline uint64_t
jcycles (void)
{
#if defined __x86_64__ || defined __i386__
  return __builtin_ia32_rdtsc ();
#else
  return 0;
#endif
}

/* log.c */
int jlog_map (const struct journal_extent *extents, unsigned n,
	      uint32_t log_block, uint64_t *disk_block, uint32_t *run);
int jlog_map_open (struct journal *j, uint32_t log_block,
		   uint64_t *disk_block, uint32_t *run);
int jlog_check_sb (const struct journal_params *p, const struct jfmt_sb *sb);
uint32_t jlog_extent_blocks (const struct journal_params *p);
int jsb_put (struct journal *j, uint32_t start, uint32_t seq);
uint32_t jsb_start (struct journal *j);
int jsb_update (struct journal *j, uint32_t start, uint32_t seq);

/* transaction.c: with the lock held.  */
uint32_t jtxn_space (const struct journal *j, uint32_t blocks,
		     uint32_t revokes);
uint32_t jtxn_bound (const struct journal *j, const struct jtxn *t,
		     uint32_t credits, uint32_t revokes);
bool jtxn_fits_log (const struct journal *j, uint32_t bound);
bool jtxn_too_big (const struct journal *j, unsigned credits,
		   unsigned revokes);
bool jtxn_closed (const struct jtxn *t);
struct jtxn *jtxn_new (struct journal *j);
void jtxn_free (struct journal *j, struct jtxn *t);
void jhandle_enter (struct journal_handle *h, struct jtxn *t,
		    unsigned credits, unsigned revokes);
struct journal_handle *jhandle_begin (struct journal *j);

/* block.c: with the lock held.  */
struct jblock *jblock_find (struct journal *j, uint64_t nr);
void jblock_put (struct journal *j, struct jblock *b);
void jblock_leave_running (struct journal *j, struct jblock *b);
void jblock_quiesce (struct journal *j, struct jtxn *t);

/* revoke.c: with the lock held.  */
void jrevoke_cancel (struct journal *j, struct jtxn *t, uint64_t nr);
void jbusy_release (struct journal *j, struct jtxn *t);

/* ordered.c */
int jordered_write (struct journal *j, struct jtxn *t);
void jordered_release (struct journal *j, struct jtxn *t);

/* commit.c: with the lock held, which is dropped on the way.  */
void jcommit_lead (struct journal *j);
void jcommit_wait_gate (struct journal *j, struct jtxn *t);
int jcommit_wait (struct journal *j, journal_tid_t tid);

/* logwrite.c: without the lock.  */
int jlog_write (struct journal *j, struct jtxn *t);
int jlog_commit_record (struct journal *j, struct jtxn *t);

/* daemon.c */
int jdaemons_start (struct journal *j);
void jdaemons_stop (struct journal *j);

/* checkpoint.c: with the lock held, which is dropped on the way.  */
int jcheckpoint (struct journal *j, uint32_t want);
int jcheckpoint_run (struct journal *j, uint32_t want);
bool jcheckpoint_possible (const struct journal *j);

#endif
