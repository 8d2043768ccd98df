"""Judging a made case, and what its results hold."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from rich.console import Console

from harness.campaign.case import Case
from harness.campaign.judging import Judging
from harness.campaign.live import Live
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.campaign.workers import local_workers
from harness.rundir import RunDir
from harness.verdicts import Oracle


def run(made: Case, wanted: Campaign, out: Path, workers: int = 1) -> dict[str, str]:
    """Judge a case; the verdicts of every state by its id, as the results have them."""
    with (
        RunDir(out, base=made.folder) as rundir,
        Store(out / "results.sqlite") as store,
        Live(Console(quiet=True)) as live,
        local_workers(workers) as executor,
    ):
        Judging(wanted, rundir, store, live, (executor, workers)).judge(made)
    return verdicts(out / "results.sqlite")


def verdicts(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT id, verdicts FROM states").fetchall())


def fails(found: dict[str, str], oracle: Oracle) -> set[str]:
    return {name for name, text in found.items() if f'"{oracle}":"F"' in text}
