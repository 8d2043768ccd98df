"""Words appended to a make variable, in the layout that the Makefile has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import UsageError

_WIDTH = 79
_ASSIGNMENT = re.compile(r"^(?P<name>[A-Za-z0-9_.-]+)[ ]*(?P<op>[:?+]?=)(?P<value>.*)$", re.DOTALL)


@dataclass(frozen=True)
class _Assignment:
    op: str
    last: int  #: index of its last physical line
    words: tuple[str, ...]
    comment: bool


def append_words(text: str, variable: str, words: Sequence[str], where: str) -> str:
    """`text` of a Makefile with `words` at the end of `variable`; `where` names it in errors.

    Raises `UsageError` if the variable is not assigned exactly once (`+=` apart), already has one
    of the words, or ends in a comment.
    """
    lines = text.split("\n")
    found = _assignments(lines, variable)
    firsts = [each for each in found if each.op != "+="]
    if len(firsts) != 1:
        often = f"assigned {len(firsts)} times" if firsts else "not assigned"
        raise UsageError(
            f"{where}: the variable {variable} is {often}",
            hint="this version of the tree differs: mend the edit in variants.yaml",
        )
    present = {word for each in found for word in each.words}
    for word in words:
        if word in present:
            raise UsageError(
                f"{where}: {variable} already has {word}",
                hint="the edit was applied before, or this tree needs it no more",
            )
    target = firsts[0]
    if target.comment:
        raise UsageError(
            f"{where}: {variable} ends in a comment, behind which a word would be lost",
            hint="mend the edit in variants.yaml: choose another variable",
        )
    lines[target.last : target.last + 1] = _extended(lines[target.last], words)
    return "\n".join(lines)


def _assignments(lines: Sequence[str], variable: str) -> list[_Assignment]:
    found = []
    index = 0
    while index < len(lines):
        first = index
        while lines[index].endswith("\\") and index + 1 < len(lines):
            index += 1
        joined = " ".join(line.removesuffix("\\") for line in lines[first : index + 1])
        match = _ASSIGNMENT.match(joined)
        if match and match["name"] == variable:
            value, hash_sign, _ = match["value"].partition("#")
            found.append(_Assignment(match["op"], index, tuple(value.split()), bool(hash_sign)))
        index += 1
    return found


def _extended(line: str, words: Sequence[str]) -> list[str]:
    """`line` and the words, folded as GNU Makefiles fold: a backslash, then a tab."""
    done = []
    for word in words:
        longer = f"{line.rstrip()} {word}"
        if len(longer.expandtabs()) <= _WIDTH:
            line = longer
        else:
            done.append(f"{line.rstrip()} \\")
            line = f"\t{word}"
    return [*done, line]
