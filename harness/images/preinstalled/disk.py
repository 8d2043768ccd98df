"""The root's partition on an image: found, and grown with its file system.  No root, no mount.

e2fsprogs open a file system inside a larger file as `FILE?offset=BYTES`.  resize2fs does, too, but
then cuts the file off at the file system's size, so it works on a copy of the partition.
"""

from __future__ import annotations

from pathlib import Path

from harness.disk.alone import cut_out, put_back
from harness.disk.partitions import Partition, disk_size, find_file_system, find_partitions
from harness.errors import InfraError, UsageError
from harness.process import run, tail

_SECONDS = 600.0  # a file system of 4 GiB takes 10 s
_EXTENDED = frozenset({"5", "f", "85"})  # types of a partition that holds the logical ones
_LOGICAL = 5  # number of the first one


def grow(disk: Path, size: int, partition: int | None) -> Partition:
    """Grow a raw disk to `size` bytes, with the root's partition and file system; that partition.

    What is that large already stays as it is.  Raises `UsageError` when there is no root to be
    found, or when another partition lies behind it.
    """
    root = find_file_system(disk, partition)
    if disk_size(disk) >= size:
        return root
    with disk.open("r+b") as file:
        file.truncate(size)
    if root.number:
        _grow_partition(disk, root)
    grown = find_file_system(disk, root.number)
    if grown.size <= root.size:
        raise InfraError(f"sfdisk did not grow partition {root} of {disk}")
    _grow_file_system(disk, root, grown)
    return grown


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


def _grow_file_system(disk: Path, small: Partition, root: Partition) -> None:
    """Grow it on a copy, and put the disk together again; twice its size is needed meanwhile."""
    alone = disk.with_suffix(".root")
    cut_out(disk, small, alone)
    _preen(str(alone))  # resize2fs wants a file system that was checked
    run(["resize2fs", str(alone), f"{root.size >> 10}K"], timeout=_SECONDS)
    put_back(alone, disk, root)
    alone.unlink()


def settle(disk: Path, root: Partition) -> None:
    """Mend what a boot would mend unasked; raise `InfraError` unless the root is clean then."""
    _preen(root.within(disk))
    check(disk, root)


def _preen(target: str) -> None:
    run(["e2fsck", "-f", "-p", target], ok=(0, 1), timeout=_SECONDS)


def check(disk: Path, root: Partition) -> None:
    """Raise `InfraError` unless the root's file system is clean."""
    done = run(["e2fsck", "-f", "-n", root.within(disk)], ok=None, timeout=_SECONDS)
    if done.returncode:
        raise InfraError(
            f"the root file system on {disk} is not clean:\n{tail(done.stdout)}",
            hint=f"look at it by hand: {done.command}",
        )
