"""The published bug patterns as lists: `lists/NAME.ops`, each with what it must leave.

They follow the known and new bugs of CrashMonkey's own tables, and the tests of xfstests that came
from such bugs.  All that need fallocate are left out: neither ext3 nor the Hurd has it.
"""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError
from harness.workloads.agent.oplist import OpList, parse

_FOLDER = Path(__file__).parent / "lists"


def names() -> tuple[str, ...]:
    """The lists that come with hurdle."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.ops")))


def pattern_list(name: str) -> OpList:
    """A list: a path as it is, else the shipped list of that name.

    Raises `UsageError`, with the line for a list that is wrong.
    """
    path = Path(name) if "/" in name or name.endswith(".ops") else _FOLDER / f"{name}.ops"
    try:
        text = path.read_text(errors="surrogateescape")
    except OSError as exc:
        raise UsageError(
            f"there is no list {name!r}: {exc.strerror}",
            hint=f"give a file, or one of: {', '.join(names())}",
        ) from exc
    return parse(text, str(path))
