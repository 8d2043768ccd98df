"""Campaign files, what they expect, and how failures are grouped."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from harness.campaign.compare import Count, compare, exit_code
from harness.campaign.group import groups
from harness.campaign.rows import Failure, cause_of
from harness.campaign.spec import Campaign, campaign_path, shipped_campaigns
from harness.cli import app
from harness.config import load
from harness.errors import Exit, UsageError
from harness.images.recipe import load_recipe
from harness.verdicts import (
    CAMPAIGN_ORACLES,
    CrashModel,
    Finding,
    FindingClass,
    Judgement,
    Oracle,
    Verdict,
)
from harness.workloads.agent.rules import LINUX

BODY = "name: own\ntitle: own\nexpect: {ext3: {}}\n"


@pytest.mark.parametrize("path", shipped_campaigns(), ids=lambda path: path.stem)
def test_shipped_campaigns_name_variants_that_their_guest_has(path: Path) -> None:
    campaign = load(path, Campaign)
    assert campaign.name == path.stem
    # What another guest has is for that one: `work` runs on both.
    guests = (campaign.guest, "linux-control", "hurd-i386-source")
    known = {variant for guest in guests for variant in load_recipe(guest).variants}
    assert set(campaign.expect) <= known
    assert set(campaign.expect) & set(load_recipe(campaign.guest).variants)
    if campaign.lists is not None:
        lists = campaign.lists.op_lists(LINUX)
        assert len({each.run for each in lists}) == len(lists)
        assert len(lists) > 200 or path.stem != "patterns"
        assert lists == campaign.lists.op_lists(LINUX)
        return
    for seed in campaign.seeds[:1]:
        steps = campaign.workload(seed)
        assert len(campaign.scenario(campaign.setup, steps).steps) == len(steps) + 1


def test_pages_are_taken_from_a_hurd_only() -> None:
    campaign = load(campaign_path("mutants-memory"), Campaign)
    assert campaign.lists is not None and campaign.lists.reclaim == 0.01
    assert campaign.recipe().name == "hurd-i386-source"
    with pytest.raises(UsageError, match="linux-control is no Hurd"):
        campaign.recipe("linux-control")


def test_a_campaign_changes_its_guest_and_the_command_line_changes_more() -> None:
    campaign = Campaign.model_validate(
        {
            "name": "small",
            "title": "small",
            "guest": "hurd-i386-source",
            "guest_set": ["machine.memory_mib=48", "boot.seconds=70"],
            "steps": [{"mkdir": "a"}],
            "expect": {"ours": {}},
        }
    )
    recipe = campaign.recipe(None, ["boot.seconds=80"])
    assert (recipe.machine.memory_mib, recipe.boot.seconds) == (48, 80)
    assert campaign.recipe("linux-control").machine.memory_mib == 48


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "one of `stress`, `lists`, `script` and `steps`"),
        ("stress: {ops: 3}\nsteps: [{mkdir: a}]", "one of `stress`, `lists`, `script` and `steps`"),
        ("stress: {weights: {fly: 3}}", "fly is none of"),
        ("lists: {}", "give patterns, sequences"),
        ("lists: {patterns: [nothing]}", "is none of"),
        ("lists: {mixes: [{mix: nothing}]}", "is none of"),
        ("lists: {sequences: [{length: 2}]}", "give a `count`"),
        ("lists: {patterns: all, reclaim: 10}", "a duration with its unit"),
        ("lists: {patterns: all, reclaim: 61s}", "less than or equal to 60"),
        ("steps: [{mkdir: a/b}]", "there is no"),
        ("steps: [{shell: x}]", "does not know what `shell` does"),
        ("steps: [{after: 1s}]", "is no operation"),
        ("lists: {texts: ['hurdle-ops 1 run=000001\n\n  thread\n\n  fly']}", "fly"),
        (
            "steps: [{mkdir: a}]\nstates: {prefixes: false, subsets: 0, torn: 0, lying: 0, "
            "recovery: 0}",
            "no crash model",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(tmp_path: Path, more: str, said: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"{BODY}{more}\n")
    with pytest.raises(UsageError, match=said):
        load(path, Campaign)


def test_a_campaign_is_found_by_name_and_by_file(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(BODY)
    assert campaign_path(str(path)) == path
    assert campaign_path("smoke").name == "smoke.yaml"
    with pytest.raises(UsageError, match="no campaign 'smoek'") as caught:
        campaign_path("smoek")
    assert "smoke" in (caught.value.hint or "")


def test_a_folder_without_a_failure_gets_a_cure(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["judge", str(tmp_path)])
    assert isinstance(result.exception, UsageError) and "holds no failure" in str(result.exception)


def own(expect: dict[str, object] | None = None, **states: int) -> Campaign:
    body = {"name": "own", "title": "own", "steps": [{"mkdir": "a"}], "states": states}
    return Campaign.model_validate({**body, "expect": {"ext3": expect or {}}})


def passing(campaign: Campaign, but: dict[tuple[CrashModel, Oracle], Verdict]) -> list[Count]:
    counts: list[Count] = []
    for model in campaign.models:
        for oracle in (*CAMPAIGN_ORACLES, *campaign.run_oracles):
            counts.append(("c", model, oracle, but.get((model, oracle), Verdict.PASS), 3))
    return counts


PLANNED = dict.fromkeys(CrashModel, 3)


def ending(campaign: Campaign, but: dict[tuple[CrashModel, Oracle], Verdict]) -> Exit:
    return exit_code(compare(campaign, "ext3", passing(campaign, but), PLANNED))


def test_what_is_not_named_has_to_pass_but_for_a_lying_disk() -> None:
    assert ending(own(), {}) is Exit.OK
    assert ending(own(), {(CrashModel.SUBSET, Oracle.STALE): Verdict.FAIL}) is Exit.UNEXPECTED
    assert ending(own(), {(CrashModel.LYING, Oracle.STALE): Verdict.FAIL}) is Exit.OK
    expected = own({"subset": {"stale": "FAIL"}})
    assert ending(expected, {}) is Exit.UNEXPECTED
    assert ending(expected, {(CrashModel.SUBSET, Oracle.STALE): Verdict.FAIL}) is Exit.OK


def test_a_model_that_gave_no_verdict_has_not_passed() -> None:
    campaign = own()
    counts = [each for each in passing(campaign, {}) if each[1] is not CrashModel.TORN]
    assert exit_code(compare(campaign, "ext3", counts, PLANNED)) is Exit.INFRA
    nothing = {**PLANNED, CrashModel.TORN: 0}
    assert exit_code(compare(campaign, "ext3", counts, nothing)) is Exit.VOID
    assert exit_code([]) is Exit.INFRA
    # By default a lying disk may do anything, and need not have lied.
    counts = [each for each in passing(campaign, {}) if each[1] is not CrashModel.LYING]
    assert exit_code(compare(campaign, "ext3", counts, {**PLANNED, CrashModel.LYING: 0})) is Exit.OK
    assert exit_code(compare(campaign, "ext3", counts, PLANNED)) is Exit.INFRA


@pytest.mark.parametrize("prefixes", [True, False])
@pytest.mark.parametrize("oracle", [Oracle.BARRIER, Oracle.LIVENESS])
def test_a_run_is_judged_as_a_whole_without_prefixes_too(prefixes: bool, oracle: Oracle) -> None:
    """Its verdicts are stored with the prefixes, whatever states there are."""
    campaign = own(prefixes=prefixes)
    counts = [each for each in passing(campaign, {}) if each[2] not in campaign.run_oracles]
    for each in campaign.run_oracles:
        verdict = Verdict.FAIL if each is oracle else Verdict.PASS
        counts.append(("c", CrashModel.PREFIX, each, verdict, 1))
    lines = compare(campaign, "ext3", counts, PLANNED)
    (line,) = (each for each in lines if each.oracle is oracle)
    assert line.model in campaign.models and line.found is Verdict.FAIL and not line.ok
    assert exit_code(lines) is Exit.UNEXPECTED


@pytest.mark.parametrize(
    ("oracle", "cause"), [(Oracle.STRUCTURE, "dangling-entry"), (Oracle.BOOT, "flag-clear")]
)
def test_a_flag_is_the_cause_of_a_boot_that_stops_and_of_nothing_else(
    oracle: Oracle, cause: str
) -> None:
    findings = (
        Finding("replayed", FindingClass.REPLAY, ""),
        Finding("flag-clear", FindingClass.FLAGS, ""),
        Finding("dangling-entry", FindingClass.DAMAGE, ""),
    )
    assert cause_of(Judgement(oracle, Verdict.FAIL, "", findings)) == cause
    assert cause_of(Judgement(oracle, Verdict.FAIL, "", findings[:2])) == "flag-clear"


def failure(state: str, model: CrashModel, cause: str, op: int, upto: int = 5) -> Failure:
    return Failure("c", state, model, upto, Oracle.PREFIX, "why", cause, op)


def test_failures_of_one_cause_are_one_group_with_the_simplest_as_example() -> None:
    found = groups(
        "ext2",
        [
            failure("subset-00009-without-1.2.3", CrashModel.SUBSET, "name-lost", 0),
            failure("prefix-00007", CrashModel.PREFIX, "name-lost", 0, upto=7),
            failure("prefix-00003", CrashModel.PREFIX, "name-lost", 0, upto=3),
            failure("prefix-00003", CrashModel.PREFIX, "name-lost", 1),
            failure("prefix-00003", CrashModel.PREFIX, "look-differs", 0),
        ],
        {"c": ["mkdir", "rename"]},
    )
    assert [(g.cause, g.operation, g.count) for g in found] == [
        ("name-lost", "mkdir", 3),
        ("look-differs", "mkdir", 1),
        ("name-lost", "rename", 1),
    ]
    assert found[0].example.id == "prefix-00003"
    assert found[0].models == (CrashModel.PREFIX, CrashModel.SUBSET)


@pytest.mark.parametrize(
    "more",
    [
        {"script": {"commands": ["true"], "within": "90s"}},
        {"steps": [{"mkdir": {"path": "a", "within": "500ms"}}]},
        {"steps": [{"mkdir": "a"}], "trials": [{"kill": {"within": "7s", "seed": 2}}]},
    ],
)
def test_a_campaign_is_read_again_as_its_results_keep_it(more: dict[str, object]) -> None:
    made = Campaign.model_validate({"name": "own", "title": "own", "expect": {"ext3": {}}, **more})
    kept = made.model_dump_json(by_alias=True, exclude_unset=True)
    assert Campaign.model_validate_json(kept) == made
    assert Campaign.model_validate_json(kept).model_dump_json(by_alias=True, exclude_unset=True)


def test_sequences_of_three_are_of_metadata_alone() -> None:
    drawn = {"lists": {"sequences": [{"length": 3, "count": 40, "seed": 2}]}}
    made = Campaign.model_validate({"name": "own", "title": "own", "expect": {"ext3": {}}, **drawn})
    assert made.lists is not None
    lists = made.lists.op_lists(LINUX)
    names = {op.name for each in lists for thread in each.threads for op in thread}
    assert len(lists) == 40 and {"link", "rename", "unlink", "write"} <= names
    assert not names & {"chmod", "truncate", "symlink", "swrite", "mwrite", "rmdir"}


@pytest.mark.parametrize(
    ("seeds", "found"),
    [("3..6", (3, 4, 5, 6)), ("7..7", (7,)), ([5, 2], (5, 2)), ("6..3", None), ("x", None)],
)
def test_seeds_are_a_list_or_a_range(seeds: object, found: tuple[int, ...] | None) -> None:
    made = {"name": "own", "title": "own", "expect": {"ext3": {}}, "stress": {"seeds": seeds}}
    if found is None:
        with pytest.raises(ValidationError, match="seeds"):
            Campaign.model_validate(made)
    else:
        campaign = Campaign.model_validate(made)
        assert campaign.seeds == found
        kept = campaign.model_dump_json(by_alias=True, exclude_unset=True)
        assert Campaign.model_validate_json(kept) == campaign
