"""Command lines for e2fsprogs and QEMU's tools, and what debugfs prints, without running them."""

from __future__ import annotations

from pathlib import Path

from harness.disk.attach import Slice, image_options, nbd_argv, storage_daemon_argv
from harness.disk.ext2 import ObjectStat, _object, crc32c, mkfs_argv, parse_blocks, parse_stat
from harness.disk.ext2 import parse_superblock as parse_ext2

STAT = """Inode: 373911   Type: directory    Mode:  0775   Flags: 0x0
Generation: 7    Version: 0x00000001
User:  1001   Group:  1002   Size: 4096
File ACL: 0 Translator: 0
Links: 2   Blockcount: 8
Fragment:  Address: 0    Number: 0    Size: 0
ctime: 0x6b0050e4 -- Fri Nov 20 13:53:40 2026
atime: 0x6b0050e5 -- Fri Nov 20 13:53:41 2026
mtime: 0x6b0050e6 -- Fri Nov 20 13:53:42 2026
BLOCKS:
(0):1551
TOTAL: 1
"""

# A name whose inode was never written, as the thread shows it.
EMPTY = """Inode: 13   Type: bad type    Mode:  0000   Flags: 0x0
Generation: 0    Version: 0x00000000
User:     0   Group:     0   Project:     0   Size: 0
File ACL: 0
Links: 0   Blockcount: 0
Fragment:  Address: 0    Number: 0    Size: 0
ctime: 0x00000000 -- Thu Jan  1 00:00:00 1970
BLOCKS:

"""


def test_a_directorys_fields() -> None:
    fields = parse_stat(STAT)
    wanted = {
        "inode": "373911",
        "type": "directory",
        "mode": "0775",
        "uid": "1001",
        "gid": "1002",
        "size": "4096",
        "links": "2",
        "blockcount": "8",
        "generation": "7",
        "blocks": "(0):1551",
        "ctime": "0x6b0050e4 -- Fri Nov 20 13:53:40 2026",
    }
    assert {name: fields.get(name) for name in wanted} == wanted
    assert "target" not in fields


def test_an_empty_inode_is_a_name_that_dangles() -> None:
    stat = _object("home/t", EMPTY, "")
    assert stat.present and stat.dangling
    assert (stat.fields["type"], stat.fields["mode"], stat.fields["gid"]) == (
        "bad type",
        "0000",
        "0",
    )


def test_a_fast_symlinks_target() -> None:
    text = STAT.replace("directory", "symlink").replace("BLOCKS", 'Fast link dest: "a b/c"\nBLOCKS')
    assert parse_stat(text)["target"] == "a b/c"


def test_absent_illegal_and_unreadable_are_told_apart() -> None:
    absent = _object("a", "", "debugfs 1.47.0 (5-Feb-2023)\n/a: File not found by ext2_lookup \n")
    illegal = _object("a", "", "/a: resolves to an illegal inode number: 9999999\n")
    unreadable = _object("a", "", "/a: EXT2 directory corrupted \n")
    assert [s.present for s in (absent, illegal, unreadable)] == [False, True, False]
    assert [s.dangling for s in (absent, illegal, unreadable)] == [False, True, False]
    assert [s.unreadable for s in (absent, illegal, unreadable)] == [False, False, True]


def test_an_image_that_debugfs_can_t_open_leaves_the_object_unknown() -> None:
    stat = _object("a", "", "debugfs: Bad magic number in super-block\nstat: Filesystem not open\n")
    assert stat == ObjectStat("a", False, {}, stat.text)
    assert stat.unreadable


def test_the_blocks_of_a_journal_with_and_without_extents() -> None:
    classic = "BLOCKS:\n(0-11):525-536, (IND):537, (12-1023):538-1549\nTOTAL: 1025\n"
    extents = "EXTENTS:\n(ETB0):14, (0-9):11-20, (10):22, (11-1023):550-1562\n"
    assert list(parse_blocks(classic)) == [(0, 525, 12), (12, 538, 1012)]
    assert list(parse_blocks(extents)) == [(0, 11, 10), (10, 22, 1), (11, 550, 1013)]
    assert list(parse_blocks("stat: no such inode")) == []


def test_mkfs_says_the_block_size_and_the_creator() -> None:
    argv = mkfs_argv(
        Path("disk"), fs="ext3", creator="hurd", journal_blocks=1024, extra=["-N", "9"]
    )
    line = " ".join(argv)
    assert "-t ext3 -b 4096 -I 128 -o hurd" in line
    assert "-J size=4" in line
    assert line.endswith("-N 9 disk")
    assert "-J" not in mkfs_argv(Path("disk"), fs="ext2", creator="linux", journal_blocks=1024)


def test_a_comma_in_a_name_is_doubled_for_qemu() -> None:
    assert image_options(Path("/a,b.img"), "raw", 512, 1024) == (
        "driver=raw,offset=512,size=1024,file.driver=raw,file.file.driver=file,"
        "file.file.filename=/a,,b.img"
    )


def test_nothing_but_a_writable_slice_is_attached_for_writing() -> None:
    part = Slice(Path("/img"), "qcow2")
    assert "--read-only" in nbd_argv(["--socket=/s"], part)
    assert "--read-only" not in nbd_argv([], Slice(Path("/img"), "qcow2", writable=True))
    daemon = " ".join(storage_daemon_argv(Path("/mnt"), part))
    assert "writable=off" in daemon and "read-only=off" not in daemon


def test_crc32c_is_ext4s() -> None:
    # The usual check value of CRC-32C, without its final inversion.
    assert crc32c(b"123456789") == 0xE3069283 ^ 0xFFFFFFFF


def test_what_is_no_superblock_says_so() -> None:
    assert not parse_ext2(bytes(1024)).magic
    assert not parse_ext2(b"").magic
    assert parse_ext2(bytes(1024)).flags == "no ext2 superblock"
