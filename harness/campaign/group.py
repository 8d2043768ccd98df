"""Failures by cause: the same oracle, the same finding, the same kind of operation.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.campaign.rows import Failure
from harness.verdicts import CrashModel, Oracle

#: simplest first: the order in which a state is taken for an example
_SIMPLE = (
    CrashModel.PREFIX,
    CrashModel.KILL,
    CrashModel.SUBSET,
    CrashModel.TORN,
    CrashModel.RECOVERY,
    CrashModel.OVERLAP,
    CrashModel.LYING,
)


@dataclass(frozen=True)
class Group:
    """The failures of one cause in one variant; `example` is the simplest."""

    variant: str
    oracle: Oracle
    cause: str  #: name of the finding, such as `dangling-entry`
    operation: str  #: kind of the last operation that had begun
    models: tuple[CrashModel, ...]
    count: int
    example: Failure

    @property
    def name(self) -> str:
        """For people and as a folder's name."""
        return f"{self.variant}-{self.oracle}-{self.cause}-{self.operation}"


def groups(
    variant: str, failures: Iterable[Failure], operations: Mapping[str, Sequence[str]]
) -> tuple[Group, ...]:
    """The causes, most frequent first.  `operations` has the steps' names by case."""
    found: dict[tuple[Oracle, str, str], list[Failure]] = {}
    for failure in failures:
        steps = operations[failure.case]
        operation = steps[failure.op] if 0 <= failure.op < len(steps) else "setup"
        found.setdefault((failure.oracle, failure.cause, operation), []).append(failure)
    result = [
        Group(
            variant,
            oracle,
            cause,
            operation,
            tuple(model for model in _SIMPLE if any(f.model is model for f in members)),
            sum(member.count for member in members),
            min(members, key=_simplicity),
        )
        for (oracle, cause, operation), members in found.items()
    ]
    return tuple(sorted(result, key=lambda group: (-group.count, group.name)))


def _simplicity(failure: Failure) -> tuple[int, int, int, str]:
    return _SIMPLE.index(failure.model), len(failure.id), failure.upto, failure.id
