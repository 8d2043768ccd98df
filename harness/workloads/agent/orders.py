"""All trees that a list may have made, in every order that its marks allow.  Pure.

Operations of one thread come one after the other; of two threads, the one that returned before the
other began comes first, and the rest may come in any order.  A *cut* says how many operations of
each thread are done; a *moment* is a cut with a tree that it may have.  A recovered file system
must be one of the moments: after a journal's replay an operation is there whole or not at all.

A crash at log position P (the disk has the entries below P) leaves a moment

* in which no operation is done that had not begun: `latest` < P (*prefix*);
* in which all operations are done that were acknowledged: `cut` >= `floor(P)` (*durability*).

What acknowledges, by strictness:

* both: a syncfs that returned, all operations that had returned when it began; on Linux a sync
  too;
* ext3: beside that, an fsync that returned (or a write with O_SYNC), the last operation that
  changed the object (fdatasync, or a write with O_DSYNC: its size), and all that had returned when
  that one began, since a journal commits in order; and a commit that is known from the log
  (`settled`).

The number of moments is near that of operations times 2 to the number of threads less one, since
only operations that overlap in time have an order of their own.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.errors import InfraError
from harness.oracles.acknowledged import Strictness
from harness.workloads.agent.halves import IN_PART, followed, half_done
from harness.workloads.agent.marks import OpJournal, Span
from harness.workloads.agent.oplist import Op, OpList, OpRef
from harness.workloads.agent.rules import (
    LINUX,
    OK,
    Applied,
    Semantics,
    apply,
    object_of,
    same_answer,
)
from harness.workloads.agent.tree import REGULAR, ROOT, Tree, fresh

Cut = tuple[int, ...]

#: operations that change neither a tree nor an open file
QUIET = frozenset({"fsync", "fdatasync", "sync", "syncfs", "sleep", "barrier", "msync"})
#: results that no tree explains: what the operation did is not known (see `answers`)
CIRCUMSTANCES = frozenset(
    {"ENOSPC", "EDQUOT", "EIO", "ENOMEM", "EROFS", "SIGBUS", "ENOSYS", "EMLINK"}
)
#: operations that an fdatasync cares for, where they change a size
_SIZES = frozenset({"write", "swrite", "append", "truncate", "creat", "open"})
_LIMIT = 400_000


@dataclass(frozen=True)
class Moment:
    """A tree that the list may have made.

    `cut` counts the operations that matter (see `Orders.threads`) of each thread; `latest` is the
    largest begin of one of them, in log entries, -1 before the first.
    """

    cut: Cut
    tree: Tree
    latest: int


@dataclass(frozen=True)
class Acknowledged:
    """From position `at` on, a state must have the operations of `cut`.

    `data` is the object whose bytes were acknowledged with it, as they were when operation `by`
    began; None with `everything` set stands for all objects.
    """

    at: int
    cut: Cut
    by: OpRef
    data: int | None = None
    everything: bool = False


@dataclass
class Orders:
    """The moments of one list that ran.

    `start` is the tree before it.  `contradiction` is not empty when an operation ended as it can't
    end in any order: then the file system was wrong while it ran, and there are no moments behind.
    """

    ops: OpList
    journal: OpJournal
    semantics: Semantics = LINUX
    strictness: Strictness = Strictness.EXT3
    start: Tree = field(default_factory=fresh)
    contradiction: str = ""

    def __post_init__(self) -> None:
        self.threads = tuple(tuple(self._matter(t)) for t in range(len(self.ops.threads)))
        self.touched: dict[OpRef, set[int]] = {}
        self._writers: dict[int, set[OpRef]] = {}
        self._writers_of: dict[frozenset[int], frozenset[OpRef]] = {}
        self._children: dict[tuple[int, str], set[int]] = {}
        self._note_objects(None, self.start, self.start.nodes)
        self._subjects: dict[OpRef, int] = {}
        self.moments: tuple[Moment, ...] = tuple(self._walk())
        self._acks = sorted(self._acknowledged(), key=lambda ack: ack.at)
        self._ends = [ack.at for ack in self._acks]
        self._floors = self._running_floors()

    def _matter(self, thread: int) -> Iterator[Span]:
        """The spans of a thread's operations that may change something."""
        for index, op in enumerate(self.ops.threads[thread]):
            span = self.journal.spans.get(OpRef(thread, index))
            if span is None or op.name in QUIET:
                continue
            if op.name in IN_PART or span.errno not in CIRCUMSTANCES:
                yield span

    # The moments

    def _walk(self) -> Iterator[Moment]:
        """All moments, cut by cut; those of equal digest and cut are one."""
        first = Moment((0,) * len(self.threads), self.start, -1)
        level: dict[object, Moment] = {None: first}
        count = 0
        while level:
            yield from level.values()
            count += len(level)
            if count > _LIMIT:
                raise InfraError(
                    f"run {self.ops.run:06x} has more than {_LIMIT} orders of its operations",
                    hint="give the list fewer threads, or more barriers",
                )
            following: dict[object, Moment] = {}
            stuck: list[str] = []
            for moment in level.values():
                for new in self._next(moment, stuck):
                    following[new.cut, new.tree.digest, new.tree.halves] = new
            if stuck and not following:
                self.contradiction = stuck[0]
            level = following

    def _next(self, moment: Moment, stuck: list[str]) -> Iterator[Moment]:
        self._note_subjects(moment)
        for thread, span in self.possible(moment.cut):
            op = self.ops.op(span.ref)
            done = self.done(moment.tree, span)
            if span.errno in CIRCUMSTANCES:
                done = half_done(moment.tree, done, op)
            elif span.end is not None and not same_answer(done.errno, span.errno):
                stuck.append(
                    f"operation {span.ref.index} of thread {span.ref.thread} ({op}) ended with "
                    f"{span.errno}, where the model has {done.errno}"
                )
                continue
            self.touched.setdefault(span.ref, set()).update(
                number for number in done.touched if _inode_changed(moment.tree, done.tree, number)
            )
            self._note_objects(span.ref, done.tree, done.touched)
            cut = tuple(n + (t == thread) for t, n in enumerate(moment.cut))
            yield Moment(cut, done.tree, max(moment.latest, span.begin))

    def possible(self, cut: Cut) -> Iterator[tuple[int, Span]]:
        """The operations that may come next: those that no other one had to come before."""
        heads = [
            (thread, spans[done])
            for thread, (spans, done) in enumerate(zip(self.threads, cut, strict=True))
            if done < len(spans)
        ]
        for thread, span in heads:
            if not any(
                other.end is not None and other.end < span.begin
                for t, other in heads
                if t != thread
            ):
                yield thread, span

    def _note_objects(self, ref: OpRef | None, tree: Tree, touched: Iterable[int]) -> None:
        """Remember who wrote to which file, and what each name of a directory led to."""
        for number in touched:
            node = tree.nodes.get(number)
            if node is None:
                continue
            if node.kind == REGULAR and ref is not None:
                self._writers.setdefault(number, set()).add(ref)
            for name, child in node.entries.items():
                self._children.setdefault((number, name), set()).add(child)

    def writers(self, path: str) -> frozenset[OpRef] | None:
        """The operations that may have changed a file which a path may have led to, in any order.

        None where that is not known: no order has such a path, or what came later has no order.
        """
        found = {ROOT}
        for name in path.split("/"):
            found = set().union(*(self._children.get((number, name), ()) for number in found))
        if not found or self.contradiction:
            return None
        files = frozenset(found)
        if files not in self._writers_of:  # thousands of links share them
            self._writers_of[files] = frozenset().union(*map(self.wrote, files))
        return self._writers_of[files]

    def wrote(self, number: int) -> frozenset[OpRef]:
        """The operations that changed a file in some order, or failed on their way to."""
        return frozenset(self._writers.get(number, ()))

    def _note_subjects(self, moment: Moment) -> None:
        """Remember which objects the threads' next syncs mean."""
        for thread, done in enumerate(moment.cut):
            spans = self.threads[thread]
            begin = spans[done - 1].ref.index + 1 if done else 0
            end = spans[done].ref.index + 1 if done < len(spans) else len(self.ops.threads[thread])
            for index in range(begin, end):
                op = self.ops.threads[thread][index]
                if op.name in _SYNCS_OBJECT:
                    number = object_of(moment.tree, thread, op.args[0])
                    if number is not None:
                        self._subjects[OpRef(thread, index)] = number

    # What was acknowledged

    def _acknowledged(self) -> Iterator[Acknowledged]:
        for ref, span in self.journal.spans.items():
            if span.end is None or span.errno != OK:
                continue
            op = self.ops.op(ref)
            if op.name == "syncfs" or (op.name == "sync" and self.semantics.sync_waits):
                yield Acknowledged(span.end, self._before(span), ref, everything=True)
            elif ref in self._subjects and self._syncs(ref, op):
                number = self._subjects[ref]
                yield Acknowledged(span.end, self._names(span, op, number), ref, data=number)

    def _syncs(self, ref: OpRef, op: Op) -> bool:
        """Whether it acknowledges its object; a write does on a file opened with O_SYNC."""
        if op.name not in _WRITES:
            return True
        if not isinstance(op.args[0], int):
            return op.name == "swrite"
        return not {"sync", "dsync"}.isdisjoint(self._opened(ref, op))

    def _data_only(self, ref: OpRef, op: Op) -> bool:
        """Whether it waits for a file's bytes and size alone: O_DSYNC is an fdatasync."""
        if op.name not in _WRITES:
            return op.name == "fdatasync"
        opened = self._opened(ref, op)
        return "dsync" in opened and "sync" not in opened

    def _opened(self, ref: OpRef, op: Op) -> frozenset[str]:
        """The flags of the open file that an operation writes to; none where it has a path."""
        if not isinstance(op.args[0], int):
            return frozenset()
        opened = [
            each
            for each in self.ops.threads[ref.thread][: ref.index]
            if each.name == "open" and each.args[0] == op.args[0]
        ]
        return frozenset(str(opened[-1].args[2]).split("+")) if opened else frozenset()

    def _names(self, span: Span, op: Op, number: int) -> Cut:
        """What the sync of an object acknowledges beside its bytes."""
        nothing = (0,) * len(self.threads)
        if self.strictness is Strictness.POSIX or op.name == "msync":
            return nothing
        changes = [
            each
            for each in self._changes.get(number, ())
            if (each.ref == span.ref or (each.end is not None and each.end <= span.begin))
            and (not self._data_only(span.ref, op) or self.ops.op(each.ref).name in _SIZES)
        ]
        if not changes:
            return nothing
        last = max(changes, key=lambda each: each.begin)
        before = list(self._before(last))
        thread = last.ref.thread
        place = bisect.bisect_right(self.threads[thread], last.begin, key=lambda each: each.begin)
        before[thread] = max(before[thread], place)
        return tuple(before)

    def _before(self, span: Span) -> Cut:
        """The operations that had returned when one began."""
        return self.returned_by(span.begin)

    def returned_by(self, position: int) -> Cut:
        """The operations whose return mark is at or below an entry of the log."""
        return tuple(bisect.bisect_right(ends, position) for ends in self._returns)

    @cached_property
    def _returns(self) -> tuple[list[int], ...]:
        """The return marks of each thread's operations."""
        return tuple(
            [span.end if span.end is not None else _NEVER for span in spans]
            for spans in self.threads
        )

    @cached_property
    def _changes(self) -> Mapping[int, Sequence[Span]]:
        """The operations that changed an object, by its number."""
        found: dict[int, list[Span]] = {}
        for spans in self.threads:
            for span in spans:
                for number in self.touched.get(span.ref, ()):
                    found.setdefault(number, []).append(span)
        return found

    def _running_floors(self) -> list[Cut]:
        floors: list[Cut] = [(0,) * len(self.threads)]
        for ack in self._acks:
            floors.append(tuple(map(max, floors[-1], ack.cut)))
        return floors[1:]

    def floor(self, position: int, settled: int = 0) -> Cut:
        """The operations that a crash at `position` must have left.

        With strictness ext3, `settled` says that all operations that had returned before that entry
        are in a transaction that was committed and flushed below `position`.
        """
        known = bisect.bisect_left(self._ends, position)
        floor = self._floors[known - 1] if known else (0,) * len(self.threads)
        if self.strictness is Strictness.EXT3 and settled:
            floor = tuple(map(max, floor, self.returned_by(settled - 1)))
        return floor

    def acknowledged(self, position: int) -> Sequence[Acknowledged]:
        """All acknowledgements that had been given at a position."""
        return self._acks[: bisect.bisect_left(self._ends, position)]

    @cached_property
    def by_core(self) -> Mapping[int, Sequence[Moment]]:
        """Moments by the digest of their names and looks."""
        found: dict[int, list[Moment]] = {}
        for moment in self.moments:
            found.setdefault(moment.tree.digest.core, []).append(moment)
        return found

    @cached_property
    def by_sized(self) -> Mapping[int, Sequence[Moment]]:
        """Moments by the digest of names, looks and sizes."""
        found: dict[int, list[Moment]] = {}
        for moment in self.moments:
            found.setdefault(moment.tree.digest.sized, []).append(moment)
        return found

    def done(self, tree: Tree, span: Span) -> Applied:
        """What an operation makes of a tree when it goes through."""
        op = self.ops.op(span.ref)
        return followed(tree, apply(tree, span.ref, op, self.semantics), span.ref, op)


def _inode_changed(before: Tree, after: Tree, number: int) -> bool:
    """Whether more of an object changed than its bytes and times.

    A write into a file changes its time only when the clock went on since the last change, so a
    sync behind it need not commit anything.
    """
    old, new = before.nodes.get(number), after.nodes.get(number)
    return (
        old is None
        or new is None
        or (old.look, old.size, old.entries, old.names, old.records)
        != (new.look, new.size, new.entries, new.names, new.records)
    )


_WRITES = frozenset({"swrite", "write", "append"})
_SYNCS_OBJECT = frozenset({"fsync", "fdatasync", "msync"}) | _WRITES
_NEVER = 1 << 62
