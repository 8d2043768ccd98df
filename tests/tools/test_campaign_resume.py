"""Campaigns that were killed: nothing is lost, nothing is judged twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from harness.campaign.case import Case
from harness.campaign.store import Store
from harness.errors import UsageError
from tests.tools.cases import (
    campaign,
)
from tests.tools.judged import run, verdicts

pytestmark = pytest.mark.tools

_JUDGE = """
import sys
from pathlib import Path
from tests.tools.cases import campaign
from tests.tools.judged import run
from harness.campaign.case import load_case
if __name__ == "__main__":
    folder, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    run(load_case(folder), campaign(torn=160), out, workers)
"""


def test_a_campaign_that_was_killed_goes_on_and_ends_as_any_other(good: Case, folder: Path) -> None:
    whole = run(good, campaign(torn=160), folder / "whole", workers=1)
    out = folder / "killed"
    script = folder / "judge_it.py"
    script.write_text(_JUDGE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, str(script), str(good.folder), str(out), "2"]
    results, contents = out / "results.sqlite", set[tuple[str, ...]]()
    for states in (1, 60, 150):  # killed again and again, each time a bit later
        process = subprocess.Popen(argv, env=environment, start_new_session=True)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and _count(results) <= states:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = verdicts(results)
        assert states < len(before) < len(whole)
        assert all(whole[name] == said for name, said in before.items())
        assert contents <= _contents(results)  # what was examined was not examined again
        contents = _contents(results)
    assert run(good, campaign(torn=160), out, workers=2) == whole
    assert contents <= _contents(results)


def _count(path: Path) -> int:
    try:
        with closing(sqlite3.connect(path)) as db:
            return int(db.execute("SELECT count(*) FROM states").fetchone()[0])
    except sqlite3.Error:
        return 0


def _contents(path: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return set(db.execute("SELECT * FROM contents").fetchall())


def test_a_store_that_was_killed_before_its_first_table_is_a_new_one(folder: Path) -> None:
    path = folder / "results.sqlite"
    path.touch()
    with Store(path) as store:
        assert not store.failures("none")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(UsageError, match="another version"), Store(path):
        pass
