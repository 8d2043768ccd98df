"""From what was seen of a content to the verdicts on each state that has it.  Pure."""

from __future__ import annotations

from dataclasses import replace

from harness.campaign.case import Case
from harness.campaign.examine import Seen
from harness.campaign.store import StateRow
from harness.crash.plan import Cut
from harness.oracles.contents import ContentsJudge
from harness.oracles.names import NamesJudge
from harness.oracles.observed import Observed
from harness.verdicts import Judgement, Oracle, Verdict
from harness.workloads.journal import begun_by

_TOLD = 20_000  # verdicts that are remembered; a few dozen MiB


class StateJudge:
    """Judges states of one case.  The same tree at places that ask the same is judged once."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._acks = case.acknowledged
        self._names = NamesJudge(case.history, case.words)
        self._contents = ContentsJudge(case.history, case.words)
        self._told: dict[tuple[str, int, int], tuple[Judgement, ...]] = {}

    @property
    def known(self) -> frozenset[int]:
        """The contents that the workload's model knows, by name."""
        return self._contents.known

    def row(self, cut: Cut, name: str, seen: Seen, tree: str) -> StateRow:
        """All verdicts on a state.  `tree` is the digest of what was seen."""
        begun = begun_by(self._case.journal, cut.upto)
        judgements = (
            seen.structure,
            seen.boot,
            *self._of_tree(cut.settled, begun, seen.tree, tree),
        )
        return StateRow(self._case.name, name, cut.model, cut.upto, seen.number, begun, judgements)

    def _of_tree(
        self, position: int, begun: int, seen: Observed, tree: str
    ) -> tuple[Judgement, ...]:
        key = (tree, self._acks.level(position), begun)
        if key not in self._told:
            if len(self._told) >= _TOLD:
                self._told.clear()
            self._told[key] = (
                self._durability(position, begun, seen),
                self._names.prefix(seen, begun),
                self._contents.stale(seen, begun),
            )
        return self._told[key]

    def _durability(self, position: int, begun: int, seen: Observed) -> Judgement:
        level = self._case.strictness.value
        names = self._names.durability(seen, self._acks.names(position), begun, level)
        lost = self._contents.lost(seen, position, begun, self._acks)
        if not lost:
            return names
        if names.verdict is Verdict.PASS:
            reason = f"{lost[0].text}, though it was acknowledged ({level})"
            return Judgement(Oracle.DURABILITY, Verdict.FAIL, reason, tuple(lost))
        return replace(names, findings=(*names.findings, *lost))
