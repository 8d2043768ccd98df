"""Leave out operations of a list that fails, while it fails for the same cause: delta debugging.

Only the guest can say what a shorter list does, and many lists share one boot.  So a round asks it
for many cuts at once: the list without each thread, half, quarter and eighth, and each of these
alone; without smaller parts, down to single operations; and without several at once that could go
by themselves.  No list is asked for twice, and a list is as short as it gets when no single
operation can go any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from harness.workloads.agent.oplist import OpList, OpRef

#: lists of a round; a boot takes as long as a dozen of them
_ROUND = 60
_FINE = 28  # parts of a list that fit into a round beside unions, halves, quarters and eighths

Cut = frozenset[OpRef]

#: for each list whether it fails as the first one did; None where that is not known
Fails = Callable[[Sequence[OpList]], Sequence[bool | None]]


@dataclass(frozen=True)
class Fewer:
    """The shortest list that was found to fail; `minimal`: no single one more was found to go."""

    ops: OpList
    minimal: bool


def fewer(ops: OpList, rounds: int, fails: Fails) -> Fewer:
    """Leave out what can go; `rounds` bounds how often `fails` is asked.

    Lists get run numbers of their own, from 1 on.
    """
    held: set[object] = set()  # lists that did not fail
    could: list[Cut] = []  # parts of `ops` that could go when it was longer
    for _ in range(rounds):
        cuts = _untried(ops, could, held)
        if not cuts:
            return Fewer(ops, minimal=True)
        lists = [replace(without(ops, cut), run=n) for n, cut in enumerate(cuts, start=1)]
        found = list(zip(cuts, lists, fails(lists), strict=True))
        held |= {each.threads for _, each, failed in found if failed is False}
        failing = [(cut, each) for cut, each, failed in found if failed]
        if not failing:
            could = []
            continue
        best, shortest = min(failing, key=lambda pair: len(list(pair[1].refs())))
        kept = [ref for ref in ops.refs() if ref not in _closed(ops, best)]
        could = [_renumbered(kept, cut) for cut, _ in failing if cut != best]
        ops = shortest
    return Fewer(ops, minimal=not _untried(ops, (), held))


def without(ops: OpList, cut: Cut) -> OpList:
    """The list less some operations, and less what makes no sense without them."""
    gone = _closed(ops, cut)
    threads = (
        tuple(op for index, op in enumerate(thread) if OpRef(number, index) not in gone)
        for number, thread in enumerate(ops.threads)
    )
    return replace(ops, threads=tuple(thread for thread in threads if thread))


def _closed(ops: OpList, cut: Cut) -> Cut:
    """The operations cut out, and barriers at which a thread would wait for itself alone."""
    meeting: dict[object, list[OpRef]] = {}
    for ref in ops.refs():
        if ops.op(ref).name == "barrier" and ref not in cut:
            meeting.setdefault(ops.op(ref).args[0], []).append(ref)
    alone = [refs[0] for refs in meeting.values() if len(refs) == 1]
    return cut | frozenset(alone)


def _untried(ops: OpList, could: Sequence[Cut], held: set[object]) -> list[Cut]:
    """What to leave out in a round: different, never everything, the most promising first."""
    refs = tuple(ops.refs())

    def sensible() -> Iterator[Cut]:
        asked = set(held)
        for cut in (*_unions(could), *_parts(ops, refs)):
            if not cut or len(_closed(ops, cut)) >= len(refs):
                continue
            threads = without(ops, cut).threads
            if threads not in asked:
                asked.add(threads)
                yield cut

    return list(islice(sensible(), _ROUND))


def _unions(could: Sequence[Cut]) -> Iterator[Cut]:
    """Parts that could go alone, together: all of them, each half, quarter and eighth."""
    for parts in (1, 2, 4, 8):
        size = -(-len(could) // parts)
        if size > 1:
            for begin in range(0, len(could), size):
                yield frozenset().union(*could[begin : begin + size])


def _parts(ops: OpList, refs: Sequence[OpRef]) -> Iterator[Cut]:
    """Threads, halves, quarters and eighths, and each of them alone; then the finest parts of which
    all fit into a round, and the finer ones.
    """
    everything = frozenset(refs)
    coarse = [frozenset(r for r in refs if r.thread == n) for n in range(len(ops.threads))]
    coarse = coarse if len(coarse) > 1 else []
    for parts in (2, 4, 8):
        coarse += _split(refs, -(-len(refs) // parts))
    for part in coarse:
        yield from (everything - part, part)
    size = -(-len(refs) // _FINE)
    while size:
        yield from _split(refs, size)
        size = -(-size // 2) if size > 1 else 0


def _split(refs: Sequence[OpRef], size: int) -> list[Cut]:
    return [frozenset(refs[begin : begin + size]) for begin in range(0, len(refs), size)]


def _renumbered(kept: Sequence[OpRef], wanted: Iterable[OpRef]) -> Cut:
    """Operations of the old list by their places in the new one, which has only those kept."""
    places: dict[OpRef, OpRef] = {}
    threads = list(dict.fromkeys(ref.thread for ref in kept))
    for ref in kept:
        mine = [each for each in kept if each.thread == ref.thread]
        places[ref] = OpRef(threads.index(ref.thread), mine.index(ref))
    return frozenset(places[ref] for ref in wanted if ref in places)
