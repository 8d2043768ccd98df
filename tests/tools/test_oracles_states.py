"""Whole states: recovered on copies and judged, one by one and in a row."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.crash.states import CrashState, StateBuilder
from harness.crash.writelog import WriteLog
from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.disk.jbd2 import MAGIC, commits_in, journal_map
from harness.errors import InfraError, UsageError
from harness.images.recipe import GuestOs, Variant
from harness.oracles import selfcheck as selfcheck_module
from harness.oracles.context import Context
from harness.oracles.judge import StateReport, judge_state, judge_states
from harness.oracles.recover import examine
from harness.oracles.selfcheck import (
    debugfs,
    differing_blocks,
    samples,
    selfcheck,
    with_transaction,
)
from harness.verdicts import CrashModel, Oracle, Verdict
from harness.workloads.scenario import Disk, Fields, WatchedObject
from tests.pure.write_logs import Item, flush, write_log
from tests.tools.images import SIZE, folder_in_memory, make

pytestmark = pytest.mark.tools


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


BLOCK = 4096
NEW = WatchedObject(path="new", now=Fields(type="directory", mode="0775", links=2))


def context(
    state: CrashState | None = None, *, durable_from: int | None = None, workload_from: int = 0
) -> Context:
    model = state.model if state else CrashModel.KILL
    upto = state.upto if state else None
    return Context(model, upto, (NEW,), True, workload_from, durable_from, True)


def verdicts(report: StateReport) -> dict[Oracle, Verdict]:
    return {each.oracle: each.verdict for each in report.judgements}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def mkdir(tmp_path: Path) -> tuple[Path, Path]:
    """A file system before and after `mkdir new`."""
    base, changed = make(tmp_path / "base.raw"), tmp_path / "changed.raw"
    sparse_copy(base, changed)
    debugfs(changed, "mkdir new", "sif new mode 040775")
    return base, changed


def block(image: Path, number: int) -> bytes:
    with image.open("rb") as file:
        file.seek(number * BLOCK)
        return file.read(BLOCK)


def journaled_log(base: Path, changed: Path, folder: Path) -> WriteLog:
    """The writes of a journaled mkdir: flag, descriptor and data, flush, commit, flush, home."""
    logged = folder / "logged.raw"
    numbers = differing_blocks(base, changed)
    with_transaction(base, changed, numbers, logged)
    journal = journal_map(base)
    transaction = range(journal.disk_block(1), journal.disk_block(1) + len(numbers) + 1)
    commit = transaction[-1] + 1
    items = [
        Item(0, block(logged, 0)),
        Item(journal.disk_block(0) * 8, block(logged, journal.disk_block(0))),
        Item(transaction[0] * 8, b"".join(block(logged, n) for n in transaction)),
        flush(),
        Item(commit * 8, block(logged, commit)),
        Item(commit * 8, block(logged, commit)),  # written twice with the same bytes
        flush(),
        *(Item(number * 8, block(changed, number)) for number in numbers),
    ]
    return WriteLog.read(write_log(folder / "log", items), SIZE)


def row(
    base: Path,
    log: WriteLog,
    folder: Path,
    context_of: Callable[[CrashState], Context],
    workers: int,
) -> list[StateReport]:
    with StateBuilder(base, log, folder) as builder:
        return list(judge_states(builder, builder.prefixes(), context_of, folder, workers=workers))


@pytest.mark.parametrize("workers", [1, 3])
def test_every_prefix_of_a_journaled_mkdir_passes(
    mkdir: tuple[Path, Path], tmp_path: Path, workers: int
) -> None:
    base, changed = mkdir
    log = journaled_log(base, changed, tmp_path)
    ((commit, _), _) = commits_in(log, journal_map(base))
    before = digest(base)
    reports = row(base, log, tmp_path, lambda s: context(s, durable_from=commit + 1), workers)
    assert [report.id for report in reports] == [
        f"prefix-{n:04d}" for n in range(1, 1 + len(log.writes))
    ]
    assert {v for report in reports for v in verdicts(report).values()} == {Verdict.PASS}
    present = [report.seen.after[0].present for report in reports]
    assert present == [False] * 3 + [True] * (len(reports) - 3)  # from the commit block on
    assert [report.same_as for report in reports[:6]] == [
        None,
        None,
        None,
        None,
        "prefix-0004",
        None,
    ]
    assert digest(base) == before
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]  # no copies are left


def test_the_same_writes_without_a_journal_dangle(mkdir: tuple[Path, Path], tmp_path: Path) -> None:
    base, changed = mkdir
    for image in mkdir:
        debugfs(image, "feature -has_journal", "ssv state 0")
    numbers = differing_blocks(base, changed)
    # The directory first, its inode last: the order that a journal makes harmless.
    items = [Item(number * 8, block(changed, number)) for number in reversed(numbers)]
    log = WriteLog.read(write_log(tmp_path / "log", items), SIZE)
    reports = row(base, log, tmp_path, context, 2)
    dangling = [r for r in reports if r.seen.after[0].dangling]
    assert dangling
    for report in dangling:
        assert verdicts(report)[Oracle.OBJECT] is Verdict.FAIL
        assert verdicts(report)[Oracle.STRUCTURE] is Verdict.FAIL
        structure = report.judgements[0]
        assert "dangling-entry" in {finding.code for finding in structure.findings}
        assert not report.seen.recovery  # without a journal nothing is recovered
    assert verdicts(reports[-1])[Oracle.OBJECT] is Verdict.PASS


def test_the_same_bytes_may_pass_before_an_acknowledgement_and_fail_after(
    mkdir: tuple[Path, Path], tmp_path: Path
) -> None:
    base, _ = mkdir
    items = [Item(0, block(base, 0)), Item(0, block(base, 0))]
    log = WriteLog.read(write_log(tmp_path / "log", items), SIZE)
    first, second = row(base, log, tmp_path, lambda s: context(s, durable_from=2), 2)
    assert second.same_as == first.id
    assert verdicts(first)[Oracle.OBJECT] is Verdict.PASS
    assert verdicts(second)[Oracle.OBJECT] is Verdict.FAIL


def test_an_error_in_one_state_ends_the_row_and_leaves_nothing(
    mkdir: tuple[Path, Path], tmp_path: Path
) -> None:
    base, _ = mkdir
    log = WriteLog.read(write_log(tmp_path / "log", [Item(0, block(base, 0))] * 3), SIZE)
    seen = []

    def failing(state: CrashState) -> Context:
        seen.append(state.id)
        if len(seen) == 3:
            raise InfraError("the host broke")
        return context(state)

    with pytest.raises(InfraError, match="the host broke"):
        row(base, log, tmp_path, failing, 2)
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


@pytest.fixture
def logged(mkdir: tuple[Path, Path], tmp_path: Path) -> Path:
    base, changed = mkdir
    image = tmp_path / "disk.raw"
    with_transaction(base, changed, differing_blocks(base, changed), image)
    return image


def test_a_state_is_not_written_to(logged: Path, tmp_path: Path) -> None:
    before = digest(logged)
    report = judge_state(logged, context(), tmp_path)
    assert set(verdicts(report).values()) == {Verdict.PASS}
    assert not report.seen.before[0].present and report.seen.after[0].present
    assert report.seen.superblock.needs_recovery and not report.seen.recovered.needs_recovery
    assert digest(logged) == before


def test_data_in_the_log_and_a_clear_flag_is_mainlines_case(logged: Path, tmp_path: Path) -> None:
    debugfs(logged, "feature -needs_recovery", "ssv state 0")
    report = judge_state(logged, context(), tmp_path)
    assert verdicts(report) == {
        Oracle.STRUCTURE: Verdict.PASS,
        Oracle.BOOT: Verdict.FAIL,
        Oracle.OBJECT: Verdict.PASS,
    }
    structure, boot, _ = report.judgements
    for judgement in (structure, boot):
        assert "journal-flag-clear-with-data" in {f.code for f in judgement.findings}
    assert report.seen.flag_set


def test_pure_recovery_does_not_mend_what_a_full_check_would(
    mkdir: tuple[Path, Path], tmp_path: Path
) -> None:
    # VALID is clear, so `e2fsck -p` checks all and mends the bitmap without a word.
    _, image = mkdir
    debugfs(image, "freeb 3", "ssv state 0")
    report = judge_state(image, context(), tmp_path)
    structure, boot, _ = report.judgements
    for judgement in (structure, boot):
        assert judgement.verdict is Verdict.FAIL
        assert "block-bitmap-differences" in {f.code for f in judgement.findings}


def unlinked_while_open(image: Path, *more: str) -> None:
    """Make home/file what a kill leaves of a file that was unlinked while open."""
    debugfs(
        image,
        "unlink home/file",
        "sif <14> links_count 0",
        "sif <14> dtime 0",
        "ssv last_orphan 14",
        *more,
    )


def test_an_orphan_and_a_superblock_that_come_with_the_log(
    mkdir: tuple[Path, Path], tmp_path: Path
) -> None:
    # The superblock in the log has VALID clear, so that `e2fsck -p` would go on to check all.
    base, changed = mkdir
    unlinked_while_open(changed, "ssv state 0")
    image = tmp_path / "disk.raw"
    with_transaction(base, changed, [0, *differing_blocks(base, changed)], image)
    report = judge_state(image, context(), tmp_path)
    structure = report.judgements[0]
    assert structure.verdict is Verdict.PASS, structure.reason
    assert {"journal-replayed", "orphan-released"} <= {f.code for f in structure.findings}
    commands = [run.command for run in report.seen.recovery]
    assert commands == ["e2fsck -p -E journal_only recovered.raw"]


@pytest.mark.parametrize("state", [0, 1, 2])
def test_orphans_are_released_whatever_the_state_flags_say(
    mkdir: tuple[Path, Path], tmp_path: Path, state: int
) -> None:
    _, image = mkdir
    unlinked_while_open(image, f"ssv state {state}")
    structure = judge_state(image, context(), tmp_path).judgements[0]
    assert structure.verdict is Verdict.PASS, structure.reason
    assert "orphan-released" in {f.code for f in structure.findings}


def test_damage_beside_an_orphan_is_not_mended_by_its_release(
    mkdir: tuple[Path, Path], tmp_path: Path
) -> None:
    _, image = mkdir
    # The error flag forces a check at boot.
    unlinked_while_open(image, "ssv state 2", "sif home/dir links_count 9")
    report = judge_state(image, context(), tmp_path)
    structure, boot, _ = report.judgements
    assert "wrong-link-count" in {f.code for f in structure.findings}
    assert (structure.verdict, boot.verdict) == (Verdict.FAIL, Verdict.FAIL)


@pytest.mark.parametrize("where", [1024, 0])
def test_a_state_without_a_file_system_is_a_verdict_and_no_exception(
    logged: Path, tmp_path: Path, where: int
) -> None:
    with logged.open("r+b") as file:
        file.seek(where)
        file.write(b"\xa5" * (1024 if where else 8 << 20))
    report = judge_state(logged, context(), tmp_path)
    assert set(verdicts(report).values()) == {Verdict.FAIL}


def test_the_journals_inode_lost_is_a_verdict_and_no_exception(
    tmp_path: Path,
) -> None:
    image = make(tmp_path / "disk.raw", "ext3", "clri <8>", "ssv jnl_backup_type 0")
    assert verdicts(judge_state(image, context(), tmp_path))[Oracle.STRUCTURE] is Verdict.FAIL


def test_objects_of_every_type(tmp_path: Path) -> None:
    long = "x" * 80
    image = make(tmp_path / "disk.raw", "ext2", f"symlink slow {long}")
    paths = ["home/dir", "home/file", "link", "slow", "home/nothing", "home/file/below"]
    found = dict(zip(paths, ext2.stat_objects(image, paths), strict=True))
    assert found["home/dir"].fields["type"] == "directory"
    assert found["home/file"].fields["size"] == "5000"
    assert found["home/file"].fields["blockcount"] == "16"
    assert found["link"].fields["target"] == "home/file"
    assert found["slow"].fields["target"] == long
    assert not found["home/nothing"].present and not found["home/nothing"].unreadable
    assert not found["home/file/below"].present and not found["home/file/below"].unreadable


def test_the_self_check_passes_here(tmp_path: Path) -> None:
    selfcheck(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_self_check_notices_an_oracle_that_passes_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = samples(tmp_path)[0]

    def same_image_for_all(folder: Path) -> tuple[selfcheck_module.Sample, ...]:
        wanted = {Oracle.STRUCTURE: Verdict.FAIL}
        return (selfcheck_module.Sample("a bad image", good.image, wanted),)

    monkeypatch.setattr(selfcheck_module, "samples", same_image_for_all)
    with pytest.raises(InfraError, match="structure fails its self-check: a bad image"):
        selfcheck(tmp_path)


@pytest.mark.parametrize("fs", ["ext2", "ext3", "ext4"])
@pytest.mark.parametrize("os", list(GuestOs))
def test_mkfs_makes_what_was_asked_for_and_the_same_each_time(
    tmp_path: Path, fs: str, os: GuestOs
) -> None:
    variant = Variant(fs=fs)
    for name in ("a", "b"):
        ext2.mkfs(tmp_path / name, Disk(size=SIZE), variant, os)
    made = ext2.superblock(tmp_path / "a")
    assert made.valid and made.blocks * BLOCK == SIZE and made.has_journal == (fs != "ext2")
    seen = examine(tmp_path / "a", ("lost+found",), tmp_path)
    assert seen.check.damage == () and seen.after[0].present
    assert (tmp_path / "a").stat().st_blocks * 512 < SIZE // 2


def test_a_disk_too_small_for_its_journal_is_refused(tmp_path: Path) -> None:
    # mke2fs warns, leaves the journal out and exits with 0.
    with pytest.raises(UsageError, match="no journal") as caught:
        ext2.mkfs(tmp_path / "a", Disk(size=7 << 20), Variant(fs="ext3"), GuestOs.LINUX)
    assert "larger disk" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="mke2fs refuses"):
        disk = Disk(size=8 << 20, journal_blocks=4096)
        ext2.mkfs(tmp_path / "a", disk, Variant(fs="ext3"), GuestOs.LINUX)


def test_a_journal_of_a_broken_mebibyte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1100 blocks"):
        disk = Disk(size=SIZE, journal_blocks=1100)
        ext2.mkfs(tmp_path / "a", disk, Variant(fs="ext3"), GuestOs.LINUX)


def test_logdump_tells_the_transaction(logged: Path) -> None:
    text = ext2.logdump(logged, 1024)
    assert "descriptor block" in text and "commit block" in text


def test_logdump_of_a_log_that_is_full_comes_to_an_end(tmp_path: Path) -> None:
    """A log that has gone round: behind the newest transaction lies the oldest."""
    image = make(tmp_path / "disk.raw", fs="ext3")
    journal = journal_map(image)
    count = (len(journal.disk_blocks) - 1) // 3
    with image.open("r+b") as file:
        for number in range(count):
            tid = number + (1 if number > 100 else 1 + count)  # the newest hundred lie in front
            tag = struct.pack(">II", 2000, 0xA)
            blocks = (
                struct.pack(">III", MAGIC, 1, tid) + tag,
                b"",
                struct.pack(">III", MAGIC, 2, tid),
            )
            for offset, block in enumerate(blocks):
                file.seek(journal.disk_block(1 + 3 * number + offset) * journal.block_size)
                file.write(block.ljust(journal.block_size, b"\0"))
        file.seek(journal.disk_block(0) * journal.block_size + 0x18)
        file.write(struct.pack(">II", count + 1, 1))  # s_sequence, s_start
    text = ext2.logdump(image, len(journal.disk_blocks))
    assert count <= text.count("(commit block)") < 4 * count
