"""The report of planted defects: one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.report.atomic import write_atomically
from harness.report.html import environment


@dataclass(frozen=True)
class Outcome:
    """What became of a defect.

    `campaign` is the one that noticed it.  `oracles` are those that failed unexpectedly, with the
    crash models that they failed over; `states` were judged until then, `fails` of them failed.
    `guest` says what ended the guest, if something did: then no state was judged.
    """

    mutant: str
    campaign: str
    oracles: dict[str, tuple[str, ...]]
    example: str  #: the first failure's reason, in words
    states: int
    fails: int
    guest: str
    seconds: float

    @property
    def found(self) -> bool:
        return bool(self.oracles or self.guest)


def write_mutants(
    whole: Outcome | None,
    defects: Sequence[Outcome],
    campaigns: Sequence[str],
    command: str,
    out: Path,
) -> None:
    """Write `report.html`.  `whole` is the journal without a defect."""
    missed = [each for each in defects if not each.found]
    tone = "fail" if missed or (whole and whole.found) else "pass"
    text = (
        environment()
        .get_template("mutants.html.j2")
        .render(
            whole=whole,
            defects=defects,
            missed=missed,
            campaigns=campaigns,
            command=command,
            tone=tone,
        )
    )
    write_atomically(out / "report.html", text.encode())
