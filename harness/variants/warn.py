"""What a compiler warns of, and which of it is new.  Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

_WARNING = re.compile(r"^(?P<file>[^:\s][^:\n]*)(?P<line>(?::\d+)*): warning: (?P<text>.+)$", re.M)


@dataclass(frozen=True)
class Warned:
    """A warning; `line` is where it stands now, as `:LINE:COLUMN`, and empty for a linker's."""

    file: str
    line: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}{self.line}: {self.text}"


def warnings_in(said: str) -> tuple[Warned, ...]:
    """The warnings in what gcc and ld said, in order."""
    return tuple(Warned(m["file"], m["line"], m["text"]) for m in _WARNING.finditer(said))


def new_warnings(said: str, before: str) -> tuple[Warned, ...]:
    """The warnings of `said` that `before` does not have as often.

    Lines move when code is added above them, so a warning is known by its file and text.  Of
    several that are alike the last ones count as new.
    """
    known = Counter((each.file, each.text) for each in warnings_in(before))
    new = []
    for each in warnings_in(said):
        known[each.file, each.text] -= 1
        if known[each.file, each.text] < 0:
            new.append(each)
    return tuple(new)
