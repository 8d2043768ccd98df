"""A fresh file system as the pieces of it that mke2fs wrote, to be laid over a disk that was used.

Only what says "in use" is laid: superblocks, descriptors, bitmaps, inode tables, the directories.
Free blocks, and the journal behind its superblock, keep what they have, so a list that runs on the
new file system finds old bytes where a journal that is wrong would show them.  What the journal's
blocks hold of earlier transactions must not be taken for new: `sequence_at` is where the number of
the first transaction stands, to be set above all that were used.

Offsets: `struct ext2_super_block`, `ext2_group_desc` (e2fsprogs lib/ext2fs/ext2_fs.h).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from harness.disk.ext2 import BLOCK
from harness.disk.jbd2 import JournalMap

_SUPER = 1024
_INCOMPAT_64BIT = 0x80
_BLOCK_UNINIT = 0x2
_SEQUENCE = 0x18  # of the journal's superblock


def pieces(image: Path, journal: JournalMap | None) -> bytes:
    """The file of pieces of a fresh image, as the agent's `lay` reads it.

    The whole image is one file system with blocks of 4096 bytes; it may be followed by other bytes
    that belong to no file system.
    """
    data = image.read_bytes()
    wanted = set(in_use(data))
    if journal is not None:
        wanted -= journal.disk_blocks - {journal.disk_block(0)}
    runs = list(_runs(data, sorted(wanted)))
    lines = [f"hurdle-pieces 1 {len(runs)}"]
    lines += [f"{first * BLOCK} {count * BLOCK} {kind}" for first, count, kind in runs]
    body = [
        data[first * BLOCK : (first + count) * BLOCK]
        for first, count, kind in runs
        if kind == "data"
    ]
    return ("\n".join(lines) + "\n").encode() + b"".join(body)


def sequence_at(journal: JournalMap) -> int:
    """Where the journal's first transaction number is on the disk, in bytes; it is big-endian."""
    return journal.disk_block(0) * BLOCK + _SEQUENCE


def in_use(data: bytes) -> Iterator[int]:
    """The blocks of an image that its bitmaps have in use, and those that are not zero."""
    (blocks,) = struct.unpack_from("<I", data, _SUPER + 4)
    (per_group,) = struct.unpack_from("<I", data, _SUPER + 32)
    (incompat,) = struct.unpack_from("<I", data, _SUPER + 96)
    (wide,) = struct.unpack_from("<H", data, _SUPER + 254)
    size = wide if incompat & _INCOMPAT_64BIT else 32
    zero = bytes(BLOCK)
    for group, first in enumerate(range(0, blocks, per_group)):
        at = BLOCK + group * size
        (bitmap,) = struct.unpack_from("<I", data, at)
        (flags,) = struct.unpack_from("<H", data, at + 0x12)
        count = min(per_group, blocks - first)
        bits = zero if flags & _BLOCK_UNINIT else data[bitmap * BLOCK : (bitmap + 1) * BLOCK]
        for bit in range(count):
            block = first + bit
            if bits[bit >> 3] >> (bit & 7) & 1 or data[block * BLOCK : (block + 1) * BLOCK] != zero:
                yield block


def _runs(data: bytes, blocks: list[int]) -> Iterator[tuple[int, int, str]]:
    """Blocks that follow each other and are of one kind: first, count, `data` or `zero`."""
    zero = bytes(BLOCK)

    def kind(block: int) -> str:
        return "zero" if data[block * BLOCK : (block + 1) * BLOCK] == zero else "data"

    numbered = [(block, kind(block)) for block in blocks]
    for _, group in groupby(enumerate(numbered), lambda item: (item[1][0] - item[0], item[1][1])):
        members = [each for _, each in group]
        yield members[0][0], len(members), members[0][1]
