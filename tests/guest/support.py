"""A run of the command line as the tests see it: events, processes, mounts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.deadline import Deadline


@dataclass
class Run:
    """A `hurdle` of its own process, with a scratch folder of its own."""

    args: list[str]
    out: Path
    scratch: Path
    process: subprocess.Popen[str] = field(init=False)

    def start(self) -> Run:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness", *self.args],
            env={**os.environ, "HURDLE_SCRATCH": str(self.scratch), "CI": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def finish(self, timeout: float = 200) -> tuple[int, str]:
        """Exit code and everything that was printed."""
        output, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, output

    def events(self) -> list[dict[str, Any]]:
        path = self.out / "results.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def until(self, reached: Callable[[dict[str, Any]], bool], seconds: float = 90) -> None:
        """Wait for an event; fail with the output if the run ends before it comes."""
        deadline = Deadline.after(seconds)
        while not any(reached(event) for event in self.events()):
            if self.process.poll() is not None or deadline.expired:
                self.process.kill()
                pytest.fail(f"the event did not come; the run said:\n{self.finish()[1]}")
            time.sleep(0.05)

    def helpers(self) -> list[psutil.Process]:
        """Living processes that have this run's folders in their command line."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = " ".join(process.info["cmdline"] or [])
            ours = str(self.out) in words or str(self.scratch) in words
            if ours and process.pid not in (self.process.pid, os.getpid()):
                found.append(process)
        return [p for p in found if p.info["status"] != psutil.STATUS_ZOMBIE]

    def mounts(self) -> list[str]:
        table = Path("/proc/self/mounts").read_text()
        return [line for line in table.splitlines() if str(self.scratch) in line]


SCENARIO = """
name: own
title: own
steps:
{steps}
- kill: now
objects: [{{path: a, now: {{type: directory}}}}]
expect: {{ext3: {{}}}}
"""


def own(tmp_path: Path, *steps: str) -> str:
    path = tmp_path / "own.yaml"
    path.write_text(SCENARIO.format(steps="\n".join(f"- {step}" for step in steps)))
    return str(path)
