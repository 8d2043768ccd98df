// libdiskfs: nodes that go away, pages that are written, what waits for the
// disk, and a journal that gave up.

@include@
@@
 #include "priv.h"
+#include "diskfs-journal.h"

@drop@
identifier np;
@@
 diskfs_drop_node (struct node *np)
 {
   mode_t savemode;
+
+  if (diskfs_journal_defer_drop (np))
+    return;
   ...
 }

@copy@
expression list ES;
@@
+diskfs_journal_copying (np, dir, offset, *amt);
 err = pager_memcpy (ES);
+diskfs_journal_copying (np, 0, 0, 0);

@fsync@
@@
-diskfs_file_update (np, wait);
-return 0;
+return diskfs_journal_fsync (np, wait);

@syncfs@
@@
 diskfs_S_file_syncfs (...)
 {
   ...
-  return 0;
+  return diskfs_journal_synced ();
 }

@fsys_syncfs@
@@
 diskfs_S_fsys_syncfs (...)
 {
   ...
-  return 0;
+  return diskfs_journal_synced ();
 }

@changed@
@@
+diskfs_journal_changing (readonly);
 diskfs_readonly = readonly;
 diskfs_readonly_changed (readonly);
+err = diskfs_journal_changed (readonly);

// A halt: what comes later stays as it is.
@halt@
@@
+diskfs_journal_changing (1);
 diskfs_readonly = 1;
 diskfs_readonly_changed (1);

@readonly@
@@
 if (
-    diskfs_readonly
+    diskfs_readonly || diskfs_journal_error ()
    )
   return 1;
 else { ... }

@writable@
@@
 if (
-    diskfs_readonly
+    diskfs_readonly || diskfs_journal_error ()
    )
   err = argz_add (...);
 else
   err = argz_add (...);
