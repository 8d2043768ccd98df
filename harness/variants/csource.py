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
_TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|[(){}]")
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
    found += _function_calls(_DIRECTIVE.sub(lambda m: _spaces(m.group()), text), wanted)
    return tuple(sorted(found, key=lambda call: call.line))


def _macro_calls(body: str, wanted: Collection[str], macro: str, line: int) -> list[Call]:
    return [
        Call(m.group(1), line + body.count("\n", 0, m.start()), macro)
        for m in re.finditer(r"\b([A-Za-z_]\w*)(?:\s|\\\n)*\(", body)
        if m.group(1) in wanted
    ]


def _function_calls(text: str, wanted: Collection[str]) -> list[Call]:
    found = []
    braces = parens = 0
    previous = candidate = outer = function = ""
    line = previous_line = 1
    counted = 0
    for token in _TOKEN.finditer(text):
        word = token.group()
        line += text.count("\n", counted, token.start())
        counted = token.start()
        if word == "(":
            if braces and previous in wanted:
                found.append(Call(previous, previous_line, function))
            if not parens:
                outer = previous
            parens += 1
        elif word == ")":
            parens = max(0, parens - 1)
            if not braces and not parens and outer not in _KEYWORDS:
                candidate = outer
        elif word == "{":
            if not braces:
                function, parens = candidate, 0
            braces += 1
        elif word == "}":
            # GNU style ends a function in column 0; so branches of #if that open a brace twice
            # don't put all that follows into one function.
            at_margin = token.start() == 0 or text[token.start() - 1] == "\n"
            braces = 0 if at_margin else max(0, braces - 1)
            if not braces:
                parens, candidate = 0, ""
        previous, previous_line = word, line
    return found


def _spaces(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)
