"""Leave out operations of a list that fails, while it fails for the same cause.

Only the guest can say what a shorter list does.  Many lists share one boot, so a round asks it for
all of one size of cut and more: without each half, each quarter, ... each single operation, and
without all at once that could go alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from harness.workloads.agent.oplist import OpList, OpRef

#: lists of a round; a boot takes as long as a dozen of them
_ROUND = 60

#: for each list whether it fails as the first one did
Fails = Callable[[Sequence[OpList]], Sequence[bool]]


def fewer(ops: OpList, rounds: int, fails: Fails) -> OpList:
    """The shortest list that was found to fail; `ops` itself if none was.

    `rounds` bounds how often `fails` is asked.  Lists get run numbers of their own, from 1 on.
    """
    together: frozenset[OpRef] = frozenset()
    for _ in range(rounds):
        cuts = _cuts(ops, together)
        lists = [without(ops, cut) for cut in cuts]
        lists = [replace(each, run=n) for n, each in enumerate(lists, start=1)]
        if not lists:
            break
        failing = [n for n, failed in enumerate(fails(lists)) if failed]
        if not failing:
            break
        best = max(failing, key=lambda n: len(cuts[n]))
        rest = frozenset().union(*(cuts[n] for n in failing)) - cuts[best]
        kept = [ref for ref in ops.refs() if ref not in _closed(ops, cuts[best])]
        together = _renumbered(kept, rest)
        ops = lists[best]
    return ops


def without(ops: OpList, cut: frozenset[OpRef]) -> OpList:
    """The list less some operations, and less what makes no sense without them."""
    gone = _closed(ops, cut)
    threads = (
        tuple(op for index, op in enumerate(thread) if OpRef(number, index) not in gone)
        for number, thread in enumerate(ops.threads)
    )
    return replace(ops, threads=tuple(thread for thread in threads if thread))


def _closed(ops: OpList, cut: frozenset[OpRef]) -> frozenset[OpRef]:
    """The operations cut out, and barriers at which a thread would wait for itself alone."""
    meeting: dict[object, list[OpRef]] = {}
    for ref in ops.refs():
        if ops.op(ref).name == "barrier" and ref not in cut:
            meeting.setdefault(ops.op(ref).args[0], []).append(ref)
    alone = [refs[0] for refs in meeting.values() if len(refs) == 1]
    return cut | frozenset(alone)


def _cuts(ops: OpList, first: frozenset[OpRef]) -> list[frozenset[OpRef]]:
    """What to leave out in a round: different, never everything, most first."""
    refs = list(ops.refs())
    found: dict[frozenset[OpRef], None] = {}
    for cut in (first, *_parts(refs)):
        if cut and len(_closed(ops, cut)) < len(refs):
            found[cut] = None
    return list(found)[:_ROUND]


def _parts(refs: Sequence[OpRef]) -> Iterator[frozenset[OpRef]]:
    size = len(refs) // 2
    while size:
        for begin in range(0, len(refs), size):
            yield frozenset(refs[begin : begin + size])
        size //= 2


def _renumbered(kept: Sequence[OpRef], wanted: Iterable[OpRef]) -> frozenset[OpRef]:
    """Operations of the old list by their places in the new one, which has only those kept."""
    places: dict[OpRef, OpRef] = {}
    threads = list(dict.fromkeys(ref.thread for ref in kept))
    for ref in kept:
        mine = [each for each in kept if each.thread == ref.thread]
        places[ref] = OpRef(threads.index(ref.thread), mine.index(ref))
    return frozenset(places[ref] for ref in wanted if ref in places)
