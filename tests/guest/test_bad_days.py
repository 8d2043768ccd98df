"""Bad days: after each, nothing of ours remains, the evidence does, the message says what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.guest.support import Run, own

pytestmark = pytest.mark.guest


def phase(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["kind"] == "phase-begin" and event["phase"] == name


def assert_clean(run: Run) -> None:
    assert run.helpers() == []
    assert run.mounts() == []
    assert list(run.scratch.glob("run-*")) == []


@pytest.mark.parametrize("when", ["boot", "wait", "judge"])
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_everything(
    control: str, hurdle_run: Callable[..., Run], sign: signal.Signals, code: int, when: str
) -> None:
    run = hurdle_run("directory", control, "--variant", "ext3")
    run.until(phase(when))
    run.process.send_signal(sign)
    ended, output = run.finish(timeout=20)
    assert ended == code, output
    assert "everything that was started has been ended" in output
    assert run.events()[-1]["kind"] == "end"
    assert (run.out / "report.html").exists()
    assert_clean(run)


@pytest.mark.parametrize("when", ["wait", "judge"])
def test_after_sigkill_the_next_start_cleans_up(
    control: str, hurdle_run: Callable[..., Run], when: str
) -> None:
    run = hurdle_run("directory", control, "--variant", "ext3")
    run.until(phase(when))
    run.process.kill()
    run.finish(timeout=20)
    assert (run.out / "ext3" / "writes.log").exists()
    assert list(run.scratch.glob("run-*"))  # else there is nothing to show
    env = {**os.environ, "HURDLE_SCRATCH": str(run.scratch)}
    again = [sys.executable, "-m", "harness", "scenarios"]
    said = subprocess.run(again, env=env, capture_output=True, text=True, check=True)
    assert "removed what an earlier, killed run left" in said.stderr
    assert_clean(run)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["mkdir: a", "shell: echo c > /proc/sysrq-trigger"], "panic"),
        (["mkdir: a", "shell: {command: reboot -f, within: 20s}"], "reboot"),
        (["mkdir: a", "shell: fsfreeze --freeze .", "mkdir: {path: b, within: 5s}"], "mkdir"),
        (
            [
                "mkdir: a",
                "shell: fsfreeze --freeze .",
                "shell: {command: 'echo > f; sync', within: 5s}",
            ],
            "sync",
        ),
        (["mkdir: a", "rmdir: none"], "rmdir none"),
    ],
    ids=["panic", "reboot", "hang-in-operation", "hang-before-sync", "operation-refused"],
)
def test_a_guest_that_breaks_in_the_workload(
    control: str,
    hurdle_run: Callable[..., Run],
    tmp_path: Path,
    steps: list[str],
    message: str,
) -> None:
    run = hurdle_run(own(tmp_path, *steps), control, "--variant", "ext3")
    code, output = run.finish()
    assert code == 4, output
    assert message in output
    assert {e["verdict"] for e in run.events() if e["kind"] == "verdict"} == {"INFRA"}
    assert (run.out / "logs").is_dir()
    assert (run.out / "report.html").exists()
    assert_clean(run)


# PTRACE_SEIZE and PTRACE_INTERRUPT stop one thread where signals stop all.  The tracer is a process
# of its own since it has to collect the thread when QEMU is killed: until then the kernel keeps it.
_TRACER = """
import ctypes, os, sys
thread = int(sys.argv[1])
ptrace = ctypes.CDLL(None).ptrace
stopped = ptrace(0x4206, thread, None, None) == 0 and ptrace(0x4207, thread, None, None) == 0
print("stopped" if stopped else "refused", flush=True)
while stopped and not os.WIFSIGNALED(os.waitpid(thread, 0x40000000)[1]):
    pass
"""


@contextmanager
def halted_processor(qemu: psutil.Process) -> Iterator[None]:
    """Stop the thread that is the guest's processor; QEMU's main loop goes on answering.

    Under TCG it is the thread that has used most of the time.
    """
    threads = [t for t in qemu.threads() if t.id != qemu.pid]
    processor = max(threads, key=lambda t: t.user_time)
    argv = [sys.executable, "-c", _TRACER, str(processor.id)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as tracer:
        try:
            assert tracer.stdout is not None
            if tracer.stdout.readline() != "stopped\n":
                pytest.skip("ptrace of QEMU is not allowed here; run the tests as root")
            yield
        finally:
            tracer.kill()


def test_a_hang_in_sync(control: str, hurdle_run: Callable[..., Run], tmp_path: Path) -> None:
    steps = ("mkdir: a", "after: 3s", "sync: {within: 5s}")
    run = hurdle_run(own(tmp_path, *steps), control, "--variant", "ext3")
    run.until(phase("wait"))
    (qemu,) = (p for p in run.helpers() if "qemu-system" in p.name())
    with halted_processor(qemu):
        code, output = run.finish(timeout=60)
    assert code == 4, output
    assert "sync" in output
    assert "QEMU itself answers" in output
    assert_clean(run)


@pytest.mark.parametrize(
    ("setting", "code", "message"),
    [
        ("boot.cmdline=console=ttyS0 panic=-1 rdinit=/none", 4, "panic"),
        ("boot.shell=never ready", 4, "never ready"),
        ("access.ssh.user=nobody", 4, "SSH"),
        ("machine.cpu=no-such-cpu", 3, "no-such-cpu"),
        ("machine.memory_mib=a lot", 2, "machine.memory_mib"),
        ("machine.memroy_mib=300", 2, "memory_mib"),
    ],
)
def test_a_guest_that_does_not_come_up(
    control: str, hurdle_run: Callable[..., Run], setting: str, code: int, message: str
) -> None:
    bounds = ("--set", "boot.seconds=12", "--set", "access.ssh.seconds=12")
    run = hurdle_run("directory", control, "--variant", "ext3", "--set", setting, *bounds)
    ended, output = run.finish()
    assert ended == code, output
    assert message in output
    assert_clean(run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 220 MiB: enough to start with, and small enough to fill."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=220m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk to fill; run the tests as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb") as sink, pytest.raises(OSError, match="No space"):
        while True:
            os.write(sink.fileno(), b"x" * (1 << 20))


def test_the_host_s_disk_fills_up_while_writes_are_logged(
    control: str, hurdle_run: Callable[..., Run], small_disk: Path, tmp_path: Path
) -> None:
    steps = ("mkdir: a", "after: 3s", "create_many: {path: a, count: 400, size: 8000}", "sync: ")
    run = hurdle_run(own(tmp_path, *steps), control, "--variant", "ext3", out=small_disk / "out")
    run.until(phase("wait"))
    fill(small_disk)
    code, output = run.finish()
    assert code == 3, output
    assert "space" in output
    assert_clean(run)


def test_a_disk_that_is_too_small_is_refused_before_the_boot(
    control: str, hurdle_run: Callable[..., Run], small_disk: Path
) -> None:
    fill(small_disk)
    (small_disk / "filler").open("r+b").truncate(200 << 20)
    run = hurdle_run("directory", control, "--variant", "ext3", out=small_disk / "out")
    code, output = run.finish()
    assert code == 3, output
    assert "free" in output
    assert not [e for e in run.events() if e["kind"] == "phase-begin" and e["phase"] == "boot"]
