"""A disk in memory that goes from one crash state to the next by touching only what differs.

The content is known by one number, the XOR of a hash of each block with its place, which is kept up
to date block by block: two states have the same number if, and (but for a chance of 2**-128) only
if, they have the same bytes.  The content is held twice where a recoverer works on it: in private
memory, and in the file that it writes to.  What it wrote is found by comparing the two where the
file has data, and undone by copying back.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.crash.plan import Cut
from harness.crash.writelog import WriteLog
from harness.disk.copy import data_ranges, host_errors

BLOCK = 4096  #: bytes; the grain of hashes and comparisons
_STRETCH = 16 * BLOCK  # bytes compared at a time before single blocks are looked at
_LIBC = ctypes.CDLL(None)
_LIBC.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def block_id(data: bytes) -> int:
    """The name of a block's content, wherever it is."""
    return int.from_bytes(blake2b(data, digest_size=16).digest(), "little")


ZERO_ID = block_id(bytes(BLOCK))


def _placed(block: int, content: int) -> int:
    """A content at its place; all zeros count nothing, so that a disk of holes is 0."""
    if content == ZERO_ID:
        return 0
    raw = content.to_bytes(16, "little") + block.to_bytes(8, "little")
    return int.from_bytes(blake2b(raw, digest_size=16).digest(), "little")


@dataclass(frozen=True)
class _Piece:
    """What a log entry does to one block: the bytes [low, high) of it, from `source` in the log.

    `source` is None for a discard.
    """

    entry: int
    low: int
    high: int
    source: int | None
    offset: int  #: of the piece in the entry's data


class LoggedDisk:
    """The contents that a base image and a write log can make, by block.

    Base and log are mapped read-only and may be shared by any number of disks.
    """

    def __init__(self, base: Path, log: WriteLog) -> None:
        self.size = base.stat().st_size
        self.log = log
        self._open = ExitStack()
        self._base = self._map(base)
        self._log = self._map(log.path)
        self.data_ranges = _block_ranges(base)
        self._pieces: dict[int, list[_Piece]] = {}
        self._blocks_of: dict[int, tuple[int, ...]] = {}
        for entry in log.entries:
            self._take(entry.index)

    def close(self) -> None:
        self._open.close()

    def _map(self, path: Path) -> mmap.mmap | bytes:
        with host_errors(path), path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return b""
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self._open.callback(mapped.close)
        return mapped

    def _take(self, index: int) -> None:
        entry = self.log.entries[index]
        if not (entry.is_write or entry.is_discard):
            return
        begin = entry.sector * self.log.sector_size
        end = begin + entry.length
        blocks = range(begin // BLOCK, -(-end // BLOCK))
        self._blocks_of[index] = tuple(blocks)
        for block in blocks:
            start = block * BLOCK
            low, high = max(begin, start), min(end, start + BLOCK)
            source = None if entry.is_discard else entry.data_offset + low - begin
            piece = _Piece(index, low - start, high - start, source, low - begin)
            self._pieces.setdefault(block, []).append(piece)

    def blocks_of(self, entry: int) -> tuple[int, ...]:
        """The blocks that an entry changes."""
        return self._blocks_of.get(entry, ())

    def base_block(self, block: int) -> bytes:
        return self._base[block * BLOCK : (block + 1) * BLOCK]

    def content(self, block: int, cut: Cut) -> bytes:
        """What a block holds in a state."""
        pieces = [
            piece
            for piece in self._pieces.get(block, ())
            if piece.entry < cut.upto and piece.entry not in cut.missing
        ]
        torn = cut.torn
        whole = -1  # the last piece that covers the block by itself hides all before it
        for index, piece in enumerate(pieces):
            if piece.high - piece.low == BLOCK and (torn is None or torn[0] != piece.entry):
                whole = index
        if whole == len(pieces) - 1 and whole >= 0:
            return self._bytes(pieces[whole], 0, BLOCK)
        data = bytearray(
            self._bytes(pieces[whole], 0, BLOCK) if whole >= 0 else self.base_block(block)
        )
        for piece in pieces[whole + 1 :]:
            low, high = 0, piece.high - piece.low
            if torn is not None and torn[0] == piece.entry:
                low, high = max(low, torn[1] - piece.offset), min(high, torn[2] - piece.offset)
            if low < high:
                data[piece.low + low : piece.low + high] = self._bytes(piece, low, high)
        return bytes(data)

    def _bytes(self, piece: _Piece, low: int, high: int) -> bytes:
        if piece.source is None:  # what a disk returns for discarded sectors is its own affair
            return bytes(high - low)
        return self._log[piece.source + low : piece.source + high]


class StateHasher:
    """Goes through states and knows each one's content by number; holds no bytes but the base's."""

    def __init__(self, disk: LoggedDisk) -> None:
        self._disk = disk
        self._ids: dict[int, int] = {}
        self._cut: Cut | None = None
        self.number = 0
        for begin, end in disk.data_ranges:
            for block in range(begin // BLOCK, end // BLOCK):
                self._set(block, disk.base_block(block))

    def go(self, cut: Cut) -> list[tuple[int, bytes]]:
        """Move to a state; the blocks that changed, with their new bytes."""
        changed = []
        for block in sorted(touched(self._disk, self._cut, cut)):
            data = self._disk.content(block, cut)
            if self._set(block, data):
                changed.append((block, data))
        self._cut = cut
        return changed

    def id_of(self, block: int) -> int:
        """The content of a block now."""
        return self._ids.get(block, ZERO_ID)

    def _set(self, block: int, data: bytes) -> bool:
        old, new = self._ids.get(block, ZERO_ID), block_id(data)
        if old == new:
            return False
        self._ids[block] = new
        self.number ^= _placed(block, old) ^ _placed(block, new)
        return True


def touched(disk: LoggedDisk, old: Cut | None, new: Cut) -> set[int]:
    """The blocks in which two states may differ; `old` None is the base image."""
    low, high = sorted((old.upto if old else 0, new.upto))
    entries = set(range(low, high))
    before = old.missing if old else frozenset()
    entries |= before ^ new.missing
    for cut in (old, new):
        if cut is not None and cut.torn is not None:
            entries.add(cut.torn[0])
    return {block for entry in entries for block in disk.blocks_of(entry)}


class WorkingDisk:
    """A state in a file that recovery may write to, and the way back; a context manager."""

    def __init__(self, disk: LoggedDisk, image: Path) -> None:
        self.image = image
        self.hasher = StateHasher(disk)
        self._disk = disk
        self._open = ExitStack()
        self._recovered: dict[int, int] = {}

    def __enter__(self) -> Self:
        with host_errors(self.image):
            self._fd = os.open(self.image, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            self._open.callback(os.close, self._fd)
            self._open.callback(self.image.unlink, missing_ok=True)
            os.ftruncate(self._fd, self._disk.size)
            self._file = self._open.enter_context(mmap.mmap(self._fd, self._disk.size))
            self._own = self._open.enter_context(mmap.mmap(-1, self._disk.size))
        for begin, end in self._disk.data_ranges:
            for block in range(begin // BLOCK, end // BLOCK):
                self._put(block, self._disk.base_block(block))
        self._addresses = tuple(
            ctypes.addressof(ctypes.c_char.from_buffer(mapped))
            for mapped in (self._own, self._file)
        )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def go(self, cut: Cut) -> int:
        """Make the file hold a state; its number.  What recovery did is undone first."""
        self.undo()
        for block, data in self.hasher.go(cut):
            self._put(block, data)
        return self.hasher.number

    def undo(self) -> None:
        """Take back what was found to be written by recovery."""
        for block in self._recovered:
            begin = block * BLOCK
            self._file[begin : begin + BLOCK] = self._own[begin : begin + BLOCK]
        self._recovered = {}

    def look(self) -> dict[int, int]:
        """Find what recovery wrote into the file: new content by block."""
        self._recovered = {block: block_id(self.block(block)) for block in self._differing()}
        return self._recovered

    def block(self, block: int) -> bytes:
        """A block as the file has it now."""
        return self._file[block * BLOCK : (block + 1) * BLOCK]

    def id_of(self, block: int) -> int:
        """Its content's name, as of the last `look`."""
        found = self._recovered.get(block)
        return self.hasher.id_of(block) if found is None else found

    def _put(self, block: int, data: bytes) -> None:
        begin = block * BLOCK
        self._file[begin : begin + BLOCK] = data
        self._own[begin : begin + BLOCK] = data

    def _differing(self) -> Iterator[int]:
        own, file = self._addresses
        for begin, end in data_ranges(self._fd, 0, self._disk.size):
            for start in range(begin - begin % BLOCK, end, _STRETCH):
                length = min(_STRETCH, end - start)
                if not _LIBC.memcmp(own + start, file + start, length):
                    continue
                for position in range(start, start + length, BLOCK):
                    if _LIBC.memcmp(own + position, file + position, BLOCK):
                        yield position // BLOCK


def _block_ranges(path: Path) -> tuple[tuple[int, int], ...]:
    """The ranges of whole blocks in which a file has data."""
    with host_errors(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        found = data_ranges(file.fileno(), 0, size)
    return tuple(
        _merged((begin // BLOCK * BLOCK, -(-end // BLOCK) * BLOCK) for begin, end in found)
    )


def _merged(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    last = 0
    for begin, end in ranges:
        if end > max(begin, last):
            yield max(begin, last), end
            last = end
