"""Object: the scenario's objects are there after recovery, with the fields that they must have."""

from __future__ import annotations

from harness.disk.ext2 import ObjectStat
from harness.oracles.context import VOID_REASON, Context, proves_nothing
from harness.oracles.recover import Examination
from harness.verdicts import CrashModel, Finding, FindingClass, Judgement, Oracle, Verdict
from harness.workloads.scenario import Fields

Expected = Fields | str  #: fields, or "absent"

_EARLY = "the cut is before the recorded steps, so it says nothing of what they made"


def judge_object(seen: Examination, context: Context) -> Judgement | None:
    """Compare the watched objects after pure recovery with what the scenario allows there.

    None when nothing can be asked of them: a prefix from before the recorded steps.  A cut there is
    VOID: it was to hit the steps, and missed.
    """
    dangling = tuple(
        Finding("dangling-entry", FindingClass.DAMAGE, f"{each.path} leads to an empty inode")
        for each in seen.after
        if each.dangling
    )
    early = context.position is not None and context.position < context.workload_from
    if dangling:
        reason = f"after recovery {dangling[0].text}"
        return Judgement(Oracle.OBJECT, Verdict.FAIL, reason, dangling)
    if proves_nothing(context, seen):
        return Judgement(Oracle.OBJECT, Verdict.VOID, VOID_REASON)
    if early:
        if context.model is CrashModel.PREFIX:
            return None
        return Judgement(Oracle.OBJECT, Verdict.VOID, _EARLY)
    if _must_be_now(context):
        return _all_now(seen.after, context)
    return _together(seen.after, context) if context.together else _each(seen.after, context)


def _must_be_now(context: Context) -> bool:
    if context.position is None:
        return True
    return context.durable_from is not None and context.position >= context.durable_from


def _all_now(after: tuple[ObjectStat, ...], context: Context) -> Judgement:
    wrong = [
        _finding(stat, differences(stat, watched.now))
        for stat, watched in zip(after, context.objects, strict=True)
        if differences(stat, watched.now)
    ]
    why = "" if context.position is None else ", though it was acknowledged before"
    if wrong:
        reason = f"{wrong[0].text}{why}"
        return Judgement(Oracle.OBJECT, Verdict.FAIL, reason, tuple(wrong))
    return Judgement(Oracle.OBJECT, Verdict.PASS, "every object is as after the workload")


def _together(after: tuple[ObjectStat, ...], context: Context) -> Judgement:
    pairs = list(zip(after, context.objects, strict=True))
    if not any(differences(stat, watched.now) for stat, watched in pairs):
        return Judgement(Oracle.OBJECT, Verdict.PASS, "every object is as after the workload")
    if not any(differences(stat, watched.was) for stat, watched in pairs):
        return Judgement(Oracle.OBJECT, Verdict.PASS, "every object is as before the workload")
    torn = _each(after, context)
    if torn.verdict is Verdict.FAIL:
        return torn
    new = [stat.path for stat, watched in pairs if differences(stat, watched.was)]
    old = [stat.path for stat, watched in pairs if differences(stat, watched.now)]
    text = f"{', '.join(new)} as after the workload, {', '.join(old)} as before it"
    finding = Finding("objects-torn", FindingClass.DAMAGE, text)
    return Judgement(Oracle.OBJECT, Verdict.FAIL, f"not all or nothing: {text}", (finding,))


def _each(after: tuple[ObjectStat, ...], context: Context) -> Judgement:
    wrong = []
    for stat, watched in zip(after, context.objects, strict=True):
        was, now = differences(stat, watched.was), differences(stat, watched.now)
        if was and now:
            wrong.append(_finding(stat, now, f"; before the workload: {', '.join(was)}"))
    if wrong:
        return Judgement(Oracle.OBJECT, Verdict.FAIL, wrong[0].text, tuple(wrong))
    reason = "every object is as before or as after the workload"
    return Judgement(Oracle.OBJECT, Verdict.PASS, reason)


def _finding(stat: ObjectStat, different: list[str], more: str = "") -> Finding:
    lost = "object-unreadable" if stat.unreadable else "object-lost"
    code = "object-fields" if stat.present else lost
    return Finding(code, FindingClass.DAMAGE, f"{stat.path}: {', '.join(different)}{more}")


def differences(stat: ObjectStat, expected: Expected) -> list[str]:
    """In words, what an object has otherwise than it should; empty when it is as expected."""
    if stat.unreadable:
        return [f"can't be looked up ({stat.text})"]
    if isinstance(expected, str):
        return ["is there and should be absent"] if stat.present else []
    if not stat.present:
        return ["is absent"]
    return [
        f"{name} is {stat.fields.get(name, 'unknown')} and should be {value}"
        for name, value in expected.model_dump(exclude_none=True).items()
        if not _same(name, stat.fields.get(name), value)
    ]


def _same(name: str, found: str | None, expected: object) -> bool:
    if found is None:
        return False
    if name == "mode":
        return int(found, 8) & 0o7777 == int(str(expected), 8)
    return int(found) == expected if isinstance(expected, int) else found == expected
