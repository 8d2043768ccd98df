"""Compiles the agent: for the host's own kind of Linux, or with another compiler for a guest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from harness.process import run

SOURCES = Path(__file__).parent / "c"
PROGRAM = "hurdle-agent"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread")
_DEFINES = ("-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64")


def version() -> str:
    """What the agent's sources are, in 12 digits; `hurdle-agent version` says it in the guest."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def command(compiler: str, sources: Path, target: Path, *, static: bool) -> list[str]:
    """The compiler's command line.  Pure, but for the names of the source files."""
    files = [str(path) for path in sorted(sources.glob("*.c"))]
    link = ["-static"] if static else []
    return [
        *(compiler, *_FLAGS, *_DEFINES, f'-DAGENT_VERSION="{version()}"', *link),
        *("-o", str(target), *files),
    ]


def build(target: Path, compiler: str = "gcc", *, static: bool = True) -> Path:
    """Make the agent at `target`, statically linked, so that it runs in any guest.

    Raises `InfraError` when the compiler is missing or fails.
    """
    run(command(compiler, SOURCES, target, static=static), timeout=300)
    return target


def run_command(program: str, ops: str, folder: str, marks: Sequence[str] = ()) -> str:
    """The guest's command line that runs a list; `marks` are device and offset, or nothing."""
    return " ".join([program, "run", ops, folder, *marks])
