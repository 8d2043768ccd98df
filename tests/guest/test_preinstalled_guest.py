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
from harness.errors import GuestError, UsageError
from harness.guest.guest import Guest
from harness.images.builders import build_image, find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.preinstalled.disk import check
from harness.images.recipe import load_recipe
from harness.machine.accel import TCG
from harness.machine.qemu import Machine
from harness.machine.replica import put_files
from harness.machine.spec import DiskSpec, spec_for
from harness.process import run
from harness.rundir import RunDir
from harness.variants.install import attempt, install
from tests.guest.grub_disk import make_hurd_disk, make_linux_disk, missing
from tests.tools.image_server import Site, serving
from tests.tools.images import folder_in_memory
from tests.tools.installed_disk import pack

pytestmark = pytest.mark.guest

HERE = Path(__file__).parent
PATH = "/images/disk.tar.gz"


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


@pytest.fixture
def site() -> Iterator[Site]:
    why = missing()
    if why:
        pytest.skip(why)
    with serving() as made:
        yield made


def publish(site: Site, disk: Path) -> dict[str, str]:
    """Serve a tarball of a disk; the settings that lead to it."""
    site.files[PATH] = pack(disk, disk.with_suffix(".tar.gz"))
    digest = hashlib.sha256(site.files[PATH]).hexdigest()
    return {"download.mirror": site.url, "download.checksum": digest}


def test_a_first_boot_is_reached_by_ssh_with_keys_that_were_put_in_offline(
    site: Site, control: str, folder: Path
) -> None:
    recipe = load_recipe(control)
    make_linux_disk(
        find_image(recipe, Cache.default()), recipe.boot.cmdline, folder / "disk-20260101.img"
    )
    settings = publish(site, folder / "disk-20260101.img")
    site.files["/hello"] = b"from outside"
    tasks = [
        # Debian's mirrors are reached the same way.
        f"{{run: 'wget -q -O /disk/hello http://10.0.2.2:{site.port}/hello'}}",
        "{run: 'echo $SSH_CONNECTION > /disk/way; umount /disk'}",
    ]
    settings |= {
        "first_boot.tasks": f"[{', '.join(tasks)}]",
        "first_boot.versions": "{k: uname -r}",
    }
    image = build_image(load_recipe(str(HERE / "grub-linux.yaml"), settings), Cache(folder), print)
    assert image.root is not None
    root = find_file_system(image.root.path)
    check(image.root.path, root)
    files = Files.of(image.root.path, root)
    assert files.read("/hello") == b"from outside"
    assert files.read("/way").startswith(b"10.0.2.2 ")  # over the network, not the console
    assert image.versions["k"][0].isdigit()


@pytest.mark.hurd
def test_a_published_hurd_boots_by_its_own_grub_and_is_kept(
    site: Site, source: Image, folder: Path
) -> None:
    make_hurd_disk(source, folder / "hurd-20260101.img")
    settings = publish(site, folder / "hurd-20260101.img")
    recipe = load_recipe(str(HERE / "grub-hurd.yaml"), settings)
    image = build_image(recipe, Cache(folder), print)
    assert image.root is not None
    root = find_file_system(image.root.path)
    check(image.root.path, root)
    assert root.size > 270 << 20
    assert Files.of(image.root.path, root).read("/root/first-boot").startswith(b"GNU-Mach")
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


@pytest.mark.hurd
def test_an_ext2fs_that_grub_loads_is_installed_tried_and_rolled_back(
    site: Site, source: Image, folder: Path
) -> None:
    """mainline's, which has a journal, serves a root that vanilla's has served; then half of it."""
    assert source.root is not None
    program, vanilla = folder / "ext2fs", folder / "vanilla"
    for name, file in (("ext2fs.static", program), ("ext2fs-vanilla", vanilla)):
        run(["debugfs", "-R", f"dump /hurd/{name} {file}", str(source.root.path)])
    disk = folder / "hurd-20260101.img"
    make_hurd_disk(source, disk)
    put_files([(vanilla, "/hurd/ext2fs.static")], disk)
    settings = publish(site, disk) | {"first_boot.tasks": "[]", "first_boot.versions": "{}"}
    recipe = load_recipe(str(HERE / "grub-hurd.yaml"), settings)
    cache = Cache(folder / "cache")
    build_image(recipe, cache, print)
    made = install("mainline", program, "v1", recipe, cache, print, root=True)
    attempt("mainline", made, recipe, cache, print)
    assert find_image(recipe, cache) == made
    program.write_bytes(program.read_bytes()[:300000])
    broken = install("mainline", program, "v2", recipe, cache, print, root=True)
    with pytest.raises(GuestError, match=f"was rolled back: grub-hurd is {made.key[:12]} again"):
        attempt("mainline", broken, recipe, cache, print)
    assert find_image(recipe, cache) == made
