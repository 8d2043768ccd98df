"""Marks: when each operation began and returned, as places in the disk's own write log.  Pure.

**What a mark is.**  Behind the file system's end the disk has a reserved area.  Before its first
operation, between two and after its last, each thread of the agent writes one block there, which
says: "the operations before number `next` have returned, the last of them with this result; number
`next` begins".  The write does not pass the file system, and the agent waits for its end.  QEMU's
`blklogwrites` logs it as it logs every write, so the marks stand in the write log among the writes
of the file system.

**Why "acknowledged before this write" is a fact.**  QEMU completes a request of the guest only
after it is in the log: a request that completed before another was issued has the lower number.

* An operation is called only after the mark before it has completed.  Whatever the file system
  writes because of the operation is issued later, so it has a higher number: in a state that lacks
  the mark, the operation had not begun.
* The mark after it is issued only after the call has returned.  Whatever the call waited for (the
  writes of an fsync, and its flush) has completed before, so it has a lower number: in a state that
  has the mark, the operation had returned, with the result that the mark names.
* Of operations in two threads, the one whose return has a lower number than the other's begin came
  first.  Where neither does, they ran at the same time, and the order is not known.

**A mark is no flush.**  On Linux it is an O_DIRECT write to the disk's node without O_SYNC or
O_DSYNC, either of which would make the kernel flush the disk after each mark, and hide every flush
that the journal forgot; a test looks at a real log.  On the Hurd it is a write to the disk's
storeio, which hands it to the driver as it is.  A mark costs a write, so it moves the timing a
little; it orders nothing, since the disk may still lose or reorder every write around it.

An area has a slot of 4096 bytes for each thread; a mark is the first 512 of its slot:

    hurdle-mark 1 run=00c0de thread=00 next=00001 errno=OK crc=89abcdef\\n

and zeros.  The CRC is CRC-32 (as in zlib) of the text before ` crc=`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.errors import InfraError
from harness.workloads.agent.oplist import MAX_THREADS, OpList, OpRef

SLOT = 4096  #: bytes
MARK = 512  #: bytes of a slot that are looked at
AREA = SLOT * MAX_THREADS  #: bytes that the disk has more than the file system
LAID = "LAID"  #: the result that says: a fresh file system was laid down, nothing has begun
_TEXT = re.compile(
    rb"(hurdle-mark 1 run=([0-9a-f]{6}) thread=([0-9a-f]{2}) next=([0-9a-f]{5}) errno=(\w+))"
    rb" crc=([0-9a-f]{8})\n"
)


@dataclass(frozen=True)
class Mark:
    """One mark.  `position` is the number of its entry in the write log."""

    position: int
    run: int
    thread: int
    next: int
    errno: str  #: of operation `next - 1`; OK without one, LAID for a fresh file system


@dataclass(frozen=True)
class Span:
    """What is known of one operation.

    A crash state of log position P (the entries below P) has the operation begun if `begin` < P,
    and returned, with `errno`, if `end` is not None and `end` < P.
    """

    ref: OpRef
    begin: int
    end: int | None
    errno: str  #: OK, ENOENT, ...; empty while it has not returned

    def began(self, position: int) -> bool:
        return self.begin < position

    def returned(self, position: int) -> bool:
        return self.end is not None and self.end < position


@dataclass(frozen=True)
class OpJournal:
    """When the operations of one list began and returned, for all that began.

    `laid` is the position of the mark behind the fresh file system, if it was laid down within the
    log; `first` is the position of the first thread's first mark, `end` that of the last mark if
    all threads came to their ends.
    """

    run: int
    spans: Mapping[OpRef, Span]
    laid: int | None
    first: int
    end: int | None


def encode(mark: Mark) -> bytes:
    """A mark as the agent writes it (its position does not matter)."""
    text = (
        f"hurdle-mark 1 run={mark.run:06x} thread={mark.thread:02x} "
        f"next={mark.next:05x} errno={mark.errno}"
    ).encode()
    return (text + b" crc=%08x\n" % zlib.crc32(text)).ljust(MARK, b"\0")


def decode(block: bytes, position: int) -> Mark | None:
    """The mark in a slot's first bytes; None for one that is empty.

    Raises `InfraError` for anything else, since nobody but the agent writes there.
    """
    if not any(block[:MARK]):
        return None
    found = _TEXT.match(block)
    if found is None or zlib.crc32(found[1]) != int(found[6], 16):
        raise InfraError(
            f"the write log's entry {position} has something else than a mark in the mark area: "
            f"{block[:80]!r}",
            hint="is the file system larger than it should be, or the area's offset wrong?",
        )
    run, thread, following = (int(found[n], 16) for n in (2, 3, 4))
    return Mark(position, run, thread, following, found[5].decode())


class _Entry(Protocol):
    """An entry of the write log, as `harness.crash.writelog` has it."""

    @property
    def index(self) -> int: ...
    @property
    def sector(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def is_write(self) -> bool: ...


class _Log(Protocol):
    """A write log, as `harness.crash.writelog` has it."""

    @property
    def sector_size(self) -> int: ...
    @property
    def entries(self) -> Sequence[_Entry]: ...
    def data(self, entry: Any, /) -> bytes: ...


@dataclass(frozen=True)
class Marks:
    """All marks of a log in their order, and the entries that they are in.

    Those entries change nothing of the file system: states need not be made for them.
    """

    all: tuple[Mark, ...]
    entries: frozenset[int]


def read_marks(log: _Log, area: int) -> Marks:
    """The marks in a log; the area begins at byte `area` of the disk and takes `AREA` bytes."""
    found: list[Mark] = []
    entries: set[int] = set()
    latest: dict[int, tuple[int, int, str]] = {}
    for entry in log.entries:
        start = entry.sector * log.sector_size
        if not entry.is_write or start + entry.length <= area or start >= area + AREA:
            continue
        entries.add(entry.index)
        data = log.data(entry)
        for at in range(-(-max(start, area) // SLOT) * SLOT, start + entry.length, SLOT):
            mark = decode(data[at - start : at - start + MARK], entry.index)
            if mark is None:
                continue
            # A driver that writes more than a sector repeats its neighbours' last marks.
            content = (mark.run, mark.next, mark.errno)
            if latest.get(mark.thread) != content:
                found.append(mark)
            latest[mark.thread] = content
    return Marks(tuple(found), frozenset(entries))


def journal_of(marks: Marks, ops: OpList) -> OpJournal | None:
    """The journal of one list; None if it never began.

    Raises `InfraError` when the marks are not this list's.
    """
    found = _journal(ops.run, [mark for mark in marks.all if mark.run == ops.run])
    if found is None:
        return None
    counts = [len(thread) for thread in ops.threads]
    for ref in found.spans:
        # Behind a thread's last operation the mark names one more, which there is not.
        if ref.thread >= len(counts) or ref.index > counts[ref.thread]:
            raise InfraError(f"run {ops.run:06x} has a mark of operation {ref}, which it lacks")
    spans = {ref: span for ref, span in found.spans.items() if ref.index < counts[ref.thread]}
    ends = [found.spans.get(OpRef(thread, count)) for thread, count in enumerate(counts)]
    done = [span.begin for span in ends if span is not None]
    return OpJournal(
        found.run, spans, found.laid, found.first, max(done) if len(done) == len(counts) else None
    )


def _journal(run: int, marks: Iterable[Mark]) -> OpJournal | None:
    """Spans from a run's marks; each thread's last mark opens a span, real or one past the end."""
    laid: int | None = None
    spans: dict[OpRef, Span] = {}
    following: dict[int, int] = {}
    first: int | None = None
    for mark in marks:
        if mark.errno == LAID:
            laid = mark.position
            continue
        expected = following.get(mark.thread, 0)
        if mark.next != expected:
            raise InfraError(
                f"run {run:06x}, thread {mark.thread}: the mark at entry {mark.position} says "
                f"operation {mark.next}, and {expected} was to come",
                hint="two lists with one run number in a log?",
            )
        if mark.next:
            before = spans[OpRef(mark.thread, mark.next - 1)]
            spans[before.ref] = Span(before.ref, before.begin, mark.position, mark.errno)
        ref = OpRef(mark.thread, mark.next)
        spans[ref] = Span(ref, mark.position, None, "")
        following[mark.thread] = mark.next + 1
        first = mark.position if first is None else first
    if first is None:
        return None
    return OpJournal(run, spans, laid, first, None)
