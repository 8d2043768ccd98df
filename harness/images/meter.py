"""How far a long step has come: a bar for a person, nothing for a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Advance = Callable[[int], None]  #: told how many bytes are done
#: title and total bytes (None: unknown) to a block in which the bar is seen
Meter = Callable[[str, int | None], AbstractContextManager[Advance]]


@contextmanager
def no_meter(title: str, total: int | None) -> Iterator[Advance]:
    """For whoever does not look."""
    yield lambda done: None


def bar(console: Console) -> Meter:
    """A bar with speed and time left; on a console that is no terminal nothing."""

    @contextmanager
    def meter(title: str, total: int | None) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        hidden = not console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.update(task, completed=done)

    return meter
