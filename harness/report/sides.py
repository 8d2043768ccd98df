"""A campaign's tables as text: the variants side by side, and what each crash model showed.  Pure.

The terminal, `table.md` and docs/ have them from here, so that no figure is copied by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.campaign import Side, Summary
from harness.report.text import clean_line
from harness.verdicts import CAMPAIGN_ORACLES, RUN_ORACLES, Oracle, Verdict

Table = list[tuple[str, ...]]  #: lines of cells; the first one has the columns' names

NOTE = (
    "A number is of states that fail; those that only a lying disk leaves are left out. "
    "`FAIL` is any oracle, `stops` are boots at which e2fsck -p waits for a person; "
    "what judges a run is counted in runs, and liveness fails by a hang, a panic, a dead "
    "server, or an operation that ends as it can't."
)


def side_table(sides: Sequence[Side]) -> Table:
    """A line for each variant: states, distinct ones, FAIL by oracle, boots that stop, hangs."""
    states = [each for each in CAMPAIGN_ORACLES if any(each in side.oracles for side in sides)]
    runs = [each for each in RUN_ORACLES if any(each in side.of_log for side in sides)]
    head = ("variant", "states", "distinct", "FAIL", *map(str, states), "stops", *map(str, runs))
    return [head, *(_side(side, states, runs) for side in sides)]


def _side(side: Side, states: Sequence[Oracle], runs: Sequence[Oracle]) -> tuple[str, ...]:
    counts = (side.oracles.get(oracle) for oracle in states)
    return (
        side.variant,
        *map(str, (side.states, side.distinct, side.fails)),
        *("-" if count is None else str(count) for count in counts),
        str(side.stops),
        *(str(side.of_log[oracle]) if oracle in side.of_log else "-" for oracle in runs),
    )


def model_table(summary: Summary) -> Table:
    """A line for each crash model of a variant: how many of its states fail by each oracle."""
    oracles = summary.oracles
    lines: Table = [("variant", "crash", "states", *map(str, oracles))]
    before = ""
    for row in summary.rows:
        cells = []
        for oracle in oracles:
            cell = row.by_oracle.get(oracle)
            if cell is None:
                cells.append("")
            elif oracle in RUN_ORACLES or cell.found in (Verdict.VOID, Verdict.INFRA):
                cells.append(str(cell.found))
            else:
                cells.append(str(cell.fails))
        name = "" if row.variant == before else row.variant
        lines.append((name, row.model.value, str(row.states), *cells))
        before = row.variant
    return lines


def markdown(summary: Summary) -> str:
    """Both tables as Markdown."""
    return "\n".join(
        [
            f"# {clean_line(summary.title)}",
            "",
            f"{clean_line(summary.headline)}.",
            "",
            f"    {clean_line(summary.command)}",
            "",
            *_lines(side_table(summary.sides), right=1),
            "",
            NOTE,
            "",
            *_lines(model_table(summary), right=2),
            "",
        ]
    )


def _lines(table: Table, right: int) -> list[str]:
    """`right` is the first column of numbers."""
    head, *rows = [[clean_line(cell).replace("|", r"\|") for cell in line] for line in table]
    rule = ["---" if n < right else "--:" for n in range(len(head))]
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *rows)]
