"""The judges: each says PASS, FAIL or VOID of a crash state, and why."""
