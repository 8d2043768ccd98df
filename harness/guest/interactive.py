"""A person's terminal on a guest: bytes go both ways until Ctrl-] or the guest's end."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

ESCAPE = b"\x1d"  #: Ctrl-], as telnet has it; shells and editors leave it alone


class Line(Protocol):
    """A connected socket or an SSH channel."""

    def fileno(self) -> int: ...
    def recv(self, nbytes: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """The terminal passes every key on; restored whatever happens."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def relay(line: Line) -> str:
    """Connect the terminal with `line`; says why it ended (a sentence for the person)."""
    keys = sys.stdin.fileno()
    with _raw(keys):
        while True:
            ready, _, _ = select.select([keys, line], [], [])
            if line in ready:
                data = line.recv(4096)
                if not data:
                    return "the guest closed the line"
                os.write(sys.stdout.fileno(), data)
            if keys in ready:
                typed = os.read(keys, 1024)
                if not typed:
                    return "end of input"
                before, escape, _ = typed.partition(ESCAPE)
                line.sendall(before)
                if escape:
                    return "left with Ctrl-]"
