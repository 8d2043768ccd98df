"""The one place that starts other programs.

`run` waits for a program and returns what it said; `Service` is a program that stays, as a context
manager.  Both die with hurdle: the kernel kills them when their parent is gone (PR_SET_PDEATHSIG,
set by setpriv(1) so that no Python code runs between fork and exec).
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import InfraError
from harness.signals import held
from harness.tools import PACKAGES, tool

_TAIL_LINES = 30
_DEATH_SECONDS = 30.0  # a killed QEMU is gone after 10 ms
_KILL_SECONDS = 60.0  # the end after SIGKILL takes milliseconds, unless a disk or mount hangs


@dataclass(frozen=True)
class Completed:
    """A program that ended.  `stdout` and `stderr` are text, undecodable bytes replaced."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def command(self) -> str:
        """The command as a line that can be pasted into a shell."""
        return shlex.join(self.argv)

    @property
    def output(self) -> str:
        """Both streams, for messages."""
        return (self.stdout + self.stderr).strip()


def tail(text: str, lines: int = _TAIL_LINES) -> str:
    """The last `lines` lines of `text`."""
    return "\n".join(text.strip().splitlines()[-lines:])


def describe_exit(returncode: int) -> str:
    """An exit status in words: a code, or the signal that ended the program."""
    if returncode >= 0:
        return f"exit code {returncode}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-returncode).name}"
    return f"signal {-returncode}"


def _with_tool_path(argv: Sequence[str]) -> list[str]:
    """`argv` with a known tool replaced by its full path; a path or other program as it is."""
    return [tool(argv[0]) if argv[0] in PACKAGES else argv[0], *argv[1:]]


def dying_with_parent(argv: Sequence[str]) -> list[str]:
    """`argv` wrapped so that the kernel kills the program when hurdle ends, however it ends."""
    return [tool("setpriv"), "--pdeathsig", "KILL", "--", *argv]


def run(
    argv: Sequence[str],
    *,
    timeout: float = 60.0,
    ok: Collection[int] | None = (0,),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Completed:
    """Run a program to its end.

    `timeout` is in seconds; `ok` lists the exit codes that are no failure (None: any code, but a
    signal is a failure still); `env` is added to hurdle's own environment (LC_ALL is always C, so
    that messages can be parsed).

    Raises `InfraError` with a command to paste when the program is missing, fails or is too slow.
    """
    argv = _with_tool_path(argv)
    command = shlex.join(argv)
    began = time.monotonic()
    full_env = {**os.environ, "LC_ALL": "C", **(env or {})}
    try:
        done = subprocess.run(
            dying_with_parent(argv),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            cwd=cwd,
            env=full_env,
            check=False,
        )
    except FileNotFoundError as exc:
        raise InfraError(f"can't start {argv[0]}: {exc.strerror}", hint=f"ran: {command}") from exc
    except subprocess.TimeoutExpired as exc:
        said = exc.stdout.decode(errors="replace") if isinstance(exc.stdout, bytes) else ""
        raise InfraError(
            f"{Path(argv[0]).name} did not end within {timeout:.0f} s\n{tail(said)}".rstrip(),
            hint=f"run it by hand: {command}",
        ) from exc
    result = Completed(
        tuple(argv), done.returncode, done.stdout, done.stderr, time.monotonic() - began
    )
    accepted = result.returncode >= 0 if ok is None else result.returncode in ok
    if not accepted:
        raise InfraError(
            f"{Path(argv[0]).name} failed with {describe_exit(result.returncode)}\n"
            f"{tail(result.output)}".rstrip(),
            hint=f"run it by hand: {command}",
        )
    return result


class Service:
    """A program that runs beside hurdle until the block ends.

    Its output goes to `log`.  Leaving the block sends SIGTERM, waits `grace` seconds, then SIGKILL;
    with `family` what the program has started, and left behind, is killed as well.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        grace: float = 2.0,
        cwd: Path | None = None,
        family: bool = False,
    ) -> None:
        self.argv = tuple(_with_tool_path(argv))
        self.log = log
        self._grace = grace
        self._cwd = cwd
        self._family = family
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("ab") as sink:
            self._child = subprocess.Popen(
                dying_with_parent(self.argv),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=self._cwd,
                # A Ctrl-C in the terminal is hurdle's to handle; the child must not race it.
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def command(self) -> str:
        """The command as a line that can be pasted into a shell."""
        return shlex.join(self.argv)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise RuntimeError(f"{self.argv[0]} was not started: use it as a context manager")
        return self._child

    def poll(self) -> int | None:
        """The exit status if the program has ended, else None."""
        return self._process.poll()

    def output(self) -> str:
        """What the program printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL, and wait until the program is gone.

        Raises `InfraError` when it does not go: something in the kernel holds it.
        """
        with suppress(ProcessLookupError):
            self._process.kill()
        if self.wait(_KILL_SECONDS) is None:
            raise InfraError(
                f"{Path(self.argv[0]).name} does not end {_KILL_SECONDS:.0f} s after SIGKILL",
                hint=f"process {self.pid} is stuck in the kernel, most often in I/O: see the "
                "host's kernel log",
            )

    def wait(self, timeout: float) -> int | None:
        """Wait `timeout` seconds for the end; the exit status, or None if it still runs."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End the program: SIGTERM, grace, SIGKILL.  Does nothing to one that has ended."""
        if self._child is None or self._child.poll() is not None:
            return
        with held():
            self._child.terminate()
            if self.wait(self._grace) is None:
                self.kill()
            if self._family:
                with suppress(ProcessLookupError):  # a session of its own, so its group's number
                    os.killpg(self._child.pid, signal.SIGKILL)
