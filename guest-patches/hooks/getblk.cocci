// ext2fs: indirect blocks.

@fresh@
@@
+ext2_journal_access (bh);
 memset (bh, 0, block_size);

@pointer@
@@
+ext2_journal_access (bh);
 bh[nr] = *result;
