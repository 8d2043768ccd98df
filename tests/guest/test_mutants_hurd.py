"""A planted defect in a real guest's ext2fs is noticed, and the journal without one passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.guest.support import Run

# What needs a flush and nothing else.  Where the flush is left out, some state lacks the bytes.
CAMPAIGN = """\
name: mapped
title: Bytes written through a mapping, and a sync
guest: hurd-i386-source
disk: {size: 16M, journal_blocks: 1024}
lists: {patterns: [mapped-then-syncfs]}
states: {complete: 5, subsets: 24, torn: 0, lying: 0, recovery: 0}
expect: {ours: {}}
"""


@pytest.mark.hurd
def test_a_defect_of_the_journal_is_noticed_in_a_guest(
    ours: str, tmp_path: Path, scratch: Path
) -> None:
    if ours != "hurd-i386-source":
        pytest.skip("defects are built with the toolchain of hurd-i386-source")
    file, out = tmp_path / "mapped.yaml", tmp_path / "out"
    file.write_text(CAMPAIGN)
    words = ["mutants", "fsync-without-flush", "--campaign", str(file), "--out", str(out)]
    code, said = Run(words, out, scratch).start().finish(timeout=280)
    assert code == 0, said
    whole, found = (
        json.loads((out / name / "outcome.json").read_text())
        for name in ("none", "fsync-without-flush")
    )
    assert not whole["oracles"] and not whole["guest"] and whole["states"] > 20
    assert found["oracles"] == {"durability": ["subset"]} and found["campaign"] == "mapped"
