"""The guest's serial console: bytes over QEMU's unix socket, waited for with pexpect.

Every wait also listens for the conditions of `conditions.py`, and for the end of QEMU.  QEMU
itself writes the whole console to a file, so the evidence does not depend on anybody reading here.
That file may have a character twice where the reader was slow: QEMU 7.2 logs what the full socket
refused, and logs it again when it is sent (measured: 35 of 13000 characters; the line has none).
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import pexpect
from pexpect import socket_pexpect

from harness.deadline import Deadline
from harness.errors import InfraError
from harness.machine.conditions import (
    WINDOW,
    Alarm,
    Condition,
    ConditionError,
    alarms_for,
    check_bounded,
    plain,
)

# pexpect searches the last WINDOW bytes after each read, so a read must be smaller than that by
# more than the longest match.
_READ = WINDOW // 2
_TAIL_BYTES = 64 << 10
_LAST_WORDS = 1.5  # s at most for what a guest prints after an alarm, such as a trace
_SILENCE = 0.3  # s without a word that end it
_SEND_SECONDS = 20.0  # the line does 11 kB/s at worst, and what is sent at once is below 4 kB


class Console:
    """One end of the serial line.

    `log` is the file to which QEMU copies the line.  `gone` is asked when the line closes; it
    raises the error that explains why (reboot, power off, QEMU died).
    """

    def __init__(self, path: Path, log: Path, gone: Callable[[], None]) -> None:
        self.log = log
        self.tolerated: frozenset[Condition] = frozenset()
        self._gone = gone
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(os.fspath(path))
        except OSError as exc:
            self._socket.close()
            raise InfraError(
                f"can't connect to the console socket {path}: {exc.strerror}",
                hint="QEMU makes it when it starts; its output is in the run's logs",
            ) from exc
        self._socket.settimeout(_SEND_SECONDS)
        # Any: its type stubs know text only, a spawn without `encoding` speaks bytes.
        self._spawn: Any = socket_pexpect.SocketSpawn(
            self._socket, maxread=_READ, searchwindowsize=WINDOW, use_poll=True
        )

    @property
    def line(self) -> socket.socket:
        """The line itself, for a person's terminal.  Nothing else may read while it is lent."""
        return self._socket

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def tail(self, lines: int = 40) -> str:
        """The last lines that the guest printed, for people."""
        return console_tail(self.log, lines)

    def send(self, data: bytes) -> None:
        """Type `data`.  Raises the reason why QEMU is gone, if it is."""
        try:
            self._spawn.send(data)
        except TimeoutError:
            raise ConditionError(
                Condition.HANG,
                "the guest takes nothing from its console",
                hint=f"it may have interrupts off; the whole console is in {self.log}",
                console=self.tail(),
            ) from None
        except OSError:
            self._end()

    def expect(self, pattern: bytes, deadline: Deadline, what: str) -> tuple[bytes, bytes]:
        """Wait until the guest prints `pattern`; what came before it, and the match.

        `what` says in words what is waited for.  Raises `ConditionError` for every alarm that is
        not tolerated, for silence until the deadline, and for QEMU's end.
        """
        alarms = alarms_for(self.tolerated)
        found = self._search([check_bounded(pattern), *_patterns(alarms)], deadline.remaining)
        if found == 0:
            return bytes(self._spawn.before), bytes(self._spawn.match.group(0))
        if found <= len(alarms):
            self._raise(alarms[found - 1])
        if found == len(alarms) + 1:
            self._end()
        raise ConditionError(
            Condition.HANG,
            f"{what} did not come in time",
            hint=f"the whole console is in {self.log}",
            console=self.tail(),
        )

    def watch(self, seconds: float = 0.0, others: Iterable[int] = ()) -> list[int]:
        """Read the console for up to `seconds` and raise for an alarm; text is dropped otherwise.

        Ends early when one of the file descriptors `others` gets readable; returns those.  Somebody
        must read now and then: a few hundred unread characters fill the socket (QEMU sends them one
        by one), and then the guest waits for its serial port.
        """
        deadline, others = Deadline.after(seconds), list(others)
        while True:
            ready, _, _ = select.select([self.fileno(), *others], [], [], deadline.remaining)
            if self.fileno() in ready:
                self._scan()
                ready.remove(self.fileno())
            if ready or deadline.expired:
                return ready

    def drain(self) -> bool:
        """Throw away what has arrived (QEMU's log has it); False when the line is closed."""
        try:
            return bool(self._socket.recv(_READ, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False

    def _scan(self) -> None:
        """Take what has arrived and look for alarms in it."""
        alarms = alarms_for(self.tolerated)
        found = self._search(_patterns(alarms), 0.0)
        if found < len(alarms):
            self._raise(alarms[found])
        if found == len(alarms):
            self._end()

    def _search(self, patterns: list[bytes], seconds: float) -> int:
        """The index of the first pattern found; behind the last one: the end, and no match."""
        try:
            # A time-out of 0 makes the socket non-blocking: an error that pexpect lets pass.
            found = self._spawn.expect(
                [*patterns, pexpect.EOF, pexpect.TIMEOUT], timeout=max(seconds, 0.001)
            )
        except ConnectionResetError:  # QEMU died with our keystrokes unread
            return len(patterns)
        return int(found)

    def _raise(self, alarm: Alarm) -> NoReturn:
        said = plain(bytes(self._spawn.match.group(0))).strip()
        self._let_finish()
        raise ConditionError(
            alarm.condition,
            f"{alarm.happened}: {said}",
            hint=f"{alarm.cure}\nthe whole console is in {self.log}",
            console=self.tail(),
        )

    def _let_finish(self) -> None:
        """Let the guest print what follows an alarm, such as a trace: it is the evidence."""
        deadline = Deadline.after(_LAST_WORDS)
        while not deadline.expired:
            ready, _, _ = select.select(
                [self.fileno()], [], [], deadline.within(_SILENCE).remaining
            )
            if not ready or not self.drain():
                return

    def _end(self) -> NoReturn:
        self._gone()
        raise ConditionError(
            Condition.QEMU_DIED,
            "QEMU closed the console",
            hint=f"the whole console is in {self.log}",
            console=self.tail(),
        )


def _patterns(alarms: Iterable[Alarm]) -> list[bytes]:
    return [alarm.pattern for alarm in alarms]


def console_tail(log: Path, lines: int) -> str:
    """The last `lines` lines of a console log, without control characters."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            text = plain(stream.read())
    except FileNotFoundError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])
