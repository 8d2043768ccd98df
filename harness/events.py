"""What happens in a run, as messages.

The orchestrator emits events; the display, `results.jsonl`, JUnit and HTML subscribe.  Events are
the only thing that reports know, so a report can be written again from `results.jsonl` alone.
Times are seconds since the run began.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from harness.verdicts import CrashModel, Expectation, Oracle, Verdict


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    t: float = 0.0  #: seconds since the run began; set by the bus


class RunBegan(_Event):
    kind: Literal["run"] = "run"
    run_id: str
    scenario: str
    title: str
    guest: str
    guest_title: str
    os: str
    variants: tuple[str, ...]
    accel: str
    accel_reason: str
    started: str  #: ISO 8601, UTC
    command: str
    versions: dict[str, str]


class PhaseBegan(_Event):
    kind: Literal["phase-begin"] = "phase-begin"
    variant: str
    #: prepare, boot (or save, start, clock), mount, setup, workload, wait, kill, attach, recover,
    #: verdict, judge
    phase: str
    detail: str = ""


class PhaseEnded(_Event):
    kind: Literal["phase-end"] = "phase-end"
    variant: str
    phase: str
    seconds: float
    ok: bool


class CommandRan(_Event):
    """A command worth pasting: QEMU's, or one of recovery."""

    kind: Literal["command"] = "command"
    variant: str
    what: str
    command: str


class OpDone(_Event):
    """One operation of the workload, with the log positions that bracket it.

    The log had `log_before` entries when the operation was sent and `log_after` when its return was
    seen on the host, so whatever the operation wrote before it returned lies below `log_after`.
    """

    kind: Literal["op"] = "op"
    variant: str
    index: int
    op: str
    began: float
    ended: float
    log_before: int
    log_after: int
    ok: bool
    output: str = ""


class Commit(BaseModel):
    """A journal commit block seen in the write log."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    entry: int  #: index of the log entry that holds it
    tid: int
    seen: float | None = None  #: when the host saw it in the log, seconds since the run began


class DiskLog(_Event):
    """What the write log of the crashed disk holds at the kill."""

    kind: Literal["disk-log"] = "disk-log"
    variant: str
    entries: int
    writes: int
    flushes: int
    discards: int
    bytes_written: int
    settled: int  #: entries up to and including the last flush
    in_flight: int  #: writes after the last flush
    torn_bytes: int  #: bytes at the log's end that form no whole entry
    workload_from: int  #: first entry that the workload can have caused
    commits: tuple[Commit, ...]
    flush_entries: tuple[int, ...]


class ObjectView(_Event):
    """An object as debugfs shows it, before or after recovery."""

    kind: Literal["object"] = "object"
    variant: str
    model: CrashModel
    state: str
    path: str
    when: Literal["before", "after"]
    present: bool
    fields: dict[str, str]
    text: str


class ObjectExpected(_Event):
    """The two states in which the scenario lets an object be found; None means absent."""

    kind: Literal["object-expected"] = "object-expected"
    path: str
    was: dict[str, str] | None  #: before the recorded steps
    now: dict[str, str] | None  #: after them


class StatesPlanned(_Event):
    """How many states of a model will be judged, so that progress has a whole to refer to."""

    kind: Literal["plan"] = "plan"
    variant: str
    model: CrashModel
    states: int


class FindingRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    code: str
    kind: str
    text: str


class VerdictGiven(_Event):
    kind: Literal["verdict"] = "verdict"
    verdict: Verdict
    oracle: Oracle
    scenario: str
    guest: str
    variant: str
    model: CrashModel
    state: str
    reason: str
    evidence: str  #: path below the run's folder
    #: log entries that the state holds; None: unknown, or the state is no prefix of the log
    position: int | None = None
    findings: tuple[FindingRecord, ...] = ()


class Compared(_Event):
    """What the scenario expects of an oracle over all states of a model, and what was found."""

    kind: Literal["expectation"] = "expectation"
    variant: str
    model: CrashModel
    oracle: Oracle
    expected: Expectation
    found: Verdict
    ok: bool
    states: int
    counts: dict[str, int]
    note: str = ""


class TextKept(_Event):
    """A text that belongs into the report: console tail, logdump, superblock flags."""

    kind: Literal["text"] = "text"
    variant: str
    title: str
    text: str


class Note(_Event):
    kind: Literal["note"] = "note"
    level: Literal["info", "warning", "error"]
    text: str
    variant: str = ""


class RunEnded(_Event):
    kind: Literal["end"] = "end"
    exit_code: int
    message: str
    hint: str = ""


Event = Annotated[
    RunBegan
    | PhaseBegan
    | PhaseEnded
    | CommandRan
    | OpDone
    | DiskLog
    | ObjectView
    | ObjectExpected
    | StatesPlanned
    | VerdictGiven
    | Compared
    | TextKept
    | Note
    | RunEnded,
    Field(discriminator="kind"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)

Subscriber = Callable[[Event], None]


class Bus:
    """Hands each event to every subscriber, in the order of subscription."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.append(subscriber)

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._began

    def emit(self, event: Event) -> None:
        stamped = event.model_copy(update={"t": round(self.now, 3)})
        for subscriber in self._subscribers:
            subscriber(stamped)
