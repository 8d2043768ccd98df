"""What befalls a run of a campaign beside its operations, and how it ended.

A *trial* is one of: requests of the disk fail from an operation on; the kill comes at a phase of a
commit; the run is the second one on its disk, after a crash and a recovery in the guest.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from harness.config import Spec
from harness.crash.phases import Phase, PhaseReader
from harness.crash.writelog import LogFollower
from harness.disk.ext2 import BLOCK
from harness.disk.jbd2 import JournalMap
from harness.disk.lay import in_use
from harness.machine.conditions import Condition
from harness.machine.faults import DiskFault, Error, Request
from harness.machine.qemu import Machine
from harness.workloads.scenario import seconds

_SECTOR = 512  # bytes, what blkdebug counts in
_LOOK = 0.0005  # s between two looks at the log; a flush alone takes QEMU longer

#: conditions that are the guest's own end or silence, for which its file system may be to blame
DEATHS = frozenset(
    {
        *(Condition.PANIC, Condition.OOPS, Condition.HANG, Condition.SERVER_CRASH),
        *(Condition.REBOOT, Condition.TIGHT_LOOP, Condition.JOURNAL_WARNING),
    }
)


class Fault(Spec):
    """The disk fails requests from the begin of operation `op` on (the first one is 0).

    `after` of that kind pass first, then `count` fail; by default all fail for good.  A driver
    repeats what failed some five times.  `where`: in the journal's blocks only (`log`), or in those
    that the fresh file system had in use beside it (`home`: superblocks, descriptors, bitmaps,
    inode tables, the first directories).
    """

    fail: Request
    error: Error = "EIO"
    op: int = Field(default=0, ge=0)
    after: int = Field(default=0, ge=0, le=1000)
    count: int | None = Field(default=None, ge=1, le=1000)
    where: Literal["anywhere", "log", "home"] = "anywhere"

    @model_validator(mode="after")
    def _possible(self) -> Fault:
        if self.where != "anywhere" and (self.count is not None or self.fail == "flush"):
            raise ValueError("`where` is for reads or writes that fail for good: no `count`")
        return self

    def disk_fault(self, base: Path, journal: JournalMap | None) -> DiskFault:
        """What befalls the disk.  `base` is the fresh file system."""
        blocks: Iterable[int] = ()
        if self.where != "anywhere":
            log = journal.disk_blocks if journal is not None else frozenset[int]()
            blocks = log if self.where == "log" else set(in_use(base.read_bytes())) - log
        # File systems write whole blocks, so the first sector of each is enough.
        sectors = tuple(block * BLOCK // _SECTOR for block in sorted(blocks))
        return DiskFault(self.fail, self.error, self.after, self.count, sectors)


def _or_workload(value: object) -> object:
    return value if value == "workload" else seconds(value)


#: a duration, or all of the workload
Within = Annotated[
    float | Literal["workload"],
    BeforeValidator(_or_workload),
    PlainSerializer(lambda it: it if it == "workload" else f"{it}s", when_used="json"),
]


class KillAt(Spec):
    """SIGKILL as soon as the log has reached a phase of a commit for the time number `nth`, or at
    an instant drawn by `seed`: of the first seconds (`within`) of the operations, or of all of the
    workload, however long it takes.
    """

    phase: Phase | None = None
    nth: int = Field(default=1, ge=1)
    within: Within | None = None
    seed: int = 1

    @model_validator(mode="after")
    def _one(self) -> KillAt:
        if (self.phase is None) == (self.within is None):
            raise ValueError("a kill has a `phase` (log, flushed, commit, ...) or a `within`")
        return self

    @property
    def name(self) -> str:
        """For the names of runs."""
        if self.within is None:
            return f"{self.phase}-{self.nth}"
        if self.within == "workload":
            return f"within-workload-{self.seed}"
        return f"within-{self.within:g}s-{self.seed}"

    @property
    def instant(self) -> float:
        """Seconds from the first operation on."""
        assert isinstance(self.within, float)
        return random.Random(f"{self.seed}/kill").uniform(0, self.within)

    def place(self, ops: int) -> tuple[int, float]:
        """Which of `ops` operations it is in, and the share of a usual one's time that has passed.

        Neither the first, whose time nobody knows before, nor the last, which might end too soon.
        """
        drawn = random.Random(f"{self.seed}/kill").uniform(1, max(1, ops - 1))
        return int(drawn), drawn % 1


class Trial(Spec):
    """One run's fate.  Without any, it is killed at its end."""

    fault: Fault | None = None
    kill: KillAt | None = None
    boot: Literal[1, 2] = 1  #: 2: the setup ran before a crash, and the guest recovered from it
    #: random operations of this run: what comes late needs more of them; None: as the others
    ops: int | None = Field(default=None, ge=1, le=5000)

    @model_validator(mode="after")
    def _something(self) -> Trial:
        if self.fault is None and self.kill is None and self.boot == 1:
            raise ValueError("a trial has a `fault`, a `kill` or `boot: 2`")
        return self

    @property
    def name(self) -> str:
        """For the names of runs; different for different trials."""
        parts = []
        if self.fault is not None:
            fault = self.fault
            parts.append(f"{fault.fail}-{fault.error.lower()}-{fault.op}")
            parts += [fault.where] if fault.where != "anywhere" else []
            parts += [f"after{fault.after}"] if fault.after else []
            parts += [f"times{fault.count}"] if fault.count else []
        if self.kill is not None:
            parts.append(f"kill-{self.kill.name}")
        if self.boot == 2:
            parts.append("boot2")
        if self.ops is not None:
            parts.append(f"{self.ops}ops")
        return "-".join(parts)


class Killer:
    """Kills a machine in the middle of its work.

    `landed` is the entry that began the phase, or how many entries there were at the instant;
    `times` is how often the phase has begun.
    """

    def __init__(self, wanted: KillAt | None, ops: int) -> None:
        self.landed: int | None = None
        self.times = 0
        self.stop = threading.Event()
        self._wanted = wanted
        self._place = wanted.place(ops) if wanted and wanted.within == "workload" else None
        self._began = time.monotonic()
        self._due = threading.Event()
        self._delay = 0.0  # s, of a kill in an operation

    def begins(self, op: int) -> None:
        """An operation is about to begin."""
        if self._place is not None and op == self._place[0]:
            self._delay = self._place[1] * (time.monotonic() - self._began) / op
            self._due.set()

    def end(self) -> None:
        """The operations have ended; whoever waits need not wait any longer."""
        self.stop.set()
        self._due.set()

    def wait(self) -> bool:
        """Wait for the instant that was drawn; False when the operations ended before."""
        assert self._wanted is not None
        if self._place is None:
            return not self.stop.wait(self._wanted.instant)
        self._due.wait()
        return not self.stop.wait(self._delay)

    def missed(self) -> str:
        """Why the kill did not land; empty where it did, or none was wanted."""
        wanted = self._wanted
        if wanted is None or self.landed is not None:
            return ""
        took = f"the operations took {time.monotonic() - self._began:.1f} s"
        if wanted.phase is not None:
            return f"`{wanted.phase}` began {self.times} times of {wanted.nth}; {took}"
        if self._place is not None:
            return f"it was due in operation {self._place[0]}; {took}"
        return f"it was due after {wanted.instant:.1f} s; {took}"


@contextmanager
def killing_at(
    wanted: KillAt | None,
    machine: Machine,
    follower: LogFollower,
    journal: JournalMap | None,
    ops: int,
) -> Iterator[Killer]:
    """Watch the log from here on while the block runs, and kill at the phase or instant wanted.

    `follower` must be the watcher's own, `ops` is how many operations there are: the block tells
    the killer of each.  Without anything wanted, or a phase without a journal, nothing is done.
    """
    killer = Killer(wanted, ops)
    if wanted is None or (wanted.phase is not None and journal is None):
        yield killer
        return
    since = follower.count()

    def at_instant() -> None:
        if killer.wait():
            killer.landed = follower.count()
            machine.kill()

    def at_phase() -> None:
        assert journal is not None
        reader = PhaseReader(follower.path, journal)
        reader.take(follower.entries())
        seen = since
        while not killer.stop.is_set():
            entries = follower.entries(seen) if follower.count() > seen else ()
            for entry in entries:
                killer.times += reader.take((entry,)) is wanted.phase
                if killer.times == wanted.nth:
                    killer.landed = entry.index  # before others see the machine end
                    machine.kill()
                    return
            seen += len(entries)
            time.sleep(_LOOK)

    target = at_phase if wanted.phase is not None else at_instant
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    try:
        yield killer
    finally:
        killer.end()
        thread.join()
