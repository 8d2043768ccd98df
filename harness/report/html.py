"""One self-contained HTML page: nothing is loaded, no script runs, it prints as it looks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.events import Event
from harness.report import story
from harness.report.atomic import write_atomically
from harness.report.junit import write_junit
from harness.report.model import build
from harness.report.strip import strip
from harness.report.text import clean, counted, duration, excerpt, size
from harness.report.timeline import timeline
from harness.report.view import Ending
from harness.verdicts import Verdict

#: verdicts by shape as well, since colour alone says nothing to many readers
GLYPHS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.VOID: "∅", Verdict.INFRA: "!"}
_TONES = {Ending.OK: "pass", Ending.UNEXPECTED: "fail", Ending.VOID: "void"}


def write_html(events: Sequence[Event], path: Path) -> None:
    """Write the run's page; an earlier page is replaced at once or not at all."""
    write_atomically(path, page(events).encode())


def write_all(events: Sequence[Event], out: Path) -> None:
    """Write `report.html` and `junit.xml` into the run's folder."""
    write_html(events, out / "report.html")
    write_junit(events, out / "junit.xml")


def page(events: Sequence[Event]) -> str:
    """The HTML that `write_html` writes."""
    report = build(events)
    return (
        environment()
        .get_template("report.html.j2")
        .render(report=report, tone=_TONES.get(report.ending, "infra"))
    )


def _printable(value: Any) -> Any:
    """Every value on its way into the page: no control character gets past this."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def environment() -> Environment:
    """The templates of all pages."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        duration=duration,
        excerpt=excerpt,
        size=size,
        px=lambda value: f"{value:.2f}".rstrip("0").rstrip("."),
    )
    environment.globals.update(
        counted=counted,
        timeline=timeline,
        strip=strip,
        GLYPHS=GLYPHS,
        MODELS=story.MODELS,
        ORACLES=story.ORACLES,
    )
    return environment
