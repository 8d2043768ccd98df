"""Real work: what the guest lists, and trees against it."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.campaign.scriptverdict import ScriptOracles
from harness.campaign.spec import Campaign, campaign_path
from harness.campaign.work import ScriptWork, work_of
from harness.config import load
from harness.crash.blocks import BLOCK, block_id
from harness.crash.plan import Cut
from harness.errors import GuestError
from harness.oracles.observed import FileSeen, Observed
from harness.verdicts import CrashModel, Oracle, Verdict
from harness.workloads.journal import OpTimes
from harness.workloads.model import Look
from harness.workloads.script import LISTING, Listed, parse_listing


def test_what_the_shell_lists_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "a b").mkdir(mode=0o750)
    (tmp_path / "a b" / "file").write_bytes(b"x" * 5000)
    (tmp_path / "link").symlink_to("a b/file")
    done = subprocess.run(["sh", "-c", LISTING], cwd=tmp_path, capture_output=True, text=True)
    found = parse_listing(done.stdout)
    assert set(found) == {"", "a b", "a b/file", "link"}
    digest = hashlib.md5(b"x" * 5000, usedforsecurity=False).hexdigest()
    file = found["a b/file"]
    assert (file.kind, file.size, file.digest) == ("regular", 5000, digest)
    assert found["link"].kind == "symlink" and found["a b"].mode & 0o777 == 0o750
    with pytest.raises(GuestError, match="cut off"):
        parse_listing(done.stdout.partition("=")[0])
    with pytest.raises(GuestError, match="can't be read"):
        parse_listing(done.stdout.replace("5000", "many"))


DATA = b"y" * 100
FILE = Listed("regular", 0o644, 0, 0, 100, hashlib.md5(DATA, usedforsecurity=False).hexdigest())
ROOT = Listed("directory", 0o755, 0, 0)
FIRST = {"": ROOT, "kept": FILE, "gone": FILE}
SECOND = {"": ROOT, "kept": FILE, "new": FILE}
# Command 0 begins at entry 2 and is safe at 10, command 1 at 12 and 20, command 2 begins at 30.
WORK = ScriptWork(
    ("tar xf x", "rm gone", "rm kept"),
    (OpTimes(0, 2, 8), OpTimes(1, 12, 18), OpTimes(2, 30, None)),
    (10, 20),
    (FIRST, SECOND),
)


def tree(*names: str, data: bytes = DATA) -> Observed:
    padded = data.ljust(BLOCK, b"\0")
    file = FileSeen(len(data), (block_id(padded),))
    looks = {"": Look("directory", 0o755, 0, 0, 3), "lost+found": Look("directory", 0o700, 0, 0, 2)}
    looks |= {name: Look("regular", 0o644, 0, 0, 1) for name in names}
    return Observed(looks, dict.fromkeys(names, file), {block_id(padded): padded})


@pytest.mark.parametrize(
    ("upto", "seen", "verdict"),
    [
        (5, tree(), Verdict.PASS),  # nothing was acknowledged
        (10, tree("kept", "gone"), Verdict.PASS),
        (12, tree("kept", "gone"), Verdict.PASS),
        (11, tree("kept"), Verdict.FAIL),  # lost
        (11, tree("kept", "gone", "odd"), Verdict.FAIL),  # from nowhere
        (11, tree("kept", "gone", data=b"z" * 100), Verdict.FAIL),  # other bytes
        (15, tree("kept", "new"), Verdict.PASS),  # in the middle of a command
        (15, tree("kept", "odd"), Verdict.PASS),
        (15, tree("new"), Verdict.FAIL),  # which leaves this one alone
        (25, tree("kept", "new"), Verdict.PASS),
        (25, tree("kept", "gone", "new"), Verdict.FAIL),  # came back
        (35, tree(), Verdict.PASS),  # a command that never ended may have done anything
        (25, replace(tree(), unreadable="the root is gone"), Verdict.FAIL),
    ],
)
def test_what_was_listed_and_synced_is_held_to_be_there(
    upto: int, seen: Observed, verdict: Verdict
) -> None:
    oracles = ScriptOracles(work_of(WORK.plain()))  # type: ignore[arg-type]
    (said,) = oracles.judge(Cut(CrashModel.PREFIX, upto), seen)
    assert said.oracle is Oracle.DURABILITY and said.verdict is verdict, said.reason


def campaign(**more: Any) -> Campaign:
    return Campaign.model_validate({"name": "x", "title": "x", "expect": {"ext3": {}}, **more})


def test_a_script_is_judged_by_the_oracles_that_know_something_of_it() -> None:
    made = campaign(script={"prepare": "true", "commands": ["tar xf x", "rm -r x"]})
    assert made.state_oracles == (Oracle.STRUCTURE, Oracle.BOOT, Oracle.DURABILITY)
    assert [step.name for step in made.workload(0)] == ["shell", "shell", "sync"] * 2
    assert [step.name for step in made.prelude] == ["shell"]
    wrongs: list[dict[str, Any]] = [{"commands": []}, {"commands": [" "]}]
    for wrong in (*wrongs, {"commands": ["a"], "within": 3}):
        with pytest.raises(ValidationError):
            campaign(script=wrong)
    with pytest.raises(ValidationError, match="prepare"):
        campaign(script={"commands": ["a"]}, trials=[{"kill": {"phase": "commit"}}])


def test_the_shipped_work_does_the_same_on_the_host(tmp_path: Path) -> None:
    """Each command of the shipped campaign works in a POSIX shell, and leaves what it should."""
    script = load(campaign_path("work"), Campaign).script
    assert script is not None
    place = tmp_path / "disk"
    place.mkdir()
    elsewhere = str(tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    counts = []
    for command in (script.prepare, *script.commands):
        text = command.replace("/tmp", elsewhere)
        done = subprocess.run(["sh", "-c", text], cwd=place, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, (command, done.stderr)
        counts.append(sum(1 for _ in place.rglob("*")))
    assert counts[1] > 50 and counts[-1] == 0 and max(counts) > 150
