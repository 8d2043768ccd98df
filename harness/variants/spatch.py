"""Coccinelle's spatch: which parts of a file it can't parse, and one file of rules on one file.

spatch says nothing of a function that it can't parse or follow and ends well, and so it does when a
rule matches nothing.  All are asked for here: with `--parse-c`, with a rule that matches every
function, and by a script that is put behind each rule.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InfraError, UsageError
from harness.process import run, tail
from harness.variants.csource import blanked, functions, names
from harness.variants.smpl import Rule, marked, with_marks
from harness.variants.tree import read_source

_SECONDS = 120.0
_ERROR = re.compile(r'^ = File "(?P<file>.*)", line (?P<line>\d+), column \d+')
_HUNK = re.compile(r"^@@ -(\d+)")
# A rule with a star shows what it matches as taken away.
_PROBE = """@probe exists@
identifier f;
@@
* f (...)
  { ... when any
  }
"""
_CONDITION = re.compile(r"#\s*(if|ifdef|ifndef|else|elif|endif)\b")
_DEAD = re.compile(r"#\s*if\s+0\b")


@dataclass(frozen=True)
class Part:
    """A part of a file that Coccinelle doesn't see.

    `first` and `last` are lines; both are 0 for tokens that it skipped to parse what is around
    them, of which it doesn't say where they are.  `function` is set for one that is parsed, but
    has no flow: one with a nested function, or with a jump that leads nowhere.
    """

    first: int
    last: int
    text: str
    function: str = ""

    def __str__(self) -> str:
        if self.function:
            return f"can't follow {self.function} (lines {self.first}-{self.last})"
        return f"can't parse lines {self.first}-{self.last}" if self.first else "skips tokens"

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


def parse_report(said: str, file: str, source: str) -> tuple[Part, ...]:
    """The parts that `spatch --parse-c` reports as bad or passed, of `file` with text `source`."""
    lines = blanked(source).split("\n")
    parts = []
    where = 0
    block: list[str] = []
    for line in [*said.splitlines(), ""]:
        match = _ERROR.match(line)
        if match:
            # What is wrong in a header is reported for each file that includes it.
            where = int(match["line"]) if match["file"] == file else 0
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
        elif not _CONDITION.match(text):
            kept.append(text)
    return [Part(0, 0, "\n".join(kept))] if kept else []


def unseen(tree: Path, file: str) -> tuple[Part, ...]:
    """The parts of a file of the tree that Coccinelle doesn't see."""
    source = read_source(tree / file)
    parts = _unparsed(tree, file, source)
    bad = {line for part in parts if part.first for line in range(part.first, part.last + 1)}
    followed = _followed(tree, file)
    lines = blanked(source).split("\n")
    before = 0
    for each in functions(source):
        # What stands between two functions is the head of the second.
        if not followed & set(range(before + 1, each.opened + 1)) and each.line not in bad:
            text = "\n".join(lines[each.line - 1 : each.last])
            parts = (*parts, Part(each.line, each.last, text, each.name))
        before = each.last
    return parts


def _followed(tree: Path, file: str) -> frozenset[int]:
    """The lines that are heads of functions which Coccinelle can match rules in."""
    with tempfile.TemporaryDirectory(prefix="hurdle-smpl-") as scratch:
        probe = Path(scratch) / "probe.cocci"
        probe.write_text(_PROBE)
        argv = ["spatch", "--sp-file", str(probe), file]
        return minus_lines(run(argv, cwd=tree, timeout=_SECONDS).stdout)


def minus_lines(diff: str) -> frozenset[int]:
    """The lines of the old file that a unified diff takes away."""
    found = set()
    at = 0
    for line in diff.splitlines():
        hunk = _HUNK.match(line)
        if hunk:
            at = int(hunk.group(1))
        elif at and line.startswith("-"):
            found.add(at)
            at += 1
        elif at and not line.startswith(("+", "\\")):
            at += 1
    return frozenset(found)


def _unparsed(tree: Path, file: str, source: str) -> tuple[Part, ...]:
    done = run(["spatch", "--parse-c", file], cwd=tree, timeout=_SECONDS)
    if not re.search(r"nb good = \d+", done.output):
        raise InfraError(
            f"spatch --parse-c gave no account of {file}:\n{tail(done.output)}",
            hint=f"run it by hand in {tree}: {done.command}",
        )
    return parse_report(done.output, file, source)


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
