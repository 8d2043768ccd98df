"""The model's tree: files and names as one immutable value, cheap to change and to compare.  Pure.

A tree shares all that did not change with the one that it was made from, so that the tree after
each of thousands of operations can be kept.  Each node has a digest of itself and of everything
below it, so two trees are compared in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from immutables import Map

from harness.workloads.agent.oplist import OpRef
from harness.workloads.model import Look

ROOT = 1
LOST_AND_FOUND = 2
DIRECTORY, REGULAR, SYMLINK, FIFO = "directory", "regular", "symlink", "fifo"
_MASK = (1 << 64) - 1


class Extent(NamedTuple):
    """A file's bytes from `start` to before `end`, written by `ref`.  What is in none is zero."""

    start: int
    end: int
    ref: OpRef


class Half(NamedTuple):
    """A file on which an operation failed on its way: its size is from `low` to `high` bytes.

    What the operations `displaced` appended is not at its place in the model, but behind whatever
    part there was.
    """

    low: int
    high: int
    displaced: frozenset[OpRef] = frozenset()


class Digest(NamedTuple):
    """Of a node and all below it, without and with the sizes of regular files."""

    core: int
    sized: int


_NO_NAMES: Map[str, int] = Map()
_NO_PLACES: Map[tuple[int, str], None] = Map()
_NO_SLOTS: Map[tuple[int, int], tuple[int, frozenset[str]]] = Map()
_NO_HALVES: Map[int, Half] = Map()
_NO_WEIGHTS: Map[int, int] = Map()
_ZERO = Digest(0, 0)


@dataclass(frozen=True)
class Node:
    """A file, a directory, ...

    `kind` is directory, regular, symlink or fifo, `mode` the permission bits (12), `links` the link
    count, `target` where a symlink points.  `records` are extended attributes and the translator by
    name, sorted.  `mtime` is in no digest; None where nobody set it.  `entries` are a directory's
    names, `names` where the node itself is found.
    """

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    links: int = 1
    size: int = 0  #: bytes; of regular files only
    target: str = ""
    records: tuple[tuple[str, bytes], ...] = ()
    mtime: int | None = None
    extents: tuple[Extent, ...] = ()
    entries: Map[str, int] = _NO_NAMES
    names: Map[tuple[int, str], None] = _NO_PLACES
    weights: Map[int, int] = _NO_WEIGHTS  #: of its names in each directory, summed
    opened: int = 0  #: how many slots have it open
    below: Digest = _ZERO  #: the sum over `entries`
    digest: Digest = _ZERO

    @property
    def look(self) -> Look:
        return Look(self.kind, self.mode, self.uid, self.gid, self.links, self.target, self.records)


@dataclass(frozen=True)
class Tree:
    """A file system: nodes by the model's own numbers, the threads' open files, half-done files.

    A new node's number says which operation made it, so it is the same in whatever order the
    threads' operations came.
    """

    nodes: Map[int, Node]
    slots: Map[tuple[int, int], tuple[int, frozenset[str]]] = _NO_SLOTS
    halves: Map[int, Half] = _NO_HALVES

    def sizes(self, number: int) -> tuple[int, int]:
        """The least and the largest size that a file may have, in bytes."""
        half, size = self.halves.get(number), self.nodes[number].size
        return (half.low, half.high) if half else (size, size)

    @property
    def digest(self) -> Digest:
        return self.nodes[ROOT].digest

    def walk(self) -> Iterator[tuple[str, int]]:
        """Every path with its node's number, the root being the empty path; parents first."""
        todo = [("", ROOT)]
        while todo:
            path, number = todo.pop()
            yield path, number
            prefix = f"{path}/" if path else ""
            todo += [(prefix + name, child) for name, child in self.nodes[number].entries.items()]

    def paths(self) -> dict[str, int]:
        return dict(self.walk())


def attribute_digest(look: Look) -> int:
    """The digest of an object's own attributes."""
    return _hash(repr(look))


def file_digest(look: Look, size: int) -> Digest:
    """The digest of anything but a directory; `size` counts for a regular file."""
    core = attribute_digest(look)
    return Digest(core, _hash(f"{core} {size}") if look.kind == REGULAR else core)


def directory_digest(look: Look, below: Digest) -> Digest:
    """The digest of a directory; `below` is the sum over its entries."""
    own = attribute_digest(look)
    return Digest((own + below.core * 3) & _MASK, (own + below.sized * 3) & _MASK)


def entry_digest(name: str, child: Digest) -> Digest:
    """What a name adds to its directory's sum.

    It is a product, so that a change of a file with thousands of names is one step for each of
    their directories.
    """
    return _times(child, weight(name))


@lru_cache(maxsize=65536)
def weight(name: str) -> int:
    """A number for a name."""
    return _hash(name)


def _times(digest: Digest, factor: int) -> Digest:
    return Digest(digest.core * factor & _MASK, digest.sized * factor & _MASK)


def add(one: Digest, other: Digest, sign: int = 1) -> Digest:
    return Digest((one.core + sign * other.core) & _MASK, (one.sized + sign * other.sized) & _MASK)


def _hash(text: str) -> int:
    raw = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "little")


def fresh(lost_and_found: bool = True, root_mode: int = 0o755) -> Tree:
    """An empty file system, as mke2fs leaves it; without lost+found an empty directory."""
    edit = Edit(Tree(Map()))
    edit.put(ROOT, Node(DIRECTORY, root_mode, links=2))
    if lost_and_found:
        edit.put(LOST_AND_FOUND, Node(DIRECTORY, 0o700, links=2))
        edit.enter(ROOT, "lost+found", LOST_AND_FOUND)
        edit.change(ROOT, links=3)
    return edit.done()


class Edit:
    """Changes that make one tree from another, with all digests kept right.

    `touched` are the numbers of the nodes whose own content changed: an fsync of one of them has
    something to write.
    """

    def __init__(self, tree: Tree) -> None:
        self._nodes = tree.nodes.mutate()
        self._slots = tree.slots
        self._halves = tree.halves
        self.touched: set[int] = set()

    @property
    def known(self) -> set[int]:
        """The touched nodes that are still there and have a known time."""
        nodes = {number: self._nodes.get(number) for number in self.touched}
        return {n for n, node in nodes.items() if node is not None and node.mtime is not None}

    def done(self) -> Tree:
        return Tree(self._nodes.finish(), self._slots, self._halves)

    def node(self, number: int) -> Node:
        return self._nodes[number]

    def put(self, number: int, node: Node) -> None:
        """A new node, without a name yet."""
        self._nodes[number] = replace(node, digest=_digest(node))
        self.touched.add(number)

    def change(self, number: int, **fields: object) -> None:
        """Give a node other fields; names and entries have their own ways."""
        self.touched.add(number)
        self._replace(number, **fields)

    def enter(self, folder: int, name: str, child: int) -> None:
        """Make a name; link counts are the caller's."""
        self._add(folder, name, child, +1)
        node = self.node(child)
        heavier = node.weights.set(folder, node.weights.get(folder, 0) + weight(name))
        self._replace(child, names=node.names.set((folder, name), None), weights=heavier)

    def leave(self, folder: int, name: str) -> int:
        """Remove a name; the number of the node that it named, which stays."""
        child = self.node(folder).entries[name]
        self._add(folder, name, child, -1)
        node = self.node(child)
        lighter = node.weights.set(folder, node.weights[folder] - weight(name))
        self._replace(child, names=node.names.delete((folder, name)), weights=lighter)
        return child

    def drop(self, number: int) -> None:
        """Forget a node that has neither name nor open file."""
        del self._nodes[number]

    def open(self, key: tuple[int, int], number: int, flags: frozenset[str]) -> None:
        self._slots = self._slots.set(key, (number, flags))
        self._replace(number, opened=self.node(number).opened + 1)

    def close(self, key: tuple[int, int]) -> int:
        number, _ = self._slots[key]
        self._slots = self._slots.delete(key)
        self._replace(number, opened=self.node(number).opened - 1)
        return number

    def _add(self, folder: int, name: str, child: int, sign: int) -> None:
        node = self.node(folder)
        entries = node.entries.set(name, child) if sign > 0 else node.entries.delete(name)
        below = add(node.below, entry_digest(name, self.node(child).digest), sign)
        self.touched.add(folder)
        self._replace(folder, entries=entries, below=below)

    def _replace(self, number: int, **fields: object) -> None:
        """Put a changed node in place, and its new digest into all directories above."""
        old = self.node(number)
        new = replace(old, **fields)  # type: ignore[arg-type]
        new = replace(new, digest=_digest(new))
        self._nodes[number] = new
        if new.digest == old.digest:
            return
        difference = add(new.digest, old.digest, -1)
        for folder, factor in new.weights.items():
            if factor:
                below = add(self.node(folder).below, _times(difference, factor))
                self._replace(folder, below=below)


def _digest(node: Node) -> Digest:
    if node.kind == DIRECTORY:
        return directory_digest(node.look, node.below)
    return file_digest(node.look, node.size)


def merge_extents(extents: Iterable[Extent], new: Extent | None, size: int) -> tuple[Extent, ...]:
    """Extents after a write (`new`), cut off at `size`."""
    kept: list[Extent] = []
    for old in extents:
        parts = [old]
        if new is not None:
            parts = [Extent(old.start, min(old.end, new.start), old.ref)]
            parts += [Extent(max(old.start, new.end), old.end, old.ref)]
        kept += [Extent(p.start, min(p.end, size), p.ref) for p in parts]
    kept += [new] if new is not None else []
    return tuple(sorted(e for e in kept if e.start < e.end))


def numbers(thread: int, index: int) -> int:
    """The number of the node that an operation makes."""
    return (thread + 1) << 32 | index
