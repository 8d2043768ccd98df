"""One QEMU process from start to end, as a context manager."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import socket
from contextlib import ExitStack, suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from harness.deadline import Deadline
from harness.errors import InfraError
from harness.machine.accel import Accel
from harness.machine.argv import Paths, qemu_argv
from harness.machine.conditions import Condition, ConditionError
from harness.machine.console import Console, console_tail
from harness.machine.qmp import Qmp, Shutdown
from harness.machine.replica import make_replica
from harness.machine.spec import DiskSpec, MachineSpec
from harness.machine.start import (
    by_hand,
    check_files,
    check_socket_path,
    explain_start,
    listen,
    sandbox_works,
)
from harness.process import describe_exit, tail
from harness.rundir import RecordedService, RunDir

_END_SECONDS = 10.0  # between closing the console and the end QEMU closes its disks
_STATE_SECONDS = 20.0  # a state of 256 MiB loads in 0.15 s, and is saved in 0.12 s
_START_SECONDS = 30.0  # QEMU connects to the monitor 0.1 s after its start on an idle host


class Ending(StrEnum):
    """How a QEMU process ended."""

    KILLED = "killed"  #: by `kill`: the crash that was wanted
    QUIT = "quit"  #: by `quit` or by leaving the block
    POWERED_OFF = "powered-off"  #: the guest switched itself off
    REBOOTED = "rebooted"  #: the guest reset itself; -no-reboot made that the end
    DIED = "died"  #: nobody wanted it


class Machine:
    """A running QEMU.

    Entering the block starts it: disks are made, the monitor and the console are connected, and the
    guest runs.  Leaving it ends QEMU whatever happened.  `name` tells several machines of one run
    apart; log files and sockets bear it.

    Entering raises `InfraError` with QEMU's output and a command to paste when QEMU does not start.
    """

    def __init__(self, spec: MachineSpec, rundir: RunDir, accel: Accel, name: str = "qemu") -> None:
        self.spec = spec = _with_blanks(spec, rundir.scratch, name)
        self.accel = accel
        self.name = name
        self.console_log: Path = rundir.logs / f"{name}-console.log"
        self.paths = Paths(
            qmp=rundir.scratch / f"{name}.qmp",
            console=rundir.scratch / f"{name}.console",
            console_log=self.console_log,
            relay=rundir.scratch / f"{name}.relay",
        )
        self.argv = qemu_argv(
            spec, accel.name, self.paths, sandbox=sandbox_works(f"qemu-system-{spec.arch}")
        )
        self.ssh_port: int | None = None
        self._service: RecordedService = rundir.service(name, self.argv)
        self._stack = ExitStack()
        self._exit_fd = -1
        self._wanted: Ending | None = None
        self._shutdown: Shutdown | None = None
        self._qmp: Qmp | None = None
        self._console: Console | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Last in, first out: the monitor and console hang up after QEMU's end.
            self._prepare()
            listener = stack.enter_context(listen(self.paths.qmp))
            stack.callback(self._hang_up)
            stack.enter_context(self._service)
            self._exit_fd = os.pidfd_open(self._service.pid)
            stack.callback(os.close, self._exit_fd)
            stack.callback(self._end)
            self._connect(listener)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def command(self) -> str:
        """The command as a line that can be pasted, less what ties it to hurdle's sockets."""
        return shlex.join(by_hand(self.argv))

    @property
    def _sockets(self) -> tuple[Path, ...]:
        return (self.paths.qmp, self.paths.console, self.paths.relay)

    @property
    def console_socket(self) -> Path:
        return self.paths.console

    @property
    def console(self) -> Console:
        """The serial line.  Only one reader at a time."""
        if self._console is None:
            raise RuntimeError("the machine was not started: use it as a context manager")
        return self._console

    @property
    def qmp(self) -> Qmp:
        if self._qmp is None:
            raise RuntimeError("the machine was not started: use it as a context manager")
        return self._qmp

    @property
    def pid(self) -> int:
        return self._service.pid

    def kill(self) -> None:
        """SIGKILL, at once and on purpose; returns when QEMU is gone.

        Writes that QEMU has completed stay, since the host's page cache has them; what QEMU still
        held is lost.  Raises the reason if QEMU had ended before: then there was no crash.
        """
        if self._service.poll() is not None:
            self.raise_if_gone()
            return
        self._wanted = Ending.KILLED
        self._service.kill()

    def quit(self, timeout: float = 10.0) -> None:
        """An orderly end, in which QEMU flushes and closes its disks.  No crash of the disk."""
        if self.ending is not None:
            return
        self._wanted = Ending.QUIT
        with suppress(InfraError):  # its answer may be lost in its end; the end is what counts
            self.qmp.execute("quit", timeout=timeout)
        if self.wait(timeout) is None:
            raise InfraError(
                f"QEMU did not end within {timeout:.0f} s of `quit`", hint=f"it has id {self.pid}"
            )

    def save(self, target: Path) -> None:
        """Stop the guest and write its whole state, less its disks, to the new file `target`.

        It stays stopped.  Raises `InfraError` when QEMU can't save it.
        """
        self.qmp.execute("stop")
        self.qmp.migrate(target, _STATE_SECONDS)

    def wait(self, timeout: float) -> Ending | None:
        """Wait up to `timeout` seconds for QEMU's end; how it ended, or None if it still runs.

        The console is read meanwhile, so the guest can go on printing; alarms are not raised.
        """
        deadline = Deadline.after(timeout)
        listening = [self._exit_fd, self.console.fileno()]
        while self.ending is None:
            ready, _, _ = select.select(listening, [], [], deadline.remaining)
            if not ready:
                return None
            if self.console.fileno() in ready and not self.console.drain():
                listening = [self._exit_fd]
        return self.ending

    @property
    def ending(self) -> Ending | None:
        """How QEMU ended, or None while it runs."""
        if self._service.poll() is None:
            return None
        if self._wanted is not None:
            return self._wanted
        if self._shutdown is None and self._qmp is not None:
            self._shutdown = self._qmp.shutdown_event()
        if self._shutdown is not None and self._shutdown.guest:
            reset = self._shutdown.reason == "guest-reset"
            return Ending.REBOOTED if reset else Ending.POWERED_OFF
        return Ending.DIED

    def powered_off(self) -> bool:
        """Whether the guest has switched itself off."""
        return self.ending is Ending.POWERED_OFF

    def raise_if_gone(self) -> None:
        """Raise `ConditionError` when QEMU has ended without our wish; InfraError if it died."""
        ending = self.ending
        if ending in (None, Ending.KILLED, Ending.QUIT):
            return
        console = console_tail(self.console_log, 40)
        hint = f"the whole console is in {self.console_log}"
        if ending is Ending.REBOOTED:
            raise ConditionError(
                Condition.REBOOT, "the guest rebooted by itself", hint=hint, console=console
            )
        if ending is Ending.POWERED_OFF:
            raise ConditionError(
                Condition.POWER_OFF, "the guest switched itself off", hint=hint, console=console
            )
        raise InfraError(
            f"QEMU ended unexpectedly with {self._exit_words()}\n{tail(self._service.output())}",
            hint=f"start it by hand: {self.command}",
        )

    def _line_closed(self) -> None:
        """QEMU closes the console a moment before it ends: say how it ended."""
        self._service.wait(_END_SECONDS)
        self.raise_if_gone()

    def check_disks(self) -> None:
        """Raise `InfraError` if QEMU stopped the guest because the host failed one of its disks."""
        if self._service.poll() is not None or self.qmp.status() != "io-error":
            return
        files = [file for disk in self.spec.disks for file in (disk.path, disk.log) if file]
        free = ", ".join(
            f"{folder} has {shutil.disk_usage(folder).free >> 20} MiB free"
            for folder in sorted({file.parent for file in files})
        )
        raise InfraError(
            "the host could not read or write a disk of the guest, so QEMU stopped the guest; "
            "most often no space is left",
            hint=f"{free}\nfree some space or give --out a folder on a larger disk; if there is "
            "room, look for I/O errors in the host's kernel log",
        )

    def alive(self) -> str:
        """Whether QEMU itself still answers, in words for a message about a hang."""
        if self._service.poll() is not None:
            return f"QEMU has ended ({self.ending})"
        try:
            return f"QEMU itself answers and says that the guest is {self.qmp.status()}"
        except InfraError as exc:
            return f"QEMU itself does not answer either: {exc}"

    def disk(self, name: str) -> DiskSpec | None:
        """The machine's disk of that name."""
        return next((disk for disk in self.spec.disks if disk.name == name), None)

    def _prepare(self) -> None:
        for disk in self.spec.disks:
            if disk.blank is not None:
                with disk.path.open("wb") as file:
                    file.truncate(disk.blank)
            if disk.replica is not None:
                make_replica(disk.replica, disk.path)
        check_files(self.spec)
        for path in self._sockets:
            check_socket_path(path)

    def _connect(self, listener: socket.socket) -> None:
        connected = self._accept(listener)
        try:
            self._qmp = Qmp(connected)
            self._console = Console(self.paths.console, self.console_log, self._line_closed)
            if self.spec.nic is not None:
                self.ssh_port = self._qmp.ssh_port()
            if self.spec.incoming is not None:
                self._qmp.wait_for_state(_STATE_SECONDS)
            self._qmp.execute("cont")
        except InfraError:
            # QEMU may greet and die: a disk that is locked is seen only when it starts to run.
            if self._service.wait(1.0) is not None:
                self._raise_failed_start()
            raise

    def _accept(self, listener: socket.socket) -> socket.socket:
        """QEMU's connection to the monitor, or the reason why there is none."""
        waiting = [listener.fileno(), self._exit_fd]
        ready, _, _ = select.select(waiting, [], [], _START_SECONDS)
        if listener.fileno() in ready:
            return listener.accept()[0]
        if self._exit_fd in ready:
            self._service.wait(5.0)
            self._raise_failed_start()
        raise InfraError(
            f"QEMU did not connect to its monitor within {_START_SECONDS:.0f} s\n"
            f"{tail(self._service.output())}".rstrip(),
            hint=f"start it by hand: {self.command}",
        )

    def _raise_failed_start(self) -> NoReturn:
        said = tail(self._service.output())
        raise InfraError(
            f"QEMU did not start: {self._exit_words()}\n{said}".rstrip(),
            hint=f"{explain_start(said)}start it by hand: {self.command}",
        )

    def _exit_words(self) -> str:
        status = self._service.poll()
        return describe_exit(status) if status is not None else "no exit status"

    def _end(self) -> None:
        if self._service.poll() is None:
            self._wanted = self._wanted or Ending.QUIT
            self._service.stop()

    def _hang_up(self) -> None:
        if self._console is not None:
            self._console.close()
        if self._qmp is not None:
            if self._wanted is None and self._shutdown is None:
                self._shutdown = self._qmp.shutdown_event()
            self._qmp.close()
        for path in self._sockets:
            path.unlink(missing_ok=True)


def _with_blanks(spec: MachineSpec, scratch: Path, name: str) -> MachineSpec:
    """`spec` with a file of this machine's own for each disk that is made for it."""
    disks = (
        disk if disk.blank is None else replace(disk, path=scratch / f"{name}-{disk.name}.raw")
        for disk in spec.disks
    )
    return replace(spec, disks=tuple(disks))
