"""The kill, the write log and the crash states that are made from it."""
