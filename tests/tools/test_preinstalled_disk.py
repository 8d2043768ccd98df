"""Unpacking, growing and changing an installed disk, on small ones of the same layout."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.disk.debugfs import Files, Stat
from harness.disk.partitions import disk_size, find_file_system, find_partitions
from harness.errors import InfraError, UsageError
from harness.images.meter import no_meter
from harness.images.preinstalled.disk import check, grow
from harness.images.preinstalled.unpack import unpack_image
from harness.process import run
from tests.tools.images import folder_in_memory
from tests.tools.installed_disk import DATED, FILES, MIB, Layout, make_disk, pack

pytestmark = pytest.mark.tools


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as made:
        yield made


def content(disk: Path) -> dict[str, bytes]:
    """The files of the root, by name."""
    files = Files.of(disk, find_file_system(disk))
    return {name: files.read(f"/{name}") for name in FILES}


def swap(disk: Path) -> bytes:
    """What lies in the partition before the root's."""
    with disk.open("rb") as file:
        return file.read(5 * MIB)[MIB:]


@pytest.mark.parametrize("layout", ["dos", "logical", "gpt", "whole"])
def test_a_root_grows_with_its_disk_and_keeps_its_files(folder: Path, layout: Layout) -> None:
    disk = make_disk(folder, layout)
    if layout != "whole":
        with disk.open("r+b") as file:
            file.seek(2 * MIB)
            file.write(b"swapped out")
    before, around = content(disk), swap(disk)
    root = grow(disk, 80 * MIB, None)
    check(disk, root)
    assert disk_size(disk) == 80 * MIB
    assert root.size > 70 * MIB
    assert content(disk) == before
    said = run(["dumpe2fs", "-h", root.within(disk)]).stdout
    blocks = next(line for line in said.splitlines() if line.startswith("Block count:"))
    assert int(blocks.split()[-1]) * 4096 > 70 * MIB
    assert "Filesystem OS type:       Hurd" in said
    if layout != "whole":
        assert swap(disk) == around
        assert "No errors detected" in run(["sfdisk", "--verify", str(disk)]).stdout
    assert [path.name for path in folder.glob("debian-*")] == [DATED]  # no copies are left


def test_a_disk_that_is_large_enough_is_left_alone(folder: Path) -> None:
    disk = make_disk(folder)
    grow(disk, 80 * MIB, None)
    before = hashlib.sha256(disk.read_bytes()).hexdigest()
    for size in (0, 40 * MIB, 80 * MIB):
        assert grow(disk, size, None).number == 2
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == before


def test_a_root_that_was_not_unmounted_is_checked_before_it_grows(folder: Path) -> None:
    disk = make_disk(folder)
    target = find_file_system(disk).within(disk)
    run(["debugfs", "-w", "-R", "set_super_value state 0", target])
    root = grow(disk, 80 * MIB, None)
    check(disk, root)


def test_a_root_with_damage_is_refused(folder: Path) -> None:
    disk = make_disk(folder)
    target = find_file_system(disk).within(disk)
    block = run(["debugfs", "-R", "blocks /etc/inittab", target]).stdout.split()[0]
    run(["debugfs", "-w", "-R", f"set_inode_field /etc/passwd block[0] {block}", target])
    with pytest.raises(InfraError, match="e2fsck failed"):
        grow(disk, 80 * MIB, None)


def test_a_disk_without_a_root_names_its_partitions(folder: Path) -> None:
    disk = make_disk(folder, "no-root")
    with pytest.raises(UsageError, match=r"no ext file systems.*1 \(type 82.*2 \(type 83"):
        grow(disk, 80 * MIB, None)
    with pytest.raises(UsageError, match="has no partition 7"):
        grow(disk, 80 * MIB, 7)


def test_a_root_in_front_of_another_partition_is_refused_with_the_cure(folder: Path) -> None:
    disk = make_disk(folder, "root-first")
    with pytest.raises(UsageError, match=r"partition 2 .* lies behind it") as caught:
        grow(disk, 80 * MIB, None)
    assert "size_mib=0" in str(caught.value.hint)
    assert content(disk)["etc/passwd"] == FILES["etc/passwd"].encode()


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_the_image_comes_out_sparse_whatever_its_name(folder: Path, suffix: str, form: str) -> None:
    disk = make_disk(folder)
    tarball = folder / f"it.{suffix}"
    argv = ["tar", "--sparse", f"--format={form}", "-caf", str(tarball), "-C", str(folder)]
    run([*argv, "tree", f"./{DATED}"])
    target = folder / "out.img"
    assert unpack_image(tarball, "*.img", target, no_meter) == DATED
    assert target.stat().st_size == disk.stat().st_size
    assert target.stat().st_blocks * 512 < 4 * MIB
    assert subprocess.run(["cmp", str(disk), str(target)], check=False).returncode == 0


def test_two_images_or_none_are_refused_with_their_names(folder: Path) -> None:
    for name in ("one.img", "two.img", "README"):
        (folder / name).write_text(name)
    tarball = folder / "it.tar.gz"
    pack(folder / "one.img", tarball, "one.img", "two.img", "README")
    with pytest.raises(UsageError, match=r"more than one \*.img: one.img, two.img") as caught:
        unpack_image(tarball, "*.img", folder / "out", no_meter)
    assert "download.member" in str(caught.value.hint)
    assert unpack_image(tarball, "two*", folder / "out", no_meter) == "two.img"
    with pytest.raises(UsageError, match=r"no \*.qcow2, only: one.img, two.img, README"):
        unpack_image(tarball, "*.qcow2", folder / "out", no_meter)


@pytest.mark.parametrize("name", ["../one.img", "/tmp/hurdle-escaped.img", "a/../../one.img"])
def test_a_path_that_leads_out_is_refused(folder: Path, name: str) -> None:
    (folder / "one.img").write_text("x")
    tarball = folder / "it.tar"
    transform = f"--transform=s,.*,{name},"
    argv = ["tar", "-P", transform, "-cf", str(tarball), "-C", str(folder), "one.img"]
    run(argv)
    with pytest.raises(InfraError, match="leads out of it"):
        unpack_image(tarball, "*.img", folder / "inner" / "out", no_meter)
    assert not (folder / "inner").exists()


@pytest.mark.parametrize("damage", ["cut", "garbled", "no tarball", "a web page in its place"])
def test_a_damaged_tarball_is_no_traceback(folder: Path, damage: str) -> None:
    tarball = folder / "it.tar.xz"
    data = pack(make_disk(folder), tarball)
    if damage == "cut":
        tarball.write_bytes(data[: len(data) // 2])
    elif damage == "garbled":
        middle = len(data) // 2
        tarball.write_bytes(data[:middle] + bytes(100) + data[middle + 100 :])
    else:
        tarball.write_text(damage)
    with pytest.raises(InfraError, match="can't be unpacked"):
        unpack_image(tarball, "*.img", folder / "out", no_meter)


def test_files_are_written_with_rights_and_read_back(folder: Path) -> None:
    disk = make_disk(folder)
    root = find_file_system(disk)
    size = disk.stat().st_size
    files = Files.of(disk, root)
    assert files.stat("/etc/inittab") == Stat("regular", 0o640, os.getuid(), os.getgid())
    assert files.stat("/etc") == Stat("directory", 0o755, os.getuid(), os.getgid())
    assert files.stat("/nowhere/at/all") is None
    files.make_folder("/a/b", Stat("directory", 0o700, 1, 2))
    assert files.stat("/a/b") == Stat("directory", 0o700, 1, 2)
    files.write("/a/b/with blank", b"\0\xff" * 5000, Stat("regular", 0o4755, 3, 4))
    assert files.read("/a/b/with blank") == b"\0\xff" * 5000
    assert files.stat("/a/b/with blank") == Stat("regular", 0o4755, 3, 4)
    files.write("/a/b/with blank", b"", Stat("regular", 0o600, 0, 0))
    assert files.read("/a/b/with blank") == b""
    files.remove("/a/b/with blank")
    assert files.stat("/a/b/with blank") is None
    with pytest.raises(InfraError, match="debugfs failed"):
        files.read("/a/b/with blank")
    with pytest.raises(InfraError, match=r"could not be written|debugfs failed"):
        files.write("/large", bytes(range(256)) * (45 * MIB // 256), Stat("regular", 0o600, 0, 0))
    files.remove("/large")
    check(disk, root)
    assert disk.stat().st_size == size
    assert [part.number for part in find_partitions(disk)] == [1, 2]
