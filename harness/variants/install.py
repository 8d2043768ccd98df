"""A built ext2fs in a guest's image: put there, tried, and taken back.

An image is never changed.  Installing makes a new one, whose root disk has the new ext2fs beside
the old, and whose boot module it is where it serves the root as well; a run takes the image that
was made last.  Rolling back removes it, so that the one before counts again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.deadline import Deadline
from harness.disk import ext2
from harness.disk.alone import standing_alone
from harness.disk.debugfs import Files
from harness.disk.fsck import Mode, e2fsck
from harness.disk.jbd2 import log_has_data
from harness.disk.partitions import find_file_system
from harness.errors import GuestError, UsageError
from harness.guest.guest import Guest
from harness.images.builders import find_image
from harness.images.cache import Cache
from harness.images.image import Image
from harness.images.manifest import InstalledRecord, Manifest, file_hash, now
from harness.images.recipe import GuestOs, PreinstalledRecipe, Recipe, Variant
from harness.images.source.stage import digest_text
from harness.machine.accel import choose_accel
from harness.machine.qemu import Machine
from harness.machine.replica import make_replica, put_files
from harness.machine.spec import DiskSpec, Replica, spec_for
from harness.process import run
from harness.rundir import RunDir
from harness.workloads.scenario import Disk

#: images with something installed that are kept: a developer goes back and forth between a few
_KEEP = 4
_MOUNT_SECONDS = 30.0

Say = Callable[[str], None]


def install(
    name: str, program: Path, version: str, recipe: Recipe, cache: Cache, say: Say, *, root: bool
) -> Image:
    """Make the guest's current image one that has `program` as the ext2fs of the variant `name`.

    With `root` it serves the root as well, which gets a journal if the variant has one.  `version`
    is for reports.  The new image is not tried here; `attempt` does that.
    """
    path = variant_of(recipe, name).translator or ""
    record = InstalledRecord(sha256=file_hash(program), guest_path=path, root=root)
    image = find_image(recipe, cache)
    if cache.manifest(image).installed.get(name) == record:
        say(f"{recipe.name} has this {name} already")
        return image
    with cache.building(recipe.name, say) as draft:
        image = find_image(recipe, cache)
        before = cache.manifest(image)
        manifest = before.model_copy(
            update={
                "key": digest_text(before.key, name, record.model_dump_json())[:24],
                "built": now(),
                "installed": {**before.installed, name: record},
                "versions": {**before.versions, f"ext2fs-{name}": version},
            }
        )
        _assemble(name, program, recipe, image, manifest, draft)
        cache.publish(draft, manifest)
    _prune(recipe.name, cache)
    where = " and on its root" if root else ""
    say(f"{recipe.name} {manifest.key[:12]} has {name} as {path}{where}")
    return find_image(recipe, cache, manifest.key)


def _assemble(
    name: str, program: Path, recipe: Recipe, image: Image, manifest: Manifest, draft: Path
) -> None:
    """The files of the new image: those of the old, but for the root and perhaps its server."""
    for file in manifest.files:
        if file != manifest.root:
            (draft / file).parent.mkdir(parents=True, exist_ok=True)
            os.link(image.folder / file, draft / file)
    record, root = manifest.installed[name], draft / (manifest.root or "")
    make_replica(Replica(_raw_root(image), ()), root)
    with standing_alone(root, _partition(recipe)) as fs:
        replay(fs)  # or a later replay would undo what is put there
        put_files([(program, record.guest_path)], fs)
        if record.root:
            if recipe.variants[name].journaled and not ext2.superblock(fs).has_journal:
                run(["tune2fs", "-j", fs.name], cwd=draft)
            _serve_root(recipe, manifest, program, draft, fs)


def attempt(name: str, image: Image, recipe: Recipe, cache: Cache, say: Say) -> None:
    """Boot an image and mount a new file system by the variant that was just installed into it.

    If that fails the installation is taken back, with what was installed after it, and `GuestError`
    says so and why.  It is taken back, too, when the try comes to no end: what nobody tried does
    not stay.
    """
    installed = cache.manifest(image).installed[name]
    try:
        with tempfile.TemporaryDirectory(prefix="hurdle-try-") as folder:
            _boot_and_mount(name, recipe, image, Path(folder))
    except GuestError as error:
        back = _take_back(name, installed, recipe, cache, say)
        raise GuestError(
            f"the new {name} does not come up, and was rolled back: {recipe.name} is "
            f"{back.key[:12]} again\n{error}",
            hint="the console's last lines, above, are all that is left of the try",
            console=error.console,
        ) from error
    except BaseException:
        back = _take_back(name, installed, recipe, cache, say)
        say(f"the new {name} could not be tried, and was rolled back: {back.key[:12]} again")
        raise


def _take_back(
    name: str, installed: InstalledRecord, recipe: Recipe, cache: Cache, say: Say
) -> Image:
    """Roll back until the image that counts is without this installation; that image."""
    image = find_image(recipe, cache)
    while cache.manifest(image).installed.get(name) == installed:
        image = rollback(recipe, cache, say)
    return image


def rollback(recipe: Recipe, cache: Cache, say: Say) -> Image:
    """Take the last installation back; the image that counts now.

    A root that has a journal with data in it, because a guest that keeps its root was killed, is
    replayed here: an ext2fs without a journal would panic on it.
    """
    image = find_image(recipe, cache)
    if not cache.manifest(image).installed:
        raise UsageError(
            f"nothing was installed into the image of {recipe.name}",
            hint="`hurdle variants install NAME` does that",
        )
    kept = [each for each in cache.list() if each.name == recipe.name and not each.problem]
    if len(kept) < 2:
        raise UsageError(
            f"the image of {recipe.name} from before the installation is gone",
            hint=f"make it again: hurdle image build {recipe.name}",
        )
    cache.remove(recipe.name, key=image.key)
    back = find_image(recipe, cache)
    if back.root is not None and back.root.format == "raw":
        with standing_alone(back.root.path, _partition(recipe)) as root:
            if replay(root):
                say(f"the journal of the root of {back.key[:12]} was replayed")
    return back


def replay(disk: Path) -> bool:
    """Replay the journal of a file system in place if there is anything to; whether there was.

    mainline's ext2fs leaves needs_recovery clear over a log with data, so the flag is set first.
    Raises `GuestError` if the journal can't be replayed.
    """
    superblock = ext2.superblock(disk)
    has_data = superblock.has_journal and log_has_data(disk)
    if not has_data and not superblock.needs_recovery:
        return False
    if not superblock.needs_recovery:
        ext2.set_needs_recovery(disk)
    done = e2fsck(disk, Mode.REPLAY)
    if done.damage or ext2.superblock(disk).needs_recovery:
        raise GuestError(
            f"the journal of the root {disk} can't be replayed: {done.text}",
            hint=f"look at it by hand: e2fsck -fn {disk}",
        )
    return True


def variant_of(recipe: Recipe, name: str) -> Variant:
    """The recipe's variant that an ext2fs can be installed as."""
    found = recipe.variants.get(name)
    if recipe.os is not GuestOs.HURD:
        raise UsageError(f"{recipe.name} is no Hurd", hint="choose another --guest")
    if found is None or found.translator is None:
        raise UsageError(
            f"{recipe.name} has no variant {name!r} with a translator",
            hint=f"add it: --set variants.{name}.fs=ext3 "
            f"--set variants.{name}.translator=/hurd/ext2fs-{name}",
        )
    return found


def _raw_root(image: Image) -> Path:
    root = image.root
    if root is None or root.format != "raw":
        raise UsageError(
            f"{image.name} has no raw root disk, into which a file can be put",
            hint="choose a guest such as hurd-i386-source, or convert the root: qemu-img convert",
        )
    return root.path


def _partition(recipe: Recipe) -> int | None:
    return recipe.disk.partition if isinstance(recipe, PreinstalledRecipe) else None


def _serve_root(recipe: Recipe, manifest: Manifest, program: Path, draft: Path, root: Path) -> None:
    """Make `program` what serves the root: the boot module, or the file that a loader takes for it.

    `root` is the root's file system.
    """
    if isinstance(recipe, PreinstalledRecipe):
        _replace_server(recipe, program, root)
        return
    names = [module.file for module in manifest.modules if "${root}" in module.args]
    if not names:
        raise UsageError(
            f"the root of {manifest.name} is not served by a boot module",
            hint="install it without --root; the guest's boot loader has the ext2fs of its root",
        )
    (draft / names[0]).unlink()
    (draft / names[0]).write_bytes(program.read_bytes())


def _replace_server(recipe: PreinstalledRecipe, program: Path, root: Path) -> None:
    path = recipe.root_server
    if path is None:
        raise UsageError(
            f"the recipe of {recipe.name} does not say which file serves its root",
            hint="look into the image's boot loader, and say it: --set root_server=/hurd/...",
        )
    stat = Files.of(root, find_file_system(root)).stat(path)
    if stat is None or stat.type != "regular":
        raise UsageError(
            f"the root of {recipe.name} has no plain file {path}",
            hint="mend root_server in its recipe: the ext2fs that the boot loader loads",
        )
    put_files([(program, path)], root)


def _prune(name: str, cache: Cache) -> None:
    """Remove the oldest images that came about by installing."""
    images = [cached.key for cached in cache.list() if cached.name == name and not cached.problem]
    made = []
    for key in images:
        image = cache.find(name, key=key)
        if image is not None and cache.manifest(image).installed:
            made.append(key)
    for key in made[_KEEP:]:
        cache.remove(name, key=key)


def _boot_and_mount(name: str, recipe: Recipe, image: Image, folder: Path) -> None:
    variant = variant_of(recipe, name)
    disk = folder / "disk.raw"
    ext2.mkfs(disk, Disk(), variant, recipe.os)
    crash = DiskSpec("crash", disk, "raw", recipe.machine.disk_bus)
    with RunDir(folder / "out") as rundir:
        spec = spec_for(recipe, image, (crash,), variant=name, scratch=rundir.scratch)
        accel = choose_accel(recipe.machine.accel, spec, rundir)
        with Machine(spec, rundir, accel) as machine:
            guest = Guest(machine, recipe, image)
            guest.boot(Deadline.after(recipe.ready_seconds * accel.time_scale))
            mount(guest, variant, _MOUNT_SECONDS * accel.time_scale)


def mount(guest: Guest, variant: Variant, seconds: float) -> None:
    """Mount the second disk by the variant and make sure that it answers; `GuestError` if not."""
    disk = guest.recipe.crash_disk
    commands = [*guest.recipe.prepare, guest.profile.mount(disk.device, disk.mountpoint, variant)]
    for command in (*commands, f"ls {disk.mountpoint}"):
        done = guest.run(command, timeout=seconds)
        if done.rc != 0:
            raise GuestError(
                f"`{command}` ended with {done.rc}: {(done.err or done.out).strip()}",
                console=guest.console_tail(),
            )
