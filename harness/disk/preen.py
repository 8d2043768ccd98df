"""e2fsck for thousands of states: one process a state, started without a detour.

`e2fsck -f -p` does what an unattended boot does (replay, orphans) and then checks everything.  A
run in which it met nothing but those two says what the slow way says in three: the boot gets
through and mends nothing, and after recovery a full check finds no damage.  For whatever else it
meets there is the slow way (`harness.oracles.recover.examine`).

Unlike `process.run` no setpriv(1) comes between, which would take as long as e2fsck itself; a child
ends by itself within milliseconds, and is killed here when it does not.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.disk.copy import host_errors
from harness.disk.fsck import Mode, blame_host, problem_numbers, understand
from harness.errors import InfraError
from harness.process import describe_exit
from harness.tools import tool
from harness.verdicts import Finding

_SECONDS = 120.0
_MAX_OUTPUT = 1 << 20  # bytes


@dataclass(frozen=True)
class Preened:
    """One run of `e2fsck -f -p`.  `cpu` is in seconds, of the process alone."""

    rc: int
    text: str
    findings: tuple[Finding, ...]
    cpu: float


class Preener:
    """Runs `e2fsck -f -p` on images of one folder; a context manager, for one thread."""

    def __init__(self, folder: Path, label: str = "") -> None:
        self._folder = folder
        self._label = label
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._program = tool("e2fsck")
        self._config = self._folder / "preen.conf"
        self._problems = self._folder / "preen.problems.xml"
        with host_errors(self._config):
            self._config.write_text(f"[options]\nproblem_log_filename = {self._problems}\n")
        self._open.callback(self._config.unlink, missing_ok=True)
        self._open.callback(self._problems.unlink, missing_ok=True)
        self._said = os.memfd_create("e2fsck")
        self._open.callback(os.close, self._said)
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._open.callback(os.close, self._nothing)
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "E2FSCK_CONFIG": str(self._config),
        }
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def run(self, image: Path) -> Preened:
        """Recover and check `image` in place.

        Raises `InfraError` when e2fsck is killed, too slow, or fails for want of the host.
        """
        self._problems.unlink(missing_ok=True)
        os.ftruncate(self._said, 0)
        os.lseek(self._said, 0, os.SEEK_SET)
        argv = [self._program, *Mode.THROUGH.split(), str(image)]
        pid = os.posix_spawn(
            self._program,
            argv,
            self._environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self._nothing, 0),
                (os.POSIX_SPAWN_DUP2, self._said, 1),
                (os.POSIX_SPAWN_DUP2, self._said, 2),
            ],
        )
        status, cpu = _wait(pid, " ".join(argv))
        rc = os.waitstatus_to_exitcode(status)
        text = os.pread(self._said, _MAX_OUTPUT, 0).decode(errors="replace").strip()
        if rc < 0:
            raise InfraError(
                f"e2fsck ended with {describe_exit(rc)} on {image}\n{text}",
                hint="if memory was short, use fewer --workers; else it is a bug of e2fsck",
            )
        blame_host(text, image)
        names = [name for name in (str(image), self._label) if name]
        numbers = problem_numbers(self._problems, rc)
        return Preened(rc, text, understand(Mode.THROUGH, rc, text, numbers, names), cpu)


def _wait(pid: int, command: str) -> tuple[int, float]:
    """The exit status and the processor time of a child, in seconds."""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        began = time.monotonic()
        if not poll.poll(_SECONDS * 1000):
            os.kill(pid, signal.SIGKILL)
            os.wait4(pid, 0)
            raise InfraError(
                f"e2fsck did not end within {time.monotonic() - began:.0f} s",
                hint=f"run it by hand on a copy: {command}",
            )
        _, status, usage = os.wait4(pid, 0)
    finally:
        os.close(fd)
    return status, usage.ru_utime + usage.ru_stime
