"""Folds the events of a run into what a report shows.

Pure, and content with any list of events: out of order, doubled, or cut off anywhere, since a
report of a run that was killed is the one that is needed most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from harness.errors import Exit
from harness.events import (
    CommandRan,
    Compared,
    DiskLog,
    Event,
    Note,
    OpDone,
    PhaseBegan,
    PhaseEnded,
    RunBegan,
    RunEnded,
    TextKept,
    VerdictGiven,
)
from harness.report import story
from harness.report.findings import finding_groups, reason_groups
from harness.report.objects import object_pairs
from harness.report.text import finite
from harness.report.view import (
    Cell,
    CommitSpan,
    Ending,
    Judged,
    Phase,
    Report,
    VariantView,
)
from harness.verdicts import CrashModel, Oracle, Verdict

E = TypeVar("E")

_ENDINGS = {
    Exit.OK: Ending.OK,
    Exit.UNEXPECTED: Ending.UNEXPECTED,
    Exit.USAGE: Ending.USAGE,
    Exit.INFRA: Ending.INFRA,
    Exit.GUEST: Ending.GUEST,
    Exit.VOID: Ending.VOID,
    Exit.INTERRUPTED: Ending.INTERRUPTED,
    Exit.TERMINATED: Ending.INTERRUPTED,
}
# Worst first: one FAIL among a thousand states is what a reader has to see.
_WORST = (Verdict.FAIL, Verdict.INFRA, Verdict.PASS, Verdict.VOID)


def build(events: Sequence[Event]) -> Report:
    """The report of a run, from its events so far."""
    run = next(iter(_of(events, RunBegan)), None)
    end = next(reversed(_of(events, RunEnded)), None)
    last = max((finite(event.t) for event in events), default=0.0)
    variants = tuple(_variant(name, events, last) for name in _variant_names(run, events))
    ending = _ending(end, variants)
    return Report(
        run=run,
        end=end,
        ending=ending,
        caveat=story.caveat(variants),
        headline=story.headline(ending, end, variants),
        next_step=story.next_step(end, variants),
        seconds=last,
        variants=variants,
        notes=tuple(note for note in _of(events, Note) if not note.variant),
    )


def _of(events: Iterable[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def _variant_names(run: RunBegan | None, events: Sequence[Event]) -> list[str]:
    """Every variant that was planned or seen, in that order."""
    names = dict.fromkeys(run.variants if run else ())
    for event in events:
        name = getattr(event, "variant", "")
        if name:
            names.setdefault(name)
    return list(names)


def _ending(end: RunEnded | None, variants: Sequence[VariantView]) -> Ending:
    if end is None:
        return Ending.CUT_OFF
    try:
        ending = _ENDINGS.get(Exit(end.exit_code), Ending.INFRA)
    except ValueError:
        return Ending.INFRA
    # An exit code never outshines what the oracles said, or did not say.
    green = ending in (Ending.OK, Ending.VOID)
    if green and any(cell.ok is False for variant in variants for cell in variant.cells):
        return Ending.UNEXPECTED
    if green and not all(variant.cells for variant in variants):
        return Ending.VOID
    return ending if variants or not green else Ending.VOID


def _variant(name: str, events: Sequence[Event], last: float) -> VariantView:
    mine = [event for event in events if getattr(event, "variant", None) == name]
    judged = tuple(_judged(event) for event in _of(mine, VerdictGiven))
    ops = tuple(sorted(_of(mine, OpDone), key=lambda op: op.index))
    phases = _phases(mine, last)
    log = next(reversed(_of(mine, DiskLog)), None)
    cells = _cells(name, _of(mine, Compared), judged)
    objects = object_pairs(events, name, judged)
    findings = finding_groups(_of(mine, VerdictGiven))
    return VariantView(
        name=name,
        sentence=story.sentence(name, cells, objects, findings),
        phases=phases,
        ops=ops,
        commits=_commits(log, ops, phases, last),
        log=log,
        objects=objects,
        cells=cells,
        judged=judged,
        findings=findings,
        reasons=reason_groups(judged),
        commands=tuple(_of(mine, CommandRan)),
        texts=tuple(_of(mine, TextKept)),
        notes=tuple(_of(mine, Note)),
    )


def _phases(events: Sequence[Event], last: float) -> tuple[Phase, ...]:
    """Phases by their begin and end; an end without a begin is placed by its length."""
    found: list[Phase] = []
    open_phases: dict[str, PhaseBegan] = {}
    for event in events:
        if isinstance(event, PhaseBegan):
            open_phases[event.phase] = event
        elif isinstance(event, PhaseEnded):
            began = open_phases.pop(event.phase, None)
            ended = finite(event.t)
            start = finite(began.t) if began else max(ended - finite(event.seconds), 0.0)
            detail = began.detail if began else ""
            found.append(Phase(event.phase, detail, min(start, ended), ended, event.ok))
    for began in open_phases.values():
        start = finite(began.t)
        found.append(Phase(began.phase, began.detail, start, max(last, start), None))
    return tuple(sorted(found, key=lambda phase: phase.began))


def _commits(
    log: DiskLog | None, ops: Sequence[OpDone], phases: Sequence[Phase], last: float
) -> tuple[CommitSpan, ...]:
    if log is None:
        return ()
    kills = [phase.ended for phase in phases if phase.name == "kill"]
    latest = max(kills, default=last)
    spans = []
    for commit in log.commits:
        low = [finite(op.began) for op in ops if op.log_before <= commit.entry]
        low += [finite(op.ended) for op in ops if op.log_after <= commit.entry]
        high = [finite(op.began) for op in ops if op.log_before > commit.entry]
        high += [finite(op.ended) for op in ops if op.log_after > commit.entry]
        low_time, high_time = max(low, default=0.0), min(high, default=latest)
        seen = None if commit.seen is None else finite(commit.seen)
        spans.append(
            CommitSpan(commit.entry, commit.tid, min(low_time, high_time), high_time, seen)
        )
    return tuple(spans)


def _judged(event: VerdictGiven) -> Judged:
    return Judged(
        event.model,
        event.state,
        event.oracle,
        event.verdict,
        event.reason,
        event.evidence,
        event.position,
    )


def _cells(
    variant: str, compared: Sequence[Compared], judged: Sequence[Judged]
) -> tuple[Cell, ...]:
    """Comparisons as they were made, and for a run that was cut off the verdicts so far."""
    made = {(event.model, event.oracle): event for event in compared}
    seen: dict[tuple[CrashModel, Oracle], list[Verdict]] = {}
    for item in judged:
        seen.setdefault((item.model, item.oracle), []).append(item.verdict)
    cells = []
    for model in CrashModel:
        for oracle in Oracle:
            comparison, verdicts = made.get((model, oracle)), seen.get((model, oracle), [])
            if comparison is not None:
                cells.append(_compared_cell(comparison))
            elif verdicts:
                counts = {verdict: verdicts.count(verdict) for verdict in Verdict}
                found = next(verdict for verdict in _WORST if counts[verdict])
                cells.append(
                    Cell(variant, model, oracle, None, found, None, len(verdicts), counts, "")
                )
    return tuple(cells)


def _compared_cell(event: Compared) -> Cell:
    counts = {verdict: max(event.counts.get(verdict.value, 0), 0) for verdict in Verdict}
    return Cell(
        event.variant,
        event.model,
        event.oracle,
        event.expected,
        event.found,
        event.ok,
        event.states,
        counts,
        event.note,
    )
