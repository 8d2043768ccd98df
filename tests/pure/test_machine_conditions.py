"""What consoles say, and what hurdle makes of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.machine.accel import kvm_obstacle
from harness.machine.conditions import ALARMS, Condition, alarms_for, check_bounded, plain
from harness.machine.console import console_tail

# Lines as real guests printed them.
SAID = {
    b"[    1.1] Kernel panic - not syncing: VFS: Unable to mount root fs": Condition.PANIC,
    b"\npanic: ../i386/i386/trap.c:100: kernel": Condition.PANIC,
    b"\npanic {cpu0} ../kern/bootstrap.c:190: bad boot script": Condition.PANIC,
    b"\next2fs: hd0: panic: main: device too small": Condition.PANIC,
    # gnumach ends its own lines with "\r\n\r".
    b"modules\r\n\rpanic ../kern/bootstrap.c:812: user_bootstrap: Cannot load": Condition.PANIC,
    b"Kernel Page fault trap, eip 0xc1002": Condition.PANIC,
    b"BUG: kernel NULL pointer dereference, address: 8": Condition.OOPS,
    b"A maintenance shell will now be started.": Condition.MAINTENANCE,
    b"Enter root password for system maintenance": Condition.MAINTENANCE,
    b"Give root password for maintenance": Condition.MAINTENANCE,
    b"\n(initramfs) ": Condition.MAINTENANCE,
    b"ext2fs: part:2:device:wd0: No such device or address": Condition.NO_ROOT,
    b"[    9.1] reboot: Restarting system": Condition.REBOOT,
    b"[    9.1] reboot: Power down": Condition.POWER_OFF,
    b"Shutdown completed successfully, now in tight loop.": Condition.TIGHT_LOOP,
    b"/hurd/crash: /hurd/ext2fs(12) crashed, signal {no:11, code:2}": Condition.SERVER_CRASH,
    b"journal: ext2fs/block.c:158: invariant I2-block broken: !b": Condition.SERVER_CRASH,
    b"ext2fs: /dev/hd1: warning: [JOURNAL] commit failed": Condition.JOURNAL_WARNING,
    b"EXT4-fs error (device sda): ext4_lookup:1855: inode #2": Condition.JOURNAL_WARNING,
    b"ext2fs: /dev/hd1: warning: journal: block 713 came back with a change that is in no "
    b"transaction": Condition.JOURNAL_WARNING,
}

CALM = (
    b"ext2fs: journaling enabled on /dev/hd1",
    b"exec startup/hurd/proc: Increasing priority failed: (os/kern) no access",
    b"Kernel command line: console=ttyS0 panic=-1",
    b"EXT4-fs (sda): mounted filesystem with ordered data mode",
    b"\nmkdir: can't create directory '/mnt/panic': File exists",
    b"hurd# ",
)


def conditions_in(text: bytes) -> set[Condition]:
    return {alarm.condition for alarm in ALARMS if re.search(alarm.pattern, text)}


@pytest.mark.parametrize(("text", "condition"), SAID.items())
def test_each_text_means_its_condition_and_no_other(text: bytes, condition: Condition) -> None:
    assert conditions_in(text) == {condition}


@pytest.mark.parametrize("text", CALM)
def test_ordinary_lines_alarm_nobody(text: bytes) -> None:
    assert conditions_in(text) == set()


def test_every_alarm_is_bounded_and_says_what_to_do() -> None:
    for alarm in ALARMS:
        check_bounded(alarm.pattern)
        assert alarm.happened and alarm.cure


@pytest.mark.parametrize("pattern", [b".*", b"a+b", b"(?:ab){3,}", b"x{0,2000}"])
def test_patterns_without_bound_are_refused(pattern: bytes) -> None:
    with pytest.raises(UsageError, match="without bound"):
        check_bounded(pattern)


def test_a_pattern_that_is_none_is_refused_with_its_fault() -> None:
    with pytest.raises(UsageError, match="no regular expression"):
        check_bounded(b"hurd(")
    assert check_bounded(rb"hurd# |login: {0,4}") == rb"hurd# |login: {0,4}"


def test_a_condition_can_be_tolerated() -> None:
    left = {alarm.condition for alarm in alarms_for([Condition.JOURNAL_WARNING])}
    assert left == {alarm.condition for alarm in ALARMS} - {Condition.JOURNAL_WARNING}


def test_console_text_for_people_has_no_control_characters() -> None:
    assert plain(b"\x1b[1;31mred\x1b[0m\r\r\nnext\x07 \xff") == "red\nnext \ufffd"


def test_the_tail_is_the_end_of_the_log_and_empty_without_one(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    assert console_tail(log, 5) == ""
    log.write_bytes(b"".join(b"line %d\r\n" % n for n in range(20000)))
    assert console_tail(log, 2) == "line 19998\nline 19999"


def test_a_missing_kvm_device_is_told_from_one_that_is_none(tmp_path: Path) -> None:
    assert "does not exist" in (kvm_obstacle(tmp_path / "kvm") or "")
    assert "does not open" in (kvm_obstacle(tmp_path) or "")
    (tmp_path / "file").touch()
    assert kvm_obstacle(tmp_path / "file") is None
