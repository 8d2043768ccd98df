"""Disk images on the host: attaching, ext2, JBD2, wrappers of e2fsprogs."""
