"""Verdicts against expectations: nothing that is missing, void or broken can look green."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Exit, UsageError
from harness.events import VerdictGiven
from harness.experiment.expect import choose_variants, compare, exit_code, overall
from harness.images.recipe import MultibootRecipe, Recipe
from harness.verdicts import SCENARIO_ORACLES, CrashModel, Oracle, Verdict
from harness.workloads.scenario import Scenario

PASS, FAIL, VOID, INFRA = Verdict.PASS, Verdict.FAIL, Verdict.VOID, Verdict.INFRA


def scenario(expect: dict[str, object], prefixes: str = "all", wait: str | None = None) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "s",
            "title": "s",
            "steps": [{"mkdir": "a"}, *([{"after": wait}] if wait else []), {"kill": "now"}],
            "objects": [{"path": "a", "now": {"type": "directory"}}],
            "judge": {"prefixes": prefixes},
            "expect": expect,
        }
    )


def recipe(*variants: str) -> Recipe:
    return MultibootRecipe.model_validate(
        {
            "kind": "multiboot",
            "name": "g",
            "title": "g",
            "os": "hurd",
            "machine": {},
            "boot": {"seconds": 1, "shell": "#"},
            "crash_disk": {"device": "/dev/hd1"},
            "variants": {name: {"fs": "ext2"} for name in variants},
            "kernel": "k",
            "modules": {"ext2fs": {"file": "m", "args": ""}},
            "root_image": "r",
        }
    )


def verdicts(model: CrashModel, *each: tuple[Oracle, Verdict]) -> list[VerdictGiven]:
    return [
        VerdictGiven(
            verdict=verdict,
            oracle=oracle,
            scenario="s",
            guest="g",
            variant="v",
            model=model,
            state=f"{model}-{number}",
            reason="",
            evidence="",
        )
        for number, (oracle, verdict) in enumerate(each)
    ]


def all_oracles(verdict: Verdict) -> list[tuple[Oracle, Verdict]]:
    return [(oracle, verdict) for oracle in SCENARIO_ORACLES]


def test_all_pass_is_ok() -> None:
    lines = compare(
        scenario({"v": {}}, prefixes="none"), "v", verdicts(CrashModel.KILL, *all_oracles(PASS))
    )
    assert [line.ok for line in lines] == [True] * len(SCENARIO_ORACLES)
    assert exit_code(lines) is Exit.OK


def test_an_oracle_that_gave_no_verdict_is_infra() -> None:
    given = verdicts(CrashModel.KILL, (Oracle.STRUCTURE, PASS), (Oracle.BOOT, PASS))
    lines = compare(scenario({"v": {}}, prefixes="none"), "v", given)
    assert {line.oracle: line.found for line in lines}[Oracle.OBJECT] is INFRA
    assert exit_code(lines) is Exit.INFRA


def test_prefixes_that_were_asked_for_and_not_judged_are_infra() -> None:
    given = verdicts(CrashModel.KILL, *all_oracles(PASS))
    assert exit_code(compare(scenario({"v": {}}), "v", given)) is Exit.INFRA


def test_an_expected_failure_is_ok_and_its_absence_is_not() -> None:
    spec = scenario({"v": {"kill": {"object": "FAIL"}}}, prefixes="none")
    others = [(Oracle.STRUCTURE, PASS), (Oracle.BOOT, PASS)]
    failing = verdicts(CrashModel.KILL, *others, (Oracle.OBJECT, PASS), (Oracle.OBJECT, FAIL))
    assert exit_code(compare(spec, "v", failing)) is Exit.OK
    passing = verdicts(CrashModel.KILL, *others, (Oracle.OBJECT, PASS))
    assert exit_code(compare(spec, "v", passing)) is Exit.UNEXPECTED


def test_any_takes_pass_and_fail_and_nothing_else() -> None:
    spec = scenario({"v": {"kill": dict.fromkeys(Oracle, "any")}}, prefixes="none")
    for verdict, code in (
        (PASS, Exit.OK),
        (FAIL, Exit.OK),
        (VOID, Exit.VOID),
        (INFRA, Exit.INFRA),
    ):
        given = verdicts(CrashModel.KILL, *all_oracles(verdict))
        assert exit_code(compare(spec, "v", given)) is code


def test_void_is_no_green() -> None:
    spec = scenario({"v": {}}, prefixes="none")
    only_void = verdicts(CrashModel.KILL, *all_oracles(VOID))
    assert exit_code(compare(spec, "v", only_void)) is Exit.VOID
    some_void = verdicts(CrashModel.KILL, *all_oracles(PASS), (Oracle.OBJECT, VOID))
    assert exit_code(compare(spec, "v", some_void)) is Exit.VOID
    failed_too = verdicts(CrashModel.KILL, *all_oracles(VOID), (Oracle.OBJECT, FAIL))
    assert exit_code(compare(spec, "v", failed_too)) is Exit.UNEXPECTED


def test_nothing_judged_is_no_green() -> None:
    assert exit_code([]) is Exit.INFRA


@given(st.lists(st.sampled_from(list(Verdict))))
def test_a_single_fail_or_infra_decides(given: list[Verdict]) -> None:
    found = overall(given)
    if INFRA in given:
        assert found is INFRA
    elif FAIL in given:
        assert found is FAIL
    else:
        assert found is (PASS if PASS in given else VOID)


def test_variants_are_those_that_both_sides_know() -> None:
    spec = scenario({"ext3": {}, "vanilla": {}})
    assert choose_variants(spec, recipe("vanilla", "other"), None) == ("vanilla",)
    assert choose_variants(spec, recipe("vanilla"), "vanilla") == ("vanilla",)
    with pytest.raises(UsageError, match="no variant 'none'"):
        choose_variants(spec, recipe("vanilla"), "none")
    with pytest.raises(UsageError, match="what to expect of 'other'"):
        choose_variants(spec, recipe("vanilla", "other"), "other")
    with pytest.raises(UsageError, match="expects nothing"):
        choose_variants(spec, recipe("other"), None)


def test_a_wait_for_a_commit_is_refused_where_there_is_no_journal() -> None:
    """Before anything is started, and not when the first guest has come up."""
    spec = scenario({"vanilla": {}}, wait="commit")
    for wanted in (None, "vanilla"):
        with pytest.raises(UsageError, match="vanilla has no journal"):
            choose_variants(spec, recipe("vanilla"), wanted)
    assert choose_variants(scenario({"vanilla": {}}, wait="7s"), recipe("vanilla"), None)
