"""A short campaign on the control: from the guest's boot to a failure that is judged again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.guest.support import Run

pytestmark = pytest.mark.guest

CAMPAIGN = """
name: short
title: short
disk: {size: 32M, journal_blocks: 1024}
stress: {ops: 40, seeds: [5], weights: {sync: 2}}
states: {subsets: 12, complete: 3, torn: 40, lying: 10, recovery: 1}
expect:
  ext3: {}
  ext2:
    kill: {structure: any, boot: any, durability: any, prefix: any, stale: any}
    prefix: {structure: FAIL, boot: any, durability: any, prefix: any, stale: any, barrier: VOID}
    subset: {structure: any, boot: any, durability: any, prefix: any, stale: any}
    torn: {structure: any, boot: any, durability: any, prefix: any, stale: any}
    recovery: {structure: VOID, boot: VOID, durability: VOID, prefix: VOID, stale: VOID}
"""


def states(out: Path) -> dict[str, str]:
    with closing(sqlite3.connect(out / "results.sqlite")) as db:
        query = "SELECT \"case\" || '/' || id, verdicts FROM states"
        return dict(db.execute(query).fetchall())


def test_a_campaign_tells_a_journal_from_none_and_its_failures_repeat(
    tmp_path: Path, scratch: Path, control: str
) -> None:
    file, out = tmp_path / "short.yaml", tmp_path / "out"
    file.write_text(CAMPAIGN)
    args = ["campaign", str(file), "--guest", control, "--out", str(out), "--timings"]
    code, said = Run(args, out, scratch).start().finish(timeout=280)
    assert code == 0, said
    assert "UNEXPECTED" not in said and "processor" in said
    found = states(out)
    honest = [v for name, v in found.items() if "ext3" in name and "/lying" not in name]
    assert len(honest) > 100 and not any('"F"' in verdicts for verdicts in honest)
    assert any("recovery:" in name for name in found)
    assert (out / "report.html").is_file() and (out / "junit.xml").is_file()

    code, said = Run([*args, "--resume"], out, scratch).start().finish()
    assert code == 0 and "boot, then" not in said, said
    assert states(out) == found

    broken = sorted((out / "failures").glob("ext2-5-structure-*"))
    assert broken
    code, said = Run(["judge", str(broken[0])], out, scratch).start().finish()
    assert code == 1 and "reproduced: structure" in said, said
