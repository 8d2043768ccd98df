"""A change of hurdle itself is seen by a campaign that goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness

HOME = Path(harness.__file__).parent


def said(tree: Path) -> str:
    """What a copy of hurdle says of its sources."""
    ask = "import harness; print(harness.sources())"
    argv = [sys.executable, "-B", "-c", ask]
    return subprocess.run(argv, cwd=tree, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.mark.parametrize("edited", ["crash/plan.py", "workloads/agent/c/agent.c"])
def test_the_sources_have_a_name_that_changes_with_them(tmp_path: Path, edited: str) -> None:
    keep = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HOME, tmp_path / "harness", ignore=keep)
    before = said(tmp_path)
    assert before.strip() == harness.sources()
    (tmp_path / "harness/report/note.txt").write_text("no program")
    assert said(tmp_path) == before
    file = tmp_path / "harness" / edited
    file.write_text(file.read_text() + "\n")
    assert said(tmp_path) != before
