// ext2fs: files are cut.

@defer@
@@
 diskfs_truncate (...)
 {
   ...
   if (length >= node->dn_stat.st_size)
     return 0;
+  if (ext2_journal_defer_truncate (node, length))
+    return 0;
   ...
 }

@tail@
@@
-diskfs_file_update (node, 1);
+ext2_journal_tail_cleared (node, length);

// A page that cannot be read ended ext2fs.
@poke@
expression E, F;
@@
 for (E; F; poke += vm_page_size)
-  *(volatile int *)poke = *(volatile int *)poke;
+  ext2_journal_touch (poke);

@pages@
@@
+ext2_journal_cut_pages (node, length);
 force_delayed_copies (node, length);

@blocks@
@@
+ext2_journal_trunc (node, end);
 trunc_direct (node, end, &fbr);

@done@
@@
 enable_delayed_copies (node);
+ext2_journal_cut_done (node);
 pthread_rwlock_unlock (...);
