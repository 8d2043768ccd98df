"""A run's folders come and go; what a killed run left is found and removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from harness import rundir
from harness.errors import UsageError
from harness.experiment.run import _claim
from harness.rundir import LedgerEntry, RunDir, claimed, reap


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


def test_an_out_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    out, base = tmp_path / "out", tmp_path / "base"
    with RunDir(out, base=base), pytest.raises(UsageError, match="another hurdle"), claimed(out):
        pass
    with RunDir(out, base=base), pytest.raises(UsageError, match="another hurdle"):
        RunDir(out, base=base).__enter__()
    with claimed(out):  # free again, and nothing is left of the refused one
        assert sorted(each.name for each in base.iterdir()) == ["door.lock"]


def test_force_never_removes_the_evidence_of_a_run_that_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with RunDir(out, base=tmp_path / "base"):
        (out / "results.jsonl").touch()
        with pytest.raises(UsageError, match="another hurdle"):
            _claim(out, force=True)
        assert (out / "results.jsonl").exists()


def test_an_orphan_is_found_wherever_a_run_can_have_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that fills the memory and is killed makes the next one take the disk."""
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    monkeypatch.delenv("HURDLE_SCRATCH", raising=False)
    monkeypatch.setattr(rundir, "_default_bases", lambda: (memory, disk))
    monkeypatch.setattr(rundir, "scratch_base", lambda: disk)
    orphan = memory / "run-orphan"
    orphan.mkdir(parents=True)
    assert reap() == [f"folder {orphan}"]
    assert not orphan.exists()


def test_a_folder_without_its_owner_yet_is_no_orphan(tmp_path: Path) -> None:
    """Between the making of a scratch folder and its lock nobody may clean up."""
    base = tmp_path / "base"
    (base / "run-new").mkdir(parents=True)
    began, ended = threading.Event(), threading.Event()

    def clean_up() -> None:
        began.set()
        reap(base)
        ended.set()

    with rundir._door(base):
        threading.Thread(target=clean_up, daemon=True).start()
        assert began.wait(5)
        assert not ended.wait(0.2)
        assert (base / "run-new").exists()
    assert ended.wait(5)
