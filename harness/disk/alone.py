"""A partition as a file of its own, for what knows no partitions; and back into its disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.disk.copy import copy_range, host_errors
from harness.disk.partitions import Partition, disk_size, find_file_system


@contextmanager
def standing_alone(disk: Path, partition: int | None = None) -> Iterator[Path]:
    """Within the block, a file that begins with the file system of a raw disk.

    It is the disk itself where that has no partitions.  Otherwise it is a copy, which takes the
    partition's place at the block's end if it was changed; an exception leaves the disk as it was.
    Needs the disk's space twice meanwhile.  `UsageError` as from `find_file_system`.
    """
    part = find_file_system(disk, partition)
    if part.number == 0:
        yield disk
        return
    alone = disk.with_name(f"{disk.name}.alone")
    try:
        cut_out(disk, part, alone)
        os.utime(alone, (0, 0))  # so that any write shows, however soon
        yield alone
        if alone.stat().st_mtime_ns:
            put_back(alone, disk, part)
    finally:
        alone.unlink(missing_ok=True)


def cut_out(disk: Path, part: Partition, target: Path) -> None:
    """Copy a partition to a file of its own, in place of what has that name."""
    target.unlink(missing_ok=True)
    _take(disk, target, part.start, part.start + part.size, at=0)


def put_back(alone: Path, disk: Path, part: Partition) -> None:
    """Make a file the content of a partition; the disk is whole at any moment, old or new."""
    joined, end = disk.with_name(f"{disk.name}.joined"), part.start + part.size
    joined.unlink(missing_ok=True)  # of a call that was killed
    try:
        _take(disk, joined, 0, part.start, at=0)
        _take(disk, joined, end, disk_size(disk), at=end)
        _take(alone, joined, 0, disk_size(alone), at=part.start)
        joined.replace(disk)
    finally:
        joined.unlink(missing_ok=True)


def _take(source: Path, target: Path, begin: int, end: int, *, at: int) -> None:
    """Copy bytes to an offset of a file that has none there yet; the file reaches to their end."""
    target.touch()
    with host_errors(target), source.open("rb") as reader, target.open("r+b") as writer:
        writer.truncate(max(disk_size(target), at + end - begin))
        copy_range(reader.fileno(), writer.fileno(), begin, end, at)
