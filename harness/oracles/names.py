"""Durability and prefix: names and attributes against the reference model.  Pure.

*prefix*: what recovery left is the tree as it was at one moment of the workload, not before the
last acknowledged operation and not behind the last one that had begun.

*durability*: whatever was acknowledged is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.oracles.observed import Observed
from harness.verdicts import Finding, FindingClass, Judgement, Oracle, Verdict
from harness.workloads.model import History, Look, Moment

_WORST = ("name-lost", "name-unexpected", "look-differs")
_SHOWN = 8  # findings that are kept of one state


class NamesJudge:
    """Compares trees with the moments of one workload."""

    def __init__(self, history: History, steps: Sequence[str]) -> None:
        """`steps` are the operations in words."""
        self._history = history
        self._steps = steps
        self._by_looks: dict[frozenset[tuple[str, Look]], list[int]] = {}
        for index, moment in enumerate(history.moments):
            self._by_looks.setdefault(frozenset(moment.looks.items()), []).append(index)

    def moments(self, seen: Observed) -> list[int]:
        """The moments whose looks a tree has, by number."""
        return self._by_looks.get(frozenset(seen.looks.items()), [])

    def prefix(self, seen: Observed, begun: int) -> Judgement:
        """Whether the tree is that of a moment; `begun` is the last operation it may hold."""
        if seen.unreadable:
            return _fail(Oracle.PREFIX, "tree-unreadable", f"no tree: {seen.unreadable}")
        ops = [self._history.moments[index].op for index in self.moments(seen)]
        if any(op <= begun for op in ops):
            return Judgement(Oracle.PREFIX, Verdict.PASS, f"the tree is that {self._after(ops)}")
        if ops:
            text = f"the tree is that {self._after(ops)}, which had not begun"
            return _fail(Oracle.PREFIX, "tree-from-the-future", text)
        nearest = self._nearest(seen, begun)
        found = _differences(seen.looks, nearest.looks)
        reason = (
            f"no moment of the workload has this tree; {self._after([nearest.op])}, {found[0].text}"
        )
        return _judgement(Oracle.PREFIX, reason, found)

    def durability(self, seen: Observed, acknowledged: int, begun: int, level: str) -> Judgement:
        """Whether the tree has all operations up to number `acknowledged`."""
        if seen.unreadable:
            return _fail(Oracle.DURABILITY, "tree-unreadable", f"no tree: {seen.unreadable}")
        ops = [self._history.moments[index].op for index in self.moments(seen)]
        start = self._at(acknowledged)
        due = self._history.moments[start].op
        if any(due <= op <= begun for op in ops):
            return Judgement(
                Oracle.DURABILITY, Verdict.PASS, f"all that was acknowledged ({level}) is there"
            )
        lost = self._lost(seen, start, begun)
        if lost:
            what = f"operation {due} ({self._word(due)})"
            reason = f"{lost[0].text}, though {what} was acknowledged ({level})"
            return _judgement(Oracle.DURABILITY, reason, lost)
        return Judgement(
            Oracle.DURABILITY,
            Verdict.PASS,
            f"all objects that were acknowledged ({level}) and left alone since are there",
        )

    def _lost(self, seen: Observed, start: int, begun: int) -> list[Finding]:
        """What differs of the objects that did not change from the acknowledgement on.

        The objects that later operations touch may look either way, and are prefix's part.
        """
        moments = self._history.moments
        later = [m for m in moments[start:] if m.op <= begun] or [moments[start]]
        paths = {path for moment in moments[:start] for path in moment.looks}
        paths |= {path for moment in later for path in moment.looks}
        found: dict[str, Look] = {}
        expected: dict[str, Look] = {}
        for path in paths:
            looks = {moment.looks.get(path) for moment in later}
            if len(looks) > 1:
                continue
            if path in seen.looks:
                found[path] = seen.looks[path]
            look = looks.pop()
            if look is not None:
                expected[path] = look
        return _differences(found, expected)

    def _at(self, op: int) -> int:
        """The last moment that is not behind operation `op`."""
        moments = self._history.moments
        return max(index for index, moment in enumerate(moments) if moment.op <= max(op, -1))

    def _nearest(self, seen: Observed, begun: int) -> Moment:
        """The moment that the tree differs least from."""
        own = set(seen.looks.items())
        possible = [moment for moment in self._history.moments if moment.op <= begun]
        return min(possible, key=lambda moment: len(own ^ set(moment.looks.items())))

    def _after(self, ops: Sequence[int]) -> str:
        """`after operation 7 (mkdir a)`."""
        op = max(ops)
        return f"after operation {op} ({self._word(op)})" if op >= 0 else "before the workload"

    def _word(self, op: int) -> str:
        return self._steps[op] if 0 <= op < len(self._steps) else "the set-up"


def _differences(found: Mapping[str, Look], expected: Mapping[str, Look]) -> list[Finding]:
    result = []
    for path in sorted(found.keys() | expected.keys()):
        here, there = found.get(path), expected.get(path)
        if here == there:
            continue
        if here is None:
            code, text = "name-lost", f"/{path} is absent"
        elif there is None:
            code, text = "name-unexpected", f"/{path} is there and should be absent"
        else:
            code = "look-differs"
            text = f"/{path}: {', '.join(there.differences(here))}"
        result.append(Finding(code, FindingClass.DAMAGE, text))
    return sorted(result, key=lambda each: _WORST.index(each.code))


def finding_of(text: str) -> Finding:
    """A difference between trees in words (`/a is absent`) as a finding."""
    if text.endswith(" is absent"):
        code = "name-lost"
    else:
        code = "name-unexpected" if text.endswith("should be absent") else "look-differs"
    return Finding(code, FindingClass.DAMAGE, text)


def _judgement(oracle: Oracle, reason: str, found: Sequence[Finding]) -> Judgement:
    return Judgement(oracle, Verdict.FAIL, reason, tuple(found[:_SHOWN]))


def _fail(oracle: Oracle, code: str, text: str) -> Judgement:
    return Judgement(oracle, Verdict.FAIL, text, (Finding(code, FindingClass.DAMAGE, text),))
