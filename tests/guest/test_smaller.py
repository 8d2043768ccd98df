"""A failure of an op list gets fewer operations, in one more boot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.guest.support import Run

pytestmark = pytest.mark.guest

CAMPAIGN = """
name: mini
title: mini
disk: {size: 16M, journal_blocks: 1024}
lists:
  texts:
  - |
    hurdle-ops 1 run=000001
    thread
    mkdir A 0755
    creat A/x 0644
    write A/x 0 5000
    sync
    mkdir B 0755
    link A/x A/z
    rename A/x B/w
    fsync B
    chmod B 0700
    unlink A/z
    sync
states: {seed: 1, complete: 3, subsets: 8, torn: 0, lying: 0, recovery: 0}
minimise: {boots: 1, expected: true}
expect:
  ext2:
    prefix: {structure: FAIL, boot: any, durability: any, prefix: any, stale: any, barrier: VOID}
    subset: {structure: any, boot: any, durability: any, prefix: any, stale: any}
"""


def test_operations_that_a_failure_does_not_need_are_left_out(
    tmp_path: Path, scratch: Path, control: str
) -> None:
    file, out = tmp_path / "mini.yaml", tmp_path / "out"
    file.write_text(CAMPAIGN)
    args = ["campaign", str(file), "--guest", control, "--out", str(out)]
    code, said = Run(args, out, scratch).start().finish(timeout=280)
    assert code == 0, said
    (note,) = (out / "failures").glob("*/smaller.json")
    made = json.loads(note.read_text())
    assert made["operations"] == 11 and made["left"] < 8 and made["boots"] == 1
    assert f"{made['left']} of 11 operations fail as well" in said
    case = json.loads((note.parent / "case.json").read_text())
    assert case["name"] == made["case"] == "ext2-000001"
    assert len(case["work"]["ops"].splitlines()) == made["left"] + 2

    code, said = Run(["judge", str(note.parent)], out, scratch).start().finish()
    assert code == 1 and "reproduced" in said, said
