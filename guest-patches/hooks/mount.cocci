// ext2fs: mount, reload, options.

@recover@
@@
 get_hypermetadata ();
+ext2_journal_recover ();
 map_hypermetadata ();

@mount@
@@
 main (...)
 {
   ...
   map_hypermetadata ();
+  ext2_journal_mount ();
   ...
 }

@options@
@@
-&diskfs_store_startup_argp
+&ext2_journal_startup_argp

@runtime_options@
@@
-&diskfs_std_runtime_argp
+&ext2_journal_runtime_argp

@arguments@
@@
+if (! err)
+  err = ext2_journal_append_args (argz, argz_len);
 if (! err)
   err = store_parsed_append_args (store_parsed, argz, argz_len);
