"""A disk that fails under our journal in a real Hurd: read-only, and said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.guest.guest import Guest
from harness.guest.profile import profile_for
from harness.images.cache import Cache
from harness.images.recipe import GuestOs, load_recipe
from harness.machine.accel import TCG
from harness.machine.faults import DiskFault, heal, inject
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.rundir import RunDir
from harness.variants.ready import ready_image
from harness.workloads.scenario import Disk

pytestmark = [pytest.mark.guest, pytest.mark.hurd]


def test_a_disk_that_fails_makes_the_file_system_read_only(
    ours: str, tmp_path: Path, scratch: Path
) -> None:
    recipe = load_recipe(ours)
    image = ready_image(recipe, ("ours",), Cache.default(), print)
    disk, log = tmp_path / "disk.raw", tmp_path / "log"
    ext2.mkfs(disk, Disk(), recipe.variants["ours"], GuestOs.HURD)
    sparse_copy(disk, tmp_path / "killed.raw")
    log.write_bytes(b"")
    crashed = DiskSpec(
        *("crash", tmp_path / "killed.raw", "raw", recipe.machine.disk_bus), log=log, fallible=True
    )
    mount = profile_for(recipe).mount(recipe.crash_disk.device, "/mnt", recipe.variants["ours"])
    with RunDir(tmp_path / "out", base=scratch / "s") as rundir:
        spec = spec_for(recipe, image, (crashed,), variant="ours", scratch=rundir.scratch)
        with Machine(spec, rundir, TCG) as machine:
            guest = Guest(machine, recipe, image)
            guest.boot(Deadline.after(recipe.ready_seconds))

            def rc(command: str) -> int:
                return guest.run(command, timeout=60.0).rc

            assert rc(f"{mount} && mkdir /mnt/a && syncfs -s /mnt") == 0
            assert guest.run("fsysopts /mnt", timeout=60.0).out.split()[1] == "--writable"
            inject(machine.qmp, "crash", DiskFault("write"))
            assert rc("mkdir /mnt/b && sync /mnt/b") != 0
            heal(machine.qmp, "crash")
            # The disk is well again, the file system is not.
            assert guest.run("fsysopts /mnt", timeout=60.0).out.split()[1] == "--readonly"
            assert rc("mkdir /mnt/c") != 0 and rc("syncfs -s /mnt") != 0
            assert rc("test -d /mnt/a && test -d /mnt/b") == 0
            assert "the file system is read-only now" in guest.console_tail(60)
