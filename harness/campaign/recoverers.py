"""Recoverers beside e2fsck: our own journal on the host, and Linux in the control guest.

Each takes images that a crash left and recovers them in place, as a mount would.  One more is the
file system under test, in its own guest (`harness.experiment.mounts`).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from harness.deadline import Deadline
from harness.disk.copy import host_errors, sparse_copy
from harness.disk.jbd2 import JournalMap
from harness.disk.preen import Preener
from harness.guest.guest import Guest
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.recipe import load_recipe
from harness.machine.accel import choose_accel
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.process import run
from harness.rundir import RunDir
from harness.tools import tool

_SOURCES = Path(__file__).resolve().parents[2] / "guest-patches"
_MIB = 1 << 20
_BUILD_SECONDS = 300.0
_MOUNT_SECONDS = 20.0  # of one image under TCG; half a second on an idle host
BUILT_WITH = ("make", "gcc")
_CONTROL = "linux-control"


class Recoverer(Protocol):
    """One of them."""

    @property
    def name(self) -> str:
        """For verdicts."""

    def recover(self, images: Sequence[Path]) -> list[str]:
        """Recover each image; for each what kept it from that, or nothing.

        Raises `InfraError` or `UsageError` when it can't be tried.
        """


class Engine:
    """The journal of guest-patches/, built for the host (guest-patches/sim/replay.c).

    It replays; e2fsck releases the orphans behind it, as a mount does through the journal.
    """

    name = "our journal"

    def __init__(self, journal: JournalMap, scratch: Path) -> None:
        self._journal = journal
        self._scratch = scratch

    def recover(self, images: Sequence[Path]) -> list[str]:
        program = self._build()
        with Preener(self._scratch) as preener:
            return [self._one(program, image, preener) for image in images]

    def _build(self) -> Path:
        make, _ = (str(tool(program)) for program in BUILT_WITH)
        out = self._scratch / "engine"
        run([make, "-C", str(_SOURCES), f"OUT={out}", f"{out}/replay"], timeout=_BUILD_SECONDS)
        return out / "replay"

    def _one(self, program: Path, image: Path, preener: Preener) -> str:
        size = self._journal.block_size
        runs = [f"{first}:{count}" for _, first, count in self._journal.runs]
        blocks = image.stat().st_size // size
        done = run([str(program), str(image), str(size), str(blocks), *runs], ok=None)
        if done.returncode != 0:
            return (done.stdout or done.stderr).strip()
        preened = preener.run(image)
        return "" if preened.rc <= 1 else f"e2fsck ended with {preened.rc} behind it"


class Linux:
    """The kernel of the control guest, which mounts each image; one boot for all of them."""

    name = "Linux"

    def __init__(self, fs: str, rundir: RunDir) -> None:
        self._fs = fs
        self._rundir = rundir

    def recover(self, images: Sequence[Path]) -> list[str]:
        recipe = load_recipe(_CONTROL, {"access": "{}", "machine.nic": "null"})
        image = find_image(recipe, Cache.default())
        accel = choose_accel(recipe.machine.accel, spec_for(recipe, image), self._rundir)
        disk = self._rundir.scratch / "recoverer.raw"
        places = join(images, disk)
        bus = recipe.machine.disk_bus
        spec = spec_for(recipe, image, [DiskSpec("crash", disk, "raw", bus)])
        with ExitStack() as stack:
            stack.callback(disk.unlink)
            machine = stack.enter_context(Machine(spec, self._rundir, accel, "qemu-recoverer"))
            guest = Guest(machine, recipe, image)
            stack.callback(guest.close)
            guest.boot(Deadline.after(recipe.ready_seconds * accel.time_scale))
            device = recipe.crash_disk.device
            timeout = _MOUNT_SECONDS * len(images) * accel.time_scale
            done = guest.run(mounts(device, self._fs, len(images)), timeout=timeout)
            machine.quit()
            for each, place in zip(images, places, strict=True):
                cut_out(disk, place, each)
        mounted = {int(line) for line in done.out.split()}
        return ["" if n + 1 in mounted else "it did not mount it" for n in range(len(images))]


class Kept:
    """What another recoverer made of one state once; it stands in for a guest."""

    def __init__(self, name: str, image: Path, refused: str) -> None:
        self.name = name
        self._image = image
        self._refused = refused

    def recover(self, images: Sequence[Path]) -> list[str]:
        (image,) = images
        sparse_copy(self._image, image)
        return [self._refused]


def mounts(device: str, fs: str, count: int) -> str:
    """Mount each partition and unmount it; prints the numbers of those that could be."""
    return (
        # What the kernel says of an image would mix with the answer.
        f"dmesg -n 1; mkdir -p /mnt; i=1; while [ $i -le {count} ]; do "
        f"mount -t {shlex.quote(fs)} {shlex.quote(device)}$i /mnt 2>/dev/null && umount /mnt "
        "&& echo $i; i=$((i + 1)); done; sync"
    )


def join(images: Sequence[Path], disk: Path) -> list[int]:
    """Make the images partitions of one disk; where they begin, in bytes."""
    places, lines, at = list[int](), ["label: gpt", f"table-length: {max(128, len(images))}"], _MIB
    with host_errors(disk), disk.open("wb") as file:
        for image in images:
            size = image.stat().st_size
            with image.open("rb") as source:
                _copy(source.fileno(), 0, file.fileno(), at, size)
            places.append(at)
            lines.append(f"start={at // 512}, size={size // 512}")
            at += -(-size // _MIB) * _MIB
        file.truncate(at + _MIB)
    run(["sfdisk", "--quiet", str(disk)], stdin="\n".join(lines))
    return places


def cut_out(disk: Path, place: int, image: Path) -> None:
    """Put the partition at `place` back into `image`, whose size it has."""
    size, dense = image.stat().st_size, image.with_suffix(".dense")
    with host_errors(image), disk.open("rb") as source, dense.open("wb") as file:
        _copy(source.fileno(), place, file.fileno(), 0, size)
        file.truncate(size)
    sparse_copy(dense, image)
    dense.unlink()


def _copy(source: int, place: int, target: int, at: int, size: int) -> None:
    """Copy bytes; zeros become holes."""
    zeros = bytes(_MIB)
    for step in range(0, size, _MIB):
        data = os.pread(source, min(_MIB, size - step), place + step)
        if data != zeros[: len(data)]:
            os.pwrite(target, data, at + step)
