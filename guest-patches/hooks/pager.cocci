// ext2fs: pages, and what is written when.

@recover@
@@
 get_hypermetadata ();
+ext2_journal_recover ();

// The block that says where may be unreadable, which ended ext2fs.
@find@
@@
-err = ext2_getblk (node, offset >> log2_block_size, 0, block);
+err = ext2_journal_getblk (node, offset >> log2_block_size, block);

@read_file@
@@
-err = store_read (store, dev_block, amount, &new_buf, &new_len);
+err = ext2_journal_read_file (node, dev_block, amount, &new_buf,
+                              &new_len);

@read_global@
@@
-err = store_read (store, offset >> store->log2_block_size, length, buf, &read);
+err = ext2_journal_read_global (offset, length, buf, &read);

@write_global@
@@
-err = store_write (store, offset >> store->log2_block_size, buf, length, &amount);
+err = ext2_journal_write_global (offset, buf, length, &amount);

@pages@
@@
-if (pager->type != FILE_DATA)
+if (pager->type != FILE_DATA || ext2_journal_page_by_page (pager->node))
   return EOPNOTSUPP;

@page@
@@
 file_pager_write_page (...)
 {
   error_t err = 0;
   ...
+  if (ext2_journal_write_file (node, offset, buf, &err))
+    return err;
   pending_blocks_init (&pb, buf);
   ...
 }

// The error of the last write was dropped.
@last_write@
@@
 file_pager_write_page (...)
 {
   ...
   if (!err)
-    pending_blocks_write (&pb);
+    err = pending_blocks_write (&pb);
   ...
-  return err;
+  return ext2_journal_wrote (node, err);
 }

// What failed is not done: it is tried again page by page.
@bulk@
@@
-done += built;
+if (! werr)
+  done += built;

// The caller holds the node's alloc_lock.
@written@
@@
+ext2_journal_written (pb->block, pb->num);
 pb->offs += length;

@unlock@
@@
-return ext2_unlock_page (pager, page);
+return ext2_journal_unlock_page (pager, page);

@update_file@
identifier node, wait;
@@
 diskfs_file_update (struct node *node, int wait)
 {
   struct pager *pager;
+
+  if (ext2_journal_update_file (node, wait))
+    return;
   ...
 }

@sync@
identifier wait;
@@
 diskfs_sync_everything (int wait)
 {
   ...
+  if (ext2_journal_sync_everything (wait))
+    return;
   write_all_disknodes ();
   ...
 }
