"""Phases of a commit, as a write log shows them: pure but for reading the log.

A transaction's blocks go into the journal behind a descriptor (*log*); a flush makes them safe
(*flushed*); then comes the commit block (*commit*) and another flush (*safe*).  Later its blocks
are written home (*checkpoint*).  Descriptors and tags are JBD2's (Linux include/linux/jbd2.h).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from harness.crash.writelog import Entry
from harness.disk.jbd2 import COMMIT, DESCRIPTOR, MAGIC, REVOKE, JournalMap, parse_superblock

_HEADER = struct.Struct(">III")
_64BIT, _CSUM_V2, _CSUM_V3 = 0x2, 0x8, 0x10
_SAME_UUID, _LAST = 0x2, 0x8
_UUID = 16  # bytes


class Phase(StrEnum):
    """What the last entry of a log began."""

    LOG = "log"
    FLUSHED = "flushed"
    COMMIT = "commit"
    SAFE = "safe"
    CHECKPOINT = "checkpoint"


class PhaseReader:
    """Goes through a log, entry by entry.  `path` is the log; it may still be written."""

    def __init__(self, path: Path, journal: JournalMap, incompat: int = 0) -> None:
        """`incompat` are the journal's features; the log's own superblock writes are heeded."""
        self.phase: Phase | None = None
        self._path = path
        self._journal = journal
        self._incompat = incompat
        self._open: set[int] = set()  # home blocks of the transaction that is being written
        self._committed: set[int] = set()  # home blocks of those whose commit is safe
        self._waiting: set[int] = set()  # of the one whose commit block waits for its flush
        self._revoked: set[int] = set()  # freed since: what is written there is somebody else's

    def take(self, entries: Iterable[Entry]) -> Phase | None:
        """The phase that the last of some entries began; None if it went on as before."""
        began = None
        with self._path.open("rb") as file:
            for entry in entries:
                found = self._flush() if entry.is_flush else None
                if entry.is_write:
                    found = self._write(file.fileno(), entry)
                began = found if found is not None and found is not self.phase else None
                self.phase = found or self.phase
        return began

    def _flush(self) -> Phase | None:
        if self.phase is Phase.LOG:
            return Phase.FLUSHED
        if self.phase is Phase.COMMIT:
            self._committed = (self._committed - self._revoked) | self._waiting
            self._waiting, self._revoked = set(), set()
            return Phase.SAFE
        return None

    def _write(self, fd: int, entry: Entry) -> Phase | None:
        size = self._journal.block_size
        begin = entry.sector * (entry.length // entry.nr_sectors)
        found: Phase | None = None
        for block in range(begin // size, -(-(begin + entry.length) // size)):
            offset = block * size - begin
            if block in self._journal.disk_blocks and offset >= 0:
                raw = os.pread(fd, min(size, entry.length - offset), entry.data_offset + offset)
                found = self._log_block(raw) or found
            elif block in self._committed:
                # Logged again, it may be written home before that commit: not told apart here.
                found = Phase.CHECKPOINT
        return found

    def _log_block(self, raw: bytes) -> Phase | None:
        if len(raw) < _HEADER.size:
            return None
        magic, kind, _ = _HEADER.unpack_from(raw)
        if magic != MAGIC:
            return Phase.LOG if self._open else None
        if kind == DESCRIPTOR:
            self._open |= set(tagged(raw, self._incompat))
            return Phase.LOG
        if kind == REVOKE:
            self._revoked |= set(revoked(raw, self._incompat))
            return Phase.LOG
        if kind == COMMIT:
            self._waiting |= self._open
            self._open = set()
            return Phase.COMMIT
        superblock = parse_superblock(raw[:1024])
        if superblock.valid:
            self._incompat = superblock.incompat
        return None


def tagged(raw: bytes, incompat: int) -> Iterator[int]:
    """The home blocks that a descriptor names."""
    wide = bool(incompat & _64BIT)
    plain = 8 + (2 if incompat & _CSUM_V2 else 0) + (4 if wide else 0)
    step = 16 if incompat & _CSUM_V3 else plain
    position = _HEADER.size
    while position + step <= len(raw):
        low, second = struct.unpack_from(">II", raw, position)
        flags = second if incompat & _CSUM_V3 else second & 0xFFFF
        high = int.from_bytes(raw[position + 8 : position + 12], "big") if wide else 0
        yield low | high << 32
        if flags & _LAST:
            return
        position += step + (0 if flags & _SAME_UUID else _UUID)


def revoked(raw: bytes, incompat: int) -> Iterator[int]:
    """The home blocks that a revoke block names.  Its count is of bytes, the header included."""
    begin = _HEADER.size + 4
    (end,) = struct.unpack_from(">I", raw, _HEADER.size)
    entry = struct.Struct(">Q" if incompat & _64BIT else ">I")
    for position in range(begin, min(end, len(raw)) - entry.size + 1, entry.size):
        yield entry.unpack_from(raw, position)[0]
