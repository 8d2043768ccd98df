"""A campaign's report: one HTML page and a JUnit file, from a summary that holds all they say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from harness.report.atomic import write_atomically
from harness.report.html import environment
from harness.report.text import clean_line
from harness.verdicts import CrashModel, Oracle, Verdict


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
    of_log: dict[Oracle, Verdict]
    shares: dict[CrashModel, Share]

    @property
    def safe(self) -> bool:
        return not self.fails and Verdict.FAIL not in self.of_log.values() and self.states > 0


@dataclass(frozen=True)
class Cause:
    """Failures of one cause.

    `folder` has the example, `others` are those of other operations; empty where none was saved.
    `during` are the operations that had begun last, by how many states.
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
    next_step: str


def write_campaign(summary: Summary, out: Path) -> None:
    """Write `report.html` and `junit.xml`."""
    write_atomically(out / "report.html", page(summary).encode())
    write_atomically(out / "junit.xml", junit_xml(summary))


def page(summary: Summary) -> str:
    """The HTML."""
    return environment().get_template("campaign.html.j2").render(summary=summary, width=MAP_WIDTH)


def junit_xml(summary: Summary) -> bytes:
    """The JUnit XML: a suite for each variant, a test case for each model and oracle.

    An unexpected verdict is a failure, an unexpected VOID is skipped, INFRA is an error.
    """
    root = JUnitXml(f"hurdle campaign {clean_line(summary.name)} on {clean_line(summary.guest)}")
    for variant in dict.fromkeys(row.variant for row in summary.rows):
        suite = TestSuite(clean_line(variant))
        for row in (row for row in summary.rows if row.variant == variant):
            for cell in row.cells:
                case = TestCase(f"{cell.oracle} over {row.model}", f"{summary.name}.{variant}")
                if not cell.ok:
                    case.result = [_problem(summary, row, cell)]
                suite.add_testcase(case)
        root.add_testsuite(suite)
    if not summary.rows:
        broken = TestCase("campaign", summary.name)
        broken.result = [Error(clean_line(summary.headline))]
        suite = TestSuite("campaign")
        suite.add_testcase(broken)
        root.add_testsuite(suite)
    root.update_statistics()  # type: ignore[no-untyped-call]
    xml: bytes = root.tostring()  # type: ignore[no-untyped-call]
    return xml


def _problem(summary: Summary, row: Row, cell: Cell) -> Error | Failure | Skipped:
    said = f"expected {cell.expected}, found {cell.found} ({cell.fails} of {cell.states} states)"
    if cell.note:
        said += f": {clean_line(cell.note)}"
    if cell.found is Verdict.VOID:
        return Skipped(said)
    causes = [
        f"{each.count} x {each.cause}: {each.reason}\n{each.folder}"
        for each in summary.causes
        if (each.variant, each.oracle) == (row.variant, cell.oracle) and row.model in each.models
    ]
    kind = Error if cell.found is Verdict.INFRA else Failure
    problem: Error | Failure = kind(said)
    problem.text = "\n".join(clean_line(line) for each in causes[:5] for line in each.split("\n"))
    return problem
