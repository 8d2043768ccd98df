// libpager: a page that cannot be made writable now is asked for again.

// The kernel restarts what it had asked for when the lock is set, even to what
// it was.
@again@
@@
-if (!err)
+if (!err || err == EAGAIN)
   _pager_lock_object (p, offset, length, MEMORY_OBJECT_RETURN_NONE, 0,
-                      VM_PROT_NONE, 0);
+                      err ? VM_PROT_WRITE : VM_PROT_NONE, 0);
 else
 { ... }
