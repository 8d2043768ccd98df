"""The terminal, or the pipe, that a long command talks to."""

from __future__ import annotations

import os
import signal
import sys

from rich.console import Console

from harness.signals import Stopped


class Terminal(Console):
    """A console whose reader may go away: then the command stops, and says so by its exit code."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # What is still to be printed at the end would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Stopped(signal.SIGPIPE)
