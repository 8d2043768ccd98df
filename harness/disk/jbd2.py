"""The journal in an image: where it is, whether it has data, which writes were commits.

The format is JBD2's; its numbers are big-endian (Linux include/linux/jbd2.h, e2fsprogs
lib/ext2fs/kernel-jbd.h).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.crash.writelog import Entry, WriteLog
from harness.disk import ext2
from harness.disk.copy import host_errors
from harness.errors import InfraError

MAGIC = 0xC03B3998
DESCRIPTOR, COMMIT, SUPERBLOCK_V1, SUPERBLOCK_V2, REVOKE = 1, 2, 3, 4, 5
_HEADER = struct.Struct(">III")
_JOURNAL_INODE = 8


@dataclass(frozen=True)
class JournalMap:
    """Where the journal's blocks are.

    `runs` are (first block in the journal, first block on the disk, number of blocks);
    `block_size` is in bytes.
    """

    block_size: int
    runs: tuple[tuple[int, int, int], ...]

    @cached_property
    def disk_blocks(self) -> frozenset[int]:
        return frozenset(
            block for _, first, count in self.runs for block in range(first, first + count)
        )

    def disk_block(self, log_block: int) -> int:
        """Where a block of the journal is on the disk; `ValueError` when it has no such block."""
        for logical, first, count in self.runs:
            if logical <= log_block < logical + count:
                return first + log_block - logical
        raise ValueError(f"the journal has no block {log_block}")

    @property
    def length(self) -> int:
        """Blocks."""
        return sum(count for *_, count in self.runs)

    @property
    def superblock_offset(self) -> int | None:
        """Where the journal's superblock is in the image, in bytes."""
        try:
            return self.disk_block(0) * self.block_size
        except ValueError:  # the journal's inode is damaged
            return None


@dataclass(frozen=True)
class JournalSuperblock:
    """The journal's own superblock; `valid` says that magic and type are right."""

    valid: bool
    start: int = 0  #: log block of the first live transaction; 0: the log is empty
    sequence: int = 0  #: first transaction that recovery expects
    max_len: int = 0  #: blocks
    first: int = 0  #: first log block of transactions
    errno: int = 0
    compat: int = 0
    incompat: int = 0

    @property
    def has_data(self) -> bool:
        return self.valid and self.start != 0


def journal_map(image: Path) -> JournalMap:
    """Where the journal of an image is.

    Raises `InfraError` when it has none: ask `Superblock.has_journal` first.
    """
    superblock = ext2.superblock(image)
    runs = tuple(ext2.block_map(image, superblock.journal_inode or _JOURNAL_INODE))
    if not superblock.has_journal or not runs:
        raise InfraError(f"{image} has no journal", hint=f"its superblock says: {superblock.flags}")
    return JournalMap(superblock.block_size, runs)


def parse_superblock(raw: bytes) -> JournalSuperblock:
    """The journal's superblock from its first bytes (at least 0x30)."""
    if len(raw) < 0x30:
        return JournalSuperblock(valid=False)
    magic, kind, _ = _HEADER.unpack_from(raw)
    if magic != MAGIC or kind not in (SUPERBLOCK_V1, SUPERBLOCK_V2):
        return JournalSuperblock(valid=False)
    max_len, first, sequence, start, errno = struct.unpack_from(">IIIIi", raw, 0x10)
    compat, incompat = struct.unpack_from(">II", raw, 0x24) if kind == SUPERBLOCK_V2 else (0, 0)
    return JournalSuperblock(True, start, sequence, max_len, first, errno, compat, incompat)


def journal_superblock(image: Path, journal: JournalMap) -> JournalSuperblock:
    """The journal's superblock in an image; not valid when it is not there."""
    offset = journal.superblock_offset
    if offset is None:
        return JournalSuperblock(valid=False)
    with host_errors(image), image.open("rb") as file:
        return parse_superblock(os.pread(file.fileno(), 1024, offset))


def log_has_data(image: Path, journal: JournalMap | None = None) -> bool:
    """Whether the log holds something to replay (s_start is not 0)."""
    if not ext2.superblock(image).has_journal:
        return False
    return journal_superblock(image, journal or journal_map(image)).has_data


def commit_begun_since(
    log: Path, entries: Sequence[Entry], since: int, journal: JournalMap
) -> bool:
    """Whether a transaction committed whose commit was begun at log entry `since` or later.

    `entries` are all of the log (its path is `log`).  A transaction that already had a block in the
    journal by then was closed by then, so it can't hold what was done last; its commit block does
    not count.
    """
    tids = {tid for entry in entries[since:] for tid in _tids(log, entry, journal, COMMIT)}
    if not tids:
        return False
    return not tids <= {
        tid for entry in entries[:since] for tid in _tids(log, entry, journal, DESCRIPTOR, REVOKE)
    }


def commits_in(log: WriteLog, journal: JournalMap) -> tuple[tuple[int, int], ...]:
    """The commit blocks in a write log, as (index of the entry, transaction)."""
    return tuple(
        (entry.index, tid)
        for entry in log.writes
        for tid in _tids(log.path, entry, journal, COMMIT)
    )


def joined_commits(log: WriteLog, journal: JournalMap) -> frozenset[int]:
    """The entries that have a commit block behind other blocks of the journal.

    No flush can be between the blocks of one write.
    """
    found = set()
    for index, _ in commits_in(log, journal):
        entry = log.entries[index]
        begin, size = entry.sector * log.sector_size, journal.block_size
        blocks = range(-(-begin // size), (begin + entry.length) // size)
        first = next(block for block in blocks if block in journal.disk_blocks)
        kind = _HEADER.unpack_from(log.data(entry), first * size - begin)[:2]
        if kind != (MAGIC, COMMIT):
            found.add(index)
    return frozenset(found)


def _tids(log: Path, entry: Entry, journal: JournalMap, *kinds: int) -> list[int]:
    """The sequence numbers of the journal blocks of these kinds that an entry wrote.

    A data block in the journal can't be mistaken for one: JBD2 escapes those that begin with the
    magic number.
    """
    if not entry.is_write:
        return []
    sector_size = entry.length // entry.nr_sectors
    begin = entry.sector * sector_size
    size = journal.block_size
    first, last = -(-begin // size), (begin + entry.length) // size
    blocks = [block for block in range(first, last) if block in journal.disk_blocks]
    if not blocks:
        return []
    found = []
    with log.open("rb") as file:
        for block in blocks:
            raw = os.pread(file.fileno(), _HEADER.size, entry.data_offset + block * size - begin)
            if len(raw) == _HEADER.size:
                magic, this, tid = _HEADER.unpack(raw)
                if magic == MAGIC and this in kinds:
                    found.append(tid)
    return found
