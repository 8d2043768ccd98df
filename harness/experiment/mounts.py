"""Crash states mounted in the guest by the variant itself: what its next start makes of them.

e2fsck on the host recovers thousands of states.  This is the other reader of the log: the file
system under test, which also ends the cuts and frees the orphans that a crash left.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from harness.disk import ext2
from harness.errors import GuestError
from harness.experiment.crashdisk import CRASHED
from harness.guest.profile import profile_for
from harness.guest.warm import Start, started
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.recipe import Recipe
from harness.machine.accel import Accel
from harness.machine.spec import DiskSpec, spec_for
from harness.rundir import RunDir

_MOUNT_SECONDS = 120.0  # under TCG; a second, unless a long cut waits for its end


@dataclass(frozen=True)
class GuestMounts:
    """Mounts disks of one size in the guest, each in a machine of its own, and unmounts them."""

    recipe: Recipe
    image: Image
    variant: str
    rundir: RunDir
    accel: Accel

    @property
    def name(self) -> str:
        """For verdicts."""
        return f"{self.variant} in the guest"

    def recover(self, images: Sequence[Path]) -> list[str]:
        """Mount and unmount each image; for each what kept it from that, or nothing.

        Raises `InfraError` when the host breaks.
        """
        return [self._one(image) for image in images]

    def _one(self, disk: Path) -> str:
        recipe = self.recipe
        variant, profile = recipe.variants[self.variant], profile_for(recipe)
        mountpoint = recipe.crash_disk.mountpoint
        mount = profile.mount(recipe.crash_disk.device, mountpoint, variant)
        spec = spec_for(
            recipe,
            self.image,
            (DiskSpec(CRASHED, disk, "raw", recipe.machine.disk_bus),),
            variant=self.variant,
            scratch=self.rundir.scratch,
        )
        try:
            with started(self._start(), spec, "qemu-mount", warm=recipe.boot.warm) as guest:
                for command in (*recipe.prepare, mount, profile.unmount(mountpoint)):
                    timeout = _MOUNT_SECONDS * self.accel.time_scale
                    done = guest.run(command, timeout=timeout)
                    if done.rc:
                        said = (done.err or done.out).strip()
                        return f"`{command}` ended with {done.rc}: {said}"
                guest.machine.quit()
        except GuestError as error:
            return str(error).splitlines()[0]
        return "it left a log to replay" if ext2.superblock(disk).needs_recovery else ""

    def _start(self) -> Start:
        def quiet(_: str) -> None:
            """Nobody is to be told: one line for all the mounts is enough."""

        return Start(
            self.recipe,
            self.image,
            self.rundir,
            self.accel,
            self.recipe.ready_seconds * self.accel.time_scale,
            Cache.default().folder,
            say=quiet,
            ran=quiet,
            phase=lambda phase, detail: nullcontext(),
        )
