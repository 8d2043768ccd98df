"""The root's partition on an image: found, and grown with its file system.  No root, no mount.

e2fsprogs open a file system inside a larger file as `FILE?offset=BYTES`.
"""

from __future__ import annotations

from pathlib import Path

from harness.disk.partitions import Partition, disk_size, find_file_system, find_partitions
from harness.errors import InfraError, UsageError
from harness.process import run, tail

_SECONDS = 600.0  # a file system of 4 GiB takes 10 s
_EXTENDED = frozenset({"5", "f", "85"})  # types of a partition that holds the logical ones
_LOGICAL = 5  # number of the first one


def at(disk: Path, part: Partition) -> str:
    """The file system of a partition, as e2fsprogs take it."""
    return f"{disk}?offset={part.start}" if part.start else str(disk)


def grow(disk: Path, size: int, partition: int | None) -> Partition:
    """Grow a raw disk to `size` bytes, with the root's partition and file system; that partition.

    What is that large already stays as it is.  Raises `UsageError` when there is no root to be
    found, or when another partition lies behind it.
    """
    root = find_file_system(disk, partition)
    if disk_size(disk) < size:
        with disk.open("r+b") as file:
            file.truncate(size)
        if root.number:
            _grow_partition(disk, root)
        small, root = root, find_file_system(disk, root.number)
        if root.size <= small.size:
            raise InfraError(f"sfdisk did not grow partition {root} of {disk}")
        _grow_file_system(disk, root)
    return root


def _grow_partition(disk: Path, root: Partition) -> None:
    parts = find_partitions(disk)
    holder = next((p for p in parts if p.type in _EXTENDED), None)
    behind = [p for p in parts if p.start > root.start and p is not holder]
    if behind:
        raise UsageError(
            f"the root's partition {root} can't grow: partition {behind[0]} lies behind it",
            hint="set disk.size_mib=0 in the recipe, to leave the disk as it is",
        )
    # The backup of a GPT belongs to the end of the disk; a DOS table has none.
    run(["sfdisk", "--quiet", "--relocate", "gpt-bak-std", str(disk)], ok=None)
    if root.number >= _LOGICAL and holder is not None:
        _stretch(disk, holder.number)
    _stretch(disk, root.number)


def _stretch(disk: Path, number: int) -> None:
    """Give a partition all the free space behind it."""
    argv = ["sfdisk", "--quiet", "--no-reread", "-N", str(number), str(disk)]
    run(argv, stdin=",+\n")


def _grow_file_system(disk: Path, root: Partition) -> None:
    check(disk, root, mend=True)
    run(["resize2fs", at(disk, root), f"{root.size >> 10}K"], timeout=_SECONDS)


def check(disk: Path, root: Partition, *, mend: bool = False) -> None:
    """Raise `InfraError` unless the root is clean; `mend` lets e2fsck do what is safe first."""
    if mend:
        run(["e2fsck", "-f", "-p", at(disk, root)], ok=(0, 1), timeout=_SECONDS)
    done = run(["e2fsck", "-f", "-n", at(disk, root)], ok=None, timeout=_SECONDS)
    if done.returncode:
        raise InfraError(
            f"the root file system on {disk} is not clean:\n{tail(done.stdout)}",
            hint=f"look at it by hand: {done.command}",
        )
