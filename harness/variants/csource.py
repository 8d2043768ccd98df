"""Calls in C files, found by their tokens alone.

Coccinelle doesn't see what it can't parse; this does, so it is what proves that no call of a
function went unnoticed.  Comments, strings and `#if 0` count as blank.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_BLANK = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_CONDITION = re.compile(r"^[ \t]*#[ \t]*(if|ifdef|ifndef|else|elif|endif)\b([^\n]*)")
_DEFINE = re.compile(r"[ \t]*#[ \t]*define[ \t]+(?P<name>\w+)")
_NESTED = re.compile(r"(?<=[;{}])\s*(?P<head>[A-Za-z_][\w\s*]*?\b[A-Za-z_]\w*\s*\([^;{}]*\))\s*\{")
_STATEMENTS = frozenset({"if", "while", "for", "switch", "return", "else", "do", "case", "goto"})
_TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|[(){};]")
_KEYWORDS = frozenset(
    (
        "__asm__",
        "__attribute__",
        "__typeof__",
        "alignof",
        "asm",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "defined",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typeof",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
    )
)


@dataclass(frozen=True)
class Call:
    """A call in a file: its name, line and the function or macro that it is in."""

    name: str
    line: int
    function: str


@dataclass(frozen=True)
class Function:
    """A function's definition: the lines of its name, of its opening and of its closing brace."""

    name: str
    line: int
    opened: int
    last: int


def blanked(text: str) -> str:
    """`text` with comments, strings and `#if 0` as spaces; lines keep their numbers."""
    plain = _BLANK.sub(lambda m: _spaces(m.group()), text)
    lines = plain.split("\n")
    depth = dead = 0  # `dead` is the depth of the `#if 0` that we are in
    for index, line in enumerate(lines):
        match = _CONDITION.match(line)
        word = match.group(1) if match else ""
        if word.startswith("if"):
            depth += 1
            if not dead and match and word == "if" and match.group(2).strip() == "0":
                dead = depth
        elif dead == depth and word in ("else", "elif", "endif"):
            dead = 0
        if word == "endif":
            depth -= 1
        if dead and not match:
            lines[index] = _spaces(line)
    return "\n".join(lines)


def names(text: str) -> set[str]:
    """All identifiers in C text, keywords left out."""
    found = re.findall(r"\b[A-Za-z_]\w*", blanked(text))
    return set(found) - _KEYWORDS


def called_names(text: str) -> set[str]:
    """Identifiers that stand before a parenthesis: calls, and definitions of functions."""
    found = re.findall(r"\b([A-Za-z_]\w*)\s*\(", blanked(text))
    return set(found) - _KEYWORDS


def calls(text: str, wanted: Collection[str]) -> tuple[Call, ...]:
    """Calls of the functions `wanted` in a C file, in order.

    A name that is passed on without a call is not seen, nor is one that a macro pastes together.
    """
    text = blanked(text)
    found: list[Call] = []
    for directive in _DIRECTIVE.finditer(text):
        define = _DEFINE.match(directive.group())
        if define:
            line = text.count("\n", 0, directive.start()) + 1
            body = " " * define.end() + directive.group()[define.end() :]
            found += _macro_calls(body, wanted, define["name"], line)
    found += _walk(text, wanted)[0]
    return tuple(sorted(found, key=lambda call: call.line))


def functions(text: str) -> tuple[Function, ...]:
    """The functions that a C file defines, in order."""
    return tuple(_walk(blanked(text), ())[1])


def nested_functions(text: str) -> list[tuple[int, int]]:
    """Where functions inside of functions begin and end in a C file, outermost ones only."""
    text = _DIRECTIVE.sub(lambda m: _spaces(m.group()), blanked(text))
    found: list[tuple[int, int]] = []
    for match in _NESTED.finditer(text):
        if found and match.start("head") < found[-1][1]:
            continue
        words = re.findall(r"\w+", match["head"])
        # A macro that loops has its name alone before the parenthesis, a function its type as well.
        if len(words) < 2 or set(words) & _STATEMENTS or not _in_function(text, match.start()):
            continue
        depth = 0
        for brace in re.finditer(r"[{}]", text[match.end() - 1 :]):
            depth += 1 if brace.group() == "{" else -1
            if not depth:
                found.append((match.start("head"), match.end() - 1 + brace.end()))
                break
    return found


def _in_function(text: str, at: int) -> bool:
    """Whether a place in blanked text is in braces, counted from the last brace at the margin."""
    start = text.rfind("\n}", 0, at) + 2 if "\n}" in text[:at] else 0
    return text.count("{", start, at) > text.count("}", start, at)


def _macro_calls(body: str, wanted: Collection[str], macro: str, line: int) -> list[Call]:
    return [
        Call(m.group(1), line + body.count("\n", 0, m.start()), macro)
        for m in re.finditer(r"\b([A-Za-z_]\w*)(?:\s|\\\n)*\(", body)
        if m.group(1) in wanted
    ]


def _walk(text: str, wanted: Collection[str]) -> tuple[list[Call], list[Function]]:
    """The calls in functions of a blanked text, and its functions."""
    text = _DIRECTIVE.sub(lambda m: _spaces(m.group()), text)
    found: list[Call] = []
    defined: list[Function] = []
    braces = parens = opened = 0
    nothing = ("", 0)  # an identifier and its line
    previous = outer = candidate = function = nothing
    line, counted = 1, 0
    for token in _TOKEN.finditer(text):
        word = token.group()
        line += text.count("\n", counted, token.start())
        counted = token.start()
        if word == "(":
            if braces and previous[0] in wanted:
                found.append(Call(*previous, function[0]))
            outer = outer if parens else previous
            parens += 1
        elif word in (")", ";"):
            parens = max(0, parens - (word == ")"))
            if not braces and not parens:
                candidate = _head(word, previous, outer, candidate)
        elif word == "{":
            if not braces:
                function, parens, opened = candidate, 0, line
            braces += 1
        elif word == "}":
            # GNU style ends a function in column 0; so branches of #if that open a brace twice
            # don't put all that follows into one function.
            at_margin = token.start() == 0 or text[token.start() - 1] == "\n"
            braces = 0 if at_margin else max(0, braces - 1)
            if not braces:
                if function[0]:
                    defined.append(Function(*function, opened, line))
                parens, candidate, function = 0, nothing, nothing
        previous = (word, line)
    return found, defined


def _head(
    word: str, previous: tuple[str, int], outer: tuple[str, int], candidate: tuple[str, int]
) -> tuple[str, int]:
    """The name that a function has if its body comes next, after a parenthesis or semicolon."""
    if word == ")":
        return outer if outer[0][:1].isidentifier() and outer[0] not in _KEYWORDS else candidate
    # A prototype ends; the declarations of an old-style function's arguments don't.
    return ("", 0) if previous[0] == ")" else candidate


def _spaces(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)
