"""Many op lists in one booted guest: for each a fresh file system, the list with marks, the next.

The disk has a file system and, behind it, the area of the marks.  The whole of it goes through one
write log, in which each list has its stretch: from the mark behind its fresh file system to its
last mark.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from harness.crash.writelog import WriteLog
from harness.deadline import Deadline
from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.disk.jbd2 import journal_map
from harness.disk.lay import pieces, sequence_at
from harness.errors import GuestError, UsageError
from harness.guest.guest import Guest
from harness.guest.profile import Profile, profile_for
from harness.images.image import Image
from harness.images.recipe import Recipe
from harness.machine.accel import Accel
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.rundir import RunDir
from harness.workloads.agent.marks import AREA, Marks, OpJournal, journal_of, read_marks
from harness.workloads.agent.oplist import OpList
from harness.workloads.scenario import Disk

_PROGRAM = "/bin/hurdle-agent"
_FOLDER = "/tmp/lists"
_SCRIPT = "/tmp/lists.sh"
_PIECES = "/tmp/pieces"
# Of one list under TCG, with its mount: a small one takes one second, and 6 MiB on a host with five
# times the work it has processors for 40.  A hang is told late, but no slow host is called one.
_LIST_SECONDS = 180.0
_OP_SECONDS = 0.5  # for each operation more
_PREPARE_SECONDS = 120.0
#: transactions between the first of a list and the first of the next
_TRANSACTIONS = 50_000
DISK = Disk(size=16 << 20, journal_blocks=1024)  #: the smallest with the smallest journal


@dataclass(frozen=True)
class ListsRun:
    """What the lists left.

    `journals` has for each list when its operations began and returned.  The state that a list
    began with is `base` and the log's entries up to `journal.laid`; its own states are made of the
    entries from there to `journal.end`.  `seconds` is what all lists took, without the boot.
    `broke` says how the guest failed in the last of `lists`, if it did.
    """

    lists: tuple[OpList, ...]
    journals: tuple[OpJournal, ...]
    marks: Marks
    base: Path
    killed: Path
    log: Path
    seconds: float
    broke: str = ""

    @property
    def per_minute(self) -> float:
        return 60 * len(self.lists) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Bench:
    """The guest, variant and agent on which lists run; `agent` is compiled for that guest."""

    recipe: Recipe
    image: Image
    variant: str
    agent: Path
    accel: Accel
    disk: Disk = DISK
    with_marks: bool = (
        True  #: without, only a list's place in the log is known, not its operations'
    )
    #: the Hurd's kernel gives up all pages of directories again and again, so many seconds apart
    reclaim: float | None = None


def run_lists(bench: Bench, lists: Sequence[OpList], rundir: RunDir, folder: Path) -> ListsRun:
    """Boot the guest, run the lists one after the other, kill QEMU.

    `folder` takes base.raw, killed.raw and writes.log.  If the guest breaks in the middle of a
    list, that one is the last.  Raises `GuestError` when it breaks before any list began,
    `UsageError` for two lists of one run number.
    """
    if len({each.run for each in lists}) != len(lists):
        raise UsageError("each list needs a run number of its own")
    base, killed, log = folder / "base.raw", folder / "killed.raw", folder / "writes.log"
    variant = bench.recipe.variants[bench.variant]
    ext2.mkfs(base, bench.disk, variant, bench.recipe.os)
    journal = journal_map(base) if variant.journaled else None
    fresh, script = folder / "pieces", folder / "lists.sh"
    fresh.write_bytes(pieces(base, journal))
    script.write_text(_lists_script(lists))
    with base.open("r+b") as file:
        file.truncate(bench.disk.size + AREA)
    sparse_copy(base, killed)
    log.write_bytes(b"")
    commands = _Commands(bench, sequence_at(journal) if journal else None)
    files = ((bench.agent, _PROGRAM), (fresh, _PIECES), (script, _SCRIPT))
    tried, seconds, broke = _in_guest(bench, commands, lists, rundir, killed, log, files)
    return read_run(bench, lists[:tried], base, killed, log, seconds, broke)


def read_run(
    bench: Bench,
    lists: Sequence[OpList],
    base: Path,
    killed: Path,
    log: Path,
    seconds: float,
    broke: str = "",
) -> ListsRun:
    """What the log of a run tells.  Raises `GuestError` when a list never began."""
    marks = read_marks(WriteLog.read(log, bench.disk.size + AREA), bench.disk.size)
    found = [journal_of(marks, each) for each in lists] if bench.with_marks else []
    journals = [each for each in found if each is not None]
    if len(journals) != len(found):
        missing = lists[found.index(None)]
        raise GuestError(
            f"the log has no mark of run {missing.run:06x}" + (f": {broke}" if broke else ""),
            hint="did the agent reach the disk?",
        )
    return ListsRun(tuple(lists), tuple(journals), marks, base, killed, log, seconds, broke)


def _in_guest(
    bench: Bench,
    commands: _Commands,
    lists: Sequence[OpList],
    rundir: RunDir,
    disk: Path,
    log: Path,
    files: Sequence[tuple[Path, str]],
) -> tuple[int, float, str]:
    """Boot, run the lists, kill.

    Returns how many lists were begun, the seconds that they took, and how the guest broke in the
    last of them.
    """
    image, recipe = bench.image, bench.recipe
    if image.root is not None:
        # A root disk gets the files before the boot, so the guest needs no network.
        image = replace(image, root=replace(image.root, inject=(*image.root.inject, *files)))
    crashed = DiskSpec(
        *("crash", disk, "raw", recipe.machine.disk_bus),
        log=log,
        sector=bench.disk.sector,
        writes_per_second=bench.disk.writes_per_second,
    )
    spec = spec_for(recipe, image, (crashed,), variant=bench.variant, scratch=rundir.scratch)
    with ExitStack() as stack:
        machine = stack.enter_context(Machine(spec, rundir, bench.accel, name="qemu-lists"))
        guest = Guest(machine, recipe, image)
        stack.callback(guest.close)
        ssh = recipe.access.ssh.seconds if recipe.access.ssh else 0.0
        scale = bench.accel.time_scale
        guest.boot(Deadline.after((recipe.boot.seconds + ssh) * scale))
        if image.root is None:
            for local, remote in files:
                guest.put(local, remote)
        for command in (*recipe.prepare, f"chmod 755 {_PROGRAM}; sh {_SCRIPT}"):
            _must(guest, command, _PREPARE_SECONDS * scale)
        began = time.monotonic()
        tried, broke = _until_broken(guest, commands, lists, scale)
        seconds = time.monotonic() - began
        machine.kill()
    return tried, seconds, broke


def _until_broken(
    guest: Guest, commands: _Commands, lists: Sequence[OpList], scale: float
) -> tuple[int, str]:
    """Run the lists; how many were begun, and how the guest broke in the last of them."""
    for number, ops in enumerate(lists):
        count = sum(len(thread) for thread in ops.threads)
        try:
            _must(guest, commands.run(ops, number), (_LIST_SECONDS + _OP_SECONDS * count) * scale)
        except GuestError as error:
            return number + 1, str(error)
    return len(lists), ""


class _Commands:
    """The guest's commands for lists of one bench."""

    def __init__(self, bench: Bench, sequence: int | None) -> None:
        disk = bench.recipe.crash_disk
        profile: Profile = profile_for(bench.recipe)
        variant = bench.recipe.variants[bench.variant]
        self._device = shlex.quote(disk.device)
        self._mountpoint = shlex.quote(disk.mountpoint)
        self._mount = profile.mount(disk.device, disk.mountpoint, variant)
        reclaim = "" if bench.reclaim is None else f" -r {round(bench.reclaim * 1000)}"
        self._run = f"{_PROGRAM} run{reclaim}"
        # A pager whose pages were taken while they were in use may stay (vanilla's ext2fs has them,
        # too), and counts as a user of the file system.
        self._unmount = profile.unmount(disk.mountpoint, force=bool(reclaim))
        self._offset = bench.disk.size
        self._sequence = sequence
        self._marks = f" {self._device} {self._offset}" if bench.with_marks else ""

    def run(self, ops: OpList, number: int) -> str:
        """Run a list, which is number `number` of all."""
        lay = f"{_PROGRAM} lay {_PIECES} {self._device} {self._offset} {ops.run:06x}"
        if self._sequence is not None:
            lay += f" {self._sequence}:{1 + (number + 1) * _TRANSACTIONS}"
        run = f"{self._run} {_FOLDER}/{ops.run:06x} {self._mountpoint}{self._marks}"
        return f"{lay} && {{ {self._mount}; }} && {run} && {self._unmount}"


def _lists_script(lists: Sequence[OpList]) -> str:
    """A shell script that writes all lists into files: one copy into the guest for all of them."""
    parts = [f"mkdir -p {_FOLDER}"]
    parts += [f"cat > {_FOLDER}/{each.run:06x} <<'END'\n{each}END" for each in lists]
    return "\n".join(parts) + "\n"


def _must(guest: Guest, command: str, timeout: float) -> None:
    result = guest.run(command, timeout=timeout)
    if result.rc != 0:
        said = (result.err or result.out).strip()[-2000:]
        raise GuestError(
            f"lists can't be run: the guest's command ended with {result.rc}: {said}",
            hint=f"the command began with: {command[:300]}",
            console=guest.console_tail(),
        )
