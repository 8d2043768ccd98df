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

@replaced@
expression E, F;
@@
+diskfs_journal_leave ();
 err = fsys_goaway (E, F);
+diskfs_journal_rejoin ();
