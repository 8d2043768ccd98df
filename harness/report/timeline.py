"""Geometry of a variant's time line: true proportions, and an enlarged part where they hide.

A boot takes a minute and an operation some milliseconds.  So the time line is drawn twice, each
time to scale: the whole run, and the stretch from the first operation to the kill.
Positions are percentages of the axis, so that the drawing fits any width without scaling its text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.report.text import clean_line, duration, finite
from harness.report.view import Phase, VariantView

_ZOOM_WORTH = 3.0  #: enlarging by less than this shows nothing new
_OPS_DRAWN = 12
_TICKS = 6


@dataclass(frozen=True)
class Bar:
    """A stretch of time; `kind` chooses the look."""

    kind: str  #: phase, op, wait, commit, kill
    label: str
    value: str
    title: str
    x: float
    width: float
    ok: bool = True


@dataclass(frozen=True)
class Axis:
    """Bars below each other over one scale."""

    title: str
    began: float
    seconds: float
    ticks: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Timeline:
    """The whole run of a variant, and the stretch that is about the crash."""

    whole: Axis
    zoom: Axis | None
    zoom_x: float  #: where the enlarged stretch lies on the whole axis, in percent
    zoom_width: float
    factor: int


def timeline(variant: VariantView) -> Timeline | None:
    """The variant's time line; None when nothing was timed."""
    if not variant.phases:
        return None
    began = min(phase.began for phase in variant.phases)
    ended = max(phase.ended for phase in variant.phases)
    span = max(ended - began, 0.001)
    bars = tuple(_phase_bar(phase, began, span) for phase in _merged(variant.phases))
    whole = Axis("whole run", began, span, _ticks(span), bars)
    zoom_began, zoom_ended = _crash_stretch(variant)
    zoom_span = zoom_ended - zoom_began
    factor = span / zoom_span if zoom_span > 0 else 0.0
    zoom = _zoom(variant, zoom_began, zoom_span) if zoom_span > 0 else None
    return Timeline(
        whole,
        zoom,
        _percent(zoom_began, began, span),
        100 * min(max(zoom_span, 0.0) / span, 1.0),
        round(factor) if factor >= _ZOOM_WORTH else 1,
    )


def _merged(phases: tuple[Phase, ...]) -> list[Phase]:
    """Phases of one name in a row as one stretch, such as a workload step by step."""
    merged: list[Phase] = []
    for phase in phases:
        last = merged[-1] if merged else None
        if last and last.name == phase.name:
            ok = None if None in (last.ok, phase.ok) else bool(last.ok and phase.ok)
            ended = max(last.ended, phase.ended)
            merged[-1] = Phase(phase.name, last.detail, last.began, ended, ok)
        else:
            merged.append(phase)
    return merged


def _phase_bar(phase: Phase, began: float, span: float) -> Bar:
    end = "" if phase.ok else (" and did not end" if phase.ok is None else ", then failed")
    value = duration(phase.seconds) + ("" if phase.ok else "…" if phase.ok is None else " failed")
    return Bar(
        kind=phase.name if phase.name in ("kill", "wait") else "phase",
        label=clean_line(phase.name),
        value=value,
        title=clean_line(f"{phase.name} took {duration(phase.seconds)}{end}  {phase.detail}"),
        x=_percent(phase.began, began, span),
        width=100 * min(phase.seconds / span, 1.0),
        ok=phase.ok is not False,
    )


def _crash_stretch(variant: VariantView) -> tuple[float, float]:
    """From the first recorded operation to the end of the kill."""
    starts = [finite(op.began) for op in variant.ops if op.index >= 0]
    starts += [phase.began for phase in variant.phases if phase.name == "workload"]
    ends = [finite(op.ended) for op in variant.ops if op.index >= 0]
    ends += [p.ended for p in variant.phases if p.name in ("workload", "wait", "kill")]
    return (min(starts), max(ends)) if starts and ends else (0.0, 0.0)


def _zoom(variant: VariantView, began: float, span: float) -> Axis:
    bars: list[tuple[float, Bar]] = []
    recorded = [op for op in variant.ops if op.index >= 0]
    for op in recorded[:_OPS_DRAWN]:
        start, seconds = finite(op.began), finite(op.ended) - finite(op.began)
        name = clean_line(op.op)
        title = f"{name}: {duration(seconds)}, log {op.log_before} to {op.log_after}"
        bars.append((start, _bar("op", name, start, seconds, began, span, title, op.ok)))
    if len(recorded) > _OPS_DRAWN:
        start = finite(recorded[_OPS_DRAWN].began)
        seconds = finite(recorded[-1].ended) - start
        name = f"{len(recorded) - _OPS_DRAWN} more operations"
        bars.append((start, _bar("op", name, start, seconds, began, span, name)))
    for phase in variant.phases:
        if phase.name in ("wait", "kill"):
            title = clean_line(f"{phase.name} {phase.detail}")
            item = _bar(phase.name, phase.name, phase.began, phase.seconds, began, span, title)
            bars.append((phase.began, item))
    for commit in variant.commits:
        before = variant.log is not None and commit.entry < variant.log.workload_from
        if before or commit.latest <= began or commit.earliest > began + span:
            continue
        name = f"commit of transaction {commit.tid}"
        if commit.seen is not None:
            title = f"{name}, log entry {commit.entry}: seen in the log at this moment"
            bar = _bar("commit", name, commit.seen, 0.0, began, span, title)
        else:
            start = max(commit.earliest, began)
            title = f"{name}, log entry {commit.entry}: logged at some time in this stretch"
            bar = _bar("commit", name, start, commit.latest - start, began, span, title)
        bars.append((commit.latest, bar))
    ordered = tuple(bar for _, bar in sorted(bars, key=lambda item: item[0]))
    return Axis("from the first operation to the kill", began, span, _ticks(span), ordered)


def _bar(
    kind: str,
    label: str,
    start: float,
    seconds: float,
    began: float,
    span: float,
    title: str,
    ok: bool = True,
) -> Bar:
    value = duration(seconds)
    if kind == "commit":
        value = f"within {value}" if seconds > 0 else f"at {duration(start - began)}"
    return Bar(
        kind=kind,
        label=label,
        value=value,
        title=title,
        x=_percent(start, began, span),
        width=100 * min(max(seconds, 0.0) / span, 1.0),
        ok=ok,
    )


def _percent(value: float, began: float, span: float) -> float:
    return 100 * min(max((value - began) / span, 0.0), 1.0)


def _ticks(span: float) -> tuple[tuple[float, str], ...]:
    """At most seven round numbers along the axis, so that they fit a telephone."""
    power = 10 ** math.floor(math.log10(span))
    step = next(power * n for n in (0.2, 0.5, 1, 2) if span / (power * n) <= _TICKS)
    count = int(span / step + 1e-9)
    return tuple(
        (100 * i * step / span, duration(i * step) if i else "0") for i in range(count + 1)
    )
