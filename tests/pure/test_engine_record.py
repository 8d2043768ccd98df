"""The recorder of the engine's benchmark: from system calls of a build to changes of files."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

SIM = Path(__file__).resolve().parents[2] / "guest-patches" / "sim"

CALLS = """\
7 openat(AT_FDCWD</b>, "/tmp/x.s", O_RDWR|O_CREAT|O_EXCL, 0600) = 3</tmp/x.s>
8 openat(AT_FDCWD</b>, "/tmp/x.s", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</tmp/x.s>
8 write(3</tmp/x.s>, ""..., 4096) = 4096
8 write(3</tmp/x.s>, ""..., 4096) = 4096
8 write(3</tmp/x.s>, ""..., 4096) = 7
8 openat(AT_FDCWD</b>, "none.h", O_RDONLY) = -1 ENOENT (No such file or directory)
8 openat(AT_FDCWD</b>, "../o/x.o", O_RDWR|O_CREAT|O_TRUNC, 0666) = 4</o/x.o>
8 write(1</dev/null>, ""..., 9) = 9
8 write(4</o/x.o>, ""..., 100) = 100
8 lseek(4</o/x.o>, 40, SEEK_SET) = 40
8 write(4</o/x.o>, ""..., 8) = 8
8 chmod("../o/x.o", 0755) = 0
8 +++ exited with 0 +++
7 unlink("/tmp/x.s") = 0
"""


def test_a_build_becomes_changes_of_numbered_files() -> None:
    tool: dict[str, Any] = runpy.run_path(str(SIM / "record.py"))
    found = tool["joined"](tool["changes"](tool["Recorder"]("/b"), CALLS.splitlines()))
    assert list(found) == [
        "c 1 0",
        "t 1",
        "w 1 0 4096 2",
        "w 1 8192 7 1",
        "c 2 1",
        "w 2 0 100 1",
        "w 2 40 8 1",
        "m 2",
        "u 1",
    ]


@pytest.mark.parametrize(
    "line", ['7 rename("a", "b") = 0', '7 unlink("/tmp/x" <unfinished ...>'], ids=str.split
)
def test_what_the_benchmark_does_not_know_ends_it(line: str) -> None:
    tool: dict[str, Any] = runpy.run_path(str(SIM / "record.py"))
    with pytest.raises(SystemExit):
        list(tool["changes"](tool["Recorder"]("/b"), [line]))


def test_the_recorded_compile_is_whole() -> None:
    lines = (SIM / "compile.ops").read_text().splitlines()
    made = {line.split()[1] for line in lines if line[0] == "c"}
    named = {line.split()[1] for line in lines}
    assert len(made) > 100 and named == made  # nothing is changed that was not made
