"""The main job on the control: a journal known to be good, a file system known to lose."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guest.support import Run, own

pytestmark = pytest.mark.guest


def test_the_directory_experiment_tells_ext3_from_ext2(
    control: str, hurdle_run: Callable[..., Run]
) -> None:
    run = hurdle_run("directory", control)
    code, output = run.finish()
    assert code == 0, output
    given = [e for e in run.events() if e["kind"] == "verdict"]
    counts = Counter((e["variant"], e["model"], e["verdict"]) for e in given)
    assert counts["ext3", "kill", "PASS"] == 3
    # The workload's blocks alone are a dozen; how many writes they make is the kernel's affair.
    assert counts["ext3", "prefix", "PASS"] > 20
    assert {v for variant, _, v in counts if variant == "ext3"} == {"PASS"}
    assert {v for _, _, v in counts} == {"PASS", "FAIL"}
    failed = [e for e in given if e["variant"] == "ext2" and e["verdict"] == "FAIL"]
    codes = {finding["code"] for event in failed for finding in event["findings"]}
    assert "dangling-entry" in codes
    assert (run.out / "report.html").stat().st_size > 10_000
    assert (run.out / "junit.xml").exists()
    assert run.helpers() == []
    assert run.mounts() == []
    assert list(run.scratch.glob("run-*")) == []


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_runs_side_by_side_and_evidence_left_alone(
    control: str, hurdle_run: Callable[..., Run]
) -> None:
    """Judging starts after the kill; from then on the evidence must not change by a bit."""
    runs = [hurdle_run("chmod", control, "--variant", "ext3") for _ in range(2)]
    before = []
    for run in runs:
        run.until(lambda e: e["kind"] == "phase-begin" and e["phase"] == "judge")
        before.append([digest(run.out / "ext3" / f) for f in ("killed.raw", "base.raw")])
    for run, known in zip(runs, before, strict=True):
        code, output = run.finish()
        assert code == 0, output
        assert [digest(run.out / "ext3" / f) for f in ("killed.raw", "base.raw")] == known


def test_a_wait_for_the_commit_ends_with_the_commit(
    control: str, hurdle_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = hurdle_run(own(tmp_path, "mkdir: a", "after: commit"), control, "--variant", "ext3")
    code, output = run.finish()
    assert code == 0, output
    log = next(e for e in run.events() if e["kind"] == "disk-log")
    made = next(e for e in run.events() if e["kind"] == "op" and e["index"] == 0)
    assert [c for c in log["commits"] if c["entry"] >= made["log_after"]]


def test_a_cut_of_the_log_is_exact(
    control: str, hurdle_run: Callable[..., Run], tmp_path: Path
) -> None:
    path = Path(own(tmp_path, "mkdir: a", "sync: "))
    path.write_text(path.read_text().replace("kill: now", "at: write 5"))
    run = hurdle_run(str(path), control, "--variant", "ext3")
    code, output = run.finish()
    assert code == 0, output
    given = [e for e in run.events() if e["kind"] == "verdict"]
    cut = [e for e in given if e["model"] == "cut"]
    assert [e["oracle"] for e in cut] == ["structure", "boot", "object"]
    at = {e["position"] for e in given if e["state"] == "prefix-0005"}
    assert {e["position"] for e in cut} == at


def test_a_cut_that_the_log_never_reaches_is_void(
    control: str, hurdle_run: Callable[..., Run], tmp_path: Path
) -> None:
    path = Path(own(tmp_path, "mkdir: a", "sync: "))
    path.write_text(path.read_text().replace("kill: now", "at: {write: 99999, within: 2s}"))
    run = hurdle_run(str(path), control, "--variant", "ext3")
    code, output = run.finish()
    assert code == 5, output
    cut = [e["verdict"] for e in run.events() if e["kind"] == "verdict" and e["model"] == "cut"]
    assert cut == ["VOID"] * 3
