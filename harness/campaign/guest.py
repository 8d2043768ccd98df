"""The guest's part of a campaign: boot, run the workload, kill, and save a case."""

from __future__ import annotations

from harness.campaign.case import Case
from harness.campaign.spec import Campaign
from harness.campaign.work import StepsWork
from harness.experiment.context import Context
from harness.experiment.crash import crash
from harness.images.recipe import GuestOs
from harness.workloads.journal import OpTimes


def record(
    context: Context,
    campaign: Campaign,
    variant: str,
    seed: int,
    name: str,
    versions: dict[str, str],
) -> Case:
    """Run the workload on a variant and save what the crash left in the run's folder.

    Raises `InfraError` or `GuestError`; nothing is saved then.
    """
    folder = context.rundir.out / name
    folder.mkdir(exist_ok=True)
    evidence = crash(context, variant, folder)
    trial = context.request.trial
    journal = [OpTimes(op.index, op.log_before, op.log_after) for op in evidence.ops]
    if evidence.unfinished is not None:
        journal.append(evidence.unfinished)
    case = Case(
        name=name,
        variant=variant,
        seed=seed,
        base=evidence.base,
        log_path=evidence.log,
        work=StepsWork(
            setup=campaign.prelude(seed, trial),
            steps=campaign.workload(seed, trial)[: len(journal)],
            journal=tuple(journal),
            hurd=context.request.recipe.os is GuestOs.HURD,
        ),
        begin=evidence.workload_from,
        strictness=campaign.strictness,
        # Linux' drivers for all disks that QEMU has send the flush; the Hurd's may not.
        driver_flushes=True if context.request.recipe.os is GuestOs.LINUX else None,
        versions=versions,
        outcome=evidence.outcome,
    )
    case.save()
    return case
