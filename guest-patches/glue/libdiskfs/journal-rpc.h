/* The RPCs that change a file system, without their operation.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef _DISKFS_JOURNAL_RPC_H
#define _DISKFS_JOURNAL_RPC_H

#include "priv.h"
#include "diskfs-journal.h"

/* Each does what the RPC of its name does; journal-rpc.c has the RPC, which
   is an operation around it.  */

kern_return_t diskfs_J_dir_link (struct protid *dircred,
				  struct protid *filecred,
				  const_string_t name, int excl);
kern_return_t diskfs_J_dir_lookup (struct protid *dircred,
				    const_string_t filename, int flags,
				    mode_t mode, retry_type *do_retry,
				    string_t retry_name,
				    mach_port_t *retry_port,
				    mach_msg_type_name_t *retry_port_type);
kern_return_t diskfs_J_dir_mkdir (struct protid *dircred,
				   const_string_t name, mode_t mode);
kern_return_t diskfs_J_dir_mkfile (struct protid *cred, int flags,
				    mode_t mode, mach_port_t *newnode,
				    mach_msg_type_name_t *newnodetype);
kern_return_t diskfs_J_dir_rename (struct protid *fromcred,
				    const_string_t fromname,
				    struct protid *tocred,
				    const_string_t toname, int excl);
kern_return_t diskfs_J_dir_rmdir (struct protid *dircred,
				   const_string_t name);
kern_return_t diskfs_J_dir_unlink (struct protid *dircred,
				    const_string_t name);
kern_return_t diskfs_J_file_chauthor (struct protid *cred, uid_t author);
kern_return_t diskfs_J_file_chflags (struct protid *cred, int flags);
kern_return_t diskfs_J_file_chmod (struct protid *cred, mode_t mode);
kern_return_t diskfs_J_file_chown (struct protid *cred, uid_t uid,
				    gid_t gid);
kern_return_t diskfs_J_file_set_size (struct protid *cred, off_t size);
kern_return_t diskfs_J_file_set_translator
  (struct protid *cred, int passive_flags, int active_flags,
   int killtrans_flags, const_data_t passive,
   mach_msg_type_number_t passivelen, fsys_t active);
kern_return_t diskfs_J_file_utimens (struct protid *cred,
				      struct timespec atime,
				      struct timespec mtime);
kern_return_t diskfs_J_io_prenotify (struct protid *cred, vm_offset_t start,
				      vm_offset_t end);
kern_return_t diskfs_J_io_sigio (struct protid *cred);
kern_return_t diskfs_J_io_write (struct protid *cred, const_data_t data,
				  mach_msg_type_number_t datalen,
				  off_t offset, vm_size_t *amt);

#endif
