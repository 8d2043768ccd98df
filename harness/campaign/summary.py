"""From the results of a campaign to what its report says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.campaign.compare import Line, exit_code
from harness.campaign.failures import expected_of, folder_of, variant_groups
from harness.campaign.judging import campaign_lines
from harness.campaign.spec import Campaign
from harness.campaign.store import LogOutline, Store
from harness.errors import Exit
from harness.report.campaign import MAP_WIDTH, Bar, Cause, Cell, Lane, Map, Row, Summary
from harness.verdicts import (
    CAMPAIGN_ORACLES,
    RUN_ORACLES,
    CrashModel,
    Expectation,
    Oracle,
    Verdict,
)

_BINS = 250  # columns of a map
_MAPS = 24
_CAUSES = 40  # rows of the table of causes
_ENDINGS = {
    Exit.OK: ("as expected", "pass"),
    Exit.UNEXPECTED: ("not as expected", "fail"),
    Exit.VOID: ("proves nothing", "void"),
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
    return Summary(
        name=campaign.name,
        title=campaign.title,
        guest=store.meta("guest") or campaign.guest,
        command=store.meta("command") or "",
        ending=ending,
        tone=tone,
        headline=broken or _headline(store, lines, by_variant),
        safe=tuple(_safe(store, lines, by_variant)),
        rows=tuple(_rows(lines)),
        causes=causes[:_CAUSES],
        maps=_maps(campaign, store, by_variant),
        phases=tuple(store.seconds()),
        versions=tuple(json.loads(store.meta("versions") or "{}").items()),
        next_step=f"hurdle judge {wrong[0].folder}" if wrong else "",
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


def _safe(
    store: Store, lines: Sequence[Line], by_variant: dict[str, list[str]]
) -> Iterable[tuple[str, str, bool]]:
    """For each variant a sentence: whether it lost anything, a lying disk left aside."""
    for variant in dict.fromkeys(line.variant for line in lines):
        own = [line for line in lines if line.variant == variant]
        honest = [line for line in own if line.model is not CrashModel.LYING]
        states = sum(line.states for line in honest if line.oracle is Oracle.STRUCTURE)
        failed = [line for line in honest if line.found is Verdict.FAIL]
        if any(line.found is Verdict.INFRA for line in own):
            text = "was not judged to the end"
        elif failed:
            what = ", ".join(f"{line.oracle} over {line.model}" for line in failed[:4])
            more = f" and {len(failed) - 4} more" if len(failed) > 4 else ""
            text = f"not safe: of {states} states some fail {what}{more}"
        else:
            text = f"safe in all {states} states that an honest disk can leave"
        distinct = sum(store.distinct(name) for name in by_variant.get(variant, []))
        yield variant, f"{text} ({distinct} distinct contents checked)", all(x.ok for x in own)


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
        for group in variant_groups(store, variant, names):
            places = [folder_of(out, name, group) for name in names]
            folder = next((place for place in places if (place / "README.md").is_file()), None)
            found.append(
                Cause(
                    variant,
                    group.oracle,
                    group.cause,
                    group.operation,
                    group.models,
                    group.count,
                    expected_of(campaign, group) is not Expectation.PASS,
                    group.example.id,
                    group.example.reason,
                    str(folder) if folder else "",
                )
            )
    return sorted(found, key=lambda cause: (cause.expected, -cause.count, cause.variant))


def _maps(campaign: Campaign, store: Store, by_variant: dict[str, list[str]]) -> tuple[Map, ...]:
    """The runs' maps; of very many runs those with most failures."""
    names = [(variant, name) for variant, found in by_variant.items() for name in found]
    if len(names) > _MAPS:
        names = sorted(names, key=lambda pair: -len(store.failures(pair[1])))[:_MAPS]
    return tuple(_map(campaign, store, variant, name) for variant, name in names)


def _map(campaign: Campaign, store: Store, variant: str, case: str) -> Map:
    outline = store.outline(case)
    scale = MAP_WIDTH / max(1, outline.entries)
    size = max(1, -(-outline.entries // _BINS))  # entries in a column
    counts: Counter[tuple[CrashModel, int, str]] = Counter()
    for _, model, upto, verdicts in store.states(case):
        where = upto // size
        fails = [oracle for oracle, verdict in verdicts.items() if verdict is Verdict.FAIL]
        wrong = any(
            campaign.expectation(variant, model, oracle) is Expectation.PASS for oracle in fails
        )
        counts[model, where, "states"] += 1
        counts[model, where, "fails"] += bool(fails)
        counts[model, where, "wrong"] += wrong
    lanes = []
    for model in campaign.models:
        bars = tuple(
            Bar(
                x=where * size * scale,
                width=max(0.6, size * scale * 0.9),
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
        outline.entries,
    )


def _words(outline: LogOutline) -> str:
    return (
        f"{len(outline.steps)} operations, {outline.writes} writes, {len(outline.flushes)} "
        f"flushes, {len(outline.commits)} commits"
    )
