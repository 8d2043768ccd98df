"""One at a time: a lock file, and a word to whoever has to wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import InfraError


@contextmanager
def locked(
    path: Path, why: str, say: Callable[[str], None], seconds: float | None = None
) -> Iterator[None]:
    """Hold the lock `path` within the block.

    Where another process holds it, `say` hears `why`, and it is waited for; `InfraError` after
    `seconds`, if they are given.  The same process may not take a lock twice.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{why}; waiting for it")
        try:
            lock.acquire(timeout=-1 if seconds is None else seconds)
        except Timeout as exc:
            raise InfraError(
                f"{why}, and has held {path} for {seconds:.0f} s",
                hint=f"see who holds it: fuser {path}",
            ) from exc
    try:
        yield
    finally:
        lock.release()
