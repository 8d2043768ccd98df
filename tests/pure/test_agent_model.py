"""Op lists, patterns, marks, and which trees a list may have left."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InfraError, UsageError
from harness.oracles.acknowledged import Strictness
from harness.workloads.agent import pattern
from harness.workloads.agent.allowed import Allowed, looks_of, tree_digest
from harness.workloads.agent.marks import (
    AREA,
    LAID,
    MARK,
    SLOT,
    Mark,
    Marks,
    OpJournal,
    Span,
    decode,
    encode,
    journal_of,
    read_marks,
)
from harness.workloads.agent.oplist import Op, OpList, OpRef, parse, parse_op, single
from harness.workloads.agent.orders import Moment, Orders
from harness.workloads.agent.rules import HURD, LINUX, Semantics, apply
from harness.workloads.agent.tree import Tree, fresh
from tests.pure.op_lists import LISTS


def ops(*lines: str) -> tuple[Op, ...]:
    return tuple(parse_op(line) for line in lines)


def in_turn(listing: OpList, step: int = 10) -> OpJournal:
    """A journal in which the threads' operations never overlap, thread after thread."""
    tree, spans, at = fresh(), {}, 0
    for ref in listing.refs():
        done = apply(tree, ref, listing.op(ref))
        tree = done.tree
        spans[ref] = Span(ref, at, at + step, done.errno)
        at += step
    return OpJournal(listing.run, spans, None, 0, at)


# Op lists


@given(LISTS)
def test_a_list_is_read_as_it_was_written(listing: OpList) -> None:
    assert parse(str(listing)) == listing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", ":1: an op list begins"),
        ("hurdle-ops 1 run=00c0de\ncreat a 0644", ":2: `thread` comes before"),
        ("hurdle-ops 1 run=00c0de\nthread\ncreat a", ":3: `creat` has 2 arguments"),
        ("hurdle-ops 1 run=00c0de\nthread\n\nfoo a", ":4: there is no operation `foo`"),
        ("hurdle-ops 1 run=00c0de\nthread\nmkdir ../a 0755", ":3: '../a' is no path below"),
        ("hurdle-ops 1 run=00c0de\nthread\nmkdir a 755", ":3: '755' is no octal mode"),
        ("hurdle-ops 1 run=00c0de\nthread\nwrite a 0 0", ":3: '0' is no number from 1"),
        ("hurdle-ops 1 run=00c0de\nthread\nbarrier x", "only one thread meets"),
        ("hurdle-ops 1 run=00c0de\n", "1 to 64 threads"),
    ],
)
def test_a_wrong_line_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text, "list")


# Patterns


@given(st.integers(0, 200), st.integers(1, 300), st.integers(0, 0xFFFFFF))
def test_every_byte_tells_who_wrote_it(offset: int, length: int, run: int) -> None:
    ref = OpRef(3, 77)
    data = bytes(offset) + pattern.fill(run, ref, offset, length)
    whole = [s for s in pattern.stretches(data, run) if s.kind == "own"]
    assert all(s.ref == ref and offset <= s.start and s.end <= offset + length for s in whole)
    for stretch in pattern.stretches(data, run):
        if stretch.kind == "garbage":  # a part of a cell
            assert pattern.explains(run, stretch, [ref]) is not None
            assert pattern.explains(run ^ 0xFFFFFF, stretch, []) is None


def test_bytes_of_another_run_or_place_are_foreign() -> None:
    data = pattern.fill(1, OpRef(0, 5), 0, 64)
    assert [s.kind for s in pattern.stretches(data, 2)] == ["foreign", "foreign"]
    assert [s.kind for s in pattern.stretches(data, 1, 4096)] == ["foreign", "foreign"]
    assert [s.kind for s in pattern.stretches(data, 1)] == ["own"]


# Marks


@dataclass(frozen=True)
class Entry:
    index: int
    sector: int
    content: bytes

    @property
    def length(self) -> int:
        return len(self.content)

    @property
    def is_write(self) -> bool:
        return True


@dataclass(frozen=True)
class Log:
    entries: tuple[Entry, ...]
    sector_size: int = 512

    def data(self, entry: Entry) -> bytes:
        return entry.content


AT = 1 << 20


def mark_entry(index: int, mark: Mark) -> Entry:
    return Entry(index, (AT + SLOT * mark.thread) // 512, encode(mark))


def test_marks_among_other_writes_make_a_journal() -> None:
    listing = OpList(7, (ops("mkdir a 0755", "fsync a"), ops("creat b 0644")))
    marks = [
        Mark(0, 7, 0, 0, LAID),
        Mark(2, 7, 0, 0, "OK"),
        Mark(3, 7, 1, 0, "OK"),
        Mark(5, 7, 0, 1, "OK"),
        Mark(6, 7, 1, 1, "EEXIST"),
        Mark(9, 7, 0, 2, "OK"),
    ]
    entries = [mark_entry(mark.position, mark) for mark in marks]
    entries += [Entry(n, 100, b"x" * 512) for n in (1, 4, 7, 8)]
    read = read_marks(Log(tuple(sorted(entries, key=lambda e: e.index))), AT)
    assert read.all == tuple(marks)
    assert read.entries == {mark.position for mark in marks}
    journal = journal_of(read, listing)
    assert journal is not None
    assert (journal.laid, journal.first, journal.end) == (0, 2, 9)
    assert journal.spans[OpRef(0, 1)] == Span(OpRef(0, 1), 5, 9, "OK")
    assert journal.spans[OpRef(1, 0)] == Span(OpRef(1, 0), 3, 6, "EEXIST")
    assert len(journal.spans) == 3


def test_a_driver_that_writes_whole_blocks_repeats_no_mark() -> None:
    one, two = Mark(0, 7, 0, 0, "OK"), Mark(1, 7, 1, 0, "OK")
    both = encode(one).ljust(SLOT, b"\0") + encode(two)
    read = read_marks(Log((mark_entry(0, one), Entry(1, AT // 512, both))), AT)
    assert read.all == (one, two)


def test_a_damaged_mark_is_refused() -> None:
    block = bytearray(encode(Mark(4, 7, 0, 3, "OK")))
    assert decode(bytes(block), 4) == Mark(4, 7, 0, 3, "OK")
    assert decode(bytes(MARK), 4) is None
    block[20] ^= 1
    with pytest.raises(InfraError, match="entry 4 has something else"):
        decode(bytes(block), 4)


def test_a_missing_mark_is_noticed() -> None:
    marks = Marks((Mark(1, 7, 0, 0, "OK"), Mark(2, 7, 0, 2, "OK")), frozenset())
    with pytest.raises(InfraError, match="operation 2, and 1 was to come"):
        journal_of(marks, single(7, ops("sync", "sync")))
    assert AREA == SLOT * 64


# The tree


@settings(max_examples=50)
@given(LISTS)
def test_a_digest_kept_up_is_the_one_that_a_reader_finds(listing: OpList) -> None:
    tree = fresh()
    for ref in listing.refs():
        tree = apply(tree, ref, listing.op(ref)).tree
        assert tree_digest(*looks_of(Moment((), tree, 0))) == tree.digest


# What a crash may leave

LINE = single(1, ops("mkdir A 0755", "creat A/x 0644", "creat A/y 0644", "fsync A", "unlink A/x"))


def tree_after(listing: OpList, count: int) -> Tree:
    tree = fresh()
    for ref in list(listing.refs())[:count]:
        tree = apply(tree, ref, listing.op(ref)).tree
    return tree


def judged(allowed: Allowed, tree: Tree, position: int) -> tuple[bool, bool]:
    verdict = allowed.judge(position, *looks_of(Moment((), tree, 0)))
    return verdict.prefix is not None, verdict.durable is not None


def test_a_prefix_not_before_the_last_acknowledged_operation() -> None:
    allowed = Allowed(Orders(LINE, in_turn(LINE)))
    # mkdir 0-10, creat 10-20, creat 20-30, fsync 30-40, unlink 40-50
    assert judged(allowed, tree_after(LINE, 0), 5) == (True, True)
    assert judged(allowed, tree_after(LINE, 1), 5) == (True, True)
    assert judged(allowed, tree_after(LINE, 2), 5) == (False, False)  # not begun
    assert judged(allowed, tree_after(LINE, 1), 40) == (True, True)  # fsync has not returned
    assert judged(allowed, tree_after(LINE, 1), 41) == (True, False)
    assert judged(allowed, tree_after(LINE, 3), 41) == (True, True)
    assert judged(allowed, tree_after(LINE, 5), 41) == (True, True)
    assert judged(allowed, tree_after(LINE, 5), 40) == (False, False)


def test_posix_acknowledges_no_names_by_fsync() -> None:
    allowed = Allowed(Orders(LINE, in_turn(LINE), strictness=Strictness.POSIX))
    assert judged(allowed, tree_after(LINE, 1), 41) == (True, True)


def test_a_commit_in_the_log_acknowledges_what_had_returned() -> None:
    allowed = Allowed(Orders(LINE, in_turn(LINE)))
    looks = looks_of(Moment((), tree_after(LINE, 1), 0))
    assert allowed.judge(35, *looks).durable is not None
    assert allowed.judge(35, *looks, settled=21).durable is None  # creat A/x had returned
    assert allowed.judge(35, *looks, settled=20).durable is not None


def test_an_fsync_of_a_file_that_did_not_change_acknowledges_nothing_newer() -> None:
    listing = single(1, ops("creat f 0644", "fsync f", "mkdir A 0755", "fsync f"))
    allowed = Allowed(Orders(listing, in_turn(listing)))
    assert judged(allowed, tree_after(listing, 1), 41) == (True, True)
    assert judged(allowed, tree_after(listing, 0), 41) == (True, False)


@pytest.mark.parametrize(
    ("flags", "call", "mode", "size"),
    [
        ("rdwr+sync", "write", True, True),
        ("rdwr+dsync", "write", False, True),  # as fdatasync: the size, and no mode
        ("rdwr+dsync", "swrite", False, True),
        ("rdwr", "write", False, False),
        ("rdwr", "swrite", False, False),  # an open file is written as it was opened
    ],
)
def test_a_write_acknowledges_by_how_its_file_was_opened(
    flags: str, call: str, mode: bool, size: bool
) -> None:
    listing = single(
        1, ops("creat f 0644", f"open @0 f {flags} 0644", "chmod f 0600", f"{call} @0 0 100")
    )
    allowed = Allowed(Orders(listing, in_turn(listing)))
    assert judged(allowed, tree_after(listing, 4), 41) == (True, True)
    assert judged(allowed, tree_after(listing, 3), 41) == (True, not size)
    # Within the size that is there, a write changes nothing that O_DSYNC waits for beside bytes.
    again = single(
        1,
        ops("creat f 0644", f"open @0 f {flags} 0644", "write f 0 100", "sync", "chmod f 0600")
        + ops(f"{call} @0 0 100"),
    )
    allowed = Allowed(Orders(again, in_turn(again)))
    assert judged(allowed, tree_after(again, 4), 61) == (True, not mode)


@pytest.mark.parametrize(
    ("call", "semantics", "waits"),
    [("sync", LINUX, True), ("sync", HURD, False), ("syncfs .", HURD, True)],
)
def test_a_sync_acknowledges_where_it_waits(call: str, semantics: Semantics, waits: bool) -> None:
    listing = single(1, ops("mkdir A 0755", call))
    allowed = Allowed(Orders(listing, in_turn(listing), semantics))
    assert judged(allowed, tree_after(listing, 0), 21) == (True, not waits)


def test_sizes_may_stop_halfway_in_the_write_that_runs() -> None:
    listing = single(1, ops("creat f 0644", "write f 0 20000"))
    allowed = Allowed(Orders(listing, in_turn(listing)))
    looks, sizes = looks_of(Moment((), tree_after(listing, 1), 0))
    assert allowed.judge(15, looks, {**sizes, "f": 8192}).durable is not None
    assert allowed.judge(15, looks, {**sizes, "f": 20001}).durable is None
    assert allowed.judge(10, looks, {**sizes, "f": 8192}).durable is None  # not begun
    late = Allowed(Orders(listing, in_turn(listing)), ordered_sizes=False)
    assert late.judge(10, looks, {**sizes, "f": 8192}).durable is not None


def test_differences_are_said() -> None:
    allowed = Allowed(Orders(LINE, in_turn(LINE)))
    looks, sizes = looks_of(Moment((), tree_after(LINE, 3), 0))
    del looks["A/y"]
    verdict = allowed.judge(41, looks, sizes)
    assert verdict.prefix is not None and verdict.durable is None
    assert verdict.differences[0] == "/A/y is absent"


TWO = OpList(1, (ops("creat a 0644", "rename a b"), ops("creat c 0644", "rename c b")))


def spans(*times: tuple[int, int, int, int | None]) -> dict[OpRef, Span]:
    return {OpRef(t, i): Span(OpRef(t, i), b, e, "" if e is None else "OK") for t, i, b, e in times}


def final_trees(journal: OpJournal) -> set[frozenset[str]]:
    orders = Orders(TWO, journal)
    return {frozenset(m.tree.paths()) for m in orders.moments if m.cut == (2, 2)}


def test_operations_that_overlap_may_come_in_any_order() -> None:
    apart = OpJournal(1, spans((0, 0, 0, 1), (1, 0, 2, 3), (0, 1, 4, 5), (1, 1, 6, 7)), None, 0, 8)
    over = OpJournal(1, spans((0, 0, 0, 1), (1, 0, 2, 3), (0, 1, 4, 9), (1, 1, 5, 8)), None, 0, 9)
    assert final_trees(apart) == final_trees(over) == {frozenset({"", "lost+found", "b"})}
    numbers = {m.tree.paths()["b"] for m in Orders(TWO, over).moments if m.cut == (2, 2)}
    # Two trees with equal looks are one moment, whichever file it is that won.
    assert len(numbers) == 1
    assert len(Orders(TWO, apart).moments) == 5
    assert len(Orders(TWO, over).moments) == 6


def test_an_operation_that_ended_as_it_cannot_is_a_contradiction() -> None:
    listing = single(1, ops("creat f 0644", "rmdir f"))
    wrong = OpJournal(1, spans((0, 0, 0, 1), (0, 1, 1, 2)), None, 0, 2)
    assert (
        "rmdir f) ended with OK, where the model has ENOTDIR"
        in Orders(listing, wrong).contradiction
    )
    assert not Orders(listing, in_turn(listing)).contradiction


@settings(max_examples=40)
@given(LISTS, st.integers(0, 1000))
def test_every_moment_of_a_run_is_allowed_where_it_was_and_no_later_one(
    listing: OpList, seed: int
) -> None:
    journal = in_turn(listing)
    orders = Orders(listing, journal)
    assert not orders.contradiction
    allowed = Allowed(orders)
    position = random.Random(seed).randrange(1, 10 * len(listing.threads[0]) + 10)
    assert judged(allowed, tree_after(listing, position // 10), position)[0]
    begun = tree_after(listing, -(-position // 10))
    assert judged(allowed, begun, position) == (True, True)
    # What all moments have in common that may be left is in each of these.
    steady = allowed.steady(position)
    assert steady is not None
    for moment in orders.moments:
        looks, sizes = looks_of(moment)
        if allowed.judge(position, looks, sizes).durable is not None:
            assert not allowed.missing(steady, looks, sizes)


SET = single(
    1,
    ops(
        *("creat foo 0644", "utimes foo 5 1000", "chmod foo 0600", "setxattr foo a value"),
        *("fsync foo", "write foo 0 100", "utimes foo 5 2000"),
    ),
)


def test_a_time_that_was_set_and_synced_has_to_be_there() -> None:
    allowed = Allowed(Orders(SET, in_turn(SET)))
    # fsync 40-50, write 50-60, utimes 60-70

    def durable(count: int, position: int, **times: int) -> tuple[bool, tuple[str, ...]]:
        looks, sizes = looks_of(Moment((), tree_after(SET, count), 0))
        said = allowed.judge(position, looks, sizes, times={"": 7, **times})
        return said.durable is not None, said.differences

    assert durable(4, 51, foo=1000)[0]
    lost, words = durable(4, 51, foo=99)
    assert not lost and words == ("/foo: mtime is 99 and should be 1000",)
    assert durable(1, 30, foo=99)[0]  # not synced yet, and the moment before it is allowed
    assert durable(6, 60, foo=99)[0]  # a write may have set any time
    assert durable(7, 71, foo=2000)[0]


def test_attributes_are_part_of_a_tree() -> None:
    allowed = Allowed(Orders(SET, in_turn(SET)))
    looks, sizes = looks_of(Moment((), tree_after(SET, 4), 0))
    times = {"": 7, "foo": 1000}
    assert looks["foo"].records == (("user.a", b"value"),)
    assert allowed.judge(51, looks, sizes, times=times).durable is not None
    for wrong in ((), (("user.a", b"other"),)):
        other = {**looks, "foo": replace(looks["foo"], records=wrong)}
        said = allowed.judge(51, other, sizes, times=times)
        assert said.durable is None and "records" in said.differences[0]


def test_two_threads_may_set_a_time_in_an_order_that_no_tree_shows() -> None:
    both = OpList(1, (ops("creat a 0644", "utimes a 1 1"), ops("creat b 0644")))
    allowed = Allowed(Orders(both, in_turn(both)))
    tree = Orders(both, in_turn(both)).moments[-1].tree
    looks, sizes = looks_of(Moment((), tree, 0))
    assert allowed.judge(1000, looks, sizes, times={"a": 5}).durable is not None


def test_thousands_of_links_cost_no_set_of_writers_or_names_each() -> None:
    listing = single(1, ops("creat f 0644", *(f"link f l{n}" for n in range(400)), "write f 0 9"))
    orders = Orders(listing, in_turn(listing))
    assert orders.writers("l7") is orders.writers("l399")
    writers = orders.writers("f")
    assert writers and OpRef(0, 401) in writers
    # A set of 400 names for each of 400 moments would be 10 MB.
    tracemalloc.start()
    again = Orders(listing, in_turn(listing))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(again.moments) == 403 and used < 4 << 20
