"""Verdicts and findings by what they say, since a hundred states often say the same."""

from __future__ import annotations

from collections.abc import Sequence

from harness.events import VerdictGiven
from harness.report.view import FindingGroup, Judged, ReasonGroup
from harness.verdicts import CrashModel, FindingClass, Oracle, Verdict

_KINDS = tuple(
    kind.value
    for kind in (
        FindingClass.DAMAGE,
        FindingClass.FLAGS,
        FindingClass.ORPHAN,
        FindingClass.REPLAY,
        FindingClass.COUNTS,
        FindingClass.NOTE,
    )
)
_TEXTS = 6


def reason_groups(judged: Sequence[Judged]) -> tuple[ReasonGroup, ...]:
    """Every verdict of a single state, and of a model with many states those that are no PASS.

    What broke or missed did so for every oracle, and is one group for all of them.
    """
    seen: dict[tuple[object, ...], list[Judged]] = {}
    for item in judged:
        if item.verdict is Verdict.PASS and item.model is CrashModel.PREFIX:
            continue
        shared = item.verdict in (Verdict.VOID, Verdict.INFRA)
        whose = () if shared else (item.model, item.oracle)
        seen.setdefault((*whose, item.verdict, item.reason.strip()), []).append(item)
    groups = [_reason_group(hits) for hits in seen.values()]
    return tuple(sorted(groups, key=_place))


def _reason_group(hits: Sequence[Judged]) -> ReasonGroup:
    return ReasonGroup(
        models=tuple(m for m in CrashModel if any(hit.model is m for hit in hits)),
        oracles=tuple(o for o in Oracle if any(hit.oracle is o for hit in hits)),
        verdict=hits[0].verdict,
        reason=hits[0].reason.strip(),
        states=tuple(dict.fromkeys(hit.state for hit in hits)),
        evidence=hits[0].evidence,
    )


def _place(group: ReasonGroup) -> tuple[int, int, int, int]:
    return (
        list(CrashModel).index(group.models[0]),
        list(Oracle).index(group.oracles[0]),
        list(Verdict).index(group.verdict),
        -len(group.states),
    )


def finding_groups(verdicts: Sequence[VerdictGiven]) -> tuple[FindingGroup, ...]:
    """Findings by code, damage first, then by how many states have them."""
    seen: dict[tuple[str, str], list[tuple[VerdictGiven, str]]] = {}
    for event in verdicts:
        for finding in event.findings:
            seen.setdefault((finding.kind, finding.code), []).append((event, finding.text))
    groups = []
    for (kind, code), hits in seen.items():
        texts = list(dict.fromkeys(text.strip() for _, text in hits))
        first = hits[0][0]
        groups.append(
            FindingGroup(
                code=code,
                kind=kind,
                states=len({(event.model, event.state) for event, _ in hits}),
                oracles=tuple(o for o in Oracle if any(e.oracle is o for e, _ in hits)),
                models=tuple(m for m in CrashModel if any(e.model is m for e, _ in hits)),
                first_state=first.state,
                evidence=first.evidence,
                texts=tuple(texts[:_TEXTS]),
                more=max(len(texts) - _TEXTS, 0),
            )
        )
    return tuple(sorted(groups, key=lambda group: (_rank(group.kind), -group.states, group.code)))


def _rank(kind: str) -> int:
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)
