// ext2fs: extended attributes.

@set_block@
@@
 ext2_set_xattr (...)
 {
 <...
 block = disk_cache_block_ref (blkno);
+ext2_journal_access (block);
 ...>
 }

@free_block@
@@
 ext2_free_xattr_block (...)
 {
 <...
 block = disk_cache_block_ref (blkno);
+ext2_journal_access (block);
 ...>
 }

@inode@
expression E;
@@
+ext2_journal_access (ei);
 ei->i_file_acl = E;
