/* The journal in ext2fs: where the log is.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef JOURNAL_LOG_H
#define JOURNAL_LOG_H

#include "journal.h"

struct ext2_journal_log
{
  struct journal_extent *extents;
  unsigned count, room;
  uint32_t *tree;		/* The indirect blocks that lead there.  */
  unsigned tree_count, tree_room;
};

/* Find the log in the journal's inode, by reading the store.  EINVAL if
   what is there is none, ENOTSUP if it is on another device.  */
error_t ext2_journal_find_log (struct ext2_journal_log *log);

#endif
