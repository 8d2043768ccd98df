/* The JBD2 format on disk: codec and checksums.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "jformat.h"

#include <string.h>

/* CRC-32C, reflected, eight bytes a step; no inversion at either end, as
   the format wants it.  The tables are computed once from the polynomial:
   2048 numbers typed in could hide a wrong one.  Computing them twice in
   two threads stores the same values, but is still a race, so
   jfmt_layout_init computes them before a thread exists.  */

static uint32_t crc32c_table[8][256];
static uint32_t crc32_be_table[256];
static bool tables_ready;
#if defined __x86_64__ && defined __GNUC__
static bool has_instruction;
#endif

static void
make_tables (void)
{
  if (tables_ready)
    return;
  for (uint32_t i = 0; i < 256; i++)
    {
      uint32_t c = i, b = i << 24;
      for (int k = 0; k < 8; k++)
	{
	  c = c >> 1 ^ (c & 1 ? 0x82F63B78u : 0);
	  b = b << 1 ^ (b >> 31 ? 0x04C11DB7u : 0);
	}
      crc32c_table[0][i] = c;
      crc32_be_table[i] = b;
    }
  for (uint32_t i = 0; i < 256; i++)
    for (int t = 1; t < 8; t++)
      crc32c_table[t][i] = crc32c_table[t - 1][i] >> 8
	^ crc32c_table[0][crc32c_table[t - 1][i] & 0xff];
#if defined __x86_64__ && defined __GNUC__
  has_instruction = __builtin_cpu_supports ("sse4.2");
#endif
  tables_ready = true;
}

static inline uint32_t
get32le (const unsigned char *p)
{
  return (uint32_t) p[3] << 24 | (uint32_t) p[2] << 16
    | (uint32_t) p[1] << 8 | p[0];
}

uint32_t
jfmt_crc32c_table (uint32_t crc, const void *buf, size_t len)
{
  const unsigned char *p = buf;
  uint32_t (*t)[256] = crc32c_table;

  make_tables ();
  for (; len >= 8; len -= 8, p += 8)
    {
      uint32_t a = get32le (p) ^ crc, b = get32le (p + 4);
      crc = t[7][a & 0xff] ^ t[6][a >> 8 & 0xff] ^ t[5][a >> 16 & 0xff]
	^ t[4][a >> 24] ^ t[3][b & 0xff] ^ t[2][b >> 8 & 0xff]
	^ t[1][b >> 16 & 0xff] ^ t[0][b >> 24];
    }
  while (len--)
    crc = crc >> 8 ^ t[0][(crc ^ *p++) & 0xff];
  return crc;
}

/* Processors have an instruction for this very sum, about six times as fast
   as the tables.  */
#if defined __x86_64__ && defined __GNUC__
__attribute__ ((target ("sse4.2")))
static uint32_t
crc32c_instruction (uint32_t crc, const unsigned char *p, size_t len)
{
  uint64_t c = crc, v;

  for (; len >= 8; len -= 8, p += 8)
    {
      memcpy (&v, p, 8);
      c = __builtin_ia32_crc32di (c, v);
    }
  crc = (uint32_t) c;
  while (len--)
    crc = __builtin_ia32_crc32qi (crc, *p++);
  return crc;
}
#endif

uint32_t
jfmt_crc32c (uint32_t crc, const void *buf, size_t len)
{
  make_tables ();
#if defined __x86_64__ && defined __GNUC__
  if (has_instruction)
    return crc32c_instruction (crc, buf, len);
#endif
  return jfmt_crc32c_table (crc, buf, len);
}

uint32_t
jfmt_crc32_be (uint32_t crc, const void *buf, size_t len)
{
  const unsigned char *p = buf;

  make_tables ();
  while (len--)
    crc = crc << 8 ^ crc32_be_table[crc >> 24 ^ *p++];
  return crc;
}

/* The superblock.  Offsets are those of the format.  */

static uint32_t
sb_sum (const unsigned char *b)
{
  static const unsigned char zero[4];
  uint32_t c = jfmt_crc32c (~0u, b, 0xfc);
  c = jfmt_crc32c (c, zero, 4);
  return jfmt_crc32c (c, b + 0x100, JFMT_SB_BYTES - 0x100);
}

static bool
sb_has_sum (const struct jfmt_sb *sb)
{
  return sb->version == 2
    && (sb->incompat & (JFMT_INCOMPAT_CSUM_V2 | JFMT_INCOMPAT_CSUM_V3));
}

bool
jfmt_sb_read (const void *buf, struct jfmt_sb *sb, bool *csum_ok)
{
  const unsigned char *b = buf;
  uint32_t type, tid;

  memset (sb, 0, sizeof *sb);
  *csum_ok = true;
  if (!jfmt_is_header (b, &type, &tid)
      || (type != JFMT_SB_V1 && type != JFMT_SB_V2))
    return false;
  sb->version = type == JFMT_SB_V2 ? 2 : 1;
  sb->block_size = jfmt_get32 (b + 0x0c);
  sb->maxlen = jfmt_get32 (b + 0x10);
  sb->first = jfmt_get32 (b + 0x14);
  sb->sequence = jfmt_get32 (b + 0x18);
  sb->start = jfmt_get32 (b + 0x1c);
  sb->err = (int32_t) jfmt_get32 (b + 0x20);
  if (sb->version == 1)
    return true;
  sb->compat = jfmt_get32 (b + 0x24);
  sb->incompat = jfmt_get32 (b + 0x28);
  sb->ro_compat = jfmt_get32 (b + 0x2c);
  memcpy (sb->uuid, b + 0x30, JFMT_UUID_BYTES);
  sb->nr_users = jfmt_get32 (b + 0x40);
  sb->checksum_type = b[0x50];
  if (sb_has_sum (sb))
    *csum_ok = sb->checksum_type == JFMT_CRC32C
      && sb_sum (b) == jfmt_get32 (b + 0xfc);
  return true;
}

void
jfmt_sb_write (void *buf, const struct jfmt_sb *sb)
{
  unsigned char *b = buf;

  /* The header's own sequence is not used by any reader and stays 0.  */
  jfmt_put32 (b, JFMT_MAGIC);
  jfmt_put32 (b + 4, sb->version == 2 ? JFMT_SB_V2 : JFMT_SB_V1);
  jfmt_put32 (b + 0x0c, sb->block_size);
  jfmt_put32 (b + 0x10, sb->maxlen);
  jfmt_put32 (b + 0x14, sb->first);
  jfmt_put32 (b + 0x18, sb->sequence);
  jfmt_put32 (b + 0x1c, sb->start);
  jfmt_put32 (b + 0x20, (uint32_t) sb->err);
  if (sb->version == 1)
    return;
  jfmt_put32 (b + 0x24, sb->compat);
  jfmt_put32 (b + 0x28, sb->incompat);
  jfmt_put32 (b + 0x2c, sb->ro_compat);
  memcpy (b + 0x30, sb->uuid, JFMT_UUID_BYTES);
  jfmt_put32 (b + 0x40, sb->nr_users);
  b[0x50] = sb->checksum_type;
  jfmt_put32 (b + 0xfc, sb_has_sum (sb) ? sb_sum (b) : 0);
}

void
jfmt_layout_init (struct jfmt_layout *l, const struct jfmt_sb *sb)
{
  make_tables ();
  memset (l, 0, sizeof *l);
  l->block_size = sb->block_size;
  l->v1_sum = sb->compat & JFMT_COMPAT_CHECKSUM;
  l->v2 = sb->incompat & JFMT_INCOMPAT_CSUM_V2;
  l->v3 = sb->incompat & JFMT_INCOMPAT_CSUM_V3;
  l->bits64 = sb->incompat & JFMT_INCOMPAT_64BIT;
  l->tail_bytes = l->v2 || l->v3 ? JFMT_TAIL_BYTES : 0;
  l->tag_bytes = l->v3 ? 16 : 8 + (l->v2 ? 2 : 0) + (l->bits64 ? 4 : 0);
  l->revoke_entry_bytes = l->bits64 ? 8 : 4;
  l->tags_per_block = (unsigned)
    ((l->block_size - JFMT_HEADER_BYTES - JFMT_UUID_BYTES - l->tail_bytes)
     / l->tag_bytes);
  l->revokes_per_block = (unsigned)
    ((l->block_size - JFMT_REVOKE_HEADER_BYTES - l->tail_bytes)
     / l->revoke_entry_bytes);
  l->seed = jfmt_crc32c (~0u, sb->uuid, JFMT_UUID_BYTES);
  memcpy (l->uuid, sb->uuid, JFMT_UUID_BYTES);
}

void
jfmt_header (void *buf, enum jfmt_type type, uint32_t tid)
{
  unsigned char *b = buf;
  jfmt_put32 (b, JFMT_MAGIC);
  jfmt_put32 (b + 4, type);
  jfmt_put32 (b + 8, tid);
}

bool
jfmt_is_header (const void *buf, uint32_t *type, uint32_t *tid)
{
  const unsigned char *b = buf;
  *type = jfmt_get32 (b + 4);
  *tid = jfmt_get32 (b + 8);
  return jfmt_get32 (b) == JFMT_MAGIC;
}

/* Tags.  The v3 tag has its own order of fields; the older one puts a
   16-bit sum before the flags and the high half of the number last.  The
   first tag of a descriptor carries the uuid of the file system, as Linux
   writes it.  */

void
jfmt_tag_put (const struct jfmt_layout *l, void *buf, size_t *pos,
	      const struct jfmt_tag *tag)
{
  unsigned char *b = (unsigned char *) buf + *pos;

  jfmt_put32 (b, (uint32_t) tag->block);
  if (l->v3)
    {
      jfmt_put32 (b + 4, tag->flags);
      jfmt_put32 (b + 8, (uint32_t) (tag->block >> 32));
      jfmt_put32 (b + 12, tag->checksum);
    }
  else
    {
      jfmt_put16 (b + 4, l->v2 ? (uint16_t) tag->checksum : 0);
      jfmt_put16 (b + 6, (uint16_t) tag->flags);
      if (l->bits64)
	jfmt_put32 (b + 8, (uint32_t) (tag->block >> 32));
    }
  *pos += l->tag_bytes;
  if (!(tag->flags & JFMT_TAG_SAME_UUID))
    {
      memcpy ((unsigned char *) buf + *pos, l->uuid, JFMT_UUID_BYTES);
      *pos += JFMT_UUID_BYTES;
    }
}

bool
jfmt_tag_get (const struct jfmt_layout *l, const void *buf, size_t *pos,
	      struct jfmt_tag *tag)
{
  const unsigned char *b = (const unsigned char *) buf + *pos;

  if (*pos + l->tag_bytes > l->block_size - l->tail_bytes)
    return false;
  tag->block = jfmt_get32 (b);
  if (l->v3)
    {
      tag->flags = jfmt_get32 (b + 4);
      if (l->bits64)
	tag->block |= (uint64_t) jfmt_get32 (b + 8) << 32;
      tag->checksum = jfmt_get32 (b + 12);
    }
  else
    {
      tag->checksum = jfmt_get16 (b + 4);
      tag->flags = jfmt_get16 (b + 6);
      if (l->bits64)
	tag->block |= (uint64_t) jfmt_get32 (b + 8) << 32;
    }
  *pos += l->tag_bytes;
  if (!(tag->flags & JFMT_TAG_SAME_UUID))
    *pos += JFMT_UUID_BYTES;
  return true;
}

uint32_t
jfmt_tag_sum (const struct jfmt_layout *l, uint32_t tid, const void *head,
	      size_t head_len, const void *rest)
{
  unsigned char seq[4];
  uint32_t c;

  if (!l->v2 && !l->v3)
    return 0;
  jfmt_put32 (seq, tid);
  c = jfmt_crc32c (l->seed, seq, 4);
  c = jfmt_crc32c (c, head, head_len);
  c = jfmt_crc32c (c, rest, l->block_size - head_len);
  return l->v3 ? c : c & 0xffff;
}

bool
jfmt_tag_sum_ok (const struct jfmt_layout *l, uint32_t tid,
		 const struct jfmt_tag *tag, const void *data)
{
  return (!l->v2 && !l->v3)
    || jfmt_tag_sum (l, tid, data, 0, data) == tag->checksum;
}

/* The sum of a whole block whose own four bytes at AT count as zero.  */

static uint32_t
block_sum (const struct jfmt_layout *l, const unsigned char *b, size_t at)
{
  static const unsigned char zero[4];
  uint32_t c = jfmt_crc32c (l->seed, b, at);
  c = jfmt_crc32c (c, zero, 4);
  return jfmt_crc32c (c, b + at + 4, l->block_size - at - 4);
}

void
jfmt_tail_put (const struct jfmt_layout *l, void *buf)
{
  unsigned char *b = buf;
  size_t at = l->block_size - JFMT_TAIL_BYTES;
  if (l->tail_bytes)
    jfmt_put32 (b + at, block_sum (l, b, at));
}

bool
jfmt_tail_ok (const struct jfmt_layout *l, const void *buf)
{
  const unsigned char *b = buf;
  size_t at = l->block_size - JFMT_TAIL_BYTES;
  return !l->tail_bytes || jfmt_get32 (b + at) == block_sum (l, b, at);
}

void
jfmt_commit_put (const struct jfmt_layout *l, void *buf, uint32_t tid,
		 uint64_t now_ns, uint32_t running)
{
  unsigned char *b = buf;

  memset (b, 0, l->block_size);
  jfmt_header (b, JFMT_COMMIT, tid);
  jfmt_put64 (b + 0x30, now_ns / 1000000000u);
  jfmt_put32 (b + 0x38, (uint32_t) (now_ns % 1000000000u));
  if (l->v2 || l->v3)
    jfmt_put32 (b + 0x10, block_sum (l, b, 0x10));
  else if (l->v1_sum)
    {
      b[0x0c] = JFMT_CRC32;
      b[0x0d] = 4;
      jfmt_put32 (b + 0x10, running);
    }
}

bool
jfmt_commit_ok (const struct jfmt_layout *l, const void *buf,
		uint32_t running)
{
  const unsigned char *b = buf;

  if (l->v2 || l->v3)
    return jfmt_get32 (b + 0x10) == block_sum (l, b, 0x10);
  if (!l->v1_sum)
    return true;
  /* A writer that had the feature turned on later left commits without a
     sum: type, size and sum are all zero.  */
  if (b[0x0c] == 0 && b[0x0d] == 0 && jfmt_get32 (b + 0x10) == 0)
    return true;
  return b[0x0c] == JFMT_CRC32 && b[0x0d] == 4
    && jfmt_get32 (b + 0x10) == running;
}

uint64_t
jfmt_commit_sec (const void *buf)
{
  return jfmt_get64 ((const unsigned char *) buf + 0x30);
}

/* Revokes.  */

void
jfmt_revoke_put (const struct jfmt_layout *l, void *buf, unsigned n,
		 uint64_t block)
{
  unsigned char *b = (unsigned char *) buf + JFMT_REVOKE_HEADER_BYTES
    + (size_t) n * l->revoke_entry_bytes;
  if (l->bits64)
    jfmt_put64 (b, block);
  else
    jfmt_put32 (b, (uint32_t) block);
}

void
jfmt_revoke_count (const struct jfmt_layout *l, void *buf, unsigned n)
{
  jfmt_put32 ((unsigned char *) buf + JFMT_HEADER_BYTES,
	      JFMT_REVOKE_HEADER_BYTES + n * l->revoke_entry_bytes);
}

int
jfmt_revoke_entries (const struct jfmt_layout *l, const void *buf)
{
  uint32_t bytes = jfmt_get32 ((const unsigned char *) buf
			       + JFMT_HEADER_BYTES);
  if (bytes < JFMT_REVOKE_HEADER_BYTES
      || bytes > l->block_size - l->tail_bytes)
    return -1;
  return (int) ((bytes - JFMT_REVOKE_HEADER_BYTES) / l->revoke_entry_bytes);
}

uint64_t
jfmt_revoke_get (const struct jfmt_layout *l, const void *buf, unsigned n)
{
  const unsigned char *b = (const unsigned char *) buf
    + JFMT_REVOKE_HEADER_BYTES + (size_t) n * l->revoke_entry_bytes;
  return l->bits64 ? jfmt_get64 (b) : jfmt_get32 (b);
}
