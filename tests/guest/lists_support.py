"""Recover states of lists that ran in a guest, and judge their trees by the lists' orders."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.campaign.examine import FileBlocks
from harness.crash.states import CrashState, StateBuilder
from harness.crash.writelog import WriteLog
from harness.disk.tree import BLOCK, TreeReader
from harness.experiment.lists import ListsRun
from harness.verdicts import CrashModel
from harness.workloads.agent.allowed import Allowed, Verdict
from harness.workloads.agent.marks import AREA, OpJournal
from harness.workloads.agent.orders import Orders
from harness.workloads.agent.rules import Semantics
from harness.workloads.agent.tree import DIRECTORY, fresh
from harness.workloads.model import Look


@dataclass(frozen=True)
class Judged:
    """One prefix of a list's writes: position in the log, e2fsck's exit code, what was seen."""

    position: int
    rc: int
    verdict: Verdict


def log_of(run: ListsRun) -> WriteLog:
    return WriteLog.read(run.log, run.base.stat().st_size)


def judged(
    run: ListsRun, journal: OpJournal, semantics: Semantics, scratch: Path, every: int = 1
) -> Iterator[Judged]:
    """Every `every`th prefix of a list's writes, from its first mark to its last."""
    ops = next(each for each in run.lists if each.run == journal.run)
    orders = Orders(ops, journal, semantics, start=fresh())
    assert not orders.contradiction
    allowed = Allowed(orders)
    log = log_of(run)
    assert journal.end is not None
    positions = [
        entry.index + 1
        for entry in log.writes
        if journal.first <= entry.index < journal.end and entry.index not in run.marks.entries
    ]
    with StateBuilder(run.base, log, scratch) as builder:
        for position in [journal.first + 1, *positions[::every], journal.end + 1]:
            builder.materialise(CrashState(CrashModel.PREFIX, f"at-{position}", position, 0))
            image = builder.working_copy(scratch / "copy.raw")
            done = subprocess.run(["e2fsck", "-f", "-p", image], capture_output=True)
            looks, sizes = tree_of(image)
            yield Judged(position, done.returncode, allowed.judge(position, looks, sizes))


def tree_of(image: Path) -> tuple[dict[str, Look], dict[str, int]]:
    with FileBlocks(image) as blocks:
        nodes = TreeReader(blocks, (image.stat().st_size - AREA) // BLOCK).read()
    looks = {
        p: Look(n.kind, n.mode, n.uid, n.gid, n.links, n.target, n.records)
        for p, n in nodes.items()
    }
    return looks, {p: n.size for p, n in nodes.items() if n.kind != DIRECTORY}
