"""The mail thread's experiment on a real Hurd: vanilla loses what mainline brings back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.guest.support import Run

pytestmark = [pytest.mark.guest, pytest.mark.hurd]


def test_the_directory_experiment_on_the_hurd(hurd: str, hurdle_run: Callable[..., Run]) -> None:
    run = hurdle_run("directory", hurd)
    code, output = run.finish()
    assert code == 0, output
    events = run.events()
    killed = {
        (e["variant"], e["oracle"]): e["verdict"]
        for e in events
        if e["kind"] == "verdict" and e["model"] == "kill"
    }
    assert killed["vanilla", "object"] == "FAIL"
    assert killed["mainline", "object"] == "PASS"
    seen = {
        (e["variant"], e["when"]): e["fields"]
        for e in events
        if e["kind"] == "object" and e["model"] == "kill"
    }
    # What the thread shows before recovery, with and without a journal: a name without an inode.
    for variant in ("vanilla", "mainline"):
        assert (seen[variant, "before"]["type"], seen[variant, "before"]["mode"]) == (
            "bad type",
            "0000",
        )
    assert seen["vanilla", "after"]["type"] == "bad type"
    found = seen["mainline", "after"]
    assert (found["type"], found["mode"], found["uid"], found["gid"]) == (
        "directory",
        "0775",
        "1001",
        "1001",
    )
    flushes = {e["variant"]: e["flushes"] for e in events if e["kind"] == "disk-log"}
    assert flushes["mainline"] > flushes["vanilla"]


def test_a_crashed_root_boots_as_the_oracle_says(hurd: str, hurdle_run: Callable[..., Run]) -> None:
    run = hurdle_run("root-first-commit", hurd)
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
