"""Trials of a campaign: what may be said, what the disk is told, what a run's end means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from harness.campaign.spec import Campaign
from harness.crash.phases import tagged
from harness.experiment.trial import KillAt
from harness.machine.argv import qemu_argv
from harness.machine.faults import DiskFault, below, blkdebug
from harness.oracles.outcome import judge_error, judge_liveness
from harness.verdicts import Oracle, Verdict
from harness.workloads.journal import Ending, Outcome
from tests.pure.test_machine_argv import DISK, PATHS, spec, values

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


def test_an_instant_is_drawn_by_its_seed() -> None:
    kills = [KillAt.model_validate({"within": "20s", "seed": n}) for n in range(50)]
    instants = {kill.instant for kill in kills}
    assert len(instants) == 50 and all(0 <= instant <= 20 for instant in instants)
    assert kills[3].name == "within-20s-3" and kills[3].instant == kills[3].instant


def test_a_run_on_a_failing_disk_ends_with_a_sync_that_has_to_tell() -> None:
    made = campaign({"fault": {"fail": "flush", "op": 2}})
    (trial,) = made.fates
    assert [step.name for step in made.workload(0, trial)] == ["mkdir", "sync", "mkdir", "sync"]
    assert [step.name for step in made.workload(0)] == ["mkdir", "sync", "mkdir"]
    assert made.run_oracles == (Oracle.BARRIER, Oracle.LIVENESS, Oracle.ERROR)


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
