"""The write log: what the crashed disk saw, in the order of completion.

The format is that of Linux' dm-log-writes (drivers/md/dm-log-writes.c) as QEMU's filter
`blklogwrites` writes it (block/blklogwrites.c).  All numbers are little-endian.  The log's first
sector holds the superblock: u64 magic, u64 version, u64 entries, u32 sector size.  Then come the
entries, each one sector of header (u64 sector, u64 sectors, u64 flags, u64 length of a mark's text)
followed by the data, which a discard does not have.

What QEMU does differently: it logs no marks and no FUA (a FUA write is a write and then a flush);
the superblock is written on a flush, so a kill before the first one leaves it empty; entries are
reserved first and written concurrently, so a kill may leave holes.  The reader therefore walks the
entries and trusts only what it can check.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import InfraError

MAGIC = 0x6A736677736872
SUPERBLOCK = struct.Struct("<QQQI")
HEADER = struct.Struct("<QQQQ")
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
_KNOWN = FLUSH | FUA | DISCARD | MARK
_DEFAULT_SECTOR = 512
_MAX_SECTOR = 16 << 20  # QEMU refuses larger ones
_GUESSES = (512, 4096)
# s.  An entry takes QEMU well below a millisecond, unless the host's disk stalls: a count that gave
# up too early would call an operation acknowledged before all that it wrote.
_PATIENCE = 5.0
_POLL = 0.002  # s
_ANY_SIZE = 1 << 62  # bytes; the bound where the disk's size is not known


@dataclass(frozen=True)
class Entry:
    """One entry: a write, a flush, a discard or a mark.

    `sector` and `nr_sectors` count sectors of the log.  `length` is in bytes of the disk;
    `data_offset` is where a write's data begins in the log, in bytes.
    """

    index: int
    sector: int
    nr_sectors: int
    flags: int
    data_offset: int
    length: int

    @property
    def is_flush(self) -> bool:
        return bool(self.flags & FLUSH)

    @property
    def is_discard(self) -> bool:
        return bool(self.flags & DISCARD)

    @property
    def is_write(self) -> bool:
        """Whether the entry brings data.  One of the kernel's own logs may be a flush as well."""
        return self.length > 0 and not self.flags & (DISCARD | MARK)


@dataclass(frozen=True)
class WriteLog:
    """A log as it was found; immutable, the data stays in the file.

    `superblock` says whether there was a valid one; `torn_bytes` is what follows the last whole
    entry: a tail that the kill cut short, a hole and what lies behind it, or garbage.
    """

    path: Path
    sector_size: int
    entries: tuple[Entry, ...]
    superblock: bool
    torn_bytes: int

    @classmethod
    def read(cls, path: Path, disk_bytes: int) -> WriteLog:
        """Read the log of a disk of `disk_bytes` bytes.

        Whatever the file holds, the whole entries before the first fault are returned.
        Raises `InfraError` only when the file can't be read at all.
        """
        try:
            with path.open("rb") as file:
                fd = file.fileno()
                size = os.fstat(fd).st_size
                known = _superblock_sector(fd)
                sector = known or _guess_sector(fd, size, disk_bytes)
                walk = _Walk(sector, disk_bytes)
                entries = tuple(walk.advance(fd, size))
        except OSError as exc:
            raise InfraError(
                f"the write log {path} can't be read: {exc.strerror}",
                hint="was the disk attached with blklogwrites, and did QEMU start?",
            ) from exc
        return cls(path, sector, entries, known is not None, max(0, size - walk.position))

    def data(self, entry: Entry) -> bytes:
        """The bytes that a write brought."""
        if not entry.is_write:
            return b""
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), entry.length, entry.data_offset)

    @cached_property
    def writes(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.is_write)

    @cached_property
    def flushes(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.is_flush)

    @cached_property
    def discards(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.is_discard)

    @cached_property
    def bytes_written(self) -> int:
        return sum(entry.length for entry in self.writes)

    @cached_property
    def settled(self) -> int:
        """How many entries there are up to and including the last flush."""
        return self.flushes[-1].index + 1 if self.flushes else 0

    @cached_property
    def in_flight(self) -> tuple[Entry, ...]:
        """The writes after the last flush: those that a power cut may lose."""
        return tuple(entry for entry in self.writes if entry.index >= self.settled)


def pack_log(log: WriteLog, entries: Sequence[Entry]) -> bytes:
    """Some entries of a log, as a log of their own."""
    parts = [_superblock(len(entries), log.sector_size)]
    for entry in entries:
        parts.append(_header(entry.sector, entry.nr_sectors, entry.flags, log.sector_size))
        parts.append(log.data(entry))
    return b"".join(parts)


def pack(items: Sequence[tuple[int, bytes, int]], sector_size: int) -> bytes:
    """A log of writes and flushes: byte on the disk, data, flags."""
    parts = [_superblock(len(items), sector_size)]
    for start, data, flags in items:
        sector, count = start // sector_size, len(data) // sector_size
        parts += [_header(sector, count, flags, sector_size), data]
    return b"".join(parts)


def _superblock(entries: int, sector_size: int) -> bytes:
    return SUPERBLOCK.pack(MAGIC, 1, entries, sector_size).ljust(sector_size, b"\0")


def _header(sector: int, count: int, flags: int, sector_size: int) -> bytes:
    return HEADER.pack(sector, count, flags & ~MARK, 0).ljust(sector_size, b"\0")


class LogFollower:
    """Reads a log while QEMU still writes it.

    Each look continues where the last one stopped, so it costs little however long the log is.
    QEMU writes entries concurrently, so one that is whole may lie behind one that is not.  `count`
    waits for those that are on their way, at most `patience` seconds: an operation that returned
    has all its writes in the log, and they must be counted even if another's is late.
    """

    def __init__(
        self, path: Path, disk_bytes: int = _ANY_SIZE, *, patience: float = _PATIENCE
    ) -> None:
        self.path = path
        self._patience = patience
        self._disk_bytes = disk_bytes
        self._walk: _Walk | None = None
        self._entries: list[Entry] = []
        self._writes = 0

    def count(self) -> int:
        """How many whole entries the log has now, once all that it had at the call are whole."""
        size = self._look()
        deadline = Deadline.after(self._patience)
        while self._end < size and not deadline.expired:
            time.sleep(_POLL)
            self._look()
        return len(self._entries)

    @property
    def _end(self) -> int:
        """Where the last whole entry ends, in bytes."""
        return self._walk.position if self._walk else _DEFAULT_SECTOR

    def writes(self) -> int:
        """How many of them are writes."""
        self._look()
        return self._writes

    def entries(self, since: int = 0) -> tuple[Entry, ...]:
        """The whole entries from number `since` on."""
        self._look()
        return tuple(self._entries[since:])

    def _look(self) -> int:
        """Take in the entries that are whole by now; the log's size in bytes."""
        try:
            with self.path.open("rb") as file:
                fd = file.fileno()
                size = os.fstat(fd).st_size
                if self._walk is None:
                    # QEMU has not flushed yet, so there is no superblock; the sector size shows in
                    # where the first entry is.
                    sector = _superblock_sector(fd) or _guess_sector(fd, size, self._disk_bytes)
                    walk = _Walk(sector, self._disk_bytes)
                else:
                    walk = self._walk
                for entry in walk.advance(fd, size):
                    self._entries.append(entry)
                    self._writes += entry.is_write
        except FileNotFoundError:
            return 0  # QEMU creates it in a moment
        except OSError as exc:
            raise InfraError(f"the write log {self.path} can't be read: {exc.strerror}") from exc
        if self._entries:
            self._walk = walk
        return size


def count_entries(path: Path, disk_bytes: int = _ANY_SIZE) -> int:
    """How many whole entries the log at `path` has; 0 when there is no such file yet."""
    return LogFollower(path, disk_bytes, patience=0.0).count()


class _Walk:
    """A position in a log that moves over whole, plausible entries."""

    def __init__(self, sector_size: int, disk_bytes: int) -> None:
        self._sector_size = sector_size
        self._disk_sectors = disk_bytes // sector_size
        self._index = 0
        self.position = sector_size  # behind the superblock's sector

    def advance(self, fd: int, size: int) -> Iterator[Entry]:
        """The entries from here to the first that is not whole; stays before that one."""
        unit = self._sector_size
        while self.position + unit <= size:
            sector, count, flags, text = HEADER.unpack(os.pread(fd, HEADER.size, self.position))
            if not self._plausible(sector, count, flags, text):
                return
            data = self.position + unit
            after = data if flags & DISCARD else data + count * unit
            if after > size:
                return
            yield Entry(self._index, sector, count, flags, data, count * unit)
            self._index += 1
            self.position = after

    def _plausible(self, sector: int, count: int, flags: int, text: int) -> bool:
        if flags & ~_KNOWN or sector + count > self._disk_sectors:
            return False
        if flags & MARK:
            return count == 0 and text <= self._sector_size - HEADER.size
        if text:
            return False
        # A write of nothing is never logged: an all-zero header is a hole or the log's end.
        return count > 0 or bool(flags & FLUSH)


def _superblock_sector(fd: int) -> int | None:
    """The sector size from a valid superblock, else None."""
    raw = os.pread(fd, SUPERBLOCK.size, 0)
    if len(raw) < SUPERBLOCK.size:
        return None
    magic, version, _, sector = SUPERBLOCK.unpack(raw)
    sane = _DEFAULT_SECTOR <= sector < _MAX_SECTOR and not sector & (sector - 1)
    return sector if magic == MAGIC and version == 1 and sane else None


def _guess_sector(fd: int, size: int, disk_bytes: int) -> int:
    """The sector size of a log without superblock: the one at which an entry is found."""
    for sector in _GUESSES:
        if next(_Walk(sector, disk_bytes).advance(fd, size), None) is not None:
            return sector
    return _DEFAULT_SECTOR
