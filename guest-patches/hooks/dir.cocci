// ext2fs: blocks of directories.

@enter@
@@
 assert_backtrace (ds->type == CREATE);
 assert_backtrace (!diskfs_readonly);
 dp->dn_set_mtime = 1;
+if (ds->stat != EXTEND)
+  ext2_journal_dir_access (dp, ds->idx);

@extend@
@@
-err = hurd_safe_memset (new, 0, DIRBLKSIZ);
+err = ext2_journal_dir_extend (dp, ds->idx);
+if (! err)
+  err = hurd_safe_memset (new, 0, DIRBLKSIZ);

@entered@
@@
 memcpy (new->name, name, namelen);
+ext2_journal_dir_dirty (dp, ds->idx, (void *) ds->mapbuf);

@remove@
statement S1, S2;
@@
+ext2_journal_dir_access (dp, ds->idx);
 if (ds->preventry == 0) S1 else S2
+ext2_journal_dir_dirty (dp, ds->idx, (void *) ds->mapbuf);

@rewrite@
@@
+ext2_journal_dir_access (dp, ds->idx);
 ds->entry->inode = htole32 (np->cache_id);
+ext2_journal_dir_dirty (dp, ds->idx, (void *) ds->mapbuf);
