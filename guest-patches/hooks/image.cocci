// libdiskfs: a page of the disk that cannot be read is an error, and no crash.

// What the pager knows of its pages it knows by their offset.  It tells the
// kernel of an error before it writes it down.
@offset@
@@
-pager_get_error (diskfs_disk_pager, sigcode)
+(pager_get_error (diskfs_disk_pager, sigcode - preemptor.first) ?: EIO)

// The handler does not return, so what is blocked while it runs would be for
// ever, and the thread's next such fault be its last.
@mask@
@@
+pthread_sigmask (SIG_UNBLOCK, &preemptor.signals, NULL);
 longjmp (*env, err);
