"""What a long command is doing, for a person: dim lines on the standard error."""

from __future__ import annotations

from rich.console import Console


def say(text: str) -> None:
    """Print a line of progress as it is, without markup."""
    Console(stderr=True).print(text, style="dim", markup=False, soft_wrap=True)
