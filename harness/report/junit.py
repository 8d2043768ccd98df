"""JUnit XML: a suite for each variant, a test case for each model and oracle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from harness.events import Event, VerdictGiven
from harness.report.atomic import write_atomically
from harness.report.model import build
from harness.report.text import clean, clean_line, counted
from harness.report.view import Cell, Ending, Report, VariantView
from harness.verdicts import Verdict

_BROKEN = (
    Ending.INFRA,
    Ending.GUEST,
    Ending.USAGE,
    Ending.INTERRUPTED,
    Ending.CUT_OFF,
)
_SHOWN = 5  # failing states spelled out in a test case; the rest are counted


def write_junit(events: Sequence[Event], path: Path) -> None:
    """Write the run as JUnit XML.

    Unexpected verdicts are failures, VOID is skipped with its reason, INFRA is an error, and so is
    a run that broke or a variant that was planned and never judged.
    """
    write_atomically(path, junit_xml(events))


def junit_xml(events: Sequence[Event]) -> bytes:
    """The XML that `write_junit` writes."""
    report = build(events)
    verdicts = [event for event in events if isinstance(event, VerdictGiven)]
    name = clean_line(report.run.scenario) if report.run else "unknown scenario"
    guest = clean_line(report.run.guest) if report.run else "unknown guest"
    root = JUnitXml(f"hurdle {name} on {guest}")
    for variant in report.variants:
        root.add_testsuite(_suite(report, variant, verdicts, f"{name}.{guest}"))
    if report.ending in _BROKEN:
        root.add_testsuite(_broken(report, f"{name}.{guest}"))
    root.update_statistics()  # type: ignore[no-untyped-call]
    xml: bytes = root.tostring()  # type: ignore[no-untyped-call]
    return xml


def _suite(
    report: Report, variant: VariantView, verdicts: Sequence[VerdictGiven], prefix: str
) -> TestSuite:
    suite = TestSuite(clean_line(variant.name))
    _describe(suite, report)
    classname = f"{prefix}.{clean_line(variant.name)}"
    # The guest's time belongs to the suite; a case has the share of the judging that it can claim.
    seconds = sum(phase.seconds for phase in variant.phases if phase.name == "judge")
    share = seconds / len(variant.cells) if variant.cells else 0.0
    for cell in variant.cells:
        case = TestCase(f"{cell.model}: {cell.oracle}", classname, round(share, 3))
        given = [
            event
            for event in verdicts
            if (event.variant, event.model, event.oracle) == (variant.name, cell.model, cell.oracle)
        ]
        result = _result(cell, given)
        if result is not None:
            case.result = [result]
        case.system_out = _summary(cell)
        suite.add_testcase(case)
    if not variant.cells:
        case = TestCase("judged", classname)
        case.result = [_with_text(Error("the variant was not judged", "not-judged"), "")]
        suite.add_testcase(case)
    return suite


def _describe(suite: TestSuite, report: Report) -> None:
    if report.run is None:
        return
    facts = {"os": report.run.os, "accel": report.run.accel, "command": report.run.command}
    for name, value in {**facts, **report.run.versions}.items():
        suite.add_property(clean_line(name), clean_line(value))
    suite.timestamp = clean_line(report.run.started)
    suite.hostname = clean_line(report.run.guest)


def _result(cell: Cell, given: Sequence[VerdictGiven]) -> Failure | Error | Skipped | None:
    """What the case says beside its name; None is a pass."""
    summary = _summary(cell)
    if cell.ok is None:
        return _with_text(Error(f"not compared: {summary}", "not-compared"), "")
    if cell.found is Verdict.INFRA:
        return _with_text(Error(summary, "INFRA"), _evidence(given, Verdict.INFRA))
    if not cell.ok:
        return _with_text(Failure(summary, "unexpected"), _evidence(given, cell.found))
    if cell.found is Verdict.VOID:
        reason = next((e.reason for e in given if e.verdict is Verdict.VOID), "proves nothing")
        return Skipped(clean_line(f"VOID: {reason}"))
    return None


def _with_text(result: Failure | Error, text: str) -> Failure | Error:
    result.text = text
    return result


def _summary(cell: Cell) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in cell.counts.items() if count)
    expected = f"expected {cell.expected}, " if cell.expected else ""
    note = f"; {cell.note}" if cell.note else ""
    return clean_line(
        f"{expected}found {cell.found} in {counted(cell.states, 'state')} ({counts}){note}"
    )


def _evidence(given: Sequence[VerdictGiven], verdict: Verdict) -> str:
    """The first states with this verdict: where, why, and e2fsck's own words."""
    hits = [event for event in given if event.verdict is verdict]
    lines = []
    for event in hits[:_SHOWN]:
        lines.append(f"{event.state}: {event.reason}")
        if event.evidence:
            lines.append(f"  evidence: {event.evidence}")
        lines += [f"  {item.code} ({item.kind}): {item.text}" for item in event.findings[:10]]
    if len(hits) > _SHOWN:
        lines.append(f"and {counted(len(hits) - _SHOWN, 'more state')}")
    return clean("\n".join(lines))


def _broken(report: Report, prefix: str) -> TestSuite:
    """A suite of its own for what broke, so that a dashboard can't read the run as green."""
    suite = TestSuite("run")
    _describe(suite, report)
    case = TestCase("ends", prefix, round(report.seconds, 3))
    message = clean_line(report.end.message if report.end else report.headline)
    detail = [report.headline]
    if report.next_step:
        detail.append(f"next: {report.next_step}")
    detail += [f"{note.level}: {note.text}" for note in report.notes]
    case.result = [
        _with_text(
            Error(message or str(report.ending), str(report.ending)), clean("\n".join(detail))
        )
    ]
    suite.add_testcase(case)
    return suite
