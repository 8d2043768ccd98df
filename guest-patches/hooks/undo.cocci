// libdiskfs: an operation that fails half-way takes back what it did.  A crash
// is not what makes this wrong: a full disk is.

// The node was left locked and referenced, its inode allocated for ever.
@create@
@@
-np->dn_stat.st_mode = 0;
-np->dn_stat.st_nlink = 0;
 if (name)
   diskfs_drop_dirstat (dir, ds);
+diskfs_undo_create (np, mode);
 *newnode = NULL;
 return err;

@include depends on create@
@@
 #include "priv.h"
+#include "diskfs-journal.h"

// The link was counted and never made.
@link@
@@
+if (err)
+  diskfs_undo_link (np);
 diskfs_node_changed (dnp);

// `..' has the new parent already.
@rename@
@@
 if (err)
   {
     assert_backtrace (fnp->dn_stat.st_nlink > 0);
     fnp->dn_stat.st_nlink--;
     fnp->dn_set_ctime = 1;
     diskfs_node_changed (fnp);
+    diskfs_undo_parent (fnp, fdp, tdp, fromcred);
     goto out;
   }

// The old parent was left locked, and `..' and the counts with the new one.
@links@
@@
 if (fnp->dn_stat.st_nlink == diskfs_link_max - 1)
   {
-    pthread_mutex_unlock (&fnp->lock);
     diskfs_drop_dirstat (tdp, ds);
-    pthread_mutex_unlock (&tdp->lock);
-    if (tnp)
-      diskfs_nput (tnp);
-    return EMLINK;
+    diskfs_undo_parent (fnp, fdp, tdp, fromcred);
+    err = EMLINK;
+    goto out;
   }
