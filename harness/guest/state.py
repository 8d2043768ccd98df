"""Where a guest stands, and that what broke once stays broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from harness.errors import GuestError, HurdleError


class GuestState(StrEnum):
    OFF = "off"
    BOOTING = "booting"
    CONSOLE = "console"  #: the console's shell answers
    SSH = "ssh"  #: SSH answers too, and commands go that way
    DEAD = "dead"  #: it failed; nothing more is asked of it


_FOLLOWS = {
    GuestState.OFF: {GuestState.BOOTING},
    GuestState.BOOTING: {GuestState.CONSOLE},
    GuestState.CONSOLE: {GuestState.SSH, GuestState.OFF},
    GuestState.SSH: {GuestState.OFF},
    GuestState.DEAD: set[GuestState](),
}


class Life:
    """A guest's state.  The first failure latches: it is the cause of every later one."""

    def __init__(self) -> None:
        self._state = GuestState.OFF
        self._cause: BaseException | None = None

    @property
    def state(self) -> GuestState:
        return self._state

    @property
    def cause(self) -> BaseException | None:
        """What killed the guest."""
        return self._cause

    def move(self, to: GuestState) -> None:
        """Go to the next state; staying is allowed, skipping is a bug of the caller."""
        self.check()
        if to is not self._state and to not in _FOLLOWS[self._state]:
            raise RuntimeError(f"a guest that is {self._state} can't become {to}")
        self._state = to

    def fail(self, cause: BaseException) -> None:
        """The guest is dead.  Only the first cause counts."""
        if self._cause is None:
            self._cause = cause
        self._state = GuestState.DEAD

    def check(self) -> None:
        """Raise `GuestError` from the original cause if the guest is dead."""
        if self._cause is None:
            return
        console = self._cause.console if isinstance(self._cause, GuestError) else ""
        hint = self._cause.hint if isinstance(self._cause, HurdleError) else None
        raise GuestError(
            f"the guest is not used any more, since: {self._cause}", hint=hint, console=console
        ) from self._cause

    def need(self, *states: GuestState) -> None:
        """Raise unless the guest is in one of `states`: `GuestError` when dead, else a bug."""
        self.check()
        if self._state not in states:
            wanted = " or ".join(states)
            raise RuntimeError(f"the guest is {self._state}, this needs {wanted}")

    @contextmanager
    def latching(self) -> Iterator[None]:
        """A failure inside the block kills the guest; so does Ctrl-C, which leaves it half done."""
        try:
            yield
        except BaseException as exc:
            self.fail(exc)
            raise
