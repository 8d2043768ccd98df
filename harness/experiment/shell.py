"""`hurdle shell`: a guest for a person."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from rich.console import Console

from harness.deadline import Deadline
from harness.errors import UsageError
from harness.guest.guest import Guest
from harness.guest.interactive import relay
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.recipe import Recipe
from harness.machine.accel import choose_accel
from harness.machine.qemu import Machine
from harness.machine.spec import spec_for
from harness.rundir import RunDir


def open_shell(recipe: Recipe, via: str) -> None:
    """Boot the guest on a throw-away overlay and connect the terminal until Ctrl-].

    `via` is `console` (the boot is shown as it happens) or `ssh` (after the boot).
    Raises `UsageError` when SSH is asked of a guest that has none.
    """
    if via == "ssh" and recipe.access.ssh is None:
        raise UsageError(f"{recipe.name} has no SSH", hint="use --via console")
    image = find_image(recipe, Cache.default())
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="hurdle-shell-") as folder, RunDir(Path(folder)) as run:
        spec = spec_for(recipe, image, (), scratch=run.scratch)
        accel = choose_accel(recipe.machine.accel, spec, run)
        console.print(
            f"{recipe.title}, {accel.name} ({accel.reason}); Ctrl-] ends it",
            style="dim",
            soft_wrap=True,
        )
        with Machine(spec, run, accel) as machine:
            guest = Guest(machine, recipe, image)
            if via == "console":
                ended = relay(machine.console.line)
            else:
                ssh = recipe.access.ssh
                seconds = recipe.boot.seconds + (ssh.seconds if ssh else 0)
                guest.boot(Deadline.after(seconds * accel.time_scale))
                size = shutil.get_terminal_size()
                term = os.environ.get("TERM", "vt100")
                ended = relay(guest.terminal(term, size.columns, size.lines))
        console.print(f"\r\n{ended}", style="dim")
