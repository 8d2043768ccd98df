"""Watched objects before and after recovery, field by field, against what the scenario says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.events import Event, ObjectExpected, ObjectView
from harness.report.view import FieldRow, Judged, ObjectPair, Standing
from harness.verdicts import CrashModel, Oracle, Verdict

# debugfs says User and Group where a scenario says uid and gid.
_ALIASES = {"user": "uid", "group": "gid", "file_acl": "acl", "fast_link_dest": "target"}
_LABELS = {"uid": "User", "gid": "Group", "acl": "File ACL", "blockcount": "Blockcount"}
_ORDER = (
    *("inode", "type", "mode", "uid", "gid", "links", "size", "blockcount", "blocks", "target"),
    *(
        "flags",
        "generation",
        "version",
        "acl",
        "translator",
        "ctime",
        "atime",
        "mtime",
        "crtime",
        "dtime",
    ),
)
_ABSENT = "—"


def object_pairs(
    events: Sequence[Event], variant: str, judged: Sequence[Judged]
) -> tuple[ObjectPair, ...]:
    """The views of one variant's objects, paired; by object, and there a live kill comes first.

    Whether an object is right is for its oracle to say, which knows what was acknowledged; here it
    is only compared with the two states that the scenario names.
    """
    verdicts = {
        (item.model, item.state): item.verdict for item in judged if item.oracle is Oracle.OBJECT
    }
    expected = {event.path: event for event in events if isinstance(event, ObjectExpected)}
    views: dict[tuple[CrashModel, str, str], dict[str, ObjectView]] = {}
    for event in events:
        if isinstance(event, ObjectView) and event.variant == variant:
            views.setdefault((event.model, event.state, event.path), {})[event.when] = event
    pairs = [
        _pair(key, pair, expected.get(key[2]), verdicts.get(key[:2])) for key, pair in views.items()
    ]
    order = list(dict.fromkeys(pair.path for pair in pairs))
    models = list(CrashModel)
    return tuple(sorted(pairs, key=lambda p: (order.index(p.path), models.index(p.model))))


def _pair(
    key: tuple[CrashModel, str, str],
    pair: Mapping[str, ObjectView],
    expected: ObjectExpected | None,
    verdict: Verdict | None,
) -> ObjectPair:
    before, after = pair.get("before"), pair.get("after")
    standing = _standing(after, expected)
    wanted = expected.now if expected else None
    if standing is Standing.BEFORE and verdict is Verdict.PASS:
        wanted = expected.was if expected else None
    return ObjectPair(
        *key,
        before=_fields(before),
        after=_fields(after),
        before_text=before.text if before else "",
        after_text=after.text if after else "",
        rows=_rows(_fields(before), _fields(after), wanted),
        standing=standing,
        verdict=verdict,
    )


def _fields(view: ObjectView | None) -> dict[str, str] | None:
    """A view's fields by canonical name; empty when the object is absent."""
    if view is None or not view.present:
        return None if view is None else {}
    return {_name(name): value.strip() for name, value in view.fields.items()}


def _name(name: str) -> str:
    plain = name.strip().lower().replace(" ", "_")
    return _ALIASES.get(plain, plain)


def same(name: str, value: str, expected: str) -> bool:
    """Whether two values of a field mean the same, such as modes 775 and 0775."""
    value, expected = value.strip(), expected.strip()
    if name == "mode":
        # debugfs shows permission bits only; a raw mode has the type in front of them.
        return value.lstrip("0")[-4:].lstrip("0") == expected.lstrip("0")[-4:].lstrip("0")
    if value.isdigit() and expected.isdigit():
        return value.lstrip("0") == expected.lstrip("0")
    return value.strip('"') == expected.strip('"')


def _matches(fields: Mapping[str, str], expected: Mapping[str, str] | None) -> bool:
    if expected is None:
        return not fields
    wanted = {_name(name): value for name, value in expected.items()}
    return bool(fields) and all(
        name not in fields or same(name, fields[name], value) for name, value in wanted.items()
    )


def _standing(after: ObjectView | None, expected: ObjectExpected | None) -> Standing:
    fields = _fields(after)
    if fields is None:
        return Standing.UNSEEN
    if expected is None:
        return Standing.THERE if fields else Standing.ABSENT
    if _matches(fields, expected.now):
        return Standing.AFTER
    return Standing.BEFORE if _matches(fields, expected.was) else Standing.NEITHER


def _rows(
    before: Mapping[str, str] | None,
    after: Mapping[str, str] | None,
    expected: Mapping[str, str] | None,
) -> tuple[FieldRow, ...]:
    left, right = before or {}, after or {}
    wanted = {_name(name): value for name, value in (expected or {}).items()}
    names = dict.fromkeys((*right, *left, *(wanted if before or after else ())))
    ranked = sorted(names, key=lambda n: _ORDER.index(n) if n in _ORDER else len(_ORDER))
    rows = []
    for name in ranked:
        old, new, want = left.get(name, ""), right.get(name, ""), wanted.get(name)
        rows.append(
            FieldRow(
                name=_LABELS.get(name, name.replace("_", " ").capitalize()),
                before=old or _ABSENT,
                after=new or _ABSENT,
                expected=want,
                changed=before is not None and after is not None and old != new,
                odd=(name == "type" and "bad type" in old)
                or (name == "mode" and old != "" and not old.strip("0")),
                wrong=want is not None and after is not None and not same(name, new, want),
            )
        )
    return tuple(rows)
