/* The JBD2 format on disk: sizes, names, codec.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef JFORMAT_H
#define JFORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything on disk is big-endian and is read and written through the
   functions here, never through a struct laid over a buffer: the codec then
   works at any alignment and on any host.  */

#define JFMT_MAGIC 0xC03B3998u
#define JFMT_HEADER_BYTES 12
#define JFMT_SB_BYTES 1024
#define JFMT_UUID_BYTES 16
#define JFMT_TAIL_BYTES 4
#define JFMT_REVOKE_HEADER_BYTES 16
#define JFMT_MIN_LOG_BLOCKS 1024
#define JFMT_DAMAGED 117	/* s_errno: Linux's EUCLEAN.  */

enum jfmt_type
{
  JFMT_DESCRIPTOR = 1, JFMT_COMMIT = 2, JFMT_SB_V1 = 3, JFMT_SB_V2 = 4,
  JFMT_REVOKE = 5
};

/* Features.  */
#define JFMT_COMPAT_CHECKSUM 0x1u
#define JFMT_INCOMPAT_REVOKE 0x1u
#define JFMT_INCOMPAT_64BIT 0x2u
#define JFMT_INCOMPAT_ASYNC 0x4u
#define JFMT_INCOMPAT_CSUM_V2 0x8u
#define JFMT_INCOMPAT_CSUM_V3 0x10u
#define JFMT_INCOMPAT_FAST 0x20u
#define JFMT_INCOMPAT_KNOWN (JFMT_INCOMPAT_REVOKE | JFMT_INCOMPAT_64BIT \
			     | JFMT_INCOMPAT_ASYNC | JFMT_INCOMPAT_CSUM_V2 \
			     | JFMT_INCOMPAT_CSUM_V3)

/* Checksum types.  */
#define JFMT_CRC32 1
#define JFMT_CRC32C 4

/* Tag flags.  */
#define JFMT_TAG_ESCAPE 1u
#define JFMT_TAG_SAME_UUID 2u
#define JFMT_TAG_DELETED 4u
#define JFMT_TAG_LAST 8u

static inline uint16_t
jfmt_get16 (const void *p)
{
  const unsigned char *b = p;
  return (uint16_t) (b[0] << 8 | b[1]);
}

static inline uint32_t
jfmt_get32 (const void *p)
{
  const unsigned char *b = p;
  return (uint32_t) b[0] << 24 | (uint32_t) b[1] << 16
    | (uint32_t) b[2] << 8 | b[3];
}

static inline uint64_t
jfmt_get64 (const void *p)
{
  const unsigned char *b = p;
  return (uint64_t) jfmt_get32 (b) << 32 | jfmt_get32 (b + 4);
}

static inline void
jfmt_put16 (void *p, uint16_t v)
{
  unsigned char *b = p;
  b[0] = (unsigned char) (v >> 8);
  b[1] = (unsigned char) v;
}

static inline void
jfmt_put32 (void *p, uint32_t v)
{
  unsigned char *b = p;
  jfmt_put16 (b, (uint16_t) (v >> 16));
  jfmt_put16 (b + 2, (uint16_t) v);
}

static inline void
jfmt_put64 (void *p, uint64_t v)
{
  unsigned char *b = p;
  jfmt_put32 (b, (uint32_t) (v >> 32));
  jfmt_put32 (b + 4, (uint32_t) v);
}

/* What the superblock of the log says.  */
struct jfmt_sb
{
  int version;			/* 1 or 2.  */
  uint32_t block_size;
  uint32_t maxlen;
  uint32_t first;
  uint32_t sequence;
  uint32_t start;
  int32_t err;			/* As on disk: negative.  */
  uint32_t compat;
  uint32_t incompat;
  uint32_t ro_compat;
  uint8_t uuid[JFMT_UUID_BYTES];
  uint32_t nr_users;
  uint8_t checksum_type;
};

/* How blocks of one log are laid out; follows from its superblock.  */
struct jfmt_layout
{
  uint32_t block_size;
  unsigned tag_bytes;
  unsigned tail_bytes;		/* At the end of descriptors and revokes.  */
  unsigned revoke_entry_bytes;
  unsigned tags_per_block;
  unsigned revokes_per_block;
  bool v1_sum, v2, v3, bits64;
  uint32_t seed;		/* Of the CRC-32C sums.  */
  uint8_t uuid[JFMT_UUID_BYTES];
};

struct jfmt_tag
{
  uint64_t block;
  uint32_t flags;
  uint32_t checksum;
};

uint32_t jfmt_crc32c (uint32_t crc, const void *buf, size_t len);
/* The same without help from the processor.  */
uint32_t jfmt_crc32c_table (uint32_t crc, const void *buf, size_t len);
uint32_t jfmt_crc32_be (uint32_t crc, const void *buf, size_t len);

/* True if a superblock of version 1 or 2 was read from the JFMT_SB_BYTES at
   BUF.  *CSUM_OK says whether its checksum, if it has one, is right.  */
bool jfmt_sb_read (const void *buf, struct jfmt_sb *sb, bool *csum_ok);
/* Change the fields of SB in the image at BUF, and its checksum.  What SB
   has no field for stays as it is.  */
void jfmt_sb_write (void *buf, const struct jfmt_sb *sb);
void jfmt_layout_init (struct jfmt_layout *l, const struct jfmt_sb *sb);

void jfmt_header (void *buf, enum jfmt_type type, uint32_t tid);
bool jfmt_is_header (const void *buf, uint32_t *type, uint32_t *tid);

/* Tags at *POS of the descriptor at BUF.  get returns false when no tag is
   left in the block.  */
void jfmt_tag_put (const struct jfmt_layout *l, void *buf, size_t *pos,
		   const struct jfmt_tag *tag);
bool jfmt_tag_get (const struct jfmt_layout *l, const void *buf, size_t *pos,
		   struct jfmt_tag *tag);
/* The checksum for the tag of a data block, given in two pieces as it
   stands in the log: HEAD_LEN bytes at HEAD, the rest of the block from
   REST.  */
uint32_t jfmt_tag_sum (const struct jfmt_layout *l, uint32_t tid,
		       const void *head, size_t head_len, const void *rest);
bool jfmt_tag_sum_ok (const struct jfmt_layout *l, uint32_t tid,
		      const struct jfmt_tag *tag, const void *data);

/* Descriptor and revoke blocks end in a sum of the whole block.  */
void jfmt_tail_put (const struct jfmt_layout *l, void *buf);
bool jfmt_tail_ok (const struct jfmt_layout *l, const void *buf);

/* RUNNING is the sum over descriptors and data that a log with
   JFMT_COMPAT_CHECKSUM keeps.  */
void jfmt_commit_put (const struct jfmt_layout *l, void *buf, uint32_t tid,
		      uint64_t now_ns, uint32_t running);
bool jfmt_commit_ok (const struct jfmt_layout *l, const void *buf,
		     uint32_t running);
uint64_t jfmt_commit_sec (const void *buf);

void jfmt_revoke_put (const struct jfmt_layout *l, void *buf, unsigned n,
		      uint64_t block);
void jfmt_revoke_count (const struct jfmt_layout *l, void *buf, unsigned n);
/* The number of entries, or -1 if the block says more than it can hold.  */
int jfmt_revoke_entries (const struct jfmt_layout *l, const void *buf);
uint64_t jfmt_revoke_get (const struct jfmt_layout *l, const void *buf,
			  unsigned n);

#endif
