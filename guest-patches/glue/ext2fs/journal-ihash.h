/* The journal in ext2fs: libihash as the table of blocks.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef JOURNAL_IHASH_H
#define JOURNAL_IHASH_H

#include "journal.h"

extern const struct journal_table_ops ext2_journal_ihash;

#endif
