/* A pool of random bytes: ChaCha20 with a key that is replaced at each use.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef POOL_H
#define POOL_H

#include <stddef.h>
#include <stdint.h>

#define POOL_KEY 32
#define POOL_BLOCK 64

struct pool
{
  unsigned char key[POOL_KEY];
};

/* One block of ChaCha20 (RFC 8439, section 2.3).  */
void chacha20_block (unsigned char out[POOL_BLOCK],
		     const unsigned char key[POOL_KEY], uint32_t counter,
		     const unsigned char nonce[12]);

/* Let DATA change all that POOL gives from now on.  What it gave before can't
   be learned from it afterwards.  */
void pool_mix (struct pool *pool, const void *data, size_t size);

/* Fill DATA.  */
void pool_read (struct pool *pool, void *data, size_t size);

#endif /* POOL_H */
