"""One variant from power on to SIGKILL: what is left is the evidence."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.crash.writelog import LogFollower
from harness.deadline import Deadline
from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.disk.jbd2 import JournalMap, commit_begun_since, journal_map
from harness.errors import GuestError, InfraError
from harness.events import CommandRan, OpDone, TextKept
from harness.experiment.context import Context
from harness.experiment.rootdisk import MOUNTPOINT, check_root, make_base, make_homes, root_spec
from harness.guest.guest import Guest
from harness.guest.profile import profile_for
from harness.guest.warm import Start, started
from harness.images.cache import Cache
from harness.images.recipe import Variant
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, MachineSpec, spec_for
from harness.workloads.ops import Commands, describe
from harness.workloads.scenario import Step

_PREPARE_SECONDS = 60.0  # one command of the set-up under TCG; each takes well below a second
_COMMIT_SECONDS = 60.0  # twelve times the usual commit interval of 5 s
_SETTLE_SECONDS = 60.0
_POLL = 0.05  # s between two looks at the log


@dataclass(frozen=True)
class OpRecord:
    """An operation and the log positions (entries) that bracket it."""

    index: int
    text: str
    log_before: int
    log_after: int
    acknowledges: bool  #: a sync: what came before it is acknowledged when it returns


@dataclass(frozen=True)
class Evidence:
    """What a crash left behind; everything that is judged is made from copies of these."""

    variant: str
    folder: Path
    base: Path  #: the disk before the guest first saw it
    killed: Path  #: the disk as SIGKILL left it
    log: Path
    ops: tuple[OpRecord, ...]
    workload_from: int  #: log entries there were when the set-up had been synced
    cut: int | None  #: the scenario's own cut, in writes
    #: (seconds since the run began, entries in the log then), in order
    samples: tuple[tuple[float, int], ...] = ()

    def seen(self, entry: int) -> float | None:
        """When the host first saw the log hold an entry, in seconds since the run began."""
        return next((t for t, count in self.samples if count > entry), None)


@dataclass
class _Run:
    """A booted guest with the crashed disk mounted."""

    context: Context
    variant: str
    mountpoint: str
    guest: Guest
    machine: Machine
    follower: LogFollower
    journal: JournalMap | None
    commands: Commands
    samples: list[tuple[float, int]] = field(default_factory=list)

    def count(self) -> int:
        """How many entries the log has; when that was seen is kept for the report's time line."""
        count = self.follower.count()
        if not self.samples or self.samples[-1][1] != count:
            self.samples.append((round(self.context.bus.now, 3), count))
        return count

    def operate(self, index: int, step: Step) -> OpRecord:
        """Run one operation in the guest, bracketed by log positions."""
        text, command = describe(step), self.commands.of(step)
        before, began = self.count(), self.context.bus.now
        timeout = self.context.seconds(step.action.within)
        result = self.guest.run(command, timeout=timeout)
        ended, after = self.context.bus.now, self.count()
        self.context.bus.emit(
            OpDone(
                variant=self.variant,
                index=index,
                op=text,
                began=began,
                ended=ended,
                log_before=before,
                log_after=after,
                ok=result.rc == 0,
                output=(result.out + result.err).strip(),
            )
        )
        if result.rc != 0:
            raise GuestError(
                f"the operation `{text}` failed in the guest with exit code {result.rc}: "
                f"{(result.err or result.out).strip()}",
                hint=f"the guest ran: {command}",
                console=self.guest.console_tail(),
            )
        return OpRecord(index, text, before, after, step.name == "sync")

    def wait(self, step: Step, since: int) -> None:
        """`after: 6s` or `after: commit`; the guest must stay alive meanwhile."""
        if step.action == "commit":
            self._wait_for_commit(since)
            return
        # A wait of the scenario is time of the real world: the journal's timer counts it too.
        deadline = Deadline.after(step.action)
        while not deadline.expired:
            self.guest.linger(min(_POLL, deadline.remaining))
            self.count()

    def _wait_for_commit(self, since: int) -> None:
        journal = self.journal
        if journal is None:
            raise RuntimeError("`choose_variants` lets no variant without a journal wait for one")
        if not self._until(_COMMIT_SECONDS, lambda: self._committed(since, journal)):
            raise GuestError(
                f"no commit block came within {self.context.seconds(_COMMIT_SECONDS):.0f} s",
                hint="is the journal alive?  The console and the write log are in the run's folder",
                console=self.guest.console_tail(),
            )

    def _committed(self, since: int, journal: JournalMap) -> bool:
        return commit_begun_since(self.follower.path, self.follower.entries(), since, journal)

    def until_write(self, count: int, tcg_seconds: float) -> bool:
        """Wait until the log has `count` writes; False if they don't come in time."""
        return self._until(tcg_seconds, lambda: self.follower.writes() >= count)

    def _until(self, tcg_seconds: float, reached: Callable[[], bool]) -> bool:
        deadline = self.context.deadline(tcg_seconds)
        while not (done := reached()) and not deadline.expired:
            self.guest.linger(_POLL)
            self.count()
        return done


def crash(context: Context, variant: str, folder: Path | None = None) -> Evidence:
    """Boot the guest, run the scenario's steps, kill QEMU.

    `folder` takes the evidence; by default it is the variant's in the run's folder.
    Raises `InfraError` or `GuestError`; the disk, its base and the log stay in the run's folder.
    """
    scenario = context.request.scenario
    folder = folder or context.folder(variant)
    with ExitStack() as stack:
        run = stack.enter_context(_mounted_guest(context, variant, folder))
        if scenario.settles:
            with context.phase(variant, "setup", f"{len(scenario.setup)} operations, then sync"):
                for index, step in enumerate(scenario.setup):
                    run.operate(index - len(scenario.setup), step)
                _settle(run)
        workload_from = run.count()
        ops = _steps(run, workload_from)
        *_, last = scenario.steps
        cut = last.action.write if last.name == "at" else None
        with context.phase(variant, "kill", describe(last)):
            if cut is not None and not run.until_write(cut, last.action.within):
                context.note(f"the log never reached write {cut}", variant=variant, warning=True)
            run.machine.kill()
            _seal(folder)
        tail = run.guest.console_tail(60)
        context.bus.emit(TextKept(variant=variant, title="console, last lines", text=tail))
    return Evidence(
        variant=variant,
        folder=folder,
        base=folder / "base.raw",
        killed=folder / "killed.raw",
        log=folder / "writes.log",
        ops=tuple(ops),
        workload_from=workload_from,
        cut=cut,
        samples=tuple(run.samples),
    )


def _seal(folder: Path) -> None:
    """The evidence is complete: nothing may write to it any more, hurdle included."""
    for each in ("base.raw", "killed.raw", "writes.log"):
        (folder / each).chmod(0o444)


def _settle(run: _Run) -> None:
    """Bring the set-up to the disk, so that the recorded steps start from a known state."""
    command = profile_for(run.context.request.recipe).sync(run.mountpoint)
    result = run.guest.run(command, timeout=run.context.seconds(_SETTLE_SECONDS))
    if result.rc != 0:
        raise GuestError(
            f"`{command}` failed: {result.err.strip()}", console=run.guest.console_tail()
        )


def _steps(run: _Run, since: int) -> list[OpRecord]:
    """The recorded steps up to the kill; each stretch of operations or waiting is a phase."""
    ops: list[OpRecord] = []
    for index, step in enumerate(run.context.request.scenario.steps[:-1]):
        if step.is_operation:
            with run.context.phase(run.variant, "workload", describe(step)):
                ops.append(run.operate(index, step))
        else:
            with run.context.phase(run.variant, "wait", describe(step)):
                run.wait(step, ops[-1].log_after if ops else since)
    return ops


@contextmanager
def _mounted_guest(context: Context, name: str, folder: Path) -> Iterator[_Run]:
    request = context.request
    recipe, variant = request.recipe, request.recipe.variants[name]
    on_root = request.scenario.disk.which == "root"
    with context.phase(name, "prepare", "file system and images"):
        make = _root_machine if on_root else _machine
        spec = make(context, name, variant, folder)
        journal = journal_map(folder / "base.raw") if variant.journaled else None
    with ExitStack() as stack:
        # A crashed root is changed for the run, so no saved state knows it.
        warm = recipe.boot.warm and not on_root
        start = _start(context, name)
        guest = stack.enter_context(started(start, spec, f"qemu-{name}", warm=warm))
        follower = LogFollower(folder / "writes.log")
        profile = profile_for(recipe)
        mountpoint = MOUNTPOINT if on_root else recipe.crash_disk.mountpoint
        commands = Commands(profile, mountpoint, request.scenario.users)
        first = [*recipe.prepare]
        first += [profile.add_user(u.name, u.uid, u.gid) for u in request.scenario.users]
        if not on_root:
            first.append(profile.mount(recipe.crash_disk.device, mountpoint, variant))
        with context.phase(name, "mount", "the root" if on_root else recipe.crash_disk.device):
            for command in first:
                _must(guest, command, context.seconds(_PREPARE_SECONDS))
        yield _Run(context, name, mountpoint, guest, guest.machine, follower, journal, commands)


def _start(context: Context, name: str) -> Start:
    request = context.request
    return Start(
        request.recipe,
        request.image,
        context.rundir,
        context.accel,
        context.seconds(request.recipe.ready_seconds),
        Cache.default().folder,
        say=lambda text: context.note(text, variant=name),
        ran=lambda line: context.bus.emit(CommandRan(variant=name, what="QEMU", command=line)),
        phase=lambda phase, detail: context.phase(name, phase, detail),
    )


def _must(guest: Guest, command: str, timeout: float) -> None:
    result = guest.run(command, timeout=timeout)
    if result.rc != 0:
        raise GuestError(
            f"the guest can't be prepared: `{command}` ended with {result.rc}: "
            f"{(result.err or result.out).strip()}",
            hint="`hurdle shell --guest NAME` opens the guest to try it by hand",
            console=guest.console_tail(),
        )


def _machine(context: Context, name: str, variant: Variant, folder: Path) -> MachineSpec:
    """Make a file system and the machine that has it as its second disk."""
    request = context.request
    base = folder / "base.raw"
    _need_room(folder, request.scenario.disk.size)
    made = ext2.mkfs(base, request.scenario.disk, variant, request.recipe.os)
    context.bus.emit(CommandRan(variant=name, what="mke2fs", command=made.command))
    killed, log = _crash_disk(folder)
    bus, sector = request.recipe.machine.disk_bus, request.scenario.disk.sector
    disk = DiskSpec("crash", killed, "raw", bus, log=log, sector=sector)
    return spec_for(
        request.recipe, request.image, (disk,), variant=name, scratch=context.rundir.scratch
    )


def _root_machine(context: Context, name: str, variant: Variant, folder: Path) -> MachineSpec:
    """Copy the guest's root, and make the machine that is started from it by the variant."""
    request = context.request
    check_root(request.recipe, request.image)
    assert request.image.root is not None
    _need_room(folder, request.image.root.path.stat().st_size)
    blocks = request.scenario.disk.journal_blocks
    made = make_base(request.image, variant, folder / "base.raw", blocks)
    make_homes(folder / "base.raw", request.scenario.users)
    if made:
        context.bus.emit(CommandRan(variant=name, what="tune2fs", command=made.command))
    killed, log = _crash_disk(folder)
    scratch = context.rundir.scratch
    return root_spec(request, variant, killed, scratch, log=log)


def _need_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    # Base, disk, and a log that in the worst case holds the disk's size in journal and home writes.
    if free < 3 * size:
        raise InfraError(
            f"{folder} has {free >> 20} MiB free; this scenario may need {3 * size >> 20} MiB",
            hint="free some space, or give --out a folder on a larger disk",
        )


def _crash_disk(folder: Path) -> tuple[Path, Path]:
    """The base stays as it is; the guest gets a copy, whose writes are logged."""
    killed, log = folder / "killed.raw", folder / "writes.log"
    sparse_copy(folder / "base.raw", killed)
    log.write_bytes(b"")
    return killed, log
