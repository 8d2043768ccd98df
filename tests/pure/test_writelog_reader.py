"""The reader of write logs survives whatever a kill makes of the file."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.crash.writelog import (
    FLUSH,
    HEADER,
    MAGIC,
    MARK,
    SUPERBLOCK,
    LogFollower,
    WriteLog,
    count_entries,
)
from harness.errors import InfraError
from tests.pure.write_logs import Item, discard, flush, log_bytes, write_log

DISK = 1 << 20  # bytes

_ITEMS = st.lists(
    st.one_of(
        st.builds(
            lambda sector, count, fill: Item(sector, bytes([fill]) * (512 * count)),
            st.integers(0, 1000),
            st.integers(1, 9),
            st.integers(0, 255),
        ),
        st.just(flush()),
        st.builds(discard, st.integers(0, 1000), st.integers(1, 9)),
    ),
    max_size=12,
)


def read(raw: bytes, disk: int = DISK) -> WriteLog:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(raw)
        return WriteLog.read(path, disk)


@settings(max_examples=40, deadline=None)
@given(_ITEMS, st.booleans(), st.integers(0, 1 << 16), st.binary(max_size=600))
def test_a_log_cut_at_any_byte_gives_its_whole_entries(
    items: list[Item], superblock: bool, cut: int, garbage: bytes
) -> None:
    raw = log_bytes(items, superblock=superblock)
    whole = read(raw)
    assert [(e.sector, e.flags) for e in whole.entries] == [(i.sector, i.flags) for i in items]
    assert whole.torn_bytes == 0

    short = read(raw[: cut % (len(raw) + 1)])
    assert short.entries == whole.entries[: len(short.entries)]
    end = short.sector_size + sum(512 + (0 if e.is_discard else e.length) for e in short.entries)
    assert end + short.torn_bytes == max(cut % (len(raw) + 1), end)

    dirty = read(raw + garbage)
    assert dirty.entries[: len(items)] == whole.entries


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=4096))
def test_garbage_is_no_reason_to_raise(raw: bytes) -> None:
    log = read(raw)
    for entry in log.entries:
        assert entry.length <= DISK
        assert entry.sector * log.sector_size + entry.length <= DISK


def test_what_the_report_counts() -> None:
    log = read(
        log_bytes(
            [
                Item(8, b"a" * 1024),
                flush(),
                Item(16, b"b" * 512),
                discard(32, 4),
                Item(9, b"c" * 512),
            ]
        )
    )
    assert [e.index for e in log.writes] == [0, 2, 4]
    assert [e.index for e in log.flushes] == [1]
    assert [e.index for e in log.discards] == [3]
    assert log.bytes_written == 2048
    assert log.settled == 2
    assert [e.index for e in log.in_flight] == [2, 4]
    assert (log.superblock, log.sector_size, log.torn_bytes) == (True, 512, 0)


def test_a_log_without_any_flush_is_in_flight_as_a_whole() -> None:
    log = read(log_bytes([Item(8, b"a" * 512)], superblock=False))
    assert (log.settled, len(log.in_flight), log.superblock) == (0, 1, False)


def test_a_hole_ends_the_log() -> None:
    # QEMU reserves room for an entry and writes it later; the one behind may be there first.
    raw = bytearray(log_bytes([Item(8, b"a" * 512), Item(16, b"b" * 512), Item(24, b"c" * 512)]))
    raw[512 + 1024 : 512 + 2048] = bytes(1024)
    log = read(bytes(raw))
    assert [e.sector for e in log.entries] == [8]
    assert log.torn_bytes == 2048


def test_an_entry_beyond_the_disk_ends_the_log() -> None:
    log = read(log_bytes([Item(0, b"a" * 512), Item(DISK // 512, b"b" * 512)]))
    assert len(log.entries) == 1


def test_unknown_flags_end_the_log_and_marks_are_stepped_over() -> None:
    mark = Item(flags=MARK)
    assert len(read(log_bytes([mark, Item(0, b"a" * 512)])).entries) == 2
    assert read(log_bytes([Item(flags=32), Item(0, b"a" * 512)])).entries == ()


@pytest.mark.parametrize("size", [512, 4096])
def test_the_sector_size_is_found_without_a_superblock(size: int) -> None:
    log = read(log_bytes([Item(1, b"a" * size), flush()], size, superblock=False))
    assert (log.sector_size, len(log.entries)) == (size, 2)


@pytest.mark.parametrize("sector", [0, 100, 1000, 1 << 31])
def test_a_superblock_with_an_impossible_sector_size_is_none(sector: int) -> None:
    raw = bytearray(log_bytes([Item(1, b"a" * 512)]))
    raw[: SUPERBLOCK.size] = SUPERBLOCK.pack(MAGIC, 1, 1, sector)
    log = read(bytes(raw))
    assert (log.superblock, log.sector_size, len(log.entries)) == (False, 512, 1)


def test_a_log_that_is_not_there_is_an_error_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="No such file") as caught:
        WriteLog.read(tmp_path / "none", DISK)
    assert "blklogwrites" in (caught.value.hint or "")


def test_the_data_of_a_write(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", [Item(8, b"a" * 512), Item(9, b"b" * 1024), flush()])
    log = WriteLog.read(path, DISK)
    assert [log.data(e) for e in log.entries] == [b"a" * 512, b"b" * 1024, b""]


def test_a_follower_sees_whole_entries_only_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    raw = log_bytes([Item(8, b"a" * 512), flush(), Item(16, b"b" * 1024)], superblock=False)
    path = tmp_path / "log"
    follower = LogFollower(path, DISK, patience=0.0)
    assert follower.count() == 0
    seen = []
    for end in range(0, len(raw) + 1, 256):
        path.write_bytes(raw[:end])
        seen.append((follower.count(), follower.writes()))
    assert seen[-1] == (3, 2)
    assert sorted(seen) == seen
    assert [e.index for e in follower.entries(1)] == [1, 2]
    assert count_entries(path, DISK) == 3


def test_a_follower_waits_for_a_hole_to_be_filled(tmp_path: Path) -> None:
    raw = bytearray(log_bytes([Item(8, b"a" * 512), Item(16, b"b" * 512)]))
    path = tmp_path / "log"
    path.write_bytes(bytes(512) + bytes(1024) + raw[1536:])
    follower = LogFollower(path, DISK, patience=0.0)
    assert follower.count() == 0
    path.write_bytes(bytes(raw))
    assert follower.count() == 2


def test_a_count_waits_for_an_entry_that_is_on_its_way(tmp_path: Path) -> None:
    # The second entry is whole, and its writer may have been told so; the first is late.
    raw = log_bytes([Item(8, b"a" * 512), Item(16, b"b" * 512)])
    path = tmp_path / "log"
    path.write_bytes(bytes(512) + bytes(1024) + raw[1536:])
    follower = LogFollower(path, DISK, patience=10.0)
    late = threading.Timer(0.05, path.write_bytes, [raw])
    late.start()
    assert follower.count() == 2
    late.join()


def test_a_count_gives_up_on_an_entry_that_never_comes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(log_bytes([Item(8, b"a" * 512), Item(16, b"b" * 512)])[:-1])
    assert LogFollower(path, DISK, patience=0.02).count() == 1


def test_looking_again_reads_no_old_entry(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", [Item(0, b"a" * 512)] * 50)
    follower = LogFollower(path, DISK)
    assert follower.count() == 50
    raw = bytearray(path.read_bytes())
    raw[512:1024] = HEADER.pack(0, 0, 64, 0).ljust(512, b"\0")  # now the first one is garbage
    path.write_bytes(bytes(raw) + log_bytes([flush()])[512:])
    assert follower.count() == 51
    assert follower.entries(50)[0].flags == FLUSH
