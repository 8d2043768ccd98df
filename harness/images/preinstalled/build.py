"""From a recipe of kind preinstalled to a guest in the cache."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from harness.disk.debugfs import Files
from harness.errors import UsageError
from harness.images.cache import Cache, Progress
from harness.images.image import BootFiles, Image, RootDisk, SshKeys
from harness.images.keys import HOST_KEY, PRIVATE_KEY, KeyPair, write_keys
from harness.images.manifest import Manifest, now
from harness.images.meter import Meter
from harness.images.preinstalled.disk import grow, settle
from harness.images.preinstalled.download import Wanted, download
from harness.images.preinstalled.firstboot import first_boot
from harness.images.preinstalled.offline import personalise
from harness.images.preinstalled.spec import Checksum
from harness.images.preinstalled.unpack import unpack_image
from harness.images.recipe import PreinstalledRecipe
from harness.rundir import RunDir

#: changes when this package makes another image of the same recipe
_FORMAT = "1"
_ROOT = "root.img"


def made_from(recipe: PreinstalledRecipe) -> str:
    """Hash of everything in the recipe that shapes the image; where it is fetched from does not."""
    parts = recipe.model_dump(mode="json", include={"name", "disk", "offline"})
    parts["first_boot"] = [task.run for task in recipe.first_boot.tasks]
    parts["versions"] = recipe.first_boot.versions
    parts["download"] = [recipe.download.checksum, recipe.download.member]
    parts["machine"] = [recipe.machine.arch, recipe.machine.disk_bus]
    parts["format"] = _FORMAT
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def fetch_preinstalled(
    recipe: PreinstalledRecipe, cache: Cache, progress: Progress, meter: Meter
) -> Path:
    """The tarball in the cache, verified; fetched, or fetched to its end, if need be.

    Raises `UsageError` for a recipe without a checksum, before anything is fetched.
    """
    checksum = _pinned(recipe)
    name = recipe.download.url.rpartition("/")[2]
    target = cache.downloads / f"{checksum.hex[:16]}-{name}"
    with cache.writing():
        download(Wanted(recipe.download.url, target, checksum), progress, meter)
    return target


def _pinned(recipe: PreinstalledRecipe) -> Checksum:
    checksum = recipe.download.pinned
    if checksum is None:
        raise UsageError(
            f"the recipe of {recipe.name} has no checksum of {recipe.download.url}, so nothing "
            "could tell whether that is the right file",
            hint=f"`hurdle image pin {recipe.name}` asks the server for it and writes it down",
        )
    return checksum


def build_preinstalled(
    recipe: PreinstalledRecipe, cache: Cache, progress: Progress, meter: Meter
) -> Image:
    """The recipe's image: the one in the cache, or a new one from the pinned tarball."""
    _pinned(recipe)
    recipe_hash = made_from(recipe)
    with cache.building(recipe.name, progress) as draft:
        cached = cache.find_intact(recipe.name, progress, made_from=recipe_hash)
        if cached is not None:
            return cached
        tarball = fetch_preinstalled(recipe, cache, progress, meter)
        disk = draft / _ROOT
        progress(f"unpacking {tarball.name}")
        file = unpack_image(tarball, recipe.download.member, disk, meter)
        versions = {"image": f"{file} ({recipe.download.checksum[:19]})"}
        versions |= _install(recipe, draft, cache, progress)
        manifest = Manifest(
            name=recipe.name,
            key=recipe_hash,
            made_from=recipe_hash,
            built=now(),
            kernel=None,
            root=_ROOT,
            private_key=PRIVATE_KEY,
            host_key=HOST_KEY,
            versions=versions,
        )
        return cache.publish(draft, manifest)


def _install(
    recipe: PreinstalledRecipe, draft: Path, cache: Cache, progress: Progress
) -> dict[str, str]:
    """Make the unpacked disk ours: grown, personalised, booted once; versions from the guest."""
    disk = draft / _ROOT
    root = grow(disk, recipe.disk.size_mib << 20, recipe.disk.partition)
    progress(f"the root is partition {root}; putting keys and settings into it")
    host, user = KeyPair.generate(), KeyPair.generate()
    write_keys(draft, host, user)
    personalise(Files.of(disk, root), recipe.offline, host, user)
    settle(disk, root)
    if not recipe.first_boot.tasks and not recipe.first_boot.versions:
        return {}
    image = Image(
        name=recipe.name,
        key="",
        folder=draft,
        boot=BootFiles(kernel=None, cmdline=""),
        root=RootDisk(disk, "raw"),
        ssh=SshKeys(draft / PRIVATE_KEY, draft / HOST_KEY),
    )
    with RunDir(cache.folder / "first-boot" / recipe.name) as rundir:
        versions = first_boot(recipe, image, rundir, progress)
    settle(disk, root)
    return versions
