// ext2fs: inodes and translators.

@inode@
@@
 di = dino_ref (np->cache_id);
+ext2_journal_access (di);
 di->i_generation = htole32 (st->st_gen);

@blocks@
@@
+ext2_journal_copy_blocks (np, di);
 diskfs_end_catch_exception ();
 np->dn_stat_dirty = 0;

@read@
@@
 info->i_dtime = le32toh (di->i_dtime);
+ext2_journal_read_node (np);

@update@
identifier np, wait;
@@
 diskfs_write_disknode (struct node *np, int wait)
 {
+  if (ext2_journal_update_node (np, wait))
+    return;
   ...
 }

@update_all@
@@
+if (ext2_journal_update_nodes ())
+  return;
 diskfs_node_iterate (write_one_disknode);

@translator@
expression E;
@@
+ext2_journal_access (di);
 di->i_translator = E;

@translator_block@
@@
+ext2_journal_access (blkptr);
 memcpy (blkptr, buf, block_size);
