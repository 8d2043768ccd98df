"""Blocking calls of a library that has no deadlines, with a deadline, while the console is watched.

paramiko waits for some answers without any time-out.  Such a call runs in a thread of its own; when
the deadline comes the caller gives up, and closing the connection ends the thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from harness.deadline import Deadline
from harness.guest.command import Watch

T = TypeVar("T")

_SLICE = 0.2  # s between two calls of `idle`


def bounded(
    call: Callable[[], T],
    deadline: Deadline,
    watch: Watch,
    idle: Callable[[], None] = lambda: None,
) -> T:
    """The result of `call`, or its exception; `TimeoutError` at the deadline.

    `watch` runs in the caller's thread meanwhile and may raise; `idle` is called now and then.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    done, tell = os.pipe()

    def work() -> None:
        try:
            results.append(call())
        except BaseException as exc:
            errors.append(exc)
        finally:
            os.close(tell)  # makes `done` readable

    threading.Thread(target=work, daemon=True).start()
    try:
        while not watch(min(_SLICE, deadline.remaining), [done]):
            idle()
            if deadline.expired:
                raise TimeoutError("no answer in time")
    finally:
        os.close(done)
    if errors:
        raise errors[0]
    return results[0]
