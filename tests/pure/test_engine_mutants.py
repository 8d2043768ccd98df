"""The list of the engine's deliberate defects: each still fits the source it is an edit of."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.variants.mutants import disk_mutants, draw, named

SIM = Path(__file__).resolve().parents[2] / "guest-patches" / "sim"


def test_each_defect_changes_the_engine_and_has_a_name_of_its_own() -> None:
    tool: dict[str, Any] = runpy.run_path(str(SIM / "mutants.py"))
    mutants = tool["read_mutants"](SIM / "mutants.txt")
    assert len(mutants) >= 30
    assert len({mutant.name for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        for file, text in tool["mutate"](mutant).items():  # ends with the reason if it doesn't fit
            assert text != tool["source_of"](file).read_text(), mutant.name


def test_defects_for_the_guest_are_drawn_by_seed() -> None:
    known = disk_mutants()
    assert len(known) >= 30 and all(each.files for each in known)
    drawn = draw(known, 12, 1)
    assert len({each.name for each in drawn}) == 12 and drawn == draw(known, 12, 1)
    assert any(draw(known, 12, seed) != drawn for seed in (2, 3))
    assert draw(known, 1000, 1) == known
    assert [each.name for each in named(known, ["tail-moved-early"])] == ["tail-moved-early"]
    with pytest.raises(UsageError, match="no defect is called"):
        named(known, ["lost-wake-up-of-the-gate"])  # it starves, and no disk shows it
