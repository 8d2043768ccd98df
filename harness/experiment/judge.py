"""Evidence to verdicts: the killed disk, and the states rebuilt from the write log."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.crash.states import CrashState, StateBuilder, spread
from harness.crash.writelog import WriteLog
from harness.disk import ext2
from harness.disk.attach import attached
from harness.disk.copy import sparse_copy
from harness.disk.jbd2 import JournalMap, commits_in, journal_map
from harness.events import (
    CommandRan,
    Commit,
    DiskLog,
    FindingRecord,
    ObjectView,
    StatesPlanned,
    TextKept,
    VerdictGiven,
)
from harness.experiment.context import Context
from harness.experiment.crash import Evidence
from harness.experiment.mounts import GuestMounts
from harness.experiment.reboot import STATE as SECOND_BOOT
from harness.experiment.reboot import reboot
from harness.oracles.context import Context as StateContext
from harness.oracles.durability import durable_from
from harness.oracles.judge import StateReport, judge_state, judge_states
from harness.verdicts import (
    SCENARIO_ORACLES,
    CrashModel,
    Finding,
    FindingClass,
    Judgement,
    Oracle,
    Verdict,
)
from harness.workloads.scenario import Scenario


@dataclass(frozen=True)
class _Log:
    """The write log with what the journal's blocks in it say."""

    log: WriteLog
    journal: JournalMap | None
    commits: tuple[tuple[int, int], ...]  #: (entry, transaction)


def judge(context: Context, evidence: Evidence) -> None:
    """Judge everything that one crash left behind; the verdicts go out as events.

    Raises `InfraError` when a tool or the host breaks.
    """
    scenario, variant = context.request.scenario, evidence.variant
    log = _read(context, evidence)
    context.bus.emit(_disk_log(evidence, log))
    if scenario.crash_model is CrashModel.KILL:
        _judge_killed(context, evidence, log)
        if scenario.disk.which == "root":
            with context.phase(variant, "reboot", "the killed root once more, unattended"):
                _judge_reboot(context, evidence)
    with StateBuilder(evidence.base, log.log, context.rundir.scratch) as builder:
        if evidence.cut is not None:
            with context.phase(variant, "recover", f"the log cut after write {evidence.cut}"):
                _judge_cut(context, evidence, log, builder, evidence.cut)
        if scenario.judge.prefixes != "none":
            with context.phase(
                variant, "judge", f"prefixes of the write log: {scenario.judge.prefixes}"
            ):
                _judge_prefixes(context, evidence, log, builder)
        if scenario.judge.mounts:
            with context.phase(
                variant, "mounts", f"{scenario.judge.mounts} prefixes, by {variant} in the guest"
            ):
                _judge_mounted(context, evidence, log, builder)


def _read(context: Context, evidence: Evidence) -> _Log:
    log = WriteLog.read(evidence.log, evidence.base.stat().st_size)
    if not context.request.recipe.variants[evidence.variant].journaled:
        return _Log(log, None, ())
    journal = journal_map(evidence.base)
    return _Log(log, journal, commits_in(log, journal))


def _disk_log(evidence: Evidence, found: _Log) -> DiskLog:
    log = found.log
    return DiskLog(
        variant=evidence.variant,
        entries=len(log.entries),
        writes=len(log.writes),
        flushes=len(log.flushes),
        discards=len(log.discards),
        bytes_written=log.bytes_written,
        settled=log.settled,
        in_flight=len(log.in_flight),
        torn_bytes=log.torn_bytes,
        workload_from=evidence.workload_from,
        commits=tuple(
            Commit(entry=entry, tid=tid, seen=evidence.seen(entry)) for entry, tid in found.commits
        ),
        flush_entries=tuple(flush.index for flush in log.flushes),
    )


def _state_context(
    scenario: Scenario, evidence: Evidence, found: _Log, model: CrashModel, upto: int | None
) -> StateContext:
    held = found.log.entries if upto is None else found.log.entries[:upto]
    return StateContext(
        model=model,
        position=upto,
        objects=scenario.objects,
        together=scenario.judge.together,
        workload_from=evidence.workload_from,
        durable_from=durable_from(
            evidence.ops, found.commits, [flush.index for flush in found.log.flushes]
        ),
        landed=any(e.is_write and e.index >= evidence.workload_from for e in held),
    )


def _judge_killed(context: Context, evidence: Evidence, found: _Log) -> None:
    """The live kill, looked at through qemu-nbd as a person would attach it."""
    scenario, rundir = context.request.scenario, context.rundir
    state = _state_context(scenario, evidence, found, CrashModel.KILL, None)
    variant, name = evidence.variant, evidence.killed.name
    with ExitStack() as stack:
        # Number 0: it has no partitions, and its superblock may be what the crash destroyed.
        with context.phase(variant, "attach", name):
            disk = stack.enter_context(attached(evidence.killed, "raw", rundir, partition=0))
        context.note(f"{name} attached by {disk.method}", variant=variant)
        with context.phase(variant, "recover", "the disk as the kill left it"):
            report = judge_state(disk.path, state, rundir.scratch, journal=found.journal)
            size = len(found.journal.disk_blocks) if found.journal is not None else 0
            dump = ext2.logdump(disk.path, size) if size else ""
    with context.phase(variant, "verdict", "what the oracles say of it"):
        if dump:
            title = "debugfs logdump before recovery"
            context.bus.emit(TextKept(variant=variant, title=title, text=dump))
        _emit(context, evidence, CrashModel.KILL, report, evidence.killed)
        _emit_details(context, evidence, CrashModel.KILL, report)


def _judge_reboot(context: Context, evidence: Evidence) -> None:
    """The killed root as the guest itself meets it at its next boot."""
    found = reboot(context, evidence)
    for judgement in found.judgements:
        _emit_verdict(
            context, evidence, CrashModel.KILL, SECOND_BOOT, None, judgement, evidence.killed
        )
    _emit_objects(context, evidence, CrashModel.KILL, SECOND_BOOT, "after", found.objects)


def _judge_cut(
    context: Context, evidence: Evidence, found: _Log, builder: StateBuilder, cut: int
) -> None:
    """The scenario's own cut; VOID when the log never got that far."""
    have = len(found.log.writes)
    if have < cut:
        reason = f"the log ended after write {have}, so there is no state after write {cut}"
        for oracle in SCENARIO_ORACLES:
            judgement = Judgement(oracle, Verdict.VOID, reason)
            _emit_verdict(context, evidence, CrashModel.CUT, f"cut-{cut:04d}", None, judgement)
        return
    state = builder.cut(cut)
    builder.materialise(state)
    report = judge_state(
        builder.image,
        _state_context(context.request.scenario, evidence, found, CrashModel.CUT, state.upto),
        context.rundir.scratch,
        name=state.id,
        journal=found.journal,
    )
    _emit(context, evidence, CrashModel.CUT, report, evidence.log)
    _emit_details(context, evidence, CrashModel.CUT, report)


def _judge_prefixes(
    context: Context, evidence: Evidence, found: _Log, builder: StateBuilder
) -> None:
    scenario = context.request.scenario
    states = _chosen(builder.prefixes(), scenario, evidence.workload_from)
    context.bus.emit(
        StatesPlanned(variant=evidence.variant, model=CrashModel.PREFIX, states=len(states))
    )

    def about(state: CrashState) -> StateContext:
        return _state_context(scenario, evidence, found, CrashModel.PREFIX, state.upto)

    shown: set[Oracle] = set()
    reports = judge_states(builder, states, about, context.rundir.scratch, journal=found.journal)
    for report in reports:
        _emit(context, evidence, CrashModel.PREFIX, report, evidence.log)
        failed = {j.oracle for j in report.judgements if j.verdict is Verdict.FAIL}
        # The first example of each oracle's failures is worth its details; thousands are not.
        if failed - shown:
            shown |= failed
            _emit_details(context, evidence, CrashModel.PREFIX, report)


def _judge_mounted(
    context: Context, evidence: Evidence, found: _Log, builder: StateBuilder
) -> None:
    """Some prefixes as the variant's own mount, and a clean unmount, leave them."""
    request, rundir = context.request, context.rundir
    scenario = request.scenario
    mounts = GuestMounts(request.recipe, request.image, evidence.variant, rundir, context.accel)
    disk = rundir.scratch / "mounted.raw"
    for state in spread(
        _chosen(builder.prefixes(), scenario, evidence.workload_from), scenario.judge.mounts
    ):
        builder.materialise(state)
        sparse_copy(builder.image, disk)
        about = _state_context(scenario, evidence, found, CrashModel.PREFIX, state.upto)
        name = f"{state.id}-mounted"
        [why] = mounts.recover([disk])
        if why:
            finding = Finding("not-mounted", FindingClass.DAMAGE, why)
            judgement = Judgement(Oracle.BOOT, Verdict.FAIL, why, (finding,))
            _emit_verdict(
                context, evidence, CrashModel.PREFIX, name, state.upto, judgement, evidence.log
            )
            continue
        report = judge_state(disk, about, rundir.scratch, name=name, journal=found.journal)
        _emit(context, evidence, CrashModel.PREFIX, report, evidence.log)
    disk.unlink()


def _chosen(
    states: tuple[CrashState, ...], scenario: Scenario, workload_from: int
) -> tuple[CrashState, ...]:
    """The prefixes that the scenario asks for; `workload` begins with the settled set-up itself."""
    if scenario.judge.prefixes == "all":
        return states
    first = max((i for i, each in enumerate(states) if each.upto <= workload_from), default=0)
    return states[first:]


def _emit(
    context: Context, evidence: Evidence, model: CrashModel, report: StateReport, proof: Path
) -> None:
    for judgement in report.judgements:
        _emit_verdict(context, evidence, model, report.id, report.position, judgement, proof)


def _emit_verdict(
    context: Context,
    evidence: Evidence,
    model: CrashModel,
    state: str,
    position: int | None,
    judgement: Judgement,
    proof: Path | None = None,
) -> None:
    request = context.request
    context.bus.emit(
        VerdictGiven(
            verdict=judgement.verdict,
            oracle=judgement.oracle,
            scenario=request.scenario.name,
            guest=request.recipe.name,
            variant=evidence.variant,
            model=model,
            state=state,
            reason=judgement.reason,
            evidence=str((proof or evidence.log).relative_to(context.rundir.out)),
            position=position,
            findings=tuple(
                FindingRecord(code=each.code, kind=each.kind, text=each.text)
                for each in judgement.findings
            ),
        )
    )


def _emit_details(
    context: Context, evidence: Evidence, model: CrashModel, report: StateReport
) -> None:
    """The objects before and after, the superblock's flags, and what e2fsck was told and said."""
    bus, variant, seen = context.bus, evidence.variant, report.seen
    _emit_objects(context, evidence, model, report.id, "before", seen.before)
    _emit_objects(context, evidence, model, report.id, "after", seen.after)
    flags = (
        f"before recovery: {seen.superblock.flags}; the log {_holds(seen.log_has_data)}\n"
        f"after recovery:  {seen.recovered.flags}"
    )
    bus.emit(TextKept(variant=variant, title=f"superblock of {report.id}", text=flags))
    for fsck in seen.runs:
        bus.emit(
            CommandRan(variant=variant, what=f"{fsck.mode} of {report.id}", command=fsck.command)
        )
        title = f"e2fsck on {report.id}: {fsck.mode}, exit code {fsck.rc}"
        bus.emit(TextKept(variant=variant, title=title, text=fsck.text))


def _emit_objects(
    context: Context,
    evidence: Evidence,
    model: CrashModel,
    state: str,
    when: Literal["before", "after"],
    objects: Iterable[ext2.ObjectStat],
) -> None:
    for each in objects:
        context.bus.emit(
            ObjectView(
                variant=evidence.variant,
                model=model,
                state=state,
                path=each.path,
                when=when,
                present=each.present,
                fields=each.fields,
                text=each.text,
            )
        )


def _holds(data: bool) -> str:
    return "has data to replay" if data else "is empty"
