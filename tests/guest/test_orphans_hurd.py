"""Files without a name in a real Hurd: what a crash, or Linux, left half-cut is finished by our
journal, and one that is closed just when the file system becomes read-only is no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import process
from harness.disk import ext2
from harness.disk.jbd2 import log_has_data
from harness.machine.conditions import ConditionError
from tests.guest.hurd_support import MOUNTED, Mounted, booted

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


def unmapping(hurd: Mounted, after: str) -> str:
    """A command that runs `after` when 200 files without a name begin to be unmapped."""
    hurd.must(
        f"mkdir {MOUNTED}/d && dd if=/dev/zero bs=16k count=200 |"
        f" (cd {MOUNTED}/d && split -b 16k -a 4 -d - x)"
    )
    # What was written to is busy for a remount while the kernel keeps its pages.
    hurd.unmount()
    hurd.must(hurd.mount)
    return (
        f"rm -f /tmp/ready; /bin/unmapper {MOUNTED}/d 200 2000 >/dev/null 2>&1 &"
        " while ! test -e /tmp/ready; do sleep 0.2; done;"
        f" syncfs -s {MOUNTED}; touch /tmp/go; {after}"
    )


def test_files_that_end_while_it_becomes_read_only(
    ours: str, tmp_path: Path, scratch: Path
) -> None:
    """All is written home while it can be, at remounts and a halt, and nothing is freed twice."""
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    mke2fs = "mke2fs -q -F -t ext3 -b 4096 -I 128 -o hurd -J size=4 -E nodiscard"
    process.run([*mke2fs.split(), str(disk)])
    with booted(ours, disk, tmp_path, scratch, programs=("unmapper",)) as hurd:
        hurd.must(hurd.mount)
        to_and_fro = f"fsysopts {MOUNTED} --readonly && fsysopts {MOUNTED} --writable || exit"
        hurd.must(unmapping(hurd, f"for i in $(seq 12); do {to_and_fro}; done; wait"))
        hurd.must(f"rmdir {MOUNTED}/d && fsysopts {MOUNTED} --readonly")
        assert not ext2.superblock(disk).needs_recovery and not log_has_data(disk)
        hurd.must(f"fsysopts {MOUNTED} --writable")
        said = hurd.guest.console_tail(400)
        with pytest.raises(ConditionError, match="shut down"):
            hurd.guest.run(unmapping(hurd, "halt"), timeout=120)
        said += hurd.guest.console_tail(400)
    assert "journal" not in said, said
    assert not ext2.superblock(disk).needs_recovery and not log_has_data(disk)
    # Those whose end came too late are orphans still.
    assert process.run(["e2fsck", "-p", str(disk)], ok=None).returncode in (0, 1)
    checked = process.run(["e2fsck", "-f", "-n", str(disk)], ok=None)
    assert checked.returncode == 0, checked.stdout
