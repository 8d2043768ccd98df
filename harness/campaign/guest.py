"""The guest's part of a campaign: boot, run the workload, kill, and save a case."""

from __future__ import annotations

from dataclasses import dataclass

from harness.campaign.case import Case
from harness.campaign.spec import Campaign
from harness.campaign.work import StepsWork
from harness.experiment.context import Context
from harness.experiment.crash import crash
from harness.images.recipe import GuestOs
from harness.workloads.journal import OpTimes
from harness.workloads.model import FRESH, Thing
from harness.workloads.scenario import Step


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
    journal = [OpTimes(op.index, op.log_before, op.log_after) for op in evidence.ops]
    if evidence.unfinished is not None:
        journal.append(evidence.unfinished)
    case = Case(
        name=run.name,
        variant=run.variant,
        seed=run.seed,
        base=evidence.base,
        log_path=evidence.log,
        work=StepsWork(
            setup=run.setup,
            steps=run.steps[: len(journal)],
            journal=tuple(journal),
            hurd=context.request.recipe.os is GuestOs.HURD,
            start=run.start,
        ),
        # Where a log is replayed first, that is crashed as well.
        begin=0 if context.request.base else evidence.workload_from,
        strictness=campaign.strictness,
        # Linux' drivers for all disks that QEMU has send the flush; the Hurd's may not.
        driver_flushes=True if context.request.recipe.os is GuestOs.LINUX else None,
        versions=versions,
        outcome=evidence.outcome,
    )
    case.save()
    return case
