"""From failures to folders: grouped by cause, made smaller, saved."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.campaign.agreement import Difference
from harness.campaign.case import Case
from harness.campaign.group import Group, groups
from harness.campaign.lab import Lab, Source
from harness.campaign.minimise import minimise
from harness.campaign.reproducer import Reproduction, save
from harness.campaign.rows import fails_for
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.crash.plan import Cut, parse
from harness.report.campaign import judge_command
from harness.verdicts import (
    CAMPAIGN_ORACLES,
    CrashModel,
    Expectation,
    Judgement,
    Oracle,
    Verdict,
)

FOLDER = "failures"
_UNEXPECTED = 20  # causes of a run that get a folder, most frequent first


def variant_groups(store: Store, variant: str, cases: Sequence[str]) -> tuple[Group, ...]:
    """The causes of the failures of a variant's runs."""
    found = [failure for name in cases for failure in store.examples(name)]
    return groups(variant, found, {name: store.outline(name).steps for name in cases})


def folder_of(out: Path, case: str, group: Group) -> Path:
    """Where the example of a cause is saved."""
    plain = re.sub(r"[^a-z0-9-]+", "-", f"{group.oracle}-{group.cause}-{group.operation}")
    return out / FOLDER / f"{case}-{plain}"


def expected_of(campaign: Campaign, group: Group) -> Expectation:
    """What the campaign expects where a cause was found, of the strictest model: one whose
    expectation a FAIL does not meet, if there is one.
    """
    if not group.models:
        return Expectation.PASS
    found = [campaign.expectation(group.variant, model, group.oracle) for model in group.models]
    return next((each for each in found if not each.allows(Verdict.FAIL)), found[0])


def save_failures(
    campaign: Campaign,
    case: Case,
    store: Store,
    sources: Mapping[str, Source],
    out: Path,
    scratch: Path,
) -> list[Path]:
    """Save an example of each cause in a folder below `out`, as small as it gets.

    Returns the folders of those that the campaign does not expect.

    Of the causes that the campaign expects, the most frequent one of each oracle is saved, of the
    variant's first run that has one: a night would fill the disk with them.  `sources` are the
    other ones by their name.  What is saved already stays as it is.
    """
    found = variant_groups(store, case.variant, [case.name])
    wrong = [g for g in found if not expected_of(campaign, g).allows(Verdict.FAIL)]
    shown = _shown_before(store, case, out)
    known = {g.oracle: g for g in reversed(found) if g not in wrong and g.oracle not in shown}
    saved = []
    for group in [*_each_cause_first(wrong)[:_UNEXPECTED], *known.values()]:
        folder = folder_of(out, case.name, group)
        if not (folder / "README.md").is_file():
            source, cut = locate(case, group.example.id, sources)
            save_example(campaign, case, group, source, cut, folder, scratch)
        if group in wrong:
            saved.append(folder)
    return saved


def _each_cause_first(found: Sequence[Group]) -> list[Group]:
    """Groups in their order, but none of a cause that came before in front of a new cause."""
    first: dict[tuple[Oracle, str], Group] = {}
    for group in found:
        first.setdefault((group.oracle, group.cause), group)
    return [*first.values(), *(group for group in found if group not in first.values())]


def _shown_before(store: Store, case: Case, out: Path) -> set[Oracle]:
    """The oracles of which a run of the same variant before this one has a saved example."""
    names = [name for name, variant in store.cases() if variant == case.variant]
    before = set(names[: names.index(case.name)])
    saved = [folder.name for folder in (out / FOLDER).glob("*")]
    return {
        oracle
        for oracle in CAMPAIGN_ORACLES
        if any(name.partition(f"-{oracle}-")[0] in before for name in saved)
    }


def judging(folder: Path) -> str:
    """The command that judges a folder again, from where hurdle was started."""
    here = Path.cwd()
    return judge_command(str(folder.relative_to(here) if folder.is_relative_to(here) else folder))


def save_example(
    campaign: Campaign,
    case: Case,
    group: Group,
    source: Source,
    cut: Cut,
    folder: Path,
    scratch: Path,
) -> None:
    """Make a state that fails for the cause of `group` small, and save it in `folder`."""
    with Lab(source, scratch) as lab:

        def fails(state: Cut) -> bool:
            return fails_for(lab.row(state), group.oracle, group.cause)

        smallest = minimise(cut, lab.entries, fails)
        said = next(j for j in lab.row(smallest).judgements if j.oracle is group.oracle)
        reproduction = Reproduction(
            state=smallest.id,
            parent=source.parent.id if source.parent else None,
            model=source.model.value if source.parent else smallest.model.value,
            oracle=group.oracle.value,
            cause=group.cause,
            expected=expected_of(campaign, group).value,
            found=said.verdict.value,
            reason=said.reason,
            seed=case.seed,
            campaign=campaign.name,
        )
        save(folder, case, source, smallest, lab.image(smallest), reproduction, said)


def save_difference(
    campaign: Campaign, case: Case, found: Difference, left: Path, out: Path, scratch: Path
) -> Path:
    """Save a state of which a recoverer left another tree than e2fsck, and that tree's image."""
    plain = re.sub(r"[^a-z0-9-]+", "-", found.recoverer.lower())
    folder = out / FOLDER / f"{case.name}-{Oracle.AGREEMENT}-{found.finding.code}-{plain}"
    cut = parse(found.state)
    expected = campaign.expectation(case.variant, CrashModel.PREFIX, Oracle.AGREEMENT)
    reproduction = Reproduction(
        state=found.state,
        parent=None,
        model=cut.model.value,
        oracle=Oracle.AGREEMENT.value,
        cause=found.finding.code,
        expected=expected.value,
        found=Verdict.FAIL.value,
        reason=found.finding.text,
        seed=case.seed,
        campaign=campaign.name,
        recoverer=found.recoverer,
        refused=found.refused,
    )
    said = Judgement(Oracle.AGREEMENT, Verdict.FAIL, found.finding.text, (found.finding,))
    source = Source(case.folder)
    with Lab(source, scratch) as lab:
        save(folder, case, source, cut, lab.image(cut), reproduction, said, left)
    return folder


def locate(case: Case, name: str, sources: Mapping[str, Source]) -> tuple[Source, Cut]:
    """The source and the cut of a state by its name."""
    parent, tilde, own = name.partition("~")
    if not tilde:
        return Source(case.folder), parse(name)
    return sources[parent], parse(own)
