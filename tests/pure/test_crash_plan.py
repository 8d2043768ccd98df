"""Which states are planned, their names, and the disk that goes from one to the next."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.crash.blocks import BLOCK, LoggedDisk, StateHasher, WorkingDisk
from harness.crash.plan import Cut, Limits, Plan, parse
from harness.crash.writelog import WriteLog
from harness.errors import UsageError
from harness.verdicts import CrashModel
from tests.pure.write_logs import Item, discard, flush, write_log

SECTORS = 64  # of the disk: eight blocks
SIZE = SECTORS * 512


def made(folder: Path, items: list[Item]) -> tuple[Path, WriteLog]:
    base = folder / "base.raw"
    base.write_bytes(b"b" * BLOCK + bytes(SIZE - 2 * BLOCK) + b"e" * BLOCK)
    return base, WriteLog.read(write_log(folder / "log", items), SIZE)


def naive(base: Path, log: WriteLog, cut: Cut) -> bytes:
    """A state, made in the plainest way."""
    disk = bytearray(base.read_bytes())
    for entry in log.entries[: cut.upto]:
        if entry.index in cut.missing or not (entry.is_write or entry.is_discard):
            continue
        data = log.data(entry) if entry.is_write else bytes(entry.length)
        low, high = 0, entry.length
        if cut.torn and cut.torn[0] == entry.index:
            _, low, high = cut.torn
        start = entry.sector * 512
        disk[start + low : start + high] = data[low:high]
    return bytes(disk)


writes = st.builds(
    lambda sector, count, byte: Item(min(sector, SECTORS - count), bytes([byte]) * 512 * count),
    st.integers(0, SECTORS - 1),
    st.sampled_from([1, 2, 8, 12]),
    st.integers(0, 3),
)
discards = st.builds(lambda sector: discard(sector, 4), st.integers(0, SECTORS - 4))
items = st.lists(st.one_of(writes, writes, writes, discards, st.just(flush())), max_size=12)


@given(items, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_any_way_through_the_states_makes_the_same_bytes(made_of, random) -> None:  # type: ignore[no-untyped-def]
    with TemporaryDirectory() as name:
        base, log = made(Path(name), made_of)
        limits = Limits(complete=3, subsets=8, torn=20, torn_subsets=20, overlap=20, lying=20)
        cuts = list(Plan(log, limits).cuts())
        random.shuffle(cuts)
        disk = LoggedDisk(base, log)
        alone = StateHasher(disk)
        numbers: dict[bytes, int] = {}
        with WorkingDisk(disk, Path(name) / "image") as work:
            for cut in cuts:
                expected = naive(base, log, cut)
                number = work.go(cut)
                assert work.image.read_bytes() == expected
                alone.go(cut)
                assert alone.number == number == numbers.setdefault(expected, number)
        assert len(set(numbers.values())) == len(numbers)
        disk.close()


@given(items)
@settings(max_examples=60)
def test_each_planned_state_has_a_name_that_makes_it_again(made_of) -> None:  # type: ignore[no-untyped-def]
    with TemporaryDirectory() as name:
        _, log = made(Path(name), made_of)
        limits = Limits(complete=3, subsets=8, torn=20, torn_subsets=20, overlap=20, lying=20)
        cuts = list(Plan(log, limits).cuts())
        assert len({cut.id for cut in cuts}) == len(cuts)
        assert [parse(cut.id) for cut in cuts] == cuts
        assert cuts == list(Plan(log, limits).cuts())


@pytest.mark.parametrize("name", ["prefix", "nothing-0001", "prefix-1-without-", "a b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="names no crash state"):
        parse(name)


def block(number: int, byte: bytes = b"x") -> Item:
    return Item(number * 8, byte * BLOCK)


def test_a_small_epoch_has_all_subsets_of_what_no_flush_covers(tmp_path: Path) -> None:
    _, log = made(tmp_path, [block(0), flush(), block(1), block(2), block(3), flush(), block(4)])
    cuts = [c for c in Plan(log, Limits(complete=3)).cuts() if c.model is CrashModel.SUBSET]
    middle = {cut.missing for cut in cuts if cut.upto == 5}
    assert middle == {
        frozenset(missing)
        for size in (1, 2, 3)
        for missing in itertools.combinations((2, 3, 4), size)
    }
    assert all(cut.missing <= {0} for cut in cuts if cut.upto == 1)  # each epoch its own writes


def test_a_log_without_a_flush_is_one_epoch(tmp_path: Path) -> None:
    """What a reader that drops flushes would make of any log: its states must differ."""
    with_flush = [block(0), flush(), block(1)]
    _, log = made(tmp_path, with_flush)
    safe = {c.missing for c in Plan(log, Limits()).cuts() if c.model is CrashModel.SUBSET}
    _, log = made(tmp_path, [item for item in with_flush if item != flush()])
    unsafe = {c.missing for c in Plan(log, Limits()).cuts() if c.model is CrashModel.SUBSET}
    assert frozenset({0}) in safe and frozenset({0, 1}) not in safe
    assert {frozenset({0}), frozenset({1}), frozenset({0, 1})} == unsafe


def test_a_lie_loses_writes_that_a_flush_covered_and_keeps_later_ones(tmp_path: Path) -> None:
    _, log = made(tmp_path, [block(0), flush(), block(1), flush()])
    lies = [cut for cut in Plan(log, Limits()).cuts() if cut.model is CrashModel.LYING]
    assert lies and all(0 in cut.missing and cut.upto == 3 for cut in lies)


def test_torn_writes_keep_whole_sectors(tmp_path: Path) -> None:
    _, log = made(tmp_path, [Item(0, b"x" * 1536)])
    torn = [cut.torn for cut in Plan(log, Limits()).cuts() if cut.model is CrashModel.TORN]
    assert torn == [(0, 0, 512), (0, 512, 1536), (0, 0, 1024), (0, 1024, 1536)]


def test_a_disk_that_writes_4096_bytes_whole_tears_only_between_those(tmp_path: Path) -> None:
    items = [Item(2, b"s" * 1024), Item(8, b"x" * 8192), Item(6, b"y" * 2048)]
    _, log = made(tmp_path, items)
    cuts = Plan(log, Limits(sector=4096)).cuts()
    torn = [cut.torn for cut in cuts if cut.model is CrashModel.TORN]
    assert torn == [(1, 0, 4096), (1, 4096, 8192), (2, 0, 1024), (2, 1024, 2048)]


def test_the_seed_chooses_and_nothing_else(tmp_path: Path) -> None:
    _, log = made(tmp_path, [block(n % 8) for n in range(40)])
    plans = [tuple(Plan(log, Limits(seed=seed, subsets=20)).cuts()) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_a_large_epoch_lacks_what_says_where_the_log_begins(tmp_path: Path) -> None:
    _, log = made(tmp_path, [block(1 + n % 6) for n in range(20)] + [block(7), block(2)])
    for seed in range(5):
        limits = Limits(seed=seed, subsets=6)
        some, more = (
            [cut.missing for cut in Plan(log, each).cuts() if cut.model is CrashModel.SUBSET]
            for each in (limits, replace(limits, always=7 * BLOCK + 100))
        )
        assert len(some) == len(more) <= 6
        assert {frozenset({20}), frozenset(range(22)) - {20}} <= set(more)
        assert len(set(some) & set(more)) >= 2  # the others are those of the seed


def test_what_recovery_wrote_is_found_and_undone(tmp_path: Path) -> None:
    base, log = made(tmp_path, [block(1)])
    disk = LoggedDisk(base, log)
    with WorkingDisk(disk, tmp_path / "image") as work:
        work.go(Cut(CrashModel.PREFIX, 1))
        before = work.image.read_bytes()
        with work.image.open("r+b") as file:
            file.seek(3 * BLOCK + 5)  # where the image had a hole
            file.write(b"replayed")
            file.seek(0)
            file.write(b"super")
        assert set(work.look()) == {0, 3}
        assert work.id_of(3) != work.hasher.id_of(3)
        work.undo()
        assert work.image.read_bytes() == before
        assert work.look() == {}
    disk.close()


def test_a_subset_may_have_a_write_in_part_and_no_write_of_another_epoch(tmp_path: Path) -> None:
    made_of = [block(0), flush(), *(block(number) for number in range(1, 9)), flush(), block(9)]
    _, log = made(tmp_path, made_of)
    plan = Plan(log, Limits(torn=0, torn_subsets=60))
    cuts, epoch = list(plan.cuts()), plan.epochs[1]
    found = [cut for cut in cuts if cut.model is CrashModel.TORN]
    assert 30 < len(found) <= 60 and len(found) == len(set(found))
    for cut in found:
        assert cut.torn and (cut.missing or cut.completed) and cut.upto == epoch.end
        assert cut.settled == epoch.end - cut.cut_short
        assert (cut.torn[0] == epoch.end - 1) == (cut.cut_short or cut.completed)
        assert cut.torn[0] not in cut.missing and {cut.torn[0], *cut.missing} <= set(epoch.writes)
    assert any(cut.cut_short for cut in found) and not all(cut.cut_short for cut in found)
    assert any(cut.completed for cut in found) and not all(cut.completed for cut in found)
    assert not any(cut.cut_short and cut.completed for cut in found)
    other = Plan(log, Limits(seed=2, torn=0, torn_subsets=60)).cuts()
    assert found != [cut for cut in other if cut.model is CrashModel.TORN]
    alone = Plan(made(tmp_path, [block(0), flush(), block(1)])[1], Limits(torn=0, torn_subsets=9))
    assert not [cut for cut in alone.cuts() if cut.model is CrashModel.TORN]
