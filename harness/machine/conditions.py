"""What a guest can say on its console that ends a wait.  Pure.

Texts are from the sources: Linux kernel/panic.c, arch/x86/mm/fault.c, fs/ext4/super.c, fs/jbd2;
gnumach kern/debug.c, i386/i386/trap.c, i386/i386at/model_dep.c; Hurd ext2fs/msg.c, proc/mgt.c,
init/init.c; sysvinit's checkroot.sh, sulogin(8), initramfs-tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

# The only tool that knows how long a match can get; public until 3.10 as sre_parse.
from re import _parser  # type: ignore[attr-defined]

from harness.errors import GuestError, UsageError

#: bytes of console that a pattern may span; the window in which patterns are searched
WINDOW = 4096
#: longest match allowed: what arrives is searched in pieces, and a match must fit into the window
LONGEST = 1024


class Condition(StrEnum):
    """Why a wait for the guest ended badly."""

    PANIC = "panic"  #: the kernel or the root file system's server gave up
    OOPS = "oops"  #: the kernel faulted and went on; its state can't be trusted
    MAINTENANCE = "maintenance"  #: the boot stopped at a prompt for a person
    NO_ROOT = "no-root"  #: the root disk is not where the kernel was told to look
    REBOOT = "reboot"  #: the guest restarted by itself
    POWER_OFF = "power-off"  #: the guest switched itself off
    TIGHT_LOOP = "tight-loop"  #: gnumach has shut down and spins; QEMU stays
    SERVER_CRASH = "server-crash"  #: a Hurd server died
    JOURNAL_WARNING = "journal-warning"  #: the file system complains about its journal
    HANG = "hang"  #: no answer in time, though QEMU runs
    QEMU_DIED = "qemu-died"  #: QEMU ended, and neither we nor the guest wanted it


class ConditionError(GuestError):
    """A `GuestError` with its condition; `console` has the last lines that the guest printed."""

    def __init__(
        self, condition: Condition, message: str, *, hint: str | None = None, console: str = ""
    ) -> None:
        super().__init__(message, hint=hint, console=console)
        self.condition = condition


@dataclass(frozen=True)
class Alarm:
    """A text that means a condition, and what to do about it."""

    condition: Condition
    pattern: bytes
    happened: str
    cure: str


_REST = rb"[^\r\n]{0,200}"

ALARMS = (
    Alarm(
        Condition.PANIC,
        rb"Kernel panic - not syncing" + _REST,
        "the kernel panicked",
        "the lines before it on the console say why; check the kernel, its command line and disks",
    ),
    Alarm(
        Condition.PANIC,
        rb"(?:\n\r?|\A)(?:[a-z0-9]{1,16}: ){0,2}panic(?: \{cpu\d{1,3}\})?[: ]" + _REST,
        "the kernel or the root's ext2fs panicked",
        "the lines before it on the console say why; is the root disk a file system that it takes?",
    ),
    Alarm(
        Condition.PANIC,
        rb"Kernel [A-Za-z ]{1,40} trap, [er]ip " + _REST,
        "gnumach trapped in the kernel",
        "keep the console log: this is a bug of gnumach or of the emulated hardware",
    ),
    Alarm(
        Condition.OOPS,
        rb"BUG: (?:kernel|unable)" + _REST,
        "the kernel faulted",
        "the trace on the console names the function; a verdict after an oops means nothing",
    ),
    Alarm(
        Condition.MAINTENANCE,
        rb"(?:A maintenance shell will now be started|(?:Enter|Give) root password for"
        rb"(?: system)? maintenance|\n\(initramfs\) )",
        "the boot stopped at a maintenance prompt",
        "the root file system needs a person: check the root image, or take a fresh copy",
    ),
    Alarm(
        Condition.NO_ROOT,
        rb"(?:\n\r?|\A)ext2fs: [^\r\n]{1,80}: No such device or address",
        "the guest doesn't find its root disk",
        "check root= on the kernel's command line, or try the other machine.disk_bus (ide, ahci)",
    ),
    Alarm(
        Condition.REBOOT,
        rb"reboot: (?:Restarting system|machine restart)",
        "the guest rebooted by itself",
        "look at the console for what asked for it",
    ),
    Alarm(
        Condition.POWER_OFF,
        rb"reboot: (?:Power down|System halted)",
        "the guest switched itself off",
        "look at the console for what asked for it",
    ),
    Alarm(
        Condition.TIGHT_LOOP,
        rb"now in tight loop",
        "gnumach has shut down and spins in a loop",
        "look at the console for what halted it",
    ),
    Alarm(
        Condition.SERVER_CRASH,
        rb"/hurd/crash: [^\r\n]{1,160} crashed, signal" + _REST,
        "a server of the Hurd crashed",
        "the line names the program; run it again with a translator that has symbols",
    ),
    Alarm(
        Condition.SERVER_CRASH,
        rb"journal: [^\r\n]{1,80}: invariant [^\r\n]{1,80} broken" + _REST,
        "the journal found its own state broken and stopped",
        "the line names the rule and its place in guest-patches/journal",
    ),
    Alarm(
        Condition.JOURNAL_WARNING,
        rb"(?:\[JOURNAL\]|EXT[234]-fs error|Aborting journal on device|JBD2: Detected IO errors"
        # ours, mounted with --journal-check
        rb"|journal: block \d{1,10} came back with a change)" + _REST,
        "the file system complained about its journal or structure",
        "this is a finding about the file system, or the disk under it failed",
    ),
)


def check_bounded(pattern: bytes) -> bytes:
    """`pattern`, if it is a regular expression whose longest match is at most `LONGEST` bytes.

    The console is searched in a window, so an unbounded pattern (`.*`) would match or not by luck
    of timing.  Raises `UsageError` otherwise.
    """
    try:
        longest = _parser.parse(pattern).getwidth()[1]
    except re.error as exc:
        raise UsageError(
            f"{pattern.decode(errors='replace')!r} is no regular expression: {exc}",
            hint="mend it; a bracket or a plus that is meant literally needs a backslash",
        ) from exc
    if longest > LONGEST:
        raise UsageError(
            f"the pattern {pattern.decode(errors='replace')!r} can match without bound",
            hint="use {0,80} instead of * or +, so that it is found however the text arrives",
        )
    return pattern


def alarms_for(tolerated: Iterable[Condition]) -> tuple[Alarm, ...]:
    """The alarms of all conditions but those that the caller takes in his stride."""
    calm = frozenset(tolerated)
    return tuple(alarm for alarm in ALARMS if alarm.condition not in calm)


def plain(text: bytes | str) -> str:
    """Console text for people: no carriage returns, no terminal escapes, no control characters."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    text = re.sub(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\^_=>78])", "", text)
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text)
