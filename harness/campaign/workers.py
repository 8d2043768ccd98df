"""Workers: processes that examine batches of states, behind the standard Executor interface.

A worker keeps the case that it worked on last open, with the disk where the last state left it, so
a batch of neighbours costs little.  What it needs is the case's folder and a folder for scratch:
any Executor whose workers see both may take the place of local processes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.campaign.case import load_case
from harness.campaign.examine import Examiner
from harness.campaign.store import StateRow
from harness.campaign.verdict import StateJudge
from harness.crash.blocks import LoggedDisk
from harness.crash.plan import Cut
from harness.crash.writelog import WriteLog
from harness.verdicts import CrashModel

_PR_SET_PDEATHSIG = 1


def local_workers(count: int) -> Executor:
    """Processes of this machine; they end when hurdle does, however it ends."""
    return ProcessPoolExecutor(
        count, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
    )


def _begin(parent: int) -> None:
    # Ctrl-C reaches the whole terminal: hurdle itself decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@dataclass(frozen=True)
class Source:
    """Where states come from: a case's own log, or that of a recovery of one of its states.

    `parent` is the state that was recovered, `base` its image and `log` recovery's writes.
    """

    case: Path  #: the case's folder
    parent: Cut | None = None
    base: Path | None = None
    log: Path | None = None

    def judged_as(self, cut: Cut) -> tuple[Cut, str]:
        """The state as the oracles take it, and its name."""
        if self.parent is None:
            return cut, cut.id
        place = replace(self.parent, model=CrashModel.RECOVERY)
        return place, f"recovery:{self.parent.id}~{cut.id}"


@dataclass(frozen=True)
class Content:
    """A content that states share: `cuts` are all that have it, the first is made."""

    number: int
    cuts: tuple[Cut, ...]


@dataclass(frozen=True)
class Examined:
    """A content that was recovered and checked, and the verdicts on its states."""

    number: int
    tree: str  #: digest of what was recovered
    replayed: bool
    quick: bool
    rows: tuple[StateRow, ...]
    phases: dict[str, float]


@dataclass
class _Open:
    """The case that this process works on."""

    source: Source
    examiner: Examiner
    judge: StateJudge
    stack: ExitStack


_open: _Open | None = None


def examine_batch(source: Source, scratch: Path, batch: Sequence[Content]) -> list[Examined]:
    """Examine contents of one source, in the order given, and judge their states."""
    work = _opened(source, scratch)
    return [_examine(work, content) for content in batch]


def _examine(work: _Open, content: Content) -> Examined:
    seen = work.examiner.see(content.cuts[0])
    if seen.number != content.number:
        raise RuntimeError(f"{content.cuts[0].id} is not the content that it was planned as")
    began = time.perf_counter()
    digest = seen.tree.digest()
    places = (work.source.judged_as(cut) for cut in content.cuts)
    rows = tuple(work.judge.row(place, name, seen, digest) for place, name in places)
    phases = {**seen.phases, "judge": time.perf_counter() - began}
    return Examined(seen.number, digest, seen.replayed, seen.quick, rows, phases)


def _opened(source: Source, scratch: Path) -> _Open:
    global _open
    if _open is not None and _open.source == source:
        return _open
    if _open is not None:
        _open.stack.close()
        _open = None
    case = load_case(source.case)
    judge = StateJudge(case)
    base, log = source.base or case.base, case.log
    if source.log is not None:
        log = WriteLog.read(source.log, base.stat().st_size)
    with ExitStack() as stack:
        own = stack.enter_context(TemporaryDirectory(prefix="worker-", dir=scratch))
        disk = LoggedDisk(base, log)
        stack.callback(disk.close)
        examiner = Examiner(base, disk, case.journal_map, judge.known, Path(own))
        stack.enter_context(examiner)
        _open = _Open(source, examiner, judge, stack.pop_all())
    return _open
