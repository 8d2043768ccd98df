"""The Linux control: a kernel and an initramfs from Debian packages, without root."""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from harness.errors import InfraError
from harness.images import initramfs
from harness.images.cache import Cache, Progress
from harness.images.debian import Apt, Deb, Stanza, unpack
from harness.images.image import Image
from harness.images.initramfs import Entry
from harness.images.keys import HOST_KEY, PRIVATE_KEY, KeyPair, write_keys
from harness.images.manifest import Manifest, file_hash, now
from harness.images.recipe import ControlRecipe

_ROOM = 1 << 30  # bytes: 0.4 GB of unpacked kernel package, 0.1 GB of packages, and some air


def made_from(recipe: ControlRecipe) -> str:
    """Hash of everything in the recipe and in hurdle itself that shapes the image."""
    parts = recipe.model_dump(
        mode="json", include={"suite", "packages", "kernel_package", "programs", "modules"}
    )
    parts["arch"] = recipe.machine.arch
    parts["overlay"] = [
        (entry.path, entry.mode, hashlib.sha256(entry.data).hexdigest())
        for entry in initramfs.overlay(recipe.overlay)
    ]
    parts["builder"] = [file_hash(Path(__file__)), file_hash(Path(initramfs.__file__))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def fetch_control(recipe: ControlRecipe, cache: Cache, progress: Progress) -> list[Deb]:
    """Bring the recipe's packages into the cache and verify them; the kernel's is the last."""
    apt = Apt(cache.folder / "debian", progress, recipe.suite)
    apt.update()
    stanzas = apt.closure(recipe.packages)
    kernel = _kernel(apt, recipe.kernel_package)
    return apt.fetch([*(s for s in stanzas if s.name != kernel.name), kernel])


def _kernel(apt: Apt, package: str) -> Stanza:
    """The package that has the kernel: a metapackage names it in its dependencies."""
    stanza = apt.show([package])[0]
    named = re.search(r"linux-image-\d[^\s,]*", stanza.depends)
    return apt.show([named.group()])[0] if named else stanza


def build_control(recipe: ControlRecipe, cache: Cache, progress: Progress) -> Image:
    """The recipe's image: the one in the cache, or a new one from the packages of today.

    One that is in the cache stays until the recipe or hurdle changes; `hurdle image rm` makes room
    for one with newer packages.
    """
    recipe_hash = made_from(recipe)
    with cache.building(recipe.name, progress) as draft:
        # Looked up with the lock held: another hurdle may have made it just now.
        cached = cache.find_intact(recipe.name, progress, made_from=recipe_hash)
        if cached is not None:
            return cached
        _need_room(draft)
        debs = fetch_control(recipe, cache, progress)
        key = _key(recipe_hash, debs)
        progress(f"unpacking {len(debs)} packages")
        tree = draft / "tree"
        unpack(debs, tree)
        progress("making the initramfs")
        versions = _assemble(recipe, tree, draft)
        shutil.rmtree(tree)
        named = {deb.name: deb.version for deb in debs if deb.name in recipe.packages}
        manifest = Manifest(
            name=recipe.name,
            key=key,
            made_from=recipe_hash,
            built=now(),
            kernel="kernel",
            cmdline=recipe.boot.cmdline,
            initrd="initrd",
            private_key=PRIVATE_KEY,
            host_key=HOST_KEY,
            versions={**versions, debs[-1].name: debs[-1].version, **named},
        )
        return cache.publish(draft, manifest)


def _need_room(draft: Path) -> None:
    free = shutil.disk_usage(draft).free
    if free < _ROOM:
        raise InfraError(
            f"{draft.parent} has {free >> 20} MiB free, making the control needs {_ROOM >> 20}",
            hint="free some space, or set HURDLE_CACHE to another folder",
        )


def _key(recipe_hash: str, debs: Sequence[Deb]) -> str:
    packages = sorted(f"{deb.name} {deb.version} {deb.sha256}" for deb in debs)
    return hashlib.sha256("\n".join([recipe_hash, *packages]).encode()).hexdigest()[:24]


def _assemble(recipe: ControlRecipe, tree: Path, draft: Path) -> dict[str, str]:
    """Write kernel, initrd and keys into `draft`; what the report should know of them."""
    kernels = sorted((tree / "boot").glob("vmlinuz-*"))
    if len(kernels) != 1:
        raise InfraError(
            f"the package {recipe.kernel_package} has {len(kernels)} kernels in /boot",
            hint="name a package of one kernel in `kernel_package`",
        )
    release = kernels[0].name.removeprefix("vmlinuz-")
    (draft / "kernel").write_bytes(unpacked_kernel(kernels[0].read_bytes()))
    modules_folder = initramfs.find_tree(tree, f"lib/modules/{release}")
    modules = initramfs.load_order(
        recipe.modules,
        initramfs.module_files(modules_folder),
        initramfs.builtin_modules(modules_folder),
    )
    host, user = KeyPair.generate(), KeyPair.generate()
    entries = [
        *_base(),
        *initramfs.overlay(recipe.overlay),
        *initramfs.programs(tree, recipe.programs),
        *(initramfs.file(f"usr/lib/modules/{m.name}.ko", m.data) for m in modules),
        initramfs.file(
            "usr/lib/modules/order", "".join(f"{m.name}.ko\n" for m in modules).encode()
        ),
        initramfs.file("etc/ssh/ssh_host_ed25519_key", host.private, 0o600),
        initramfs.folder("root/.ssh", 0o700),
        initramfs.file("root/.ssh/authorized_keys", user.public, 0o600),
    ]
    archive = initramfs.cpio(initramfs.with_parents(entries))
    # Not compressed: the guest would need 0.5 s under TCG to undo it, the host 0.01 s to read it.
    (draft / "initrd").write_bytes(archive)
    write_keys(draft, host, user)
    return {"linux": release}


def unpacked_kernel(bzimage: bytes) -> bytes:
    """The ELF file inside a bzImage, which QEMU starts through its PVH entry.

    Debian packs its kernel with xz, and the guest needs 5 s under TCG to unpack it.  A kernel that
    is packed otherwise, or has no PVH entry, is returned as it is: it only boots more slowly.
    Offsets: the kernel's Documentation/arch/x86/boot.rst (setup_sects, payload_offset, _length).
    """
    if bzimage[0x202:0x206] != b"HdrS":
        return bzimage
    sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = bzimage[start : start + length]
    try:
        if payload.startswith(b"\xfd7zXZ"):
            kernel = lzma.LZMADecompressor().decompress(payload)
        elif payload.startswith(b"\x1f\x8b"):
            kernel = zlib.decompressobj(wbits=31).decompress(payload)
        else:
            return bzimage
    except (lzma.LZMAError, zlib.error):
        return bzimage
    return kernel if initramfs.has_pvh_entry(kernel) else bzimage


def _base() -> list[Entry]:
    """The folders and links that no package brings."""
    return [
        initramfs.folder("root", 0o700),
        initramfs.folder("tmp", 0o1777),
        *(initramfs.folder(name) for name in ("dev", "proc", "sys", "run", "mnt", "etc")),
        *(initramfs.folder(f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")),
        *(initramfs.link(name, f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")),
        # The kernel opens it for the first program before anything mounted /dev.
        initramfs.device("dev/console", 5, 1),
        initramfs.link("usr/bin/sh", "busybox"),
    ]
