"""Where in a disk image a file system is: the whole disk, or a partition that sfdisk finds."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from harness.disk.copy import host_errors
from harness.errors import InfraError, UsageError
from harness.process import run

_EXT_MAGIC_AT = 1024 + 0x38  # bytes from the file system's begin
_EXT_MAGIC = b"\x53\xef"


@dataclass(frozen=True)
class Partition:
    """A slice of a disk; `start` and `size` in bytes.  Number 0 is the whole disk."""

    number: int
    start: int
    size: int
    type: str
    ext: bool  #: an ext2, ext3 or ext4 superblock is where it has to be

    def within(self, disk: Path) -> str:
        """The partition's file system as e2fsprogs take it: a part of a file is opened like that.

        resize2fs takes it too, but cuts the file off at the file system's size.
        """
        return f"{disk}?offset={self.start}" if self.start else str(disk)

    def __str__(self) -> str:
        what = "ext" if self.ext else f"type {self.type}"
        return f"{self.number} ({what}, {self.size >> 20} MiB)"


def disk_size(disk: Path) -> int:
    """Bytes of a file or block device."""
    with host_errors(disk), disk.open("rb") as file:
        return os.lseek(file.fileno(), 0, os.SEEK_END)


def find_partitions(disk: Path) -> tuple[Partition, ...]:
    """The partitions of a raw disk (file or device); none when it has no partition table.

    Raises `InfraError` when sfdisk is missing or says something that can't be understood.
    """
    done = run(["sfdisk", "--json", str(disk)], ok=(0, 1))
    if done.returncode:
        return ()
    try:
        table = json.loads(done.stdout)["partitiontable"]
        unit = int(table.get("sectorsize", 512))
        return tuple(
            Partition(
                number=int(each["node"].removeprefix(table["device"]).removeprefix("p")),
                start=each["start"] * unit,
                size=each["size"] * unit,
                type=each["type"],
                ext=_is_ext(disk, each["start"] * unit),
            )
            for each in table.get("partitions", [])
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise InfraError(
            f"the partition table of {disk} can't be understood: {exc}",
            hint=f"run it by hand: {done.command}",
        ) from exc


def find_file_system(disk: Path, partition: int | None = None) -> Partition:
    """The slice of a raw disk that holds the file system; number 0 is the whole disk.

    Without `partition` there has to be exactly one ext file system.
    Raises `UsageError` that names the partitions when there is none, or more than one.
    """
    whole = Partition(0, 0, disk_size(disk), "", _is_ext(disk, 0))
    if partition == 0 or (partition is None and whole.ext):
        return whole
    found = find_partitions(disk)
    names = ", ".join(map(str, found)) or "none"
    if partition is not None:
        chosen = [each for each in found if each.number == partition]
        problem = f"has no partition {partition}"
    else:
        chosen = [each for each in found if each.ext]
        problem = f"has {len(chosen) or 'no'} ext file system{'s' if len(chosen) != 1 else ''}"
    if len(chosen) != 1:
        raise UsageError(
            f"{disk} {problem}; its partitions: {names}",
            hint="name the partition, or give the image of a file system",
        )
    return chosen[0]


def _is_ext(disk: Path, start: int) -> bool:
    with host_errors(disk), disk.open("rb") as file:
        return os.pread(file.fileno(), 2, start + _EXT_MAGIC_AT) == _EXT_MAGIC
