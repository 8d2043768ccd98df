"""Evidence to verdicts: the killed disk, and the states rebuilt from the write log."""
