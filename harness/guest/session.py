"""Where the conversation with a console's shell stands, so that it can be taken up again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ShellSession:
    """`key` marks this session's answers, `number` the last command, `crlf` how lines end."""

    key: str
    number: int
    crlf: bool
