"""The journal engine's suites in C, each a cut that fits a quick run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "out" / "engine"

pytestmark = pytest.mark.tools


@pytest.fixture(scope="session")
def engine() -> Path:
    """Build the suites once, whatever the number of pytest workers."""
    OUT.mkdir(parents=True, exist_ok=True)
    with FileLock(OUT / "build.lock"):
        subprocess.run(["make", "-C", ROOT / "guest-patches", "all"], check=True)
    return OUT


@pytest.mark.parametrize(
    "command",
    [
        "test-unit",
        "test-crash seeds=25 subsets=4 e2fsck=800",
        "test-crash seed=45000 seeds=6 warm=30 ops=15 e2fsck=0 again=20 pairs=0",
        "test-crash seed=1000 seeds=2 bs=4096",
        "test-crash seed=2000 seeds=2 preset=v2 set.revoke=on",
        "test-crash seed=2100 seeds=2 preset=v4 set.revoke=on",
        "test-wrap seeds=2 ops=16",
        "test-fault seeds=8",
        "test-format seeds=8",
        "test-threads states=1500",
        "test-threads states=1500 set.daemons=on",
        "test-threads states=300 fail=300 set.daemons=on",
        "test-threads states=300 fail=300",
        "test-wrap seed=7 seeds=2 ops=12 set.daemons=on set.csum=v1",
    ],
)
def test_suite(engine: Path, tmp_path: Path, command: str) -> None:
    name, *args = command.split()
    done = subprocess.run(
        [engine / name, *args],
        env={**os.environ, "ENGINE_SCRATCH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)


def test_a_cut_of_the_sanitizers_and_of_the_fuzzing(engine: Path) -> None:
    done = subprocess.run(
        ["make", "-s", "-C", ROOT / "guest-patches", "engine-sanitize-cut"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "damaged logs replayed" in done.stdout


@pytest.mark.parametrize("defect", ["revoke-dropped", "flush-before-commit-block-left-out"])
def test_the_suites_notice_a_defect(engine: Path, defect: str) -> None:
    done = subprocess.run(
        ["python3", ROOT / "guest-patches/sim/mutants.py", engine, defect],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 mutants, 0 survived" in done.stdout
