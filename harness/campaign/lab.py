"""The place where states of one source are made, recovered and judged, one after the other."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from harness.campaign.case import load_case
from harness.campaign.examine import Examiner
from harness.campaign.rows import StateRow
from harness.campaign.verdict import StateJudge
from harness.crash.blocks import LoggedDisk
from harness.crash.plan import Cut
from harness.crash.writelog import WriteLog
from harness.verdicts import CrashModel


@dataclass(frozen=True)
class Source:
    """Where states come from: a case's own log, or that of a recovery of one of its states.

    `parent` is the state that was recovered, `base` its image and `log` recovery's writes.  The
    disk as the kill left it is such a state too, with an empty log, and `model` says so.
    """

    case: Path  #: the case's folder
    parent: Cut | None = None
    base: Path | None = None
    log: Path | None = None
    model: CrashModel = CrashModel.RECOVERY

    @property
    def name(self) -> str:
        """What the names of its states begin with, up to the tilde."""
        return f"{self.model}:{self.parent.id}" if self.parent else ""

    def judged_as(self, cut: Cut) -> tuple[Cut, str]:
        """The state as the oracles take it, and its name."""
        if self.parent is None:
            return cut, cut.id
        place = replace(self.parent, model=self.model)
        return place, f"{self.name}~{cut.id}"


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


class Lab:
    """An open source; a context manager.  `scratch` takes two images."""

    def __init__(self, source: Source, scratch: Path) -> None:
        self.source = source
        self._scratch = scratch

    def __enter__(self) -> Self:
        self.case = case = load_case(self.source.case)
        self._judge = StateJudge(case)
        base, log = self.source.base or case.base, case.log
        if self.source.log is not None:
            log = WriteLog.read(self.source.log, base.stat().st_size)
        self.entries = len(log.entries)
        with ExitStack() as stack:
            own = Path(stack.enter_context(TemporaryDirectory(prefix="lab-", dir=self._scratch)))
            disk = LoggedDisk(base, log)
            stack.callback(disk.close)
            examiner = Examiner(base, disk, case.journal_map, self._judge.known, own)
            self._examiner = stack.enter_context(examiner)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def examine(self, content: Content) -> Examined:
        """Recover and check a content, and judge all states that have it."""
        began, cpu = time.perf_counter(), _processor_time()
        seen = self._examiner.see(content.cuts[0])
        if seen.number != content.number:
            raise RuntimeError(f"{content.cuts[0].id} is not the content that it was planned as")
        looked = time.perf_counter()
        digest = seen.tree.digest()
        places = (self.source.judged_as(cut) for cut in content.cuts)
        rows = tuple(self._judge.row(place, name, seen, digest) for place, name in places)
        ended = time.perf_counter()
        phases = {
            **seen.phases,
            "judge": ended - looked,
            WALL: ended - began,
            PROCESSOR: _processor_time() - cpu,
        }
        return Examined(seen.number, digest, seen.replayed, seen.quick, rows, phases)

    def row(self, cut: Cut) -> StateRow:
        """The verdicts on one state."""
        seen = self._examiner.see(cut)
        place, name = self.source.judged_as(cut)
        return self._judge.row(place, name, seen, seen.tree.digest())

    def tree(self, cut: Cut) -> str:
        """The digest of the tree that e2fsck leaves of a state."""
        return self._examiner.see(cut).tree.digest()

    def image(self, cut: Cut) -> Path:
        """A state as the crash left it, until the next one is asked for.  Not to be written to."""
        self._examiner.work.go(cut)
        return self._examiner.work.image


#: what a state took from end to end, and what it took of a processor, e2fsck included; seconds
WALL, PROCESSOR = "all of a state", "all of a state, processor"


def _processor_time() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
