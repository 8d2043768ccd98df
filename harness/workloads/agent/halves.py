"""Files on which an operation failed on its way: what of them is not known, and until when.  Pure.

A write or truncate that ended with ENOSPC, EIO, SIGBUS or the like has left any part of its work.
The doubt is a part of the moment, so what comes later ends it: a truncate that went through, or a
write behind all that the failed one may have done.
"""

from __future__ import annotations

from dataclasses import replace

from harness.workloads.agent.oplist import Op, OpRef
from harness.workloads.agent.rules import OK, Applied
from harness.workloads.agent.tree import REGULAR, Edit, Half, Node, Tree, merge_extents

#: operations of which a part may be there when they fail: they change a size, or bytes
IN_PART = frozenset({"write", "swrite", "append", "truncate", "mwrite"})


def half_done(tree: Tree, whole: Applied, op: Op) -> Applied:
    """A tree on which an operation failed that would have made `whole` of it.

    The file's size stays, for the model, and may be any up to what it would have become.  What a
    truncate would have cut off need not be there any more: no operation has written it.
    """
    if whole.errno != OK:
        return Applied(OK, tree)
    edit, halves = Edit(tree), tree.halves
    files = [n for n in whole.touched if tree.nodes[n].kind == REGULAR]
    for number in files:
        kept = tree.nodes[number].extents
        if op.name == "truncate":
            kept = merge_extents(kept, None, int(op.args[1]))
        edit.change(number, mtime=None, extents=kept)
        (low, high), (less, more) = tree.sizes(number), whole.tree.sizes(number)
        half = Half(min(low, less), max(high, more), _displaced(tree, number))
        halves = halves.set(number, half)
    return Applied(OK, replace(edit.done(), halves=halves), frozenset(files))


def followed(tree: Tree, done: Applied, ref: OpRef, op: Op) -> Applied:
    """What an operation that went through leaves of the doubt in the files that it touched."""
    halves = done.tree.halves
    for number in done.touched & set(tree.halves):
        node = done.tree.nodes.get(number)
        half = _after(tree.halves[number], node, ref, op) if node else None
        halves = halves.delete(number) if half is None else halves.set(number, half)
    return (
        done
        if halves is done.tree.halves
        else replace(done, tree=replace(done.tree, halves=halves))
    )


def _after(half: Half, node: Node, ref: OpRef, op: Op) -> Half | None:
    """The doubt in a file that an operation made `node`; None where there is none any more."""
    low, high, displaced = half
    if op.name in ("truncate", "open"):
        low = high = node.size
    elif op.name in ("write", "swrite"):
        end = int(op.args[1]) + int(op.args[2])
        low, high = max(low, end), max(high, end)
    elif op.name == "append":
        length = int(op.args[1])
        if low < high:
            displaced |= {ref}
        low, high = low + length, high + length
    return Half(low, high, displaced) if low < high or displaced else None


def _displaced(tree: Tree, number: int) -> frozenset[OpRef]:
    half = tree.halves.get(number)
    return half.displaced if half else frozenset()
