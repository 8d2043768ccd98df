/* A JBD2 journal in portable C: the interface.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef JOURNAL_H
#define JOURNAL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A log that has to be replayed first.  The Hurd lacks this error.  */
#ifndef EUCLEAN
# define EUCLEAN EFTYPE
#endif

/* What the caller must know before it uses a function of this file.

   - The journal is the outermost lock.  A thread starts a handle before it
     takes a lock of the file system, and holds none across a request to
     another server.  A worker of a pager is the exception: it may hold
     nothing that a thread with a handle waits for, see
     journal_start_worker.
   - A block is announced with journal_access before its first byte changes
     and with journal_dirty after its last.
   - Metadata reaches its home through the journal alone.  A page that the
     kernel writes back goes to journal_writeback, and a page that it asks
     for is first looked for with journal_read.
   - Errors are positive errno values; 0 is success.  */

typedef uint32_t journal_tid_t;

struct journal;
struct journal_handle;

/* One piece of a gathered write.  Pieces need not be whole blocks; their
   sum is.  */
struct journal_iov
{
  const void *base;
  size_t len;
};

/* Consecutive blocks of the log at consecutive blocks of the disk.  */
struct journal_extent
{
  uint64_t disk_block;
  uint32_t count;
};

/* A table from block numbers to pointers (not null, not -1), for
   index=ihash.  Calls come one at a time.  */
struct journal_table_ops
{
  /* All keys are less than KEYS.  */
  int (*make) (uint64_t keys, void **table);
  void (*destroy) (void *table);
  void *(*find) (void *table, uint64_t key);
  /* The key is not there.  */
  int (*add) (void *table, uint64_t key, void *value);
  void (*remove) (void *table, uint64_t key);
  void (*each) (void *table, void (*fn) (void *value, void *arg), void *arg);
};

/* What the engine asks of its surroundings.  CTX is the caller's.  None of
   these functions is called with the lock held that journal_writeback and
   journal_read take, except those from now to cond_broadcast.  */
struct journal_ops
{
  /* The disk, in blocks of the file system.  writev returns when the disk
     has taken the blocks, flush when they are durable.  */
  int (*read) (void *ctx, uint64_t block, uint32_t count, void *buf);
  int (*writev) (void *ctx, uint64_t block, uint32_t count,
		 const struct journal_iov *iov, unsigned iovcnt);
  int (*flush) (void *ctx);

  /* Copy what the file system now has for metadata block BLOCK to BUF.  It
     may take a page fault, and the fault may end in journal_read.  */
  int (*copy_block) (void *ctx, uint64_t block, void *buf);

  /* Write to disk the file data of OBJECT in [FIRST, FIRST + COUNT).  It
     needs no handle and waits for no thread that has one.  */
  int (*write_ordered) (void *ctx, uint64_t object, uint64_t first,
			uint64_t count);

  /* TID is on disk: blocks freed in it may be allocated.  May be null.  */
  void (*committed) (void *ctx, journal_tid_t tid);

  /* The journal gave up; WHAT is a sentence.  Called once.  */
  void (*aborted) (void *ctx, int err, const char *what);

  /* Recovery must not write BLOCK (the log itself, for one).  */
  bool (*is_protected) (void *ctx, uint64_t block);

  /* Nanoseconds since the epoch.  */
  uint64_t (*now) (void *ctx);

  /* Memory; alloc may return null.  */
  void *(*alloc) (void *ctx, size_t size);
  void (*free) (void *ctx, void *mem, size_t size);

  /* Threads.  cond_wait returns after at most TIMEOUT_MS milliseconds; 0
     means that it waits for a broadcast.  */
  void *(*mutex_new) (void *ctx);
  void (*mutex_free) (void *ctx, void *mutex);
  void (*mutex_lock) (void *ctx, void *mutex);
  void (*mutex_unlock) (void *ctx, void *mutex);
  void *(*cond_new) (void *ctx);
  void (*cond_free) (void *ctx, void *cond);
  void (*cond_wait) (void *ctx, void *cond, void *mutex,
		     unsigned timeout_ms);
  void (*cond_broadcast) (void *ctx, void *cond);
  int (*thread_start) (void *ctx, void *(*fn) (void *), void *arg,
		       void **thread);
  void (*thread_join) (void *ctx, void *thread);

  /* For index=ihash; may be null, and then the setting is ENOTSUP.  */
  const struct journal_table_ops *ihash;
};

enum journal_index_kind { JOURNAL_INDEX_ROBINHOOD, JOURNAL_INDEX_IHASH };
enum journal_alloc_kind { JOURNAL_ALLOC_SLAB, JOURNAL_ALLOC_MALLOC };
enum journal_copy_kind
{
  JOURNAL_COPY_COMMIT,		/* Once, when the transaction freezes.  */
  JOURNAL_COPY_QUIESCE,		/* Whenever its last handle stops.  */
  JOURNAL_COPY_EAGER		/* At every dirty call.  */
};
enum journal_csum_kind
{
  JOURNAL_CSUM_V3, JOURNAL_CSUM_V2, JOURNAL_CSUM_V1, JOURNAL_CSUM_NONE
};

struct journal_settings
{
  enum journal_index_kind index;
  enum journal_alloc_kind alloc;
  enum journal_copy_kind copy;
  enum journal_csum_kind csum;
  bool revoke;			/* Write revoke records.  */
  bool bits64;			/* Write 64-bit tags.  */
  bool front;			/* Look up without the lock (slab only).  */
  bool data_abort;		/* Give up if ordered data fails.  */
  bool stub;			/* Dirty calls return at once.  */
  bool stats;			/* Count cycles.  */
  bool daemons;			/* Commit and checkpoint in own threads.  */
  unsigned commit_interval_ms;	/* Age at which a daemon commits.  */
  unsigned worker_credits;	/* Kept back in each transaction.  */
  unsigned memory_mb;		/* Blocks held in memory, at most.  */
};

/* Fill *SETTINGS from "hurdle" (the default), "v2" ... "v5".  EINVAL if
   there is no such preset.  */
int journal_preset (struct journal_settings *settings, const char *name);

/* Change one setting from a text "name=value" (or "stub", "stats").  */
int journal_setting (struct journal_settings *settings, const char *text);

struct journal_params
{
  const struct journal_ops *ops;
  void *ctx;
  uint32_t block_size;		/* 1024 ... 65536.  */
  uint64_t fs_blocks;		/* Blocks of the file system.  */
  const struct journal_extent *log;	/* Where the log is, in order.  */
  unsigned log_extents;
  struct journal_settings settings;
};

/* What recovery did.  */
struct journal_recovery
{
  journal_tid_t first_tid;	/* The first expected.  */
  journal_tid_t next_tid;	/* What the log starts with afterwards.  */
  uint32_t transactions;	/* Replayed.  */
  uint32_t blocks;		/* Written home.  */
  uint32_t revoked;		/* Left out because of a revoke.  */
  uint32_t bad_blocks;		/* Left out because of a checksum.  */
  int log_errno;		/* s_errno of the log, positive.  */
  bool was_dirty;		/* The log had anything to replay.  */
  bool torn_end;		/* The last commit block was cut off.  */
  bool corrupt;			/* A damaged log: check the file system.  */
};

/* Replay the log that PARAMS describes and mark it empty.  Needs no
   journal.  A damaged log ends the replay where the damage is, sets
   corrupt, then and at every later call until e2fsck was there, cannot be
   opened, and is no error: an error means that the disk or memory failed,
   or that the log has a feature that is not known (ENOTSUP) or is no log
   (EINVAL), and that it was left as it is.  */
int journal_recover (const struct journal_params *params,
		     struct journal_recovery *result);

/* As journal_recover, but writes nothing: is there work to do?  */
int journal_inspect (const struct journal_params *params,
		     struct journal_recovery *result);

/* Open the log for writing.  EUCLEAN if it has not been replayed.  */
int journal_open (const struct journal_params *params,
		  struct journal **journal);

/* Commit, write everything home, mark the log empty.  The journal can be
   used on.  EBUSY if a handle is open or came in meanwhile: all that was
   before is home, and the log stays in use.  An error of file data in the
   last transaction is returned when all is done.  */
int journal_quiesce (struct journal *j);

/* Nothing happened since a quiesce.  */
bool journal_is_empty (struct journal *j);

/* Quiesce unless aborted, and free everything.  */
int journal_close (struct journal *j);

/* Handles.  A thread that has one gets the same one again and it only
   counts.  CREDITS bounds the blocks that the outermost operation makes
   dirty, REVOKES the metadata blocks that it frees.  E2BIG if no
   transaction can ever be so large (see journal_limits), EROFS after an
   abort.  */
int journal_start (struct journal *j, unsigned credits, unsigned revokes,
		   struct journal_handle **handle);

/* For a thread of a pager, which serves a fault that a thread with a handle
   may be waiting for.  It joins a transaction that is already locked, waits
   for no commit and never commits.  With PARENT, credits are moved over
   from it (its thread waits for this one); else they come from what
   settings.worker_credits kept back.  EAGAIN if that is used up for now: a
   commit is on its way then, or other workers are about to stop.  Who gets it
   lets go of what the commit may need, and tries again.  */
int journal_start_worker (struct journal *j, struct journal_handle *parent,
			  unsigned credits, unsigned revokes,
			  struct journal_handle **handle);

/* Ask for more without waiting; EAGAIN if the transaction is full.  */
int journal_extend (struct journal_handle *h, unsigned credits,
		    unsigned revokes);

/* Let go of the transaction and go on in a later one with fresh credits.
   What was done before may then commit by itself: the file system must be
   in order (a truncate puts its inode on the orphan list first), and
   the caller must hold no lock that another thread with a handle may wait
   for.  Only in an outermost handle.  */
int journal_restart (struct journal_handle *h, unsigned credits,
		     unsigned revokes);

/* Commit when this handle stops, and let journal_stop wait for it.  */
void journal_set_sync (struct journal_handle *h);
bool journal_needs_sync (const struct journal_handle *h);

/* Ends one journal_start.  The outermost stop of a handle that is marked
   sync returns when its transaction is on disk, or the error.  */
int journal_stop (struct journal_handle *h);

journal_tid_t journal_handle_tid (const struct journal_handle *h);
unsigned journal_handle_credits (const struct journal_handle *h);

/* The handle of this thread, or null.  */
struct journal_handle *journal_current (void);

/* Blocks.  ENOSPC when the credits are used up, before anything changed.  */
int journal_access (struct journal_handle *h, uint64_t block);
int journal_dirty (struct journal_handle *h, uint64_t block);

/* As journal_dirty, with the content given: for a block that has one owner,
   whose lock is held.  DATA is copied now and no copy_block follows.  */
int journal_dirty_data (struct journal_handle *h, uint64_t block,
			const void *data);

/* Free COUNT blocks.  With METADATA older copies in the log are revoked and
   none goes home.  The blocks stay busy until the transaction commits.  */
int journal_free (struct journal_handle *h, uint64_t block, uint32_t count,
		  bool metadata);

/* Was BLOCK freed by a transaction that is not yet on disk?  An allocator
   passes such a block over.  */
bool journal_busy (struct journal *j, uint64_t block);

/* Have the data of OBJECT in [FIRST, FIRST + COUNT) on disk before this
   transaction commits.  One range is kept for an object; it grows to cover
   all.  */
int journal_order (struct journal_handle *h, uint64_t object, uint64_t first,
		   uint64_t count);
/* The data of OBJECT from FIRST on is about to be truncated away.  Waits
   while a commit is writing data of OBJECT: the caller holds no lock that
   write_ordered takes, and has not yet dropped the pages.  */
void journal_unorder (struct journal_handle *h, uint64_t object,
		      uint64_t first);

/* Pages.  These two take a short lock and allocate nothing.  */

/* The kernel returns the page of BLOCK.  True: the journal has what it
   needs, and the caller writes nothing.  False: the journal knows nothing
   of this block, so what is at home is the same or newer.  */
bool journal_writeback (struct journal *j, uint64_t block, const void *data);

/* The kernel asks for BLOCK.  True: BUF has it.  False: it is at home.  */
bool journal_read (struct journal *j, uint64_t block, void *buf);

/* Commits.  The calling thread has no handle.  */
/* The running transaction, or the next one if none is running.  */
journal_tid_t journal_running_tid (struct journal *j);
/* Return when TID is on disk; commits it if need be.  */
int journal_force (struct journal *j, journal_tid_t tid);
/* The same, and whatever the caller wrote to the disk before the call (the
   data of a file) is durable, whether or not TID was on disk already.  */
int journal_fsync (struct journal *j, journal_tid_t tid);
/* All that has stopped, and all that was written to the disk before the
   call, is durable on return.  */
int journal_sync (struct journal *j);
/* Let a daemon (or the next stop) commit; waits for nothing.  */
void journal_request_commit (struct journal *j);
/* Write committed blocks home until at least WANT blocks of the log are
   free, or nothing is left to write.  */
int journal_checkpoint (struct journal *j, uint32_t want);

/* Give up: nothing more is written home or to the log.  */
void journal_abort (struct journal *j, int err, const char *what);
int journal_error (struct journal *j);

struct journal_limits
{
  uint32_t log_blocks;		/* Usable at one time.  */
  uint32_t max_transaction;	/* Blocks of log in one transaction.  */
  uint32_t max_handle;		/* Credits of one handle.  */
  uint32_t free;		/* Free now.  */
};
void journal_get_limits (struct journal *j, struct journal_limits *limits);

/* Counters.  The first seven have the names of the mail thread; cycles are
   counted with settings.stats only.  */
struct journal_stats
{
  uint64_t dirty_calls, function, lock_wait, alloc, memcpy_cycles, hash_add,
    hash_find;
  uint64_t freeze, freeze_max_ns, frozen_blocks, copies;
  uint64_t commits, empty_commits, log_blocks, log_writes;
  uint64_t checkpoints, home_blocks, tail_updates;
  uint64_t revokes, revokes_cancelled, escapes;
  uint64_t writebacks_held, writebacks_unknown, reads_served;
  uint64_t late_access, pause_max_ns, worker_starts, front_hits;
  uint64_t memory_bytes, memory_peak;
};
void journal_get_stats (struct journal *j, struct journal_stats *stats);
/* Write the report in the form of the mail thread to BUF; returns the
   length it needs.  */
size_t journal_format_stats (const struct journal_stats *stats, char *buf,
			     size_t size);

#endif
