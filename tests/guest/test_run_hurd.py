"""The mail thread's experiment on a real Hurd: vanilla loses what mainline brings back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.images.builders import build_image, find_image
from harness.images.cache import Cache
from harness.images.recipe import load_recipe
from tests.guest.support import Run

pytestmark = [pytest.mark.guest, pytest.mark.hurd]

#: the directory's fields after recovery, which are the thread's
FOUND = {
    "type": "directory",
    "mode": "0775",
    "uid": "1001",
    "gid": "1001",
    "links": "2",
    "size": "4096",
    "blockcount": "8",
}


@dataclass
class Killed:
    """What a kill left of the directory: verdicts by oracle, fields before and after recovery."""

    verdicts: dict[str, str]
    before: dict[str, str]
    after: dict[str, str]
    flushes: int


def directory(hurdle_run: Callable[..., Run], guest: str, variant: str) -> Killed:
    """The directory experiment of one variant, which has to end as the scenario expects."""
    run = hurdle_run("directory", guest, "--variant", variant)
    code, output = run.finish()
    assert code == 0, output
    events = run.events()
    verdicts = {
        e["oracle"]: e["verdict"] for e in events if e["kind"] == "verdict" and e["model"] == "kill"
    }
    seen = {
        e["when"]: e["fields"] for e in events if e["kind"] == "object" and e["state"] == "kill"
    }
    (flushes,) = (e["flushes"] for e in events if e["kind"] == "disk-log")
    return Killed(verdicts, seen["before"], seen["after"], flushes)


def test_the_directory_experiment_on_the_hurd(hurd: str, hurdle_run: Callable[..., Run]) -> None:
    vanilla = directory(hurdle_run, hurd, "vanilla")
    mainline = directory(hurdle_run, hurd, "mainline")
    assert vanilla.verdicts["object"] == "FAIL"
    assert mainline.verdicts["object"] == "PASS"
    # What the thread shows before recovery, with and without a journal: a name without an inode.
    for killed in (vanilla, mainline):
        assert (killed.before["type"], killed.before["mode"]) == ("bad type", "0000")
    assert vanilla.after["type"] == "bad type"
    assert FOUND.items() <= mainline.after.items()
    assert mainline.flushes > vanilla.flushes


def test_a_hurd_given_by_path_starts_warm_where_its_settings_say_so(
    hurd_from_source: str,
    hurdle_run: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = find_image(load_recipe(hurd_from_source), Cache.default())
    monkeypatch.setenv("HURDLE_CACHE", str(tmp_path / "cache"))
    files = load_recipe("hurd-local", {"files": str(source.folder)})
    build_image(files, Cache.default(), lambda _: None)
    settings = ("boot.warm=true", "variants.mainline.translator=/hurd/ext2fs.static")
    words = [word for setting in settings for word in ("--set", setting)]
    run = hurdle_run("directory", "hurd-local", "--variant", "mainline", "--accel", "tcg", *words)
    code, output = run.finish()
    assert code == 0, output
    phases = [event["phase"] for event in run.events() if event["kind"] == "phase-end"]
    assert "boot" not in phases and phases.index("save") < phases.index("start")


def test_our_journal_keeps_the_directory(ours: str, hurdle_run: Callable[..., Run]) -> None:
    seen = directory(hurdle_run, ours, "ours")
    assert set(seen.verdicts.values()) == {"PASS"}
    assert FOUND.items() <= seen.after.items()


def test_a_crashed_root_boots_as_the_oracle_says(hurd: str, hurdle_run: Callable[..., Run]) -> None:
    run = hurdle_run("root-first-commit", hurd, "--variant", "mainline")
    code, output = run.finish()
    assert code == 0, output
    events = run.events()
    said = {
        (e["state"], e["oracle"]): (e["verdict"], e["reason"])
        for e in events
        if e["kind"] == "verdict"
    }
    seen = {e["when"]: e["fields"] for e in events if e["kind"] == "object"}
    assert (seen["before"]["type"], seen["before"]["mode"]) == ("bad type", "0000")
    assert said["kill", "object"][0] == "PASS"
    # The guest's own e2fsck -p, and what the host's says of a copy.
    booted, reason = said["second-boot", "boot"]
    assert booted == said["kill", "boot"][0]
    stopped = "stopped at a maintenance prompt" in reason
    assert stopped is (booted == "FAIL")
    assert (("second-boot", "object") in said) is not stopped
    console = next(e["text"] for e in events if e.get("title") == "console of the second boot")
    assert ("RUN fsck MANUALLY" in console) is stopped
    versions = events[0]["versions"]
    assert hurd in versions["guest"]
    assert versions["kernel"].startswith(("gnumach ", "kernel "))
