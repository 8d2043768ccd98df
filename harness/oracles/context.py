"""What an oracle is told of a state besides the state itself."""

from __future__ import annotations

from dataclasses import dataclass

from harness.oracles.recover import Examination
from harness.verdicts import CrashModel, Finding, FindingClass
from harness.workloads.scenario import WatchedObject


@dataclass(frozen=True)
class Context:
    """Where a state comes from and what the scenario says of it.

    Positions are numbers of log entries.  `position` is how many the state holds; None for a live
    kill, whose disk may be ahead of its log.  From `workload_from` on entries may be the recorded
    steps', from `durable_from` on (None: never) what they did was acknowledged.  `landed` says
    whether the state holds a write that the recorded steps can have caused.
    """

    model: CrashModel
    position: int | None
    objects: tuple[WatchedObject, ...]
    together: bool
    workload_from: int
    durable_from: int | None
    landed: bool

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(each.path for each in self.objects)


VOID_REASON = "recovery had nothing to do and no write of the workload reached the disk"


def proves_nothing(context: Context, seen: Examination) -> bool:
    """Whether the fault missed: nothing to recover, and no write of the workload in the state.

    A prefix is one of a row that covers the workload as a whole, so it is never void by itself.
    """
    return context.model is not CrashModel.PREFIX and not context.landed and not seen.had_work


def damage(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(each for each in findings if each.kind is FindingClass.DAMAGE)


def once(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Each finding once, in order."""
    return tuple(dict.fromkeys(findings))


def summary(findings: tuple[Finding, ...]) -> str:
    """The first finding that means something, and how many more there are."""
    first, *more = sorted(findings, key=lambda each: each.kind is FindingClass.NOTE)
    return f"{first.code}: {first.text}" + (f" (and {len(more)} more)" if more else "")
