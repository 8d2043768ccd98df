"""Extended attributes and translator records of an inode, from its bytes.  Pure.

Structures: `ext2_ext_attr_header` and `ext2_ext_attr_entry` (e2fsprogs lib/ext2fs/ext2_ext_attr.h).
A translator of the Hurd is either an attribute `gnu.translator`, or a block of its own: two bytes
of length, then the record (Hurd ext2fs/inode.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

Records = tuple[tuple[str, bytes], ...]

TRANSLATOR = "gnu.translator"
_MAGIC = 0xEA020000
_HEADER = 32  # bytes of an attribute block before its first entry
_INLINE_HEADER = 4  # of attributes in an inode: the magic number alone
_ENTRY = struct.Struct("<BBHIII")  # name's length and kind, value's place, inode, size, hash
_PREFIXES = {
    1: "user.",
    2: "system.posix_acl_access",
    3: "system.posix_acl_default",
    4: "trusted.",
    6: "security.",
    7: "system.",
    10: "gnu.",
}


def in_block(block: bytes) -> Records:
    """The attributes in a block of them.  Raises `ValueError` where it is none."""
    if int.from_bytes(block[:4], "little") != _MAGIC:
        raise ValueError("a block of attributes has no magic number")
    return tuple(_entries(block, _HEADER, 0))


def in_inode(raw: bytes) -> Records:
    """The attributes behind the fields of a large inode, `raw` being all of it."""
    if len(raw) <= 128 + _INLINE_HEADER:
        return ()
    begin = 128 + int.from_bytes(raw[128:130], "little")
    if int.from_bytes(raw[begin : begin + 4], "little") != _MAGIC:
        return ()
    first = begin + _INLINE_HEADER
    return tuple(_entries(raw, first, first))


def in_translator_block(block: bytes) -> Records:
    """A passive translator's record in a block of its own."""
    length = int.from_bytes(block[:2], "little")
    if length > len(block) - 2:
        raise ValueError("a translator's record is longer than its block")
    return ((TRANSLATOR, block[2 : 2 + length]),)


def _entries(raw: bytes, position: int, base: int) -> Iterator[tuple[str, bytes]]:
    """Entries from `position` on; the values' places count from `base`."""
    while raw[position : position + 4] not in (bytes(4), b""):
        length, kind, place, inode, size, _ = _ENTRY.unpack_from(raw, position)
        begin = position + _ENTRY.size
        value = raw[base + place : base + place + size]
        if inode or begin + length > len(raw) or len(value) != size:
            raise ValueError("an attribute leads outside of its block")
        name = raw[begin : begin + length].decode(errors="surrogateescape")
        yield _PREFIXES.get(kind, f"{kind}.") + name, value
        position = begin + -(-length // 4) * 4
