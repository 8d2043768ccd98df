"""Coccinelle's spatch: which parts of a file it can't parse, and one file of rules on one file.

spatch says nothing of a function that it can't parse and ends well, and so it does when a rule
matches nothing.  Both are asked for here: the first with `--parse-c`, the second by a script that
is put behind each rule.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InfraError, UsageError
from harness.process import run, tail
from harness.variants.csource import blanked, names
from harness.variants.smpl import Rule, marked, with_marks
from harness.variants.tree import read_source

_SECONDS = 120.0
_ERROR = re.compile(r'^ = File "(?P<file>.*)", line (?P<line>\d+), column \d+')
_DEAD = re.compile(r"#\s*if\s+0\b")


@dataclass(frozen=True)
class Part:
    """A part of a file that Coccinelle doesn't see.

    `first` and `last` are lines; both are 0 for tokens that it skipped to parse what is around
    them, of which it doesn't say where they are.
    """

    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return f"lines {self.first}-{self.last}" if self.first else "skipped tokens"

    def wanted(self, anchors: Iterable[str], patterns: Iterable[str] = ()) -> tuple[str, ...]:
        """Those of its names that rules match on."""
        here = names(self.text)
        hits = here & set(anchors)
        for pattern in patterns:
            hits |= {name for name in here if _search(pattern, name)}
        return tuple(sorted(hits))


@dataclass(frozen=True)
class Applied:
    """What a file of rules did to a file: the changing rules that matched; whether it changed."""

    matched: frozenset[str]
    changed: bool


def parse_report(said: str, source: str) -> tuple[Part, ...]:
    """The parts that `spatch --parse-c` reports as bad or passed, of a file with text `source`."""
    lines = blanked(source).split("\n")
    parts = []
    where = 0
    block: list[str] = []
    for line in [*said.splitlines(), ""]:
        match = _ERROR.match(line)
        if match:
            where = int(match["line"])
        if line.startswith(("bad:", "BAD:!!!!!")):
            block.append(line)
            continue
        if block and where:
            # The block begins with the line before the part; its line `where` is the one marked.
            marks = [i for i, each in enumerate(block) if each.startswith("BAD:")]
            first = where - (marks[0] if marks else 0) + 1
            last = first + len(block) - 2
            first = min(first, where)
            while first < where and not lines[first - 1].strip():
                first += 1
            parts.append(Part(first, last, "\n".join(lines[first - 1 : last])))
        block = []
    return (*parts, *_passed(said))


def _passed(said: str) -> list[Part]:
    """Tokens that Coccinelle skipped, except for those in `#if 0`."""
    kept: list[str] = []
    dead = 0
    for line in said.splitlines():
        if not line.startswith("passed:"):
            continue
        text = line.removeprefix("passed:").strip()
        if dead:
            dead += bool(re.match(r"#\s*if", text)) - bool(re.match(r"#\s*endif", text))
            if dead == 1 and re.match(r"#\s*(else|elif)", text):
                dead = 0
        elif _DEAD.match(text):
            dead = 1
        else:
            kept.append(text)
    return [Part(0, 0, "\n".join(kept))] if kept else []


def unparsed(tree: Path, file: str) -> tuple[Part, ...]:
    """The parts of a file of the tree that Coccinelle doesn't see."""
    done = run(["spatch", "--parse-c", file], cwd=tree, timeout=_SECONDS)
    if not re.search(r"nb good = \d+", done.output):
        raise InfraError(
            f"spatch --parse-c gave no account of {file}:\n{tail(done.output)}",
            hint=f"run it by hand in {tree}: {done.command}",
        )
    return parse_report(done.output, read_source(tree / file))


def apply_rules(tree: Path, file: str, rules_file: Path, rules: tuple[Rule, ...]) -> Applied:
    """Apply the rules, in their order, to one file of the tree, in place.

    Raises `UsageError` where spatch refuses the rules, or two of their changes meet in one place.
    """
    target = tree / file
    before = target.read_bytes()
    changing = [rule.name for rule in rules if rule.changes]
    text = rules_file.read_text()
    with tempfile.TemporaryDirectory(prefix="hurdle-smpl-") as scratch:
        given = Path(scratch) / rules_file.name
        # A single rule is seen by what it changed; marks cost a start of Python.
        given.write_text(with_marks(text, rules) if len(changing) > 1 else text)
        argv = ["spatch", "--sp-file", str(given), file, "--smpl-spacing", "--in-place"]
        done = run(argv, cwd=tree, ok=None, timeout=_SECONDS)
        if done.returncode or "EXN:" in done.output:
            said = tail(done.output).replace(str(given), str(rules_file))
            raise UsageError(
                f"{rules_file}: spatch can't apply it to {file}:\n{said}",
                hint="mend the rule: the message above is Coccinelle's",
            )
    changed = target.read_bytes() != before
    if len(changing) > 1:
        return Applied(marked(done.stderr) & set(changing), changed)
    return Applied(frozenset(changing if changed else ()), changed)


def _search(pattern: str, name: str) -> bool:
    # Coccinelle writes groups and alternatives as OCaml does unless it was built with PCRE.
    plain = re.sub(r"\\([|()])", r"\1", pattern)
    try:
        return re.search(plain, name) is not None
    except re.error:
        return False
