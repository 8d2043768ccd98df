"""One variant from power on to SIGKILL: what is left is the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.crash.writelog import LogFollower
from harness.deadline import Deadline
from harness.disk.jbd2 import JournalMap, commit_begun_since, journal_map
from harness.errors import GuestError, HurdleError
from harness.events import CommandRan, OpDone, TextKept
from harness.experiment.context import Context
from harness.experiment.crashdisk import CRASHED, crash_machine, make_base, seal
from harness.experiment.rootdisk import MOUNTPOINT
from harness.experiment.trial import DEATHS, Fault, Killer, killing_at
from harness.guest.guest import Guest
from harness.guest.profile import profile_for
from harness.guest.warm import Start, started
from harness.images.cache import Cache
from harness.machine.conditions import Condition, ConditionError
from harness.machine.faults import failed, inject
from harness.machine.qemu import Machine
from harness.workloads.journal import Ending, OpTimes, Outcome
from harness.workloads.ops import Commands, describe
from harness.workloads.scenario import Step

_PREPARE_SECONDS = 60.0  # one command of the set-up under TCG; each takes well below a second
_COMMIT_SECONDS = 60.0  # twelve times the usual commit interval of 5 s
_SETTLE_SECONDS = 60.0
_POLL = 0.05  # s between two looks at the log
_SYNCS = ("sync", "fsync")


@dataclass(frozen=True)
class OpRecord:
    """An operation and the log positions (entries) that bracket it."""

    index: int
    text: str
    log_before: int
    log_after: int
    acknowledges: bool  #: a sync: what came before it is acknowledged when it returns
    output: str = ""


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
    outcome: Outcome | None = None  #: of a run that outlives its guest
    unfinished: OpTimes | None = None  #: an operation that failed or never returned

    def seen(self, entry: int) -> float | None:
        """When the host first saw the log hold an entry, in seconds since the run began."""
        return next((t for t, count in self.samples if count > entry), None)


class OperationFailed(GuestError):
    """An operation of the workload reported an error."""


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
    unfinished: OpTimes | None = None  #: the operation that was sent and has not returned well

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
        self.unfinished = OpTimes(index, before, None)
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
            raise OperationFailed(
                f"the operation `{text}` failed in the guest with exit code {result.rc}: "
                f"{(result.err or result.out).strip()}",
                hint=f"the guest ran: {command}",
                console=self.guest.console_tail(),
            )
        self.unfinished = None
        return OpRecord(index, text, before, after, step.name == "sync", result.out)

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
    scenario, trial = context.request.scenario, context.request.trial
    folder = folder or context.folder(variant)
    with ExitStack() as stack:
        run = stack.enter_context(_mounted_guest(context, variant, folder))
        _setup(run)
        if trial is not None and trial.boot == 2:
            with context.phase(variant, "first kill", "the first of two crashes"):
                run.machine.kill()
            stack.close()
            run = stack.enter_context(_mounted_guest(context, variant, folder, again=True))
        # The second log begins with the guest's own recovery, whose writes make states, too.
        workload_from = run.count() if trial is None or trial.boot == 1 else 0
        outcome, ops = None, list[OpRecord]()
        if context.request.outlives:
            outcome = _outlived(run, ops)
        else:
            _steps(run, workload_from, ops)
        *_, last = scenario.steps
        cut = last.action.write if last.name == "at" else None
        with context.phase(variant, "kill", describe(last)):
            if cut is not None and not run.until_write(cut, last.action.within):
                context.note(f"the log never reached write {cut}", variant=variant, warning=True)
            if outcome is None or outcome.ending is not Ending.CUT:
                run.machine.kill()
            seal(folder)
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
        outcome=outcome,
        unfinished=run.unfinished,
    )


def _settle(run: _Run) -> None:
    """Bring the set-up to the disk, so that the recorded steps start from a known state."""
    command = profile_for(run.context.request.recipe).sync(run.mountpoint)
    result = run.guest.run(command, timeout=run.context.seconds(_SETTLE_SECONDS))
    if result.rc != 0:
        raise GuestError(
            f"`{command}` failed: {result.err.strip()}", console=run.guest.console_tail()
        )


def _setup(run: _Run) -> None:
    """The operations before the recorded ones, brought to the disk."""
    scenario = run.context.request.scenario
    if scenario.settles:
        with run.context.phase(
            run.variant, "setup", f"{len(scenario.setup)} operations, then sync"
        ):
            for index, step in enumerate(scenario.setup):
                run.operate(index - len(scenario.setup), step)
            _settle(run)


def _outlived(run: _Run, ops: list[OpRecord]) -> Outcome:
    """The recorded steps under a trial, and how they ended; the first error ends them."""
    trial = run.context.request.trial
    fault, kill = (trial.fault, trial.kill) if trial is not None else (None, None)
    steps = run.context.request.scenario.steps[:-1]
    if fault is not None:
        run.guest.tolerate(Condition.JOURNAL_WARNING)
    follower = LogFollower(run.follower.path)
    with killing_at(kill, run.machine, follower, run.journal, len(steps)) as killer:
        ending, text = _until_end(run, ops, fault, killer)
    missed = killer.missed()
    if killer.landed is not None:
        assert kill is not None
        late = max(0, run.count() - 1 - killer.landed)
        text = f"killed ({kill.name}) at entry {killer.landed}, and {late} came before the end"
        ending = Ending.CUT
    begun = run.unfinished.number if run.unfinished else len(ops) - 1
    outcome = Outcome(ending, begun, text, trial=trial.name if trial else "", missed=missed)
    if fault is None:
        return outcome
    return replace(
        outcome,
        fault=fault.fail,
        failed=getattr(failed(run.machine.qmp, CRASHED), fault.fail),
        lasting=fault.count is None and any(step.name not in _SYNCS for step in steps[fault.op :]),
    )


def _until_end(
    run: _Run, ops: list[OpRecord], fault: Fault | None, killer: Killer
) -> tuple[Ending, str]:
    """The recorded steps, one after the other, and how they ended, in a word and in more.

    What the guest can't do any more is a result here; that QEMU or the host can't is raised.
    """
    steps = run.context.request.scenario.steps[:-1]
    try:
        for index, step in enumerate(steps):
            if fault is not None and fault.op == index:
                base = run.follower.path.with_name("base.raw")
                inject(run.machine.qmp, CRASHED, fault.disk_fault(base, run.journal))
            killer.begins(index)
            ops.append(run.operate(index, step))
    except OperationFailed as error:
        if fault is None or not failed(run.machine.qmp, CRASHED).all:
            raise  # nothing that the disk did
        return Ending.ERROR, str(error)
    except ConditionError as error:
        if error.condition not in DEATHS and killer.landed is None:
            raise
        hang = error.condition is Condition.HANG
        return Ending.HANG if hang else Ending.DIED, str(error)
    except HurdleError:  # whoever talks to a guest that is killed meets an end of some kind
        if killer.landed is None:
            raise
    return Ending.ALL, "every operation returned"


def _steps(run: _Run, since: int, ops: list[OpRecord]) -> None:
    """The recorded steps up to the kill; each stretch of operations or waiting is a phase."""
    for index, step in enumerate(run.context.request.scenario.steps[:-1]):
        if step.is_operation:
            with run.context.phase(run.variant, "workload", describe(step)):
                ops.append(run.operate(index, step))
        else:
            with run.context.phase(run.variant, "wait", describe(step)):
                run.wait(step, ops[-1].log_after if ops else since)


@contextmanager
def _mounted_guest(
    context: Context, name: str, folder: Path, *, again: bool = False
) -> Iterator[_Run]:
    """A guest with a fresh file system, or (`again`) with the one that it was killed with."""
    request = context.request
    recipe, variant = request.recipe, request.recipe.variants[name]
    on_root = request.scenario.disk.which == "root"
    with context.phase(name, "prepare", "file system and images"):
        if not again:
            make_base(context, name, folder)
        else:
            (folder / "killed.raw").replace(folder / "base.raw")
        spec = crash_machine(context, name, folder)
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
