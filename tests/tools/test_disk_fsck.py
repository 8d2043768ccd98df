"""Each defect, made in an image by debugfs, comes out of e2fsck under its own name."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.disk.fsck import Mode, e2fsck
from harness.disk.jbd2 import journal_map, journal_superblock, log_has_data
from harness.images.recipe import GuestOs
from harness.oracles.selfcheck import (
    debugfs,
    differing_blocks,
    erase_commit,
    inode_block,
    with_transaction,
)
from harness.verdicts import FindingClass
from tests.tools.images import folder_in_memory, make, not_clean

pytestmark = pytest.mark.tools


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def block_of(image: Path, path: str) -> int:
    (stat,) = ext2.stat_objects(image, [path])
    return next(ext2.parse_blocks("BLOCKS:\n" + stat.fields["blocks"]))[1]


DEFECTS = {
    "dangling-entry": ["clri home/dir"],
    "bad-inode-mode": ["sif home/file mode 0170644"],
    "block-bitmap-differences": ["freeb {file_block}"],
    "inode-bitmap-differences": ["freei <14>"],
    "unattached-inode": ["unlink home/file"],
    "unconnected-directory": ["unlink home/dir"],
    "wrong-link-count": ["sif home/file links_count 7"],
    "deleted-inode-dtime": ["unlink home/file", "sif <14> links_count 0", "sif <14> dtime 0"],
    "inode-dtime": ["sif home/file dtime 1"],
    "bad-inode-size": ["sif home/dir size 77"],
    "bad-inode-blocks": ["sif home/file blocks 77"],
    "illegal-block": ["sif home/file block[0] 9999999"],
    "multiply-claimed-block": ["sif home/file block[0] {dir_block}"],
    "group-free-counts": ["set_bg 0 free_blocks_count 7", "set_bg 0 checksum calc"],
    "group-directory-count": ["set_bg 0 used_dirs_count 7", "set_bg 0 checksum calc"],
    "bad-symlink": ["sif link size 3"],
    "bad-superblock": None,
    "directory-corrupted": None,
    "wrong-parent": None,
    "duplicate-entry": None,
    "bad-entry-inode": None,
}


def defective(image: Path, code: str) -> None:
    """Make the defect that debugfs has a command for, or the bytes of one that it hasn't."""
    commands = DEFECTS[code]
    if commands is not None:
        places = {
            "dir_block": block_of(image, "home/dir"),
            "file_block": block_of(image, "home/file"),
        }
        debugfs(image, *(command.format(**places) for command in commands))
        return
    raw = bytearray(image.read_bytes())
    home, folder = block_of(image, "home") * 4096, block_of(image, "home/dir") * 4096
    if code == "bad-superblock":
        raw[1024:2048] = bytes(1024)
    elif code == "directory-corrupted":
        raw[home : home + 4096] = bytes(4096)
    elif code == "wrong-parent":
        struct.pack_into("<I", raw, folder + 12, 2)  # '..' is the root, not home
    else:
        entry = raw.index(b"file", home) - 8
        if code == "bad-entry-inode":
            struct.pack_into("<I", raw, entry, 9999999)
        else:
            raw[entry + 8 : entry + 12] = b"dir\0"  # two names `dir`
            raw[entry + 6] = 3
    image.write_bytes(raw)


@pytest.mark.parametrize("code", DEFECTS)
def test_a_defect_has_its_name_and_is_damage(tmp_path: Path, code: str) -> None:
    # e2fsck does not look at i_blocks where the Hurd is the creator.
    image = not_clean(make(tmp_path / "disk.raw", os=GuestOs.LINUX))
    assert e2fsck(image, Mode.CHECK).damage == ()
    defective(image, code)
    found = {each.code: each for each in e2fsck(image, Mode.CHECK).findings}
    assert code in found
    assert found[code].kind is FindingClass.DAMAGE
    assert "unrecognised" not in found


@pytest.mark.parametrize(
    "code", ["block-bitmap-differences", "group-free-counts", "wrong-link-count"]
)
def test_preen_mode_mends_nothing_unseen(tmp_path: Path, code: str) -> None:
    # It mends bitmaps and counts without a word, with exit code 1 as after any unclean unmount.
    image = not_clean(make(tmp_path / "disk.raw"))
    defective(image, code)
    run = e2fsck(image, Mode.BOOT)
    assert run.rc == 1
    assert run.has(code)
    assert run.damage
    assert e2fsck(image, Mode.CHECK).findings == ()


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        (["freeb 3 4"], "block-bitmap-differences"),
        (["setb 3000 4"], "block-bitmap-differences"),
        (["freei <12>", "freei <13>", "freei <14>"], "inode-bitmap-differences"),
        (["seti <20>", "seti <21>", "seti <22>"], "inode-bitmap-differences"),
        (["set_bg 0 free_inodes_count 7"], "group-free-counts"),
        (["set_bg 0 used_dirs_count 7"], "group-directory-count"),
    ],
)
def test_what_is_mended_without_a_message_has_a_name(
    tmp_path: Path, commands: list[str], code: str
) -> None:
    image = not_clean(make(tmp_path / "disk.raw", "ext3", *commands))
    run = e2fsck(image, Mode.BOOT)
    assert {each.code for each in run.findings} == {"not-cleanly-unmounted", code}


def test_global_counts_are_told_from_damage(tmp_path: Path) -> None:
    image = make(
        tmp_path / "disk.raw", "ext3", "ssv free_blocks_count 77", "ssv free_inodes_count 7"
    )
    assert {each.code for each in e2fsck(image, Mode.CHECK).findings} == {"sb-free-counts"}
    assert e2fsck(image, Mode.CHECK).damage == ()
    boot = e2fsck(image, Mode.BOOT)
    assert boot.clean and boot.damage == () and boot.has("sb-free-counts")


def test_a_clean_image_has_no_findings_in_any_mode(tmp_path: Path) -> None:
    image = make(tmp_path / "disk.raw")
    assert [e2fsck(image, mode).findings for mode in (Mode.CHECK, Mode.BOOT)] == [(), ()]
    assert e2fsck(image, Mode.BOOT).clean


@pytest.mark.parametrize("mode", [Mode.BOOT, Mode.CHECK])
def test_a_guest_whose_clock_is_ahead_is_no_damage(tmp_path: Path, mode: Mode) -> None:
    times = ("ssv mtime 20400101000000", "ssv wtime 20400101000000")
    image = make(tmp_path / "disk.raw", "ext3", *times)
    assert e2fsck(image, mode).damage == ()


def test_an_orphan_is_released_and_told_from_damage(tmp_path: Path) -> None:
    commands = (
        "unlink home/file",
        "sif <14> links_count 0",
        "sif <14> dtime 0",
        "ssv last_orphan 14",
    )
    image = make(tmp_path / "disk.raw", "ext3", *commands)
    before = tmp_path / "before.raw"
    sparse_copy(image, before)
    run = e2fsck(image, Mode.BOOT)
    assert [(each.code, each.kind) for each in run.findings] == [
        ("orphan-released", FindingClass.ORPHAN)
    ]
    assert e2fsck(image, Mode.CHECK).findings == ()
    # A read-only check of what was not recovered would call it damage.
    assert e2fsck(before, Mode.CHECK).has("deleted-inode-dtime")


def test_a_wrong_orphan_list_is_damage(tmp_path: Path) -> None:
    image = make(tmp_path / "disk.raw", "ext3", "ssv last_orphan 9999")
    assert e2fsck(image, Mode.BOOT).has("bad-orphan-list")


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """A file system whose journal has a committed directory that is not in its place yet."""
    base, changed = make(tmp_path / "base.raw"), tmp_path / "changed.raw"
    sparse_copy(base, changed)
    debugfs(changed, "mkdir new")
    image = tmp_path / "disk.raw"
    with_transaction(base, changed, differing_blocks(base, changed), image)
    return image


def test_replay_alone_replays_and_does_nothing_else(logged: Path) -> None:
    debugfs(logged, "ssv state 0")
    assert log_has_data(logged)
    run = e2fsck(logged, Mode.REPLAY)
    assert [each.code for each in run.findings] == ["journal-replayed"]
    after = ext2.superblock(logged)
    assert not after.needs_recovery and not after.valid  # no check, so no verdict on cleanness
    assert not log_has_data(logged)
    assert ext2.stat_object(logged, "new").fields["type"] == "directory"


def test_a_boot_of_a_journaled_file_system_replays_and_calls_it_clean(logged: Path) -> None:
    run = e2fsck(logged, Mode.BOOT)
    assert run.rc == 0 and run.clean and run.has("journal-replayed") and not run.damage


def test_a_clear_flag_stops_a_boot_and_a_patched_one_lets_it_go_on(logged: Path) -> None:
    debugfs(logged, "feature -needs_recovery")
    run = e2fsck(logged, Mode.BOOT)
    assert run.rc == 4
    assert run.has("journal-flag-clear-with-data") and run.has("manual-fsck-needed")
    assert not run.damage
    assert log_has_data(logged)  # it gave up before it did anything
    ext2.set_needs_recovery(logged)
    assert e2fsck(logged, Mode.REPLAY).has("journal-replayed")
    assert not log_has_data(logged)


def test_a_log_without_its_commit_block_is_not_replayed(logged: Path) -> None:
    journal = journal_map(logged)
    block = next(n for n in range(2, 20) if _type(logged, journal.disk_block(n)) == 2)
    erase_commit(logged, block - 2)
    e2fsck(logged, Mode.REPLAY)
    assert not ext2.stat_object(logged, "new").present


def _type(image: Path, block: int) -> int:
    with image.open("rb") as file:
        file.seek(block * 4096)
        magic, kind = struct.unpack(">II", file.read(8))
    return int(kind) if magic == 0xC03B3998 else 0


def test_a_corrupt_journal_superblock_is_named(logged: Path) -> None:
    journal = journal_map(logged)
    assert journal_superblock(logged, journal).has_data
    with logged.open("r+b") as file:
        file.seek((journal.superblock_offset or 0) + 0x0C)
        file.write(struct.pack(">I", 12345))  # block size
    run = e2fsck(logged, Mode.BOOT)
    assert run.damage and not run.has("unrecognised")


def test_a_label_in_the_messages_does_not_hide_them(tmp_path: Path) -> None:
    image = not_clean(make(tmp_path / "disk.raw"))
    debugfs(image, "ssv volume_name mydisk")
    assert ext2.superblock(image).label == "mydisk"
    run = e2fsck(image, Mode.BOOT, label="mydisk")
    assert [each.code for each in run.findings] == ["not-cleanly-unmounted"]


def test_inode_block_is_where_the_root_is(tmp_path: Path) -> None:
    image = make(tmp_path / "disk.raw")
    before = image.read_bytes()
    debugfs(image, "sif / mode 040700")
    changed = differing_blocks_of(before, image.read_bytes())
    assert inode_block(image) in changed


def differing_blocks_of(a: bytes, b: bytes) -> set[int]:
    return {i // 4096 for i in range(0, len(a), 4096) if a[i : i + 4096] != b[i : i + 4096]}
