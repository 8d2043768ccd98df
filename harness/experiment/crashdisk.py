"""The disk that is crashed, and the machine that has it."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.errors import InfraError
from harness.events import CommandRan
from harness.experiment.context import Context
from harness.experiment.rootdisk import check_root, make_homes, root_spec
from harness.experiment.rootdisk import make_base as make_root_base
from harness.machine.spec import DiskSpec, MachineSpec, spec_for

CRASHED = "crash"  #: its name in the machine, where it is the second disk


def make_base(context: Context, name: str, folder: Path) -> None:
    """Make base.raw: the disk that was asked for, a fresh file system, or a copy of the root."""
    request = context.request
    variant, base = request.recipe.variants[name], folder / "base.raw"
    if request.base is not None:
        sparse_copy(request.base, base)
        return
    if request.scenario.disk.which != "root":
        _need_room(folder, request.scenario.disk.size)
        made = ext2.mkfs(base, request.scenario.disk, variant, request.recipe.os)
        context.bus.emit(CommandRan(variant=name, what="mke2fs", command=made.command))
        return
    check_root(request.recipe, request.image)
    assert request.image.root is not None
    _need_room(folder, request.image.root.path.stat().st_size)
    blocks = request.scenario.disk.journal_blocks
    tuned = make_root_base(request.image, variant, base, blocks)
    make_homes(base, request.scenario.users)
    if tuned:
        context.bus.emit(CommandRan(variant=name, what="tune2fs", command=tuned.command))


def crash_machine(context: Context, name: str, folder: Path) -> MachineSpec:
    """The machine with a copy of base.raw, whose writes are logged."""
    request, scratch = context.request, context.rundir.scratch
    variant = request.recipe.variants[name]
    killed, log = _crash_disk(folder)
    if request.scenario.disk.which == "root":
        return root_spec(request, variant, killed, scratch, log=log)
    fallible = request.trial is not None and request.trial.fault is not None
    asked = request.scenario.disk
    disk = DiskSpec(
        *(CRASHED, killed, "raw", request.recipe.machine.disk_bus),
        log=log,
        sector=asked.sector,
        fallible=fallible,
        writes_per_second=asked.writes_per_second,
    )
    return spec_for(request.recipe, request.image, (disk,), variant=name, scratch=scratch)


def seal(folder: Path) -> None:
    """The evidence is complete: nothing may write to it any more, hurdle included."""
    for each in ("base.raw", "killed.raw", "writes.log"):
        (folder / each).chmod(0o444)


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
