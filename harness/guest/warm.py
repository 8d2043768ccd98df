"""A guest for a run: booted, or taken up where a saved state of it stands.

The first run of a guest boots it, saves its state and goes on from there; later runs with the same
image, machine, disk sizes and QEMU begin at the state.  A state that does not load costs its time
and a line that says so: the guest is then booted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import GuestError, InfraError
from harness.guest.guest import Guest
from harness.guest.saved import (
    SavedState,
    States,
    boot_spec,
    resume_spec,
    state_key,
    why_not_saved,
)
from harness.images.image import Image
from harness.images.recipe import Recipe
from harness.machine.accel import Accel
from harness.machine.qemu import Machine
from harness.machine.spec import MachineSpec
from harness.process import run
from harness.rundir import RunDir

_RESUME_SECONDS = 20.0  # 0.3 s on an idle host; a guest that does not answer by then is booted

Say = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """What all ways to start a guest need.

    `seconds` is how long a boot may take, `cache` the folder in which states are kept.  `phase` is
    told what is done: boot, save (boot once and save the state), start (go on from a saved state,
    until the shell answers) or clock (set it, since it stood still); `ran` is told each QEMU's
    command.
    """

    recipe: Recipe
    image: Image
    rundir: RunDir
    accel: Accel
    seconds: float
    cache: Path
    say: Say
    ran: Say
    phase: Callable[[str, str], AbstractContextManager[None]]


@contextmanager
def started(start: Start, spec: MachineSpec, name: str, *, warm: bool) -> Iterator[Guest]:
    """A guest that answers, in a machine like `spec` that bears `name`; QEMU ends with the block.

    With `warm` a saved state is used, and made if the cache has none.
    """
    obstacle = why_not_saved(spec) if warm else ""
    if obstacle:
        start.say(f"there is no warm start: {obstacle}; so it boots")
    warm = warm and not obstacle
    with ExitStack() as stack:
        guest = _take_up(start, spec, name, stack) if warm else None
        if guest is None:
            with start.phase("boot", f"{start.recipe.title}, {start.accel.name}"):
                guest = _boot(start, spec, name, stack)
            if warm:
                # It boots, so the state was to blame, and not a disk that something else uses.
                _states(start).discard(_key(start, spec))
        yield guest


def _states(start: Start) -> States:
    return States(start.cache, start.image.name)


def _key(start: Start, spec: MachineSpec) -> str:
    return state_key(spec, start.accel.name, _qemu_version(spec.arch), start.image)


def _boot(start: Start, spec: MachineSpec, name: str, stack: ExitStack) -> Guest:
    machine = stack.enter_context(Machine(spec, start.rundir, start.accel, name=name))
    start.ran(machine.command)
    guest = Guest(machine, start.recipe, start.image)
    stack.callback(guest.close)
    guest.boot(Deadline.after(start.seconds))
    return guest


def _take_up(start: Start, spec: MachineSpec, name: str, stack: ExitStack) -> Guest | None:
    """The guest from a saved state; None if that fails."""
    states, key = _states(start), _key(start, spec)
    state = states.find(key)
    with ExitStack() as trial:
        try:
            if state is None:
                with start.phase("save", "a boot, to go on from in every run"):
                    state = _make(start, spec, states, key)
            with start.phase("start", f"{start.recipe.title}, {start.accel.name}, saved state"):
                guest = _resume(start, spec, name, state, trial)
            with start.phase("clock", "it stood still since the state was saved"):
                guest.set_clock(_RESUME_SECONDS * start.accel.time_scale)
        except (InfraError, GuestError, OSError) as error:
            if state is None and isinstance(error, GuestError):
                raise  # it does not boot
            reason = str(error).splitlines()[0]
            start.say(f"no saved state of {start.image.name} is of use, so it boots: {reason}")
            return None
        stack.push(trial.pop_all())
        return guest


def _resume(
    start: Start, spec: MachineSpec, name: str, state: SavedState, stack: ExitStack
) -> Guest:
    machine = Machine(resume_spec(spec, state), start.rundir, start.accel, name=name)
    stack.enter_context(machine)
    start.ran(machine.command)
    guest = Guest(machine, start.recipe, start.image)
    stack.callback(guest.close)
    guest.resume(state.shell, Deadline.after(_RESUME_SECONDS * start.accel.time_scale))
    return guest


def _make(start: Start, spec: MachineSpec, states: States, key: str) -> SavedState:
    """Boot the guest with blank disks and save it."""
    with states.making() as draft, ExitStack() as stack:
        made = states.find(key)  # by another hurdle, while this one waited
        if made is not None:
            return made
        guest = _boot(start, boot_spec(spec, draft, start.rundir.scratch), "qemu-save", stack)
        session = guest.session()
        guest.machine.save(draft / "memory")
        guest.machine.quit()
        return states.publish(draft, key, session)


@lru_cache(maxsize=4)
def _qemu_version(arch: str) -> str:
    return run([f"qemu-system-{arch}", "--version"]).stdout.splitlines()[0]
