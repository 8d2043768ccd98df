"""The guest from source packages: what its boot does with a root that is clean, dirty or broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import UsageError
from harness.guest.guest import Guest
from harness.guest.state import GuestState
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.recipe import Recipe, load_recipe
from harness.machine.accel import TCG
from harness.machine.conditions import Condition, ConditionError
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.process import run
from harness.rundir import RunDir

pytestmark = pytest.mark.hurd
BOOT_SECONDS = 90.0  # 5 s on an idle host


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("hurd-i386-source", {"machine.root_snapshot": "false"})


@pytest.fixture(scope="module")
def cached(recipe: Recipe) -> Image:
    try:
        return find_image(recipe, Cache.default())
    except UsageError as error:
        pytest.skip(f"{error} ({error.hint})")


@pytest.fixture
def image(cached: Image, tmp_path: Path) -> Image:
    """The image with a root disk of its own, which the test may break."""
    assert cached.root
    path = tmp_path / "root.img"
    run(["cp", "--sparse=always", str(cached.root.path), str(path)])
    return replace(cached, root=replace(cached.root, path=path))


@contextmanager
def running(
    recipe: Recipe, image: Image, folder: Path, *disks: DiskSpec
) -> Iterator[tuple[Machine, Guest]]:
    with ExitStack() as stack:
        rundir = stack.enter_context(RunDir(folder / "out", base=folder / "s"))
        machine = stack.enter_context(Machine(spec_for(recipe, image, disks), rundir, TCG))
        guest = Guest(machine, recipe, image)
        stack.callback(guest.close)
        yield machine, guest


def root_of(image: Image) -> str:
    assert image.root
    return str(image.root.path)


def test_a_clean_root_is_checked_and_made_writable(
    recipe: Recipe, image: Image, tmp_path: Path
) -> None:
    with running(recipe, image, tmp_path) as (_, guest):
        guest.boot(Deadline.after(BOOT_SECONDS))
        assert "/dev/hd0: clean" in guest.console_tail()
        assert "--writable" in guest.run("fsysopts /").out
        nodes = guest.run("head -c 3 /dev/zero | od -An -c; echo x >/dev/null; ls /proc/1/cmdline")
        assert nodes.rc == 0
        assert r"\0  \0  \0" in nodes.out
        assert guest.run("stat -c %u /bin/bash").out.strip() == "0"
        guest.poweroff()


def test_a_root_that_was_cut_off_is_mended_at_boot(
    recipe: Recipe, image: Image, tmp_path: Path
) -> None:
    with running(recipe, image, tmp_path / "1") as (machine, guest):
        guest.boot(Deadline.after(BOOT_SECONDS))
        guest.run("mkdir /home/kept; sync; mkdir /home/lost")
        machine.kill()
    with running(recipe, image, tmp_path / "2") as (_, guest):
        guest.boot(Deadline.after(BOOT_SECONDS))
        assert "was not cleanly unmounted, check forced" in guest.console_tail()
        assert "kept" in guest.run("ls /home").out


def test_a_root_that_e2fsck_does_not_mend_alone_stops_the_boot(
    recipe: Recipe, image: Image, tmp_path: Path
) -> None:
    block = run(["debugfs", "-R", "blocks /etc/group", root_of(image)]).stdout.split()[0]
    for command in (f"set_inode_field /etc/passwd block[0] {block}", "set_super_value state 0"):
        run(["debugfs", "-w", "-R", command, root_of(image)])
    with running(recipe, image, tmp_path) as (_, guest):
        with pytest.raises(ConditionError) as caught:
            guest.boot(Deadline.after(BOOT_SECONDS))
        assert caught.value.condition is Condition.MAINTENANCE


@pytest.mark.parametrize("name", ["vanilla", "mainline"])
def test_each_variant_mounts_the_second_disk(
    recipe: Recipe, image: Image, tmp_path: Path, name: str
) -> None:
    variant = recipe.variants[name]
    path = tmp_path / "crash.raw"
    kind = ("-t", variant.fs, "-o", "hurd", "-b", "4096", "-I", "128")
    run(["mke2fs", "-q", *kind, str(path), "32M"])
    disk = DiskSpec("crash", path, "raw", "ide")
    with running(recipe, image, tmp_path, disk) as (_, guest):
        guest.boot(Deadline.after(BOOT_SECONDS))
        assert variant.translator
        if guest.run(f"test -e {variant.translator}").rc:
            pytest.skip(f"the guest was built without {variant.translator}")
        mounted = guest.run(guest.profile.mount("/dev/hd1", "/mnt", variant))
        assert mounted.rc == 0, mounted.err
        assert guest.run("mkdir /mnt/d").rc == 0
        assert ("journaling enabled" in guest.console_tail()) is variant.journaled
        assert guest.run("ls /mnt").out.split() == ["d", "lost+found"]


def test_files_go_by_the_disk_and_commands_by_the_serial_line(
    recipe: Recipe, image: Image, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 1200
    (tmp_path / "file").write_bytes(data)
    with running(recipe, image, tmp_path) as (machine, guest):
        guest.boot(Deadline.after(BOOT_SECONDS))
        guest.put(tmp_path / "file", "/tmp/file")
        guest.get("/tmp/file", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == data
        assert guest.state is GuestState.CONSOLE and machine.ssh_port is None
        guest.terminal("vt100", 80, 24)
        assert str(guest.state) == "ssh"
        # Every byte there is comes back as it went, over SSH now.
        spoken = guest.run("printf 'a\\r\\n\\033\\033}'; echo oops >&2; exit 3")
        assert (spoken.rc, spoken.out, spoken.err) == (3, "a\r\n\x1b\x1b}", "oops\n")
        assert guest.run("cksum < /tmp/file").out.split()[1] == str(len(data))
        assert guest.run("head -c 8 /dev/urandom | cksum").rc == 0
        guest.poweroff()


def test_a_file_system_that_crashes_is_named_at_once(
    recipe: Recipe, image: Image, tmp_path: Path
) -> None:
    path = tmp_path / "crash.raw"
    run(["mke2fs", "-q", "-t", "ext3", "-o", "hurd", "-b", "4096", "-I", "128", str(path), "32M"])
    disk = DiskSpec("crash", path, "raw", "ide")
    find = "ps -A -f | awk '/ext2fs.*hd1/ && !/awk/ {print $2}'"
    with running(recipe, image, tmp_path, disk) as (_, guest):
        guest.boot(Deadline.after(BOOT_SECONDS))
        mounted = guest.run(guest.profile.mount("/dev/hd1", "/mnt", recipe.variants["mainline"]))
        assert mounted.rc == 0, mounted.err
        with pytest.raises(ConditionError) as caught:
            # Without the file system its folder is there, and a mkdir in it succeeds.
            guest.run(f"kill -SEGV $({find}); sleep 1; mkdir /mnt/d; sleep 20")
        assert caught.value.condition is Condition.SERVER_CRASH
