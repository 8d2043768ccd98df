// ext2fs: blocks are allocated and freed.

@free_blocks@
@@
 ext2_free_blocks (...)
 {
   ...
+  if (ext2_journal_free_blocks (block, count))
+    return;
   pthread_mutex_lock (&global_lock);
   ...
 }

@new_block@
typedef block_t;
@@
 ext2_new_block (...)
 {
   ...
+  block_t taken;
+
+  if (ext2_journal_new_block (goal, &taken))
+    return taken;
   pthread_mutex_lock (&global_lock);
   ...
 }

