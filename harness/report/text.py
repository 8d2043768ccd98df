"""Text from guests and tools made fit for a page, an XML file and a terminal.

What a guest prints is hostile input: it may hold escape sequences, NUL, bytes that were no UTF-8,
or characters that turn the direction of a line around.  Every writer passes it through `clean`.
"""

from __future__ import annotations

import math
import re

# Colours, cursor movement, window titles; a lone ESC falls to _INVISIBLE.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-Za-z])")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff\ufdd0-\ufdef\ufff9-\ufffb]|[^\x00-\U0010fffd]|[\ufffe\uffff]"
)
_MOST_LINES = 2000
_LONGEST_LINE = 4000


def _picture(match: re.Match[str]) -> str:
    """C0 controls have pictures (U+2400 ...); everything else that can't be seen becomes U+FFFD."""
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def clean(text: str) -> str:
    """`text` without escape sequences; other control characters stay visible as pictures."""
    plain = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _INVISIBLE.sub(_picture, plain)


def clean_line(text: str) -> str:
    """`text` cleaned and on one line."""
    return " ".join(clean(text).split())


def excerpt(text: str) -> str:
    """`text` cleaned and cut to what a page can hold; what was left out is said in its place."""
    lines = [
        line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} … {len(line)} characters"
        for line in clean(text).strip("\n").split("\n")
    ]
    left_out = len(lines) - _MOST_LINES
    if left_out <= 0:
        return "\n".join(lines)
    head = _MOST_LINES // 4
    return "\n".join(
        [*lines[:head], f"… {left_out} lines left out …", *lines[left_out + head :]],
    )


def finite(number: float) -> float:
    """`number`, or 0 where it is no number to draw or add."""
    return number if math.isfinite(number) and abs(number) < 1e9 else 0.0


def duration(seconds: float) -> str:
    """A duration with the digits that a person reads: 40 ms, 3.2 s, 2 min 05 s."""
    seconds = max(finite(seconds), 0.0)
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int) -> str:
    """A number of bytes with a binary unit."""
    value = float(min(max(count, 0), 1 << 60))
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def counted(count: int, noun: str) -> str:
    """`1 state`, `2 states`, `3 entries`, `4 prefixes`."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{count} {noun[:-1]}ies"
    if noun.endswith(("sh", "x")):
        return f"{count} {noun}es"
    return f"{count} {noun}s"


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
