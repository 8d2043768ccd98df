"""Commands over the serial console, with exit code and exact output, as SSH has them.

The console's login shell is told to become a reader of our lines: no prompt, no line editing, no
echo, no translation of line ends.  A command travels as printable text (octal escapes), in lines
that are shorter than the terminal's limit, and runs in a subshell without standard input.  What it
prints comes back between two markers that hold a number drawn for this session; they are put
together in the guest, so they never match their own echo.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import shlex
import time
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import GuestError
from harness.guest.command import CommandResult, Progress, no_progress
from harness.guest.session import ShellSession
from harness.machine.console import Console

_SETUP_SECONDS = 20.0
_CHUNK = 6 << 10  # bytes of base64 that one command of `put` carries
_PLAIN = frozenset(
    b' abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!"#$%&()*+,-./:;<=>?@[]^_`{|}~'
)

# $h: the encoded command; $k: the session's key; $n: the command's number; $1: the length that $h
# must have, since a UART drops what comes too fast (G asks for it again).  A command without
# escapes is taken as it is: a fork takes a guest under TCG 30 ms.  File descriptor 3 is the
# console, so that standard error can be collected in a variable and printed after the output; the
# x keeps its last newlines, which the shell would strip.
_SETUP = (
    "hc(){ if [ ${#h} = $1 ];then hr;else h=;printf '\\n%s\\n' G$k.$n;fi;}",
    "hr(){ printf '\\n%s\\n' B$k.$n;case $h in *\\\\*)c=$(printf %b \"$h\");;*)c=$h;;esac;h=;"
    'e=$( (eval "$c") 2>&1 >&3 3>&- </dev/null;r=$?;echo x;exit $r);r=$?;'
    "printf '\\n%s %s\\n%s\\n%s\\n' E$k.$n $r \"$e\" F$k.$n;}",
)
_TRIES = 3


def encode(command: str) -> str:
    """`command` as text for `printf %b` inside single quotes: printable ASCII only."""
    return "".join(
        chr(byte) if byte in _PLAIN else f"\\0{byte:03o}"
        for byte in command.encode("utf-8", "surrogateescape")
    )


def in_lines(encoded: str, number: int, limit: int) -> list[str]:
    """The lines to type for an encoded command, none longer than `limit` bytes."""
    end = f";n={number};hc {len(encoded)}"
    room = limit - len(f"h=\"$h\"''{end};echo +")
    if room < 16:
        raise ValueError(f"lines of {limit} bytes are too short")
    pieces = [encoded[at : at + room] for at in range(0, len(encoded), room)] or [""]
    lines = [f"h=\"$h\"'{piece}'" for piece in pieces]
    return [*(f"{line};echo +" for line in lines[:-1]), lines[-1] + end]


def take_output(before: bytes, crlf: bool) -> bytes:
    """A command's output from the bytes between its markers.

    The begin marker ends a line, the end marker is printed after a newline of its own; both go.
    """
    text = before.replace(b"\r\n", b"\n") if crlf else before
    _, _, text = text.partition(b"\n")
    return text.removesuffix(b"\n")


class ConsoleShell:
    """The guest's shell on its console.

    `limit` is how long a typed line may be (bytes).  `quiet` is a command that keeps the kernel
    from writing between the lines of our output; empty if the guest needs none.
    """

    def __init__(self, console: Console, *, limit: int, quiet: str = "") -> None:
        self._console = console
        self._limit = limit
        self._quiet = quiet
        self._key = secrets.token_hex(4)
        self._number = 0
        self._crlf = False

    def open(self, deadline: Deadline) -> None:
        """Take the shell over.  Its prompt must have been seen."""
        setup = (
            "PS1=;PS2=;stty -echo -opost 2>/dev/null",
            f"k={self._key};h=;exec 3>&1",
            *_SETUP,
            # From here on lines are read by `read`: no line editor, no history.
            'while IFS= read -r l;do eval "$l";done',
        )
        wait = deadline.within(_SETUP_SECONDS)
        for number, line in enumerate(setup, start=1):
            # One at a time.  Quotes split the answer, so the echo can't be taken for it.
            ready = f"R{self._key}.{number}"
            done = f"printf '%s\\n' R''{ready[1:]}"
            self._type(f"{done};{line}" if line.startswith("while") else f"{line};{done}")
            pattern = re.escape(ready.encode()) + rb"\r?\n"
            _, match = self._console.expect(pattern, wait, "the console's shell")
            self._crlf = match.endswith(b"\r\n")
        for command in filter(None, (self._quiet, "true")):
            result = self.run(command, deadline.remaining)
            if result.rc != 0:
                raise GuestError(
                    f"the console's shell answers `{command}` with {result.rc}: {result.err}",
                    hint="check access.scrollback in the recipe" if command != "true" else None,
                    console=self._console.tail(),
                )

    @property
    def session(self) -> ShellSession:
        """Where the conversation stands, for `resume`."""
        return ShellSession(self._key, self._number, self._crlf)

    def resume(self, session: ShellSession, deadline: Deadline) -> None:
        """Go on where another `ConsoleShell` stood, whose guest's state was saved; it answers."""
        self._key, self._number, self._crlf = session.key, session.number, session.crlf
        self._type("printf '%s\\n' A$k.$n")  # without a fork, as everything is slow at first
        label = f"A{session.key}.{session.number}".encode()
        self._console.expect(re.escape(label) + rb"\r?\n", deadline, "the console's shell")

    def run(self, command: str, timeout: float) -> CommandResult:
        """Run `command` to its end, for at most `timeout` seconds.

        It reads nothing.  What it leaves running must not hold its output open.
        Raises `ConditionError`: HANG when it does not end, or what else the console told.
        """
        rc, out, err, seconds = self._run(command, timeout)
        return CommandResult(rc, out.decode(errors="replace"), err, seconds)

    def _run(self, command: str, timeout: float) -> tuple[int, bytes, str, float]:
        self._number += 1
        began, deadline = time.monotonic(), Deadline.after(timeout)
        label = f"{self._key}.{self._number}".encode()
        what = f"the end of `{shorten(command)}`"
        self._start(command, label, deadline, what)
        out, end = self._console.expect(b"E" + re.escape(label) + rb" \d{1,3}\r?\n", deadline, what)
        err, _ = self._console.expect(b"F" + re.escape(label) + rb"\r?\n", deadline, what)
        rc = int(end.split()[-1])
        text = err.replace(b"\r\n", b"\n") if self._crlf else err
        return (
            rc,
            take_output(out, self._crlf),
            text.decode(errors="replace").removesuffix("x\n"),
            time.monotonic() - began,
        )

    def _start(self, command: str, label: bytes, deadline: Deadline, what: str) -> None:
        """Type the command until it has arrived as it was sent."""
        lines = in_lines(encode(command), self._number, self._limit)
        for _ in range(_TRIES):
            for line in lines[:-1]:
                # One line at a time: a UART has no flow control.
                self._type(line)
                self._console.expect(rb"\+\r?\n", deadline, what)
            self._type(lines[-1])
            _, answer = self._console.expect(rb"[BG]" + re.escape(label), deadline, what)
            if answer.startswith(b"B"):
                return
        raise GuestError(
            f"the console garbles what is typed: `{shorten(command)}` did not arrive",
            hint="does something else write to or read from this console?",
            console=self._console.tail(),
        )

    def put(
        self, local: Path, remote: str, *, timeout: float, progress: Progress = no_progress
    ) -> None:
        """Copy a small file into the guest (10 kB/s or so); mode and owner are the shell's."""
        data, deadline, target = local.read_bytes(), Deadline.after(timeout), shlex.quote(remote)
        self._must(f": > {target}", deadline)
        size = _CHUNK // 4 * 3
        for at in range(0, len(data), size):
            text = base64.b64encode(data[at : at + size]).decode()
            self._must(f"echo {text} | base64 -d >> {target}", deadline)
            progress(min(at + size, len(data)), len(data))
        self._compare(data, remote, deadline)

    def get(
        self, remote: str, local: Path, *, timeout: float, progress: Progress = no_progress
    ) -> None:
        """Copy a small file out of the guest."""
        deadline = Deadline.after(timeout)
        text = self._must(f"base64 {shlex.quote(remote)}", deadline)
        try:
            data = base64.b64decode(text)
        except binascii.Error as exc:
            raise GuestError(f"{remote} came garbled over the console: {exc}") from exc
        self._compare(data, remote, deadline)
        local.write_bytes(data)
        progress(len(data), len(data))

    def _compare(self, data: bytes, remote: str, deadline: Deadline) -> None:
        there = self._must(f"sha256sum {shlex.quote(remote)}", deadline).split()[0]
        if there != hashlib.sha256(data).hexdigest():
            raise GuestError(
                f"{remote} differs from what went over the console",
                hint="the kernel may have printed between the lines: set access.scrollback",
                console=self._console.tail(),
            )

    def _must(self, command: str, deadline: Deadline) -> str:
        result = self.run(command, deadline.remaining)
        if result.rc != 0:
            raise GuestError(
                f"`{shorten(command)}` ended with {result.rc}: {(result.err or result.out).strip()}"
            )
        return result.out

    def _type(self, line: str) -> None:
        self._console.send(line.encode() + b"\n")


def shorten(command: str, width: int = 120) -> str:
    """A command for a message: one line, not too long."""
    line = " ".join(command.split())
    return line if len(line) <= width else f"{line[: width - 3]}..."
