// ext2fs: indirect blocks.

@allocated@
statement S;
@@
+ext2_journal_allocated (node, result, zero);
 if (result && zero) S

@fresh@
@@
+ext2_journal_access (bh);
 memset (bh, 0, block_size);

@pointer@
@@
+ext2_journal_access (bh);
 bh[nr] = *result;
