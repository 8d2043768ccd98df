"""The root as the disk that is crashed: a copy of the image's, served by the variant's ext2fs.

The root's file system is a boot module, a file of the host.  So the ext2fs that the recipe names
inside of the image is taken out of it and given to the boot loader, and a variant with a journal
gets one by `tune2fs -j`, as in the mail thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harness.disk import ext2
from harness.disk.copy import sparse_copy
from harness.errors import InfraError, UsageError
from harness.experiment.context import Request
from harness.images.image import BootFiles, Image
from harness.images.recipe import Recipe, Variant
from harness.machine.spec import DiskSpec, MachineSpec, spec_for
from harness.process import Completed, run
from harness.workloads.scenario import User

#: where the system's root is, as its shell writes it
MOUNTPOINT = "/"


def check_root(recipe: Recipe, image: Image) -> None:
    """Raise `UsageError` for a guest whose root can't be crashed."""
    modules = [args for _, args in image.boot.modules if "${root}" in args]
    if image.root is None or image.root.format != "raw" or not modules:
        raise UsageError(
            f"{recipe.name} has no root disk that can be crashed",
            hint="choose a Hurd guest with a raw root image whose ext2fs is a boot module, such as "
            "hurd-i386-source",
        )


def make_base(image: Image, variant: Variant, base: Path, blocks: int | None) -> Completed | None:
    """Copy the root to `base`; the command that gave it a journal of `blocks`, if it needs one."""
    assert image.root is not None
    sparse_copy(image.root.path, base)
    if not variant.journaled or ext2.superblock(base).has_journal:
        return None
    size = ["-J", f"size={blocks * ext2.BLOCK >> 20}"] if blocks else []
    done = run(["tune2fs", "-j", *size, base.name], cwd=base.parent)
    if not ext2.superblock(base).has_journal:
        raise InfraError(f"tune2fs made no journal: {done.output}", hint=f"by hand: {done.command}")
    return done


def make_homes(base: Path, users: Iterable[User]) -> None:
    """The users' home folders on a root that is not mounted."""
    for user in users:
        if not user.home:
            continue
        home = f"/home/{user.name}"
        script = (
            f"mkdir {home}\nset_inode_field {home} mode 040775\n"
            f"set_inode_field {home} uid {user.uid}\nset_inode_field {home} gid {user.gid}\n"
        )
        run(["debugfs", "-w", "-f", "-", base.name], cwd=base.parent, stdin=script)
        made = ext2.stat_object(base, home.lstrip("/")).fields
        if (made.get("type"), made.get("uid")) != ("directory", str(user.uid)):
            raise InfraError(f"debugfs could not make {home} in {base}", hint="has it a /home?")


def root_spec(
    request: Request, variant: Variant, disk: Path, scratch: Path, *, log: Path | None = None
) -> MachineSpec:
    """The machine whose only disk is `disk`, as its root, served by the variant's ext2fs."""
    recipe, image = request.recipe, request.image
    spec = spec_for(recipe, replace(image, root=None))
    boot = with_root_server(
        image.boot,
        root_server(image, variant, scratch),
        sync_interval=request.scenario.disk.sync_interval,
    )
    pace = request.scenario.disk.writes_per_second if log else None
    root = DiskSpec("root", disk, "raw", recipe.machine.disk_bus, log=log, writes_per_second=pace)
    return replace(spec, boot=boot, disks=(root,))


def with_root_server(
    boot: BootFiles, server: Path, *, sync_interval: int | None = None
) -> BootFiles:
    """The boot with another ext2fs for the root: the module whose arguments name `${root}`.

    `sync_interval` is in seconds.  (fsysopts can change it later, but syncs at once when it does.)
    """
    root = "${root}" if sync_interval is None else f"--sync={sync_interval} ${{root}}"
    return replace(
        boot,
        modules=tuple(
            (server, args.replace("${root}", root)) if "${root}" in args else (file, args)
            for file, args in boot.modules
        ),
    )


def root_server(image: Image, variant: Variant, scratch: Path) -> Path:
    """The variant's ext2fs as a file of the host, taken out of the root image if need be."""
    if variant.file is not None:
        return variant.file
    if variant.translator is None or image.root is None:
        raise UsageError(
            "a variant for the Hurd names its translator",
            hint="add `translator: /hurd/ext2fs` to the variant in the recipe",
        )
    target = scratch / variant.translator.rpartition("/")[2]
    target.unlink(missing_ok=True)
    # The names that debugfs is given have no blanks, and the image is where it has been opened.
    root = image.root.path
    run(["debugfs", "-R", f'dump "{variant.translator}" "{target}"', root.name], cwd=root.parent)
    if not target.exists() or not target.stat().st_size:
        raise UsageError(
            f"{image.name} has no {variant.translator}",
            hint="`hurdle variants install NAME` brings it in",
        )
    target.chmod(0o755)
    return target
