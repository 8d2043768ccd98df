"""The op journal: when each operation of a workload began and returned, in the write log.

Whoever runs a workload makes one: the scenario runner reads the log's length around each command,
an agent in the guest writes marks that the log holds.  The oracles know only this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


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


class Ending(StrEnum):
    """How a run went until it was killed."""

    ALL = "all"  #: every operation returned
    ERROR = "error"  #: an operation reported an error, and nothing was done after it
    HANG = "hang"  #: an operation did not return in time
    DIED = "died"  #: the guest, or a server in it
    CUT = "cut"  #: the kill came at a phase of a commit, with operations left


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `op` is the last operation that had begun, `text` says more.

    `fault` is the kind of request that the disk failed (read, write, flush) or empty, `failed` how
    many it did, and `lasting` says that they would have failed for ever.  `trial` names what was
    to befall the run, and `missed` says why its kill did not land.
    """

    ending: Ending
    op: int
    text: str = ""
    fault: str = ""
    failed: int = 0
    lasting: bool = False
    trial: str = ""
    missed: str = ""


def begun_by(journal: Sequence[OpTimes], position: int) -> int:
    """The last operation that may have an effect in the first `position` entries; -1: none."""
    return max((op.number for op in journal if op.begun < position), default=-1)
