"""The guest's own mount as a recoverer: what it recovers, and what it can't."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.experiment.mounts import GuestMounts
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.recipe import load_recipe
from harness.machine.accel import TCG
from harness.process import run
from harness.rundir import RunDir
from harness.workloads.scenario import Disk
from tests.guest.support import Run

pytestmark = pytest.mark.guest

SCENARIO = """
name: own
title: own
setup:
- create: {path: file, size: 100}
steps:
- chmod: {path: file, mode: "0600"}
- sync:
- kill: now
judge: {prefixes: workload, mounts: 2}
objects:
- {path: file, was: {type: regular, mode: "0644"}, now: {type: regular, mode: "0600"}}
expect: {ext3: {}, ours: {}}
"""


@pytest.mark.parametrize(("guest", "variant"), [("control", "ext3"), ("ours", "ours")])
def test_prefixes_are_mounted_in_the_guest_and_judged_again(
    request: pytest.FixtureRequest, guest: str, variant: str, tmp_path: Path, scratch: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(SCENARIO)
    name = request.getfixturevalue(guest)
    args = ["run", str(path), "--guest", name, "--variant", variant, "--out", str(tmp_path / "out")]
    own = Run(args, tmp_path / "out", scratch).start()
    code, output = own.finish()
    assert code == 0, output
    mounted = [
        event
        for event in own.events()
        if event.get("oracle") and re.fullmatch(r"prefix-\d+-mounted", event.get("state", ""))
    ]
    assert {event["oracle"] for event in mounted} == {"structure", "boot", "object"}
    assert len({event["state"] for event in mounted}) == 2
    assert {event["verdict"] for event in mounted} == {"PASS"}


def test_what_can_not_be_mounted_is_said(control: str, tmp_path: Path, scratch: Path) -> None:
    recipe = load_recipe(control)
    image = find_image(recipe, Cache.default())
    good, bad = tmp_path / "good.raw", tmp_path / "bad.raw"
    ext2.mkfs(good, Disk(), recipe.variants["ext3"], recipe.os)
    sparse_copy(good, bad)
    run(["debugfs", "-w", "-R", "clri <2>", str(bad)])
    with RunDir(tmp_path / "out", base=scratch) as rundir:
        mounts = GuestMounts(recipe, image, "ext3", rundir, TCG)
        nothing, why = mounts.recover([good, bad])
    assert nothing == ""
    assert "mount -t ext3" in why  # and the kernel's words, as far as they came
