// ext2fs: the superblock, and changes between read-only and writable.

@features@
@@
 features = EXT2_HAS_INCOMPAT_FEATURE (sblock, EXT2_FEATURE_INCOMPAT_UNSUPPORTED);
+features = ext2_journal_unsupported (features);

// It is not any more.
@as_ext2@
expression list ES;
@@
-if (EXT2_HAS_COMPAT_FEATURE (sblock, EXT3_FEATURE_COMPAT_HAS_JOURNAL))
-  ext2_warning (ES);

@set@
identifier wait, clean;
typedef error_t;
@@
 diskfs_set_hypermetadata (int wait, int clean)
 {
+  error_t journal_err;
+
+  if (ext2_journal_hypermetadata (wait, clean, &journal_err))
+    return journal_err;
   ...
 }

@changed@
@@
 diskfs_readonly_changed (int readonly)
 {
   ...
   mprotect (...);
+  ext2_journal_readonly_changed (readonly);
   ...
 }
