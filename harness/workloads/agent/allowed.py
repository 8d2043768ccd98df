"""Whether a recovered tree is one that a list may have left.  Pure.

`Allowed.judge` is the whole interface: names, types, modes, owners, links and targets as campaigns
see them (`harness.workloads.model.Look` by path), sizes of regular files, a position of the write
log.  A state is found by the digest of its tree, so its cost does not grow with the number of
operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.workloads.agent.orders import Cut, Moment, Orders
from harness.workloads.agent.tree import (
    DIRECTORY,
    REGULAR,
    Digest,
    add,
    directory_digest,
    entry_digest,
    file_digest,
)
from harness.workloads.model import Look

_COMPARED = 8  # moments, of those that a wrong tree might be nearest to


@dataclass(frozen=True)
class Verdict:
    """What is known of a tree.

    `prefix` is a moment that it equals, of those that had begun; `durable` one of those that also
    have all that was acknowledged.  `nearest` is the moment that it differs least from where it
    equals none, and `differences` are in words, the tree's own things first.
    """

    prefix: Moment | None
    durable: Moment | None
    nearest: Moment | None = None
    differences: tuple[str, ...] = ()


class Allowed:
    """Judges trees of one list's crash states."""

    def __init__(self, orders: Orders, *, ordered_sizes: bool = True) -> None:
        """`ordered_sizes`: a file's size is committed in order with the names.

        That is so where a write allocates at once (ext3, the Hurd); with delayed allocation (ext4)
        a size comes late, and sizes are not compared.
        """
        self.orders = orders
        self._ordered_sizes = ordered_sizes

    def judge(
        self,
        position: int,
        looks: Mapping[str, Look],
        sizes: Mapping[str, int],
        settled: int = 0,
        times: Mapping[str, int] | None = None,
    ) -> Verdict:
        """Judge the tree of a crash at log position `position`.

        `looks` has every object by path, the root being the empty one; `sizes` the bytes of regular
        files.  `settled` is as for `Orders.floor`.  `times` are of last modification: where the
        list set one, and nothing changed it since, a moment has to have it.
        """
        floor = self.orders.floor(position, settled)
        found = [m for m in self._equal(position, looks, sizes) if m.latest < position]
        prefix = found[0] if found else None
        due = [m for m in found if _covers(m.cut, floor)]
        durable = next((m for m in due if not self._late(m, times)), None)
        if due and durable is None:
            return Verdict(prefix, None, due[0], tuple(self._late(due[0], times)))
        if durable is not None:
            return Verdict(durable, durable)
        nearest = self._nearest(position, floor, looks)
        return Verdict(prefix, None, nearest, tuple(self._differences(nearest, looks, sizes)))

    def _equal(
        self, position: int, looks: Mapping[str, Look], sizes: Mapping[str, int]
    ) -> Iterator[Moment]:
        """The moments that a tree equals."""
        digest = tree_digest(looks, sizes)
        if digest is None:
            return
        if not self._ordered_sizes:
            yield from self.orders.by_core.get(digest.core, ())
            return
        yield from self.orders.by_sized.get(digest.sized, ())
        for moment in self.orders.by_core.get(digest.core, ()):
            other = moment.tree.digest.sized != digest.sized
            if other and moment.latest < position and self._partly(position, moment, sizes):
                yield moment

    def _partly(self, position: int, moment: Moment, sizes: Mapping[str, int]) -> bool:
        """Whether sizes differ only where an operation that had begun was on its way.

        A large write is several steps, each of which may be the last before a crash.
        """
        tree = moment.tree
        wrong = {
            path: number
            for path, number in tree.walk()
            if tree.nodes[number].kind == REGULAR and tree.nodes[number].size != sizes[path]
        }
        bounds: dict[int, list[int]] = {}
        for _, span in self.orders.possible(moment.cut):
            if span.begin < position:
                after = self.orders.done(tree, span)
                for number in after.touched & set(wrong.values()):
                    node = after.tree.nodes.get(number)
                    bounds.setdefault(number, []).append(node.size if node else 0)
        return all(
            any(
                min(tree.nodes[number].size, size)
                <= sizes[path]
                <= max(tree.nodes[number].size, size)
                for size in bounds.get(number, ())
            )
            for path, number in wrong.items()
        )

    def _late(self, moment: Moment, times: Mapping[str, int] | None) -> list[str]:
        """The times of last modification that are others than a moment has, in words.

        Several threads' operations may come in orders that the tree does not show, so there none
        is compared.
        """
        if times is None or len(moment.cut) > 1:
            return []
        nodes = moment.tree.nodes
        known = ((p, nodes[n].mtime) for p, n in moment.tree.walk() if nodes[n].mtime is not None)
        return [
            f"/{path}: mtime is {times.get(path)} and should be {due}"
            for path, due in known
            if times.get(path) != due
        ]

    def _nearest(self, position: int, floor: Cut, looks: Mapping[str, Look]) -> Moment:
        """The allowed moment that a tree differs least from (the last of them, if none is)."""
        possible = [m for m in self.orders.moments if m.latest < position]
        due = [m for m in possible if _covers(m.cut, floor)] or possible[-1:]
        due = due[:1] + due[-_COMPARED:]
        own = set(looks.items())

        def distance(moment: Moment) -> int:
            tree = moment.tree
            return len(own ^ {(path, tree.nodes[n].look) for path, n in tree.walk()})

        return min(due, key=distance)

    def _differences(
        self, moment: Moment, looks: Mapping[str, Look], sizes: Mapping[str, int]
    ) -> Iterator[str]:
        tree = moment.tree
        paths = tree.paths()
        for path in sorted(paths.keys() | looks.keys()):
            if path not in looks:
                yield f"/{path} is absent"
            elif path not in paths:
                yield f"/{path} is there and should be absent"
            else:
                node = tree.nodes[paths[path]]
                words = node.look.differences(looks[path])
                if self._ordered_sizes and node.kind == REGULAR and node.size != sizes.get(path):
                    words.append(f"size is {sizes.get(path)} and should be {node.size}")
                if words:
                    yield f"/{path}: {', '.join(words)}"


def tree_digest(looks: Mapping[str, Look], sizes: Mapping[str, int]) -> Digest | None:
    """The digest of a tree that was read; None when its paths are no tree."""
    children: dict[str, list[str]] = {}
    for path in looks:
        if path:
            children.setdefault(path.rpartition("/")[0], []).append(path)
    if "" not in looks or not children.keys() <= looks.keys():
        return None

    def digest(path: str, look: Look) -> Digest:
        if look.kind != DIRECTORY:
            return file_digest(look, sizes.get(path, 0))
        below = Digest(0, 0)
        for child in children.get(path, ()):
            name = child.rpartition("/")[2]
            below = add(below, entry_digest(name, digest(child, looks[child])))
        return directory_digest(look, below)

    return digest("", looks[""])


def _covers(cut: Cut, floor: Cut) -> bool:
    return all(done >= due for done, due in zip(cut, floor, strict=True))


def looks_of(moment: Moment) -> tuple[dict[str, Look], dict[str, int]]:
    """A moment as `judge` takes trees: looks, and sizes of regular files."""
    tree = moment.tree
    paths: Sequence[tuple[str, int]] = list(tree.walk())
    looks = {path: tree.nodes[number].look for path, number in paths}
    sizes = {p: tree.nodes[n].size for p, n in paths if tree.nodes[n].kind == REGULAR}
    return looks, sizes
