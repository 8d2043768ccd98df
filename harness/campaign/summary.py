"""From the results of a campaign to what its report says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.campaign.compare import Line, exit_code
from harness.campaign.failures import FOLDER, expected_of, folder_of, variant_groups
from harness.campaign.group import Group
from harness.campaign.judging import campaign_lines
from harness.campaign.reproducer import Example, example_of
from harness.campaign.rows import LogOutline
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.errors import Exit
from harness.oracles.boot import GIVES_UP
from harness.report.campaign import (
    MAP_WIDTH,
    Bar,
    Cause,
    Cell,
    Lane,
    Map,
    OfRuns,
    Row,
    Share,
    Side,
    Summary,
)
from harness.report.text import counted, duration, size
from harness.verdicts import (
    CAMPAIGN_ORACLES,
    RUN_ORACLES,
    CrashModel,
    Oracle,
    Verdict,
)

_BINS = 250  # columns of a map
_MAPS = 24
_CAUSES = 40  # in the report
_ENDINGS = {
    Exit.OK: ("as expected", "pass"),
    Exit.UNEXPECTED: ("not as expected", "fail"),
    Exit.VOID: ("void in part", "void"),
}


def summarise(store: Store, out: Path) -> Summary:
    """The summary of a campaign's results; works for one that was cut off, too."""
    campaign = Campaign.model_validate_json(store.meta("campaign") or "{}")
    by_variant: dict[str, list[str]] = {}
    for name, variant in store.cases():
        by_variant.setdefault(variant, []).append(name)
    wanted = json.loads(store.meta("variants") or "[]") or list(by_variant)
    lines = campaign_lines(campaign, store, wanted)
    broken = store.meta("broken") or ""
    ending, tone = _ENDINGS.get(exit_code(lines), ("broke", "infra"))
    if broken:
        ending, tone = "broke", "infra"
    causes = tuple(_causes(campaign, store, by_variant, out))
    wrong = [cause for cause in causes if not cause.expected and cause.folder]
    first = _simplest(wrong) if wrong else None
    return Summary(
        name=campaign.name,
        title=campaign.title,
        guest=store.meta("guest") or campaign.guest,
        command=store.meta("command") or "",
        ending=ending,
        tone=tone,
        headline=broken or _headline(store, lines, by_variant),
        facts=tuple(_facts(campaign, store, by_variant)),
        sides=tuple(_sides(store, lines, by_variant)),
        rows=tuple(_rows(lines)),
        causes=causes[:_CAUSES],
        maps=_maps(campaign, store, by_variant),
        phases=tuple(store.seconds()),
        versions=tuple(json.loads(store.meta("versions") or "{}").items()),
        next_step=first.commands[0] if first else "",
        next_words=first.words if first else "",
        started=store.meta("started") or "",
    )


def _headline(store: Store, lines: Sequence[Line], by_variant: dict[str, list[str]]) -> str:
    states = sum(line.states for line in lines if line.oracle is Oracle.STRUCTURE)
    distinct = sum(store.distinct(name) for names in by_variant.values() for name in names)
    wrong = [line for line in lines if not line.ok]
    seen = f"{states} crash states, {distinct} of them distinct"
    if not wrong:
        return f"{seen}: every verdict is the expected one"
    first = wrong[0]
    return (
        f"{seen}; {len(wrong)} of {len(lines)} expectations not met, first: {first.variant}, "
        f"{first.oracle} over {first.model}: expected {first.expected}, found {first.found}"
    )


def _facts(
    campaign: Campaign, store: Store, by_variant: dict[str, list[str]]
) -> Iterable[tuple[str, str]]:
    """What a figure depends on, in a line."""
    runs = sum(map(len, by_variant.values()))
    yield "runs", str(runs)
    took = sum(seconds for phase, seconds, _ in store.seconds() if phase == "judging, wall")
    if took:
        distinct = sum(store.distinct(name) for names in by_variant.values() for name in names)
        yield "judged in", f"{duration(took)}, {60 * distinct / took:.0f} distinct states a minute"
    yield "disk", f"{size(campaign.disk.size)}, physical sectors of {campaign.disk.sector} bytes"
    yield "acknowledged at level", campaign.strictness.value


def _sides(store: Store, lines: Sequence[Line], by_variant: dict[str, list[str]]) -> Iterable[Side]:
    """The variants side by side."""
    failed = store.failed(GIVES_UP)
    for variant in dict.fromkeys(line.variant for line in lines):
        own = [line for line in lines if line.variant == variant]
        names = set(by_variant.get(variant, []))
        shares = {
            line.model: Share(
                line.model,
                line.states,
                sum(n for case, model, n, _ in failed if case in names and model is line.model),
            )
            for line in own
            if line.oracle is Oracle.STRUCTURE
        }
        honest = [share for model, share in shares.items() if model is not CrashModel.LYING]
        of_log = {
            line.oracle: OfRuns(
                line.found,
                line.counts.get(Verdict.FAIL, 0),
                line.states,
                line.counts.get(Verdict.VOID, 0),
            )
            for line in own
            if line.oracle not in CAMPAIGN_ORACLES
        }
        side = Side(
            variant,
            "",
            all(line.ok for line in own),
            sum(share.states for share in honest),
            sum(store.distinct(name, without=CrashModel.LYING) for name in names),
            sum(share.fails for share in honest),
            sum(
                stops
                for case, model, _, stops in failed
                if case in names and model is not CrashModel.LYING
            ),
            {oracle: _fails(own, oracle) for oracle in CAMPAIGN_ORACLES},
            of_log,
            shares,
        )
        broken = any(line.found is Verdict.INFRA for line in own)
        yield replace(side, sentence="was not judged to the end" if broken else _sentence(side))


def _fails(lines: Sequence[Line], oracle: Oracle) -> int | None:
    """States that fail by an oracle, a lying disk left aside; None where it gave no verdict."""
    own = [line for line in lines if line.oracle is oracle and line.model is not CrashModel.LYING]
    if not any(line.counts for line in own):
        return None
    return sum(line.counts.get(Verdict.FAIL, 0) for line in own)


def _sentence(side: Side) -> str:
    """Whether a variant lost anything."""
    if not side.states:
        return "has no state"
    trials = side.of_log.get(Oracle.LANDED)
    if side.safe and trials and trials.voids:
        missed = f"{trials.voids} of {counted(trials.runs, 'trial')} did not land"
        return f"all {side.states} states pass, but {missed}"
    if side.safe:
        return f"safe in all {side.states} states that an honest disk can leave"
    asked = [oracle.value for oracle, said in side.of_log.items() if said.fails]
    more = f"; {' and '.join(asked)} fails over a whole run" if asked else ""
    if not side.fails:
        return f"all {side.states} states pass{more}"
    percent = 100 * side.fails / side.states
    share = f"{percent:.0f} %" if percent >= 1 else f"{percent:.2g} %"
    stops = f", and {side.stops} stop an unattended boot" if side.stops else ""
    return f"not safe: {side.fails} of {side.states} states fail ({share}){stops}{more}"


def _rows(lines: Sequence[Line]) -> Iterable[Row]:
    found: dict[tuple[str, CrashModel], dict[Oracle, Line]] = {}
    for line in lines:
        found.setdefault((line.variant, line.model), {})[line.oracle] = line
    for (variant, model), row in found.items():
        oracles = (*CAMPAIGN_ORACLES, *RUN_ORACLES)
        cells = tuple(_cell(row[oracle]) for oracle in oracles if oracle in row)
        yield Row(variant, model, row[Oracle.STRUCTURE].states, cells)


def _cell(line: Line) -> Cell:
    fails = line.counts.get(Verdict.FAIL, 0)
    expected = line.expected.value
    return Cell(line.oracle, expected, line.found, fails, line.states, line.ok, line.note)


def _causes(
    campaign: Campaign, store: Store, by_variant: dict[str, list[str]], out: Path
) -> Iterable[Cause]:
    """Unexpected ones first, then the most frequent."""
    found = []
    for variant, names in by_variant.items():
        alike: dict[tuple[Oracle, str, bool], list[Group]] = {}
        for group in variant_groups(store, variant, names):
            known = expected_of(campaign, group).allows(Verdict.FAIL)
            alike.setdefault((group.oracle, group.cause, known), []).append(group)
        found += [_cause(members, known, names, out) for (_, _, known), members in alike.items()]
        found += _run_causes(campaign, store, variant, names, out)
    return sorted(found, key=lambda cause: (cause.expected, cause.variant, -cause.count))


def _simplest(causes: Sequence[Cause]) -> Cause:
    """The one to look at first: a state before a run as a whole, few operations before many, and
    few writes before many.
    """
    return min(
        causes,
        key=lambda cause: (not cause.models, cause.operations, len(cause.state), cause.state),
    )


def _cause(members: Sequence[Group], expected: bool, names: Sequence[str], out: Path) -> Cause:
    """Groups of one oracle and finding as one row, with the smallest example that was saved."""
    saved = [
        (folder, said)
        for group in members
        for folder in (folder_of(out, name, group) for name in names)
        if (said := example_of(folder)) is not None
    ]
    saved.sort(key=lambda pair: (pair[1].operations, len(pair[1].state)))
    example = members[0].example
    best = saved[0][1] if saved else Example(example.id, example.reason, (0, 0))
    return Cause(
        members[0].variant,
        members[0].oracle,
        members[0].cause,
        tuple((each.operation, each.count) for each in members),
        tuple(model for model in CrashModel if any(model in each.models for each in members)),
        sum(each.count for each in members),
        expected,
        best.state,
        best.reason,
        str(saved[0][0]) if saved else "",
        tuple(str(other) for other, _ in saved[1:]),
        best.operations,
    )


def _run_causes(
    campaign: Campaign, store: Store, variant: str, names: Sequence[str], out: Path
) -> Iterable[Cause]:
    """What the oracles that judge whole runs found; the folder is a run's, or a difference's."""
    failed: dict[Oracle, list[tuple[str, str]]] = {}
    for name in names:
        for said in store.log_verdicts(name):
            if said.verdict is Verdict.FAIL:
                failed.setdefault(said.oracle, []).append((name, said.reason))
    for oracle, runs in failed.items():
        (name, reason), *_ = runs
        folders = [out / name, *sorted((out / FOLDER).glob(f"{name}-{Oracle.AGREEMENT}-*"))]
        folder = folders[-1] if oracle is Oracle.AGREEMENT else folders[0]
        expected = campaign.expectation(variant, CrashModel.PREFIX, oracle)
        yield Cause(
            variant,
            oracle,
            f"{oracle} of a whole run",
            (),
            (),
            len(runs),
            expected.allows(Verdict.FAIL),
            name,
            reason,
            str(folder) if folder.is_dir() else "",
        )


def _maps(campaign: Campaign, store: Store, by_variant: dict[str, list[str]]) -> tuple[Map, ...]:
    """The runs' maps; of very many runs those with most failures."""
    names = [(variant, name) for variant, found in by_variant.items() for name in found]
    if len(names) > _MAPS:
        fails = Counter({case: 0 for _, case in names})
        for case, _, count, _ in store.failed(GIVES_UP):
            fails[case] += count
        names = sorted(names, key=lambda pair: -fails[pair[1]])[:_MAPS]
    return tuple(_map(campaign, store, variant, name) for variant, name in names)


def _map(campaign: Campaign, store: Store, variant: str, case: str) -> Map:
    outline = store.outline(case)
    scale = MAP_WIDTH / max(1, outline.entries)
    width = max(1, -(-outline.entries // _BINS))  # entries in a column
    counts: Counter[tuple[CrashModel, int, str]] = Counter()
    for _, model, upto, verdicts in store.states(case):
        where = min(upto, outline.entries - 1) // width  # the kill is behind the last entry
        fails = [oracle for oracle, verdict in verdicts.items() if verdict is Verdict.FAIL]
        wrong = any(
            not campaign.expectation(variant, model, oracle).allows(Verdict.FAIL)
            for oracle in fails
        )
        counts[model, where, "states"] += 1
        counts[model, where, "fails"] += bool(fails)
        counts[model, where, "wrong"] += wrong
    lanes = []
    for model in campaign.models:
        bars = tuple(
            Bar(
                entry=where * width,
                x=where * width * scale,
                width=max(0.6, width * scale * 0.9),
                states=states,
                fails=counts[model, where, "fails"],
                unexpected=counts[model, where, "wrong"],
            )
            for (of, where, what), states in sorted(counts.items(), key=lambda item: item[0][1])
            if of is model and what == "states"
        )
        lanes.append(Lane(model, bars))
    return Map(
        case,
        _words(outline),
        tuple(lanes),
        tuple(flush * scale for flush in outline.flushes),
        tuple(commit * scale for commit in outline.commits),
        tuple(sorted({entry * scale for entry in outline.begun})),
        outline.entries,
    )


def _words(outline: LogOutline) -> str:
    return (
        f"{len(outline.steps)} operations, {outline.writes} writes, {len(outline.flushes)} "
        f"flushes, {len(outline.commits)} commits"
    )
