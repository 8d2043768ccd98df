"""The reference model: what a file system holds after each operation.  Pure.

The model knows names, types, modes, owners, link counts, symlink targets and bytes; it knows no
blocks, no times and no order of writes.  An operation of a workload is one change of the names and
attributes (each is one system call on them), so a correct journal that replays whole transactions
leaves one of the model's moments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import UsageError
from harness.workloads.ops import filler_bytes, filler_line
from harness.workloads.scenario import Step

ROOT = ""  #: the path of the file system's root


@dataclass(frozen=True)
class Look:
    """What is compared of an object: everything but its bytes, its size and its times.

    `records` are extended attributes and the translator's record, by name, sorted.
    """

    kind: str  #: directory, regular or symlink
    mode: int  #: permission bits
    uid: int
    gid: int
    links: int
    target: str = ""
    records: tuple[tuple[str, bytes], ...] = ()

    def differences(self, other: Look) -> list[str]:
        """In words, what `other` has differently."""
        shown = ("kind", "mode", "uid", "gid", "links", "target", "records")
        return [
            f"{name} is {_show(name, getattr(other, name))} and should be "
            f"{_show(name, getattr(self, name))}"
            for name in shown
            if getattr(self, name) != getattr(other, name)
        ]


def _show(name: str, value: object) -> str:
    return f"{value:04o}" if name == "mode" else str(value)


@dataclass(frozen=True)
class Thing:
    """An object that a workload begins with; `names` are its paths, the root's being empty."""

    kind: str  #: directory, regular or symlink
    mode: int
    uid: int
    gid: int
    target: str
    data: bytes
    names: tuple[str, ...]


#: what mke2fs makes
FRESH = (
    Thing("directory", 0o755, 0, 0, "", b"", (ROOT,)),
    Thing("directory", 0o700, 0, 0, "", b"", ("lost+found",)),
)


@dataclass(frozen=True)
class Version:
    """The bytes that a file had from the operation number `since` on (-1: before the first)."""

    since: int
    data: bytes


@dataclass(frozen=True)
class Moment:
    """The file system after operation number `op` (-1: before the first).

    `looks` are all objects by path, the root being the empty one; `files` is the model's own
    number of the file at each path of a regular file, by which its versions are found.
    """

    op: int
    looks: Mapping[str, Look]
    files: Mapping[str, int]


@dataclass(frozen=True)
class History:
    """All moments of a workload in order, and the versions of every file's bytes.

    `touched` has for each operation the objects whose inode it changed, by the model's own
    numbers; `flushed` the object that it brought to the disk, if it is an fsync.
    """

    moments: tuple[Moment, ...]
    versions: Mapping[int, tuple[Version, ...]]
    touched: tuple[frozenset[int], ...]
    flushed: tuple[int | None, ...]


@dataclass
class _Inode:
    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    target: str = ""
    data: bytes = b""
    names: set[str] = field(default_factory=set)


class Model:
    """A file system in memory that operations are applied to."""

    def __init__(self, start: Iterable[Thing] = FRESH, *, group_of_folder: bool = False) -> None:
        """`group_of_folder`: a new object has the group of its folder (the Hurd), not of the
        process."""
        self._group_of_folder = group_of_folder
        self._inodes: dict[int, _Inode] = {}
        self._names: dict[str, int] = {}
        self._versions: dict[int, list[Version]] = {}
        named = []
        for number, each in enumerate(start):
            self._inodes[number] = _Inode(
                each.kind, each.mode, each.uid, each.gid, each.target, each.data
            )
            if each.kind == "regular":
                self._versions[number] = [Version(-1, each.data)]
            named += [(name, number) for name in each.names]
        for name, number in sorted(named):  # a folder comes before what is in it
            self._name(name, number)

    def apply(self, step: Step, number: int) -> list[Moment]:
        """Apply an operation; the moments that it leads through, none where no name changes.

        Raises `UsageError` as `change` does.
        """
        return [self.moment(number)] if self.change(step, number) else []

    def change(self, step: Step, number: int) -> bool:
        """Apply an operation; whether a name or an attribute changed.

        Raises `UsageError` when the file system would refuse it, or the model can't know it.
        """
        try:
            rule = _RULES[step.name]
        except KeyError as exc:
            raise UsageError(
                f"the reference model does not know what `{step.name}` does",
                hint=f"a campaign's workload is made of: {', '.join(sorted(_RULES))}",
            ) from exc
        try:
            return rule(self, step.action, number)
        except KeyError as exc:
            raise UsageError(f"operation {number}, {step.name}: there is no {exc}") from exc

    def moment(self, op: int) -> Moment:
        """The file system as it is now."""
        looks, files = {}, {}
        folders = Counter(
            path.rpartition("/")[0]
            for path, number in self._names.items()
            if path and self._inodes[number].kind == "directory"
        )
        for path, number in self._names.items():
            inode = self._inodes[number]
            is_folder = inode.kind == "directory"
            links = 2 + folders[path] if is_folder else len(inode.names)
            looks[path] = Look(inode.kind, inode.mode, inode.uid, inode.gid, links, inode.target)
            if inode.kind == "regular":
                files[path] = number
        return Moment(op, looks, files)

    def versions(self) -> dict[int, tuple[Version, ...]]:
        return {number: tuple(found) for number, found in self._versions.items()}

    @property
    def paths(self) -> dict[str, str]:
        """Kind by path, the root and lost+found left out."""
        return {
            path: self._inodes[number].kind
            for path, number in self._names.items()
            if path not in (ROOT, "lost+found")
        }

    def size(self, path: str) -> int:
        """Bytes of a regular file."""
        return len(self._inode(path).data)

    def number(self, path: str) -> int:
        """The model's own number of the object at a path, which renames don't change."""
        return self._names[path]

    def numbers(self, step: Step) -> frozenset[int]:
        """The objects at the paths that an operation names, and at their folders'."""
        action = step.action
        paths = [getattr(action, name, None) for name in ("path", "from_", "to")]
        if step.name == "symlink":
            paths = [action.to]  # the other is a text
        known = [path for path in paths if path is not None]
        known += [path.rpartition("/")[0] for path in known]
        return frozenset(self._names[path] for path in known if path in self._names)

    def is_empty(self, path: str) -> bool:
        return not any(name.startswith(f"{path}/") for name in self._names)

    def _inode(self, path: str) -> _Inode:
        return self._inodes[self._names[path]]

    def _add(self, path: str, inode: _Inode, op: int) -> None:
        if path in self._names:
            raise UsageError(f"operation {op}: {path} exists already")
        number = len(self._inodes)
        self._inodes[number] = inode
        self._name(path, number)
        if self._group_of_folder:
            inode.gid = self._inode(path.rpartition("/")[0]).gid
        if inode.kind == "regular":
            self._versions[number] = [Version(op, b"")]

    def _name(self, path: str, number: int) -> None:
        parent = path.rpartition("/")[0]
        if path and self._inodes[self._names[parent]].kind != "directory":
            raise UsageError(f"{path}: {parent} is no directory")
        self._names[path] = number
        self._inodes[number].names.add(path)

    def _drop(self, path: str) -> None:
        self._inodes[self._names.pop(path)].names.discard(path)

    def _write(self, path: str, data: bytes, op: int) -> None:
        number = self._names[path]
        self._inodes[number].data = data
        self._versions[number].append(Version(op, data))

    # Each rule says whether names or attributes changed.

    def mkdir(self, op: Any, number: int) -> bool:
        self._add(op.path, _Inode("directory", int(op.mode, 8)), number)
        return True

    def create(self, op: Any, number: int) -> bool:
        self._add(op.path, _Inode("regular", int(op.mode, 8) & 0o666), number)
        if op.size:
            self._write(op.path, filler_bytes(filler_line(op.path, op.mark), op.size), number)
        return True

    def overwrite(self, op: Any, number: int) -> bool:
        new = filler_bytes(filler_line(f"new {op.path}", op.mark), op.size)
        old = self._inode(op.path).data
        old = old.ljust(op.offset, b"\0")
        self._write(op.path, old[: op.offset] + new + old[op.offset + op.size :], number)
        return False

    def append(self, op: Any, number: int) -> bool:
        new = filler_bytes(filler_line(f"more {op.path}", op.mark), op.size)
        self._write(op.path, self._inode(op.path).data + new, number)
        return False

    def truncate(self, op: Any, number: int) -> bool:
        self._write(op.path, self._inode(op.path).data[: op.size].ljust(op.size, b"\0"), number)
        return False

    def rename(self, op: Any, number: int) -> bool:
        source, target = op.from_, op.to
        moved = self._names[source]
        if self._names.get(target) == moved:
            return False  # two names of one file: rename(2) does nothing
        if target in self._names:
            if not self.is_empty(target):
                raise UsageError(f"operation {number}: {target} is not empty")
            self._drop(target)
        for name in sorted(n for n in self._names if n == source or n.startswith(f"{source}/")):
            inode = self._names[name]
            self._drop(name)
            self._name(target + name[len(source) :], inode)
        return True

    def link(self, op: Any, number: int) -> bool:
        if op.to in self._names:
            raise UsageError(f"operation {number}: {op.to} exists already")
        self._name(op.to, self._names[op.from_])
        return True

    def symlink(self, op: Any, number: int) -> bool:
        self._add(op.to, _Inode("symlink", 0o777, target=op.from_), number)
        return True

    def unlink(self, op: Any, number: int) -> bool:
        self._drop(op.path)
        return True

    def rmdir(self, op: Any, number: int) -> bool:
        if not self.is_empty(op.path):
            raise UsageError(f"operation {number}: {op.path} is not empty")
        self._drop(op.path)
        return True

    def chmod(self, op: Any, number: int) -> bool:
        self._inode(op.path).mode = int(op.mode, 8)
        return True

    def chown(self, op: Any, number: int) -> bool:
        inode = self._inode(op.path)
        inode.uid, inode.gid = op.uid, op.gid
        return True

    def sync(self, op: Any, number: int) -> bool:
        return False

    def fsync(self, op: Any, number: int) -> bool:
        self._names[op.path]
        return False


_RULES: dict[str, Callable[[Model, Any, int], bool]] = {
    name: getattr(Model, name)
    for name in (
        *("mkdir", "create", "overwrite", "append", "truncate", "rename", "link", "symlink"),
        *("unlink", "rmdir", "chmod", "chown", "sync", "fsync"),
    )
}


def history(
    setup: Iterable[Step],
    steps: Iterable[Step],
    *,
    start: Iterable[Thing] = FRESH,
    group_of_folder: bool = False,
) -> History:
    """What a file system holds before and after each operation of `steps`.

    `start` and `group_of_folder` are as for `Model`.
    Raises `UsageError` for an operation that can't work or is not in the model.
    """
    model = Model(start, group_of_folder=group_of_folder)
    for step in setup:
        model.apply(step, -1)
    moments = [model.moment(-1)]
    touched, flushed = [], []
    for number, step in enumerate(steps):
        before = model.numbers(step)
        moments += model.apply(step, number)
        objects = before | model.numbers(step)
        is_fsync = step.name == "fsync"
        flushed.append(model.number(step.action.path) if is_fsync else None)
        touched.append(frozenset() if step.name in ("fsync", "sync") else objects)
    return History(tuple(moments), model.versions(), tuple(touched), tuple(flushed))
