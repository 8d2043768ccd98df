"""What every part of a run knows: the request, the bus, the folders, the accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.events import Bus, Note, PhaseBegan, PhaseEnded
from harness.experiment.trial import Trial
from harness.images.image import Image
from harness.images.recipe import Recipe
from harness.machine.accel import Accel
from harness.rundir import RunDir
from harness.workloads.scenario import Scenario


@dataclass(frozen=True)
class Request:
    """What the user asked for.  `command` is the command line, for the report.

    `trial` befalls the run; `outlives` says that a guest which hangs or dies during an operation is
    a result, and no error.  `base` is the crashed disk as it is at first; else mke2fs makes it.
    """

    scenario: Scenario
    recipe: Recipe
    image: Image
    variants: tuple[str, ...]
    command: str
    trial: Trial | None = None
    outlives: bool = False
    base: Path | None = None


@dataclass(frozen=True)
class Context:
    """A request while it is carried out."""

    request: Request
    bus: Bus
    rundir: RunDir
    accel: Accel

    def deadline(self, tcg_seconds: float) -> Deadline:
        """A deadline that is `tcg_seconds` away under TCG and scaled for another accelerator."""
        return Deadline.after(self.seconds(tcg_seconds))

    def seconds(self, tcg_seconds: float) -> float:
        return tcg_seconds * self.accel.time_scale

    def note(self, text: str, *, variant: str = "", warning: bool = False) -> None:
        self.bus.emit(Note(level="warning" if warning else "info", text=text, variant=variant))

    def folder(self, variant: str) -> Path:
        """Where a variant's evidence is kept."""
        folder = self.rundir.out / variant
        folder.mkdir(exist_ok=True)
        return folder

    @contextmanager
    def phase(self, variant: str, phase: str, detail: str = "") -> Iterator[None]:
        """Report a phase's begin and end, and whether it ended well."""
        self.bus.emit(PhaseBegan(variant=variant, phase=phase, detail=detail))
        began, ok = self.bus.now, False
        try:
            yield
            ok = True
        finally:
            seconds = round(self.bus.now - began, 3)
            self.bus.emit(PhaseEnded(variant=variant, phase=phase, seconds=seconds, ok=ok))
