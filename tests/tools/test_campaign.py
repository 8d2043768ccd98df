"""Campaigns without a guest: states, recovery, the tree, resuming, reproducers, planted defects."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from junitparser import JUnitXml
from rich.console import Console

from harness.campaign import selfcheck as campaign_selfcheck
from harness.campaign.case import Case, load_case
from harness.campaign.examine import Examiner, FileBlocks
from harness.campaign.judge import judge_run
from harness.campaign.judge_again import judge_again
from harness.campaign.judging import Judging, campaign_lines
from harness.campaign.lab import Content, Lab, Source
from harness.campaign.listverdict import ListOracles
from harness.campaign.live import Live
from harness.campaign.minimise import minimise
from harness.campaign.recovery import chosen_parents
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.campaign.summary import summarise
from harness.campaign.workers import local_workers
from harness.crash import writelog
from harness.crash.blocks import BLOCK
from harness.crash.phases import Phase, PhaseReader
from harness.crash.plan import Cut, parse
from harness.crash.recorded import through_page_cache
from harness.crash.writelog import WriteLog
from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.disk.records import in_block, in_translator_block
from harness.disk.tree import TreeReader
from harness.errors import Exit, InfraError, UsageError
from harness.images.recipe import GuestOs, Variant
from harness.oracles.observed import Observed
from harness.oracles.selfcheck import debugfs
from harness.report.campaign import junit_xml, page
from harness.rundir import RunDir
from harness.verdicts import CrashModel, FindingClass, Judgement, Oracle, Verdict
from harness.workloads.journal import Ending, Outcome
from harness.workloads.scenario import Disk
from tests.pure.write_logs import Item, discard, flush, write_log
from tests.tools.cases import (
    before_and_after,
    campaign,
    case,
    journaled,
    list_case,
    unjournaled,
)
from tests.tools.images import SIZE, folder_in_memory, make

pytestmark = pytest.mark.tools


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as found:
        yield found


@pytest.fixture
def good(folder: Path) -> Case:
    base, changed = before_and_after(folder, "ext3")
    return case(folder, base, journaled(base, changed, folder))


def run(made: Case, wanted: Campaign, out: Path, workers: int = 1) -> dict[str, str]:
    """Judge a case; the verdicts of every state by its id, as the results have them."""
    with (
        RunDir(out, base=made.folder) as rundir,
        Store(out / "results.sqlite") as store,
        Live(Console(quiet=True)) as live,
        local_workers(workers) as executor,
    ):
        Judging(wanted, rundir, store, live, (executor, workers)).judge(made)
    return verdicts(out / "results.sqlite")


def verdicts(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT id, verdicts FROM states").fetchall())


def fails(found: dict[str, str], oracle: Oracle) -> set[str]:
    return {name for name, text in found.items() if f'"{oracle}":"F"' in text}


@pytest.mark.parametrize("fs", ["ext2", "ext3", "ext4"])
@pytest.mark.parametrize("os_", list(GuestOs))
def test_the_tree_is_what_debugfs_says(folder: Path, fs: str, os_: GuestOs) -> None:
    big = folder / "big"
    # Two levels of indirect blocks, and a hole in front.
    with big.open("wb") as file:
        file.seek(2000 * BLOCK)
        file.write(os.urandom(30 * BLOCK + 77))
    names = "".join(f"\nmkdir many/{n:03d}-{'x' * 100}" for n in range(40))
    image = make(
        folder / "a.raw",
        fs,
        f"write {big} big",
        "ln big other",
        f"symlink slow {'s' * 80}",
        "sif home/dir mode 041777",
        "sif home/dir uid 70000",
        "mknod pipe p",
        f"mkdir many{names}",
        os=os_,
    )
    with FileBlocks(image) as blocks:
        reader = TreeReader(blocks, image.stat().st_size // BLOCK)
        tree = reader.read()
        assert len([path for path in tree if path.startswith("many/")]) == 40
        for stat in ext2.stat_objects(image, [path for path in tree if path]):
            node, fields = tree[stat.path], stat.fields
            said = {
                "inode": str(node.inode),
                "mode": f"{node.mode:05o}" if node.mode > 0o777 else f"{node.mode:04o}",
                "uid": str(node.uid),
                "gid": str(node.gid),
                "links": str(node.links),
                "size": str(node.size),
                **({"target": node.target} if node.kind == "symlink" else {}),
            }
            assert stat.present and said == {key: fields[key] for key in said}, stat.path
            assert fields["type"].lower() == node.kind.lower()
        places = reader.file_blocks(tree["big"].inode)
        data = b"".join(bytes(BLOCK) if p is None else blocks.block(p) for p in places)
    assert data[: big.stat().st_size] == big.read_bytes()


@pytest.mark.parametrize("inode_size", [128, 256])
def test_attributes_and_times_are_read(folder: Path, inode_size: Literal[128, 256]) -> None:
    image = folder / "a.raw"
    disk = Disk(size=SIZE, journal_blocks=1024, inode_size=inode_size)
    ext2.mkfs(image, disk, Variant(fs="ext3"), GuestOs.LINUX)
    (folder / "long").write_bytes(b"l" * 300)  # too long for any inode
    debugfs(
        image,
        "mkdir dir",
        f"write {folder / 'long'} file",
        "ea_set file user.one value",
        f"ea_set -f {folder / 'long'} file user.long",
        "ea_set dir trusted.two 2",
        "sif file mtime @1234567890",
    )
    with FileBlocks(image) as blocks:
        tree = TreeReader(blocks, image.stat().st_size // BLOCK).read()
    assert tree["file"].records == (("user.long", b"l" * 300), ("user.one", b"value"))
    assert tree["dir"].records == (("trusted.two", b"2"),) and tree[""].records == ()
    said = ext2.stat_objects(image, ["file"])[0].fields
    assert tree["file"].mtime == 1234567890, said


def test_a_translator_of_the_hurd_is_read_from_its_block() -> None:
    record = b"/hurd/null\0-f\0"
    block = len(record).to_bytes(2, "little") + record
    assert in_translator_block(block.ljust(BLOCK, b"\0")) == (("gnu.translator", record),)
    for wrong, read in ((b"\xff\xff", in_translator_block), (bytes(BLOCK), in_block)):
        with pytest.raises(ValueError, match=r"longer|magic"):
            read(wrong)


def test_a_damaged_tree_is_said_to_be_unreadable(folder: Path) -> None:
    image = make(folder / "a.raw", "ext2", "sif home block[0] 999999")
    with FileBlocks(image) as blocks, pytest.raises(Exception, match="no block 999999"):
        TreeReader(blocks, image.stat().st_size // BLOCK).read()


def test_every_state_of_a_good_journal_passes_and_each_content_is_checked_once(
    good: Case, folder: Path
) -> None:
    wanted = campaign()
    with Lab(Source(good.folder), folder) as lab:
        last = lab.image(Cut(CrashModel.PREFIX, lab.entries))
        sparse_copy(last, folder / "killed.raw")
    found = run(good, wanted, folder / "out")
    lying = {name for name in found if name.startswith("lying")}
    assert all("F" not in text for name, text in found.items() if name not in lying)
    assert {name.split("-")[0].split(":")[0] for name in found} == {
        "kill",
        "prefix",
        "subset",
        "torn",
        "lying",
        "recovery",
    }
    with Store(folder / "out" / "results.sqlite") as store:
        lines = campaign_lines(wanted, store, ["made"])
        assert all(line.ok for line in lines), [line for line in lines if not line.ok]
        assert store.distinct(good.name) < len(found)


def test_an_op_list_is_judged_as_the_same_steps_are(folder: Path) -> None:
    """Two models, one log: the verdicts of the states are the same."""
    base, changed = before_and_after(folder, "ext3")
    items = journaled(base, changed, folder)
    steps = folder / "steps"
    steps.mkdir()
    for name in ("base.raw", "logged.raw"):
        sparse_copy(folder / name, steps / name)
    one = case(steps, steps / "base.raw", items)
    other = list_case(folder, base, items)
    assert load_case(folder) == other
    told = set()
    with Lab(Source(one.folder), folder) as first, Lab(Source(other.folder), folder) as second:
        for cut in one.plan(campaign()).cuts():
            rows = first.row(cut), second.row(cut)
            said = [{j.oracle: j.verdict for j in row.judgements} for row in rows]
            honest = cut.model is not CrashModel.LYING
            # Where a tree is of no moment, the list's durability is not known.
            assert said[0] == said[1] or said[1][Oracle.DURABILITY] is Verdict.VOID, cut.id
            assert not honest or Verdict.FAIL not in said[1].values()
            told |= {(oracle, verdict) for oracle, verdict in said[1].items()}
    assert (Oracle.DURABILITY, Verdict.FAIL) in told


def test_the_quick_way_says_what_the_slow_way_says(good: Case, folder: Path) -> None:
    """On all states of a log: the verdicts, and the trees that recovery leaves."""
    own = folder / "own"
    own.mkdir()
    quick = 0
    with Lab(Source(good.folder), own) as lab:
        examiner: Examiner = lab._examiner
        for cut in good.plan(campaign()).cuts():
            seen = examiner.see(cut)
            examiner.work.go(cut)
            slow = examiner._slowly(seen.number)
            assert seen.structure.verdict is slow.structure.verdict
            assert seen.boot.verdict is slow.boot.verdict
            assert seen.tree.digest() == slow.tree.digest()
            assert seen.replayed == slow.replayed
            quick += seen.quick
    assert quick > 10


@pytest.mark.parametrize("defect", ["no flush before the commit", "no flush from then on"])
def test_a_journal_that_does_not_flush_fails_where_writes_overtake_each_other(
    folder: Path, defect: str
) -> None:
    base, changed = before_and_after(folder, "ext3")
    items = journaled(base, changed, folder)
    flushes = [index for index, item in enumerate(items) if item == flush()]
    gone = flushes[2:3] if "before" in defect else flushes[1:]
    made = case(folder, base, [item for n, item in enumerate(items) if n not in gone])
    found = run(made, campaign(subsets=60, recovery=0, torn=0, lying=0), folder / "out")
    assert not fails({n: t for n, t in found.items() if n.startswith("prefix")}, Oracle.STRUCTURE)
    bad = fails(found, Oracle.STRUCTURE)
    assert any(name.startswith("subset") for name in bad)
    with Store(folder / "out" / "results.sqlite") as store:
        barrier, *_ = store.log_verdicts(made.name)
    assert barrier.verdict is Verdict.FAIL


def test_a_log_reader_that_drops_flushes_is_noticed(
    good: Case, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good journal would look like one that never flushes: its campaign is not green."""
    monkeypatch.setattr(writelog.Entry, "is_flush", property(lambda entry: False))
    made = load_case(good.folder)
    wanted = campaign(recovery=0)
    (folder / "out").mkdir()
    with Store(folder / "out" / "results.sqlite") as store:
        judge_run(made, store)
        barrier, *_ = store.log_verdicts(made.name)
    assert barrier.verdict is Verdict.FAIL
    with Lab(Source(good.folder), folder) as lab:
        cuts = [cut for cut in made.plan(wanted).cuts() if cut.model is CrashModel.SUBSET]
        rows = [lab.row(cut) for cut in cuts]
    assert any(row.failed for row in rows)


def test_a_tail_that_moves_before_a_commit_block_needs_no_flush(folder: Path) -> None:
    """A checkpoint runs beside a commit, and the journal's superblock is in no transaction."""
    base, changed = before_and_after(folder, "ext3")
    items = journaled(base, changed, folder)
    made = case(folder, base, items)
    journal = made.journal_map
    assert journal is not None and journal.superblock_offset is not None
    (commit, _), *_ = made.commits
    with base.open("rb") as file:
        file.seek(journal.superblock_offset)
        superblock = bytearray(file.read(1024))
    superblock[0x1F] = 1  # the log begins at its first block, and is not empty
    tail = Item(journal.superblock_offset // 512, bytes(superblock))
    for extra, verdict in ((tail, Verdict.PASS), (items[commit - 2], Verdict.FAIL)):
        assert extra.data
        made = case(folder, base, [*items[:commit], extra, *items[commit:]])
        with Store(folder / f"{verdict}.sqlite") as store:
            judge_run(made, store)
            said = {each.oracle: each for each in store.log_verdicts(made.name)}
        assert said[Oracle.BARRIER].verdict is verdict, said[Oracle.BARRIER].reason


def test_a_fault_that_never_lands_is_no_green_campaign(folder: Path) -> None:
    base, _ = before_and_after(folder, "ext3")
    made = case(folder, base, [flush()])
    with pytest.raises(InfraError, match="no write of the workload"):
        run(made, campaign(), folder / "out")


@pytest.mark.parametrize(
    ("oracle", "where"),
    [
        (Oracle.PREFIX, "harness.oracles.names.NamesJudge.prefix"),
        (Oracle.DURABILITY, "harness.oracles.names.NamesJudge.durability"),
        (Oracle.STALE, "harness.oracles.contents.ContentsJudge.stale"),
        (Oracle.BARRIER, "harness.campaign.selfcheck.judge_barrier"),
    ],
)
def test_an_oracle_that_passes_all_fails_its_self_check(
    monkeypatch: pytest.MonkeyPatch, oracle: Oracle, where: str
) -> None:
    campaign_selfcheck.check_model_oracles()
    passed = Judgement(oracle, Verdict.PASS, "all is well")
    monkeypatch.setattr(where, lambda *_, **__: passed)
    with pytest.raises(InfraError, match=f"{oracle} fails its self-check"):
        campaign_selfcheck.check_model_oracles()


@pytest.mark.parametrize("oracle", [Oracle.DURABILITY, Oracle.PREFIX, Oracle.STALE])
def test_an_oracle_of_lists_that_passes_all_fails_its_self_check(
    folder: Path, monkeypatch: pytest.MonkeyPatch, oracle: Oracle
) -> None:
    campaign_selfcheck.check_list_oracles(folder)
    judge = ListOracles.judge

    def blind(self: ListOracles, cut: Cut, seen: Observed) -> tuple[Judgement, ...]:
        passed = Judgement(oracle, Verdict.PASS, "all is well")
        return tuple(passed if j.oracle is oracle else j for j in judge(self, cut, seen))

    monkeypatch.setattr(ListOracles, "judge", blind)
    with pytest.raises(InfraError, match=f"{oracle} fails its self-check"):
        campaign_selfcheck.check_list_oracles(folder)


def test_a_quick_way_that_passes_all_fails_its_self_check(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_selfcheck.check_quick_way(folder)
    monkeypatch.setattr("harness.campaign.examine.HARMLESS", frozenset({*"x"}))
    campaign_selfcheck.check_quick_way(folder)  # all goes the slow way: the same verdicts
    monkeypatch.setattr("harness.campaign.examine.HARMLESS", frozenset(FindingClass))
    with pytest.raises(InfraError, match="fails its self-check"):
        campaign_selfcheck.check_quick_way(folder)


_JUDGE = """
import sys
from pathlib import Path
from tests.tools.cases import campaign
from tests.tools.test_campaign import run
from harness.campaign.case import load_case
if __name__ == "__main__":
    folder, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    run(load_case(folder), campaign(torn=160), out, workers)
"""


def test_a_campaign_that_was_killed_goes_on_and_ends_as_any_other(good: Case, folder: Path) -> None:
    whole = run(good, campaign(torn=160), folder / "whole", workers=1)
    out = folder / "killed"
    script = folder / "judge_it.py"
    script.write_text(_JUDGE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, str(script), str(good.folder), str(out), "2"]
    results, contents = out / "results.sqlite", set[tuple[str, ...]]()
    for states in (1, 60, 150):  # killed again and again, each time a bit later
        process = subprocess.Popen(argv, env=environment, start_new_session=True)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and _count(results) <= states:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = verdicts(results)
        assert states < len(before) < len(whole)
        assert all(whole[name] == said for name, said in before.items())
        assert contents <= _contents(results)  # what was examined was not examined again
        contents = _contents(results)
    assert run(good, campaign(torn=160), out, workers=2) == whole
    assert contents <= _contents(results)


def _count(path: Path) -> int:
    try:
        with closing(sqlite3.connect(path)) as db:
            return int(db.execute("SELECT count(*) FROM states").fetchone()[0])
    except sqlite3.Error:
        return 0


def _contents(path: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return set(db.execute("SELECT * FROM contents").fetchall())


def test_a_failure_is_saved_small_and_judged_again_without_the_run(folder: Path) -> None:
    base, changed = before_and_after(folder, "ext2")
    for image in (base, changed):
        debugfs(image, "ssv state 0")
    noise = [Item(4000 * 8 + 8 * n, bytes([n]) * BLOCK) for n in range(1, 6)]
    made = case(folder, base, [*noise, *unjournaled(base, changed), *noise], synced=False)
    found = run(made, campaign(recovery=0), folder / "out")
    assert fails(found, Oracle.STRUCTURE)
    saved = sorted((folder / "out" / "failures").iterdir())
    assert saved
    with Store(folder / "out" / "results.sqlite") as store:
        store.set_meta("campaign", campaign(recovery=0).model_dump_json(exclude_unset=True))
        summary = summarise(store, folder / "out")
    text = page(summary)
    assert summary.tone == "fail" and summary.next_step.startswith("hurdle judge ")
    assert all(f"hurdle judge {each}" in text for each in saved) and "<svg" in text
    assert JUnitXml.fromstring(junit_xml(summary)).failures > 0
    (base.parent / "base.raw").unlink()  # nothing of the run is needed
    for each in saved:
        assert judge_again(each, folder / "state.raw") is Exit.UNEXPECTED
        shown = subprocess.run([each / "show.sh"], capture_output=True, text=True, check=True)
        assert "after e2fsck -p" in shown.stdout
        assert "hurdle judge" in (each / "README.md").read_text()


def test_the_page_cache_writes_each_page_once_between_two_flushes(folder: Path) -> None:
    base = folder / "base.raw"
    base.write_bytes(b"b" * 4 * BLOCK)
    items = [Item(9, b"1" * 512), Item(0, b"2" * BLOCK), Item(10, b"3" * 512), flush()]
    items += [Item(8, b"4" * 512), discard(16, 8), flush()]
    raw = WriteLog.read(write_log(folder / "raw", items), 4 * BLOCK)
    log = folder / "log"
    log.write_bytes(through_page_cache(raw, base))
    seen = WriteLog.read(log, 4 * BLOCK)
    told = [(e.sector // 8, seen.data(e)) if e.is_write else "flush" for e in seen.entries]
    page = b"b" * 512 + b"1" * 512 + b"3" * 512 + b"b" * 5 * 512
    assert told == [
        *[(0, b"2" * BLOCK), (1, page), "flush"],
        *[(1, b"4" * 512 + page[512:]), (2, bytes(BLOCK)), "flush"],
    ]


def test_only_what_an_honest_disk_leaves_is_recovered_twice() -> None:
    names = ["lying-00004-without-1", "overlap-00004-without-1", "recovery:prefix-00001~x"]
    assert chosen_parents(names, 5, 1) == ()
    honest = [f"prefix-{n:05d}" for n in range(9)]
    chosen = chosen_parents([*names, *honest], 3, 1)
    assert len(set(chosen)) == 3 and chosen == chosen_parents([*honest], 3, 1)


def test_minimising_keeps_the_cause_and_drops_the_rest() -> None:
    tried = []

    def needs(cut: Cut) -> bool:
        tried.append(cut)
        return {7, 11} <= cut.missing and cut.upto >= 20

    first = Cut(CrashModel.SUBSET, 40, frozenset(range(3, 30)))
    smallest = minimise(first, 40, needs)
    assert smallest == Cut(CrashModel.SUBSET, 20, frozenset({7, 11}))
    assert len(tried) < 60
    whole = minimise(first, 40, lambda cut: cut.upto >= 5)
    assert whole == Cut(CrashModel.PREFIX, 5)


def test_a_saved_state_is_the_one_that_its_name_says(good: Case, folder: Path) -> None:
    cut = parse("subset-00004-without-2")
    with Lab(Source(good.folder), folder) as lab:
        row = lab.row(cut)
        again = lab.examine(Content(row.number, (cut,)))
    assert again.rows[0] == row


def test_the_phases_of_a_commit_are_seen_in_its_log(good: Case) -> None:
    journal = good.journal_map
    assert journal is not None
    reader = PhaseReader(good.log_path, journal)
    seen = [phase for entry in good.log.entries if (phase := reader.take((entry,)))]
    assert seen == [Phase.LOG, Phase.FLUSHED, Phase.COMMIT, Phase.SAFE, Phase.CHECKPOINT]


def test_a_run_that_hung_or_was_lied_to_fails_as_a_whole(good: Case, tmp_path: Path) -> None:
    lied = Outcome(Ending.ALL, 1, "", "flush", 3, lasting=True)
    for outcome, oracle in ((Outcome(Ending.HANG, 1), Oracle.LIVENESS), (lied, Oracle.ERROR)):
        made = replace(good, outcome=outcome)
        made.save()
        assert load_case(made.folder).outcome == outcome
        with Store(tmp_path / f"{oracle}.sqlite") as store:
            judge_run(made, store)
            said = {each.oracle: each.verdict for each in store.log_verdicts(made.name)}
        assert said[oracle] is Verdict.FAIL


def test_a_store_that_was_killed_before_its_first_table_is_a_new_one(folder: Path) -> None:
    path = folder / "results.sqlite"
    path.touch()
    with Store(path) as store:
        assert not store.failures("none")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(UsageError, match="another version"), Store(path):
        pass
