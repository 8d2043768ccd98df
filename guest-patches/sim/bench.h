/* What the parts of the benchmark share.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef BENCH_H
#define BENCH_H

#include "../journal/jpriv.h"
#include "options.h"
#include "states.h"

#define BS 4096

/* The blocks of the file system.  */
extern unsigned char *store;
int store_copy (void *fs, uint64_t block, void *buf);
struct journal_ops bench_ops (void);
uint64_t now_ns (void);

void print_freeze (const struct options *o);
void print_bandwidth (const struct options *o);
void print_pause (const struct options *o);

#endif
