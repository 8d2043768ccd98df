// libdiskfs: no operation is held while another server is called.

// Nothing has changed yet.
@translator@
expression list ES;
@@
+diskfs_journal_leave ();
 err = fshelp_fetch_root (ES);

// It may be gone by now.
@create@
@@
-err = diskfs_create_node (dnp, filename, mode, &np, dircred, ds);
+err = diskfs_journal_create_node (dnp, filename, mode, &np,
+                                  dircred, ds);

@unlinked@
expression E;
@@
+diskfs_journal_leave ();
 fsys_goaway (E, FSYS_GOAWAY_UNLINK);

// The file's data goes, of whatever size.
@shortcut@
expression E;
@@
-err = diskfs_truncate (E, 0);
+err = diskfs_journal_truncate (E, 0);

@replaced@
expression E, F;
@@
+diskfs_journal_leave ();
 err = fsys_goaway (E, F);
+diskfs_journal_rejoin ();
