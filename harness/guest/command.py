"""What both ways into a guest have in common: a command's result, and progress of a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

#: called with the bytes done so far and the bytes there are
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CommandResult:
    """A command that ended in the guest.

    `rc` is its exit code (128 and more: a signal), `out` and `err` its text with undecodable bytes
    replaced, `seconds` the time on the host's clock from sending it to knowing its end.
    """

    rc: int
    out: str
    err: str
    seconds: float


class Watch(Protocol):
    """Waits for file descriptors while the console and QEMU are watched."""

    def __call__(self, seconds: float, others: Iterable[int] = (), /) -> list[int]:
        """Wait up to `seconds` for one of `others`; those that are readable.

        Raises when the console shows an alarm or QEMU ends.
        """


def no_progress(done: int, total: int) -> None:
    """Say nothing."""
