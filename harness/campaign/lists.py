"""Op lists in the guest: many in one boot, each a case of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.campaign.case import Case, is_case, load_case
from harness.campaign.spec import Campaign
from harness.campaign.work import ListWork
from harness.crash.blocks import LoggedDisk, WorkingDisk
from harness.crash.plan import Cut
from harness.crash.writelog import Entry, WriteLog, pack_log
from harness.disk.copy import host_errors, sparse_copy
from harness.errors import GuestError
from harness.experiment.lists import Bench, ListsRun, read_run, run_lists
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.recipe import GuestOs, Recipe
from harness.machine.accel import Accel
from harness.progress import say
from harness.report.atomic import write_atomically
from harness.rundir import RunDir
from harness.verdicts import CrashModel
from harness.workloads.agent.build import PROGRAM, build, build_for_hurd
from harness.workloads.agent.marks import OpJournal
from harness.workloads.agent.oplist import OpList
from harness.workloads.agent.rules import HURD, LINUX
from harness.workloads.journal import Ending, Outcome

_RUN = "run.json"  # of a boot that ended: how long its lists took, how many they were, what broke
_BOOTS = 20  # of one variant


def agent_for(recipe: Recipe, cache: Cache, folder: Path) -> Path:
    """The agent, compiled for a guest.  Raises `InfraError` or `UsageError` when it can't be."""
    if recipe.os is GuestOs.HURD:
        return build_for_hurd(cache, say)
    return build(folder / PROGRAM)


def record_lists(
    campaign: Campaign,
    recipe: Recipe,
    image: Image,
    variant: str,
    accel: Accel,
    rundir: RunDir,
    versions: dict[str, str],
) -> list[Case]:
    """Run all lists of a campaign on a variant; a case for each.  What is there is not run again.

    A list in which the guest breaks is a case, too, and the next boot goes on behind it.
    Raises `InfraError` or `GuestError`.
    """
    semantics = HURD if recipe.os is GuestOs.HURD else LINUX
    lists = campaign.lists.op_lists(semantics) if campaign.lists else ()
    names = [f"{variant}-{ops.run:06x}" for ops in lists]
    if all(is_case(rundir.out / name) for name in names):
        return [load_case(rundir.out / name) for name in names]
    bench = bench_for(campaign, recipe, image, variant, accel, rundir)
    cases: list[Case] = []
    for boot in range(1, _BOOTS + 1):
        folder = rundir.out / (f"{variant}-lists-{boot}" if boot > 1 else f"{variant}-lists")
        folder.mkdir(exist_ok=True)
        run = _boot(bench, lists[len(cases) :], rundir, folder)
        folders = [rundir.out / name for name in names[len(cases) :]]
        cases += _cases(campaign, bench, run, folders, rundir, versions)
        if len(cases) == len(lists):
            return cases
        say(f"{variant}: list {len(cases)} of {len(lists)} broke the guest: {run.broke}")
    raise GuestError(
        f"{variant}: the guest broke in {_BOOTS} boots, at last in list {len(cases)} of "
        f"{len(lists)}: {run.broke}",
        hint="give the campaign lists that this variant survives",
    )


def bench_for(
    campaign: Campaign, recipe: Recipe, image: Image, variant: str, accel: Accel, rundir: RunDir
) -> Bench:
    """Guest, variant, disk and a fresh agent."""
    reclaim = campaign.lists.reclaim if campaign.lists else None
    agent = agent_for(recipe, Cache.default(), rundir.scratch)
    return Bench(recipe, image, variant, agent, accel, campaign.disk, reclaim=reclaim)


def record_once(
    campaign: Campaign,
    bench: Bench,
    lists: Sequence[OpList],
    rundir: RunDir,
    folder: Path,
    versions: dict[str, str],
) -> list[Case]:
    """Run lists in one boot; a case for each in `folder`, up to the one that breaks the guest.

    Raises `InfraError` or `GuestError`.
    """
    folder.mkdir()
    run = run_lists(bench, lists, rundir, folder)
    folders = [folder / f"{ops.run:06x}" for ops in lists]
    return list(_cases(campaign, bench, run, folders, rundir, versions))


def _boot(bench: Bench, lists: Sequence[OpList], rundir: RunDir, folder: Path) -> ListsRun:
    """Run lists until they end or the guest breaks; what a folder has already is read."""
    done = folder / _RUN
    if not done.is_file():
        run = run_lists(bench, lists, rundir, folder)
        said = {"seconds": run.seconds, "lists": len(run.lists), "broke": run.broke}
        write_atomically(done, json.dumps(said).encode())
        return run
    said = json.loads(done.read_text())
    base, killed, log = (folder / f for f in ("base.raw", "killed.raw", "writes.log"))
    some = lists[: said["lists"]]
    return read_run(bench, some, base, killed, log, said["seconds"], said["broke"])


def _cases(
    campaign: Campaign,
    bench: Bench,
    run: ListsRun,
    folders: Sequence[Path],
    rundir: RunDir,
    versions: dict[str, str],
) -> Iterator[Case]:
    """Cut the run's log into the lists' stretches.

    A list's base is the disk as it was when its file system had been laid down.
    """
    log = WriteLog.read(run.log, run.base.stat().st_size)
    disk = LoggedDisk(run.base, log)
    try:
        with WorkingDisk(disk, rundir.scratch / "lists.raw") as work:
            for number, folder in enumerate(folders[: len(run.lists)]):
                folder.mkdir(exist_ok=True)
                base, stretch = folder / "base.raw", _stretch(run.journals[number])
                work.go(Cut(CrashModel.PREFIX, stretch.start))
                sparse_copy(work.image, base)
                with host_errors(base):
                    os.truncate(base, bench.disk.size)
                entries = log.entries[stretch.start : stretch.stop]
                kept = [each for each in entries if each.index not in run.marks.entries]
                write_atomically(folder / "writes.log", pack_log(log, kept))
                yield _case(campaign, bench, run, number, folder, kept, versions)
    finally:
        disk.close()


def _case(
    campaign: Campaign,
    bench: Bench,
    run: ListsRun,
    number: int,
    folder: Path,
    kept: Sequence[Entry],
    versions: dict[str, str],
) -> Case:
    """The case of a list whose base and log are in its folder; `kept` are the log's entries."""
    ops, journal = run.lists[number], run.journals[number]
    hurd = bench.recipe.os is GuestOs.HURD
    case = Case(
        name=folder.name,
        variant=bench.variant,
        seed=ops.run,
        base=folder / "base.raw",
        log_path=folder / "writes.log",
        work=ListWork(
            ops=ops,
            spans=tuple(journal.spans.values()),
            places=tuple(entry.index for entry in kept),
            end=_stretch(journal).stop,
            hurd=hurd,
            ordered_sizes=bench.recipe.variants[bench.variant].fs != "ext4",
            full_disk=campaign.lists is not None and campaign.lists.full_disk,
        ),
        begin=0,
        strictness=campaign.strictness,
        driver_flushes=None if hurd else True,
        versions=versions,
        outcome=_outcome(journal, run.broke if ops is run.lists[-1] else ""),
    )
    case.save()
    return case


def _stretch(journal: OpJournal) -> range:
    """The run's entries behind a list's fresh file system, up to its last mark."""
    begin = (journal.first if journal.laid is None else journal.laid) + 1
    if journal.end is not None:
        return range(begin, journal.end)
    return range(begin, max(max(span.begin, span.end or 0) for span in journal.spans.values()))


def _outcome(journal: OpJournal, broke: str) -> Outcome:
    """How a list ended; `broke` says how the guest failed in it, if it did."""
    last = len(journal.spans) - 1
    return Outcome(Ending.DIED, last, broke) if broke else Outcome(Ending.ALL, last)
