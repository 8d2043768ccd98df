"""Failures with fewer operations: shorter op lists are run in the guest and judged.

A workload of steps becomes a list for that: the agent runs many in one boot, each on a fresh file
system.

The example of a cause takes the place of the first one when a shorter list fails for that cause,
too; `smaller.json` beside it says what it was made of.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from harness.campaign.case import Case
from harness.campaign.failures import expected_of, folder_of, save_example, variant_groups
from harness.campaign.fewer import fewer
from harness.campaign.group import Group
from harness.campaign.lab import Source
from harness.campaign.lists import record_once
from harness.campaign.live import Live
from harness.campaign.reproducer import README
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.campaign.work import ListWork, StepsWork
from harness.campaign.workers import find_failing
from harness.crash.plan import Cut
from harness.deadline import Deadline
from harness.experiment.lists import Bench
from harness.report.atomic import write_atomically
from harness.rundir import RunDir
from harness.verdicts import Verdict
from harness.workloads.agent.convert import list_of
from harness.workloads.agent.oplist import Op, OpList
from harness.workloads.model import FRESH

NOTE = "smaller.json"
_SYNC = Op("syncfs", (".",))
_STATES = 150  # of each shorter list that are looked at; each takes 5 to 30 ms


@dataclass(frozen=True)
class Bounds:
    """What there is to work with; `boots` and `seconds` are for all causes together.

    `workers` look at the states of shorter lists, `live` shows each boot.
    """

    campaign: Campaign
    bench: Bench
    rundir: RunDir
    versions: dict[str, str]
    boots: int
    seconds: float
    workers: Executor
    live: Live


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


def make_smaller(bounds: Bounds, causes: Iterable[Group], cases: Sequence[Case]) -> None:
    """Leave out operations of the examples that are saved, cause by cause, as far as it goes.

    What was made smaller before is left as it is.  Raises `InfraError` or `GuestError`.
    """
    by_name = {case.name: case for case in cases}
    budget = _Budget(bounds.boots, Deadline.after(bounds.seconds))
    for group in causes:
        case = by_name[group.example.case]
        folder = folder_of(bounds.rundir.out, case.name, group)
        ops = operations(case)
        if ops is None or not folder.is_dir() or (folder / NOTE).is_file():
            continue
        if budget.spent:
            bounds.live.note(f"{budget.why}: other causes keep all of their operations")
            return
        _make_smaller(bounds, budget, group, case, ops, folder)


def _make_smaller(
    bounds: Bounds, budget: _Budget, group: Group, case: Case, ops: OpList, folder: Path
) -> None:
    before = len(list(ops.refs()))
    search = _Search(bounds, budget, group, before)
    try:
        found = fewer(ops, bounds.boots, search.fails)
        after = before
        if search.best is not None:
            smaller, cut = search.best
            after = _size(smaller)
            shutil.rmtree(folder)
            source, scratch = Source(smaller.folder), bounds.rundir.scratch
            named = replace(smaller, name=case.name, seed=case.seed)
            save_example(bounds.campaign, named, group, source, cut, folder, scratch)
    finally:
        search.clear()
    minimal = found.minimal and not search.cut_short
    note = {
        "case": case.name,
        "operations": before,
        "left": after,
        "boots": search.boots,
        "minimal": minimal,
    }
    write_atomically(folder / NOTE, json.dumps(note, indent=1).encode())
    why = "none was found that can go" if minimal else budget.why
    _tell(folder, f"{after} of the run's {before} operations are enough; {why}.")
    bounds.live.note(f"{folder.name}: {after} of {before} operations fail as well; {why}")


def _tell(folder: Path, text: str) -> None:
    readme = folder / README
    if readme.is_file():
        write_atomically(readme, readme.read_bytes() + f"\n## Made smaller\n\n{text}\n".encode())


def operations(case: Case) -> OpList | None:
    """What a case ran, as a list for the agent; None where that can't run it.

    The agent is through with the steps before a timer writes anything, so a sync ends the list.
    """
    if isinstance(case.work, ListWork):
        return case.work.ops
    if isinstance(case.work, StepsWork) and case.work.start == FRESH:
        found = list_of((*case.work.setup, *case.work.steps))
        return found and replace(found, threads=(*found.threads[:-1], (*found.threads[-1], _SYNC)))
    return None


class _Budget:
    """The boots and the time that are left for all causes of a variant."""

    def __init__(self, boots: int, deadline: Deadline) -> None:
        self.boots, self._all, self._deadline = boots, boots, deadline

    @property
    def spent(self) -> bool:
        return self.boots <= 0 or self._deadline.expired

    @property
    def number(self) -> str:
        """Of the last boot, as `2 of at most 6`."""
        return f"{self._all - self.boots} of at most {self._all}"

    @property
    def why(self) -> str:
        """What there is no more of."""
        return f"all {self._all} boots are used" if self.boots <= 0 else "the time is over"


class _Search:
    """Runs lists and looks for a state that fails as the group's example does.

    `best` is the shortest case with such a state, so far; `cut_short`: lists were asked for that
    the budget had no boot for.
    """

    def __init__(self, bounds: Bounds, budget: _Budget, group: Group, size: int) -> None:
        self._bounds = bounds
        self._budget = budget
        self._group = group
        self._size = size
        self._folders: list[Path] = []
        self.cut_short = False
        self.best: tuple[Case, Cut] | None = None

    @property
    def boots(self) -> int:
        return len(self._folders)

    def fails(self, lists: Sequence[OpList]) -> list[bool | None]:
        """One boot.  Of a list behind one that breaks the guest nothing is known."""
        if self._budget.spent:
            self.cut_short = True
            return [None] * len(lists)
        bounds, group = self._bounds, self._group
        self._budget.boots -= 1
        longest = max(len(list(each.refs())) for each in lists)
        folder = bounds.rundir.scratch / f"smaller-{self.boots + 1}"
        self._folders.append(folder)
        what = f"fewer operations for {group.oracle} {group.cause}: boot {self._budget.number}"
        with bounds.live.phase(f"{what}, {len(lists)} lists of at most {longest}", told=True):
            cases = record_once(
                *(bounds.campaign, bounds.bench, lists, bounds.rundir, folder, bounds.versions)
            )
            states = self._failing(cases)
        for case, cut in zip(cases, states, strict=True):
            if cut is not None and (self.best is None or _size(case) < _size(self.best[0])):
                self.best = case, cut
        failing = sum(cut is not None for cut in states)
        shortest = _size(self.best[0]) if self.best else self._size
        bounds.live.note(
            f"{what}: {failing} of {len(cases)} lists fail, the shortest has {shortest} "
            f"of {self._size}"
        )
        return [cut is not None for cut in states] + [None] * (len(lists) - len(cases))

    def clear(self) -> None:
        """Remove what the boots left."""
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _failing(self, cases: Sequence[Case]) -> list[Cut | None]:
        """For each case a state that fails for the group's cause; the workers look."""
        group, bounds = self._group, self._bounds
        look = functools.partial(find_failing, oracle=group.oracle, cause=group.cause)
        scratch = bounds.rundir.scratch
        running = [
            bounds.workers.submit(look, Source(case.folder), scratch, self._looked_at(case))
            for case in cases
        ]
        try:
            return [each.result() for each in running]
        finally:
            for each in running:
                each.cancel()

    def _looked_at(self, case: Case) -> tuple[Cut, ...]:
        """The states of the group's models; of many some, spread over all."""
        cuts = case.plan(self._bounds.campaign).cuts()
        wanted = [cut for cut in cuts if cut.model in self._group.models]
        return tuple(wanted[:: -(-len(wanted) // _STATES) or 1])


def _size(case: Case) -> int:
    assert isinstance(case.work, ListWork)
    return len(list(case.work.ops.refs()))
