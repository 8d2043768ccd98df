"""Geometry of the write log's map: every judged prefix a cell, in the order of the log.

Cells come in pieces of fixed width that flow like words, so the map fits a telephone and a wide
screen at the same size of text.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from harness.events import OpDone
from harness.report.text import clean_line
from harness.report.view import Judged, VariantView
from harness.verdicts import CrashModel, Oracle, Verdict

PER_PIECE = 28  # three pieces fill the page, one fills a telephone


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
    """Something that lies between two states: a flush, a commit, the workload's begin.

    `cell` is the first cell of the piece whose state includes it.
    """

    kind: str  #: flush, commit, begin, op
    cell: int
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
    flushes: int  #: drawn
    commits: int  #: drawn
    returns: int  #: operations' returns drawn


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
    marks = _marks(variant, positions)
    pieces = []
    for start in range(0, len(positions), PER_PIECE):
        part = positions[start : start + PER_PIECE]
        here = tuple(
            Mark(mark.kind, mark.cell - start, mark.label, mark.title)
            for mark in marks
            if start <= mark.cell < start + len(part)
            or (mark.cell == len(positions) and start + len(part) == len(positions))
        )
        lanes = tuple(Lane(o, _runs([by_position[p].get(o) for p in part], o)) for o in oracles)
        pieces.append(Piece(len(part), str(part[0]), str(part[-1]), lanes, here))
    drawn = [[mark.kind for mark in marks].count(kind) for kind in ("flush", "commit", "op")]
    return Strip(tuple(pieces), oracles, len(positions), *drawn)


def _marks(variant: VariantView, positions: list[int]) -> list[Mark]:
    """Marks by the first state that includes them; entry N is in every state above N."""
    log = variant.log
    if log is None:
        return []
    # What lies before the first judged state belongs to the set-up and would pile up at the edge.
    marks = [
        Mark("flush", bisect_left(positions, entry + 1), "", f"flush, log entry {entry}")
        for entry in dict.fromkeys(log.flush_entries)
        if entry >= positions[0]
    ]
    marks += [
        Mark(
            "commit",
            bisect_left(positions, commit.entry + 1),
            str(commit.tid),
            f"commit of transaction {commit.tid}, log entry {commit.entry}",
        )
        for commit in log.commits
        if commit.entry >= positions[0]
    ]
    marks += _returns(variant, positions)
    title = f"the workload began at log entry {log.workload_from}"
    marks.append(Mark("begin", bisect_left(positions, log.workload_from), "", title))
    return marks


def _returns(variant: VariantView, positions: list[int]) -> list[Mark]:
    """Where operations returned: whatever they wrote before lies to the left of the mark."""
    places: dict[int, list[OpDone]] = {}
    for op in variant.ops:
        if op.index >= 0 and op.log_after >= positions[0]:
            places.setdefault(bisect_left(positions, op.log_after), []).append(op)
    marks = []
    for cell, ops in places.items():
        numbers = (
            f"{ops[0].index + 1}" if len(ops) == 1 else f"{ops[0].index + 1}-{ops[-1].index + 1}"
        )
        names = clean_line("; ".join(op.op for op in ops[:5])) + (" …" if len(ops) > 5 else "")
        marks.append(Mark("op", cell, numbers, f"returned here: {names}"))
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
