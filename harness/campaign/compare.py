"""What a campaign expects against what was found.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.campaign.spec import Campaign
from harness.errors import Exit
from harness.experiment.expect import overall
from harness.verdicts import CrashModel, Expectation, Oracle, Verdict


@dataclass(frozen=True)
class Line:
    """A crash model and oracle of a variant, over all states of all its runs."""

    variant: str
    model: CrashModel
    oracle: Oracle
    expected: Expectation
    found: Verdict
    counts: dict[Verdict, int]
    note: str = ""

    @property
    def ok(self) -> bool:
        """Where anything is expected, it is no surprise that there is nothing to judge."""
        if self.expected is Expectation.ANY and self.found is Verdict.VOID:
            return True
        return self.expected.allows(self.found)

    @property
    def states(self) -> int:
        return sum(self.counts.values())


_NOTHING = {
    CrashModel.SUBSET: "the driver sends no flush, so that any order says nothing",
    CrashModel.LYING: "the log has no flush that could be a lie",
    CrashModel.OVERLAP: "the log has no two epochs",
    CrashModel.RECOVERY: "no state had a log to replay",
}

Count = tuple[str, CrashModel, Oracle, Verdict, int]


def compare(
    campaign: Campaign,
    variant: str,
    counts: Iterable[Count],
    planned: Mapping[CrashModel, int],
) -> list[Line]:
    """A line for each model and oracle; `counts` are the variant's own, `planned` its states.

    What did not report has not passed: a model without a verdict is INFRA, and VOID where the log
    gave nothing to make a state of.  What is expected of a run as a whole is said with the
    prefixes, and judged with the first model where there are none.
    """
    given: Counter[tuple[CrashModel, Oracle, Verdict]] = Counter()
    for _, model, oracle, verdict, count in counts:
        given[model, oracle, verdict] += count
    lines = []
    whole = CrashModel.PREFIX if CrashModel.PREFIX in campaign.models else campaign.models[0]
    for model in campaign.models:
        of_run = campaign.run_oracles if model is whole else ()
        for oracle in (*campaign.state_oracles, *of_run):
            told = CrashModel.PREFIX if oracle in of_run else model
            own = {v: given[told, oracle, v] for v in Verdict if given[told, oracle, v]}
            expected = campaign.expectation(variant, told, oracle)
            found = overall(own)
            if oracle is Oracle.LANDED and own.get(Verdict.VOID):
                found = Verdict.VOID  # others that landed are no comfort for one that did not
            note = ""
            if not own and not planned.get(model):
                found, note = Verdict.VOID, _NOTHING.get(model, "the log has nothing for it")
            elif not own:
                found, note = Verdict.INFRA, "no verdict was given"
            lines.append(Line(variant, model, oracle, expected, found, own, note))
    return lines


def exit_code(lines: Iterable[Line]) -> Exit:
    """The campaign's ending.  A difference outranks VOID; INFRA outranks both."""
    lines = list(lines)
    if not lines or any(line.found is Verdict.INFRA for line in lines):
        return Exit.INFRA
    if any(not line.ok and line.found is not Verdict.VOID for line in lines):
        return Exit.UNEXPECTED
    if any(not line.ok for line in lines):
        return Exit.VOID
    return Exit.OK
