"""A disk that fails requests when it is told to: QEMU's blkdebug, put under a disk that runs.

The disk's node is an empty layer (`raw`) over the write log.  To make it fail, a blkdebug node is
put between the two with blockdev-reopen, so nothing fails before its time, and what failed is not
in the log.  Rules are those of QEMU's docs/devel/blkdebug.txt; the events are `raw`'s own
(block/raw-format.c, block/io.c).

An emulated IDE, AHCI or virtio disk has one word for all errors, so the guest can't tell ENOSPC
from EIO.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any, Literal

from harness.machine.qmp import Qmp

Request = Literal["read", "write", "flush"]
Error = Literal["EIO", "ENOSPC"]

#: what `raw` calls a request that it hands down; a rule of that event holds for this very request
_EVENTS: dict[Request, str] = {"read": "read_aio", "write": "write_aio", "flush": "flush_to_disk"}


@dataclass(frozen=True)
class DiskFault:
    """Requests of one kind fail: the first `after` pass, then `count` fail (None: all of them).

    With `sectors` (of 512 bytes) only those that touch one of them fail, `count` times each.
    """

    fail: Request
    error: Error = "EIO"
    after: int = 0
    count: int | None = None
    sectors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Failed:
    """How many requests of each kind a disk has failed."""

    read: int = 0
    write: int = 0
    flush: int = 0

    @property
    def all(self) -> int:
        return self.read + self.write + self.flush


def below(disk: str) -> str:
    """The node under a disk that can fail, or is slowed down."""
    return f"{disk}-logged"


def blkdebug(fault: DiskFault, disk: str) -> dict[str, Any]:
    """The options of the node that fails requests of `disk`.  Pure.

    Each request that passes moves the state by one; in the last state they fail.
    """
    event, last = _EVENTS[fault.fail], fault.after + 1
    rule = {
        "event": event,
        "state": last,
        "iotype": fault.fail,
        "errno": getattr(errno, fault.error),
        "once": fault.count is not None,
    }
    places = [{"sector": sector} for sector in fault.sectors] or [{}]
    steps = [{"event": event, "state": n, "new_state": n + 1} for n in range(1, last)]
    return {
        "driver": "blkdebug",
        "node-name": _node(disk),
        "image": below(disk),
        **({"set-state": steps} if steps else {}),  # QEMU takes no empty list
        "inject-error": [{**rule, **place} for place in places] * (fault.count or 1),
    }


def inject(qmp: Qmp, disk: str, fault: DiskFault) -> None:
    """Make a fallible disk fail from now on, as `fault` says.  Raises `InfraError`."""
    qmp.execute("blockdev-add", blkdebug(fault, disk))
    _put_below(qmp, disk, _node(disk))


def heal(qmp: Qmp, disk: str) -> None:
    """End the fault that `inject` began.  Raises `InfraError`."""
    _put_below(qmp, disk, below(disk))
    qmp.execute("blockdev-del", {"node-name": _node(disk)})


def failed(qmp: Qmp, disk: str) -> Failed:
    """What the disk has failed so far.  Raises `InfraError`."""
    stats = qmp.stats(disk)
    kinds = {"read": "rd", "write": "wr", "flush": "flush"}
    return Failed(**{kind: stats[f"failed_{name}_operations"] for kind, name in kinds.items()})


def _node(disk: str) -> str:
    return f"{disk}-fault"


def _put_below(qmp: Qmp, disk: str, node: str) -> None:
    options = {"driver": "raw", "node-name": disk, "file": node}
    qmp.execute("blockdev-reopen", {"options": [options]})
