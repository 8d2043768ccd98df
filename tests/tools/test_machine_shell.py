"""The console's shell against a real shell on a real terminal, without a guest."""

from __future__ import annotations

import os
import pty
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import GuestError
from harness.guest.shell import ConsoleShell
from harness.machine.conditions import Condition, ConditionError
from harness.machine.console import Console

pytestmark = pytest.mark.tools


class Terminal:
    """A shell on a pty behind a unix socket, as QEMU's serial line has it."""

    def __init__(self, folder: Path, argv: list[str]) -> None:
        self.path, self.log = folder / "console", folder / "console.log"
        self.spoil = b""  #: a typed byte that the line swallows, once
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(1)
        self._master, slave = pty.openpty()
        self.shell = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "PS1": "guest# ", "TERM": "dumb"},
        )
        os.close(slave)
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()

    def _relay(self) -> None:
        line, _ = self._listener.accept()
        with line, self.log.open("wb", buffering=0) as log:
            while True:
                ready, _, _ = select.select([line.fileno(), self._master], [], [])
                if self._master in ready:
                    try:
                        said = os.read(self._master, 4096)
                    except OSError:  # the last one closed the terminal
                        return
                    log.write(said)
                    line.sendall(said)
                if line.fileno() in ready:
                    typed = line.recv(4096)
                    if not typed:
                        return
                    if self.spoil and self.spoil in typed:
                        typed = typed.replace(self.spoil, b"", 1)
                        self.spoil = b""
                    os.write(self._master, typed)

    def close(self) -> None:
        self.shell.kill()
        self.shell.wait()
        self._thread.join(5)
        self._listener.close()
        os.close(self._master)


def _gone() -> None:
    """Nothing is known of the end of a shell."""


@pytest.fixture(params=[["sh", "-i"], ["bash", "--norc", "-i"]], ids=["sh", "bash"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def shell(terminal: Terminal) -> Iterator[ConsoleShell]:
    console = Console(terminal.path, terminal.log, _gone)
    console.expect(b"guest# ", Deadline.after(10), "the prompt")
    made = ConsoleShell(console, limit=200)
    made.open(Deadline.after(10))
    yield made
    console.close()


def test_output_and_exit_code_are_exact(shell: ConsoleShell) -> None:
    result = shell.run("printf 'a\\r\\n\\tb\\n\\n'; echo oops >&2; exit 7", 10)
    assert (result.rc, result.out, result.err) == (7, "a\r\n\tb\n\n", "oops\n")
    assert (shell.run("printf x", 10).out, shell.run("true", 10).out) == ("x", "")


def test_any_command_arrives_as_it_was_given(shell: ConsoleShell) -> None:
    text = "'\"\\ $(x) `y` !z *? \t\x03\x04\x15\x1a\n ü €\n" * 30
    quoted = "'" + text.replace("'", "'\\''") + "'"
    assert shell.run(f"printf %s {quoted}", 10).out == text


def test_a_command_can_not_break_the_shell_that_runs_it(shell: ConsoleShell) -> None:
    for command, rc in (("if then", 2), ("exit 3", 3), ("cd /; false", 1), ("nosuch", 127)):
        assert shell.run(command, 10).rc in (rc, 1)
    assert shell.run("cat; exec 3>&-; echo still here", 10).out == "still here\n"
    before = shell.run("pwd", 10).out
    shell.run("cd /tmp; umask 0077; PATH=/nowhere", 10)
    assert shell.run("pwd", 10).out == before


def test_a_character_that_the_line_loses_is_sent_again(
    terminal: Terminal, shell: ConsoleShell
) -> None:
    terminal.spoil = b"Q"
    assert shell.run("echo one Q two", 10).out == "one Q two\n"
    assert terminal.spoil == b""


def test_a_command_that_hangs_is_named(shell: ConsoleShell) -> None:
    with pytest.raises(ConditionError, match="sleep 77") as caught:
        shell.run("sleep 77", 0.5)
    assert caught.value.condition is Condition.HANG


def test_a_panic_ends_a_command_at_once(shell: ConsoleShell) -> None:
    with pytest.raises(ConditionError, match="kernel panicked") as caught:
        shell.run("echo 'Kernel panic - not syncing: Attempted to kill init'; sleep 60", 30)
    assert caught.value.condition is Condition.PANIC
    assert "Attempted to kill init" in str(caught.value)


def test_a_shell_that_ends_is_noticed(shell: ConsoleShell) -> None:
    with pytest.raises(ConditionError) as caught:
        shell.run("kill -9 $$", 20)
    assert caught.value.condition is Condition.QEMU_DIED


def test_files_go_both_ways(shell: ConsoleShell, tmp_path: Path) -> None:
    data = bytes(range(256)) * 60
    (tmp_path / "local").write_bytes(data)
    seen: list[tuple[int, int]] = []
    shell.put(
        tmp_path / "local",
        f"{tmp_path}/there it is",
        timeout=30,
        progress=lambda done, total: seen.append((done, total)),
    )
    shell.get(f"{tmp_path}/there it is", tmp_path / "back", timeout=30)
    assert (tmp_path / "back").read_bytes() == data
    assert seen[-1] == (len(data), len(data)) and len(seen) > 1
    with pytest.raises(GuestError, match="ended with 1"):
        shell.get("/nowhere", tmp_path / "back", timeout=30)
