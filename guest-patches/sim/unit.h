/* What the unit tests share.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

#ifndef UNIT_H
#define UNIT_H

#include "../journal/jpriv.h"
#include "options.h"
#include "states.h"

#define EXPECT(call, want)						\
  do									\
    {									\
      int got_ = (call);						\
      CHECK (got_ == (want), "%s:%d: %s is %d, not %d", __FILE__,	\
	     __LINE__, #call, got_, (want));				\
    }									\
  while (0)

extern struct options o;
extern struct simdisk d;
extern struct mfs fs;

void mount_with (const char *preset, bool daemons);
void unmount (void);
/* The crash: nothing more reaches the disk.  */
void power_cut (void);

void test_index (void);
void test_table (enum journal_index_kind kind);
void test_no_table (void);
void test_format (void);
void test_settings (void);
void test_replay (void);
void test_given (void);
void test_abort (const char *preset);
void test_data_error (bool give_up);
void test_dead_handle (void);
void test_open (void);
void test_group_commit (bool daemons);
void test_interval (void);
void test_age (void);
void test_fault_at_quiesce (void);
void test_number_of_the_past (void);
void test_error_kept (void);
void test_copy_fails_once (void);
void test_worker (void);
void test_worker_alone (bool daemons);
void test_worker_asks (void);
void test_worker_credits (void);
void test_worker_fails (void);
void test_worker_waits (const char *preset);
void test_memory_bound (void);
void test_free_fails (void);
void test_error_not_kept (void);
void test_quiesce_after_data_error (void);
void test_freed_on_its_way_home (void);
void test_full_log (bool daemons);

#endif
