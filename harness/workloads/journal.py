"""The op journal: when each operation of a workload began and returned, in the write log.

Whoever runs a workload makes one: the scenario runner reads the log's length around each command,
an agent in the guest writes marks that the log holds.  The oracles know only this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class OpTimes:
    """Positions are numbers of log entries.

    What the operation did lies at or behind entry `begun`; when it had returned, the log had
    `returned` entries, and all that it wrote before it returned is among them.  None: it never
    returned, or nobody saw it.
    """

    number: int
    begun: int
    returned: int | None


def begun_by(journal: Sequence[OpTimes], position: int) -> int:
    """The last operation that may have an effect in the first `position` entries; -1: none."""
    return max((op.number for op in journal if op.begun < position), default=-1)
