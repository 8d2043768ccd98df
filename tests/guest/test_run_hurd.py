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
