"""A published disk image from the download to a guest: GRUB, the first boot, and a boot after it.

Debian's own image can't be had in a test, so a Hurd built from source is put on a disk of that
layout, and served by a web server of the test's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.disk.debugfs import Files
from harness.disk.partitions import find_file_system
from harness.errors import UsageError
from harness.guest.guest import Guest
from harness.images.builders import build_image, find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.preinstalled.disk import at, check
from harness.images.recipe import load_recipe
from harness.machine.accel import TCG
from harness.machine.qemu import Machine
from harness.machine.spec import DiskSpec, spec_for
from harness.process import run
from harness.rundir import RunDir
from tests.guest.grub_disk import make_grub_disk, missing
from tests.tools.image_server import Site, serving
from tests.tools.images import folder_in_memory
from tests.tools.installed_disk import pack

pytestmark = [pytest.mark.guest, pytest.mark.hurd]

RECIPE = Path(__file__).parent / "grub-hurd.yaml"
NAME = "hurd-20260101.img"


@pytest.fixture
def source() -> Image:
    try:
        return find_image(load_recipe("hurd-i386-source"), Cache.default())
    except UsageError as error:
        pytest.skip(f"{error} ({error.hint})")


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as made:
        yield made


def publish(site: Site, source: Image, folder: Path) -> str:
    """Serve a tarball of a disk that boots; its checksum."""
    make_grub_disk(source, folder / NAME)
    site.files["/images/hurd.tar.gz"] = pack(folder / NAME, folder / "it.tar.gz")
    (folder / NAME).unlink()
    return hashlib.sha256(site.files["/images/hurd.tar.gz"]).hexdigest()


def test_a_published_hurd_boots_by_its_own_grub_and_is_kept(source: Image, folder: Path) -> None:
    why = missing()
    if why:
        pytest.skip(why)
    cache = Cache(folder / "cache")
    with serving() as site:
        digest = publish(site, source, folder)
        settings = {"download.mirror": site.url, "download.checksum": digest}
        recipe = load_recipe(str(RECIPE), settings)
        image = build_image(recipe, cache, print)
    assert image.root is not None
    root = find_file_system(image.root.path)
    check(image.root.path, root)
    assert root.size > 270 << 20
    assert Files(at(image.root.path, root)).read("/root/first-boot").startswith(b"GNU-Mach")
    assert image.versions["kernel"].startswith("GNU-Mach")
    disk = folder / "crash.raw"
    run(["mke2fs", "-q", "-t", "ext2", "-o", "hurd", "-b", "4096", "-I", "128", str(disk), "32M"])
    with ExitStack() as stack:
        rundir = stack.enter_context(RunDir(folder / "out", base=folder / "s"))
        spec = spec_for(recipe, image, (DiskSpec("crash", disk, "raw", "ide"),))
        machine = stack.enter_context(Machine(spec, rundir, TCG))
        guest = Guest(machine, recipe, image)
        guest.boot(Deadline.after(recipe.boot.seconds))
        assert "hd0s2: clean" in guest.console_tail(200)
        assert guest.run("cat /root/first-boot").out.startswith("GNU-Mach")
        mount = guest.profile.mount("/dev/hd1", "/mnt", recipe.variants["mainline"])
        assert guest.run(f"{mount} && mkdir /mnt/d && ls /mnt").out.split() == ["d", "lost+found"]
