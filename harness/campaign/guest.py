"""The guest's part of a campaign: boot, run the workload, kill, and save a case."""

from __future__ import annotations

from dataclasses import dataclass

from harness.campaign.case import Case
from harness.campaign.spec import Campaign
from harness.campaign.work import ScriptWork, StepsWork
from harness.campaign.workload import Script
from harness.experiment.context import Context
from harness.experiment.crash import Evidence, crash
from harness.images.recipe import GuestOs
from harness.workloads.journal import OpTimes
from harness.workloads.model import FRESH, Thing
from harness.workloads.scenario import Step
from harness.workloads.script import parse_listing


@dataclass(frozen=True)
class Run:
    """One run of a campaign in the guest: its name, seed, steps, and what it begins with."""

    name: str
    variant: str
    seed: int
    setup: tuple[Step, ...]
    steps: tuple[Step, ...]
    start: tuple[Thing, ...] = FRESH


def record(context: Context, campaign: Campaign, run: Run, versions: dict[str, str]) -> Case:
    """Run the workload on a variant and save what the crash left in the run's folder.

    Raises `InfraError` or `GuestError`; nothing is saved then.
    """
    folder = context.rundir.out / run.name
    folder.mkdir(exist_ok=True)
    evidence = crash(context, run.variant, folder)
    hurd = context.request.recipe.os is GuestOs.HURD
    work = (
        _script_work(campaign.script, evidence) if campaign.script else _work(run, evidence, hurd)
    )
    case = Case(
        name=run.name,
        variant=run.variant,
        seed=run.seed,
        base=evidence.base,
        log_path=evidence.log,
        work=work,
        # Where a log is replayed first, that is crashed as well.
        begin=0 if context.request.base else evidence.workload_from,
        strictness=campaign.strictness,
        # Linux' drivers for all disks that QEMU has send the flush; the Hurd's may not.
        driver_flushes=None if hurd else True,
        versions=versions,
        outcome=evidence.outcome,
    )
    case.save()
    return case


def _work(run: Run, evidence: Evidence, hurd: bool) -> StepsWork:
    journal = [OpTimes(op.index, op.log_before, op.log_after) for op in evidence.ops]
    if evidence.unfinished is not None:
        journal.append(evidence.unfinished)
    steps = run.steps[: len(journal)]
    return StepsWork(run.setup, steps, tuple(journal), hurd, run.start)


def _script_work(script: Script, evidence: Evidence) -> ScriptWork:
    """Each command has three operations: itself, the listing, the sync."""
    ops, each = evidence.ops, script.OPS_EACH
    whole = len(ops) // each
    journal = [OpTimes(n, op.log_before, op.log_after) for n, op in enumerate(ops[::each])]
    last = evidence.unfinished
    if last is not None and last.number % each == 0:
        journal.append(OpTimes(len(journal), last.begun, None))
    return ScriptWork(
        script.commands[: len(journal)],
        tuple(journal),
        tuple(op.log_after for op in ops[each - 1 :: each]),
        tuple(parse_listing(op.output) for op in ops[1 : whole * each : each]),
    )
