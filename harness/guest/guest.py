"""A guest: a machine that boots, answers, and may stop answering."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from harness.deadline import Deadline
from harness.errors import GuestError, UsageError
from harness.guest.command import CommandResult, Progress, no_progress
from harness.guest.interactive import Line
from harness.guest.profile import profile_for
from harness.guest.relay import Relay
from harness.guest.session import ShellSession
from harness.guest.shell import ConsoleShell, shorten
from harness.guest.ssh import Ssh, by_port, connect_when_ready
from harness.guest.state import GuestState, Life
from harness.guest.transfer import TransferDisk
from harness.images.image import Image, SshKeys
from harness.images.recipe import Recipe, SshAccess
from harness.machine.conditions import Condition, ConditionError
from harness.machine.qemu import Ending, Machine
from harness.machine.spec import TRANSFER

T = TypeVar("T")

_COMMAND_SECONDS = 60.0
_COPY_SECONDS = 300.0
_TAIL = 40
_LOOK_SECONDS = 1.0  # between two questions to QEMU (each takes a millisecond)


class Guest:
    """The operating system inside a running `Machine`.

    Commands go over SSH where the recipe has it, else over the console.  The first failure latches:
    every later call raises `GuestError` from it.  A command's exit code is no failure.
    """

    def __init__(self, machine: Machine, recipe: Recipe, image: Image) -> None:
        self.machine = machine
        self.recipe = recipe
        self.image = image
        self.profile = profile_for(recipe)
        self._life = Life()
        self._shell: ConsoleShell | None = None
        self._ssh: Ssh | None = None
        self._relay: Relay | None = None
        self._looked = time.monotonic()

    @property
    def state(self) -> GuestState:
        return self._life.state

    def console_tail(self, lines: int = _TAIL) -> str:
        """The last lines of the console; works in every state."""
        return self.machine.console.tail(lines)

    def tolerate(self, *conditions: Condition) -> None:
        """Don't take these conditions for the guest's death (they stay in the console log)."""
        self.machine.console.tolerated |= frozenset(conditions)

    def boot(self, deadline: Deadline) -> None:
        """Wait until the console's shell answers, and SSH too where the recipe has it.

        Raises `ConditionError`: PANIC, MAINTENANCE, REBOOT, HANG, ..., with the console's end.
        """
        self._life.need(GuestState.OFF)
        with ExitStack() as stack:
            stack.enter_context(self._life.latching())
            self._life.move(GuestState.BOOTING)
            self._told(lambda: self._open_console(deadline), "booting")
            self._life.move(GuestState.CONSOLE)
            self._connect_at_start(deadline)

    def session(self) -> ShellSession:
        """Where the conversation with the console's shell stands, for `resume`; hangs up SSH."""
        self._life.need(GuestState.CONSOLE, GuestState.SSH)
        self._hang_up()
        if self._shell is None:
            raise RuntimeError("the guest was not booted")
        return self._shell.session

    def resume(self, session: ShellSession, deadline: Deadline) -> None:
        """Go on in a machine that was started from a saved state, in place of `boot`.

        The guest's clock stood still meanwhile: `set_clock` is next.  Raises as `boot`.
        """
        self._life.need(GuestState.OFF)
        with self._life.latching():
            self._life.move(GuestState.BOOTING)
            self._told(lambda: self._resume_console(session, deadline), "going on from a state")
            self._life.move(GuestState.CONSOLE)
            self._connect_at_start(deadline)

    def set_clock(self, timeout: float = _COMMAND_SECONDS) -> None:
        """Give the guest the host's time."""
        result = self.run(self.profile.set_clock(round(time.time())), timeout=timeout)
        if result.rc != 0:
            raise GuestError(f"the guest's clock can't be set: {result.err.strip()}")

    def run(self, command: str, *, timeout: float = _COMMAND_SECONDS) -> CommandResult:
        """Run a shell command as root; `timeout` in seconds.

        Raises `ConditionError` HANG when it does not end, and says whether QEMU still answers; or
        the condition that ended it (panic, reboot, ...).
        """
        self._life.need(GuestState.CONSOLE, GuestState.SSH)
        with self._life.latching():
            return self._told(
                lambda: self._way().run(command, timeout), f"running `{shorten(command)}`"
            )

    def connect(self) -> None:
        """Run commands over SSH from here on, if the recipe has it.  Raises as `run`."""
        self._life.need(GuestState.CONSOLE, GuestState.SSH)
        with self._life.latching():
            self._connect_on_demand()

    def put(
        self,
        local: Path,
        remote: str,
        *,
        timeout: float = _COPY_SECONDS,
        progress: Progress = no_progress,
    ) -> None:
        """Copy a file into the guest: the transfer disk, else SFTP, else the console."""
        self._life.need(GuestState.CONSOLE, GuestState.SSH)
        if not local.is_file():
            raise UsageError(f"{local} is no file, so it can't be copied into the guest")
        with self._life.latching():
            way = self._file_way()
            self._told(
                lambda: way.put(local, remote, timeout=timeout, progress=progress),
                f"copying {local.name} into the guest",
            )

    def get(
        self,
        remote: str,
        local: Path,
        *,
        timeout: float = _COPY_SECONDS,
        progress: Progress = no_progress,
    ) -> None:
        """Copy a file out of the guest."""
        self._life.need(GuestState.CONSOLE, GuestState.SSH)
        with self._life.latching():
            way = self._file_way()
            self._told(
                lambda: way.get(remote, local, timeout=timeout, progress=progress),
                f"copying {remote} out of the guest",
            )

    def linger(self, seconds: float) -> None:
        """Let the guest run for `seconds`; raises at once if it panics, reboots or ends."""
        self._life.need(GuestState.CONSOLE, GuestState.SSH)
        with self._life.latching():
            self._told(lambda: self._watch(seconds), "waiting")

    def terminal(self, term: str, columns: int, rows: int) -> Line:
        """A terminal of the guest for a person, over SSH."""
        with self._life.latching():
            self._connect_on_demand()
        if self._ssh is None:
            raise UsageError(f"{self.recipe.name} has no SSH", hint="use the console")
        return self._ssh.terminal(term, columns, rows)

    def poweroff(self, timeout: float = 30.0) -> None:
        """Shut the guest down in order, and QEMU with it."""
        self._life.need(GuestState.CONSOLE, GuestState.SSH)
        with self._life.latching():
            self.tolerate(Condition.POWER_OFF)
            self._halt(Deadline.after(timeout))
        self._hang_up()
        self._life.move(GuestState.OFF)

    def close(self) -> None:
        """Hang up SSH.  The machine's own block ends QEMU."""
        self._hang_up()

    def _way(self) -> Ssh | ConsoleShell:
        way = self._ssh or self._shell
        if way is None:
            raise RuntimeError("the guest was not booted")
        return way

    def _connect_at_start(self, deadline: Deadline) -> None:
        ssh = self.recipe.access.ssh
        if ssh is not None and ssh.connect == "boot":
            self._connect(deadline)

    def _connect_on_demand(self) -> None:
        access = self.recipe.access.ssh
        if access is not None and self._ssh is None:
            self._connect(Deadline.after(access.seconds * self.machine.accel.time_scale))

    def _connect(self, deadline: Deadline) -> None:
        self._told(lambda: self._open_ssh(deadline), "waiting for SSH")
        self._life.move(GuestState.SSH)

    def _resume_console(self, session: ShellSession, deadline: Deadline) -> None:
        shell = ConsoleShell(self.machine.console, limit=self.profile.console_line)
        shell.resume(session, deadline)
        self._shell = shell

    def _file_way(self) -> TransferDisk | Ssh | ConsoleShell:
        disk, transfer = self.machine.disk(TRANSFER), self.recipe.transfer
        if disk is not None and transfer is not None:
            return TransferDisk(disk.path, transfer.device, lambda c, s: self._way().run(c, s))
        self._connect_on_demand()
        return self._way()

    def _open_console(self, deadline: Deadline) -> None:
        pattern = self.recipe.boot.shell.encode()
        console = self.machine.console
        console.expect(pattern, deadline, f"the shell's prompt `{self.recipe.boot.shell}`")
        shell = ConsoleShell(
            console, limit=self.profile.console_line, quiet=self.recipe.access.scrollback
        )
        shell.open(deadline)
        self._shell = shell

    def _open_ssh(self, deadline: Deadline) -> None:
        access = self.recipe.access.ssh
        if access is None:
            raise UsageError(f"{self.recipe.name} has no SSH", hint="use the console")
        keys = self._keys()
        wait = deadline.within(access.seconds * self.machine.accel.time_scale)
        connected = connect_when_ready(self._dialler(access), wait, self._watch)
        self._ssh = Ssh(connected, access.user, keys, self._watch)

    def _dialler(self, access: SshAccess) -> Callable[[], socket.socket]:
        """How a connection to the guest's SSH server is made."""
        if access.over == "serial":
            line = self._relay = self._relay or Relay(self.machine.paths.relay)
            return lambda: line.dial(self._watch)
        port = self.machine.ssh_port
        if port is None:
            raise UsageError(
                f"{self.recipe.name} has SSH but no network card",
                hint="set machine.nic in the recipe, or remove access.ssh",
            )
        return lambda: by_port(port)

    def _keys(self) -> SshKeys:
        access = self.recipe.access.ssh
        if access is not None and access.key is not None and access.host_key is not None:
            return SshKeys(access.key, access.host_key)
        if self.image.ssh is None:
            raise UsageError(
                f"{self.recipe.name} has SSH, but neither recipe nor image has the keys",
                hint="set access.ssh.key and access.ssh.host_key in the recipe",
            )
        return self.image.ssh

    def _watch(self, seconds: float, others: Iterable[int] = ()) -> list[int]:
        """Watch the console, and once in a while whether the host still serves the disks."""
        deadline, others = Deadline.after(seconds), list(others)
        while True:
            if time.monotonic() - self._looked >= _LOOK_SECONDS:
                self.machine.check_disks()
                self._looked = time.monotonic()
            part = min(_LOOK_SECONDS, deadline.remaining)
            ready = self.machine.console.watch(part, others)
            if ready or deadline.expired:
                return ready

    def _halt(self, deadline: Deadline) -> None:
        """Ask for the power-off and wait for QEMU's end, or for gnumach's idle loop."""
        self._hang_up()
        if self._shell is None:
            raise RuntimeError("the guest was not booted")
        try:
            self._shell.run(self.profile.poweroff(), deadline.remaining)
            self._watch(deadline.remaining)
        except ConditionError as exc:
            if exc.condition is Condition.TIGHT_LOOP:
                self.machine.quit()  # gnumach never switches the power off
                return
            if exc.condition is not Condition.POWER_OFF:
                raise
        if self.machine.wait(deadline.remaining) is not Ending.POWERED_OFF:
            raise ConditionError(
                Condition.HANG,
                "the guest did not switch itself off in time",
                console=self.console_tail(),
            )

    def _hang_up(self) -> None:
        if self._ssh is not None:
            self._ssh.close()
            self._ssh = None
        if self._relay is not None:
            self._relay.close()
            self._relay = None

    def _told(self, step: Callable[[], T], doing: str) -> T:
        """Do a step; an error of the guest gets told where it came from and what QEMU says."""
        try:
            return step()
        except ConditionError as exc:
            if exc.condition is Condition.HANG:
                self.machine.check_disks()
            more = f" ({self.machine.alive()})" if exc.condition is Condition.HANG else ""
            raise ConditionError(
                exc.condition,
                f"{doing}: {exc}{more}",
                hint=exc.hint or f"the whole console is in {self.machine.console_log}",
                console=exc.console or self.console_tail(),
            ) from exc
        except GuestError as exc:
            raise GuestError(
                f"{doing}: {exc}", hint=exc.hint, console=exc.console or self.console_tail()
            ) from exc
