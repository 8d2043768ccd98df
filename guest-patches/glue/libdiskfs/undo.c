/* Take back half of an operation.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include "priv.h"
#include "diskfs-journal.h"

/* NP was allocated with MODE, is locked and has no name: drop it, and what was
   allocated is freed.  */
void
diskfs_undo_create (struct node *np, mode_t mode)
{
  np->dn_stat.st_mode = mode;
  np->dn_stat.st_nlink = 0;
  np->dn_set_ctime = 1;
  diskfs_nput (np);
}

/* A link to NP, which is locked, was counted and not made.  */
void
diskfs_undo_link (struct node *np)
{
  np->dn_stat.st_nlink--;
  np->dn_set_ctime = 1;
  diskfs_node_changed (np);
}

/* The move of directory FNP from FDP to TDP, all locked, failed after its
   `..' and the link counts of its parents were changed: change them back.
   Nothing is allocated for it, so it does not fail for lack of room.  */
void
diskfs_undo_parent (struct node *fnp, struct node *fdp, struct node *tdp,
		    struct protid *cred)
{
  struct dirstat *ds = alloca (diskfs_dirstat_size);
  char name[] = "..";
  struct node *np;
  error_t err;

  if (fdp == tdp)
    return;
  err = diskfs_lookup (fnp, name, RENAME | SPEC_DOTDOT, &np, ds, cred);
  if (err)
    {
      diskfs_drop_dirstat (fnp, ds);
      return;
    }
  err = diskfs_dirrewrite (fnp, tdp, fdp, name, ds);
  if (err)
    return;
  tdp->dn_stat.st_nlink--;
  tdp->dn_set_ctime = 1;
  diskfs_node_changed (tdp);
  fdp->dn_stat.st_nlink++;
  fdp->dn_set_ctime = 1;
  diskfs_node_changed (fdp);
  diskfs_file_changed (fnp);
}
