// ext2fs: what the journal uses of ext2fs is known to it.

@include@
@@
 #include "ext2_fs.h"
+#include "ext2-journal.h"

@node@
@@
 struct disknode {
   ...
+
+  /* What the journal knows of it.  */
+  struct ext2_journal_node journal;
 };

@make_node@
@@
 dn->pager = 0;
+memset (&dn->journal, 0, sizeof dn->journal);

@write_node@
identifier np;
@@
-static struct ext2_inode *write_node (struct node *np)
+struct ext2_inode *
+ext2_write_node (struct node *np)
 {
   ...
 }

@write_node_call@
expression E;
@@
-write_node (E)
+ext2_write_node (E)

@unlock@
typedef error_t;
typedef vm_offset_t;
@@
-pager_unlock_page
+ext2_unlock_page
 (...)
{ ... }
+
+error_t
+pager_unlock_page (struct user_pager_info *pager, vm_offset_t page)
+{
+  return ext2_unlock_page (pager, page);
+}
