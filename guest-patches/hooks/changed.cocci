// libdiskfs: where an inode or file has to be on disk on a synchronous file
// system, it is a part of the operation on one with a journal.

@include@
@@
 #include "priv.h"
+#include "diskfs-journal.h"

@node@
expression E;
@@
-if (diskfs_synchronous)
-  diskfs_node_update (E, 1);
+diskfs_node_changed (E);

@data@
expression E;
@@
-if (diskfs_synchronous)
-  diskfs_file_update (E, 1);
+diskfs_file_changed (E);

@moved@
@@
-if (diskfs_synchronous)
-  {
-    diskfs_file_update (fdp, 1);
-    diskfs_node_update (fnp, 1);
-  }
+diskfs_file_changed (fdp);
+diskfs_node_changed (fnp);

// If the creation failed there is no node.
@created@
expression D, N;
identifier e = {err, error};
@@
 e = diskfs_create_node (D, ..., &N, ...);
-if (diskfs_synchronous)
+if (! e)
   {
-    diskfs_file_update (D, 1);
-    diskfs_file_update (N, 1);
+    diskfs_file_changed (D);
+    diskfs_file_changed (N);
   }

// The directory is not locked any more, and did not change.
@made@
expression D, N;
identifier e = {err, error};
@@
 e = diskfs_create_node (D, ..., &N, ...);
 pthread_mutex_unlock (&D->lock);
-if (diskfs_synchronous)
-  {
-    diskfs_file_update (D, 1);
-    diskfs_file_update (N, 1);
-  }
+if (! e)
+  diskfs_file_changed (N);
