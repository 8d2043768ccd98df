"""A real guest: boot, both ways in, and the ways in which it can fail."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness.deadline import Deadline
from harness.errors import GuestError, UsageError
from harness.guest.guest import Guest
from harness.guest.state import GuestState
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.recipe import GuestOs, Recipe, load_recipe
from harness.machine.accel import TCG
from harness.machine.conditions import Condition, ConditionError
from harness.machine.qemu import Ending, Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.process import run
from harness.rundir import RunDir

pytestmark = pytest.mark.guest

CONSOLE_ONLY = {"access": "{}", "machine.nic": "null"}  # there 2 s before SSH


def wanted(name: str, overrides: dict[str, str] | None = None) -> tuple[Recipe, Image]:
    recipe = load_recipe(name, overrides)
    try:
        return recipe, find_image(recipe, Cache.default())
    except UsageError as error:
        if recipe.os is GuestOs.LINUX:
            raise  # `make setup` builds the control: without it nothing would be tested
        pytest.skip(f"{error} ({error.hint})")


def disk(folder: Path, *mkfs: str) -> DiskSpec:
    path, log = folder / "crash,1.raw", folder / "writes.log"
    log.write_bytes(b"")
    run(["mke2fs", "-q", "-t", "ext3", *mkfs, str(path), "32M"])
    return DiskSpec("crash", path, "raw", "ide", log=log)


@contextmanager
def machine_for(
    recipe: Recipe, image: Image, folder: Path, *disks: DiskSpec
) -> Iterator[tuple[Machine, Guest]]:
    with ExitStack() as stack:
        rundir = stack.enter_context(RunDir(folder / "out", base=folder / "s"))
        machine = stack.enter_context(Machine(spec_for(recipe, image, disks), rundir, TCG))
        guest = Guest(machine, recipe, image)
        stack.callback(guest.close)
        yield machine, guest


def booting(image: Image, extra: str) -> Image:
    return replace(image, boot=replace(image.boot, cmdline=f"{image.boot.cmdline} {extra}"))


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Guest, Path]]:
    """The control with a logged ext3 disk, booted once for the tests that leave it whole."""
    folder = tmp_path_factory.mktemp("guest")
    recipe, image = wanted("linux-control")
    with machine_for(recipe, image, folder, disk(folder)) as (machine, guest):
        guest.boot(Deadline.after(90))
        yield machine, guest, folder


def test_the_control_answers_over_ssh_and_over_the_console(
    booted: tuple[Machine, Guest, Path],
) -> None:
    machine, guest, _ = booted
    assert guest.state is GuestState.SSH and machine.ssh_port
    command = "printf 'a\\r\\n'; echo oops >&2; exit 3"
    over_ssh = guest.run(command)
    assert guest._shell is not None
    over_console = guest._shell.run(command, 20)
    for result in (over_ssh, over_console):
        assert (result.rc, result.out, result.err) == (3, "a\r\n", "oops\n")
    assert over_ssh.seconds < 20 and over_console.seconds < 20


def test_what_the_guest_writes_is_in_the_log_and_counted(
    booted: tuple[Machine, Guest, Path],
) -> None:
    machine, guest, folder = booted
    before = machine.qmp.blockstats("crash")
    variant = guest.recipe.variants["ext3"]
    steps = (
        guest.profile.add_user("loshmi", 1001, 1001),
        guest.profile.mount("/dev/sda", "/mnt", variant),
        "mkdir -m 0777 /mnt/home",
        guest.profile.as_user(1001, 1001, "loshmi", "umask 0002; mkdir /mnt/home/a; id -un"),
        guest.profile.sync("/mnt"),
    )
    results = [guest.run(step) for step in steps]
    assert [(result.rc, result.err) for result in results] == [(0, "")] * len(steps)
    assert results[3].out == "loshmi\n"
    seen = guest.run("stat -c '%a %u %g' /mnt/home/a")
    assert seen.out == "775 1001 1001\n"
    after = machine.qmp.blockstats("crash")
    assert after.writes > before.writes and after.flushes > before.flushes
    assert (folder / "writes.log").stat().st_size > after.bytes_written
    assert guest.run(guest.profile.unmount("/mnt")).rc == 0


def test_files_go_both_ways_with_progress(booted: tuple[Machine, Guest, Path]) -> None:
    _, guest, folder = booted
    data = bytes(range(256)) * 4000
    (folder / "file").write_bytes(data)
    seen: list[tuple[int, int]] = []
    guest.put(folder / "file", "/tmp/file", progress=lambda *step: seen.append(step))
    guest.get("/tmp/file", folder / "back")
    assert (folder / "back").read_bytes() == data
    assert seen[-1] == (len(data), len(data))
    guest.run("rm /tmp/file")


def test_a_command_that_hangs_is_named_and_kills_the_guest_for_us(tmp_path: Path) -> None:
    recipe, image = wanted("linux-control")
    with machine_for(recipe, image, tmp_path) as (_, guest):
        guest.boot(Deadline.after(90))
        with pytest.raises(ConditionError, match="`sleep 99`") as caught:
            guest.run("sleep 99", timeout=1)
        assert caught.value.condition is Condition.HANG
        assert "QEMU itself answers and says that the guest is running" in str(caught.value)
        assert guest.state is GuestState.DEAD
        with pytest.raises(GuestError, match=r"not used any more.*sleep 99"):
            guest.run("true")


@pytest.mark.parametrize(
    ("command", "condition"),
    [
        ("reboot -f", Condition.REBOOT),
        ("echo c > /proc/sysrq-trigger", Condition.PANIC),
        ("poweroff -f", Condition.POWER_OFF),
    ],
)
def test_a_guest_that_goes_down_by_itself_is_told_from_a_hang(
    tmp_path: Path, command: str, condition: Condition
) -> None:
    recipe, image = wanted("linux-control", CONSOLE_ONLY)
    with machine_for(recipe, image, tmp_path) as (_, guest):
        guest.boot(Deadline.after(90))
        assert guest.state is GuestState.CONSOLE
        with pytest.raises(ConditionError) as caught:
            guest.run(command, timeout=30)
        assert caught.value.condition is condition
        assert caught.value.console


def test_a_kernel_panic_at_boot_is_named_with_the_consoles_end(tmp_path: Path) -> None:
    recipe, image = wanted("linux-control")
    with machine_for(recipe, booting(image, "rdinit=/nosuch"), tmp_path) as (_, guest):
        with pytest.raises(ConditionError, match="booting: the kernel panicked") as caught:
            guest.boot(Deadline.after(90))
        assert caught.value.condition is Condition.PANIC
        assert "Unable to mount root fs" in caught.value.console


def test_a_guest_that_hangs_at_boot_is_given_up_in_time(tmp_path: Path) -> None:
    recipe, image = wanted("linux-control")
    silent = booting(image, "rdinit=/usr/bin/busybox -- sleep 99")
    with machine_for(recipe, silent, tmp_path) as (machine, guest):
        with pytest.raises(ConditionError, match="prompt `control# ` did not come") as caught:
            guest.boot(Deadline.after(4))
        assert caught.value.condition is Condition.HANG
        assert machine.ending is None


def test_an_ssh_server_that_never_comes_is_named(tmp_path: Path) -> None:
    # The control has no driver for this card, so its init starts no server.
    recipe, image = wanted("linux-control", {"machine.nic": "rtl8139", "access.ssh.seconds": "3"})
    with machine_for(recipe, image, tmp_path) as (_, guest):
        with pytest.raises(ConditionError, match="waiting for SSH: SSH never came") as caught:
            guest.boot(Deadline.after(90))
        assert caught.value.condition is Condition.HANG
        assert "driver" in (caught.value.hint or "")


def test_ctrl_c_in_a_wait_leaves_no_process(tmp_path: Path) -> None:
    recipe, image = wanted("linux-control", CONSOLE_ONLY)

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            machine_for(recipe, image, tmp_path) as (machine, guest),
        ):
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            guest.boot(Deadline.after(90))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert guest.state is GuestState.DEAD
    assert not psutil.pid_exists(machine.pid)
    assert not list((tmp_path / "s").glob("run-*"))


def test_an_orderly_power_off_is_no_failure(tmp_path: Path) -> None:
    recipe, image = wanted("linux-control", CONSOLE_ONLY)
    with machine_for(recipe, image, tmp_path) as (machine, guest):
        guest.boot(Deadline.after(90))
        guest.poweroff()
        assert machine.ending is Ending.POWERED_OFF and machine.powered_off()
        assert guest.state is GuestState.OFF


@pytest.mark.hurd
def test_a_hurd_guest_answers_on_its_console(tmp_path: Path) -> None:
    recipe, image = wanted("hurd-local")
    crash = disk(tmp_path, "-o", "hurd", "-b", "4096", "-I", "128")
    variant = recipe.variants["mainline"]
    with machine_for(recipe, image, tmp_path, crash) as (machine, guest):
        guest.boot(Deadline.after(90))
        assert guest.state is GuestState.CONSOLE
        result = guest.run("printf 'a\\r\\n'; echo oops >&2; exit 3")
        assert (result.rc, result.out, result.err) == (3, "a\r\n", "oops\n")
        steps = (
            guest.profile.add_user("loshmi", 1001, 1001),
            guest.profile.mount(recipe.crash_disk.device, "/mnt", variant),
            # On the Hurd a new folder takes the group of the one it is made in.
            "mkdir /mnt/home; chown 1001:1001 /mnt/home",
            guest.profile.as_user(1001, 1001, "loshmi", "umask 0002; mkdir /mnt/home/a"),
            guest.profile.sync("/mnt"),
        )
        for step in steps:
            assert guest.run(step).rc == 0, step
        assert guest.run("stat -c '%a %u %g' /mnt/home/a").out == "775 1001 1001\n"
        assert machine.qmp.blockstats("crash").flushes > 0
        machine.kill()
    assert machine.ending is Ending.KILLED
