"""Geometry of the write log's map: every judged prefix a cell, in the order of the log.

Cells come in pieces of fixed width that flow like words, so the map fits a telephone and a wide
screen at the same size of text.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace

from harness.events import OpDone
from harness.report.text import clean_line
from harness.report.view import Judged, VariantView
from harness.verdicts import CrashModel, Oracle, Verdict

PER_PIECE = 28  # three pieces fill the page, one fills a telephone
PER_LARGE_PIECE = 18
_LARGE = 6 * PER_LARGE_PIECE  # two rows of a wide page


@dataclass(frozen=True)
class Run:
    """Neighbouring cells of one lane with the same verdict."""

    verdict: Verdict
    first: int  #: cell within the piece
    count: int
    title: str


@dataclass(frozen=True)
class Lane:
    """One oracle's verdicts along the piece."""

    oracle: Oracle
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Mark:
    """Something in the log that is no state itself.

    It lies before the cell `cell`, or over it when it is that cell's own last write.
    """

    kind: str  #: flush, commit, begin, op
    cell: int
    over: bool
    label: str
    title: str


@dataclass(frozen=True)
class Piece:
    """Some neighbouring states with all lanes and marks."""

    cells: int
    first: str
    last: str
    lanes: tuple[Lane, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Strip:
    """The whole map."""

    pieces: tuple[Piece, ...]
    oracles: tuple[Oracle, ...]
    states: int
    large: bool  #: few states have room for larger cells
    returns: bool  #: some operation's return is drawn
    gaps: bool  #: some oracle was not asked of some state


def strip(variant: VariantView, model: CrashModel = CrashModel.PREFIX) -> Strip | None:
    """The map of one model's states; None when no state has a place on the log."""
    by_position: dict[int, dict[Oracle, Judged]] = {}
    for item in variant.judged:
        if item.model is model and item.position is not None:
            by_position.setdefault(item.position, {})[item.oracle] = item
    if not by_position:
        return None
    positions = sorted(by_position)
    oracles = tuple(o for o in Oracle if any(o in seen for seen in by_position.values()))
    marks = _marks(variant, _last_writes(variant, positions))
    pieces = []
    large = len(positions) <= _LARGE
    per_piece = PER_LARGE_PIECE if large else PER_PIECE
    for start in range(0, len(positions), per_piece):
        part = positions[start : start + per_piece]
        end = start + len(part)
        here = tuple(
            replace(mark, cell=mark.cell - start)
            for mark in marks
            if start <= mark.cell < end or mark.cell == end == len(positions)
        )
        lanes = tuple(Lane(o, _runs([by_position[p].get(o) for p in part], o)) for o in oracles)
        pieces.append(Piece(len(part), str(part[0]), str(part[-1]), lanes, here))
    return Strip(
        tuple(pieces),
        oracles,
        len(positions),
        large=large,
        returns=any(mark.kind == "op" for mark in marks),
        gaps=any(oracle not in seen for seen in by_position.values() for oracle in oracles),
    )


def _last_writes(variant: VariantView, positions: list[int]) -> list[int]:
    """The entry of each state's last write; flushes behind it change nothing in the state."""
    flushes = set(variant.log.flush_entries) if variant.log else set()
    last_writes = []
    for position in positions:
        entry = position - 1
        while entry in flushes:
            entry -= 1
        last_writes.append(entry)
    return last_writes


def _marks(variant: VariantView, writes: list[int]) -> list[Mark]:
    """Marks in the order of drawing; `writes` has the entry of each cell's last write."""
    log = variant.log
    if log is None:
        return []
    marks = []
    for entry in dict.fromkeys(log.flush_entries):
        # What lies before the first judged state would pile up at the edge.
        if entry >= writes[0]:
            where = bisect_left(writes, entry)
            marks.append(Mark("flush", where, False, "", f"flush, log entry {entry}"))
    for commit in log.commits:
        if commit.entry >= writes[0]:
            where = bisect_left(writes, commit.entry)
            own = where < len(writes) and writes[where] == commit.entry
            title = f"commit of transaction {commit.tid}, log entry {commit.entry}"
            marks.append(Mark("commit", where, own, str(commit.tid), title))
    marks += _returns(variant, writes)
    title = f"the workload can have caused what follows: log entry {log.workload_from} on"
    marks.append(Mark("begin", bisect_left(writes, log.workload_from), False, "", title))
    return marks


def _returns(variant: VariantView, writes: list[int]) -> list[Mark]:
    """Where operations returned: whatever they wrote before lies to the left of the mark."""
    places: dict[int, list[OpDone]] = {}
    for op in variant.ops:
        if op.index >= 0 and op.log_after >= writes[0]:
            places.setdefault(bisect_left(writes, op.log_after), []).append(op)
    marks = []
    for cell, ops in places.items():
        first, last = ops[0].index + 1, ops[-1].index + 1
        label = f"{first}" if first == last else f"{first}-{last}"
        names = clean_line("; ".join(op.op for op in ops[:5])) + (" …" if len(ops) > 5 else "")
        marks.append(Mark("op", cell, False, label, f"returned here: {names}"))
    return marks


def _runs(items: list[Judged | None], oracle: Oracle) -> tuple[Run, ...]:
    """Runs of equal verdicts; a verdict that is no PASS keeps a cell, and a title, of its own."""
    runs: list[Run] = []
    names: list[str] = []
    for cell, item in enumerate(items):
        if item is None:
            continue
        last = runs[-1] if runs else None
        joins = (
            last is not None
            and last.verdict is item.verdict is Verdict.PASS
            and last.first + last.count == cell
        )
        if joins and last is not None:
            title = f"{names[-1]} to {clean_line(item.state)}: {oracle} PASS"
            runs[-1] = Run(last.verdict, last.first, last.count + 1, title)
            continue
        names.append(clean_line(item.state))
        title = f"{names[-1]}: {oracle} {item.verdict}: {clean_line(item.reason)}"
        runs.append(Run(item.verdict, cell, 1, title))
    return tuple(runs)
