"""The writes of a program on the host, logged as those of a guest are.

A recoverer can be cut off by the next power cut, so its own writes make crash states too.
qemu-storage-daemon gives it the image as a file (FUSE) and logs through the same filter that logs
a guest's disk: its fsync is a flush in the log.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.disk.attach import open_fuse, unmount, until_ready
from harness.disk.copy import host_errors
from harness.rundir import LedgerEntry, RunDir


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
