"""Verdicts from what was seen, with no file system behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from harness.disk.ext2 import ObjectStat, Superblock
from harness.disk.fsck import FsckRun, Mode
from harness.oracles.boot import judge_boot
from harness.oracles.context import Context
from harness.oracles.durability import durable_from
from harness.oracles.object import differences, judge_object
from harness.oracles.recover import Examination
from harness.oracles.structure import judge_structure
from harness.verdicts import CrashModel, Finding, FindingClass, Verdict
from harness.workloads.scenario import Fields, WatchedObject

DIRECTORY = ObjectStat(
    "d",
    True,
    {"type": "directory", "mode": "0775", "uid": "1001", "links": "2", "size": "4096"},
    "",
)
ABSENT = ObjectStat("d", False, {}, "/d: File not found by ext2_lookup")
EMPTY = ObjectStat("d", True, {"type": "bad type", "mode": "0000"}, "")
MADE = WatchedObject(path="d", now=Fields(type="directory", mode="0775", uid=1001))
GOOD = Superblock(magic=True, valid=True, has_journal=True, needs_recovery=True)

REPLAYED = Finding("journal-replayed", FindingClass.REPLAY, "recovering journal")
COUNTS = Finding("sb-free-counts", FindingClass.COUNTS, "Free blocks count wrong (1, counted=2).")
DANGLING = Finding("dangling-entry", FindingClass.DAMAGE, "Entry 'd' in / (2) has deleted inode")
STOPPED = Finding("manual-fsck-needed", FindingClass.FLAGS, "RUN fsck MANUALLY")
FLAG = Finding("journal-flag-clear-with-data", FindingClass.FLAGS, "flag is clear")


def fsck(mode: Mode, *findings: Finding, rc: int = 0, clean: bool = False) -> FsckRun:
    return FsckRun(mode, rc, "", findings, clean, 0.0, "e2fsck")


def seen(
    after: ObjectStat = DIRECTORY,
    *,
    boot: FsckRun | None = None,
    check: FsckRun | None = None,
    has_data: bool = True,
    flag_set: bool = False,
) -> Examination:
    boot = boot or fsck(Mode.BOOT, REPLAYED, clean=True)
    check = check or fsck(Mode.CHECK)
    return Examination(GOOD, has_data, (ABSENT,), (after,), boot, (boot,), check, GOOD, flag_set)


def context(
    position: int | None = None,
    *,
    landed: bool = True,
    objects: tuple[WatchedObject, ...] = (MADE,),
) -> Context:
    model = CrashModel.KILL if position is None else CrashModel.PREFIX
    return Context(model, position, objects, True, 10, 20, landed)


def test_replay_and_global_counts_are_no_damage() -> None:
    state = seen(check=fsck(Mode.CHECK, COUNTS))
    assert judge_structure(state, context()).verdict is Verdict.PASS


def test_damage_after_pure_recovery_fails_structure() -> None:
    judgement = judge_structure(seen(check=fsck(Mode.CHECK, COUNTS, DANGLING, rc=4)), context())
    assert judgement.verdict is Verdict.FAIL
    assert "dangling-entry" in judgement.reason
    assert DANGLING in judgement.findings


def test_a_flag_set_by_hand_is_a_finding_and_no_failure() -> None:
    judgement = judge_structure(seen(flag_set=True), context())
    assert judgement.verdict is Verdict.PASS
    assert judgement.findings[0].code == "journal-flag-clear-with-data"


def test_a_boot_that_needs_a_person_fails() -> None:
    judgement = judge_boot(seen(boot=fsck(Mode.BOOT, FLAG, STOPPED, rc=4)), context())
    assert judgement.verdict is Verdict.FAIL
    assert "journal-flag-clear-with-data" in judgement.reason


def test_a_boot_that_mends_fails_even_with_exit_code_1() -> None:
    judgement = judge_boot(seen(boot=fsck(Mode.BOOT, REPLAYED, DANGLING, rc=1)), context())
    assert judgement.verdict is Verdict.FAIL


@pytest.mark.parametrize("rc", [0, 1])
def test_a_boot_that_only_replays_passes_whatever_small_code_it_ends_with(rc: int) -> None:
    assert (
        judge_boot(seen(boot=fsck(Mode.BOOT, REPLAYED, rc=rc)), context()).verdict is Verdict.PASS
    )


def test_a_boot_with_a_bad_exit_code_fails_without_any_message() -> None:
    assert judge_boot(seen(boot=fsck(Mode.BOOT, rc=8)), context()).verdict is Verdict.FAIL


def test_a_kill_that_missed_is_void_for_every_oracle() -> None:
    state, where = seen(ABSENT, has_data=False), context(landed=False)
    given = (judge_structure(state, where), judge_boot(state, where), judge_object(state, where))
    assert [each and each.verdict for each in given] == [Verdict.VOID] * 3


def test_a_kill_with_something_to_recover_is_not_void() -> None:
    state, where = seen(ABSENT, has_data=True), context(landed=False)
    assert judge_structure(state, where).verdict is Verdict.PASS
    judged = judge_object(state, where)
    assert judged is not None and judged.verdict is Verdict.FAIL


def test_a_prefix_is_never_void() -> None:
    state = seen(ABSENT, has_data=False)
    assert judge_structure(state, context(3, landed=False)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("position", "after", "verdict"),
    [
        (None, DIRECTORY, Verdict.PASS),
        (None, ABSENT, Verdict.FAIL),
        (9, ABSENT, None),
        (9, DIRECTORY, None),
        (10, ABSENT, Verdict.PASS),
        (10, DIRECTORY, Verdict.PASS),
        (19, ABSENT, Verdict.PASS),
        (20, ABSENT, Verdict.FAIL),
        (20, DIRECTORY, Verdict.PASS),
        (None, EMPTY, Verdict.FAIL),
        (9, EMPTY, Verdict.FAIL),
        (15, EMPTY, Verdict.FAIL),
    ],
)
def test_what_an_object_may_be_where(
    position: int | None, after: ObjectStat, verdict: Verdict | None
) -> None:
    judgement = judge_object(seen(after), context(position))
    assert (judgement.verdict if judgement else None) is verdict


def test_a_cut_before_the_recorded_steps_says_nothing_of_their_objects() -> None:
    """The set-up that the objects need may not be there yet, so nothing may be asked of them."""
    objects = (MADE.model_copy(update={"was": Fields(type="directory")}),)
    where = replace(context(9, objects=objects), model=CrashModel.CUT)
    judgement = judge_object(seen(ABSENT), where)
    assert judgement is not None and judgement.verdict is Verdict.VOID
    assert "before the recorded steps" in judgement.reason


def test_without_an_acknowledgement_the_old_state_is_always_good_enough() -> None:
    where = replace(context(1000), durable_from=None)
    judgement = judge_object(seen(ABSENT), where)
    assert judgement is not None and judgement.verdict is Verdict.PASS


def _renamed(old_there: bool, new_there: bool, together: bool) -> Verdict:
    file = Fields(type="regular")
    objects = (
        WatchedObject(path="old", was=file, now="absent"),
        WatchedObject(path="new", was="absent", now=file),
    )
    views = tuple(
        ObjectStat(name, there, {"type": "regular"} if there else {}, "File not found by")
        for name, there in (("old", old_there), ("new", new_there))
    )
    where = replace(context(15, objects=objects), together=together)
    judgement = judge_object(replace(seen(), after=views), where)
    assert judgement is not None
    return judgement.verdict


def test_objects_that_change_together_are_all_old_or_all_new() -> None:
    assert _renamed(True, False, together=True) is Verdict.PASS
    assert _renamed(False, True, together=True) is Verdict.PASS
    assert _renamed(True, True, together=True) is Verdict.FAIL
    assert _renamed(False, False, together=True) is Verdict.FAIL
    assert _renamed(True, True, together=False) is Verdict.PASS


def test_differences_are_named_field_by_field() -> None:
    wrong = replace(DIRECTORY, fields=DIRECTORY.fields | {"mode": "0755", "size": "0"})
    expected = Fields(type="directory", mode="0775", size=4096, links=2)
    assert differences(wrong, expected) == [
        "mode is 0755 and should be 0775",
        "size is 0 and should be 4096",
    ]
    assert differences(DIRECTORY, expected) == []
    assert differences(DIRECTORY, Fields(target="x")) == ["target is unknown and should be x"]
    assert differences(DIRECTORY, "absent") != []
    assert differences(ABSENT, "absent") == []


def test_an_object_in_a_damaged_folder_is_neither_there_nor_absent() -> None:
    lost = ObjectStat("d", False, {}, "/d: EXT2 directory corrupted")
    assert differences(lost, "absent") != []
    judgement = judge_object(seen(lost), context(15))
    assert judgement is not None and judgement.verdict is Verdict.FAIL


@dataclass(frozen=True)
class Op:
    log_before: int
    log_after: int
    acknowledges: bool = False


MKDIR = Op(10, 12)


@pytest.mark.parametrize(
    ("ops", "commits", "flushes", "wanted"),
    [
        ([MKDIR], [], [], None),
        ([MKDIR, Op(12, 30, True)], [], [], 30),
        ([Op(5, 9, True), MKDIR], [], [], None),  # the sync came first
        ([MKDIR, Op(12, 15, True), Op(15, 18)], [], [], None),  # and here an operation after it
        ([MKDIR], [(11, 3)], [], None),  # committed before the return
        ([MKDIR], [(14, 3)], [15], None),  # may have been closed before the operation joined
        ([MKDIR], [(14, 3), (20, 4)], [15, 21], 22),
        ([MKDIR], [(14, 3), (20, 4)], [15], None),  # the second was never flushed
        ([MKDIR], [(14, 3), (20, 4)], [], 21),  # a driver that never flushes
        ([MKDIR], [(14, 3), (16, 3), (20, 4)], [], 21),  # the same block written twice
        ([MKDIR, Op(12, 30, True)], [(14, 3), (20, 4)], [], 21),
        ([Op(1, 2, True)], [], [], None),  # nothing was changed
    ],
)
def test_when_the_workload_counts_as_acknowledged(
    ops: list[Op], commits: list[tuple[int, int]], flushes: list[int], wanted: int | None
) -> None:
    assert durable_from(ops, commits, flushes) == wanted
