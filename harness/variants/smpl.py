"""What a file of semantic patches says, as far as hurdle has to know it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from harness.errors import UsageError
from harness.variants.csource import called_names, names

_HEAD = re.compile(r"^@\s*(?P<head>[^@]*?)\s*@\s*$")
_SCRIPT = re.compile(r"(script|initialize|finalize)\s*:")
_NOT_A_NAME = frozenset({"depends", "extends", "disable", "using", "expression", "type", "script"})
_REAL_NAMES = re.compile(r"\b(iterator|declarer|symbol|typedef|attribute)\b")
_MARK = "hurdle: matched "


@dataclass(frozen=True)
class Rule:
    """A rule of a semantic patch.

    `anchors` are the names of C that it matches on, `patterns` the regular expressions that its
    metavariables obey, `added` the names in its plus lines.
    """

    name: str
    kind: Literal["match", "script"]
    changes: bool
    anchors: frozenset[str]
    patterns: tuple[str, ...]
    added: frozenset[str]


def parse_rules(text: str, where: str) -> tuple[Rule, ...]:
    """The rules of a .cocci file; `where` names it in errors.

    Raises `UsageError` for what can't be followed here: a rule without a name, since nothing could
    report that it matched, two with the same name, a head on several lines.
    """
    lines = [re.sub(r"//.*", "", line).rstrip() for line in text.splitlines()]
    found: list[Rule] = []
    index = 0
    while index < len(lines):
        if not lines[index].startswith("@"):
            index += 1
            continue
        head = _HEAD.match(lines[index])
        if head is None:
            raise UsageError(
                f"{where}:{index + 1}: the head of a rule is no @name@",
                hint="write a rule's head on one line",
            )
        first = index + 1
        middle = next((i for i in range(first, len(lines)) if lines[i] == "@@"), len(lines))
        end = next(
            (i for i in range(middle + 1, len(lines)) if lines[i].startswith("@")), len(lines)
        )
        found.append(
            _rule(head["head"], lines[first:middle], lines[middle + 1 : end], f"{where}:{first}")
        )
        index = end
    _check_names(found, where)
    return tuple(found)


def with_marks(text: str, rules: tuple[Rule, ...]) -> str:
    """`text` with a script behind it for each rule that reports, file by file, that it matched."""
    scripts = [
        f"@script:python depends on {rule.name}@\n@@\n"
        f'__import__ ("sys").stderr.write ("{_MARK}{rule.name}\\n")\n'
        for rule in rules
        if rule.kind == "match"
    ]
    return "\n".join([text, *scripts])


def marked(output: str) -> frozenset[str]:
    """The rules that reported a match in spatch's messages."""
    return frozenset(
        line.removeprefix(_MARK) for line in output.splitlines() if line.startswith(_MARK)
    )


def _rule(head: str, declared: list[str], body: list[str], where: str) -> Rule:
    if _SCRIPT.match(head):
        return Rule("", "script", False, frozenset(), (), frozenset())
    name = head.split()[0] if head else ""
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in _NOT_A_NAME:
        raise UsageError(
            f"{where}: a rule has no name", hint="write @name@, so that its matches can be reported"
        )
    meta, fixed, patterns = _metavariables(" ".join(declared))
    plus = "\n".join(line[1:] for line in body if line.startswith("+"))
    rest = "\n".join(
        re.sub(r"@\w+", "", line[1:] if line.startswith(("-", "*")) else line)
        for line in body
        if not line.startswith("+")
    )
    rest = re.sub(r"\bwhen\b.*", "", rest)
    anchors = (called_names(rest) or names(rest)) - meta
    return Rule(
        name,
        "match",
        any(line.startswith(("+", "-")) for line in body),
        frozenset(anchors | fixed),
        tuple(patterns),
        frozenset(names(plus) - meta),
    )


def _metavariables(declared: str) -> tuple[set[str], set[str], list[str]]:
    """The metavariables, the names that they are bound to, and the patterns that they obey."""
    meta: set[str] = set()
    fixed: set[str] = set()
    patterns: list[str] = []
    for part in declared.split(";"):
        if _REAL_NAMES.search(part):
            continue
        patterns += re.findall(r'(?<!!)=~\s*"([^"]*)"', part)
        for values in re.findall(r"(?<!!)=\s*(\{[^}]*\}|\w+)", part):
            fixed |= set(re.findall(r"[A-Za-z_]\w*", values))
        plain = re.sub(r'!?=?~?\s*"[^"]*"|!?=\s*(\{[^}]*\}|\w+)', "", part)
        for one in plain.split(","):
            words = re.findall(r"[A-Za-z_]\w*", one)
            meta.update(words[-1:])
    return meta, fixed, patterns


def _check_names(rules: list[Rule], where: str) -> None:
    seen: set[str] = set()
    for rule in rules:
        if rule.kind == "match" and rule.name in seen:
            raise UsageError(f"{where}: two rules are called {rule.name}", hint="rename one")
        seen.add(rule.name)
    if not any(rule.changes for rule in rules):
        raise UsageError(f"{where}: no rule changes anything", hint="add lines with + or -")
