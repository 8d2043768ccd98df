"""A campaign's report as files: an HTML page, its tables, and JUnit XML for CI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from harness.report.atomic import write_atomically
from harness.report.campaign import MAP_WIDTH, Cell, Row, Summary
from harness.report.html import environment
from harness.report.sides import markdown
from harness.report.text import clean, clean_line, counted
from harness.verdicts import Verdict


def write_campaign(summary: Summary, out: Path) -> None:
    """Write `report.html`, `table.md` and `junit.xml`."""
    write_atomically(out / "report.html", page(summary).encode())
    write_atomically(out / "table.md", markdown(summary).encode())
    write_atomically(out / "junit.xml", junit_xml(summary))


def page(summary: Summary) -> str:
    """The HTML."""
    return environment().get_template("campaign.html.j2").render(summary=summary, width=MAP_WIDTH)


def junit_xml(summary: Summary) -> bytes:
    """The JUnit XML: a suite for each variant, a test case for each model and oracle.

    An unexpected verdict is a failure, INFRA an error, VOID where it was expected is skipped with
    its reason.  A campaign that did not end is an error in a suite of its own, so that what was
    judged until then can't look like all of it.
    """
    root = JUnitXml(f"hurdle campaign {clean_line(summary.name)} on {clean_line(summary.guest)}")
    for variant in dict.fromkeys(row.variant for row in summary.rows):
        rows = [row for row in summary.rows if row.variant == variant]
        root.add_testsuite(_suite(summary, variant, rows))
    if summary.tone == "infra" or not summary.rows:
        root.add_testsuite(_broken(summary))
    root.update_statistics()  # type: ignore[no-untyped-call]
    xml: bytes = root.tostring()  # type: ignore[no-untyped-call]
    return xml


def _suite(summary: Summary, variant: str, rows: Sequence[Row]) -> TestSuite:
    suite = TestSuite(clean_line(variant))
    _describe(suite, summary)
    classname = clean_line(f"{summary.name}.{summary.guest}.{variant}")
    for row in rows:
        for cell in row.cells:
            case = TestCase(f"{cell.oracle} over {row.model}", classname)
            problem = _problem(summary, row, cell)
            if problem is not None:
                case.result = [problem]
            case.system_out = _said(cell)
            suite.add_testcase(case)
    return suite


def _describe(suite: TestSuite, summary: Summary) -> None:
    for name, value in (("command", summary.command), *summary.facts, *summary.versions):
        suite.add_property(clean_line(name), clean_line(value))
    if summary.started:
        suite.timestamp = clean_line(summary.started)
    suite.hostname = clean_line(summary.guest)


def _broken(summary: Summary) -> TestSuite:
    suite = TestSuite("campaign")
    _describe(suite, summary)
    case = TestCase("ends", clean_line(f"{summary.name}.{summary.guest}"))
    case.result = [Error(clean_line(summary.headline), clean_line(summary.ending))]
    suite.add_testcase(case)
    return suite


def _said(cell: Cell) -> str:
    note = f": {cell.note}" if cell.note else ""
    fails = f" ({cell.fails} of {counted(cell.states, 'state')} fail)" if cell.states else ""
    return clean_line(f"expected {cell.expected}, found {cell.found}{fails}{note}")


def _problem(summary: Summary, row: Row, cell: Cell) -> Error | Failure | Skipped | None:
    """What the test case says beside its name; None is a pass."""
    if cell.found is Verdict.INFRA:
        return Error(_said(cell), "INFRA")
    if cell.ok:
        return Skipped(_said(cell)) if cell.found is Verdict.VOID else None
    problem = Failure(_said(cell), "unexpected")
    causes = [
        f"{each.count} x {each.cause}: {each.reason}" + f"\n{each.folder}" * bool(each.folder)
        for each in summary.causes
        if (each.variant, each.oracle) == (row.variant, cell.oracle)
        and (row.model in each.models or not each.models)
    ]
    problem.text = clean("\n".join(causes[:5]))
    return problem
