"""The reference model, the random workloads, and the oracles that compare with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.campaign.work import StepsWork, work_of
from harness.crash.blocks import BLOCK, ZERO_ID, block_id
from harness.errors import UsageError
from harness.oracles.acknowledged import Acknowledged, Acknowledgement, Strictness, acknowledged
from harness.oracles.barrier import judge_barrier
from harness.oracles.contents import ContentsJudge
from harness.oracles.names import NamesJudge
from harness.oracles.observed import FileSeen, Observed
from harness.verdicts import Verdict
from harness.workloads.journal import OpTimes
from harness.workloads.model import History, Moment, Thing, history
from harness.workloads.scenario import Step
from harness.workloads.stress import stress


def steps(*found: dict[str, object]) -> tuple[Step, ...]:
    return tuple(Step.model_validate(each) for each in found)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_random_workloads_are_valid_and_repeat(seed: int) -> None:
    one = stress(seed, 40)
    assert one == stress(seed, 40) and len(one) == 40
    found = history((), one)
    for moment in found.moments:
        for path, look in moment.looks.items():
            below = [p for p in moment.looks if p.rpartition("/")[0] == path and p]
            folders = sum(moment.looks[p].kind == "directory" for p in below)
            assert not below or look.kind == "directory"
            assert look.kind != "directory" or look.links == 2 + folders
            assert look.links >= 1


def test_a_workload_of_one_file() -> None:
    found = history(
        (),
        steps(
            {"create": {"path": "a", "size": 5000}},
            {"link": {"from": "a", "to": "b"}},
            {"rename": {"from": "b", "to": "c"}},
            {"append": {"path": "c", "size": 10}},
            {"truncate": {"path": "a", "size": 3}},
            {"fsync": "a"},
            {"unlink": "a"},
        ),
    )
    assert [sorted(set(m.looks) - {"", "lost+found"}) for m in found.moments] == [
        [],
        ["a"],
        ["a", "b"],
        ["a", "c"],
        ["c"],
    ]
    assert found.moments[2].looks["a"].links == 2
    (versions,) = found.versions.values()
    assert [(v.since, len(v.data)) for v in versions] == [(0, 0), (0, 5000), (3, 5010), (4, 3)]
    number = found.moments[1].files["a"]
    assert found.flushed[5] == number and number in found.touched[3]


@pytest.mark.parametrize(("hurd", "gid"), [(False, 0), (True, 7)])
def test_a_new_object_has_the_group_of_its_folder_on_the_hurd(hurd: bool, gid: int) -> None:
    work = steps(
        {"mkdir": "d"},
        {"chown": {"path": "d", "uid": 6, "gid": 7}},
        {"create": "d/a"},
        {"symlink": {"from": "x", "to": "d/l"}},
    )
    looks = history((), work, group_of_folder=hurd).moments[-1].looks
    assert [looks[path].gid for path in ("d", "d/a", "d/l")] == [7, gid, gid]
    assert looks["d/a"].uid == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"mkdir": "no/folder"},
        {"unlink": "no"},
        {"create": "a"},
        {"rmdir": "d"},
        {"shell": "true"},
        {"create": "a/below"},
    ],
)
def test_what_a_file_system_would_refuse_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        history((), steps({"create": "a"}, {"mkdir": "d"}, {"create": "d/x"}, bad))


WORK = steps(
    {"create": {"path": "a", "size": 6000, "mark": "one"}},
    {"mkdir": "d"},
    {"rename": {"from": "a", "to": "d/b"}},
    {"fsync": "d/b"},
    {"overwrite": {"path": "d/b", "size": 512, "mark": "two"}},
    {"unlink": "d/b"},
)
WORDS = [step.name for step in WORK]
HISTORY = history((), WORK)


def blocks_of(data: bytes) -> tuple[int, ...]:
    found = (data[i : i + BLOCK].ljust(BLOCK, b"\0") for i in range(0, len(data), BLOCK))
    return tuple(block_id(each) for each in found)


def tree(moment: Moment, found: History = HISTORY) -> Observed:
    """A moment as a tree that was read, with every file as it was then."""
    files = {}
    for path, number in moment.files.items():
        data = next(v.data for v in reversed(found.versions[number]) if v.since <= moment.op)
        files[path] = FileSeen(len(data), blocks_of(data))
    return Observed(moment.looks, files)


def test_every_moment_passes_while_it_is_allowed() -> None:
    judge = NamesJudge(HISTORY, WORDS)
    for moment in HISTORY.moments:
        assert judge.prefix(tree(moment), moment.op).verdict is Verdict.PASS
        seen = judge.durability(tree(moment), moment.op, 5, "posix")
        assert seen.verdict is Verdict.PASS
        if moment.op >= 0:
            assert judge.prefix(tree(moment), moment.op - 1).verdict is Verdict.FAIL


def test_what_is_between_two_moments_fails() -> None:
    judge = NamesJudge(HISTORY, WORDS)
    renamed = HISTORY.moments[3]
    both = {**renamed.looks, "a": renamed.looks["d/b"]}
    found = judge.prefix(replace(tree(renamed), looks=both), 5)
    assert found.verdict is Verdict.FAIL and "should be absent" in found.reason


def test_what_was_acknowledged_and_is_absent_fails_whatever_else_there_is() -> None:
    judge = NamesJudge(HISTORY, WORDS)
    early = tree(HISTORY.moments[1])
    found = judge.durability(early, 1, 3, "ext3")
    assert found.verdict is Verdict.FAIL and "/d is absent" in found.reason
    # A tree of no moment at all, in which what was acknowledged is there: prefix's part.
    odd = replace(early, looks={**HISTORY.moments[2].looks, "x": early.looks["a"]})
    assert judge.durability(odd, 1, 3, "ext3").verdict is Verdict.PASS
    assert judge.prefix(odd, 3).verdict is Verdict.FAIL


def test_a_name_that_comes_back_after_its_acknowledged_end_fails() -> None:
    judge = NamesJudge(HISTORY, WORDS)
    found = judge.durability(tree(HISTORY.moments[3]), 5, 5, "ext3")
    assert found.verdict is Verdict.FAIL and "/d/b is there" in found.reason


def test_an_unreadable_tree_fails() -> None:
    judge = NamesJudge(HISTORY, WORDS)
    broken = Observed({}, {}, unreadable="no inode 7")
    assert judge.prefix(broken, 5).verdict is Verdict.FAIL
    assert judge.durability(broken, -1, 5, "ext3").verdict is Verdict.FAIL


def contents(data: bytes, *, size: int | None = None) -> Observed:
    moment = HISTORY.moments[3]
    ids = blocks_of(data)
    strange = {i: data[n * BLOCK : (n + 1) * BLOCK].ljust(BLOCK, b"\0") for n, i in enumerate(ids)}
    files = {"d/b": FileSeen(len(data) if size is None else size, ids)}
    return Observed(moment.looks, files, strange)


NUMBER = HISTORY.moments[1].files["a"]
OLD, NEW = HISTORY.versions[NUMBER][1].data, HISTORY.versions[NUMBER][2].data


@pytest.mark.parametrize(
    ("data", "begun", "stale"),
    [
        (OLD, 3, False),
        (NEW, 4, False),
        (NEW, 3, True),  # bytes that were not written yet
        (bytes(6000), 3, False),
        (OLD[:4096] + bytes(1904), 3, False),
        (OLD[:256] + bytes(256) + OLD[512:], 3, False),
        (b"somebody else's".ljust(6000, b"!"), 5, True),
        (OLD[1:] + b"x", 5, True),  # its own bytes, but not at their place
    ],
)
def test_a_file_holds_only_its_own_bytes(data: bytes, begun: int, stale: bool) -> None:
    judge = ContentsJudge(HISTORY, WORDS)
    verdict = Verdict.FAIL if stale else Verdict.PASS
    assert judge.stale(contents(data), begun).verdict is verdict


@pytest.mark.parametrize(
    ("data", "begun", "lost"),
    [
        (OLD, 3, ""),
        (OLD[:5999], 3, "size-lost"),
        (bytes(6000), 3, "data-lost"),
        (OLD[:4096] + bytes(1904), 3, "data-lost"),
        (NEW, 4, ""),
        (NEW[:100] + OLD[100:], 4, ""),  # the overwrite on its way
    ],
)
def test_bytes_that_an_fsync_acknowledged_stay(data: bytes, begun: int, lost: str) -> None:
    judge = ContentsJudge(HISTORY, WORDS)
    acks = Acknowledged([Acknowledgement(10, 2, 3, NUMBER)])
    found = judge.lost(contents(data), 10, begun, acks)
    assert [each.code for each in found][:1] == ([lost] if lost else [])
    assert not judge.lost(contents(data), 9, begun, acks) or lost == "size-lost"


JOURNAL = [OpTimes(n, n * 10, n * 10 + 5) for n in range(len(WORK))]


def test_an_fsync_acknowledges_the_file_and_where_a_journal_orders_all_before_it() -> None:
    posix = acknowledged(WORK, JOURNAL, HISTORY, Strictness.POSIX)
    strict = acknowledged(WORK, JOURNAL, HISTORY, Strictness.EXT3)
    assert (posix.names(34), strict.names(34)) == (-1, -1)
    assert (posix.names(35), strict.names(35)) == (-1, 2)
    assert posix.data(35, NUMBER) == strict.data(35, NUMBER) == 3
    assert posix.data(35, NUMBER + 1) == -1


def test_a_commit_acknowledges_names_once_it_is_flushed_and_no_bytes() -> None:
    commits, flushes = [(7, 1), (17, 2), (27, 3)], [18, 28]
    found = acknowledged(WORK, JOURNAL, HISTORY, Strictness.EXT3, commits, flushes)
    # Operation 0 returned at 5; transaction 1 may have been closed before it, 2 was not.
    assert (found.names(18), found.names(19)) == (-1, 0)
    assert found.data(19, NUMBER) == -1


def test_an_operation_that_never_returned_acknowledges_nothing() -> None:
    cut_off = [replace(times, returned=None) for times in JOURNAL]
    found = acknowledged(WORK, cut_off, HISTORY, Strictness.EXT3, [(7, 1), (17, 2)], [18])
    assert found.names(10_000) == -1


@pytest.mark.parametrize(
    ("flushes", "driver", "verdict"),
    [
        ([3, 5, 8, 10], True, Verdict.PASS),
        ([3, 5, 8], True, Verdict.PASS),  # the crash came before the last flush
        ([5, 8], True, Verdict.FAIL),
        ([3, 8], True, Verdict.PASS),  # one flush may serve both sides: behind 4, before 9
        ([3], True, Verdict.FAIL),
        ([], True, Verdict.FAIL),
        ([], None, Verdict.VOID),
    ],
)
def test_flushes_around_commits(flushes: list[int], driver: bool | None, verdict: Verdict) -> None:
    commits, journal = [(4, 1), (9, 2)], [1, 2, 4, 6, 7, 9]
    assert judge_barrier(commits, journal, flushes, driver_flushes=driver).verdict is verdict
    assert judge_barrier([], journal, flushes, driver_flushes=driver).verdict is Verdict.VOID


def test_a_commit_block_in_one_write_with_its_transaction_has_no_flush_before_it() -> None:
    """The flush before the write covers nothing of it."""
    commits, journal, flushes = [(4, 1), (9, 2)], [4, 9], [3, 5, 8, 10]
    for joined, verdict in (((), Verdict.PASS), ((9,), Verdict.FAIL)):
        said = judge_barrier(commits, journal, flushes, driver_flushes=True, joined=joined)
        assert said.verdict is verdict, said.reason


def test_zeros_have_a_name_of_their_own() -> None:
    assert block_id(bytes(BLOCK)) == ZERO_ID


def test_a_workload_goes_on_from_what_a_crash_left() -> None:
    start = (
        Thing("directory", 0o755, 0, 0, "", b"", ("",)),
        Thing("directory", 0o755, 0, 7, "", b"", ("P",)),
        Thing("regular", 0o644, 0, 0, "", b"left", ("P/a", "b")),
    )
    work = steps({"append": {"path": "P/a", "size": 100, "mark": "2w0"}}, {"create": "P/c"})
    found = history((), work, start=start, group_of_folder=True)
    first, last = found.moments[0], found.moments[-1]
    assert first.looks["b"].links == 2 and first.files["b"] == first.files["P/a"]
    assert last.looks["P/c"].gid == 7
    old, new = found.versions[last.files["b"]]
    assert (old.since, old.data) == (-1, b"left") and new.data.startswith(b"left")
    again = stress(1, 60, start=start, number=2)
    history((), again, start=start)  # each operation works
    assert again != stress(1, 60, start=start, number=3)
    case = StepsWork((), work, (), hurd=True, start=start)
    assert work_of(case.plain()) == case


@pytest.mark.parametrize(
    ("marks", "verdict"),
    [
        ([(-1, True)], Verdict.PASS),
        ([(-1, False), (2, True)], Verdict.PASS),
        ([(-1, False), (8, True)], Verdict.FAIL),  # behind the first commit block
        ([(-1, False)], Verdict.FAIL),
        ([(-1, False), (2, True), (8, False)], Verdict.FAIL),  # empty again, and another commit
        ([(-1, True), (5, False)], Verdict.FAIL),  # what no flush covers counts, if it is worse
        ([(-1, False), (5, True)], Verdict.FAIL),  # and does not, if it is better
        ([], Verdict.PASS),  # nobody knows where it is
    ],
)
def test_the_log_is_marked_in_use_before_a_commit(
    marks: list[tuple[int, bool]], verdict: Verdict
) -> None:
    commits, journal, flushes = [(6, 1), (12, 2)], [1, 3, 9], [4, 7, 10, 13]
    said = judge_barrier(commits, journal, flushes, driver_flushes=True, in_use=marks)
    assert said.verdict is verdict, said.reason
