"""Every state that a builder makes is the base with exactly its writes, whatever came before it."""

from __future__ import annotations

import os
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.crash.states import CrashState, StateBuilder, prefixes, spread
from harness.crash.writelog import WriteLog
from harness.disk.copy import sparse_copy
from harness.errors import InfraError, UsageError
from harness.verdicts import CrashModel
from tests.pure.write_logs import Item, discard, flush, write_log

SECTORS = 16
BASE = bytes(range(256)) * (SECTORS * 2)  # bytes; 16 sectors

_WRITE = st.builds(
    lambda sector, count, fill: Item(sector, bytes([fill]) * (512 * min(count, SECTORS - sector))),
    st.integers(0, SECTORS - 1),
    st.integers(1, 4),
    st.integers(0, 3),
)
_DISCARD = st.builds(discard, st.integers(0, SECTORS - 4), st.integers(1, 4))


def log_of(folder: Path, items: list[Item]) -> WriteLog:
    (folder / "base").write_bytes(BASE)
    return WriteLog.read(write_log(folder / "log", items), len(BASE))


def replayed(items: list[Item]) -> bytes:
    """The simplest replay there is."""
    disk = bytearray(BASE)
    for item in items:
        data = item.data or bytes(item.sectors * 512)
        disk[item.sector * 512 : item.sector * 512 + len(data)] = data
    return bytes(disk)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(_WRITE, st.just(flush()), _DISCARD), min_size=1, max_size=10),
    st.lists(st.integers(0, 1000), max_size=8),
)
def test_states_in_any_order_equal_a_plain_replay(items: list[Item], order: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = log_of(folder, items)
        states = prefixes(log)
        with StateBuilder(folder / "base", log, folder) as builder:
            before = BASE
            for number in [*range(len(states)), *order]:
                if not states:
                    break
                state = states[number % len(states)]
                changed = builder.materialise(state)
                now = builder.image.read_bytes()
                assert now == replayed(items[: state.upto])
                assert changed or now == before
                before = now
        assert (folder / "base").read_bytes() == BASE


def test_one_state_for_each_write_numbered_by_writes(tmp_path: Path) -> None:
    log = log_of(
        tmp_path,
        [
            flush(),
            Item(0, b"a" * 512),
            flush(),
            flush(),
            Item(1, b"b" * 512),
            discard(2, 1),
            flush(),
        ],
    )
    assert prefixes(log) == (
        CrashState(CrashModel.PREFIX, "prefix-0001", 4, 1),
        CrashState(CrashModel.PREFIX, "prefix-0002", 5, 2),
        CrashState(CrashModel.PREFIX, "prefix-0002-discard-1", 7, 2),
    )


def test_a_log_without_writes_has_no_states(tmp_path: Path) -> None:
    assert prefixes(log_of(tmp_path, [flush(), flush()])) == ()


def test_a_rewrite_with_the_same_bytes_is_no_new_content(tmp_path: Path) -> None:
    log = log_of(tmp_path, [Item(0, b"a" * 512), Item(0, b"a" * 512), Item(0, b"b" * 512)])
    with StateBuilder(tmp_path / "base", log, tmp_path) as builder:
        assert [builder.materialise(state) for state in builder.prefixes()] == [True, False, True]


def test_cuts(tmp_path: Path) -> None:
    items = [Item(0, b"a" * 512), flush(), Item(1, b"b" * 512)]
    log = log_of(tmp_path, items)
    with StateBuilder(tmp_path / "base", log, tmp_path) as builder:
        assert builder.cut(1) == CrashState(CrashModel.CUT, "cut-0001", 2, 1)
        builder.materialise(builder.cut(2))
        builder.materialise(builder.cut(0))
        assert builder.image.read_bytes() == BASE
        with pytest.raises(UsageError, match="2 writes"):
            builder.cut(3)


def test_a_working_copy_is_private(tmp_path: Path) -> None:
    log = log_of(tmp_path, [Item(0, b"a" * 512)])
    with StateBuilder(tmp_path / "base", log, tmp_path) as builder:
        builder.materialise(builder.prefixes()[0])
        copy = builder.working_copy(tmp_path / "copy")
        copy.write_bytes(b"recovered")
        assert builder.image.read_bytes() == replayed([Item(0, b"a" * 512)])
    assert not builder.image.exists()


def test_a_full_disk_while_a_state_is_made_says_what_to_do(tmp_path: Path) -> None:
    log = log_of(tmp_path, [Item(0, b"a" * 512)])
    with StateBuilder(tmp_path / "base", log, tmp_path) as builder:
        full = os.open("/dev/full", os.O_RDWR)
        os.dup2(full, builder._fds[0])
        os.close(full)
        with pytest.raises(InfraError, match="disk is full") as caught:
            builder.materialise(builder.prefixes()[0])
    assert "HURDLE_SCRATCH" in (caught.value.hint or "")


def test_a_copy_keeps_holes_and_content(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(64 << 20)
        for at in (0, 5 << 20, (64 << 20) - 3):
            file.seek(at)
            file.write(b"xyz")
    sparse_copy(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert (tmp_path / "copy").stat().st_blocks * 512 < 2 << 20


def test_zeros_of_a_file_that_hides_its_holes_become_holes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(4 << 20) + b"data" + bytes(4 << 20))
    sparse_copy(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert (tmp_path / "copy").stat().st_blocks * 512 <= 512 << 10


def test_a_copy_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"old" * 1000)
    (tmp_path / "source").write_bytes(b"new")
    sparse_copy(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"new"


@given(st.integers(1, 60), st.integers(1, 20))
def test_states_are_spread_from_end_to_end(have: int, wanted: int) -> None:
    states = tuple(CrashState(CrashModel.PREFIX, f"s{n}", n, n) for n in range(have))
    chosen = spread(states, wanted)
    assert len(chosen) == len(set(chosen)) == min(have, wanted)
    assert list(chosen) == sorted(chosen, key=lambda each: each.upto)
    assert chosen[-1] == states[-1]
    if len(chosen) > 1:
        assert chosen[0] == states[0]
        gaps = [b.upto - a.upto for a, b in pairwise(chosen)]
        assert max(gaps) - min(gaps) <= 1
