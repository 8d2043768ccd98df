"""A campaign's results as its reports tell them.  Pure; `campaign_files.py` writes them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from harness.report.text import counted
from harness.verdicts import CAMPAIGN_ORACLES, RUN_ORACLES, CrashModel, Oracle, Verdict


@dataclass(frozen=True)
class Cell:
    """What an oracle said over all states of a model."""

    oracle: Oracle
    expected: str
    found: Verdict
    fails: int
    states: int
    ok: bool
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A crash model of a variant."""

    variant: str
    model: CrashModel
    states: int
    cells: tuple[Cell, ...]

    @property
    def by_oracle(self) -> dict[Oracle, Cell]:
        return {cell.oracle: cell for cell in self.cells}


@dataclass(frozen=True)
class Share:
    """How many states of a model fail by any oracle."""

    model: CrashModel
    states: int
    fails: int

    @property
    def percent(self) -> float:
        return 100 * self.fails / self.states if self.states else 0.0


@dataclass(frozen=True)
class OfRuns:
    """What an oracle that judges whole runs said of all of a variant's; `voids` are of `runs`."""

    found: Verdict
    fails: int
    runs: int
    voids: int = 0

    @property
    def some(self) -> int:
        """How many runs the verdict is of, where it is not all of them or nothing to speak of."""
        if self.found is Verdict.VOID and self.voids < self.runs:
            return self.voids
        return self.fails

    def __str__(self) -> str:
        return f"{self.found} {self.some} of {self.runs}" if self.some else str(self.found)


@dataclass(frozen=True)
class Side:
    """A variant in the table that has all side by side.

    States that only a lying disk leaves are in `shares` alone.  `stops` are states whose boot waits
    for a person, `oracles` how many states fail by each; None is no verdict.
    """

    variant: str
    sentence: str
    ok: bool
    states: int
    distinct: int
    fails: int
    stops: int
    oracles: dict[Oracle, int | None]
    of_log: dict[Oracle, OfRuns]
    shares: dict[CrashModel, Share]

    @property
    def safe(self) -> bool:
        failed = any(said.found is Verdict.FAIL for said in self.of_log.values())
        return not self.fails and not failed and self.states > 0


@dataclass(frozen=True)
class Cause:
    """Failures of one cause.

    `folder` has the example, `others` are those of other operations; empty where none was saved.
    `operations` is how many the example needs, and how many its workload has.  `during` are the
    operations that had begun last, by how many states.  What an oracle of whole runs found has no
    model, its `state` is a run, and `count` is of runs.
    """

    variant: str
    oracle: Oracle
    cause: str
    during: tuple[tuple[str, int], ...]
    models: tuple[CrashModel, ...]
    count: int
    expected: bool
    state: str
    reason: str
    folder: str
    others: tuple[str, ...] = ()
    operations: tuple[int, int] = (0, 0)

    @property
    def commands(self) -> tuple[str, ...]:
        """What judges the example again, and the other ones."""
        return tuple(judge_command(each) for each in (self.folder, *self.others) if each)

    @property
    def words(self) -> str:
        """The example in short."""
        needed, of = self.operations
        size = (
            f"{needed} of {counted(of, 'operation')}" if of > needed else counted(of, "operation")
        )
        parts = (f"{self.oracle} fails, {self.cause}", self.variant, *([size] if of else []))
        return ", ".join((*parts, self.state))


def judge_command(folder: str) -> str:
    """The shell's command that judges a folder again."""
    return f"hurdle judge {shlex.quote(folder)}"


@dataclass(frozen=True)
class Bar:
    """The states of a model at a stretch of the log: position and width in pixels, and counts."""

    entry: int  #: the stretch's first
    x: float
    width: float
    states: int
    fails: int
    unexpected: int


@dataclass(frozen=True)
class Lane:
    """A model's states along the log."""

    model: CrashModel
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Map:
    """The crash states of a run, write by write.

    Flushes, commits and where operations began are x in pixels.
    """

    case: str
    words: str
    lanes: tuple[Lane, ...]
    flushes: tuple[float, ...]
    commits: tuple[float, ...]
    begun: tuple[float, ...]
    entries: int


MAP_WIDTH = 1000.0  #: pixels


@dataclass(frozen=True)
class Summary:
    """A campaign, as its report tells it."""

    name: str
    title: str
    guest: str
    command: str
    ending: str
    tone: str  #: pass, fail, void or infra
    headline: str
    facts: tuple[tuple[str, str], ...]
    sides: tuple[Side, ...]
    rows: tuple[Row, ...]
    causes: tuple[Cause, ...]
    maps: tuple[Map, ...]
    phases: tuple[tuple[str, float, int], ...]
    versions: tuple[tuple[str, str], ...]
    next_step: str  #: the command that judges the smallest failure again
    next_words: str = ""  #: what that is
    started: str = ""  #: ISO 8601

    @property
    def oracles(self) -> tuple[Oracle, ...]:
        """Those that said something of a row, in their order."""
        found = {cell.oracle for row in self.rows for cell in row.cells}
        return tuple(each for each in (*CAMPAIGN_ORACLES, *RUN_ORACLES) if each in found)
