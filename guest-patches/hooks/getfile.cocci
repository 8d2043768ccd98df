// libdiskfs: a handle of a file that is gone finds nothing.

@include@
@@
 #include "priv.h"
+#include "diskfs-journal.h"

@lookup@
expression E, F;
@@
-err = diskfs_cached_lookup (E, F);
+err = diskfs_journal_getfile (E, F);

// The reference that the port was made with was kept, and so was the file.
@port@
expression E;
@@
 *file = ports_get_right (E);
 *file_type = MACH_MSG_TYPE_MAKE_SEND;
+ports_port_deref (E);
