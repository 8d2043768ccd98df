"""The bytes of op lists: what a sync had to bring, and what it need not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.case import Case
from harness.campaign.listverdict import ListOracles
from harness.campaign.work import ListWork
from harness.crash.blocks import BLOCK, ZERO_ID, block_id
from harness.crash.plan import Cut
from harness.oracles.acknowledged import Strictness
from harness.oracles.observed import FileSeen, Observed
from harness.verdicts import CrashModel, Oracle, Verdict
from harness.workloads.agent.allowed import looks_of
from harness.workloads.agent.marks import OpJournal, Span
from harness.workloads.agent.oplist import OpRef, parse
from harness.workloads.agent.orders import Orders
from harness.workloads.agent.pattern import fill
from tests.pure.write_logs import Item, write_log

RUN = 5
LIST = (
    f"hurdle-ops 1 run={RUN:06x}\nthread\ncreat a 0644\nwrite a 0 8192\nfsync a\nwrite a 0 4096\n"
)


#: begin and end: creat 0-1, write 1-2, fsync 2-4 with one entry (3), write 4-5
BOUNDS: tuple[tuple[int, int | None], ...] = ((0, 1), (1, 2), (2, 4), (4, 5))


def oracles(
    folder: Path,
    text: str = LIST,
    bounds: tuple[tuple[int, int | None], ...] = BOUNDS,
    *,
    ordered_sizes: bool = True,
    errnos: tuple[str, ...] = (),
) -> ListOracles:
    base = folder / "base.raw"
    base.write_bytes(bytes(1 << 20))
    log = write_log(folder / "writes.log", [Item(0, bytes(BLOCK))])
    ends = zip(bounds, errnos or ("OK",) * len(bounds), strict=True)
    spans = tuple(Span(OpRef(0, n), *bound, errno) for n, (bound, errno) in enumerate(ends))
    work = ListWork(parse(text), spans, (3,), 5, hurd=False, ordered_sizes=ordered_sizes)
    made = Case("c", "ext3", RUN, base, log, work, 0, Strictness.EXT3, True, {})
    return ListOracles(made, work)


def tree(judge: ListOracles, data: bytes, moment_number: int = -1) -> Observed:
    moment = judge._orders.moments[moment_number]
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    ids = tuple(map(block_id, blocks))
    strange = {name: block for name, block in zip(ids, blocks, strict=True) if name != ZERO_ID}
    return Observed(looks_of(moment)[0], {"a": FileSeen(len(data), ids)}, strange)


OLD = fill(RUN, OpRef(0, 1), 0, 8192)
NEW = fill(RUN, OpRef(0, 3), 0, 4096)


@pytest.mark.parametrize(
    ("data", "durable", "own"),
    [
        (OLD, Verdict.PASS, Verdict.PASS),
        (NEW + OLD[4096:], Verdict.PASS, Verdict.PASS),  # the later write, there or not
        (bytes(8192), Verdict.FAIL, Verdict.PASS),
        (OLD[:4096] + bytes(4096), Verdict.FAIL, Verdict.PASS),
        (OLD[:4096] + OLD[:4096], Verdict.FAIL, Verdict.FAIL),  # not at their place
        (OLD[:4096] + fill(9, OpRef(0, 1), 4096, 4096), Verdict.FAIL, Verdict.FAIL),
    ],
)
def test_bytes_that_an_fsync_brought_stay(
    tmp_path: Path, data: bytes, durable: Verdict, own: Verdict
) -> None:
    judge = oracles(tmp_path)
    seen = tree(judge, data)
    said = {each.oracle: each.verdict for each in judge.judge(Cut(CrashModel.PREFIX, 1), seen)}
    assert said == {
        Oracle.DURABILITY: durable,
        Oracle.PREFIX: Verdict.PASS,
        Oracle.STALE: own,
    }


def durable(judge: ListOracles, data: bytes, moment: int = -1) -> Verdict:
    said = judge.judge(Cut(CrashModel.PREFIX, 1), tree(judge, data, moment))
    return next(each.verdict for each in said if each.oracle is Oracle.DURABILITY)


def test_a_truncate_that_began_may_have_cleared_the_rest_of_the_last_block(tmp_path: Path) -> None:
    """Linux and the Hurd write these zeros as data, before the transaction with the new size."""
    text = LIST.replace("write a 0 4096", "truncate a 2496")
    judge = oracles(tmp_path, text, (*BOUNDS[:3], (4, None)))
    assert durable(judge, OLD, 2) is Verdict.PASS
    assert durable(judge, OLD[:2496] + bytes(1600) + OLD[4096:], 2) is Verdict.PASS
    assert durable(judge, OLD[:2464] + bytes(1632) + OLD[4096:], 2) is Verdict.FAIL
    assert durable(judge, OLD[:2496] + bytes(1632) + OLD[4128:], 2) is Verdict.FAIL
    # One that had not begun excuses nothing.
    late = oracles(tmp_path, text, (*BOUNDS[:3], (6, None)))
    assert durable(late, OLD[:2496] + bytes(1600) + OLD[4096:], 2) is Verdict.FAIL


def test_a_synchronous_write_acknowledges_its_own_bytes_and_no_others(tmp_path: Path) -> None:
    text = LIST.replace("fsync a\n", "swrite a 0 4096\n").rpartition("write a 0 4096\n")[0]
    judge = oracles(tmp_path, text, BOUNDS[:3])
    synced = fill(RUN, OpRef(0, 2), 0, 4096)
    assert durable(judge, synced + OLD[4096:]) is Verdict.PASS
    assert durable(judge, synced + bytes(4096)) is Verdict.PASS
    assert durable(judge, OLD) is Verdict.FAIL


def test_a_cell_of_two_writers_that_looks_the_same_by_either_is_not_older(tmp_path: Path) -> None:
    """Three writes: the last one is not settled, and leaves a cell of the first two as it is."""
    text = LIST.replace("fsync a\n", "write a 28 4100\nfsync a\n").replace("a 0 4096", "a 4096 32")
    judge = oracles(tmp_path, text, ((0, 1), (1, 2), (2, 2), (2, 4), (4, None)))
    second, third = fill(RUN, OpRef(0, 2), 28, 4100), fill(RUN, OpRef(0, 4), 4096, 32)
    data = OLD[:28] + second[: 4096 - 28] + third + OLD[4128:]
    assert data[:32] == OLD[:32]  # the four bytes are the same
    assert durable(judge, data) is Verdict.PASS
    assert durable(judge, OLD[:4096] + third + OLD[4128:]) is Verdict.FAIL


def test_where_sizes_are_in_no_order_a_truncate_may_have_cut_off_all_behind_it(
    tmp_path: Path,
) -> None:
    """With delayed allocation the tree of before and of after the truncate are the same."""
    text = LIST.replace("write a 0 4096", "truncate a 0")
    judge = oracles(tmp_path, text, (*BOUNDS[:3], (4, None)), ordered_sizes=False)
    assert durable(judge, bytes(8192), 2) is Verdict.PASS
    ordered = oracles(tmp_path, text, (*BOUNDS[:3], (4, None)))
    assert durable(ordered, bytes(8192), 2) is Verdict.FAIL


def test_the_digits_of_two_writers_are_not_taken_for_a_third(tmp_path: Path) -> None:
    """Operations 0x28 and 0x33 share a cell, which then names 0x38."""
    writes = "".join("write a 0 8192\n" for _ in range(0x33)) + "write a 0 4113\n"
    text = f"hurdle-ops 1 run={RUN:06x}\nthread\ncreat a 0644\n{writes}"
    bounds = tuple((n, n + 1) for n in range(0x35))
    judge = oracles(tmp_path, text, tuple((min(b, 3), min(e, 4)) for b, e in bounds))
    one, other = (fill(RUN, OpRef(0, n), 4096, 32) for n in (0x33, 0x28))
    cell = one[:17] + other[17:]
    assert b".00038@" in cell
    data = fill(RUN, OpRef(0, 0x33), 0, 4096) + cell + fill(RUN, OpRef(0, 0x28), 4128, 4064)
    said = judge.judge(Cut(CrashModel.PREFIX, 1), tree(judge, data))
    (stale,) = (each for each in said if each.oracle is Oracle.STALE)
    assert stale.verdict is Verdict.PASS, stale.reason


_REUSE = f"hurdle-ops 1 run={RUN:06x}\nthread\ncreat b 0644\nwrite b 0 8192\n"
_TURN = ((0, 1), (1, 2), (2, 3), (4, 5), (4, 5))


@pytest.mark.parametrize(
    ("then", "errno", "verdict"),
    [
        ("unlink b\ncreat a 0644\nwrite a 0 8192\n", "OK", Verdict.FAIL),  # another file's bytes
        ("rename b a\nchmod a 0644\nchmod a 0600\n", "OK", Verdict.PASS),  # the same file
        ("link b a\nunlink b\nchmod a 0600\n", "OK", Verdict.PASS),
        ("creat a 0644\nrename b a\nchmod a 0600\n", "OK", Verdict.PASS),
        # It may have written a part; what it said fits no model.
        ("unlink b\ncreat a 0644\nwrite a 0 8192\n", "ENOSPC", Verdict.FAIL),
    ],
)
def test_bytes_of_another_file_are_stale_though_this_list_wrote_them(
    tmp_path: Path, then: str, errno: str, verdict: Verdict
) -> None:
    judge = oracles(tmp_path, _REUSE + then, _TURN, errnos=("OK", "OK", "OK", "OK", errno))
    (stale,) = (
        each
        for each in judge.judge(Cut(CrashModel.PREFIX, 1), tree(judge, OLD))
        if each.oracle is Oracle.STALE
    )
    assert stale.verdict is verdict, stale.reason
    assert verdict is Verdict.PASS or "/a holds the bytes of `write b 0 8192`" in stale.reason
    own = fill(RUN, OpRef(0, 4), 0, 8192)
    if "write a 0 8192" in then:
        said = judge.judge(Cut(CrashModel.PREFIX, 1), tree(judge, own))
        assert all(each.verdict is Verdict.PASS for each in said if each.oracle is Oracle.STALE)


def said_of(judge: ListOracles, data: bytes, moment: int = -1) -> dict[Oracle, Verdict]:
    said = judge.judge(Cut(CrashModel.PREFIX, 1), tree(judge, data, moment))
    return {each.oracle: each.verdict for each in said}


@pytest.mark.parametrize("errno", ["ENOSPC", "EIO", "SIGBUS", "EDQUOT"])
def test_a_write_that_failed_on_its_way_may_have_left_any_part(tmp_path: Path, errno: str) -> None:
    """The second write would have made 4096 bytes of 100; an append goes behind what it left."""
    head = f"hurdle-ops 1 run={RUN:06x}\nthread\ncreat a 0644\nwrite a 0 100\nwrite a 0 4096\n"
    first, second = fill(RUN, OpRef(0, 1), 0, 100), fill(RUN, OpRef(0, 2), 0, 4096)
    failed = oracles(tmp_path, head, BOUNDS[:3], errnos=("OK", "OK", errno))
    for length in (100, 101, 2048, 4096):
        data = second[:length] if length > 100 else first
        assert set(said_of(failed, data).values()) == {Verdict.PASS}
    assert said_of(failed, second + second[:1])[Oracle.PREFIX] is Verdict.FAIL
    text = f"{head}append a 50\nfsync a\n"
    errnos = ("OK", "OK", errno, "OK", "OK")
    bounds = tuple((n, n + 1) for n in range(5))
    behind, through = (oracles(tmp_path, text, bounds, errnos=e) for e in (errnos, ()))
    for length in (100, 2048, 4096):
        data = (second[:length] if length > 100 else first) + fill(RUN, OpRef(0, 3), length, 50)
        assert set(said_of(behind, data).values()) == {Verdict.PASS}, length
        # One that says it went through has to be there whole.
        kept = said_of(through, data)[Oracle.DURABILITY]
        assert kept is (Verdict.PASS if length == 4096 else Verdict.FAIL)
    assert said_of(behind, second + bytes(51))[Oracle.PREFIX] is Verdict.FAIL


LOST = (
    f"hurdle-ops 1 run={RUN:06x}\nthread\ncreat a 0644\nwrite a 0 8192\nmkdir kept 0755\n"
    "mkdir gone 0755\nrmdir gone\nsyncfs .\nmkdir late 0755\nmkdir later 0755\n"
)
#: all but the last two were acknowledged at the entry's place; the last one had not begun
_LOST = ((0, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 2), (2, None), (9, None))


@pytest.mark.parametrize(
    ("absent", "extra", "data", "verdict", "word"),
    [
        ((), ("strange",), OLD, Verdict.PASS, "left alone since are there"),
        ((), ("late", "strange"), OLD, Verdict.PASS, "left alone since are there"),
        ((), ("later",), OLD, Verdict.PASS, "left alone since are there"),  # prefix's part
        (("kept",), (), OLD, Verdict.FAIL, "/kept is absent"),
        ((), ("gone",), OLD, Verdict.FAIL, "/gone is there and should be absent"),
        ((), ("strange",), OLD[:4096], Verdict.FAIL, "size is 4096 and should be 8192"),
        ((), ("strange",), bytes(8192), Verdict.FAIL, "/a differs from byte 0"),
    ],
)
def test_what_was_acknowledged_and_left_alone_is_due_in_any_tree(
    tmp_path: Path,
    absent: tuple[str, ...],
    extra: tuple[str, ...],
    data: bytes,
    verdict: Verdict,
    word: str,
) -> None:
    """Each tree is of no moment, so *prefix* fails; durability is judged all the same."""
    judge = oracles(tmp_path, LOST, _LOST)
    count = [len(m.tree.paths()) for m in judge._orders.moments].index(4)  # a, kept, lost+found
    seen = tree(judge, data, count)
    folder = next(look for path, look in seen.looks.items() if path == "kept")
    looks = {path: look for path, look in seen.looks.items() if path not in absent}
    looks |= dict.fromkeys(extra, folder)
    said = judge.judge(Cut(CrashModel.PREFIX, 1), replace(seen, looks=looks))
    found = {each.oracle: each for each in said}
    assert found[Oracle.PREFIX].verdict is Verdict.FAIL
    assert found[Oracle.DURABILITY].verdict is verdict
    assert word in found[Oracle.DURABILITY].reason


def half(folder: Path, body: str, failed: int, errno: str = "ENOSPC") -> ListOracles:
    """One thread, whose operation `failed` ended so; the crash is behind all of them."""
    lines = body.split("; ")
    text = f"hurdle-ops 1 run={RUN:06x}\nthread\n" + "\n".join(lines) + "\n"
    base = folder / "base.raw"
    base.write_bytes(bytes(1 << 20))
    log = write_log(folder / "writes.log", [Item(0, bytes(BLOCK))])
    spans = tuple(
        Span(OpRef(0, n), 2 * n, 2 * n + 2, errno if n == failed else "OK")
        for n in range(len(lines))
    )
    end = 2 * len(lines)
    work = ListWork(parse(text), spans, (end,), end + 1, hurd=False, ordered_sizes=True)
    return ListOracles(Case("c", "e", RUN, base, log, work, 0, Strictness.EXT3, True, {}), work)


def by(index: int, start: int, length: int) -> bytes:
    return fill(RUN, OpRef(0, index), start, length)


GROWN = "creat a 0644; write a 0 4096; write a 4096 65536"
EMPTIED = "creat a 0644; write a 0 65536; fsync a; truncate a 0"


@pytest.mark.parametrize(
    ("body", "failed", "good", "bad"),
    [
        # A truncate that went through has set the size, whatever was there.
        (f"{GROWN}; truncate a 100; syncfs .", 2, by(1, 0, 100), by(1, 0, 4096)),
        (
            f"{GROWN}; open @0 a wr+trunc 0644; syncfs .; write a 0 40000; fsync a; syncfs .",
            2,
            by(5, 0, 40000),
            by(5, 0, 40000) + bytes(60000),
        ),
        # So has a write that lies behind all that the failed one may have done.
        (
            f"{GROWN}; write a 69632 64; syncfs .",
            2,
            by(1, 0, 4096) + bytes(65536) + by(3, 69632, 64),
            by(1, 0, 4096) + by(2, 4096, 4096),
        ),
        # A truncate that failed may have cut off all, until that is written again.
        (f"{EMPTIED}; syncfs .", 3, by(1, 0, 5000), by(1, 0, 65536) + bytes(1)),
        (f"{EMPTIED}; write a 65536 64; syncfs .", 3, bytes(65536) + by(4, 65536, 64), b""),
        (f"{EMPTIED}; write a 0 65536; syncfs .", 3, by(4, 0, 65536), b""),
    ],
)
def test_a_part_is_allowed_until_something_takes_it_back(
    tmp_path: Path, body: str, failed: int, good: bytes, bad: bytes
) -> None:
    judge = half(tmp_path, body, failed)
    assert set(said_of(judge, good).values()) == {Verdict.PASS}
    assert Verdict.FAIL in said_of(judge, bad).values()


@pytest.mark.parametrize(
    ("body", "failed", "good", "bad"),
    [
        # An append that began before the failed write is at its place.
        (
            "creat a 0644; append a 8192; fsync a; write a 8192 65536; syncfs .",
            3,
            by(1, 0, 8192),
            bytes(8192),
        ),
        # One behind it is not, but that excuses no other bytes.
        (
            "creat a 0644; write a 0 8192; fsync a; write a 8192 65536; append a 32; syncfs .",
            3,
            by(1, 0, 8192) + by(3, 8192, 64) + by(4, 8256, 32),
            bytes(8192) + by(4, 8192, 32),
        ),
        # A write within the file changes no size.
        (
            "creat a 0644; write a 0 8192; syncfs .; mwrite a 0 4096; append a 10; syncfs .",
            3,
            by(3, 0, 96) + by(1, 96, 8096) + by(4, 8192, 10),
            bytes(8192) + by(4, 8192, 10),
        ),
        (
            "creat a 0644; append a 100; fsync a; append a 65536; syncfs .",
            3,
            by(1, 0, 100),
            bytes(100),
        ),
    ],
)
def test_bytes_that_were_synced_before_an_operation_failed_stay(
    tmp_path: Path, body: str, failed: int, good: bytes, bad: bytes
) -> None:
    judge = half(tmp_path, body, failed)
    assert set(said_of(judge, good).values()) == {Verdict.PASS}
    assert said_of(judge, bad)[Oracle.DURABILITY] is Verdict.FAIL


def test_bytes_of_a_failed_write_are_stale_in_another_file(tmp_path: Path) -> None:
    body = "creat b 0644; write b 0 65536; unlink b; creat a 0644; write a 0 4096; syncfs ."
    judge = half(tmp_path, body, 1)
    assert said_of(judge, by(4, 0, 4096))[Oracle.STALE] is Verdict.PASS
    assert said_of(judge, by(1, 0, 4096))[Oracle.STALE] is Verdict.FAIL
    own = half(tmp_path, body.replace("write a 0 4096", "write a 0 4096; write a 0 4096"), 5)
    assert said_of(own, by(5, 0, 96) + by(4, 96, 4000))[Oracle.STALE] is Verdict.PASS


def test_a_verdict_does_not_depend_on_what_was_judged_before(tmp_path: Path) -> None:
    """What of a file is in doubt is asked at two positions, in both orders."""
    body = "creat a 0644; write a 0 8192; syncfs .; fsync a; write a 8192 65536; syncfs ."
    orders = (list(order) for order in ((7, 9), (9, 7)))
    found = []
    for order in orders:
        allowed = half(tmp_path, body, 4)._allowed
        found.append({at: allowed.steady(at) for at in order})
    one, other = ({at: s and s.objects for at, s in each.items()} for each in found)
    assert one == other


def test_orders_that_leave_different_doubts_are_different_moments(tmp_path: Path) -> None:
    """A failed write before or behind a truncate: only behind it the file may be longer."""
    text = (
        f"hurdle-ops 1 run={RUN:06x}\nthread\ncreat a 0644\nbarrier x\nwrite a 0 9000\nsyncfs .\n"
        "thread\nbarrier x\ntruncate a 100\n"
    )
    begins = {(0, 0): (0, 1), (0, 1): (1, 2), (1, 0): (1, 2), (0, 2): (2, 5), (1, 1): (2, 5)}
    spans = [
        Span(OpRef(*ref), begin, end, "ENOSPC" if ref == (0, 2) else "OK")
        for ref, (begin, end) in begins.items()
    ]
    spans.append(Span(OpRef(0, 3), 5, 7, "OK"))
    journal = OpJournal(RUN, {span.ref: span for span in spans}, None, 0, 8)
    last = [m.tree for m in Orders(parse(text), journal).moments if m.cut == (2, 1)]
    assert {tree.sizes(tree.paths()["a"]) for tree in last} == {(100, 100), (100, 9000)}


@pytest.mark.parametrize(("completed", "verdict"), [(False, Verdict.PASS), (True, Verdict.FAIL)])
def test_a_write_that_completed_and_tore_in_the_cache_had_acknowledged_what_it_had(
    tmp_path: Path, completed: bool, verdict: Verdict
) -> None:
    """The fsync returned behind the log's last write: with data that no flush covered, it lied."""
    judge = oracles(tmp_path)
    cut = Cut(CrashModel.TORN, 1, torn=(0, 0, 512), completed=completed)
    said = judge.judge(cut, tree(judge, bytes(8192), 2))
    assert {each.oracle: each.verdict for each in said}[Oracle.DURABILITY] is verdict
