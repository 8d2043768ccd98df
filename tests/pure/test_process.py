"""Programs are started, awaited and ended as promised; failures can be pasted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.deadline import Deadline
from harness.errors import InfraError
from harness.process import Service, describe_exit, run
from harness.tools import tool


def test_run_gives_output_and_code() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], ok=(3,))
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


def test_a_failure_names_code_output_and_command() -> None:
    with pytest.raises(InfraError) as caught:
        run(["sh", "-c", "echo the reason; exit 4"])
    assert "exit code 4" in str(caught.value)
    assert "the reason" in str(caught.value)
    assert "sh -c 'echo the reason; exit 4'" in (caught.value.hint or "")


def test_a_slow_program_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(InfraError, match="did not end within"):
        run(["sleep", "30"], timeout=0.2)
    assert time.monotonic() - began < 5


def test_death_by_signal_is_a_failure_whatever_codes_are_accepted() -> None:
    with pytest.raises(InfraError, match="SIGKILL"):
        run(["sh", "-c", "kill -9 $$"], ok=None)


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(InfraError, match="no-such-program"):
        run(["no-such-program"])


def test_a_known_tool_that_is_missing_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.tools.find_tool", lambda name: None)
    with pytest.raises(InfraError, match="debugfs") as caught:
        tool("debugfs")
    assert "apt-get install e2fsprogs" in (caught.value.hint or "")


def test_a_service_runs_until_the_block_ends(tmp_path: Path) -> None:
    with Service(["sh", "-c", "echo up; exec sleep 60"], log=tmp_path / "log") as service:
        assert _said(service, "up")
        assert service.poll() is None
        pid = service.pid
    assert not psutil.pid_exists(pid)
    assert service.output() == "up\n"


def _said(service: Service, word: str) -> bool:
    deadline = Deadline.after(5)
    while word not in service.output() and not deadline.expired:
        time.sleep(0.01)
    return word in service.output()


def test_a_service_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    argv = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
    with Service(argv, log=tmp_path / "log", grace=0.2) as service:
        assert _said(service, "ready")
        pid = service.pid
    assert not psutil.pid_exists(pid)


def test_a_service_ends_when_the_block_raises(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Service(["sleep", "60"], log=tmp_path / "l") as service:
        raise KeyboardInterrupt
    assert service.poll() == -signal.SIGTERM


def test_a_family_s_grandchildren_end_with_the_block(tmp_path: Path) -> None:
    """As `make` below a shell, which SIGTERM of the shell leaves behind."""
    argv = ["sh", "-c", "sleep 60 & echo child $!; wait"]
    with Service(argv, log=tmp_path / "log", family=True) as service:
        assert _said(service, "child")
        grandchild = int(service.output().split()[1])
        assert psutil.pid_exists(grandchild)
    deadline = Deadline.after(5)
    while _runs(grandchild) and not deadline.expired:
        time.sleep(0.01)
    assert not _runs(grandchild)


def _runs(pid: int) -> bool:
    """A zombie, which init has to collect, does not run."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_children_die_when_hurdle_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves no chance to clean up; the kernel ends the children."""
    script = (
        "import sys, time; from pathlib import Path; from harness.process import Service\n"
        f"with Service(['sleep', '60'], log=Path({str(tmp_path / 'log')!r})) as s:\n"
        "    print(s.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    deadline = Deadline.after(5)
    while child.name() != "sleep" and not deadline.expired:
        time.sleep(0.01)  # setpriv has to have set the signal before its parent goes
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert _gone(child, Deadline.after(5))


def _gone(process: psutil.Process, deadline: Deadline) -> bool:
    while not deadline.expired:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


def test_exit_in_words() -> None:
    assert describe_exit(2) == "exit code 2"
    assert describe_exit(-15) == "signal SIGTERM"
    assert describe_exit(-99) == "signal 99"


def test_a_deadline_inside_a_deadline_is_the_earlier_one() -> None:
    outer = Deadline.after(1)
    assert outer.within(100).at == outer.at
    assert outer.within(0.1).at < outer.at
    assert Deadline.after(-1).expired
    assert Deadline.after(-1).remaining == 0
