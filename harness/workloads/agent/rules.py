"""What each operation does to the tree, by POSIX: one function each.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.workloads.agent.lookup import Failed, Lookup
from harness.workloads.agent.oplist import Op, OpRef, Value
from harness.workloads.agent.tree import (
    DIRECTORY,
    FIFO,
    REGULAR,
    ROOT,
    SYMLINK,
    Extent,
    Node,
    Tree,
    merge_extents,
    numbers,
)

OK = "OK"
TRANSLATOR = "gnu.translator"  #: the name under which a translator's record is kept
#: errors between which systems may choose: of a directory that is no file, or not empty
_ALIKE = (frozenset({"EPERM", "EISDIR"}), frozenset({"EEXIST", "ENOTEMPTY"}))
_USER = "user."  #: the space of extended attributes that every file system with them has


@dataclass(frozen=True)
class Semantics:
    """Where systems differ."""

    #: new files take the group of their directory (the Hurd), or that of the process (Linux)
    group_of_folder: bool = False
    #: extended attributes and translator records
    xattrs: bool = True
    translators: bool = False
    #: sync(2) returns when all is on the disk; the Hurd's only asks the root's file system to begin
    sync_waits: bool = True


LINUX = Semantics()
HURD = Semantics(group_of_folder=True, xattrs=False, translators=True, sync_waits=False)


@dataclass(frozen=True)
class Applied:
    """What came of an operation: its result, the tree after it, and which nodes changed."""

    errno: str
    tree: Tree
    touched: frozenset[int] = frozenset()


def apply(tree: Tree, ref: OpRef, op: Op, semantics: Semantics = LINUX) -> Applied:
    """Do an operation as root with the umask 0."""
    rules = _Rules(tree, ref, semantics)
    try:
        _RULES[op.name](rules, *op.args)
    except Failed as exc:
        return Applied(str(exc), tree)
    edit = rules.edit
    if op.name not in _KEEP_TIMES:
        for number in edit.known:  # whatever else touches a node may set its time
            edit.change(number, mtime=None)
    if not edit.touched and not rules.bound:
        return Applied(OK, tree)
    return Applied(OK, edit.done(), frozenset(edit.touched))


def same_answer(due: str, found: str) -> bool:
    """Whether an operation may end with `found` where the model says `due`.

    POSIX lets a system choose between two names in some places; and where a feature lacks, a system
    may look for the object first.
    """
    if OK in (due, found):
        return due == found
    return due in (found, "ENOTSUP") or any({due, found} <= names for names in _ALIKE)


def object_of(tree: Tree, thread: int, target: Value) -> int | None:
    """The number of the node that a target means, if there is one."""
    try:
        return _Rules(tree, OpRef(thread, 0), LINUX).target(target)
    except Failed:
        return None


class _Rules(Lookup):
    """An operation at work on a tree."""

    def __init__(self, tree: Tree, ref: OpRef, semantics: Semantics) -> None:
        super().__init__(tree, ref)
        self.bound = False  #: whether a slot changed
        self._semantics = semantics

    # Making and removing names

    def _new(self, folder: int, name: str, node: Node) -> int:
        parent = self._node(folder)
        if self._semantics.group_of_folder or parent.mode & 0o2000:
            setgid = parent.mode & 0o2000 if node.kind == DIRECTORY else 0
            setgid = 0 if self._semantics.group_of_folder else setgid
            node = _with(node, gid=parent.gid, mode=node.mode | setgid)
        number = numbers(self._ref.thread, self._ref.index)
        self.edit.put(number, node)
        self.edit.enter(folder, name, number)
        if node.kind == DIRECTORY:
            self.edit.change(folder, links=parent.links + 1)
        return number

    def _free(self, path: str) -> tuple[int, str]:
        """Where a new name goes; EEXIST when there is one."""
        folder, name, found = self._find(path, follow=False)
        if found is not None:
            raise Failed("EEXIST")
        return folder, name

    def _remove(self, folder: int, name: str) -> None:
        """Remove a name, and what nobody has any more."""
        child = self.edit.leave(folder, name)
        node = self._node(child)
        if node.kind == DIRECTORY:
            self.edit.change(child, links=0)
            self.edit.change(folder, links=self._node(folder).links - 1)
        else:
            self.edit.change(child, links=node.links - 1)
        self._forget(child)

    def _forget(self, number: int) -> None:
        node = self._node(number)
        if not node.names and not node.opened and number != ROOT:
            self.edit.drop(number)

    def creat(self, path: str, mode: int) -> None:
        self._new(*self._free(path), Node(REGULAR, mode))

    def mkdir(self, path: str, mode: int) -> None:
        self._new(*self._free(path), Node(DIRECTORY, mode, links=2))

    def mkfifo(self, path: str, mode: int) -> None:
        self._new(*self._free(path), Node(FIFO, mode))

    def symlink(self, target: str, path: str) -> None:
        self._new(*self._free(path), Node(SYMLINK, 0o777, target=target))

    def link(self, old: str, new: str) -> None:
        number = self._look(old, follow=False)
        folder, name = self._free(new)
        if self._node(number).kind == DIRECTORY:
            raise Failed("EPERM")
        self.edit.change(number, links=self._node(number).links + 1)
        self.edit.enter(folder, name, number)

    def unlink(self, path: str) -> None:
        folder, name, found = self._find(path, follow=False)
        if found is None:
            raise Failed("ENOENT")
        if self._node(found).kind == DIRECTORY:
            raise Failed("EISDIR")
        self._remove(folder, name)

    def rmdir(self, path: str) -> None:
        folder, name, found = self._find(path, follow=False)
        if found is None:
            raise Failed("ENOENT")
        if self._node(found).kind != DIRECTORY:
            raise Failed("ENOTDIR")
        if not name:
            raise Failed("EINVAL")
        if self._node(found).entries:
            raise Failed("ENOTEMPTY")
        self._remove(folder, name)

    def rename(self, old: str, new: str) -> None:
        folder, name, moved = self._find(old, follow=False)
        onto, new_name, there = self._find(new, follow=False)
        if not name or not new_name:
            raise Failed("EBUSY")
        if moved is None:
            raise Failed("ENOENT")
        if moved in self._above(onto):
            raise Failed("EINVAL")
        if there is not None and there in self._above(folder):
            raise Failed("ENOTEMPTY")
        if there == moved:
            return
        self._check_over(moved, there)
        if there is not None:
            self._remove(onto, new_name)
        self.edit.leave(folder, name)
        self.edit.enter(onto, new_name, moved)
        if self._node(moved).kind == DIRECTORY and folder != onto:
            self.edit.change(folder, links=self._node(folder).links - 1)
            self.edit.change(onto, links=self._node(onto).links + 1)
        self.edit.touched.add(moved)

    def _check_over(self, moved: int, there: int | None) -> None:
        """Whether a node may take the place of another."""
        if there is None:
            return
        is_folder = self._node(moved).kind == DIRECTORY
        if is_folder and self._node(there).kind != DIRECTORY:
            raise Failed("ENOTDIR")
        if not is_folder and self._node(there).kind == DIRECTORY:
            raise Failed("EISDIR")
        if self._node(there).entries:
            raise Failed("ENOTEMPTY")

    def _above(self, number: int) -> list[int]:
        """A directory and those that it is in."""
        found = [number]
        while found[-1] != ROOT:
            above = next((folder for folder, _ in self._node(found[-1]).names), ROOT)
            found.append(above)
        return found

    # Open files

    def open(self, slot: int, path: str, flags: str, mode: int) -> None:
        words = frozenset(flags.split("+"))
        key = (self._ref.thread, slot)
        if key in self._tree.slots:
            raise Failed("EBUSY")
        writes = bool(words & {"wr", "rdwr"})
        exclusive = {"creat", "excl"} <= words
        folder, name, found = self._find(path, follow=not exclusive)
        if found is None and "creat" not in words:
            raise Failed("ENOENT")
        if found is not None:
            if exclusive:
                raise Failed("EEXIST")
            self._check_open(found, writes or "creat" in words)
            if "trunc" in words and self._node(found).kind == REGULAR:
                self._resize(found, 0)
        number = self._new(folder, name, Node(REGULAR, mode)) if found is None else found
        self.edit.open(key, number, words)
        self.bound = True

    def _check_open(self, number: int, writes: bool) -> None:
        kind = self._node(number).kind
        if kind == DIRECTORY and writes:
            raise Failed("EISDIR")
        if kind == FIFO and writes:
            raise Failed("ENXIO")

    def close(self, slot: int) -> None:
        key = (self._ref.thread, slot)
        if key not in self._tree.slots:
            raise Failed("EBADF")
        self._forget(self.edit.close(key))
        self.bound = True

    # Contents

    def truncate(self, target: Value, size: int) -> None:
        number = self.target(target)
        kind = self._node(number).kind
        if isinstance(target, int):
            self._writable(target)
        if kind != REGULAR:
            raise Failed("EISDIR" if kind == DIRECTORY else "EINVAL")
        self._resize(number, size)

    def _writable(self, slot: int) -> None:
        """ftruncate answers a file that is not open for writing with EINVAL."""
        if self._flags(slot).isdisjoint({"wr", "rdwr"}):
            raise Failed("EINVAL")

    def _flags(self, slot: int) -> frozenset[str]:
        return self._tree.slots[self._ref.thread, slot][1]

    def _resize(self, number: int, size: int) -> None:
        extents = merge_extents(self._node(number).extents, None, size)
        self.edit.change(number, size=size, extents=extents)

    def _file(self, target: Value, need: str) -> int:
        number = self.target(target, need)
        kind = self._node(number).kind
        if kind != REGULAR:
            raise Failed("EISDIR" if kind == DIRECTORY else "ENXIO")
        return number

    def write(self, target: Value, offset: int, length: int) -> None:
        self._write(self._file(target, "wr"), offset, length)

    swrite = write

    def append(self, target: Value, length: int) -> None:
        number = self._file(target, "wr")
        self._write(number, self._node(number).size, length)

    def _write(self, number: int, offset: int, length: int) -> None:
        node = self._node(number)
        size = max(node.size, offset + length)
        extents = merge_extents(node.extents, Extent(offset, offset + length, self._ref), size)
        self.edit.change(number, size=size, extents=extents)

    def mwrite(self, target: Value, offset: int, length: int) -> None:
        self._write(self._mapped(target, offset, length), offset, length)

    def msync(self, target: Value, offset: int, length: int) -> None:
        self._mapped(target, offset, length)

    def _mapped(self, target: Value, offset: int, length: int) -> int:
        """A file to map: the agent refuses a range that the file does not have."""
        number = self._file(target, "")
        if offset + length > self._node(number).size:
            raise Failed("EINVAL")
        if isinstance(target, int) and "rdwr" not in self._flags(target):
            raise Failed("EACCES")
        return number

    # Attributes

    def chmod(self, target: Value, mode: int) -> None:
        self.edit.change(self.target(target), mode=mode)

    def chown(self, target: Value, uid: int, gid: int) -> None:
        number = self.target(target)
        node = self._node(number)
        mode = node.mode
        if node.kind == REGULAR:
            mode &= ~0o4000 & ~(0o2000 if mode & 0o010 else 0)
        self.edit.change(number, uid=uid, gid=gid, mode=mode)

    def utimes(self, target: Value, accessed: int, modified: int) -> None:
        self.edit.change(self.target(target), mtime=modified)

    def setxattr(self, target: Value, name: str, value: str) -> None:
        number = self._attributed(target)
        self._record(number, _USER + name, value.encode())

    def removexattr(self, target: Value, name: str) -> None:
        number = self._attributed(target)
        if _USER + name not in dict(self._node(number).records):
            raise Failed("ENODATA")
        self._record(number, _USER + name, None)

    def _attributed(self, target: Value) -> int:
        if not self._semantics.xattrs:
            raise Failed("ENOTSUP")
        number = self.target(target)
        if self._node(number).kind not in (REGULAR, DIRECTORY):
            raise Failed("EPERM")
        return number

    def settrans(self, path: str, words: str) -> None:
        self._translated(path, b"".join(w.encode() + b"\0" for w in words.split(",")))

    def rmtrans(self, path: str) -> None:
        self._translated(path, None)

    def _translated(self, path: str, record: bytes | None) -> None:
        if not self._semantics.translators:
            raise Failed("ENOTSUP")
        self._record(self._look(path, follow=False), TRANSLATOR, record)

    def _record(self, number: int, name: str, value: bytes | None) -> None:
        records = dict(self._node(number).records)
        records.pop(name, None)
        if value is not None:
            records[name] = value
        self.edit.change(number, records=tuple(sorted(records.items())))

    # What the tree does not see

    def fsync(self, target: Value) -> None:
        if self._node(self.target(target)).kind == FIFO:
            raise Failed("EINVAL")

    fdatasync = fsync

    def syncfs(self, target: Value) -> None:
        self.target(target)

    def sync(self) -> None:
        pass

    def sleep(self, milliseconds: int) -> None:
        pass

    def barrier(self, name: str) -> None:
        pass


def _with(node: Node, *, gid: int, mode: int) -> Node:
    return Node(node.kind, mode, node.uid, gid, node.links, target=node.target)


#: what leaves the time of last modification alone, or sets it to what is known
_KEEP_TIMES = frozenset({"chmod", "chown", "utimes", "setxattr", "removexattr"})
_NAMES = [
    "creat open close mkdir rmdir mkfifo rename link symlink unlink",
    "truncate write swrite append mwrite msync",
    "chmod chown utimes setxattr removexattr settrans rmtrans",
    "fsync fdatasync syncfs sync sleep barrier",
]
_RULES: dict[str, Callable[..., Any]] = {
    name: getattr(_Rules, name) for line in _NAMES for name in line.split()
}
