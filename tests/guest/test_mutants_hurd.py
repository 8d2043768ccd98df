"""A planted defect in a real guest's ext2fs is noticed, and the journal without one passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.guest.support import Run

CAMPAIGN = """\
name: own
title: own
guest: hurd-i386-source
disk: {size: 16M, journal_blocks: 1024}
states: {complete: 5, subsets: 24, torn: 0, lying: 0, recovery: 0}
expect: {ours: {}}
lists: """


@pytest.mark.hurd
@pytest.mark.parametrize(
    ("defect", "lists", "oracle"),
    [
        # What needs a flush and nothing else.  Where it is left out, some state lacks the bytes.
        ("fsync-without-flush", "{patterns: [mapped-then-syncfs]}", "durability"),
        # A directory's page that is taken away and read again is an old one: ext2fs trips over it.
        (
            "page-read-misses-what-came-back",
            "{mixes: [{mix: mixed, ops: 40, seeds: [1]}], reclaim: 10ms}",
            "liveness",
        ),
    ],
)
def test_a_defect_of_the_journal_is_noticed_in_a_guest(
    ours: str, tmp_path: Path, scratch: Path, defect: str, lists: str, oracle: str
) -> None:
    if ours != "hurd-i386-source":
        pytest.skip("defects are built with the toolchain of hurd-i386-source")
    file, out = tmp_path / "own.yaml", tmp_path / "out"
    file.write_text(CAMPAIGN + lists + "\n")
    words = ["mutants", defect, "--campaign", str(file), "--out", str(out)]
    code, said = Run(words, out, scratch).start().finish(timeout=280)
    assert code == 0, said
    whole, found = (
        json.loads((out / name / "outcome.json").read_text()) for name in ("none", defect)
    )
    assert not whole["oracles"] and not whole["guest"] and whole["states"] > 20
    assert oracle in found["oracles"] and found["campaign"] == "own"
