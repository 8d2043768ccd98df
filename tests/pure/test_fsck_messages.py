"""What e2fsck says becomes named findings; what it never said before counts as damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.disk.fsck import UNRECOGNISED, _silent, blame_host, parse
from harness.errors import InfraError
from harness.verdicts import Finding, FindingClass

DANGLING = """Pass 1: Checking inodes, blocks, and sizes
Pass 2: Checking directory structure
Entry 'test-dir3' in /home/loshmi (14) has deleted/unused inode 15.  Clear? no

Pass 3: Checking directory connectivity
Pass 4: Checking reference counts
Inode 14 ref count is 4, should be 3.  Fix? no

Pass 5: Checking group summary information
Block bitmap differences:  -1550 +(1560--1562)
Fix? no

Free blocks count wrong for group #0 (14831, counted=14832).
Fix? no

Free blocks count wrong (14831, counted=14832).
Fix? no


disk.raw: ********** WARNING: Filesystem still has errors **********

disk.raw: 14/16384 files (0.0% non-contiguous), 1552/16384 blocks
"""

FLAG = """disk.raw: Superblock needs_recovery flag is clear, but journal has data.
disk.raw: Run journal anyway

disk.raw: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.
\t(i.e., without -a or -p options)
"""


def codes(text: str) -> list[tuple[str, str]]:
    return [(each.code, each.kind.value) for each in parse(text, ["disk.raw"])]


def test_a_dangling_entry_and_what_comes_with_it() -> None:
    assert codes(DANGLING) == [
        ("dangling-entry", "damage"),
        ("wrong-link-count", "damage"),
        ("block-bitmap-differences", "damage"),
        ("group-free-counts", "damage"),
        ("sb-free-counts", "counts"),
    ]


def test_a_message_is_kept_without_its_question() -> None:
    first = parse(DANGLING, ["disk.raw"])[0]
    assert first.text == "Entry 'test-dir3' in /home/loshmi (14) has deleted/unused inode 15."


def test_the_flag_that_stops_a_boot_is_no_damage() -> None:
    assert codes(FLAG) == [
        ("journal-flag-clear-with-data", "flags"),
        ("manual-fsck-needed", "flags"),
    ]


@pytest.mark.parametrize(
    ("line", "code", "kind"),
    [
        ("disk.raw: recovering journal", "journal-replayed", "replay"),
        (
            "disk.raw: Clearing orphaned inode 14 (uid=0, gid=0, mode=0100644, size=9)",
            "orphan-released",
            "orphan",
        ),
        ("disk.raw was not cleanly unmounted, check forced.", "not-cleanly-unmounted", "note"),
        (
            "Inode 15 extent tree (at level 1) could be shorter.  Optimize? no",
            "extent-tree-not-smallest",
            "note",
        ),
        ("disk.raw contains a file system with errors, check forced.", "error-flag", "flags"),
        (
            "disk.raw: Journal transaction 5 was corrupt, replay was aborted.",
            "journal-checksum",
            "damage",
        ),
        ("Journal checksum error found in disk.raw", "journal-checksum", "damage"),
        ("Free inodes count wrong (77, counted=16370).", "sb-free-counts", "counts"),
        ("Free inodes count wrong for group #3 (77, counted=78).", "group-free-counts", "damage"),
        ("Unattached inode 14", "unattached-inode", "damage"),
        (
            "Warning: skipping journal recovery because doing a read-only filesystem check.",
            "recovery-not-done",
            "damage",
        ),
        ("Superblock last write time is in the future.", "clock", "note"),
    ],
)
def test_single_messages(line: str, code: str, kind: str) -> None:
    assert codes(line) == [(code, kind)]


@pytest.mark.parametrize(
    "line",
    ["Inode 12 sings out of tune.  Fix? no", "Something new", "disk.raw: 12 apples were mended"],
)
def test_what_is_not_known_counts_as_damage(line: str) -> None:
    assert codes(line)[0][1] == "damage"


def test_a_problem_that_a_rule_only_resembles_is_not_taken_for_noise() -> None:
    # The question alone is noise; with a message before it, it is not.
    assert codes("Fix? no\nRename to di~0? no\nFIXED.") == []
    assert len(codes("Entry 'Fix' in /a (2) has deleted/unused inode 3.  Clear? no")) == 1


def test_a_clean_file_system_has_no_findings() -> None:
    assert codes("disk.raw: clean, 14/16384 files, 1553/16384 blocks") == []


def test_a_volume_label_in_front_of_a_message_is_taken_off() -> None:
    said = parse("mydisk: recovering journal", ["disk.raw", "mydisk"])
    assert [each.code for each in said] == ["journal-replayed"]


def test_a_repair_that_was_not_mentioned_is_found_in_the_problem_log() -> None:
    found = _silent([0x050003, 0x050005, 0x050006, 0x05000F], [])
    assert [(each.code, each.kind.value) for each in found] == [
        ("block-bitmap-differences", "damage"),
        ("sb-free-counts", "counts"),
    ]


def test_what_was_mentioned_is_not_found_twice() -> None:
    said = parse(DANGLING, ["disk.raw"])
    assert _silent([0x020003, 0x040003, 0x050003, 0x05000E, 0x05000F], said) == ()


def test_an_unknown_number_needs_a_message_of_its_own() -> None:
    replayed = Finding("journal-replayed", FindingClass.REPLAY, "recovering journal")
    dangling = Finding("dangling-entry", FindingClass.DAMAGE, "Entry ...")
    assert [each.code for each in _silent([0x020003], [replayed])] == [UNRECOGNISED]
    assert _silent([0x020003], [replayed, dangling]) == ()
    assert [e.code for e in _silent([0x020003, 0x010055], [dangling])] == [UNRECOGNISED]


def test_a_full_disk_of_the_host_is_no_verdict() -> None:
    said = "Error writing block 1 (No space left on device).  Ignore error? no"
    with pytest.raises(InfraError, match="No space left") as caught:
        blame_host(said, Path("/scratch/boot.raw"))
    assert "HURDLE_SCRATCH" in (caught.value.hint or "")
    blame_host(DANGLING, Path("/scratch/boot.raw"))


SHARED = """Pass 1D: Reconciling multiply-claimed blocks
(There are 2 inodes containing multiply-claimed blocks.)

File ... (inode #13, mod time Sat Nov 21 20:56:33 2026)
  has 1 multiply-claimed block(s), shared with 1 file(s):
\t/S (inode #4100, mod time Sat Nov 21 20:56:35 2026)
Clone multiply-claimed blocks? no

Duplicate or bad block in use!
"""


def test_blocks_that_two_files_have_are_one_cause() -> None:
    """The names of the files that share them are lines of their own."""
    assert {code for code, _ in codes(SHARED)} == {"multiply-claimed-block"}
