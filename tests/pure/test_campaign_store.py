"""Results of a campaign: what samples are drawn from, and what may be gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.campaign.failures import expected_of
from harness.campaign.group import Group
from harness.campaign.rows import Failure, LogOutline
from harness.campaign.run import RESULTS, Options, _claim
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.config import parse_overrides
from harness.errors import UsageError
from harness.images.recipe import load_recipe
from harness.verdicts import CrashModel, Expectation, Oracle, Verdict

KILLED, OWN = "kill:prefix-00009~prefix-00000", "prefix-00009"


@pytest.mark.parametrize("order", [(KILLED, OWN), (OWN, KILLED)])
def test_who_was_first_to_judge_a_content_changes_no_sample(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    """The disk of the kill often holds what the last prefix does, and workers race."""
    with Store(tmp_path / RESULTS) as store:
        for state in order:
            store.add_content("c", 7, state, "tree", replayed=True, quick=True)
        assert store.replayed("c") == [OWN]
        assert store.clean_replays("c") == [(OWN, "tree")]


def campaign(**expect: dict[str, dict[str, str]]) -> Campaign:
    data = {
        "name": "own",
        "title": "Own",
        "guest": "linux-control",
        "steps": [{"mkdir": "a"}],
        "expect": expect,
    }
    return Campaign.model_validate(data)


THEN = {
    "guest": "linux-control, image 111111111111",
    "QEMU": "7.2",
    "guest ext2fs-ours": "1",
    "guest ext2fs-mainline": "1",
}


@pytest.mark.parametrize(
    ("settings", "now", "said"),
    [
        ([], {}, ""),
        ([], {"guest": "linux-control, image 222222222222"}, ""),
        ([], {"guest ext2fs-mainline": "2"}, ""),  # it did not run
        ([], {"guest ext2fs-ours": "2"}, "guest ext2fs-ours 1 then, 2 now"),
        ([], {"QEMU": "8.0"}, "QEMU 7.2 then, 8.0 now"),
        (["name=other"], {}, "guest linux-control then, other now"),
        (["machine.memory_mib=48"], {}, "the machine of linux-control has other settings"),
    ],
)
def test_a_campaign_goes_on_only_with_what_it_began_with(
    tmp_path: Path, settings: list[str], now: dict[str, str], said: str
) -> None:
    wanted = campaign(ours={})
    with Store(tmp_path / RESULTS) as store:
        store.set_meta("campaign", wanted.model_dump_json(by_alias=True, exclude_unset=True))
        store.set_meta("guest", "linux-control")
        store.set_meta("machine", load_recipe("linux-control").machine.model_dump_json())
        store.set_meta("versions", json.dumps(THEN))
        store.add_case("ours-1", "ours", LogOutline(0, 0, 0, (), (), (), ()))
    recipe = load_recipe("linux-control", parse_overrides(settings))
    options = Options(tmp_path, 1, "hurdle campaign own", resume=True)
    if not said:
        _claim(options, wanted, recipe, {**THEN, **now})
        return
    with pytest.raises(UsageError, match=said):
        _claim(options, wanted, recipe, {**THEN, **now})


@pytest.mark.parametrize(
    ("expected", "surprise"), [("PASS", True), ("VOID", True), ("any", False), ("FAIL", False)]
)
def test_a_failure_where_nothing_was_to_be_judged_is_a_surprise(
    expected: str, surprise: bool
) -> None:
    wanted = campaign(ext3={"prefix": {"structure": expected}, "subset": {"structure": "any"}})
    models = (CrashModel.SUBSET, CrashModel.PREFIX)
    failure = Failure(
        "ext3-1", OWN, CrashModel.PREFIX, 9, Oracle.STRUCTURE, "why", "dangling-entry", 0
    )
    group = Group("ext3", Oracle.STRUCTURE, "dangling-entry", "mkdir", models, 1, failure)
    found = expected_of(wanted, group)
    assert found.allows(Verdict.FAIL) is not surprise
    assert not surprise or found is Expectation(expected)
