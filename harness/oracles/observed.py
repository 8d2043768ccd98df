"""A recovered tree as the oracles of a campaign see it: looks, sizes, and names of contents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from harness.crash.blocks import BLOCK, ZERO_ID, block_id
from harness.disk.tree import Node, TreeReader, Unreadable
from harness.workloads.model import Look


@dataclass(frozen=True)
class FileSeen:
    """A regular file: bytes, and the name of each block's content.

    What lies behind the end of the file in its last block counts as zeros: nobody can read it.
    """

    size: int
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Observed:
    """A tree after recovery.

    `strange` has the bytes of contents that the workload's model does not know, by name.
    `unreadable` says why there is no tree.
    """

    looks: Mapping[str, Look]
    files: Mapping[str, FileSeen]
    strange: Mapping[int, bytes] = field(default_factory=dict)
    unreadable: str = ""
    times: Mapping[str, int] = field(default_factory=dict)  #: of last modification, in seconds

    def digest(self) -> str:
        """A name for the tree, its times left out: equal for equal trees."""
        parts = [self.unreadable]
        for path in sorted(self.looks):
            parts.append(f"{path}\0{self.looks[path]}\0{self.files.get(path)}")
        return blake2b("\n".join(parts).encode(errors="replace"), digest_size=16).hexdigest()


def observe(reader: TreeReader, block: Callable[[int], bytes], known: frozenset[int]) -> Observed:
    """Read a tree.  `block` gives the bytes of a disk's block, `known` are the model's contents."""
    try:
        nodes = reader.read()
        files: dict[str, FileSeen] = {}
        strange: dict[int, bytes] = {}
        for path, node in nodes.items():
            if node.kind == "regular":
                files[path] = _file(node, reader, block, known, strange)
    except Unreadable as exc:
        return Observed({}, {}, unreadable=str(exc))
    looks = {path: _look(node) for path, node in nodes.items()}
    return Observed(looks, files, strange, times={p: node.mtime for p, node in nodes.items()})


def _look(node: Node) -> Look:
    return Look(node.kind, node.mode, node.uid, node.gid, node.links, node.target, node.records)


def _file(
    node: Node,
    reader: TreeReader,
    block: Callable[[int], bytes],
    known: frozenset[int],
    strange: dict[int, bytes],
) -> FileSeen:
    contents = [ZERO_ID if name is None else name for name in node.blocks]
    tail = node.size % BLOCK
    last = len(contents) - 1
    if not all(content in known for content in contents[:last]) or (
        contents and (tail or contents[last] not in known)
    ):
        places = reader.file_blocks(node.inode)
        for index, place in enumerate(places):
            partial = tail and index == last
            if place is None or not (partial or contents[index] not in known):
                continue
            data = block(place)
            if partial:
                data = data[:tail].ljust(BLOCK, b"\0")
                contents[index] = block_id(data)
            if contents[index] not in known:
                strange[contents[index]] = data
    return FileSeen(node.size, tuple(contents))
