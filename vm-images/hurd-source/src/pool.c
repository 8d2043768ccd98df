/* A pool of random bytes: ChaCha20 with a key that is replaced at each use.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "pool.h"

#include <string.h>

static uint32_t
load (const unsigned char *from)
{
  return from[0] | (uint32_t) from[1] << 8 | (uint32_t) from[2] << 16
	 | (uint32_t) from[3] << 24;
}

static void
store (unsigned char *to, uint32_t word)
{
  for (int i = 0; i < 4; i++)
    to[i] = word >> (8 * i);
}

static uint32_t
rotate (uint32_t word, int bits)
{
  return word << bits | word >> (32 - bits);
}

static void
quarter (uint32_t *state, int a, int b, int c, int d)
{
  state[a] += state[b];
  state[d] = rotate (state[d] ^ state[a], 16);
  state[c] += state[d];
  state[b] = rotate (state[b] ^ state[c], 12);
  state[a] += state[b];
  state[d] = rotate (state[d] ^ state[a], 8);
  state[c] += state[d];
  state[b] = rotate (state[b] ^ state[c], 7);
}

void
chacha20_block (unsigned char out[POOL_BLOCK],
		const unsigned char key[POOL_KEY], uint32_t counter,
		const unsigned char nonce[12])
{
  uint32_t start[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
  uint32_t state[16];

  for (int i = 0; i < 8; i++)
    start[4 + i] = load (key + 4 * i);
  start[12] = counter;
  for (int i = 0; i < 3; i++)
    start[13 + i] = load (nonce + 4 * i);
  memcpy (state, start, sizeof state);
  for (int round = 0; round < 10; round++)
    {
      for (int i = 0; i < 4; i++)
	quarter (state, i, 4 + i, 8 + i, 12 + i);
      for (int i = 0; i < 4; i++)
	quarter (state, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
    }
  for (int i = 0; i < 16; i++)
    store (out + 4 * i, state[i] + start[i]);
}

/* Blocks of the present key: 0 makes the next key, the others are output.  */
static void
block (const struct pool *pool, uint32_t number, unsigned char *out)
{
  static const unsigned char nonce[12];

  chacha20_block (out, pool->key, number, nonce);
}

static void
renew (struct pool *pool)
{
  unsigned char fresh[POOL_BLOCK];

  block (pool, 0, fresh);
  memcpy (pool->key, fresh, POOL_KEY);
}

void
pool_mix (struct pool *pool, const void *data, size_t size)
{
  const unsigned char *from = data;

  while (size > 0)
    {
      size_t part = size < POOL_KEY ? size : POOL_KEY;

      for (size_t i = 0; i < part; i++)
	pool->key[i] ^= from[i];
      renew (pool);
      from += part;
      size -= part;
    }
}

void
pool_read (struct pool *pool, void *data, size_t size)
{
  unsigned char out[POOL_BLOCK], *to = data;

  for (uint32_t number = 1; size > 0; number++)
    {
      size_t part = size < POOL_BLOCK ? size : POOL_BLOCK;

      block (pool, number, out);
      memcpy (to, out, part);
      to += part;
      size -= part;
    }
  renew (pool);
}
