// libdiskfs: an RPC that changes the file system becomes an operation.  What
// it does gets another name; journal-rpc.c has the RPC, around it.

@include@
@@
-#include "priv.h"
+#include "journal-rpc.h"

@dir_link@
@@
-diskfs_S_dir_link
+diskfs_J_dir_link
 (...)
{ ... }

@dir_lookup@
@@
-diskfs_S_dir_lookup
+diskfs_J_dir_lookup
 (...)
{ ... }

@dir_mkdir@
@@
-diskfs_S_dir_mkdir
+diskfs_J_dir_mkdir
 (...)
{ ... }

@dir_mkfile@
@@
-diskfs_S_dir_mkfile
+diskfs_J_dir_mkfile
 (...)
{ ... }

@dir_rename@
@@
-diskfs_S_dir_rename
+diskfs_J_dir_rename
 (...)
{ ... }

@dir_rmdir@
@@
-diskfs_S_dir_rmdir
+diskfs_J_dir_rmdir
 (...)
{ ... }

@dir_unlink@
@@
-diskfs_S_dir_unlink
+diskfs_J_dir_unlink
 (...)
{ ... }

@file_chflags@
@@
-diskfs_S_file_chflags
+diskfs_J_file_chflags
 (...)
{ ... }

@file_chmod@
@@
-diskfs_S_file_chmod
+diskfs_J_file_chmod
 (...)
{ ... }

@file_chown@
@@
-diskfs_S_file_chown
+diskfs_J_file_chown
 (...)
{ ... }

@file_set_size@
@@
-diskfs_S_file_set_size
+diskfs_J_file_set_size
 (...)
{ ... }

@file_set_translator@
@@
-diskfs_S_file_set_translator
+diskfs_J_file_set_translator
 (...)
{ ... }

@file_utimens@
@@
-diskfs_S_file_utimens
+diskfs_J_file_utimens
 (...)
{ ... }

@io_prenotify@
@@
-diskfs_S_io_prenotify
+diskfs_J_io_prenotify
 (...)
{ ... }

@io_sigio@
@@
-diskfs_S_io_sigio
+diskfs_J_io_sigio
 (...)
{ ... }

@io_write@
@@
-diskfs_S_io_write
+diskfs_J_io_write
 (...)
{ ... }

// This file has a lisp.
@file_chauthor@
@@
-dithkfth_TH_file_chauthor
+diskfs_J_file_chauthor
 (...)
{ ... }
