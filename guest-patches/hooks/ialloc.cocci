// ext2fs: inodes are allocated and freed.

@free_inode@
expression bit;
@@
 bh = disk_cache_block_ref (le32toh (gdp->bg_inode_bitmap));
+ext2_journal_access (bh);
+ext2_journal_access (gdp);
 if (!clear_bit (bit, bh)) { ... } else { ... }

@inode_bit@
@@
+ext2_journal_access (bh);
 if (set_bit (inum, bh)) { ... }

@inode_count@
@@
+ext2_journal_access (gdp);
 gdp->bg_free_inodes_count = htole16 (le16toh (gdp->bg_free_inodes_count) - 1);

@super@
@@
 sblock_dirty = 1;
+ext2_journal_super ();

@fresh_inode@
@@
+ext2_journal_access (di);
 memset (di, 0, EXT2_INODE_SIZE (sblock));
-dino_deref (di);
+if (! ext2_journal_poke (di))
+  dino_deref (di);

@new_node@
@@
 st = &np->dn_stat;
+ext2_journal_new_node (np);
