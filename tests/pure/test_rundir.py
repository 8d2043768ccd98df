"""A run's folders come and go; what a killed run left is found and removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.errors import UsageError
from harness.rundir import LedgerEntry, RunDir, reap


def test_scratch_goes_and_evidence_stays(tmp_path: Path) -> None:
    with RunDir(tmp_path / "out", base=tmp_path / "base") as run:
        (run.scratch / "socket").touch()
        (run.out / "evidence").touch()
        scratch = run.scratch
    assert not scratch.exists()
    assert (tmp_path / "out" / "evidence").exists()


def test_runs_side_by_side_don_t_share_scratch(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with RunDir(tmp_path / "a", base=base) as one, RunDir(tmp_path / "b", base=base) as two:
        assert one.scratch != two.scratch
        assert reap(base) == []  # both owners live
        assert one.scratch.exists()


def test_an_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with (
        pytest.raises(UsageError, match="is a file"),
        RunDir(tmp_path / "out", base=tmp_path / "b"),
    ):
        pass


_VICTIM = """
import subprocess, sys, time
from pathlib import Path
import psutil
from harness.rundir import LedgerEntry, RunDir
# A child that outlives its parent, as a program that forks itself into the background does.
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
with RunDir(Path(sys.argv[1]), base=Path(sys.argv[2])) as run:
    run.record(LedgerEntry("process", "sleep", child.pid, psutil.Process(child.pid).create_time()))
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_the_next_start_removes_what_a_killed_run_left(tmp_path: Path) -> None:
    base = tmp_path / "base"
    argv = [sys.executable, "-c", _VICTIM, str(tmp_path / "out"), str(base)]
    victim = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    child = psutil.Process(int(victim.stdout.readline()))
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    assert child.is_running()

    removed = reap(base)

    assert any(str(child.pid) in line for line in removed)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert list(base.glob("run-*")) == []


def test_a_recycled_process_id_is_left_alone(tmp_path: Path) -> None:
    base = tmp_path / "base"
    run = RunDir(tmp_path / "out", base=base).__enter__()
    run.record(LedgerEntry("process", "other", os.getpid(), started=1.0))
    (run.scratch / "ledger.jsonl").open("a").write('{"kind": "proc')  # cut short by the kill
    run._lock.release()  # type: ignore[union-attr]  # as the kernel does when the owner dies
    assert reap(base) == [f"folder {run.scratch}"]
