"""Campaigns without a guest: the states of a made log, recovered and judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.campaign.case import Case, load_case
from harness.campaign.examine import Examiner
from harness.campaign.judging import campaign_lines
from harness.campaign.lab import Content, Lab, Source
from harness.campaign.recovery import chosen_parents
from harness.campaign.store import Store
from harness.crash.blocks import BLOCK
from harness.crash.phases import Phase, PhaseReader
from harness.crash.plan import Cut, parse
from harness.crash.recorded import through_page_cache
from harness.crash.writelog import WriteLog
from harness.disk.copy import sparse_copy
from harness.verdicts import CrashModel, Oracle, Verdict
from tests.pure.write_logs import Item, discard, flush, write_log
from tests.tools.cases import (
    before_and_after,
    campaign,
    case,
    journaled,
    list_case,
)
from tests.tools.judged import run

pytestmark = pytest.mark.tools


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
