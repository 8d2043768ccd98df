"""One deadline, handed down from whoever promised an answer to whoever waits for it."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock.  Immutable, so it can be passed to anyone."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline that is `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.at

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and `seconds` from now: a phase inside a budget."""
        return Deadline(min(self.at, time.monotonic() + seconds))
