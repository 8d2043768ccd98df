"""Variants of the Hurd's ext2fs: what is laid over a tree, how, and as which patches."""
