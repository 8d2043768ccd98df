"""What a crash must not take: which operations were acknowledged at a position of the log.  Pure.

Two levels, named in the verdict:

* posix: sync acknowledges all that was done before; fsync the bytes of its file.
* ext3: beside that, a journal commits operations in their order.  So fsync of an object also
  acknowledges every operation up to the last that changed it, and a commit that was begun after an
  operation returned acknowledges that one.  Linux' ext3 and ext4 keep this (fs/ext4/fsync.c waits
  for the transaction that changed the inode last); no standard asks for it.

A commit acknowledges no bytes: with delayed allocation (ext4) the data of a file may be written
long after the transaction that made its name.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.oracles.durability import durable_from
from harness.workloads.journal import OpTimes
from harness.workloads.model import History
from harness.workloads.scenario import Step


class Strictness(StrEnum):
    """What the file system is held to."""

    POSIX = "posix"
    EXT3 = "ext3"


@dataclass(frozen=True)
class Acknowledgement:
    """From position `at` on, operations up to number `names` count, and bytes as they were then.

    `data` is the operation up to which the bytes count, of the file `file` or (None) of all.
    """

    at: int
    names: int
    data: int = -1
    file: int | None = None


@dataclass(frozen=True)
class _Op:
    """An operation as `durable_from` wants it."""

    log_before: int
    log_after: int
    acknowledges: bool = False


class Acknowledged:
    """What was acknowledged where in the log."""

    def __init__(self, found: Iterable[Acknowledgement]) -> None:
        self._found = sorted(found, key=lambda each: each.at)
        self._positions = [each.at for each in self._found]

    def names(self, position: int) -> int:
        """The last operation of which a state with `position` entries must know; -1: none."""
        return max((each.names for each in self._until(position)), default=-1)

    def data(self, position: int, file: int) -> int:
        """The operation whose bytes of a file (by the model's number) must be there; -1: none."""
        mine = (each.data for each in self._until(position) if each.file in (None, file))
        return max(mine, default=-1)

    def level(self, position: int) -> int:
        """A number that differs where the answers do: how many acknowledgements there were."""
        return bisect.bisect_right(self._positions, position)

    def _until(self, position: int) -> list[Acknowledgement]:
        return self._found[: self.level(position)]


def acknowledged(
    steps: Sequence[Step],
    journal: Sequence[OpTimes],
    history: History,
    strictness: Strictness,
    commits: Sequence[tuple[int, int]] = (),
    flushes: Sequence[int] = (),
) -> Acknowledged:
    """All acknowledgements of a workload that ran one operation after the other.

    `commits` (entry, transaction) and `flushes` (entry) come from the write log.
    """
    found: list[Acknowledgement] = []
    for op in journal:
        step = steps[op.number]
        if op.returned is None:
            continue
        if step.name == "sync":
            found.append(Acknowledgement(op.returned, op.number, op.number))
        elif step.name == "fsync":
            file = history.flushed[op.number]
            names = -1
            if strictness is Strictness.EXT3:
                names = max((n for n in range(op.number) if file in history.touched[n]), default=-1)
            found.append(Acknowledgement(op.returned, names, op.number, file))
        elif strictness is Strictness.EXT3:
            times = _Op(op.begun, op.returned)
            at = durable_from([times], commits, flushes)
            if at is not None:
                found.append(Acknowledgement(at, op.number))
    return Acknowledged(found)
