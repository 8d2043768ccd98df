"""A root image with other files in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import InfraError
from harness.machine.accel import kvm_obstacle
from harness.machine.replica import make_replica
from harness.machine.spec import Replica
from harness.process import run

pytestmark = pytest.mark.tools


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root image of 2 MiB that has /hurd/ext2fs."""
    tree = tmp_path / "tree"
    (tree / "hurd").mkdir(parents=True)
    (tree / "hurd" / "ext2fs").write_bytes(b"the old one, and longer than the new one")
    image = tmp_path / "root.img"
    run(["mke2fs", "-q", "-t", "ext2", "-d", str(tree), str(image), "2M"])
    return image


def content(image: Path | str, path: str, tmp_path: Path) -> bytes:
    run(["debugfs", "-R", f"dump {path} {tmp_path / 'dumped'}", str(image)])
    return (tmp_path / "dumped").read_bytes()


def test_files_are_replaced_and_added_in_a_copy(root: Path, tmp_path: Path) -> None:
    before = root.read_bytes()
    new = tmp_path / "a new one"
    new.write_bytes(b"the new one")
    copy = tmp_path / "copy.raw"
    make_replica(Replica(root, ((new, "/hurd/ext2fs"), (new, "/hurd/ext2fs-ours"))), copy)
    assert content(copy, "/hurd/ext2fs", tmp_path) == b"the new one"
    assert content(copy, "/hurd/ext2fs-ours", tmp_path) == b"the new one"
    stat = run(["debugfs", "-R", "stat /hurd/ext2fs", str(copy)]).stdout
    assert "Mode:  0755" in stat and "User:     0   Group:     0" in stat
    run(["e2fsck", "-fn", str(copy)])
    assert root.read_bytes() == before


def test_a_root_in_a_partition_is_found(root: Path, tmp_path: Path) -> None:
    disk, new = tmp_path / "disk.raw", tmp_path / "new"
    new.write_bytes(b"the new one")
    run(["qemu-img", "create", "-q", "-f", "raw", str(disk), "4M"])
    run(["sfdisk", "--quiet", str(disk)], stdin="label: dos\nstart=1MiB,size=2MiB,type=83\n")
    run(["dd", f"if={root}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc"])
    copy = tmp_path / "copy.raw"
    make_replica(Replica(disk, ((new, "/hurd/ext2fs"),)), copy)
    assert content(f"{copy}?offset={1 << 20}", "/hurd/ext2fs", tmp_path) == b"the new one"
    assert copy.stat().st_size == 4 << 20


def test_a_file_that_does_not_fit_is_not_half_put(root: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(4 << 20))
    with pytest.raises(InfraError, match="could not be put") as caught:
        make_replica(Replica(root, ((large, "/hurd/ext2fs"),)), tmp_path / "copy.raw")
    assert "room" in (caught.value.hint or "")


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="gone is missing"):
        make_replica(Replica(root, ((tmp_path / "gone", "/x"),)), tmp_path / "copy.raw")
    with pytest.raises(InfraError, match="gone is missing"):
        make_replica(Replica(tmp_path / "gone", ()), tmp_path / "copy.raw")
    (tmp_path / "file").touch()
    with pytest.raises(InfraError, match="could not be put"):
        make_replica(Replica(root, ((tmp_path / "file", "/no/such"),)), tmp_path / "copy.raw")


def test_a_kvm_device_that_may_not_be_opened_is_told_from_a_missing_one(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch(mode=0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root may open anything
        assert "group kvm" in (kvm_obstacle(device) or "")
    finally:
        os.seteuid(user)
