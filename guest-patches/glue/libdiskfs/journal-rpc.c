/* The RPCs that change a file system: each is one operation.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#include <fcntl.h>

#include "journal-rpc.h"
#include "fs_S.h"
#include "io_S.h"

/* An operation starts before the RPC takes its first lock and ends after it
   dropped its last.  The nodes that the RPC was called on are updated here,
   where none is locked; others are updated where they change, by
   diskfs_node_changed.  */

static void
update (struct protid *cred)
{
  if (cred)
    diskfs_journal_update (cred->po->np);
}

static error_t
start (enum diskfs_journal_op op, struct protid *cred, off_t size)
{
  return diskfs_journal_start (op, cred ? cred->po->np : NULL, size);
}

/* The operation that the RPC on CRED is.  */
#define OPERATION(op, cred, size, call)					      \
({									      \
  error_t err_ = start (op, cred, size);				      \
  if (! err_)								      \
    {									      \
      err_ = (call);							      \
      update (cred);							      \
      err_ = diskfs_journal_stop (err_);				      \
    }									      \
  err_;									      \
})

kern_return_t
diskfs_S_dir_link (struct protid *dircred, struct protid *filecred,
		   const_string_t name, int excl)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, dircred, 0,
		    diskfs_J_dir_link (dircred, filecred, name, excl));
}

/* Only a lookup that may create is an operation.  */
kern_return_t
diskfs_S_dir_lookup (struct protid *dircred, const_string_t filename,
		     int flags, mode_t mode, retry_type *do_retry,
		     string_t retry_name, mach_port_t *retry_port,
		     mach_msg_type_name_t *retry_port_type)
{
  error_t err;

  if (! (flags & O_CREAT))
    return diskfs_J_dir_lookup (dircred, filename, flags, mode, do_retry,
				 retry_name, retry_port, retry_port_type);
  err = start (DISKFS_JOURNAL_CHANGE, dircred, 0);
  if (err)
    return err;
  err = diskfs_J_dir_lookup (dircred, filename, flags, mode, do_retry,
			      retry_name, retry_port, retry_port_type);
  return diskfs_journal_stop (err);
}

kern_return_t
diskfs_S_dir_mkdir (struct protid *dircred, const_string_t name, mode_t mode)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, dircred, 0,
		    diskfs_J_dir_mkdir (dircred, name, mode));
}

kern_return_t
diskfs_S_dir_mkfile (struct protid *cred, int flags, mode_t mode,
		     mach_port_t *newnode, mach_msg_type_name_t *newnodetype)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, cred, 0,
		    diskfs_J_dir_mkfile (cred, flags, mode, newnode,
					  newnodetype));
}

kern_return_t
diskfs_S_dir_rename (struct protid *fromcred, const_string_t fromname,
		     struct protid *tocred, const_string_t toname, int excl)
{
  error_t err = start (DISKFS_JOURNAL_CHANGE, fromcred, 0);

  if (err)
    return err;
  err = diskfs_J_dir_rename (fromcred, fromname, tocred, toname, excl);
  update (fromcred);
  /* On success the right that keeps TOCRED may be gone, but not the
     reference of this call.  */
  update (tocred);
  return diskfs_journal_stop (err);
}

kern_return_t
diskfs_S_dir_rmdir (struct protid *dircred, const_string_t name)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, dircred, 0,
		    diskfs_J_dir_rmdir (dircred, name));
}

kern_return_t
diskfs_S_dir_unlink (struct protid *dircred, const_string_t name)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, dircred, 0,
		    diskfs_J_dir_unlink (dircred, name));
}

kern_return_t
diskfs_S_file_chauthor (struct protid *cred, uid_t author)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, cred, 0,
		    diskfs_J_file_chauthor (cred, author));
}

kern_return_t
diskfs_S_file_chflags (struct protid *cred, int flags)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, cred, 0,
		    diskfs_J_file_chflags (cred, flags));
}

kern_return_t
diskfs_S_file_chmod (struct protid *cred, mode_t mode)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, cred, 0,
		    diskfs_J_file_chmod (cred, mode));
}

kern_return_t
diskfs_S_file_chown (struct protid *cred, uid_t uid, gid_t gid)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, cred, 0,
		    diskfs_J_file_chown (cred, uid, gid));
}

kern_return_t
diskfs_S_file_set_size (struct protid *cred, off_t size)
{
  error_t err = 0;

  if (cred && (cred->po->openstat & O_WRITE) && size >= 0)
    err = diskfs_journal_shorten (cred->po->np, size);
  if (err)
    return err;
  return OPERATION (DISKFS_JOURNAL_TRUNCATE, cred, size,
		    diskfs_J_file_set_size (cred, size));
}

kern_return_t
diskfs_S_file_set_translator (struct protid *cred, int passive_flags,
			      int active_flags, int killtrans_flags,
			      const_data_t passive,
			      mach_msg_type_number_t passivelen,
			      fsys_t active)
{
  /* An active translator alone changes nothing on disk.  */
  if (! (passive_flags & FS_TRANS_SET))
    return diskfs_J_file_set_translator (cred, passive_flags, active_flags,
					  killtrans_flags, passive,
					  passivelen, active);
  return OPERATION (DISKFS_JOURNAL_TRUNCATE, cred, 0,
		    diskfs_J_file_set_translator
		    (cred, passive_flags, active_flags, killtrans_flags,
		     passive, passivelen, active));
}

kern_return_t
diskfs_S_file_utimens (struct protid *cred, struct timespec atime,
		       struct timespec mtime)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, cred, 0,
		    diskfs_J_file_utimens (cred, atime, mtime));
}

kern_return_t
diskfs_S_io_prenotify (struct protid *cred, vm_offset_t start_offset,
		       vm_offset_t end)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, cred, 0,
		    diskfs_J_io_prenotify (cred, start_offset, end));
}

kern_return_t
diskfs_S_io_sigio (struct protid *cred)
{
  return OPERATION (DISKFS_JOURNAL_CHANGE, cred, 0,
		    diskfs_J_io_sigio (cred));
}

/* Did the write at OFFSET fail for lack of room, and can be done anew?  (Where
   the kernel copies many pages by itself it does not say why it failed.  What
   was to be appended has moved the end of the file.)  */
static int
no_room (struct protid *cred, off_t offset, error_t err)
{
  return (err == ENOSPC || err == KERN_MEMORY_ERROR)
    && ! (offset == -1 && (cred->po->openstat & O_APPEND));
}

/* What is too much for one operation is several: a write may end early, but
   never between two of them.  */
kern_return_t
diskfs_S_io_write (struct protid *cred, const_data_t data,
		   mach_msg_type_number_t datalen, off_t offset,
		   vm_size_t *amt)
{
  size_t done = 0, piece;
  vm_size_t written;
  int again, asked = 0;
  error_t err;

  do
    {
      piece = diskfs_journal_most (datalen - done);
      written = 0;
      err = OPERATION (DISKFS_JOURNAL_WRITE, cred, piece,
		       diskfs_J_io_write (cred, data + done, piece,
					  offset == -1 ? -1 : offset + done,
					  &written));
      if (! err)
	done += written;
      again = ! asked && no_room (cred, offset, err)
	&& diskfs_journal_room (piece);
      asked |= again;
    }
  while (again || (! err && written == piece && done < datalen));
  *amt = done;
  return done > 0 ? 0 : err;
}
