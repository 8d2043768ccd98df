"""The workload of a case: what was run, and when each operation began and returned.

Three kinds: the steps that the scenario runner sends one by one; an op list that the agent ran in
the guest, with marks in the log; and real work, commands of the guest's shell.  All know the same
few things of themselves; how their trees are judged is in `verdict.py`, `listverdict.py` and
`scriptverdict.py`.
"""

from __future__ import annotations

import base64
import bisect
import zlib
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from typing import Any

from harness.workloads.agent.marks import OpJournal, Span
from harness.workloads.agent.oplist import OpList, OpRef, parse
from harness.workloads.journal import OpTimes, begun_by
from harness.workloads.model import FRESH, History, Thing, history
from harness.workloads.ops import describe
from harness.workloads.scenario import Step
from harness.workloads.script import Listed


@dataclass(frozen=True)
class StepsWork:
    """Steps, one after the other; `journal` has positions of the case's log.

    `hurd` says that new objects take the group of their folder.
    """

    setup: tuple[Step, ...]
    steps: tuple[Step, ...]
    journal: tuple[OpTimes, ...]
    hurd: bool = False
    start: tuple[Thing, ...] = FRESH  #: what the file system holds before

    @cached_property
    def history(self) -> History:
        return history(self.setup, self.steps, start=self.start, group_of_folder=self.hurd)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The operations in words."""
        return tuple(describe(step) for step in self.steps)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The operations' kinds."""
        return tuple(step.name for step in self.steps)

    @cached_property
    def begun(self) -> tuple[int, ...]:
        """Where in the log each operation began."""
        return tuple(times.begun for times in self.journal)

    def last_begun(self, upto: int) -> int:
        """The number of the last operation that a state with `upto` entries may hold."""
        return begun_by(self.journal, upto)

    def plain(self) -> dict[str, Any]:
        return {
            "kind": "steps",
            "setup": [_plain(step) for step in self.setup],
            "steps": [_plain(step) for step in self.steps],
            "journal": [asdict(times) for times in self.journal],
            "hurd": self.hurd,
            "start": [_plain_thing(thing) for thing in self.start],
        }


@dataclass(frozen=True)
class ListWork:
    """An op list that the agent ran.

    `places` has for each entry of the case's log its number in the log of the whole run, in which
    the marks are; `end` is that of the list's last mark.  `spans` are in those numbers, too.
    `ordered_sizes` says that a file's size is committed in order with the names, `full_disk` that
    the list may fill its disk, so that ENOSPC is an answer.
    """

    ops: OpList
    spans: tuple[Span, ...]
    places: tuple[int, ...]
    end: int
    hurd: bool
    ordered_sizes: bool
    full_disk: bool = False

    @cached_property
    def journal(self) -> OpJournal:
        spans = {span.ref: span for span in self.spans}
        first = min((span.begin for span in self.spans), default=0)
        return OpJournal(self.ops.run, spans, None, first, self.end)

    @cached_property
    def in_order(self) -> tuple[Span, ...]:
        """The spans by their begin."""
        return tuple(sorted(self.spans, key=lambda span: span.begin))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The operations in words, as they began."""
        many = len(self.ops.threads) > 1
        return tuple(
            f"{span.ref.thread}: {self.ops.op(span.ref)}" if many else str(self.ops.op(span.ref))
            for span in self.in_order
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.ops.op(span.ref).name for span in self.in_order)

    @cached_property
    def begun(self) -> tuple[int, ...]:
        return tuple(bisect.bisect_left(self.places, span.begin) for span in self.in_order)

    def last_begun(self, upto: int) -> int:
        position = self.position(upto)
        return bisect.bisect_left([span.begin for span in self.in_order], position) - 1

    def position(self, upto: int, *, torn: bool = False) -> int:
        """A position of the case's log as one of the run's log.

        A crash just before the next write has all marks before that; where the last write is there
        in part, it had not completed, and no mark behind it was written.
        """
        if torn:
            return self.places[upto - 1] + 1
        return self.places[upto] if upto < len(self.places) else self.end + 1

    def plain(self) -> dict[str, Any]:
        return {
            "kind": "list",
            "ops": str(self.ops),
            "spans": [[s.ref.thread, s.ref.index, s.begin, s.end, s.errno] for s in self.spans],
            "places": self.places,
            "end": self.end,
            "hurd": self.hurd,
            "ordered_sizes": self.ordered_sizes,
            "full_disk": self.full_disk,
        }


@dataclass(frozen=True)
class ScriptWork:
    """Commands of the guest's shell, one after the other; positions are of the case's log.

    `listings` has for each command that ended what the guest listed behind it, `safe` where the
    sync behind that had returned.
    """

    commands: tuple[str, ...]
    journal: tuple[OpTimes, ...]
    safe: tuple[int, ...]
    listings: tuple[Mapping[str, Listed], ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The commands, each as one line."""
        return tuple(" ".join(command.split()) for command in self.commands)

    @property
    def names(self) -> tuple[str, ...]:
        """Their programs."""
        return tuple(command.split()[0] for command in self.commands)

    @property
    def begun(self) -> tuple[int, ...]:
        return tuple(times.begun for times in self.journal)

    def last_begun(self, upto: int) -> int:
        return begun_by(self.journal, upto)

    def settled_by(self, position: int) -> int:
        """The last command behind which a sync had returned; -1: none."""
        return bisect.bisect_right(self.safe, position) - 1

    def plain(self) -> dict[str, Any]:
        return {
            "kind": "script",
            "commands": self.commands,
            "journal": [asdict(times) for times in self.journal],
            "safe": self.safe,
            "listings": [
                {p: astuple(each) for p, each in found.items()} for found in self.listings
            ],
        }


Work = StepsWork | ListWork | ScriptWork


def work_of(data: Mapping[str, Any]) -> Work:
    """The workload that `plain` wrote."""
    if data["kind"] == "list":
        return ListWork(
            ops=parse(data["ops"]),
            spans=tuple(Span(OpRef(t, i), b, e, errno) for t, i, b, e, errno in data["spans"]),
            places=tuple(data["places"]),
            end=data["end"],
            hurd=data["hurd"],
            ordered_sizes=data["ordered_sizes"],
            full_disk=data.get("full_disk", False),
        )
    if data["kind"] == "script":
        return ScriptWork(
            commands=tuple(data["commands"]),
            journal=tuple(OpTimes(**times) for times in data["journal"]),
            safe=tuple(data["safe"]),
            listings=tuple(
                {path: Listed(*fields) for path, fields in found.items()}
                for found in data["listings"]
            ),
        )
    return StepsWork(
        setup=tuple(Step.model_validate(step) for step in data["setup"]),
        steps=tuple(Step.model_validate(step) for step in data["steps"]),
        journal=tuple(OpTimes(**times) for times in data["journal"]),
        hurd=data["hurd"],
        # A fresh file system was the only start, until a run could go on from a crash.
        start=tuple(map(_thing, data["start"])) if "start" in data else FRESH,
    )


def _plain_thing(thing: Thing) -> dict[str, Any]:
    data = base64.b64encode(zlib.compress(thing.data)).decode()
    return {**asdict(thing), "data": data}


def _thing(data: Mapping[str, Any]) -> Thing:
    found = zlib.decompress(base64.b64decode(data["data"]))
    return Thing(**{**data, "data": found, "names": tuple(data["names"])})


def _plain(step: Step) -> dict[str, Any]:
    return step.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
