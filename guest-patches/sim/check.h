/* Is this image a sound ext2, and which tree is on it?

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef CHECK_H
#define CHECK_H

#include "mfs.h"

struct tree
{
  uint64_t digest;		/* Of names, types, modes, links, sizes.  */
  uint32_t orphans;		/* On the list.  */
  uint32_t files, dirs;
  char problem[160];		/* Empty if sound.  */
};

/* Called for each data block found: VERSION is the lowest of its
   sectors.  */
typedef void check_data_fn (void *arg, uint32_t generation, uint32_t index,
			    uint32_t version);

/* Everything a full e2fsck looks at in these images, and the content of
   files.  Reads d->now only.  */
void check_image (const struct simdisk *d, struct tree *t,
		  check_data_fn *data, void *arg);

/* What the model and the image add up, entry by entry; the sum of a
   directory does not depend on the order of its entries.  */
uint64_t digest_entry (const char *name, unsigned name_len, uint32_t mode,
		       uint32_t uid, uint32_t links, uint32_t size,
		       uint32_t generation, uint64_t below);

/* Of the text of a symlink, as it stands in the inode.  */
uint64_t digest_target (const uint32_t target[15]);
uint64_t digest_root (uint64_t below, uint32_t links);

#endif
