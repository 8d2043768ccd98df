"""From evidence to verdicts: whatever the crash left is judged, and nothing of it changes."""

from __future__ import annotations

import time
from pathlib import Path

from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.events import Bus, Event, VerdictGiven
from harness.experiment.context import Context, Request
from harness.experiment.crash import Evidence
from harness.experiment.judge import judge
from harness.images.image import BootFiles, Image
from harness.images.recipe import load_recipe
from harness.machine.accel import TCG
from harness.rundir import RunDir
from harness.verdicts import Verdict
from harness.workloads.scenario import Scenario
from tests.pure.write_logs import Item, write_log

SCENARIO = Scenario.model_validate(
    {
        "name": "s",
        "title": "s",
        "steps": [{"mkdir": "a"}, {"kill": "now"}],
        "objects": [{"path": "a", "now": {"type": "directory"}}],
        "expect": {"ext3": {}},
    }
)


def test_a_superblock_that_the_crash_destroyed_fails_every_oracle(tmp_path: Path) -> None:
    """It is the worst damage, and no wrong option of the user."""
    recipe = load_recipe("linux-control")
    folder = tmp_path / "ext3"
    folder.mkdir()
    base, killed = folder / "base.raw", folder / "killed.raw"
    ext2.mkfs(base, SCENARIO.disk, recipe.variants["ext3"], recipe.os)
    sparse_copy(base, killed)
    with killed.open("r+b") as disk:
        disk.write(bytes(4096))
    log = write_log(folder / "writes.log", [Item(0, bytes(4096))])
    evidence = Evidence("ext3", folder, base, killed, log, (), 0, None)
    image = Image("g", "key", tmp_path, BootFiles(tmp_path / "kernel", ""))
    before = killed.read_bytes()
    seen: list[Event] = []
    bus = Bus(time.monotonic)
    bus.subscribe(seen.append)
    with RunDir(tmp_path) as rundir:
        judge(Context(Request(SCENARIO, recipe, image, ("ext3",), ""), bus, rundir, TCG), evidence)
    given = [(e.model, e.oracle, e.verdict) for e in seen if isinstance(e, VerdictGiven)]
    assert len(given) == 6
    assert {verdict for *_, verdict in given} == {Verdict.FAIL}
    assert killed.read_bytes() == before
