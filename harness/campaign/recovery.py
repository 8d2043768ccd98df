"""Crash during recovery: states whose replay is cut off, at every write and between flushes.

Replay has to be repeatable: whatever it had written when the power went again, the next recovery
has to end in a tree that the oracles allow for the state that the first one began with.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.campaign.case import Case
from harness.campaign.judge import plan_contents
from harness.campaign.lab import Content, Source
from harness.crash.blocks import LoggedDisk, WorkingDisk
from harness.crash.plan import Cut, Limits, Plan, parse
from harness.crash.recorded import recorded, through_page_cache
from harness.crash.writelog import WriteLog
from harness.disk.copy import host_errors, sparse_copy
from harness.process import run
from harness.rundir import RunDir
from harness.verdicts import CrashModel

HONEST = tuple(f"{model}-" for model in (CrashModel.PREFIX, CrashModel.SUBSET, CrashModel.TORN))


def chosen_parents(replayed: Sequence[str], count: int, seed: int) -> tuple[Cut, ...]:
    """Some of the states whose log was replayed: `count` of them, chosen by seed.

    Only of those that an honest disk can leave: what a lying one lost, recovery can't bring back.
    """
    own = [name for name in replayed if name.startswith(HONEST)]
    choice = random.Random(f"{seed}/recovery")
    chosen = own if len(own) <= count else sorted(choice.sample(own, count))
    return tuple(parse(name) for name in chosen)


def recoveries(
    case: Case, parents: Sequence[Cut], limits: Limits, rundir: RunDir
) -> Iterator[tuple[Source, tuple[Content, ...]]]:
    """Recover each parent with its writes logged; the states that these make.

    Base and log stay in the run's scratch folder until they are forgotten.
    """
    disk = LoggedDisk(case.base, case.log)
    try:
        with WorkingDisk(disk, rundir.scratch / "parent.raw") as work:
            for number, parent in enumerate(parents):
                work.go(parent)
                base = rundir.scratch / f"parent-{case.name}-{number}.raw"
                sparse_copy(work.image, base)
                log = _recorded_replay(base, rundir)
                written = WriteLog.read(log, base.stat().st_size)
                cuts = Plan(written, limits).cuts()
                yield Source(case.folder, parent, base, log), plan_contents(base, written, cuts)
    finally:
        disk.close()


def forget(source: Source) -> None:
    """Remove what `recoveries` left of a parent: a night has thousands of them."""
    for path in (source.base, source.log):
        assert path is not None
        path.unlink()


def _recorded_replay(base: Path, rundir: RunDir) -> Path:
    """The log of what a replay writes to a copy of `base`, as a disk would see it.

    debugfs replays and does nothing else.  e2fsck releases the orphans as well, outside of the
    journal, where a mount does it through the journal: its own weakness would be taken for one of
    the file system.
    """
    copy, log = base.with_suffix(".copy"), base.with_suffix(".log")
    raw = base.with_suffix(".raw-log")
    sparse_copy(base, copy)
    with recorded(copy, raw, rundir) as path:
        run(["debugfs", "-w", "-R", "jr", path.name], cwd=path.parent, ok=None)
    written = WriteLog.read(raw, base.stat().st_size)
    with host_errors(log):
        log.write_bytes(through_page_cache(written, base))
    copy.unlink()
    raw.unlink()
    return log
