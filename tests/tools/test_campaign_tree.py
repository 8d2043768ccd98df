"""Recovered trees: what the reader of campaigns sees is what debugfs says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest

from harness.campaign.examine import FileBlocks
from harness.crash.blocks import BLOCK
from harness.disk import ext2
from harness.disk.records import in_block, in_translator_block
from harness.disk.tree import TreeReader
from harness.images.recipe import GuestOs, Variant
from harness.oracles.selfcheck import debugfs
from harness.workloads.scenario import Disk
from tests.tools.images import SIZE, make

pytestmark = pytest.mark.tools


@pytest.mark.parametrize("fs", ["ext2", "ext3", "ext4"])
@pytest.mark.parametrize("os_", list(GuestOs))
def test_the_tree_is_what_debugfs_says(folder: Path, fs: str, os_: GuestOs) -> None:
    big = folder / "big"
    # Two levels of indirect blocks, and a hole in front.
    with big.open("wb") as file:
        file.seek(2000 * BLOCK)
        file.write(os.urandom(30 * BLOCK + 77))
    names = "".join(f"\nmkdir many/{n:03d}-{'x' * 100}" for n in range(40))
    image = make(
        folder / "a.raw",
        fs,
        f"write {big} big",
        "ln big other",
        f"symlink slow {'s' * 80}",
        "sif home/dir mode 041777",
        "sif home/dir uid 70000",
        "mknod pipe p",
        f"mkdir many{names}",
        os=os_,
    )
    with FileBlocks(image) as blocks:
        reader = TreeReader(blocks, image.stat().st_size // BLOCK)
        tree = reader.read()
        assert len([path for path in tree if path.startswith("many/")]) == 40
        for stat in ext2.stat_objects(image, [path for path in tree if path]):
            node, fields = tree[stat.path], stat.fields
            said = {
                "inode": str(node.inode),
                "mode": f"{node.mode:05o}" if node.mode > 0o777 else f"{node.mode:04o}",
                "uid": str(node.uid),
                "gid": str(node.gid),
                "links": str(node.links),
                "size": str(node.size),
                **({"target": node.target} if node.kind == "symlink" else {}),
            }
            assert stat.present and said == {key: fields[key] for key in said}, stat.path
            assert fields["type"].lower() == node.kind.lower()
        places = reader.file_blocks(tree["big"].inode)
        data = b"".join(bytes(BLOCK) if p is None else blocks.block(p) for p in places)
    assert data[: big.stat().st_size] == big.read_bytes()


@pytest.mark.parametrize("inode_size", [128, 256])
def test_attributes_and_times_are_read(folder: Path, inode_size: Literal[128, 256]) -> None:
    image = folder / "a.raw"
    disk = Disk(size=SIZE, journal_blocks=1024, inode_size=inode_size)
    ext2.mkfs(image, disk, Variant(fs="ext3"), GuestOs.LINUX)
    (folder / "long").write_bytes(b"l" * 300)  # too long for any inode
    debugfs(
        image,
        "mkdir dir",
        f"write {folder / 'long'} file",
        "ea_set file user.one value",
        f"ea_set -f {folder / 'long'} file user.long",
        "ea_set dir trusted.two 2",
        "sif file mtime @1234567890",
    )
    with FileBlocks(image) as blocks:
        tree = TreeReader(blocks, image.stat().st_size // BLOCK).read()
    assert tree["file"].records == (("user.long", b"l" * 300), ("user.one", b"value"))
    assert tree["dir"].records == (("trusted.two", b"2"),) and tree[""].records == ()
    said = ext2.stat_objects(image, ["file"])[0].fields
    assert tree["file"].mtime == 1234567890, said


def test_a_translator_of_the_hurd_is_read_from_its_block() -> None:
    record = b"/hurd/null\0-f\0"
    block = len(record).to_bytes(2, "little") + record
    assert in_translator_block(block.ljust(BLOCK, b"\0")) == (("gnu.translator", record),)
    for wrong, read in ((b"\xff\xff", in_translator_block), (bytes(BLOCK), in_block)):
        with pytest.raises(ValueError, match=r"longer|magic"):
            read(wrong)


def test_a_damaged_tree_is_said_to_be_unreadable(folder: Path) -> None:
    image = make(folder / "a.raw", "ext2", "sif home block[0] 999999")
    with FileBlocks(image) as blocks, pytest.raises(Exception, match="no block 999999"):
        TreeReader(blocks, image.stat().st_size // BLOCK).read()
