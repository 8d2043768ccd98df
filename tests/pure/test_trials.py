"""Trials of a campaign: what may be said, what the disk is told, what a run's end means."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.campaign.compare import compare, exit_code
from harness.campaign.spec import Campaign
from harness.campaign.summary import _sentence
from harness.crash.phases import Phase, PhaseReader, revoked, tagged
from harness.crash.writelog import WriteLog
from harness.disk.jbd2 import COMMIT, DESCRIPTOR, MAGIC, REVOKE, JournalMap
from harness.errors import Exit
from harness.experiment.trial import KillAt, Killer
from harness.machine.argv import qemu_argv
from harness.machine.faults import DiskFault, below, blkdebug
from harness.oracles.outcome import judge_error, judge_landed, judge_liveness
from harness.report.campaign import OfRuns
from harness.verdicts import CrashModel, Oracle, Verdict
from harness.workloads.journal import Ending, Outcome
from tests.pure.sample_campaign import summary
from tests.pure.test_machine_argv import DISK, PATHS, spec, values
from tests.pure.write_logs import Item, flush, write_log

STEPS = [{"mkdir": "a"}, {"sync": {}}, {"mkdir": "b"}]


def campaign(*trials: dict[str, Any], **more: Any) -> Campaign:
    body = {"name": "own", "title": "own", "expect": {"ext3": {}}, "trials": trials}
    return Campaign.model_validate({**body, **(more or {"steps": STEPS})})


@pytest.mark.parametrize(
    ("trial", "wrong"),
    [
        ({}, "a `fault`, a `kill` or `boot: 2`"),
        ({"boot": 2}, "needs a `setup`"),
        ({"fault": {"fail": "write", "op": 9}}, "no operation 9"),
        ({"fault": {"fail": "erase"}}, "read"),
        ({"fault": {"fail": "flush", "where": "log"}}, "fail for good"),
        ({"fault": {"fail": "write", "where": "home", "count": 3}}, "fail for good"),
        ({"kill": {"phase": "lunch"}}, "checkpoint"),
        ({"kill": {}}, "or a `within`"),
        ({"kill": {"within": "work"}}, "a duration with its unit"),
        ({"kill": {"within": "workload"}, "ops": 9}, "which draws them"),
        ({"kill": {"phase": "commit", "within": "3s"}}, "or a `within`"),
    ],
)
def test_a_trial_that_can_not_be_is_refused(trial: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        campaign(trial)


def test_trials_are_runs_of_their_own_with_names_of_their_own() -> None:
    fault = {"fail": "write", "op": 1, "after": 2, "count": 3}
    home = {"fail": "write", "where": "home"}
    made = campaign({"fault": fault}, {"fault": home}, {"kill": {"phase": "commit", "nth": 2}})
    names = [trial.name for trial in made.fates if trial]
    assert names == ["write-eio-1-after2-times3", "write-eio-0-home", "kill-commit-2"]
    with pytest.raises(ValidationError, match="the same"):
        campaign({"fault": fault}, {"fault": fault})


def test_a_trial_may_have_more_operations_than_the_others() -> None:
    kill = {"phase": "checkpoint"}
    made = campaign({"kill": kill}, {"kill": kill, "ops": 30}, stress={"ops": 20, "seeds": [1]})
    few, many = made.fates
    assert few and many and many.name == "kill-checkpoint-1-30ops"
    assert (
        made.workload(1, many)[:20] == made.workload(1, few) and len(made.workload(1, many)) == 30
    )


def test_an_instant_is_drawn_by_its_seed() -> None:
    kills = [KillAt.model_validate({"within": "20s", "seed": n}) for n in range(50)]
    instants = {kill.instant for kill in kills}
    assert len(instants) == 50 and all(0 <= instant <= 20 for instant in instants)
    assert kills[3].name == "within-20s-3" and kills[3].instant == kills[3].instant


def test_an_instant_of_the_workload_is_in_an_operation_that_others_frame() -> None:
    kills = [KillAt.model_validate({"within": "workload", "seed": n}) for n in range(200)]
    places = [kill.place(6) for kill in kills]
    assert {op for op, _ in places} == {1, 2, 3, 4} and all(0 <= part < 1 for _, part in places)
    assert kills[3].name == "within-workload-3" and kills[3].place(6) == places[3]


@pytest.mark.parametrize("within", ["workload", "9s", "500ms"])
def test_a_campaign_that_is_kept_says_the_same_of_its_kills(within: str) -> None:
    made = campaign({"kill": {"within": within}, "ops": 9}, stress={"ops": 20, "seeds": [1]})
    kept = made.model_dump_json(by_alias=True, exclude_unset=True)
    assert Campaign.model_validate_json(kept) == made


def test_a_kill_in_an_operation_waits_for_it_and_for_a_share_of_its_usual_time() -> None:
    kill = KillAt.model_validate({"within": "workload", "seed": 1})
    op, part = kill.place(5)
    for reached in (True, False):
        killer = Killer(kill, 5)
        for index in range(op + reached):
            time.sleep(0.01)
            killer.begins(index)
        began = time.monotonic()
        if not reached:
            killer.end()
        assert killer.wait() is reached
        waited = time.monotonic() - began
        assert waited >= part * 0.01 if reached else f"in operation {op}" in killer.missed()


@pytest.mark.parametrize(
    ("kill", "why"),
    [({"phase": "checkpoint", "nth": 3}, "began 0 times of 3"), ({"within": "9s"}, "due after")],
)
def test_a_kill_that_did_not_come_says_why(kill: dict[str, Any], why: str) -> None:
    killer = Killer(KillAt.model_validate(kill), 3)
    killer.end()
    assert why in killer.missed() and "operations took 0.0 s" in killer.missed()
    killer.landed = 7
    assert not killer.missed() and not Killer(None, 3).missed()


def test_a_trial_that_missed_is_void_and_one_that_landed_is_not() -> None:
    hit = Outcome(Ending.CUT, 1, "killed at entry 7", trial="kill-commit-1")
    fault = replace(hit, fault="write", failed=3)
    said = {each: judge_landed(each, wrote=True).verdict for each in (hit, fault)}
    assert set(said.values()) == {Verdict.PASS}
    early = judge_landed(hit, wrote=False)
    late, idle = replace(hit, missed="too late"), replace(fault, failed=0)
    for judged in (early, judge_landed(late, wrote=True), judge_landed(idle, wrote=True)):
        assert judged.verdict is Verdict.VOID and "did not land" in judged.reason


def test_one_trial_that_missed_makes_the_verdict_of_all_void() -> None:
    made = campaign({"kill": {"phase": "commit"}})
    counts = [
        ("ext3-0", CrashModel.PREFIX, Oracle.LANDED, verdict, 1)
        for verdict in (Verdict.PASS, Verdict.VOID, Verdict.PASS)
    ]
    (line,) = (x for x in compare(made, "ext3", counts, {}) if x.oracle is Oracle.LANDED)
    assert line.found is Verdict.VOID and not line.ok and line.states == 3
    assert exit_code([line]) is Exit.VOID
    assert str(OfRuns(Verdict.VOID, 0, 3, 1)) == "VOID 1 of 3"
    assert str(OfRuns(Verdict.VOID, 0, 3, 3)) == "VOID"
    landed = {Oracle.LANDED: OfRuns(Verdict.VOID, 0, 3, 1)}
    side = replace(summary().sides[0], of_log=landed)
    assert _sentence(side) == "all 100 states pass, but 1 of 3 trials did not land"
    assert "safe in all 100 states" in _sentence(replace(side, of_log={}))


def test_a_run_on_a_failing_disk_ends_with_a_sync_that_has_to_tell() -> None:
    made = campaign({"fault": {"fail": "flush", "op": 2}})
    (trial,) = made.fates
    assert [step.name for step in made.workload(0, trial)] == ["mkdir", "sync", "mkdir", "sync"]
    assert [step.name for step in made.workload(0)] == ["mkdir", "sync", "mkdir"]
    landed = (Oracle.LANDED,)
    assert made.run_oracles == (Oracle.BARRIER, Oracle.LIVENESS, Oracle.ERROR, *landed)
    assert not set(landed) & set(campaign(steps=STEPS).run_oracles)


def test_the_setup_alone_comes_before_the_first_of_two_crashes() -> None:
    made = campaign({"boot": 2}, setup=[{"mkdir": "before"}], steps=STEPS)
    (trial,) = made.fates
    assert [step.name for step in made.prelude] == ["mkdir"]
    assert made.workload(0, trial) == made.steps
    with pytest.raises(ValidationError, match="`rounds` of `stress`"):
        campaign({"boot": 2}, stress={"ops": 10, "seeds": [3]})


def test_a_disk_that_can_fail_has_an_empty_layer_over_its_log_and_tells_the_guest() -> None:
    argv = qemu_argv(spec(replace(DISK, fallible=True)), "tcg", PATHS)
    nodes = values(argv, "-blockdev")
    assert f"driver=raw,node-name=crash,file={below('crash')}" in nodes
    assert any("blklogwrites" in node and f"node-name={below('crash')}" in node for node in nodes)
    assert "werror=report,rerror=report" in next(d for d in values(argv, "-device") if "crash" in d)


def test_requests_pass_before_a_fault_one_state_for_each() -> None:
    made = blkdebug(DiskFault("write", "ENOSPC", after=2, count=3), "crash")
    assert [(s["state"], s["new_state"]) for s in made["set-state"]] == [(1, 2), (2, 3)]
    assert len(made["inject-error"]) == 3
    assert all(r["state"] == 3 and r["once"] and r["errno"] == 28 for r in made["inject-error"])
    placed = blkdebug(DiskFault("write", sectors=(8, 80)), "crash")["inject-error"]
    assert [rule["sector"] for rule in placed] == [8, 80]
    lasting = blkdebug(DiskFault("flush"), "crash")
    assert "set-state" not in lasting and not lasting["inject-error"][0]["once"]


ENDED = Outcome(Ending.ALL, 1, "every operation returned", "write", 7, lasting=True)
NAMES = ("mkdir", "sync")


@pytest.mark.parametrize(
    ("outcome", "names", "verdict"),
    [
        (ENDED, NAMES, Verdict.FAIL),
        (replace(ENDED, fault="flush"), NAMES, Verdict.FAIL),
        (replace(ENDED, fault="read"), NAMES, Verdict.PASS),
        (replace(ENDED, lasting=False), NAMES, Verdict.PASS),
        (ENDED, ("sync", "mkdir"), Verdict.PASS),  # nobody asked for it to be on the disk
        (replace(ENDED, ending=Ending.ERROR, text="`sync` failed"), NAMES, Verdict.PASS),
        (replace(ENDED, failed=0), NAMES, Verdict.VOID),
        (replace(ENDED, ending=Ending.HANG), NAMES, Verdict.VOID),
    ],
)
def test_who_gets_success_from_a_disk_that_failed_for_good_was_lied_to(
    outcome: Outcome, names: tuple[str, ...], verdict: Verdict
) -> None:
    assert judge_error(outcome, names).verdict is verdict


@pytest.mark.parametrize("ending", [Ending.HANG, Ending.DIED])
def test_liveness_names_the_operation_that_hangs(ending: Ending) -> None:
    said = judge_liveness(Outcome(ending, 1, "no answer"), ("mkdir a", "sync"))
    assert said.verdict is Verdict.FAIL and "`sync`" in said.reason and "no answer" in said.reason
    assert said.findings


@pytest.mark.parametrize("ending", [Ending.ALL, Ending.ERROR, Ending.CUT])
def test_who_returns_lives(ending: Ending) -> None:
    said = judge_liveness(Outcome(ending, 0), ("mkdir a", "sync"))
    assert said.verdict is Verdict.PASS and "1 of 2" in said.reason


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


@pytest.mark.parametrize(
    ("incompat", "tags"),
    [
        # no checksums: block, flags; the first one is followed by a UUID
        (0, words(7, 0) + bytes(16) + words(9, 2) + words(11, 10)),
        (0x2, words(7, 0, 0) + bytes(16) + words(9, 2, 0) + words(11, 10, 0)),
        (0x10, words(7, 0, 0, 1) + bytes(16) + words(9, 2, 0, 1) + words(11, 10, 0, 1)),
    ],
)
def test_the_tags_of_a_descriptor_are_read_in_each_format(incompat: int, tags: bytes) -> None:
    raw = (bytes(12) + tags).ljust(4096, b"\xff")
    assert list(tagged(raw, incompat)) == [7, 9, 11]
    wide = bytes(12) + words(7, 10, 1)
    assert list(tagged(wide, 0x2)) == [7 | 1 << 32]


@pytest.mark.parametrize(("incompat", "wide"), [(0, 4), (0x10, 4), (0x2, 8)])
def test_the_blocks_of_a_revoke_block_are_read_in_each_format(incompat: int, wide: int) -> None:
    blocks = b"".join(number.to_bytes(wide, "big") for number in (7, 9, 1 << 20))
    raw = bytes(12) + words(16 + len(blocks)) + blocks
    assert list(revoked(raw.ljust(4096, b"\xff"), incompat)) == [7, 9, 1 << 20]
    assert not list(revoked((bytes(12) + words(16)).ljust(4096, b"\xff"), incompat))


def journal_block(kind: int, body: bytes = b"") -> bytes:
    return (words(MAGIC, kind, 1) + body).ljust(4096, b"\0")


def test_a_block_that_was_freed_and_is_written_by_its_next_owner_is_no_checkpoint(
    tmp_path: Path,
) -> None:
    """Blocks 50 and 51 are logged; the next transaction revokes 50, whose new owner writes it."""
    first, second = words(50, 0) + bytes(16) + words(51, 10), words(52, 8) + bytes(16)
    steps = [
        *((100, journal_block(DESCRIPTOR, first)), (101, bytes(4096)), (102, bytes(4096)), None),
        *((103, journal_block(COMMIT)), None),
        *((104, journal_block(DESCRIPTOR, second)), (105, bytes(4096))),
        *((106, journal_block(REVOKE, words(20, 50))), None),
        *((107, journal_block(COMMIT)), None, (50, bytes(4096)), (51, bytes(4096))),
    ]
    items = [flush() if step is None else Item(step[0] * 8, step[1]) for step in steps]
    path = write_log(tmp_path / "log", items)
    journal = JournalMap(4096, ((0, 100, 10),))
    reader = PhaseReader(path, journal)
    log = WriteLog.read(path, 200 * 4096)
    seen = {entry.index: phase for entry in log.entries if (phase := reader.take((entry,)))}
    assert [n for n, phase in seen.items() if phase is Phase.CHECKPOINT] == [len(items) - 1]
    assert Phase.SAFE in seen.values()
