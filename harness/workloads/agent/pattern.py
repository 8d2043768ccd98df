"""What the agent writes into files: bytes that say which operation wrote them, and where.  Pure.

A file's bytes are cells of 32, aligned in the file:

    hw:RRRRRR.TT.IIIII@OOOOOOOOOOOO\\n

R is the list's run, T the thread, I the operation's place in its list, O the offset of the cell in
the file, all hexadecimal.  A write that begins or ends within a cell writes that part of it.  So a
byte of another file, of an older run or of a place that it does not belong to is told from one that
is right, and a block that was torn shows where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from harness.workloads.agent.oplist import OpRef

CELL = 32  #: bytes
_CELL = re.compile(rb"hw:([0-9a-f]{6})\.([0-9a-f]{2})\.([0-9a-f]{5})@([0-9a-f]{12})\n")


def cell(run: int, ref: OpRef, offset: int) -> bytes:
    """The cell at `offset` (a multiple of 32) of a file, as an operation writes it."""
    return b"hw:%06x.%02x.%05x@%012x\n" % (run, ref.thread, ref.index, offset)


@lru_cache(maxsize=512)
def fill(run: int, ref: OpRef, offset: int, length: int) -> bytes:
    """The bytes that an operation writes at `offset`."""
    first = offset - offset % CELL
    cells = b"".join(cell(run, ref, at) for at in range(first, offset + length, CELL))
    return cells[offset - first : offset - first + length]


@dataclass(frozen=True)
class Stretch:
    """A range of a file's bytes, from `start` to before `end`, that came from one writer.

    `kind` is "zero", "own" (written by the operation `ref` of this run for this very place),
    "foreign" (another run's, or at another place: `found` has the first cell) or "garbage".
    """

    start: int
    end: int
    kind: str
    ref: OpRef | None = None
    found: bytes = b""


def stretches(data: bytes, run: int, offset: int = 0) -> tuple[Stretch, ...]:
    """Who wrote the bytes of a file, from `offset` (a multiple of 32) on.

    A cell that two operations share, since one of them began or ended within it, is "garbage" here;
    `explains` says whether they can have made it.
    """
    return tuple(_merged(_pieces(data, run, offset)))


def _pieces(data: bytes, run: int, offset: int) -> Iterator[Stretch]:
    zero = bytes(CELL)
    for at in range(0, len(data), CELL):
        part = data[at : at + CELL]
        start, end = offset + at, offset + at + len(part)
        match = _CELL.fullmatch(part)
        if part == zero[: len(part)]:
            yield Stretch(start, end, "zero")
        elif match is None:
            yield Stretch(start, end, "garbage", found=part)
        elif int(match[1], 16) != run or int(match[4], 16) != start:
            yield Stretch(start, end, "foreign", found=part)
        else:
            yield Stretch(start, end, "own", OpRef(int(match[2], 16), int(match[3], 16)))


def _merged(pieces: Iterator[Stretch]) -> Iterator[Stretch]:
    """Neighbours of one kind and writer as one; garbage stays cell by cell."""
    last: Stretch | None = None
    for piece in pieces:
        same = last is not None and (last.kind, last.ref) == (piece.kind, piece.ref)
        if last is not None and same and piece.kind in ("zero", "own"):
            last = Stretch(last.start, piece.end, last.kind, last.ref)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def explains(run: int, stretch: Stretch, writers: list[OpRef]) -> tuple[OpRef | None, ...] | None:
    """For a cell that no single writer explains: who wrote each of its bytes; None: nobody could.

    `writers` are the operations that may have written into the cell; a byte that is 0 may be
    nobody's (None in the result).  Where several fit, the writer that goes on from the byte before
    is taken.
    """
    start = stretch.start - stretch.start % CELL
    options = [(ref, cell(run, ref, start)) for ref in writers]
    result: list[OpRef | None] = []
    for place, byte in enumerate(stretch.found):
        at = stretch.start - start + place
        fits: list[OpRef | None] = [ref for ref, cells in options if cells[at] == byte]
        if byte == 0:
            fits.append(None)
        if not fits:
            return None
        result.append(result[-1] if result and result[-1] in fits else fits[0])
    return tuple(result)
