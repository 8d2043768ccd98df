"""Whether the operations of a list ended as they may on a healthy disk.  Pure.

A list has no injected faults, so a file system that answers EIO, EROFS or ENOMEM is broken, however
well it keeps what it acknowledged: it may have acknowledged nothing.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

from harness.workloads.agent.marks import Span
from harness.workloads.agent.orders import CIRCUMSTANCES, Moment, Orders
from harness.workloads.agent.rules import apply, same_answer

#: names that an inode may have: EXT2_LINK_MAX; the Hurd's ext2fs and Linux' ext2 stop there
_LINKS = 32_000
#: operations that the walk through the orders leaves out, and that can fail
_SYNCS = frozenset({"fsync", "fdatasync", "syncfs", "msync"})
_LINKING = frozenset({"link", "mkdir", "rename"})


def wrong_answers(orders: Orders, *, full_disk: bool = False) -> tuple[str, ...]:
    """The operations that ended as they can't, in words, in the order of their begins.

    `full_disk`: the list may fill its disk, so ENOSPC is an answer, and SIGBUS of a write through a
    mapping.
    """
    refused = sorted(_refused(orders, full_disk=full_disk), key=lambda span: span.begin)
    found = [
        f"operation {span.ref.index} of thread {span.ref.thread} ({orders.ops.op(span.ref)}) ended "
        f"with {span.errno}, and nothing calls for that"
        for span in refused
    ]
    return (*found, orders.contradiction) if orders.contradiction else tuple(found)


def _refused(orders: Orders, *, full_disk: bool) -> Iterator[Span]:
    """Of what the walk through the orders leaves out: circumstances, and syncs."""
    quiet: list[Span] = []
    for ref, span in orders.journal.spans.items():
        if span.end is None:
            continue
        if span.errno in CIRCUMSTANCES:
            if not _excused(orders, span, full_disk=full_disk):
                yield span
        elif orders.ops.op(ref).name in _SYNCS:
            quiet.append(span)
    if quiet and not orders.contradiction:
        yield from _odd(orders, quiet)


def _excused(orders: Orders, span: Span, *, full_disk: bool) -> bool:
    name = orders.ops.op(span.ref).name
    if span.errno == "EMLINK" and name in _LINKING:
        names = sum(orders.ops.op(ref).name in _LINKING for ref in orders.ops.refs())
        return names >= _LINKS - 2  # a new directory has two
    return full_disk and (span.errno == "ENOSPC" or (span.errno, name) == ("SIGBUS", "mwrite"))


def _odd(orders: Orders, syncs: Sequence[Span]) -> Iterator[Span]:
    """Syncs whose result is the model's at no moment at which they may have been called."""
    moments: dict[tuple[int, int], list[Moment]] = {}
    for moment in orders.moments:
        for place in enumerate(moment.cut):
            moments.setdefault(place, []).append(moment)
    indices = [[span.ref.index for span in spans] for spans in orders.threads]
    for span in syncs:
        thread, op = span.ref.thread, orders.ops.op(span.ref)
        before = bisect.bisect_left(indices[thread], span.ref.index)
        if not any(
            same_answer(apply(moment.tree, span.ref, op, orders.semantics).errno, span.errno)
            for moment in moments.get((thread, before), ())
        ):
            yield span
