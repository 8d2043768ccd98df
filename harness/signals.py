"""Ctrl-C and SIGTERM as one exception, so that every context manager gets its turn."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harness.errors import Exit

_WANTED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CODES = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGPIPE: Exit.PIPE}


class Stopped(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived, or nobody reads the output any more (SIGPIPE).

    No `KeyboardInterrupt`: libraries on the way swallow that one and end the program themselves.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = _CODES.get(signal.Signals(signum), Exit.TERMINATED)


_depth = 0  # of `held`
_kept: Stopped | None = None


def _raise(signum: int, frame: FrameType | None) -> None:
    global _kept
    # A second signal must not interrupt the cleaning up that the first one started.
    for each in _WANTED:
        signal.signal(each, signal.SIG_IGN)
    if _depth:
        _kept = Stopped(signum)
        return
    raise Stopped(signum)


@contextmanager
def held() -> Iterator[None]:
    """Keep a signal back until the end of the block: for cleaning up that must not be cut short.

    For the main thread, which is where Python handles signals.  The block has to end by itself in
    a few seconds.
    """
    global _depth, _kept
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth and _kept is not None:
            stop, _kept = _kept, None
            raise stop


def _ignored(signum: signal.Signals) -> bool:
    """Whether nohup(1) started us.  (A shell's `&` ignores SIGINT, which is meant all the same.)"""
    return signum is signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN


@contextmanager
def stopping() -> Iterator[None]:
    """Within the block the first of these signals raises `Stopped`, and later ones are ignored."""
    wanted = [each for each in _WANTED if not _ignored(each)]
    before = {each: signal.signal(each, _raise) for each in wanted}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
