"""Trials on the control: a disk that fails, a kill in mid-commit, a second crash."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.case import load_case
from harness.disk.jbd2 import log_has_data
from harness.workloads.journal import Ending
from tests.guest.support import Run

pytestmark = pytest.mark.guest

# Linux 6.1: after a failed flush ext4 aborts its journal, fsync says EIO and syncfs says nothing.
CAMPAIGN = """
name: fates
title: fates
disk: {size: 32M, journal_blocks: 1024}
setup: [{mkdir: before}]
steps: [{mkdir: a}, {fsync: a}, {mkdir: b}]
trials:
- fault: {fail: flush, op: 2}
- fault: {fail: write, op: 0}
- kill: {phase: commit}
- kill: {phase: checkpoint, nth: 90}
- kill: {within: workload}
- boot: 2
states: {subsets: 8, complete: 3, torn: 10, lying: 0, recovery: 1}
expect:
  ext3:
    kill: {durability: FAIL}
    prefix: {durability: FAIL, error: FAIL, landed: VOID}
    subset: {durability: any}
    torn: {durability: any}
    recovery: {durability: any}  # of a state that has lost something
"""


def test_a_disk_that_fails_a_kill_in_mid_commit_and_a_second_crash(
    tmp_path: Path, scratch: Path, control: str
) -> None:
    file, out = tmp_path / "fates.yaml", tmp_path / "out"
    file.write_text(CAMPAIGN)
    args = ["campaign", str(file), "--guest", control, "--out", str(out)]
    code, said = Run(args, out, scratch).start().finish(timeout=280)
    assert code == 0, said
    flush, write, kill, drawn, again = (
        load_case(out / f"ext3-0-{name}")
        for name in (
            *("flush-eio-2", "write-eio-0", "kill-commit-1", "kill-within-workload-1", "boot2"),
        )
    )
    assert flush.outcome and flush.outcome.ending is Ending.ALL and flush.outcome.failed
    assert write.outcome and write.outcome.ending is Ending.ERROR and write.outcome.failed
    assert write.work.names == ("mkdir", "fsync")  # nothing after the first error

    assert kill.outcome and kill.outcome.ending is Ending.CUT
    assert len(kill.commits) in (1, 2)  # the kill may be late by a commit, never early

    assert drawn.outcome and drawn.outcome.ending is Ending.CUT and drawn.outcome.op == 1
    assert "kill-checkpoint-90: the kill did not land: `checkpoint` began 0 times of 90" in said

    # The second log begins with what the first crash left, and with the guest's recovery.
    assert log_has_data(again.base) and again.begin == 0
    assert again.work.begun[0] > 0 and again.log.entries[0].is_write

    with closing(sqlite3.connect(out / "results.sqlite")) as db:
        errors = db.execute("SELECT \"case\", verdict FROM logs WHERE oracle = 'error'").fetchall()
        failed = db.execute('SELECT "case", id FROM failures').fetchall()
    assert dict(errors) == {"ext3-0-flush-eio-2": "FAIL", "ext3-0-write-eio-0": "PASS"}
    assert {name for name, _ in failed} == {"ext3-0-flush-eio-2"}
    (folder,) = (out / "failures").glob("ext3-0-flush-eio-2-durability-*")
    said_of: dict[str, Any] = json.loads((folder / "case.json").read_text())
    assert said_of["outcome"]["fault"] == "flush"
