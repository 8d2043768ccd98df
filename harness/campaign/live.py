"""What a campaign shows while it runs, and its last table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from harness.campaign.compare import Line
from harness.campaign.judge import Progress as Judged
from harness.events import Event, Note, OpDone, PhaseBegan
from harness.verdicts import CAMPAIGN_ORACLES, RUN_ORACLES, CrashModel, Oracle, Verdict

_QUIET_SECONDS = 10.0  # between two lines where the output is no terminal


class Live:
    """A bar on a terminal, a line now and then elsewhere; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def phase(self, text: str, *, told: bool = False) -> Iterator[None]:
        """A stretch of work whose length is not known; `told`: it takes minutes, so where the
        output is no terminal a line says that it began.
        """
        if told and not self._console.is_terminal:
            self.note(text)
        task = self._bar.add_task(text, total=None, more="")
        try:
            yield
        finally:
            self._bar.remove_task(task)

    def guest(self, name: str, ops: int) -> Callable[[Event], None]:
        """A subscriber that shows how a run in the guest goes."""
        task = self._bar.add_task(f"{name}: boot", total=ops, more="")

        def show(event: Event) -> None:
            if isinstance(event, PhaseBegan) and event.phase != "workload":
                self._bar.update(task, description=f"{name}: {event.phase}")
                if event.phase == "kill":
                    self._bar.remove_task(task)
                elif not self._console.is_terminal and event.phase == "boot":
                    self.note(f"{name}: boot, then {ops} operations")
            elif isinstance(event, OpDone):
                self._bar.update(task, completed=event.index + 1, more=event.op)
            elif isinstance(event, Note) and event.level != "info":
                self.note(f"{name}: {event.text}")

        return show

    @contextmanager
    def states(self, name: str) -> Iterator[Callable[[Judged], None]]:
        """Shows how the judging of a case goes: states, distinct ones, fails, pace."""
        task = self._bar.add_task(name, total=None, more="")
        last: list[Judged] = []

        def show(now: Judged) -> None:
            last[:] = [now]
            more = (
                f"{now.distinct}/{now.to_examine} distinct, {now.fails} FAIL, "
                f"{now.per_minute:.0f}/min"
            )
            self._bar.update(task, completed=now.states, total=now.planned, more=more)
            if not self._console.is_terminal and time.monotonic() - self._said > _QUIET_SECONDS:
                self._said = time.monotonic()
                self.note(f"{name}: {now.states}/{now.planned}, {more}")

        try:
            yield show
        finally:
            self._bar.remove_task(task)
            if last:
                now = last[0]
                self.note(
                    f"{name}: {now.states} states, {now.distinct} distinct recovered and checked "
                    f"in {now.seconds:.1f} s ({now.per_minute:.0f} a minute), "
                    f"{now.fails} with a FAIL"
                )

    def table(self, lines: Sequence[Line]) -> None:
        """What was found: a row for each crash model, a column for each oracle."""
        table = Table(box=None, header_style="bold")
        table.add_column("variant", no_wrap=True)
        table.add_column("crash", no_wrap=True)
        table.add_column("states", justify="right")
        given = {line.oracle for line in lines}
        oracles = [each for each in (*CAMPAIGN_ORACLES, *RUN_ORACLES) if each in given]
        for oracle in oracles:
            table.add_column(oracle.value, no_wrap=True)
        rows: dict[tuple[str, CrashModel], dict[Oracle, Line]] = {}
        for line in lines:
            rows.setdefault((line.variant, line.model), {})[line.oracle] = line
        before = ""
        for (variant, model), row in rows.items():
            cells = [_cell(row[oracle]) if oracle in row else "" for oracle in oracles]
            states = str(row[Oracle.STRUCTURE].states)
            table.add_row("" if variant == before else variant, model.value, states, *cells)
            before = variant
        self._console.print(table)
        for note in dict.fromkeys(
            f"{line.variant}, {line.model}: {line.note}" for line in lines if line.note
        ):
            self.note(note)
        wrong: dict[tuple[str, CrashModel], list[Line]] = {}
        for line in lines:
            if not line.ok:
                wrong.setdefault((line.variant, line.model), []).append(line)
        for (variant, model), found in wrong.items():
            alike: dict[str, list[str]] = {}
            for x in found:
                alike.setdefault(f"{x.found} (expected {x.expected})", []).append(x.oracle)
            said = "; ".join(f"{how}: {', '.join(oracles)}" for how, oracles in alike.items())
            self.note(f"UNEXPECTED: {variant} over {model}: {said}")

    def sides(self, lines: Sequence[Sequence[str]]) -> None:
        """The variants side by side; a number is of states that fail, or of runs.

        One below the other where that is too wide.
        """
        if (
            sum(max(map(len, cells)) + 2 for cells in zip(*lines, strict=True))
            > self._console.width
        ):
            lines = list(zip(*lines, strict=True))
        head, *rows = lines
        table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
        for column in head:
            table.add_column(column, no_wrap=True, justify="left" if column == head[0] else "right")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def timings(self, phases: Sequence[tuple[str, float, int]], workers: int) -> None:
        """What each phase took, a state of each kind and in all."""
        table = Table(box=None, header_style="bold")
        for column in ("phase", "seconds", "times", "ms each"):
            table.add_column(column, justify="left" if column == "phase" else "right")
        for phase, seconds, times in phases:
            table.add_row(phase, f"{seconds:.2f}", str(times), f"{seconds / times * 1000:.2f}")
        self._console.print(table)
        self.note(f"{workers} workers; the phases of a state are summed over all workers")


def _cell(line: Line) -> str:
    """A verdict, with how many states failed; red when it is not the expected one."""
    fails = line.counts.get(Verdict.FAIL, 0)
    some = fails or (line.counts.get(Verdict.VOID, 0) if line.oracle is Oracle.LANDED else 0)
    text = f"{line.found} {some}" if some else line.found.value
    style = "bold red" if not line.ok else "yellow" if fails else "green"
    return f"[{style}]{text}[/{style}]"
