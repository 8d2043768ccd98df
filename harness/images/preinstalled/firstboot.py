"""The first boot of an image: what only the system itself can do, such as installing packages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import GuestError
from harness.guest.guest import Guest
from harness.images.cache import Progress
from harness.images.image import Image
from harness.images.preinstalled.spec import Task
from harness.images.recipe import PreinstalledRecipe
from harness.machine.accel import Accel, choose_accel
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.process import run, tail
from harness.rundir import RunDir


def first_boot(
    recipe: PreinstalledRecipe, image: Image, rundir: RunDir, progress: Progress
) -> dict[str, str]:
    """Boot, run the recipe's tasks and halt; versions that the guest told.

    Writes go to an overlay that is merged after the halt, so each of `first_boot.tries` boots
    begins with the same disk.  Raises `GuestError` from the last of them, and from a task.
    """
    assert image.root is not None
    overlay = rundir.out / "first-boot.qcow2"
    base = spec_for(recipe, image)
    accel = choose_accel(recipe.machine.accel, base, rundir)
    disk = DiskSpec("root", overlay, "qcow2", recipe.machine.disk_bus)
    spec = replace(base, disks=(disk,), online=True)
    try:
        for number in range(1, recipe.first_boot.tries + 1):
            _make_overlay(image.root.path, overlay)
            progress(f"first boot, {accel.name} ({accel.reason}); the logs are in {rundir.logs}")
            with Machine(spec, rundir, accel, name=f"first-boot-{number}") as machine:
                guest = Guest(machine, recipe, image)
                try:
                    guest.boot(Deadline.after(_boot_seconds(recipe) * accel.time_scale))
                except GuestError as exc:
                    if number == recipe.first_boot.tries:
                        raise
                    progress(f"first boot {number} of {recipe.first_boot.tries} failed: {exc}")
                    continue
                versions = _work(recipe, guest, accel, progress)
                break
        run(["qemu-img", "commit", "-q", str(overlay)], timeout=600)
    finally:
        overlay.unlink(missing_ok=True)
    return versions


def _make_overlay(base: Path, overlay: Path) -> None:
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(overlay)]
    overlay.unlink(missing_ok=True)
    run(argv)


def _boot_seconds(recipe: PreinstalledRecipe) -> float:
    return recipe.boot.seconds + (recipe.access.ssh.seconds if recipe.access.ssh else 0)


def _work(
    recipe: PreinstalledRecipe, guest: Guest, accel: Accel, progress: Progress
) -> dict[str, str]:
    """All tasks, then the halt; versions that the guest told."""
    for task in recipe.first_boot.tasks:
        progress(f"in the guest: {task.run}")
        _do(guest, task, accel)
    versions = {
        name: _do(guest, Task(run=command), accel)
        for name, command in recipe.first_boot.versions.items()
    }
    guest.poweroff(recipe.first_boot.halt_seconds * accel.time_scale)
    return versions


def _do(guest: Guest, task: Task, accel: Accel) -> str:
    """Run a task; what it printed, without the newline at its end."""
    result = guest.run(task.run, timeout=task.seconds * accel.time_scale)
    if result.rc != 0:
        said = tail(f"{result.out}\n{result.err}")
        raise GuestError(
            f"`{task.run}` ended with {result.rc} in the guest:\n{said}",
            hint="mend first_boot of the recipe; what was fetched is kept",
            console=guest.console_tail(),
        )
    return result.out.strip()
