"""Tables for a terminal: verdicts against expectations, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from harness.events import Event
from harness.report.model import build
from harness.report.text import clean_line, duration
from harness.report.view import Cell, Report
from harness.verdicts import Verdict

#: cyan and red differ for every kind of eye, and the word is always there too
STYLES = {
    Verdict.PASS: "cyan",
    Verdict.FAIL: "bold red",
    Verdict.VOID: "dim",
    Verdict.INFRA: "magenta",
}


def result_table(report: Report) -> Table:
    """Each variant, crash model and oracle: expected, found, states, and whether they agree."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in ("variant", "crash", "oracle", "expected", "found"):
        table.add_column(name, no_wrap=True)
    table.add_column("states", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    last = ""
    for cell in report.cells:
        name = clean_line(cell.variant) if cell.variant != last else ""
        last = cell.variant
        table.add_row(
            Text(name, style="bold"),
            str(cell.model),
            str(cell.oracle),
            str(cell.expected or "?"),
            Text(str(cell.found), style=STYLES[cell.found]),
            _counts(cell) if cell.mixed else str(cell.states),
            _mark(cell),
            Text(clean_line(cell.note), style="dim"),
        )
    return table


def _mark(cell: Cell) -> Text:
    if cell.ok is None:
        return Text("open", style="yellow")
    return Text("ok", style="cyan") if cell.ok else Text("UNEXPECTED", style="bold red")


def _counts(cell: Cell) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in cell.counts.items() if count)


def timings_table(events: Sequence[Event]) -> Table:
    """Where the time went: a row for each phase, a column for each variant."""
    report = build(events)
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    table.add_column("phase", footer="all", no_wrap=True)
    rows: dict[str, None] = {}
    totals: list[dict[str, float]] = []
    for variant in report.variants:
        spent: dict[str, float] = {}
        for phase in variant.phases:
            rows.setdefault(phase.name)
            spent[phase.name] = spent.get(phase.name, 0.0) + phase.seconds
        totals.append(spent)
        whole = duration(sum(spent.values()))
        table.add_column(clean_line(variant.name), footer=whole, justify="right", no_wrap=True)
    for name in rows:
        cells = [duration(spent[name]) if name in spent else "" for spent in totals]
        table.add_row(clean_line(name), *cells)
    return table
