"""What a report shows, as plain immutable values; `model.build` makes them from events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from harness.events import CommandRan, DiskLog, Note, OpDone, RunBegan, RunEnded, TextKept
from harness.verdicts import CrashModel, Expectation, Oracle, Verdict


class Ending(StrEnum):
    """How a run ended, as one word for a badge."""

    OK = "as expected"
    UNEXPECTED = "unexpected"
    VOID = "proves nothing"
    INFRA = "host failed"
    GUEST = "guest failed"
    USAGE = "not started"
    INTERRUPTED = "interrupted"
    CUT_OFF = "did not end"


@dataclass(frozen=True)
class Phase:
    """A stretch of time; `ended` is where the events stop for a phase that has no end."""

    name: str
    detail: str
    began: float
    ended: float
    ok: bool | None  #: None: the phase did not end

    @property
    def seconds(self) -> float:
        return max(self.ended - self.began, 0.0)


@dataclass(frozen=True)
class CommitSpan:
    """A commit block and the times between which it was logged.

    The host knows how long the log was before and after each operation, which bounds the time of
    every entry even where nobody watched it arrive.
    """

    entry: int
    tid: int
    earliest: float
    latest: float
    seen: float | None  #: when the host saw it, if it watched


@dataclass(frozen=True)
class FieldRow:
    """A field before and after recovery; `expected` is None where the scenario says nothing."""

    name: str
    before: str
    after: str
    expected: str | None
    changed: bool
    odd: bool  #: the value before recovery is one that no living object has
    wrong: bool  #: the value after recovery is not the expected one


class Standing(StrEnum):
    """How an object after recovery compares with the scenario."""

    AFTER = "as after the workload"
    BEFORE = "as before the workload"
    NEITHER = "neither as before nor as after the workload"
    THERE = "there"
    ABSENT = "absent"
    UNSEEN = "not looked at"


@dataclass(frozen=True)
class ObjectPair:
    """An object before and after recovery of one crash state."""

    model: CrashModel
    state: str
    path: str
    before: Mapping[str, str] | None  #: None: not looked at; empty: absent
    after: Mapping[str, str] | None
    before_text: str
    after_text: str
    rows: tuple[FieldRow, ...]
    standing: Standing
    verdict: Verdict | None  #: what the object oracle said of the state

    @property
    def alike(self) -> bool:
        """Whether recovery changed nothing and nothing is wrong: not worth a reader's time."""
        return not any(row.changed or row.odd or row.wrong for row in self.rows)


@dataclass(frozen=True)
class Judged:
    """One oracle's verdict on one state."""

    model: CrashModel
    state: str
    oracle: Oracle
    verdict: Verdict
    reason: str
    evidence: str
    position: int | None  #: place on the write log


@dataclass(frozen=True)
class FindingGroup:
    """A kind of message, with where it was seen first and how often."""

    code: str
    kind: str
    states: int
    oracles: tuple[Oracle, ...]
    models: tuple[CrashModel, ...]
    first_state: str
    evidence: str
    texts: tuple[str, ...]  #: distinct messages as they were printed, the first few
    more: int  #: distinct messages that are not in `texts`


@dataclass(frozen=True)
class ReasonGroup:
    """Verdicts that were given for the same reason."""

    models: tuple[CrashModel, ...]
    oracles: tuple[Oracle, ...]
    verdict: Verdict
    reason: str
    states: tuple[str, ...]
    evidence: str  #: of the first state


@dataclass(frozen=True)
class Cell:
    """What one oracle says of all states of one model of one variant."""

    variant: str
    model: CrashModel
    oracle: Oracle
    expected: Expectation | None
    found: Verdict
    ok: bool | None  #: None: the run ended before the comparison
    states: int
    counts: Mapping[Verdict, int]
    note: str

    @property
    def mixed(self) -> bool:
        """Whether the states differ in their verdicts."""
        return sum(1 for count in self.counts.values() if count) > 1


@dataclass(frozen=True)
class VariantView:
    """All that is known of one variant."""

    name: str
    sentence: str
    phases: tuple[Phase, ...]
    ops: tuple[OpDone, ...]
    commits: tuple[CommitSpan, ...]
    log: DiskLog | None
    objects: tuple[ObjectPair, ...]
    cells: tuple[Cell, ...]
    judged: tuple[Judged, ...]
    findings: tuple[FindingGroup, ...]
    reasons: tuple[ReasonGroup, ...]
    commands: tuple[CommandRan, ...]
    texts: tuple[TextKept, ...]
    notes: tuple[Note, ...]

    @property
    def models(self) -> tuple[CrashModel, ...]:
        """The crash models that this variant was judged by."""
        present = {cell.model for cell in self.cells}
        return tuple(model for model in CrashModel if model in present)

    def cell(self, model: CrashModel, oracle: Oracle) -> Cell | None:
        """One cell of the grid, if the run came that far."""
        hits = [cell for cell in self.cells if (cell.model, cell.oracle) == (model, oracle)]
        return hits[0] if hits else None


@dataclass(frozen=True)
class Report:
    """A run, or as much of it as its events tell."""

    run: RunBegan | None
    end: RunEnded | None
    ending: Ending
    caveat: str  #: said first: what keeps a green run from proving all that it seems to
    headline: str
    next_step: str  #: what to do about it; empty when all is well
    seconds: float
    variants: tuple[VariantView, ...]
    notes: tuple[Note, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for variant in self.variants for cell in variant.cells)

    @property
    def models(self) -> tuple[CrashModel, ...]:
        """The crash models that some verdict is from."""
        present = {cell.model for cell in self.cells}
        return tuple(model for model in CrashModel if model in present)

    @property
    def oracles(self) -> tuple[Oracle, ...]:
        """The oracles that spoke."""
        present = {cell.oracle for cell in self.cells}
        return tuple(oracle for oracle in Oracle if oracle in present)
