"""What a campaign knows of a state, of a failure and of a log: the rows of its results."""

from __future__ import annotations

from dataclasses import dataclass

from harness.verdicts import CrashModel, FindingClass, Judgement, Oracle, Verdict


@dataclass(frozen=True)
class StateRow:
    """A judged state.  `op` is the last operation that had begun by its position (-1: none)."""

    case: str
    id: str
    model: CrashModel
    upto: int
    number: int
    op: int
    judgements: tuple[Judgement, ...]

    @property
    def failed(self) -> bool:
        return any(each.verdict is Verdict.FAIL for each in self.judgements)


@dataclass(frozen=True)
class Failure:
    """A FAIL of one oracle on one state.  `count` is how many like it stand behind an example."""

    case: str
    id: str
    model: CrashModel
    upto: int
    oracle: Oracle
    reason: str
    cause: str  #: name of the first finding that is damage
    op: int
    count: int = 1


@dataclass(frozen=True)
class LogOutline:
    """A write log as far as a report draws it; numbers are of its entries."""

    entries: int
    begin: int
    writes: int
    flushes: tuple[int, ...]
    commits: tuple[int, ...]
    steps: tuple[str, ...]  #: names of the operations
    begun: tuple[int, ...]  #: where each operation began


def cause_of(judgement: Judgement) -> str:
    """The name of what failed: the first finding of damage.

    A boot that stops for a flag has found no damage yet; other oracles don't fail for a flag.
    """
    kinds: list[tuple[FindingClass, ...]] = [(FindingClass.DAMAGE,), (FindingClass.FLAGS,)]
    if judgement.oracle is Oracle.BOOT:
        kinds = [(FindingClass.DAMAGE, FindingClass.FLAGS)]
    for wanted in kinds:
        for finding in judgement.findings:
            if finding.kind in wanted:
                return finding.code
    return "unknown"


def fails_for(row: StateRow, oracle: Oracle, cause: str) -> bool:
    """Whether a state fails by an oracle for a cause."""
    return any(
        said.oracle is oracle and said.verdict is Verdict.FAIL and cause_of(said) == cause
        for said in row.judgements
    )
