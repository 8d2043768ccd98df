"""Trees of op lists: names, what was acknowledged, bytes.  Pure."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from harness.campaign.case import Case
from harness.campaign.work import ListWork
from harness.crash.blocks import BLOCK, ZERO_ID
from harness.crash.plan import Cut
from harness.oracles.names import finding_of
from harness.oracles.observed import FileSeen, Observed
from harness.verdicts import Finding, FindingClass, Judgement, Oracle, Verdict
from harness.workloads.agent.allowed import Allowed
from harness.workloads.agent.answers import wrong_answers
from harness.workloads.agent.oplist import OpList, OpRef
from harness.workloads.agent.orders import CIRCUMSTANCES, Moment, Orders
from harness.workloads.agent.pattern import CELL, Stretch, explains, fill, stretches
from harness.workloads.agent.rules import HURD, LINUX
from harness.workloads.agent.tree import REGULAR, Tree

_SHOWN = 8  # findings that are kept of one state
_ENDLESS = 1 << 62
_WRITES = ("swrite", "write", "append")  # those that acknowledge themselves, on O_SYNC


def answers(case: Case, work: ListWork) -> tuple[str, ...]:
    """The operations of a list that ended as they can't, in words."""
    return wrong_answers(_orders(case, work), full_disk=work.full_disk)


def _orders(case: Case, work: ListWork) -> Orders:
    return Orders(work.ops, work.journal, HURD if work.hurd else LINUX, case.strictness)


class ListOracles:
    """Judges the trees of one list's states."""

    known = frozenset({ZERO_ID})  #: all other blocks come with their bytes

    def __init__(self, case: Case, work: ListWork) -> None:
        self._work = work
        self._level = case.strictness.value
        self._orders = _orders(case, work)
        self._allowed = Allowed(self._orders, ordered_sizes=work.ordered_sizes)
        self._shared = frozenset(_shared_cells(work.ops))
        #: by a block's content, its place in the file, and how much of it is the file's
        self._read: dict[tuple[int, int, int], tuple[Stretch, ...]] = {}
        #: cells of several writers, and the first position at which they were explained
        self._explained: dict[tuple[str, int, bytes], int] = {}
        #: by path: who may have written there; None where no moment has the path
        self._writers: dict[str, frozenset[OpRef] | None] = {}
        self._timed = any(work.ops.op(ref).name == "utimes" for ref in work.ops.refs())
        # Where each transaction was safe: behind the flush that follows its commit block.
        self._settled = tuple(_settled(case, work))

    def key(self, cut: Cut, seen: Observed) -> object:
        """States of equal trees and keys get equal verdicts."""
        times = frozenset(seen.times.items()) if self._timed else None
        return self._work.position(cut.upto, torn=cut.cut_short), times

    def judge(self, cut: Cut, seen: Observed) -> tuple[Judgement, ...]:
        """Durability, prefix and stale."""
        if seen.unreadable:
            text = f"no tree: {seen.unreadable}"
            found = (Finding("tree-unreadable", FindingClass.DAMAGE, text),)
            return (
                Judgement(Oracle.DURABILITY, Verdict.FAIL, text, found),
                Judgement(Oracle.PREFIX, Verdict.FAIL, text, found),
                Judgement(Oracle.STALE, Verdict.VOID, text),
            )
        position = self._work.position(cut.upto, torn=cut.cut_short)
        settled = max((safe for at, safe in self._settled if at < position), default=0)
        sizes = {path: file.size for path, file in seen.files.items()}
        said = self._allowed.judge(position, seen.looks, sizes, settled, seen.times)
        wrong = tuple(finding_of(text) for text in said.differences[:_SHOWN])
        if said.prefix is None:
            reason = self._orders.contradiction or "no moment of the workload has this tree"
            if wrong:
                reason += f"; the nearest differs: {wrong[0].text}"
            prefix = Judgement(Oracle.PREFIX, Verdict.FAIL, reason, wrong)
            durability = self._steady_durability(position, settled, sizes, seen)
        else:
            prefix = Judgement(Oracle.PREFIX, Verdict.PASS, "the tree is that of a moment")
            durability = self._durability(position, said.durable, wrong, seen)
        return durability, prefix, self._stale(position, seen)

    def _durability(
        self, position: int, durable: Moment | None, wrong: tuple[Finding, ...], seen: Observed
    ) -> Judgement:
        if durable is None:
            reason = f"an operation is not there that was acknowledged ({self._level})"
            if self._orders.contradiction and not wrong:
                reason = self._orders.contradiction
                wrong = (Finding("operation-result", FindingClass.DAMAGE, reason),)
            elif wrong:
                reason = f"{wrong[0].text}, though it was acknowledged ({self._level})"
            return Judgement(Oracle.DURABILITY, Verdict.FAIL, reason, wrong)
        lost = tuple(self._lost(position, durable, seen))[:_SHOWN]
        if lost:
            reason = f"{lost[0].text}, though it was acknowledged ({self._level})"
            return Judgement(Oracle.DURABILITY, Verdict.FAIL, reason, lost)
        reason = f"all that was acknowledged ({self._level}) is there"
        return Judgement(Oracle.DURABILITY, Verdict.PASS, reason)

    def _steady_durability(
        self, position: int, settled: int, sizes: Mapping[str, int], seen: Observed
    ) -> Judgement:
        """Of a tree that is of no moment: the acknowledged objects that nothing touched since."""
        steady = self._allowed.steady(position, settled)
        if steady is None or self._orders.contradiction:
            why = self._orders.contradiction or "too many moments are possible"
            why += ": what the tree should have of the acknowledged is not known"
            return Judgement(Oracle.DURABILITY, Verdict.VOID, why)
        lost = [finding_of(each) for each in self._allowed.missing(steady, seen.looks, sizes)]
        whole = {
            path
            for path, (_, _, size) in steady.objects.items()
            if size is not None and sizes.get(path) == size
        }
        lost += self._lost(position, steady.last, seen, whole)
        if lost:
            reason = f"{lost[0].text}, though it was acknowledged ({self._level})"
            return Judgement(Oracle.DURABILITY, Verdict.FAIL, reason, tuple(lost[:_SHOWN]))
        reason = (
            f"the tree is of no moment; all objects that were acknowledged ({self._level}) and "
            "left alone since are there"
        )
        return Judgement(Oracle.DURABILITY, Verdict.PASS, reason)

    def _lost(
        self, position: int, moment: Moment, seen: Observed, paths: Collection[str] | None = None
    ) -> Iterator[Finding]:
        """Bytes that were acknowledged, where there are older ones now; of all files, or some."""
        acks = self._orders.acknowledged(position)
        for path, number in moment.tree.walk():
            node = moment.tree.nodes[number]
            mine = [ack for ack in acks if ack.everything or ack.data == number]
            if node.kind != REGULAR or not node.size or not mine:
                continue
            if path not in (paths if paths is not None else seen.files):
                continue
            for by in self._latest(ack.by for ack in mine):
                known = self._acknowledged(moment, by, position)
                if known is None or number not in known.tree.nodes:
                    continue
                data = _bytes(seen.files[path], seen)
                gone = tuple(self._cut_off(number, by, position))
                place = self._older(data, known.tree, number, by, gone)
                if place is not None:
                    text = f"/{path} differs from byte {place} on from what was written"
                    yield Finding("data-lost", FindingClass.DAMAGE, text)
                    break

    def _latest(self, syncs: Iterable[OpRef]) -> Iterator[OpRef]:
        """The last sync of all bytes, and the last of some: those of a range, or its own."""
        found: dict[bool, OpRef] = {}
        spans = self._work.journal.spans
        for ref in syncs:
            whole = self._work.ops.op(ref).name not in (*_WRITES, "msync")
            if whole not in found or spans[ref].begin > spans[found[whole]].begin:
                found[whole] = ref
        yield from found.values()

    def _acknowledged(self, moment: Moment, by: OpRef, position: int) -> Moment | None:
        """A moment that looks the same and has all that had returned when a sync began.

        None where there is none: what later operations changed is not compared.
        """
        span = self._work.journal.spans[by]
        floor = list(map(max, moment.cut, self._orders.returned_by(span.begin)))
        # A write that acknowledges itself is in it.
        begins = [each.begin for each in self._orders.threads[by.thread]]
        floor[by.thread] = max(floor[by.thread], bisect.bisect_right(begins, span.begin))
        same = self._orders.by_sized.get(moment.tree.digest.sized, ())
        return next(
            (
                each
                for each in same
                if each.latest < position
                and all(done >= due for done, due in zip(each.cut, floor, strict=True))
            ),
            None,
        )

    def _cut_off(self, number: int, by: OpRef, position: int) -> Iterator[tuple[int, int]]:
        """Where a file may hold zeros: behind a truncate that the sync `by` didn't wait for.

        One that failed may have cut off anything, and a later write may lie behind it.

        It clears the rest of the file's last block in place, which is data: with data=ordered that
        is on the disk before the transaction that makes the file shorter.
        """
        spans = self._work.journal.spans
        for ref in self._orders.wrote(number):
            op, span = self._work.ops.op(ref), spans[ref]
            late = span.end is None or span.end > spans[by].begin
            if op.name == "truncate" and span.begin < position and late:
                size = int(op.args[1])
                # Where sizes are not in order, the tree does not say whether it was cut off.
                told = self._work.ordered_sizes and span.errno not in CIRCUMSTANCES
                yield size, size + -size % BLOCK if told else _ENDLESS

    def _older(
        self, data: bytes, tree: Tree, number: int, by: OpRef, gone: Sequence[tuple[int, int]]
    ) -> int | None:
        """The first byte that is older than one that had been written when the sync `by` began.

        Zeros in the ranges `gone` are not older.  What was appended behind a failed operation may
        be at any place, and is not looked for.
        """
        node, half = tree.nodes[number], tree.halves.get(number)
        spans, run = self._work.journal.spans, self._work.ops.run
        since = spans[by].begin
        op = self._work.ops.op(by)
        low, high = 0, node.size
        if op.name == "msync":  # what lies outside of its range was not acknowledged by it
            low, high = int(op.args[1]), int(op.args[1]) + int(op.args[2])
        shared = self._shared | {at - at % CELL for e in node.extents for at in (e.start, e.end)}
        own_only = op.name in _WRITES  # O_SYNC brings what is written, no older bytes beside it
        for extent in node.extents:
            start, end = max(extent.start, low), min(extent.end, high)
            written = spans[extent.ref]
            older = not own_only and written.end is not None and written.end <= since
            settled = extent.ref == by or older
            displaced = half is not None and extent.ref in half.displaced
            if (
                not settled
                or displaced
                or start >= end
                or data[start:end] == fill(run, extent.ref, start, end - start)
            ):
                continue
            first = start - start % CELL
            for stretch in stretches(data[first:end], run, first):
                if stretch.kind == "garbage":  # a cell of two writers: stale's part
                    continue
                if stretch.kind == "own" and stretch.ref is not None and stretch.ref in spans:
                    own = spans[stretch.ref]
                    if stretch.ref == extent.ref or own.end is None or own.end > written.begin:
                        continue
                place, stop = max(start, stretch.start), min(end, stretch.end)
                if stretch.kind == "zero":
                    place = max([place, *(b for a, b in gone if a <= place < b)])
                if stop - place <= CELL and place - place % CELL in shared:
                    continue
                # The bytes of a cell that two writers share may be the same by either.
                if place < stop and data[place:stop] != fill(run, extent.ref, place, stop - place):
                    return place
        return None

    def _stale(self, position: int, seen: Observed) -> Judgement:
        found: list[Finding] = []
        begun = {ref for ref, span in self._work.journal.spans.items() if span.begin < position}
        for path, file in seen.files.items():
            if path not in self._writers:
                self._writers[path] = self._orders.writers(path)
            writers = self._writers[path]
            allowed = begun if writers is None else begun & writers
            for stretch in self._stretches(file, seen):
                if not self._own(path, stretch, allowed, position):
                    whose = self._whose(stretch)
                    text = f"/{path} holds {whose} at byte {stretch.start}"
                    found.append(Finding("stale-data", FindingClass.DAMAGE, text))
        if found:
            reason = f"{found[0].text}, which was never written there"
            return Judgement(Oracle.STALE, Verdict.FAIL, reason, tuple(found[:_SHOWN]))
        reason = "every file holds only bytes that were written at their place"
        return Judgement(Oracle.STALE, Verdict.PASS, reason)

    def _whose(self, stretch: Stretch) -> str:
        if stretch.ref is None or stretch.ref not in self._work.journal.spans:
            return repr(stretch.found[:48])
        return f"the bytes of `{self._work.ops.op(stretch.ref)}`"

    def _stretches(self, file: FileSeen, seen: Observed) -> Iterator[Stretch]:
        """Who wrote the bytes of a file, holes left out.  Each block is read once at its place."""
        for index, block in enumerate(file.blocks):
            length = min(BLOCK, file.size - index * BLOCK)
            if block == ZERO_ID or length <= 0:
                continue
            key = block, index, length
            if key not in self._read:
                data = seen.strange[block][:length]
                self._read[key] = stretches(data, self._work.ops.run, index * BLOCK)
            yield from self._read[key]

    def _own(self, path: str, stretch: Stretch, begun: set[OpRef], position: int) -> bool:
        """Whether one of the operations `begun`, which may have written to the file, wrote that."""
        if stretch.kind == "zero":
            return True
        if stretch.kind == "own" and stretch.ref in begun:
            return True
        if stretch.kind == "own" and stretch.ref and stretch.end - stretch.start <= CELL:
            # The digits of two writers may make the name of a third.
            run = self._work.ops.run
            found = fill(run, stretch.ref, stretch.start, stretch.end - stretch.start)
            stretch = replace(stretch, kind="garbage", ref=None, found=found)
        if stretch.kind in ("own", "foreign"):
            return False
        # What some writers explain is explained by these and later ones.
        key = path, stretch.start, stretch.found
        if position >= self._explained.get(key, position + 1):
            return True
        own = explains(self._work.ops.run, stretch, sorted(begun, key=_order)) is not None
        if own:
            self._explained[key] = position
        return own


def _shared_cells(ops: OpList) -> Iterator[int]:
    """The cells in which a write begins or ends, by their offset; appends left out."""
    for thread in ops.threads:
        for op in thread:
            if op.name in ("write", "swrite", "mwrite"):
                begin, length = int(op.args[1]), int(op.args[2])
                yield from (at - at % CELL for at in (begin, begin + length) if at % CELL)


def _order(ref: OpRef) -> tuple[int, int]:
    return ref.thread, ref.index


def _bytes(file: FileSeen, seen: Observed) -> bytes:
    parts = (bytes(BLOCK) if b == ZERO_ID else seen.strange[b] for b in file.blocks)
    return b"".join(parts)[: file.size].ljust(file.size, b"\0")


def _settled(case: Case, work: ListWork) -> Iterator[tuple[int, int]]:
    """(entry of a flush, operations that had returned before this entry are safe from there on).

    An operation that returned before a transaction's commit block is in that transaction or in the
    next: so with the flush behind a commit, what returned before the one before it is safe.
    """
    flushes = [entry.index for entry in case.log.flushes]
    commits = [entry for entry, _ in case.commits]
    for before, commit in pairwise(commits):
        flush = next((each for each in flushes if each > commit), None)
        if flush is not None:
            yield work.places[flush], work.places[before]
