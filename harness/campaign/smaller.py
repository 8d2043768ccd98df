"""Failures with fewer operations: shorter op lists are run in the guest and judged.

A workload of steps becomes a list for that: the agent runs many in one boot, each on a fresh file
system.

The example of a cause takes the place of the first one when a shorter list fails for that cause,
too; `smaller.json` beside it says what it was made of.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from harness.campaign.case import Case
from harness.campaign.failures import expected_of, folder_of, save_example, variant_groups
from harness.campaign.fewer import fewer
from harness.campaign.group import Group
from harness.campaign.lab import Lab, Source
from harness.campaign.lists import record_once
from harness.campaign.rows import cause_of
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.campaign.work import ListWork, StepsWork
from harness.crash.plan import Cut
from harness.experiment.lists import Bench
from harness.report.atomic import write_atomically
from harness.rundir import RunDir
from harness.verdicts import Verdict
from harness.workloads.agent.convert import list_of
from harness.workloads.agent.oplist import OpList
from harness.workloads.model import FRESH

NOTE = "smaller.json"
_STATES = 150  # of each shorter list that are looked at; each takes 5 to 30 ms
_ROUNDS = 3  # boots that one cause gets


@dataclass(frozen=True)
class Bounds:
    """What there is to work with; `boots` for all causes together."""

    campaign: Campaign
    bench: Bench
    rundir: RunDir
    versions: dict[str, str]
    boots: int


def to_make_smaller(
    campaign: Campaign, store: Store, variant: str, cases: Sequence[Case]
) -> tuple[Group, ...]:
    """The causes of a variant whose operations may be left out, in the order of their turns.

    Unexpected ones first, the most frequent of each kind first.
    """
    if not campaign.minimise.boots or campaign.script or campaign.trials:
        return ()
    judged = {name for name, _ in store.cases()} & {case.name for case in cases}
    found = variant_groups(store, variant, sorted(judged))
    wrong = [group for group in found if not expected_of(campaign, group).allows(Verdict.FAIL)]
    known = [group for group in found if group not in wrong and campaign.minimise.expected]
    return (*wrong, *known)


def make_smaller(
    bounds: Bounds, causes: Iterable[Group], cases: Sequence[Case]
) -> Iterator[tuple[Path, int, int]]:
    """A folder whose list got shorter, how many operations it had, and has.

    What was made smaller before is left as it is.  Raises `InfraError` or `GuestError`.
    """
    by_name = {case.name: case for case in cases}
    campaign = bounds.campaign
    left = bounds.boots
    for group in causes:
        case = by_name[group.example.case]
        folder = folder_of(bounds.rundir.out, case.name, group)
        if left <= 0:
            return
        ops = operations(case)
        if ops is None or not folder.is_dir() or (folder / NOTE).is_file():
            continue
        before = len(list(ops.refs()))
        search = _Search(bounds, group)
        fewer(ops, min(left, _ROUNDS), search.fails)
        left -= search.boots
        after = before
        if search.best is not None:
            smaller, cut = search.best
            after = len(list(_ops(smaller).refs()))
            shutil.rmtree(folder)
            source = Source(smaller.folder)
            scratch = bounds.rundir.scratch
            save_example(campaign, smaller, group, source, cut, folder, scratch)
        note = {"case": case.name, "operations": before, "left": after, "boots": search.boots}
        write_atomically(folder / NOTE, json.dumps(note, indent=1).encode())
        search.clear()
        if after < before:
            yield folder, before, after


def operations(case: Case) -> OpList | None:
    """What a case ran, as a list for the agent; None where that can't run it."""
    if isinstance(case.work, ListWork):
        return case.work.ops
    if isinstance(case.work, StepsWork) and case.work.start == FRESH:
        return list_of((*case.work.setup, *case.work.steps))
    return None


class _Search:
    """Runs lists and looks for a state that fails as the group's example does.

    `best` is the shortest case with such a state, so far.
    """

    def __init__(self, bounds: Bounds, group: Group) -> None:
        self._bounds = bounds
        self._group = group
        self._folder = bounds.rundir.scratch / "smaller"
        self.boots = 0
        self.best: tuple[Case, Cut] | None = None

    def fails(self, lists: Sequence[OpList]) -> list[bool]:
        """One boot.  A list behind one that breaks the guest counts as one that does not fail."""
        self.boots += 1
        bounds = self._bounds
        folder = self._folder.with_name(f"smaller-{self.boots}")
        cases = record_once(
            *(bounds.campaign, bounds.bench, lists, bounds.rundir, folder, bounds.versions)
        )
        states = [self._failing(case) for case in cases]
        for case, cut in zip(cases, states, strict=True):
            if cut is not None and (self.best is None or _size(case) < _size(self.best[0])):
                self.best = case, cut
        return [cut is not None for cut in states] + [False] * (len(lists) - len(cases))

    def clear(self) -> None:
        """Remove what the boots left."""
        for number in range(1, self.boots + 1):
            shutil.rmtree(self._folder.with_name(f"smaller-{number}"))

    def _failing(self, case: Case) -> Cut | None:
        cuts = case.plan(self._bounds.campaign).cuts()
        wanted = (cut for cut in cuts if cut.model in self._group.models)
        with Lab(Source(case.folder), self._bounds.rundir.scratch) as lab:
            for cut in islice(wanted, _STATES):
                for said in lab.row(cut).judgements:
                    same = said.oracle is self._group.oracle and said.verdict is Verdict.FAIL
                    if same and cause_of(said) == self._group.cause:
                        return cut
        return None


def _ops(case: Case) -> OpList:
    assert isinstance(case.work, ListWork)
    return case.work.ops


def _size(case: Case) -> int:
    return len(list(_ops(case).refs()))
