"""What is read from the console and the shell of a root's second boot."""

from __future__ import annotations

from harness.experiment.reboot import fsck_findings, parse_object
from harness.oracles.object import differences
from harness.verdicts import FindingClass
from harness.workloads.scenario import Fields

BOOT = """start ext2fs: Hurd server bootstrap: ext2fs[device:hd0] exec startup proc auth.
Checking the root file system on /dev/hd0
{said}
{rest}
"""


def kinds(said: str, rest: str = "hurd# PS1=;") -> dict[str, FindingClass]:
    return {f.code: f.kind for f in fsck_findings(BOOT.format(said=said, rest=rest), "hurd# ")}


def test_a_clean_root_gives_no_finding_of_weight() -> None:
    found = kinds("/dev/hd0: clean, 392/65536 files, 7880/65536 blocks")
    assert set(found.values()) <= {FindingClass.NOTE}


def test_what_the_check_mended_is_damage() -> None:
    found = kinds(
        "/dev/hd0 was not cleanly unmounted, check forced.\n"
        "/dev/hd0: Entry 'd' in /home (393) has deleted/unused inode 32769.  CLEARED.\n"
        "/dev/hd0: 393/65536 files (0.0% non-contiguous), 7881/65536 blocks"
    )
    assert found["dangling-entry"] is FindingClass.DAMAGE


def test_a_replay_is_no_damage() -> None:
    found = kinds("/dev/hd0: recovering journal\n/dev/hd0: clean, 1/2 files, 1/2 blocks")
    assert found["journal-replayed"] is FindingClass.REPLAY
    assert FindingClass.DAMAGE not in found.values()


def test_the_flag_that_stops_a_boot_is_named() -> None:
    found = kinds(
        "/dev/hd0: Superblock needs_recovery flag is clear, but journal has data.\n"
        "/dev/hd0: Run journal anyway\n\n"
        "/dev/hd0: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.\n"
        "\t(i.e., without -a or -p options)",
        rest="e2fsck ended with status 4: the root file system needs repair by hand.",
    )
    assert "journal-flag-clear-with-data" in found
    assert "unrecognised" not in found


def test_a_message_that_nobody_knows_is_damage() -> None:
    assert kinds("/dev/hd0: The moon is full.") == {"unrecognised": FindingClass.DAMAGE}


def test_a_console_without_a_check_says_nothing_of_it() -> None:
    assert fsck_findings("login: ", "hurd# ") == ()


def test_an_object_of_the_guest_is_compared_as_one_of_the_host() -> None:
    fields = Fields(type="directory", mode="0775", uid=1001, gid=1001, links=2, size=4096)
    line = "directory|775|1001|1001|2|4096|8|512|32770"
    assert differences(parse_object("a/d", line, "", ""), fields) == []
    other = line.replace("|775|", "|700|")
    assert differences(parse_object("a/d", other, "", ""), fields) == [
        "mode is 0700 and should be 0775"
    ]


def test_a_symlink_of_the_guest_has_its_target() -> None:
    found = parse_object("l", "symbolic link|777|0|0|1|2|0|512|12", "", "to")
    assert differences(found, Fields(type="symlink", target="to", blockcount=0)) == []


def test_an_object_that_is_gone_is_absent_and_one_that_can_not_be_asked_for_is_not() -> None:
    gone = parse_object("d", "", "stat: cannot statx '/d': No such file or directory", "")
    assert differences(gone, "absent") == []
    broken = parse_object("d", "", "stat: cannot statx '/d': Input/output error", "")
    assert broken.unreadable
