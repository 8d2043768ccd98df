"""All names of an ext2, ext3 or ext4 file system with what they lead to, read without a process.

A crash campaign reads the tree of every state, and debugfs would take 8 ms for each.  What is read
here is checked against debugfs by the tests.  Structures: `struct ext2_group_desc`,
`ext2_inode`, `ext2_dir_entry_2` (e2fsprogs lib/ext2fs/ext2_fs.h) and the extent tree
(lib/ext2fs/ext3_extents.h).  Numbers are little-endian.

The reader trusts nothing: a tree that can't be read raises `Unreadable`.  It does not look for
damage, which is e2fsck's part.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from harness.disk.records import Records, in_block, in_inode, in_translator_block

K = TypeVar("K")
T = TypeVar("T")

BLOCK = 4096  #: bytes; the only block size that is read
_ROOT = 2
_SUPER = 1024  # bytes before the superblock
_OS_HURD = 1
_EXTENTS, _INLINE = 0x80000, 0x10000000
_EXTENT_MAGIC = 0xF30A
_64BIT = 0x80
_KINDS = {
    0x4: "directory",
    0x8: "regular",
    0xA: "symlink",
    0x1: "fifo",
    0x2: "character device",
    0x6: "block device",
    0xC: "socket",
}
_MAX_EXTENT = 32768  # a longer one is allocated and not written
_FAST_LINK = 60  # bytes; a shorter target is in the inode
_REMEMBERED = 50_000  # contents; a few dozen MiB
_MAX_DEPTH = 64  # folders; bounds a circle that damage made
_MAX_OBJECTS = 100_000  # names; bounds circles that meet


class Unreadable(Exception):
    """The file system is damaged so that its tree can't be read; the text says where."""


class Blocks(Protocol):
    """A disk by blocks of 4 KiB, and a name for each block's content."""

    def block(self, number: int, /) -> bytes: ...
    def id_of(self, number: int, /) -> int: ...


@dataclass(frozen=True)
class Node:
    """An object.  `blocks` names the content of each block of a regular file; None is a hole."""

    inode: int
    kind: str
    mode: int  #: permission bits
    uid: int
    gid: int
    links: int
    size: int  #: bytes
    target: str = ""
    blocks: tuple[int | None, ...] = ()
    records: Records = ()  #: extended attributes and the translator, sorted by name
    mtime: int = 0  #: seconds


@dataclass(frozen=True)
class _Inode:
    kind: str
    mode: int
    uid: int
    gid: int
    links: int
    size: int
    sectors: int
    flags: int
    pointers: bytes
    mtime: int
    attributes: int  #: their block; 0: none
    translator: int  #: its block on a file system of the Hurd; 0: none
    inline: Records  #: attributes in the inode


class TreeReader:
    """Reads trees of one disk; what blocks mean is remembered by their content."""

    def __init__(self, disk: Blocks, blocks: int) -> None:
        """`blocks` is how many the disk has."""
        self._disk = disk
        self._count = blocks
        self._inodes: dict[tuple[int, int], _Inode] = {}
        self._names: dict[int, tuple[tuple[str, int], ...]] = {}
        self._pointers: dict[int, tuple[int, ...]] = {}

    def read(self) -> dict[str, Node]:
        """Every object by its path; the root's is empty.  Raises `Unreadable`."""
        try:
            self._geometry()
            found: dict[str, Node] = {}
            for path, node in self._walk("", _ROOT, 0):
                found[path] = node
                if len(found) > _MAX_OBJECTS:
                    raise Unreadable(f"there are more than {_MAX_OBJECTS} names")
            return found
        except (struct.error, IndexError, ValueError) as exc:
            raise Unreadable(f"a structure leads outside of the disk: {exc}") from exc

    def _geometry(self) -> None:
        raw = self._block(0)[_SUPER:]
        self._inodes_count, self._blocks_count = struct.unpack_from("<II", raw)
        self._per_group = int.from_bytes(raw[0x28:0x2C], "little")
        log_size, magic = struct.unpack_from("<I", raw, 0x18)[0], raw[0x38:0x3A]
        if magic != b"\x53\xef" or log_size != 2 or not self._per_group:
            raise Unreadable("the superblock is not that of a file system with blocks of 4 KiB")
        revision = int.from_bytes(raw[0x4C:0x50], "little")
        self._inode_size = int.from_bytes(raw[0x58:0x5A], "little") if revision else 128
        self._hurd = int.from_bytes(raw[0x48:0x4C], "little") == _OS_HURD
        wide = int.from_bytes(raw[0x60:0x64], "little") & _64BIT
        self._group_size = int.from_bytes(raw[0xFE:0x100], "little") if wide else 32
        if self._inode_size < 128 or self._group_size < 32:
            raise Unreadable("the superblock gives sizes that can't be")

    def _walk(self, path: str, number: int, depth: int) -> Iterator[tuple[str, Node]]:
        inode = self._inode(number)
        yield path, self._node(number, inode)
        if inode.kind != "directory":
            return
        if depth > _MAX_DEPTH:
            raise Unreadable(f"/{path} is more than {_MAX_DEPTH} folders deep")
        for block in self._map(inode):
            if block is None:
                continue
            for name, child in self._entries(block):
                if name not in (".", ".."):
                    yield from self._walk(f"{path}/{name}" if path else name, child, depth + 1)

    def _node(self, number: int, inode: _Inode) -> Node:
        target, blocks = "", tuple[int | None, ...]()
        if inode.kind == "symlink":
            target = self._target(inode)
        elif inode.kind == "regular":
            blocks = tuple(
                None if block is None else self._disk.id_of(block) for block in self._map(inode)
            )
        return Node(
            number,
            inode.kind,
            inode.mode,
            inode.uid,
            inode.gid,
            inode.links,
            inode.size,
            target,
            blocks,
            self._records(inode),
            inode.mtime,
        )

    def _records(self, inode: _Inode) -> Records:
        found = inode.inline
        places = [(inode.attributes, in_block)]
        places += [(inode.translator, in_translator_block)] if self._hurd else []
        for place, read in places:
            if place:
                found += read(self._block(place))
        return tuple(sorted(found))

    def _target(self, inode: _Inode) -> str:
        if inode.size < _FAST_LINK and not inode.flags & _EXTENTS:
            return inode.pointers[: inode.size].decode(errors="replace")
        first = next(iter(self._map(inode)), None)
        return self._block(first)[: inode.size].decode(errors="replace") if first else ""

    def file_blocks(self, number: int) -> tuple[int | None, ...]:
        """Where the blocks of an inode are on the disk; None is a hole."""
        return tuple(self._map(self._inode(number)))

    def _inode(self, number: int) -> _Inode:
        if not 1 <= number <= self._inodes_count:
            raise Unreadable(f"there is no inode {number}")
        group, index = divmod(number - 1, self._per_group)
        place = BLOCK + group * self._group_size  # descriptors follow the superblock's block
        table = int.from_bytes(self._slice(place + 8, 4), "little")
        block, offset = divmod(index * self._inode_size, BLOCK)
        key = (offset, self._disk.id_of(self._checked(table + block)))
        return self._remember(
            self._inodes, key, lambda: _parse(self._block(table + block), offset, self._inode_size)
        )

    def _slice(self, place: int, length: int) -> bytes:
        block, offset = divmod(place, BLOCK)
        return self._block(block)[offset : offset + length]

    def _entries(self, block: int) -> tuple[tuple[str, int], ...]:
        key = self._disk.id_of(block)
        return self._remember(self._names, key, lambda: tuple(_entries(self._block(block))))

    def _map(self, inode: _Inode) -> list[int | None]:
        """The disk's block for each block of the file's size."""
        count = -(-inode.size // BLOCK)
        if count > self._count:
            raise Unreadable(f"a file of {inode.size} bytes is larger than the disk")
        if inode.flags & _INLINE:
            raise Unreadable("data inside of an inode is not read")
        found: list[int | None] = [None] * count
        if inode.flags & _EXTENTS:
            self._extents(inode.pointers, found, 0)
        else:
            self._indirect(inode.pointers, found)
        return found

    def _indirect(self, pointers: bytes, found: list[int | None]) -> None:
        direct = struct.unpack("<15I", pointers)
        for index, block in enumerate(direct[:12]):
            if index < len(found) and block:
                found[index] = self._checked(block)
        position = 12
        for level, block in enumerate(direct[12:], start=1):
            if position >= len(found):
                return
            if block:
                self._level(block, level, position, found)
            position += 1024**level

    def _level(self, block: int, level: int, position: int, found: list[int | None]) -> None:
        key = self._disk.id_of(self._checked(block))
        numbers = self._remember(
            self._pointers, key, lambda: struct.unpack("<1024I", self._block(block))
        )
        for index, below in enumerate(numbers):
            here = position + index * 1024 ** (level - 1)
            if here >= len(found):
                return
            if below and level == 1:
                found[here] = self._checked(below)
            elif below:
                self._level(below, level - 1, here, found)

    def _extents(self, node: bytes, found: list[int | None], depth: int) -> None:
        magic, entries, _, levels = struct.unpack_from("<HHHH", node)
        if magic != _EXTENT_MAGIC or depth > 5:
            raise Unreadable("an extent tree is damaged")
        for index in range(entries):
            logical, second, third = struct.unpack_from("<III", node, 12 + 12 * index)
            if levels:
                self._extents(self._block(second), found, depth + 1)
                continue
            length = second & 0xFFFF
            if length > _MAX_EXTENT:
                continue
            for step in range(length):
                if logical + step < len(found):
                    found[logical + step] = self._checked(third + step)

    def _checked(self, block: int) -> int:
        if not 0 < block < self._count:
            raise Unreadable(f"there is no block {block}")
        return block

    def _block(self, number: int) -> bytes:
        return self._disk.block(self._checked(number) if number else 0)

    def _remember(self, memory: dict[K, T], key: K, make: Callable[[], T]) -> T:
        found = memory.get(key)
        if found is None:
            if len(memory) >= _REMEMBERED:
                memory.clear()
            found = memory[key] = make()
        return found


def _parse(block: bytes, offset: int, length: int) -> _Inode:
    mode, uid, size = struct.unpack_from("<HHI", block, offset)
    gid, links, sectors, flags = struct.unpack_from("<HHII", block, offset + 24)
    high = int.from_bytes(block[offset + 108 : offset + 112], "little")
    uid_high, gid_high = struct.unpack_from("<HH", block, offset + 120)
    kind = _KINDS.get(mode >> 12, "bad type")
    return _Inode(
        kind,
        mode & 0o7777,
        uid | uid_high << 16,
        gid | gid_high << 16,
        links,
        size | (high << 32 if kind == "regular" else 0),
        sectors,
        flags,
        block[offset + 40 : offset + 100],
        int.from_bytes(block[offset + 16 : offset + 20], "little"),
        int.from_bytes(block[offset + 104 : offset + 108], "little"),
        int.from_bytes(block[offset + 36 : offset + 40], "little"),
        in_inode(block[offset : offset + length]),
    )


def _entries(block: bytes) -> Iterator[tuple[str, int]]:
    """The names in a directory's block.  A node of an index looks like one without names."""
    position = 0
    while position + 8 <= BLOCK:
        inode, length, name_length = struct.unpack_from("<IHB", block, position)
        if length < 8 or length % 4 or position + length > BLOCK or name_length + 8 > length:
            raise Unreadable("a directory's block is damaged")
        if inode and name_length:
            raw = block[position + 8 : position + 8 + name_length]
            yield raw.decode(errors="surrogateescape"), inode
        position += length
