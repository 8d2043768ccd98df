"""From what was seen of a content to the verdicts on each state that has it.  Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from harness.campaign.case import Case
from harness.campaign.examine import Seen
from harness.campaign.listverdict import ListOracles
from harness.campaign.rows import StateRow
from harness.campaign.scriptverdict import ScriptOracles
from harness.campaign.work import ListWork, ScriptWork, StepsWork
from harness.crash.plan import Cut
from harness.oracles.acknowledged import acknowledged
from harness.oracles.contents import ContentsJudge
from harness.oracles.names import NamesJudge
from harness.oracles.observed import Observed
from harness.verdicts import Judgement, Oracle, Verdict

_TOLD = 20_000  # verdicts that are remembered; a few dozen MiB


class TreeOracles(Protocol):
    """The oracles that judge a recovered tree by the workload."""

    @property
    def known(self) -> frozenset[int]:
        """The contents of blocks that they know by name; the bytes of others have to come along."""

    def key(self, cut: Cut, seen: Observed, /) -> object:
        """States of equal trees and keys get equal verdicts; a tree is equal without its times."""

    def judge(self, cut: Cut, seen: Observed, /) -> tuple[Judgement, ...]: ...


def tree_oracles(case: Case) -> TreeOracles:
    """The oracles for a case's kind of workload."""
    if isinstance(case.work, ListWork):
        return ListOracles(case, case.work)
    if isinstance(case.work, ScriptWork):
        return ScriptOracles(case.work)
    return StepsOracles(case, case.work)


class StateJudge:
    """Judges states of one case.  The same tree at places that ask the same is judged once."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._oracles = tree_oracles(case)
        self._told: dict[tuple[str, object], tuple[Judgement, ...]] = {}

    @property
    def known(self) -> frozenset[int]:
        return self._oracles.known

    def row(self, cut: Cut, name: str, seen: Seen, tree: str) -> StateRow:
        """All verdicts on a state.  `tree` is the digest of what was seen."""
        key = (tree, self._oracles.key(cut, seen.tree))
        if key not in self._told:
            if len(self._told) >= _TOLD:
                self._told.clear()
            self._told[key] = self._oracles.judge(cut, seen.tree)
        found = (seen.structure, seen.boot, *self._told[key])
        op = self._case.work.last_begun(cut.upto)
        return StateRow(self._case.name, name, cut.model, cut.upto, seen.number, op, found)


class StepsOracles:
    """The oracles of a workload of steps, which ran one after the other."""

    def __init__(self, case: Case, work: StepsWork) -> None:
        self._work = work
        self._level = case.strictness.value
        flushes = [entry.index for entry in case.log.flushes]
        # Where a flush could have been sent and none was, no commit acknowledges anything.
        commits = case.commits if flushes or not case.driver_flushes else ()
        self._acks = acknowledged(
            work.steps, work.journal, work.history, case.strictness, commits, flushes
        )
        self._names = NamesJudge(work.history, work.words)
        self._contents = ContentsJudge(work.history, work.words)

    @property
    def known(self) -> frozenset[int]:
        return self._contents.known

    def key(self, cut: Cut, seen: Observed, /) -> object:
        return self._acks.level(cut.settled), self._work.last_begun(cut.upto)

    def judge(self, cut: Cut, seen: Observed, /) -> tuple[Judgement, ...]:
        """Durability, prefix and stale."""
        begun = self._work.last_begun(cut.upto)
        return (
            self._durability(cut.settled, begun, seen),
            self._names.prefix(seen, begun),
            self._contents.stale(seen, begun),
        )

    def _durability(self, position: int, begun: int, seen: Observed) -> Judgement:
        due = self._acks.names(position)
        names = self._names.durability(seen, due, begun, self._level)
        lost = self._contents.lost(seen, position, begun, self._acks)
        if not lost:
            return names
        if names.verdict is Verdict.PASS:
            reason = f"{lost[0].text}, though it was acknowledged ({self._level})"
            return Judgement(Oracle.DURABILITY, Verdict.FAIL, reason, tuple(lost))
        return replace(names, findings=(*names.findings, *lost))
