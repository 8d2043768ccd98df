"""Scenario files say what they mean, or are refused with a reason."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from harness.config import load
from harness.errors import UsageError
from harness.verdicts import CrashModel
from harness.workloads.scenario import Scenario

SHIPPED = sorted(Path(str(files("harness.workloads") / "scenarios")).glob("*.yaml"))

GOOD = """
name: good
title: Good
users: [{name: ann, uid: 1001, gid: 1001}]
steps:
- mkdir: {path: a/b, mode: "0775", as: ann}
- after: 6s
- kill: now
objects: [{path: a/b, now: {type: directory}}]
expect: {ext3: {}}
"""


def scenario(tmp_path: Path, old: str = "", new: str = "") -> Scenario:
    assert old in GOOD
    path = tmp_path / "s.yaml"
    path.write_text(GOOD.replace(old, new) if old else GOOD)
    return load(path, Scenario)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_scenario_is_valid_and_named_after_its_file(path: Path) -> None:
    assert load(path, Scenario).name == path.stem


def test_a_home_belongs_to_the_root_disk(tmp_path: Path) -> None:
    user = "users: [{name: ann, uid: 1001, gid: 1001, home: true}]"
    with pytest.raises(UsageError, match="`home` belongs to the root disk"):
        scenario(tmp_path, "users: [{name: ann, uid: 1001, gid: 1001}]", user)
    found = scenario(
        tmp_path,
        "users: [{name: ann, uid: 1001, gid: 1001}]",
        f"{user}\ndisk: {{which: root}}",
    )
    assert found.users[0].home
    assert not found.settles


def test_a_good_file(tmp_path: Path) -> None:
    found = scenario(tmp_path)
    assert [step.name for step in found.steps] == ["mkdir", "after", "kill"]
    assert found.steps[0].action.mode == "0775"
    assert found.steps[1].action == 6.0
    assert found.crash_model is CrashModel.KILL


def test_a_cut_is_a_way_to_end(tmp_path: Path) -> None:
    found = scenario(tmp_path, "kill: now", "at: write 120")
    assert found.crash_model is CrashModel.CUT
    assert found.steps[-1].action.write == 120


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("after: 6s", "after: 6", "duration with its unit"),
        ("after: 6s", "after: -6s", "duration with its unit"),
        ("kill: now", "kill: later", "'now'"),
        ("kill: now", "at: entry 3", "write N"),
        ("- kill: now\n", "", "last step crashes"),
        ("- after: 6s", "- kill: now", "nothing can follow a kill"),
        ("a/b, mode", "/a/b, mode", "below the crashed file system's root"),
        ("a/b, mode", "../b, mode", "below the crashed file system's root"),
        ('mode: "0775"', "mode: 775", "quoted octal"),
        ('mode: "0775"', 'mode: "0789"', "quoted octal"),
        ("as: ann", "as: bob", "names no user"),
        ("- mkdir:", "- mkdri:", "mkdri"),
        ("- after: 6s", "- {after: 6s, sync: }", "one key"),
        ("expect: {ext3: {}}", "expect: {ext3: {kill: {object: MAYBE}}}", "PASS"),
        ("objects:", "judge: {prefixes: none, mounts: 3}\nobjects:", "there are none"),
        ("steps:", "disk: {which: root}\njudge: {mounts: 3}\nsteps:", "there are none"),
        ("expect: {ext3: {}}", "expect: {}", "at least 1"),
        ("expect: {ext3: {}}", "expect: {ext3: {cut: {object: FAIL}}}", "makes kill and prefix"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        scenario(tmp_path, old, new)
    assert "s.yaml:" in str(caught.value)
