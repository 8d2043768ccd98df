"""`hurdle shell`: a person gets the guest, types, and leaves with everything ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pexpect
import psutil
import pytest

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("via", ["console", "ssh"])
def test_a_person_types_and_leaves(control: str, scratch: Path, via: str) -> None:
    argv = ["-m", "harness", "shell", "--guest", control, "--via", via]
    env = {**os.environ, "HURDLE_SCRATCH": str(scratch), "TERM": "dumb"}
    shell = pexpect.spawn(
        sys.executable, argv, env=env, encoding="utf-8", timeout=60, dimensions=(24, 200)
    )
    try:
        shell.expect(r"# ")
        shell.send("echo $((6*7))2\r")
        shell.expect(r"\s422\s")
        shell.send("\x1d")
        shell.expect(r"left with Ctrl-\]")
        shell.expect(pexpect.EOF)
    finally:
        shell.close(force=True)
    assert shell.exitstatus == 0
    assert [p for p in psutil.process_iter(["cmdline"]) if _uses(p, scratch)] == []
    assert list(scratch.glob("run-*")) == []


def _uses(process: psutil.Process, folder: Path) -> bool:
    return str(folder) in " ".join(process.info["cmdline"] or [])
