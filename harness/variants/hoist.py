"""What Coccinelle skips without a word, put so that it doesn't, and back again.

It parses a function that has another function in it, or a weak attribute before its name, and then
matches no rule in it.  So while rules are applied, nested functions are at the end of the file with
a declaration where they were, and such attributes are comments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import UsageError
from harness.variants.csource import blanked, nested_functions

_ATTRIBUTE = re.compile(
    r"^[A-Za-z_][\w \t*]*?(?P<it>__attribute__[ \t]*\(\([ \t]*\w+[ \t]*\)\))[ \t]*\n"
    r"[A-Za-z_]\w*[ \t]*\(",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Hoisted:
    """A C file as Coccinelle gets it; `lines` has the original's number for each of its lines."""

    text: str
    nested: int
    attributes: tuple[str, ...]
    lines: tuple[int, ...]

    def line(self, number: int) -> int:
        """The original's line for a line of `text`; 0 for none."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else 0


def hoist(text: str) -> Hoisted:
    """Move nested functions to the end of a C file, and hide attributes before names."""
    attributes = tuple(match["it"] for match in _ATTRIBUTE.finditer(blanked(text)))
    for index, match in reversed(list(enumerate(_ATTRIBUTE.finditer(blanked(text))))):
        text = text[: match.start("it")] + _comment(index) + text[match.end("it") :]
    spans = nested_functions(text)
    body, lines = "", [1]
    at = 0
    for index, (start, end) in enumerate(spans):
        body += text[at:start] + f"int hurdle_nested_{index};"
        lines += range(lines[-1] + 1, lines[-1] + 1 + text.count("\n", at, start))
        lines[-1] = text.count("\n", 0, end) + 1
        at = end
    body += text[at:]
    lines += range(lines[-1] + 1, lines[-1] + 1 + text.count("\n", at))
    for index, (start, end) in enumerate(spans):
        body += f"\nint hurdle_begin_{index};\n{text[start:end]}\nint hurdle_end_{index};\n"
        first = text.count("\n", 0, start) + 1
        last = first + text.count("\n", start, end)
        lines += [first, *range(first, last + 1), last, last]
    return Hoisted(body, len(spans), attributes, tuple(lines))


def lower(text: str, hoisted: Hoisted, where: str) -> str:
    """Put back what `hoist` took away, after rules have changed the text.

    Raises `UsageError` if rules have lost a part of it.
    """
    for index in range(hoisted.nested):
        moved = re.search(
            rf"\nint hurdle_begin_{index};\n(.*?)\nint hurdle_end_{index};\n", text, re.DOTALL
        )
        place = f"int hurdle_nested_{index};"
        if moved is None or text.count(place) != 1:
            raise _lost(where, "a nested function")
        text = (text[: moved.start()] + text[moved.end() :]).replace(place, moved.group(1))
    for index, attribute in enumerate(hoisted.attributes):
        if text.count(_comment(index)) != 1:
            raise _lost(where, attribute)
        text = text.replace(_comment(index), attribute)
    return text


def respaced(text: str, original: str) -> str:
    """`text` with GNU style's space before parentheses in its new lines.

    Coccinelle keeps the spaces that a rule has, but prints what a metavariable stood for in its own
    style.  A name gets its space back where the original has it with a space, and never without.
    """
    plain = blanked(original)
    spaced = set(re.findall(r"\b([A-Za-z_]\w*) \(", plain))
    spaced -= set(re.findall(r"\b([A-Za-z_]\w*)\(", plain))
    old = set(original.split("\n"))
    lines, blank = text.split("\n"), blanked(text).split("\n")
    for index, line in enumerate(lines):
        if line in old:
            continue
        for match in reversed(list(re.finditer(r"\b([A-Za-z_]\w*)\(", blank[index]))):
            if match.group(1) in spaced:
                at = match.end() - 1
                line = f"{line[:at]} {line[at:]}"
        lines[index] = line
    return "\n".join(lines)


def foreign_braces(text: str, original: str) -> tuple[int, ...]:
    """Lines of `text`, new ones, that open a brace at their end, as GNU style doesn't.

    Coccinelle writes such ones around a statement that becomes two, for example behind an `if`.
    """
    old = set(original.split("\n"))
    return tuple(
        number
        for number, line in enumerate(text.split("\n"), 1)
        if line not in old and re.search(r"(\)|\belse|\bdo)\s*\{$", line.rstrip())
    )


def wide_lines(text: str, original: str) -> tuple[int, ...]:
    """New lines of `text` that are wider than GNU style's 79 columns."""
    old = set(original.split("\n"))
    lines = enumerate(text.split("\n"), 1)
    return tuple(n for n, line in lines if line not in old and len(line.expandtabs()) > 79)


def _comment(index: int) -> str:
    return f"/*hurdle_attribute_{index}*/"


def _lost(where: str, what: str) -> UsageError:
    return UsageError(
        f"{where}: the rules take away code around {what}, which can't be put back",
        hint="make the rules narrower: they may change the code before and after it",
    )
