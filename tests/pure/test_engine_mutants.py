"""The list of the engine's deliberate defects: each still fits the source it is an edit of."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

SIM = Path(__file__).resolve().parents[2] / "guest-patches" / "sim"


def test_each_defect_changes_the_engine_and_has_a_name_of_its_own() -> None:
    tool: dict[str, Any] = runpy.run_path(str(SIM / "mutants.py"))
    mutants = tool["read_mutants"](SIM / "mutants.txt")
    assert len(mutants) >= 30
    assert len({mutant.name for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        for file, text in tool["mutate"](mutant).items():  # ends with the reason if it doesn't fit
            assert text != (SIM.parent / "journal" / file).read_text(), mutant.name
