"""`results.jsonl`: every event on a line of its own, from which each report can be made again."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from harness.errors import UsageError
from harness.events import EVENT, Event


class JsonlWriter:
    """Subscriber that appends each event to a file at once.

    Lines are written one by one, so a run that is killed leaves whole lines and at most one torn
    one at the end, and a disk that is full leaves whole lines only.  `close` may be called more
    than once; an event after it opens the file again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # No buffer: what a full disk did not take must not come up again in `close`.
        self._sink = path.open("wb", buffering=0)

    def __call__(self, event: Event) -> None:
        if self._sink.closed:
            self._sink = self._path.open("ab", buffering=0)
        end = self._sink.seek(0, os.SEEK_END)
        rest = memoryview(_line(event) + b"\n")
        try:
            while rest:
                rest = rest[self._sink.write(rest) :]
        except OSError:
            with suppress(OSError):
                self._sink.truncate(end)  # half a line would spoil the next one
            raise

    def close(self) -> None:
        self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _line(event: Event) -> bytes:
    try:
        return event.model_dump_json().encode()
    except PydanticSerializationError:
        # A lone surrogate, from a file name that is no UTF-8, has no place in JSON.
        text = json.dumps(event.model_dump(), ensure_ascii=False)
        return text.encode(errors="replace")


def read_events(path: Path) -> list[Event]:
    """The events of a `results.jsonl`; a torn last line, left by a killed run, is dropped.

    Raises `UsageError` when the file can't be read or another line is no event.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror}", hint="give the folder of a run") from exc
    # Only a newline ends a line: str.splitlines would cut at U+2028 inside a guest's text.
    *lines, rest = data.split(b"\n")
    events = []
    for number, line in enumerate([*lines, rest], start=1):
        if not line.strip():
            continue
        try:
            events.append(EVENT.validate_json(line))
        except ValidationError as exc:
            if number > len(lines):
                break
            raise UsageError(
                f"{path}:{number}: no event of a run: {exc.errors()[0]['msg']}",
                hint="the file was changed by hand or is from another version of hurdle",
            ) from exc
    return events
