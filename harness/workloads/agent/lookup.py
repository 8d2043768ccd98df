"""Where a path or an open file leads in a tree, by POSIX.  Pure."""

from __future__ import annotations

from harness.workloads.agent.oplist import OpRef, Value
from harness.workloads.agent.tree import DIRECTORY, ROOT, SYMLINK, Edit, Node, Tree

_LINKS_FOLLOWED = 40
_NAME = 255  #: bytes


class Failed(Exception):
    """The operation ends with this result and changes nothing."""


class Lookup:
    """An operation at work on a tree: how it finds nodes."""

    def __init__(self, tree: Tree, ref: OpRef) -> None:
        self.edit = Edit(tree)
        self._tree = tree
        self._ref = ref

    def _node(self, number: int) -> Node:
        return self.edit.node(number)

    def _look(self, path: str, *, follow: bool, left: int = _LINKS_FOLLOWED) -> int:
        """The node at a path."""
        *_, found = self._find(path, follow=follow, left=left)
        if found is None:
            raise Failed("ENOENT")
        return found

    def _find(
        self, path: str, *, follow: bool, start: int = ROOT, left: int = _LINKS_FOLLOWED
    ) -> tuple[int, str, int | None]:
        """The directory and name that a path ends in, and the node there if there is one.

        For the root itself the name is empty.
        """
        if path == ".":
            return ROOT, "", ROOT
        folder = start
        *above, last = path.split("/")
        for part in above:
            folder, _ = self._step(folder, part, left)
        if self._node(folder).kind != DIRECTORY:
            raise Failed("ENOTDIR")
        if last in ("", ".", ".."):  # only where a symlink points
            return folder, "", self._step(folder, last or ".", left)[0]
        if len(last.encode("utf-8", "surrogateescape")) > _NAME:
            raise Failed("ENAMETOOLONG")
        found = self._node(folder).entries.get(last)
        if found is not None and follow and self._node(found).kind == SYMLINK:
            target = self._link_target(found, left)
            return self._find(target, follow=True, start=folder, left=left - 1)
        return folder, last, found

    def _step(self, folder: int, part: str, left: int) -> tuple[int, str]:
        """Walk through one part of a path, over symlinks."""
        node = self._node(folder)
        if node.kind != DIRECTORY:
            raise Failed("ENOTDIR")
        if part == ".":
            return folder, part
        if part == "..":
            if folder == ROOT:
                raise Failed("ENOENT")  # outside of the crashed file system
            return next(parent for parent, _ in node.names), part
        if len(part.encode("utf-8", "surrogateescape")) > _NAME:
            raise Failed("ENAMETOOLONG")
        child = node.entries.get(part)
        if child is None:
            raise Failed("ENOENT")
        if self._node(child).kind == SYMLINK:
            target = self._link_target(child, left)
            _, _, found = self._find(target, follow=True, start=folder, left=left - 1)
            if found is None:
                raise Failed("ENOENT")
            child = found
        if self._node(child).kind != DIRECTORY:
            raise Failed("ENOTDIR")
        return child, part

    def _link_target(self, number: int, left: int) -> str:
        target = self._node(number).target
        if left == 0:
            raise Failed("ELOOP")
        if target.startswith("/"):
            raise Failed("ENOENT")  # outside of the crashed file system, where nothing is known
        return target

    def target(self, target: Value, need: str = "") -> int:
        """The node of a path or an open file; `need` is the access that the call asks for."""
        if isinstance(target, str):
            return self._look(target, follow=True)
        slot = self._tree.slots.get((self._ref.thread, target))
        if slot is None or (need and not slot[1] & {need, "rdwr"}):
            raise Failed("EBADF")
        return slot[0]
