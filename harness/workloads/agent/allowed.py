"""Whether a recovered tree is one that a list may have left.  Pure.

`Allowed.judge` is the whole interface: names, types, modes, owners, links and targets as campaigns
see them (`harness.workloads.model.Look` by path), sizes of regular files, a position of the write
log.  A state is found by the digest of its tree, so its cost does not grow with the number of
operations.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.workloads.agent.orders import Cut, Moment, Orders
from harness.workloads.agent.tree import (
    DIRECTORY,
    REGULAR,
    Digest,
    Tree,
    add,
    directory_digest,
    entry_digest,
    file_digest,
)
from harness.workloads.model import Look

_COMPARED = 8  # moments, of those that a wrong tree might be nearest to
_WALKED = 400_000  # names of all moments that a crash may have left; about a second
_KEPT = 16  # of what such moments have in common


@dataclass(frozen=True)
class Steady:
    """What all moments have in common that a crash may leave.

    `objects` has by path what is the same in each: the node's number, its look, its size (None
    where sizes are not compared).  `gone` are paths that none of them has, and earlier ones have.
    `last` is one of them.
    """

    objects: Mapping[str, tuple[int, Look, int | None]]
    gone: frozenset[str]
    last: Moment


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
        self._latest = sorted(moment.latest for moment in orders.moments)
        self._steady: dict[tuple[Cut, int], Steady | None] = {}

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

    def steady(self, position: int, settled: int = 0) -> Steady | None:
        """What a crash at log position `position` must have left, whichever moment it left.

        Operations that were not acknowledged may be there or not: what they touch is not in it.
        None where too many moments are possible to go through them all.
        """
        floor = self.orders.floor(position, settled)
        key = floor, bisect.bisect_left(self._latest, position)
        if key not in self._steady:
            if len(self._steady) >= _KEPT:
                self._steady.clear()
            self._steady[key] = self._common(position, floor)
        return self._steady[key]

    def _common(self, position: int, floor: Cut) -> Steady | None:
        possible = [m for m in self.orders.moments if m.latest < position]
        due = [m for m in possible if _covers(m.cut, floor)] or possible[-1:]
        size = len(due[-1].tree.nodes)
        if len(due) * size > _WALKED:
            return None
        common: set[tuple[str, tuple[int, Look, int | None]]] | None = None
        now: set[str] = set()
        for moment in due:
            nodes = moment.tree.nodes
            own = {
                (path, (number, nodes[number].look, self._sized(moment.tree, number)))
                for path, number in moment.tree.walk()
            }
            now.update(path for path, _ in own)
            common = own if common is None else common & own
        # Of the earlier moments the last ones: what was gone long before is seldom back alone.
        earlier = [m for m in possible if not _covers(m.cut, floor)][-max(1, _WALKED // size) :]
        ever = {path for moment in earlier for path, _ in moment.tree.walk()}
        return Steady(dict(common or ()), frozenset(ever - now), due[-1])

    def _sized(self, tree: Tree, number: int) -> int | None:
        """A file's size, where the tree has to have it."""
        low, high = tree.sizes(number)
        loose = tree.nodes[number].kind != REGULAR or low != high
        return None if loose or not self._ordered_sizes else low

    def missing(
        self, steady: Steady, looks: Mapping[str, Look], sizes: Mapping[str, int]
    ) -> list[str]:
        """What a tree lacks of the acknowledged, in words; a name that is back is too much."""
        found = []
        for path, (_, look, size) in sorted(steady.objects.items()):
            if path not in looks:
                found.append(f"/{path} is absent")
                continue
            words = look.differences(looks[path])
            if size is not None and size != sizes.get(path):
                words.append(f"size is {sizes.get(path)} and should be {size}")
            if words:
                found.append(f"/{path}: {', '.join(words)}")
        back = sorted(steady.gone & looks.keys())
        return found + [f"/{path} is there and should be absent" for path in back]

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
        """Whether sizes differ only where an operation had begun and not gone through.

        A large write is several steps, each of which may be the last before a crash, or before an
        error.
        """
        tree = moment.tree
        wrong = {
            path: number
            for path, number in tree.walk()
            if tree.nodes[number].kind == REGULAR and tree.nodes[number].size != sizes[path]
        }
        bounds = {number: [*tree.sizes(number)] for number in wrong.values()}
        for _, span in self.orders.possible(moment.cut):
            if span.begin < position:
                after = self.orders.done(tree, span)
                for number in after.touched & bounds.keys():
                    there = number in after.tree.nodes
                    bounds[number] += after.tree.sizes(number) if there else (0, 0)
        return all(
            min(bounds[number]) <= sizes[path] <= max(bounds[number])
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
