"""What can go wrong, and the exit code that says so.

Three roots, told apart by who has to act: the caller (`UsageError`), the host (`InfraError`),
the guest (`GuestError`).  A file system that loses data is none of them: it is a verdict.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command `hurdle`, one for each kind of ending."""

    OK = 0  #: every verdict is the one that the scenario expects
    UNEXPECTED = 1  #: at least one verdict differs from what the scenario expects
    USAGE = 2  #: the command line, a recipe or a scenario is wrong; nothing was started
    INFRA = 3  #: QEMU, the host or a tool broke; says nothing about the file system
    GUEST = 4  #: the guest panicked, hung, rebooted or never answered
    VOID = 5  #: nothing unexpected, but at least one verdict proves nothing
    BUG = 70  #: hurdle itself failed; sysexits.h calls it EX_SOFTWARE
    INTERRUPTED = 130  #: Ctrl-C
    PIPE = 141  #: nobody reads what it prints any more, as of SIGPIPE
    TERMINATED = 143  #: SIGTERM


class HurdleError(Exception):
    """Base of every error that hurdle raises on purpose.

    `hint` is the cure: what the user can do about it, or where to look.
    """

    exit_code: Exit = Exit.INFRA

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(HurdleError):
    """The caller asked for something that can't be: bad option, recipe or scenario."""

    exit_code = Exit.USAGE


class InfraError(HurdleError):
    """The host failed: a missing tool, a full disk, a QEMU that does not start."""

    exit_code = Exit.INFRA


class GuestError(HurdleError):
    """The guest surprised us: panic, hang, reboot, no SSH.

    `console` is the last text that the guest printed (may be empty).
    """

    exit_code = Exit.GUEST

    def __init__(self, message: str, *, hint: str | None = None, console: str = "") -> None:
        super().__init__(message, hint=hint)
        self.console = console
