"""Orphans that a crash, or Linux, left half-cut, finished by our journal in a real Hurd."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import process
from tests.guest.hurd_support import MOUNTED, booted

pytestmark = [pytest.mark.guest, pytest.mark.hurd]

SIZE = 5000


def half_cut(disk: Path, tmp_path: Path) -> None:
    """Two orphans on small groups, so that the second needs more than one operation.

    `named` has 6 MiB beyond its size of 5000; the other has no name, 80 MiB, and size 0, which is
    how Linux begins to free a file.
    """
    (tmp_path / "named").write_bytes(b"\xaa" * (6 << 20))
    (tmp_path / "gone").write_bytes(b"\xbb" * (80 << 20))
    with disk.open("wb") as file:
        file.truncate(128 << 20)
    mke2fs = "mke2fs -q -F -t ext3 -b 4096 -I 128 -o hurd -g 256 -O ^resize_inode -J size=4"
    process.run([*mke2fs.split(), "-E", "nodiscard,lazy_itable_init=0", str(disk)])
    for command in (
        f"write {tmp_path / 'named'} named",
        f"write {tmp_path / 'gone'} gone",
        f"sif named size {SIZE}",
        "sif named dtime 13",
        *("sif gone size 0", "sif gone links_count 0", "sif gone dtime 0", "unlink gone"),
        "ssv last_orphan 12",
    ):
        process.run(["debugfs", "-w", "-R", command, str(disk)])


def test_cuts_are_finished_at_mount(ours: str, tmp_path: Path, scratch: Path) -> None:
    disk = tmp_path / "disk.raw"
    half_cut(disk, tmp_path)
    with booted(ours, disk, tmp_path, scratch) as hurd:
        hurd.must(f"{hurd.mount} && truncate -s {SIZE + 3000} {MOUNTED}/named")
        # What was cut off does not come back.
        behind = hurd.must(f"tail -c +{SIZE + 1} {MOUNTED}/named | tr -d '\\0' | wc -c")
        assert behind.strip() == "0"
        # Nothing is left to be done, or this would wait for it.
        hurd.unmount()
    checked = process.run(["e2fsck", "-f", "-n", str(disk)], ok=None)
    assert checked.returncode == 0, checked.stdout
