// ext2fs: global_lock is held over page faults and calls of the journal.

@declared@
@@
-extern pthread_spinlock_t global_lock;
+extern pthread_mutex_t global_lock;

@defined@
@@
-pthread_spinlock_t global_lock = PTHREAD_SPINLOCK_INITIALIZER;
+pthread_mutex_t global_lock = PTHREAD_MUTEX_INITIALIZER;

@lock@
@@
-pthread_spin_lock (&global_lock)
+pthread_mutex_lock (&global_lock)

@unlock@
@@
-pthread_spin_unlock (&global_lock)
+pthread_mutex_unlock (&global_lock)
