"""`hurdle shell`: a guest for a person."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from harness.deadline import Deadline
from harness.disk import ext2
from harness.errors import UsageError
from harness.guest.guest import Guest
from harness.guest.interactive import relay
from harness.images.cache import Cache
from harness.images.recipe import Recipe
from harness.machine.accel import choose_accel
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.progress import say
from harness.rundir import RunDir
from harness.variants.install import mount, variant_of
from harness.variants.ready import ready_image
from harness.workloads.scenario import Disk

_MOUNT_SECONDS = 30.0


#: gives the console back to a person: leaves the loop in which commands were run on it
_HAND_OVER = b"stty echo opost; PS1='# '; break\n"


def open_shell(
    recipe: Recipe, via: str, *, variant: str | None = None, hurd: Path | None = None
) -> None:
    """Boot the guest on a throw-away overlay and connect the terminal until Ctrl-].

    `via` is `console` (the boot is shown as it happens) or `ssh` (after the boot).  With `variant`
    that is brought up to date, from the Hurd tree `hurd` if there is one, and a new file system is
    mounted by it before the terminal is yours.
    Raises `UsageError` when SSH is asked of a guest that has none.
    """
    if via == "ssh" and recipe.access.ssh is None:
        raise UsageError(f"{recipe.name} has no SSH", hint="use --via console")
    wanted = [variant] if variant else []
    image = ready_image(recipe, wanted, Cache.default(), say, tree=hurd)
    with tempfile.TemporaryDirectory(prefix="hurdle-shell-") as folder, RunDir(Path(folder)) as run:
        disks = _disks(recipe, variant, run.scratch)
        spec = spec_for(recipe, image, disks, variant=variant, scratch=run.scratch)
        accel = choose_accel(recipe.machine.accel, spec, run)
        say(f"{recipe.title}, {accel.name} ({accel.reason}); Ctrl-] ends it")
        with Machine(spec, run, accel) as machine:
            guest = Guest(machine, recipe, image)
            if via == "ssh" or variant:
                guest.boot(Deadline.after(recipe.ready_seconds * accel.time_scale))
            if variant:
                mount(guest, recipe.variants[variant], _MOUNT_SECONDS * accel.time_scale)
                say(f"{recipe.crash_disk.mountpoint} is a new file system, by {variant}")
            if via == "ssh":
                size = shutil.get_terminal_size()
                term = os.environ.get("TERM", "vt100")
                ended = relay(guest.terminal(term, size.columns, size.lines))
            else:
                if variant:
                    machine.console.send(_HAND_OVER)
                ended = relay(machine.console.line)
        say(f"\r\n{ended}")


def _disks(recipe: Recipe, variant: str | None, scratch: Path) -> tuple[DiskSpec, ...]:
    """A new file system of the variant's kind, as the second disk."""
    if variant is None:
        return ()
    variant_of(recipe, variant)
    path = scratch / "second.raw"
    ext2.mkfs(path, Disk(), recipe.variants[variant], recipe.os)
    return (DiskSpec("crash", path, "raw", recipe.machine.disk_bus),)
