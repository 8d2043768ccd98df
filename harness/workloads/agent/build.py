"""Compiles the agent: for the host's own kind of Linux, or with another compiler for a guest."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path

from harness.images.cache import Cache
from harness.images.source import hurd
from harness.images.source.sources import DirSource
from harness.images.source.stage import Stage, Step
from harness.images.source.workshop import Workshop
from harness.process import run
from harness.variants.build import toolchain
from harness.variants.tree import tree_fetcher

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


def command(compiler: str, target: str, *, static: bool) -> list[str]:
    """The compiler's command line without the source files."""
    link = ["-static"] if static else []
    named = f'-DAGENT_VERSION="{version()}"'
    return [compiler, *_FLAGS, *_DEFINES, named, *link, "-o", target]


def build(target: Path, compiler: str = "gcc", *, static: bool = True) -> Path:
    """Make the agent at `target`, statically linked, so that it runs in any guest.

    Raises `InfraError` when the compiler is missing or fails.
    """
    files = [str(path) for path in sorted(SOURCES.glob("*.c"))]
    run([*command(compiler, str(target), static=static), *files], timeout=300)
    return target


def hurd_stage() -> Stage:
    """The agent for a Hurd on i386, with the toolchain of the guest from source."""
    words = command("i686-gnu-gcc", f"{{out}}/root/bin/{PROGRAM}", static=True)
    return Stage(
        PROGRAM,
        source=DirSource(SOURCES),
        needs=hurd.TOOLCHAIN,
        steps=(
            Step(
                "compile",
                f"mkdir -p {{out}}/root/bin && {shlex.join(words)} {{src}}/*.c"
                f" && i686-gnu-strip {{out}}/root/bin/{PROGRAM}",
            ),
        ),
    )


def build_for_hurd(cache: Cache, say: Callable[[str], None]) -> Path:
    """The agent for the Hurd guest from source, built once for what its sources are.

    Raises `UsageError` when the toolchain was never built.
    """
    tools = toolchain(cache)
    folder = cache.folder / "agent"
    shop = Workshop(folder, tree_fetcher(), jobs=1, say=say)
    return shop.build([hurd_stage()], tools)[PROGRAM].out / "root/bin" / PROGRAM
