"""From which point of the write log on the workload was acknowledged.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class Operation(Protocol):
    """An operation that returned, bracketed by log positions (numbers of entries)."""

    @property
    def log_before(self) -> int: ...
    @property
    def log_after(self) -> int: ...
    @property
    def acknowledges(self) -> bool:
        """Whether it is a sync."""


def durable_from(
    ops: Sequence[Operation], commits: Iterable[tuple[int, int]], flushes: Iterable[int]
) -> int | None:
    """The position from which on a state must hold all that `ops` did; None: never acknowledged.

    `ops` are the recorded steps in order, `commits` (entry, transaction) and `flushes` (entry) come
    from the log.  Two things acknowledge:

    * a sync that was begun after the last other operation returned, and returned itself;
    * the second transaction that commits after that return.  The first may have been closed before
      the operation could join it.  Where the driver flushes, the commit counts from the flush on
      that follows it; where it never does, from the commit block itself.
    """
    changing = [op for op in ops if not op.acknowledges]
    if not changing:
        return None
    returned = changing[-1].log_after
    found = [
        op.log_after
        for op in ops
        if op.acknowledges and op.log_before >= returned and op.log_after >= returned
    ]
    first: int | None = None
    for entry, tid in sorted(commits):
        if entry < returned:
            continue
        if first is None:
            first = tid
        elif tid != first:
            settled = _settled(entry, sorted(flushes))
            found += [] if settled is None else [settled]
            break
    return min(found, default=None)


def _settled(entry: int, flushes: Sequence[int]) -> int | None:
    """How many entries a state needs to hold `entry` as the driver itself would call it safe."""
    if not flushes:
        return entry + 1
    return next((flush + 1 for flush in flushes if flush > entry), None)
