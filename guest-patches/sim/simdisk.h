/* A disk in memory that remembers its writes and fails on demand.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef SIMDISK_H
#define SIMDISK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal.h"

#define SECTOR 512

/* What the disk was told, in order.  A write is one block; blocks of one
   request share a group.  Everything that was written since the last flush
   may be on the medium or not, sector by sector.  */
enum record_kind { REC_WRITE, REC_FLUSH, REC_MARK };

struct record
{
  enum record_kind kind;
  uint64_t block;		/* For a mark: its value.  */
  unsigned char *data;
};

struct simdisk
{
  uint32_t block_size;
  uint64_t blocks;
  unsigned char *now;		/* What a read gets.  */
  pthread_mutex_t lock;

  bool recording;
  struct record *records;
  size_t nrecords, room;

  /* The CALLS-th call from now on fails: -1 for none.  With STICKY every
     later one does, too.  */
  long fail_io_after, fail_mem_after;
  bool sticky;
  unsigned long io_calls, mem_calls, io_failed, mem_failed;
  unsigned long writes, flushes, reads;
  uint64_t bytes_written;
  unsigned slow_us;		/* What a write or a flush takes.  */
  /* What a write takes from this block on, if not 0.  */
  unsigned slower_us;
  uint64_t slower_from;
  uint64_t time_ns;		/* A clock that only tests move; 0: real.  */

  /* What undo has to put back: a mode in which every block is saved before
     it changes for the first time.  */
  bool undoing;
  unsigned char *saved;		/* A byte for each block.  */
  struct record *undo;
  size_t nundo, undo_room;

  /* The file system on it.  */
  int (*copy_block) (void *fs, uint64_t block, void *buf);
  int (*write_ordered) (void *fs, uint64_t object, uint64_t first,
			uint64_t count);
  void (*aborted) (void *fs, int err, const char *what);
  void *fs;
};

void simdisk_init (struct simdisk *d, uint32_t block_size, uint64_t blocks);
void simdisk_free (struct simdisk *d);
void simdisk_load (struct simdisk *d, const char *path);
void simdisk_save (const struct simdisk *d, const char *path);
int simdisk_read (struct simdisk *d, uint64_t block, uint32_t count,
		  void *buf);
int simdisk_write (struct simdisk *d, uint64_t block, const void *buf);
int simdisk_flush (struct simdisk *d);
void simdisk_mark (struct simdisk *d, uint64_t value);
void simdisk_forget_records (struct simdisk *d);
void simdisk_undo_begin (struct simdisk *d);
void simdisk_undo (struct simdisk *d);
/* Change a block behind everyone's back.  */
void simdisk_poke (struct simdisk *d, uint64_t block, const void *data);
void simdisk_no_faults (struct simdisk *d);

/* Inside, with the lock: does this call fail?  Put one block.  */
bool simdisk_fails (struct simdisk *d, long *after, unsigned long *failed);
bool simdisk_io_fails (struct simdisk *d);
void simdisk_put (struct simdisk *d, uint64_t block, const void *data);

/* The engine's surroundings: ctx is a struct simdisk.  */
extern const struct journal_ops simdisk_ops;

/* Random numbers: the same everywhere from one seed.  */
struct rng
{
  uint64_t s;
};

static inline uint64_t
rng_next (struct rng *r)
{
  uint64_t z = r->s += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

static inline uint32_t
rng_below (struct rng *r, uint32_t n)
{
  return (uint32_t) (rng_next (r) % n);
}

/* The lock-order checker, see lockorder.c.  */
void lockorder_acquire (const char *name);
void lockorder_release (const char *name);

_Noreturn void die (const char *fmt, ...)
  __attribute__ ((format (printf, 1, 2)));
#define CHECK(cond, ...) do { if (!(cond)) die (__VA_ARGS__); } while (0)

#endif
