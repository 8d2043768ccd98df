"""Commit blocks are recognised in the write log, and only where the journal is."""

from __future__ import annotations

import struct
from pathlib import Path

from harness.crash.writelog import WriteLog
from harness.disk.jbd2 import (
    COMMIT,
    DESCRIPTOR,
    MAGIC,
    JournalMap,
    commit_begun_since,
    commits_in,
    joined_commits,
    parse_superblock,
)
from tests.pure.write_logs import Item, flush, write_log

BLOCK = 4096
JOURNAL = JournalMap(BLOCK, ((0, 100, 10), (10, 300, 14)))
DISK = 1 << 23


def block(kind: int, tid: int) -> bytes:
    return struct.pack(">III", MAGIC, kind, tid).ljust(BLOCK, b"\0")


def at(number: int, data: bytes) -> Item:
    return Item(number * BLOCK // 512, data)


def test_commits_are_found_in_single_and_in_merged_writes(tmp_path: Path) -> None:
    items = [
        at(101, block(DESCRIPTOR, 7) + b"d" * BLOCK),
        flush(),
        at(103, block(COMMIT, 7)),
        # Two transactions in one request, as an elevator may merge them.
        at(300, block(DESCRIPTOR, 8) + b"d" * BLOCK + block(COMMIT, 8) + block(COMMIT, 9)),
    ]
    log = WriteLog.read(write_log(tmp_path / "log", items), DISK)
    assert commits_in(log, JOURNAL) == ((2, 7), (3, 8), (3, 9))
    assert joined_commits(log, JOURNAL) == {3}


def test_what_follows_a_commit_block_in_its_write_is_of_the_next_transaction(
    tmp_path: Path,
) -> None:
    log = WriteLog.read(
        write_log(tmp_path / "log", [at(103, block(COMMIT, 7) + block(DESCRIPTOR, 8))]), DISK
    )
    assert commits_in(log, JOURNAL) == ((0, 7),) and not joined_commits(log, JOURNAL)


def test_only_a_commit_that_was_begun_later_ends_a_wait(tmp_path: Path) -> None:
    """Transaction 7 was closed when the operation returned (at entry 1), so it can't hold it."""
    items = [
        at(101, block(DESCRIPTOR, 7) + b"d" * BLOCK),
        at(103, block(COMMIT, 7)),
        at(104, block(DESCRIPTOR, 8) + b"d" * BLOCK),
        at(106, block(COMMIT, 8)),
    ]
    log = WriteLog.read(write_log(tmp_path / "log", items), DISK)
    seen = [commit_begun_since(log.path, log.entries[:n], 1, JOURNAL) for n in range(1, 5)]
    assert seen == [False, False, False, True]
    assert commit_begun_since(log.path, log.entries[:2], 0, JOURNAL)


def test_what_looks_like_a_commit_elsewhere_is_none(tmp_path: Path) -> None:
    items = [at(99, block(COMMIT, 7)), at(110, block(COMMIT, 7)), at(314, block(COMMIT, 7))]
    log = WriteLog.read(write_log(tmp_path / "log", items), DISK)
    assert commits_in(log, JOURNAL) == ()


def test_a_write_that_begins_within_a_block_is_looked_at_from_the_next_block_on(
    tmp_path: Path,
) -> None:
    items = [
        Item(100 * 8 + 4, bytes(2048) + block(COMMIT, 3)),
        Item(101 * 8, block(COMMIT, 4)[:512]),
    ]
    log = WriteLog.read(write_log(tmp_path / "log", items), DISK)
    assert commits_in(log, JOURNAL) == ((0, 3),)


def test_the_map_knows_its_blocks() -> None:
    assert JOURNAL.length == 24
    assert JOURNAL.disk_block(9) == 109
    assert JOURNAL.disk_block(10) == 300
    assert JOURNAL.superblock_offset == 100 * BLOCK
    assert JournalMap(BLOCK, ((5, 7, 1),)).superblock_offset is None


def test_the_journals_superblock() -> None:
    raw = struct.pack(">IIIIIIIIi", MAGIC, 4, 0, BLOCK, 1024, 1, 9, 5, -5) + struct.pack(
        ">III", 0, 1, 0
    )
    found = parse_superblock(raw.ljust(1024, b"\0"))
    assert (found.valid, found.start, found.sequence, found.max_len) == (True, 5, 9, 1024)
    assert (found.errno, found.incompat, found.has_data) == (-5, 1, True)
    assert not parse_superblock(bytes(1024)).valid
    assert not parse_superblock(b"short").valid
