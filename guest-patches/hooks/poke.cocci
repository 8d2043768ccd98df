// ext2fs.h: changes of metadata go to the journal.

@global_poke@
identifier ptr;
@@
 record_global_poke (void *ptr)
 {
+  if (ext2_journal_poke (ptr))
+    return;
   ...
 }

@sync_ptr@
identifier ptr, wait;
@@
 sync_global_ptr (void *ptr, int wait)
 {
+  if (ext2_journal_sync_poke (ptr, wait))
+    return;
   ...
 }

@indir_poke@
identifier node, ptr;
@@
 record_indir_poke (struct node *node, void *ptr)
 {
+  if (ext2_journal_poke (ptr))
+    return;
   ...
 }
