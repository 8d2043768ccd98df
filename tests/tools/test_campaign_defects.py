"""Defects planted in a journal and in the harness itself: the campaign is not green."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign import selfcheck as campaign_selfcheck
from harness.campaign.case import Case, load_case
from harness.campaign.judge import run_verdicts
from harness.campaign.lab import Lab, Source
from harness.campaign.listverdict import ListOracles
from harness.campaign.store import Store
from harness.crash import writelog
from harness.crash.plan import Cut
from harness.errors import InfraError
from harness.oracles.observed import Observed
from harness.verdicts import CrashModel, FindingClass, Judgement, Oracle, Verdict
from harness.workloads.journal import Ending, Outcome
from tests.pure.write_logs import Item, flush
from tests.tools.cases import (
    before_and_after,
    campaign,
    case,
    journaled,
)
from tests.tools.judged import fails, run

pytestmark = pytest.mark.tools


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
    barrier, *_ = run_verdicts(made)
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
        said = {each.oracle: each for each in run_verdicts(made)}
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


@pytest.mark.parametrize("defect", ["answers", "judge_liveness"])
def test_an_oracle_that_passes_a_list_with_errors_fails_its_self_check(
    folder: Path, monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    def blind(*_: object) -> object:
        return Judgement(Oracle.LIVENESS, Verdict.PASS, "all is well") if "judge" in defect else ()

    monkeypatch.setattr(f"harness.campaign.judge.{defect}", blind)
    with pytest.raises(InfraError, match="liveness fails its self-check"):
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


def test_a_run_that_hung_or_was_lied_to_fails_as_a_whole(good: Case) -> None:
    lied = Outcome(Ending.ALL, 1, "", "flush", 3, lasting=True)
    for outcome, oracle in ((Outcome(Ending.HANG, 1), Oracle.LIVENESS), (lied, Oracle.ERROR)):
        made = replace(good, outcome=outcome)
        made.save()
        assert load_case(made.folder).outcome == outcome
        said = {each.oracle: each.verdict for each in run_verdicts(made)}
        assert said[oracle] is Verdict.FAIL
