"""SIGTERM as an exception, so that every context manager gets its turn, as with Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""


def _raise(signum: int, frame: FrameType | None) -> None:
    # A second signal must not interrupt the cleaning up that the first one started.
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt if signum == signal.SIGINT else Terminated


@contextmanager
def stopping() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP raise `Terminated`, Ctrl-C `KeyboardInterrupt`; once."""
    wanted = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {each: signal.signal(each, _raise) for each in wanted}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
