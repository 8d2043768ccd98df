"""The run as it goes on: a live display on a terminal, plain lines where there is none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from harness.events import (
    Compared,
    Event,
    Note,
    ObjectView,
    OpDone,
    PhaseBegan,
    PhaseEnded,
    RunBegan,
    RunEnded,
    StatesPlanned,
    VerdictGiven,
)
from harness.report.model import build
from harness.report.tables import STYLES, result_table, timings_table
from harness.report.text import clean_line, counted, duration
from harness.report.view import Ending, Report
from harness.verdicts import CrashModel, Verdict

__all__ = ["Display", "timings_table"]

_NAMED = 3  #: failing prefixes named for each variant; the rest are counted
_OPS = 10  #: operations shown; a workload of ten thousand files is one story
#: phases whose begin is worth a line where nothing is live
_LONG = ("boot", "save", "wait", "judge")
_HEARTBEAT = 10.0  #: seconds between two lines of progress where there is no live display


class Display:
    """Subscriber that shows a run to a person.

    On a terminal the last lines are live; with no terminal, or with CI in the environment, every
    line is whole, has the seconds since the run began in front and is never written again.  As a
    context manager it gives the terminal back however the run ends.
    """

    def __init__(
        self, console: Console, out: Path | None = None, *, live: bool | None = None
    ) -> None:
        self._console = console
        self._page = out / "report.html" if out else None
        wanted = console.is_terminal and not os.environ.get("CI") if live is None else live
        self._live = Live(_Now(self), console=console, refresh_per_second=8, transient=True)
        self._is_live = wanted
        self._spinner = Spinner("dots")  # one for all refreshes: it turns by its own clock
        self._started = False
        self._events: list[Event] = []
        self._now = 0.0
        self._clock = console.get_time
        self._seen_at = self._clock()
        self._phase: PhaseBegan | None = None
        self._planned: dict[tuple[str, CrashModel], int] = {}
        self._judged: dict[tuple[str, CrashModel], set[str]] = {}
        self._counts: Counter[tuple[str, Verdict]] = Counter()
        self._failed: dict[str, dict[str, None]] = {}  # prefixes that fail, by variant
        self._counting: dict[str, bool] = {}
        self._infra: set[str] = set()
        self._last_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the live lines away; the lines above them stay."""
        if self._started:
            self._live.stop()
            self._started = False

    def __call__(self, event: Event) -> None:
        self._events.append(event)
        self._now = max(self._now, event.t)
        self._seen_at = self._clock()
        if isinstance(event, RunBegan) and self._is_live and not self._started:
            self._live.start()
            self._started = True
        self._take(event)
        if isinstance(event, RunEnded):
            self.close()
            self._finish(event)

    def _take(self, event: Event) -> None:
        match event:
            case RunBegan():
                self._run(event)
            case PhaseBegan():
                self._begin(event)
            case PhaseEnded():
                self._end(event)
            case OpDone():
                self._op(event)
            case ObjectView() if event.model is not CrashModel.PREFIX:
                self._object(event)
            case StatesPlanned():
                self._planned[event.variant, event.model] = event.states
            case VerdictGiven():
                self._verdict(event)
            case Compared() if not event.ok:
                self._surprise(event)
            case Note():
                style = {"warning": "yellow", "error": "bold red"}.get(event.level, "")
                self._line(f"{event.level}: {clean_line(event.text)}", event.variant, style)
            case _:
                pass  # for the report, not for a passer-by

    # What each event says.

    def _run(self, event: RunBegan) -> None:
        self._line(f"{event.title}: {event.scenario} on {event.guest_title}", style="bold")
        reason = f" ({event.accel_reason})" if event.accel_reason else ""
        self._line(f"accelerator {event.accel}{reason}; variants {', '.join(event.variants)}")

    def _begin(self, event: PhaseBegan) -> None:
        self._phase = event
        if not self._is_live and event.phase in _LONG:
            # A job that hangs here must show in its log where it hangs.
            known = event.detail.startswith(event.phase)
            what = event.detail if known else f"{event.phase}: {event.detail}".rstrip(": ")
            self._line(f"{what} …", event.variant)

    def _end(self, event: PhaseEnded) -> None:
        if self._phase and self._phase.phase == event.phase:
            self._phase = None
        if event.phase == "workload" and event.ok:
            return  # its operations have their own lines
        word = "took" if event.ok else "failed after"
        text = f"{event.phase} {word} {duration(event.seconds)}"
        if event.phase == "judge":
            text += f", {self._tally(event.variant)}"
        self._line(text, event.variant, "" if event.ok else "bold red")

    def _op(self, event: OpDone) -> None:
        if not event.ok:
            said = f": {event.output}" if event.output else ""
            self._line(f"operation failed: {event.op}{said}", event.variant, "red")
        elif 0 <= event.index < _OPS:
            took = duration(event.ended - event.began)
            self._line(f"{event.op} took {took}", event.variant)
        elif event.index == _OPS:
            self._line("further operations are not shown", event.variant, "dim")

    def _object(self, event: ObjectView) -> None:
        fields = {name.lower(): value for name, value in event.fields.items()}
        about = [fields.get("type", ""), f"mode {fields['mode']}" if "mode" in fields else ""]
        what = ", ".join(word for word in about if word) if event.present else "absent"
        self._line(f"{event.path} {event.when} recovery: {what or 'there'}", event.variant)

    def _verdict(self, event: VerdictGiven) -> None:
        variant, model, state = event.variant, event.model, event.state
        self._judged.setdefault((variant, model), set()).add(state)
        self._counts[variant, event.verdict] += 1
        line = f"{event.verdict} {event.oracle} at {state}: {event.reason}"
        style = STYLES[event.verdict]
        if event.verdict is Verdict.INFRA:
            # What broke, broke for every oracle; it is one piece of news.
            if event.reason not in self._infra:
                self._infra.add(event.reason)
                self._line(line, variant, style)
        elif model is not CrashModel.PREFIX:
            self._line(line, variant, style)
        elif event.verdict is Verdict.FAIL:
            failed = self._failed.setdefault(variant, {})
            failed.setdefault(state)
            if len(failed) <= _NAMED:
                self._line(line, variant, style)
            elif len(failed) == _NAMED + 1 and not self._counting.get(variant):
                self._counting[variant] = True
                self._line("further FAILs of prefixes are only counted", variant, "dim")
        if not self._is_live and event.t - self._last_line >= _HEARTBEAT:
            self._line(self._tally(variant), variant)

    def _surprise(self, event: Compared) -> None:
        if event.found is Verdict.INFRA and not event.note:
            return  # said when it broke
        self._line(
            f"unexpected: {event.oracle} on {event.model} is {event.found}, "
            f"expected {event.expected} ({counted(event.states, 'state')})",
            event.variant,
            "bold red",
        )

    def _tally(self, variant: str) -> str:
        """`judged 96 of 143 states: 250 PASS, 3 FAIL`."""
        judged = {key[1]: len(seen) for key, seen in self._judged.items() if key[0] == variant}
        planned = {key[1]: count for key, count in self._planned.items() if key[0] == variant}
        done = sum(judged.values())
        # A model without a plan, such as the kill, has as many states as were seen of it.
        whole = sum(max(judged.get(m, 0), planned.get(m, 0)) for m in {**judged, **planned})
        counts = [(str(v), self._counts[variant, v]) for v in Verdict]
        said = ", ".join(f"{count} {verdict}" for verdict, count in counts if count)
        of = f" of {whole}" if planned else ""
        return f"judged {done}{of} states: {said or 'no verdict yet'}"

    # How it is put out.

    def _line(self, text: str, variant: str = "", style: str = "") -> None:
        self._last_line = self._now
        prefix = f"{variant}: " if variant else ""
        line = clean_line(prefix) + (" " if prefix else "") + _indented(text)
        stamp = f"{self._now:8.1f} s  "
        if not self._is_live:
            # One event, one line: what a log viewer or grep wants, however narrow the console is.
            self._console.print(Text(stamp + line), soft_wrap=True, highlight=False)
            return
        table = Table.grid(padding=0)
        table.add_column(width=len(stamp), no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row(Text(stamp, style="dim"), Text(line, style=style))
        self._console.print(table)

    def status(self) -> RenderableType:
        """The live lines: variant, phase with its elapsed time, states judged."""
        now = self._now + (self._clock() - self._seen_at)
        phase = self._phase
        head = Text(duration(now), style="dim")
        if phase is not None:
            detail = f" · {clean_line(phase.detail)}" if phase.detail else ""
            head = Text.assemble(
                (clean_line(phase.variant), "bold"),
                f"  {clean_line(phase.phase)} {duration(now - phase.t)}",
                (detail, "dim"),
            )
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column()
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_row(self._spinner, head)
        if phase is not None and any(key[0] == phase.variant for key in self._judged):
            table.add_row("", self._tally(phase.variant))
        return table

    def _finish(self, end: RunEnded) -> None:
        report = build(self._events)
        if report.cells:
            self._console.print()
            self._console.print(result_table(report))
        self._console.print()
        for text, style in _last_words(report, end, self._page):
            # Commands and paths stay in one piece for the clipboard; prose may wrap.
            whole = not self._is_live or text.startswith(("report:", "next:"))
            self._console.print(Text(text, style=style), soft_wrap=whole, highlight=False)


class _Now:
    """Renders the display's state at each refresh, so that elapsed times go on by themselves."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._display.status()


def _indented(text: str) -> str:
    """`text` on one line; the space in front of it, if any, is kept."""
    return " " * (len(text) - len(text.lstrip(" "))) + clean_line(text)


def _last_words(report: Report, end: RunEnded, page: Path | None) -> Sequence[tuple[str, str]]:
    """What happened, where the report is, what to type next."""
    good = report.ending is Ending.OK
    lines = []
    if report.caveat:
        lines.append((report.caveat, "yellow"))
    lines.append((clean_line(report.headline), "bold" if good else "bold red"))
    for line in end.message.splitlines():
        said = clean_line(line)
        if said and said.rstrip(".") not in report.headline:
            lines.append((said, ""))
    if page is not None:
        lines.append((f"report: {page}", ""))
    if report.next_step:
        lines.append((f"next: {clean_line(report.next_step)}", "bold"))
    return lines
