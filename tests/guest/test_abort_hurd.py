"""A disk that fails under our journal in a real Hurd: read-only, and said so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.disk.fsck import Mode, e2fsck
from harness.disk.jbd2 import journal_map, log_has_data
from harness.experiment.trial import Fault
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


@contextmanager
def mounted(name: str, folder: Path, scratch: Path) -> Iterator[Guest]:
    """A guest that has a fresh file system of ours on /mnt; its disk is folder/killed.raw."""
    recipe = load_recipe(name)
    image = ready_image(recipe, ("ours",), Cache.default(), print)
    ext2.mkfs(folder / "disk.raw", Disk(), recipe.variants["ours"], GuestOs.HURD)
    sparse_copy(folder / "disk.raw", folder / "killed.raw")
    log = folder / "log"
    log.write_bytes(b"")
    crashed = DiskSpec(
        *("crash", folder / "killed.raw", "raw", recipe.machine.disk_bus), log=log, fallible=True
    )
    mount = profile_for(recipe).mount(recipe.crash_disk.device, "/mnt", recipe.variants["ours"])
    with RunDir(folder / "out", base=scratch / "s") as rundir:
        spec = spec_for(recipe, image, (crashed,), variant="ours", scratch=rundir.scratch)
        with Machine(spec, rundir, TCG) as machine:
            guest = Guest(machine, recipe, image)
            guest.boot(Deadline.after(recipe.ready_seconds))
            assert rc(guest, f"{mount} && mkdir /mnt/a && syncfs -s /mnt") == 0
            yield guest


def rc(guest: Guest, command: str) -> int:
    return guest.run(command, timeout=60.0).rc


def state(guest: Guest) -> str:
    return guest.run("fsysopts /mnt", timeout=60.0).out.split()[1]


def test_a_disk_that_fails_makes_the_file_system_read_only(
    ours: str, tmp_path: Path, scratch: Path
) -> None:
    with mounted(ours, tmp_path, scratch) as guest:
        assert state(guest) == "--writable"
        inject(guest.machine.qmp, "crash", DiskFault("write"))
        assert rc(guest, "mkdir /mnt/b && sync /mnt/b") != 0
        heal(guest.machine.qmp, "crash")
        # The disk is well again, the file system is not.
        assert state(guest) == "--readonly"
        assert rc(guest, "mkdir /mnt/c") != 0 and rc(guest, "syncfs -s /mnt") != 0
        assert rc(guest, "test -d /mnt/a && test -d /mnt/b") == 0
        assert "the file system is read-only now" in guest.console_tail(60)
        # What the log had is replayed, and it goes on.
        assert rc(guest, "fsysopts /mnt --update") == 0 and state(guest) == "--writable"
        assert rc(guest, "test -d /mnt/a && mkdir /mnt/d && syncfs -s /mnt") == 0
        assert rc(guest, "settrans -ga /mnt") == 0
    assert e2fsck(tmp_path / "killed.raw", Mode.CHECK).rc == 0


def test_what_can_not_be_written_home_stays_in_the_log(
    ours: str, tmp_path: Path, scratch: Path
) -> None:
    with mounted(ours, tmp_path, scratch) as guest:
        fault = Fault(fail="write", where="home").disk_fault(
            tmp_path / "disk.raw", journal_map(tmp_path / "disk.raw")
        )
        inject(guest.machine.qmp, "crash", fault)
        # The log takes a commit all the same, and nothing has to go home for that.
        assert rc(guest, "mkdir /mnt/b && sync /mnt/b") == 0
        # To go read-only everything is written home.  It is read-only either way; what matters is
        # that the log is not given up, and that somebody is told.
        assert rc(guest, "fsysopts /mnt --readonly") != 0
        assert state(guest) == "--readonly" and rc(guest, "mkdir /mnt/c") != 0
        said = guest.console_tail(60)
        assert "a committed block could not be written home" in said
        assert "the journal stays in use" in said
        heal(guest.machine.qmp, "crash")
        guest.machine.kill()
    killed = tmp_path / "killed.raw"
    assert ext2.superblock(killed).needs_recovery and log_has_data(killed)
    assert e2fsck(killed, Mode.BOOT).rc <= 1
    assert all(ext2.stat_object(killed, name).present for name in ("a", "b"))
    assert e2fsck(killed, Mode.CHECK).rc == 0
