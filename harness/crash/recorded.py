"""The writes of a program on the host, logged as those of a guest are.

A recoverer can be cut off by the next power cut, so its own writes make crash states too.
qemu-storage-daemon gives it the image as a file (FUSE) and logs through the same filter that logs
a guest's disk: its fsync is a flush in the log.

A disk sees less than that: a program's writes go through the page cache, which writes whole pages,
each once, when the program calls fsync.  `through_page_cache` makes that of a log.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.crash.writelog import FLUSH, WriteLog, pack
from harness.disk.attach import open_fuse, unmount, until_ready
from harness.disk.copy import host_errors
from harness.rundir import LedgerEntry, RunDir

_PAGE = 4096  # bytes


def recording_argv(mountpoint: Path, image: Path, log: Path) -> list[str]:
    """qemu-storage-daemon with a FUSE export of a raw image whose writes go to `log`, too."""
    disk, writes, mount = (
        str(path.absolute()).replace(",", ",,") for path in (image, log, mountpoint)
    )
    return [
        "qemu-storage-daemon",
        "--blockdev",
        f"driver=file,node-name=image,filename={disk}",
        "--blockdev",
        f"driver=file,node-name=writes,filename={writes}",
        "--blockdev",
        "driver=blklogwrites,node-name=logged,file=image,log=writes,log-sector-size=512",
        "--export",
        f"type=fuse,id=disk,node-name=logged,mountpoint={mount},writable=on",
    ]


@contextmanager
def recorded(image: Path, log: Path, rundir: RunDir) -> Iterator[Path]:
    """A path of `image` for the length of the block; what is written to it is in `log` after it.

    `image` itself is changed: give it a copy.  Raises `InfraError` when FUSE does not work here.
    """
    open_fuse()
    folder = Path(tempfile.mkdtemp(prefix="rec-", dir=rundir.scratch))
    disk = folder / "disk.raw"
    with host_errors(log):
        log.write_bytes(b"")
        disk.touch()
    with ExitStack() as stack:
        rundir.record(LedgerEntry("mount", str(disk)))
        stack.callback(unmount, disk)
        argv = recording_argv(disk, image, log)
        server = stack.enter_context(rundir.service(folder.name, argv))
        until_ready(lambda: disk.stat().st_size > 0, server, f"{disk} has a size")
        yield disk


def through_page_cache(log: WriteLog, base: Path) -> bytes:
    """A log as a disk would have seen it through the page cache; `base` is the image before it.

    Between two flushes each page is written once, with what it held last, in order of its place.
    """
    items: list[tuple[int, bytes, int]] = []
    held: dict[int, bytearray] = {}
    dirty: set[int] = set()

    def clean() -> None:
        items.extend((page * _PAGE, bytes(held[page]), 0) for page in sorted(dirty))
        dirty.clear()

    with host_errors(base), base.open("rb") as file:
        for entry in log.entries:
            data = bytes(entry.length) if entry.is_discard else log.data(entry)
            start = entry.sector * log.sector_size
            for page in range(start // _PAGE, -(-(start + len(data)) // _PAGE)):
                if page not in held:
                    held[page] = bytearray(os.pread(file.fileno(), _PAGE, page * _PAGE))
                low, high = max(start, page * _PAGE), min(start + len(data), (page + 1) * _PAGE)
                offset = low - page * _PAGE
                held[page][offset : offset + high - low] = data[low - start : high - start]
                dirty.add(page)
            if entry.is_flush:
                clean()
                items.append((0, b"", FLUSH))
    clean()
    return pack(items, log.sector_size)
