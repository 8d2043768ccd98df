"""Logs that QEMU itself writes: what the reader makes of them, and of a SIGKILL in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harness.crash.states import StateBuilder
from harness.crash.writelog import LogFollower, WriteLog, count_entries
from harness.errors import InfraError
from harness.process import run
from tests.tools.images import folder_in_memory

pytestmark = pytest.mark.tools


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


DISK = 8 << 20  # bytes


class Traffic:
    """A disk that qemu-io drives through blklogwrites."""

    def __init__(self, folder: Path) -> None:
        self.base, self.disk, self.log = (folder / n for n in ("base.raw", "disk.raw", "log"))
        for path in (self.base, self.disk):
            path.write_bytes(b"\xee" * DISK)
        self.log.touch()

    def drive(self, *commands: str, interval: int = 1) -> WriteLog:
        """Run qemu-io commands with a cache that needs flushing; the log that they leave.

        QEMU writes the log's superblock on a flush, and after every `interval` entries.
        """
        options = (
            f"driver=blklogwrites,log-sector-size=512,log-super-update-interval={interval},"
            f"file.driver=raw,file.file.driver=file,file.file.filename={self.disk},"
            f"log.driver=file,log.filename={self.log}"
        )
        argv = ["qemu-io", "--image-opts", "-t", "writeback"]
        argv += [word for command in commands for word in ("-c", command)]
        with suppress(InfraError):  # a run that ends with SIGKILL, as it was told to
            run([*argv, options], ok=None)
        return WriteLog.read(self.log, DISK)


@pytest.fixture
def traffic(tmp_path: Path) -> Traffic:
    return Traffic(tmp_path)


def flags(log: WriteLog) -> str:
    return "".join("F" if e.is_flush else "D" if e.is_discard else "w" for e in log.entries)


def test_writes_zeroes_discards_and_flushes(traffic: Traffic) -> None:
    log = traffic.drive(
        "write -P 1 4k 8k", "flush", "write -z 64k 4k", "discard 128k 64k", "write -f -P 2 0 512"
    )
    # A FUA write is logged as a write and a flush; qemu-io flushes once more when it ends.
    assert flags(log).startswith("wFwDwF")
    first, zeroes, discarded = log.entries[0], log.entries[2], log.entries[3]
    assert (first.sector, first.length, log.data(first)) == (8, 8192, b"\1" * 8192)
    assert log.data(zeroes) == bytes(4096)
    assert (discarded.sector, discarded.length) == (256, 65536)
    assert (log.superblock, log.torn_bytes, log.sector_size) == (True, 0, 512)


def test_a_kill_before_the_first_flush_leaves_no_superblock_and_all_entries(
    traffic: Traffic,
) -> None:
    log = traffic.drive("write -P 1 0 4k", "write -P 2 8k 4k", "sigraise 9", interval=4096)
    assert flags(log) == "ww"
    assert not log.superblock
    assert [log.data(entry)[0] for entry in log.writes] == [1, 2]
    assert len(log.in_flight) == 2
    assert count_entries(traffic.log) == 2


def test_a_kill_in_the_middle_of_many_requests_leaves_whole_entries_only(
    traffic: Traffic,
) -> None:
    many = [f"aio_write -q -P {n % 200 + 1} {n * 8}k 4k" for n in range(200)]
    log = traffic.drive(*many, "sigraise 9")
    seen = [(e.sector, log.data(e)[0]) for e in log.writes]
    assert all(
        log.data(e) == bytes([byte]) * 4096 for e, (_, byte) in zip(log.writes, seen, strict=True)
    )
    assert all(byte == sector // 16 % 200 + 1 for sector, byte in seen)


def test_the_whole_log_rebuilds_the_disk_byte_by_byte(traffic: Traffic) -> None:
    log = traffic.drive(
        "write -P 1 0 64k",
        "write -P 2 32k 64k",
        "flush",
        "write -z 40k 4k",
        "write -P 3 1M 512",
        "flush",
    )
    with StateBuilder(traffic.base, log, traffic.base.parent) as builder:
        builder.materialise(builder.prefixes()[-1])
        assert builder.image.read_bytes() == traffic.disk.read_bytes()
        builder.materialise(builder.cut(1))
        content = builder.image.read_bytes()
        assert content == b"\1" * 65536 + b"\xee" * (DISK - 65536)


def test_every_cut_of_a_real_log_is_read(traffic: Traffic) -> None:
    whole = traffic.drive("write -P 1 0 4k", "flush", "write -P 2 8k 512", "discard 64k 4k")
    raw = traffic.log.read_bytes()
    for end in range(0, len(raw), 128):
        traffic.log.write_bytes(raw[:end])
        log = WriteLog.read(traffic.log, DISK)
        assert log.entries == whole.entries[: len(log.entries)]


def test_a_follower_keeps_up_with_one_run_after_another(traffic: Traffic) -> None:
    follower = LogFollower(traffic.log, DISK)
    assert follower.count() == 0
    log = traffic.drive("write -P 1 0 4k", "flush", "write -P 2 8k 4k")
    assert follower.count() == len(log.entries)
    assert follower.writes() == 2
    assert follower.entries() == log.entries
