"""A Hurd guest given as files of the host: checked, and copied into the cache."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.errors import InfraError, UsageError
from harness.images.cache import Cache, Progress
from harness.images.image import Image
from harness.images.manifest import InjectRecord, Manifest, ModuleRecord, file_hash, now
from harness.images.recipe import MultibootRecipe
from harness.process import run


def import_local(recipe: MultibootRecipe, cache: Cache, progress: Progress) -> Image:
    """Copy the recipe's kernel, modules, root image and translators into the cache.

    The files are checked first; the same content is never copied twice.  Raises `UsageError` that
    names the `--set` for every file that is missing.
    """
    sources = dict(_sources(recipe))
    check_files(recipe)
    with cache.building(recipe.name, progress) as draft:
        progress("reading the files")
        key = _key(sources)
        cached = cache.find_intact(recipe.name, progress, key=key)
        if cached is not None:
            return cached
        _need_room(draft, sources)
        for name, (_, source) in sources.items():
            progress(f"copying {source}")
            _copy(source, draft / name)
        return cache.publish(draft, _manifest(recipe, key))


def made_from(recipe: MultibootRecipe) -> str:
    """What ties a recipe to its imported files: only the name, for the paths are not in it.

    Command line and module arguments are taken from the recipe at each run, so they can be edited
    without a new import.
    """
    return f"{recipe.kind} {recipe.name}"


def check_files(recipe: MultibootRecipe) -> None:
    """Raises `UsageError` if a file of the recipe is missing or is not what it should be."""
    missing = [(setting, path) for setting, path in _sources(recipe).values() if not path.is_file()]
    if missing:
        raise UsageError(
            "\n".join(f"{path}: no such file ({setting})" for setting, path in missing),
            hint=f"say where they are: hurdle image build {recipe.name} "
            + " ".join(f"--set {setting}=PATH" for setting, _ in missing)
            + ", or name their folder with --set files=FOLDER",
        )
    for name, variant in recipe.variants.items():
        if variant.file is not None and not variant.translator:
            raise UsageError(
                f"variants.{name} has a file but no translator",
                hint=f"say where it belongs in the guest: --set variants.{name}.translator=PATH",
            )
    shown = run(["qemu-img", "info", "--output=json", str(recipe.root_image)]).stdout
    found = json.loads(shown)["format"]
    if found != recipe.root_format:
        raise UsageError(
            f"{recipe.root_image} is {found}, not {recipe.root_format}",
            hint=f"add --set root_format={found}",
        )
    with recipe.kernel.open("rb") as stream:
        # Its magic number is in the first 8 KiB (the Multiboot specification, 3.1).
        head = stream.read(8192)
    if _MULTIBOOT not in head:
        raise UsageError(
            f"{recipe.kernel} has no multiboot header",
            hint="gnumach is wanted, unpacked: gunzip it if it ends in .gz",
        )


_MULTIBOOT = (0x1BADB002).to_bytes(4, "little")


def _sources(recipe: MultibootRecipe) -> dict[str, tuple[str, Path]]:
    """Name in the cache to the setting and the host's path of each file."""
    return dict(_each_source(recipe))


def _each_source(recipe: MultibootRecipe) -> Iterator[tuple[str, tuple[str, Path]]]:
    yield "kernel", ("kernel", recipe.kernel)
    for name, module in recipe.modules.items():
        yield f"module-{name}", (f"modules.{name}.file", module.file)
    yield "root", ("root_image", recipe.root_image)
    for name, variant in recipe.variants.items():
        if variant.file is not None:
            yield f"variant-{name}", (f"variants.{name}.file", variant.file)
    ssh = recipe.access.ssh
    if ssh is not None:
        for name in ("key", "host_key"):
            path = getattr(ssh, name)
            if path is not None:
                yield f"ssh-{name}", (f"access.ssh.{name}", path)


def _key(sources: dict[str, tuple[str, Path]]) -> str:
    content = {name: file_hash(path) for name, (_, path) in sources.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _need_room(draft: Path, sources: dict[str, tuple[str, Path]]) -> None:
    wanted = sum(path.stat().st_blocks * 512 for _, path in sources.values())
    free = shutil.disk_usage(draft).free
    if free < wanted:
        raise InfraError(
            f"{draft.parent} has {free >> 20} MiB free, the guest's files need {wanted >> 20}",
            hint="free some space, or set HURDLE_CACHE to another folder",
        )


def _copy(source: Path, target: Path) -> None:
    """Copy with holes kept and blocks shared where the file system can."""
    run(["cp", "--sparse=auto", "--reflink=auto", str(source), str(target)], timeout=600)
    target.chmod(0o600 if target.name == "ssh-key" else 0o644)


def _manifest(recipe: MultibootRecipe, key: str) -> Manifest:
    ssh = recipe.access.ssh
    return Manifest(
        name=recipe.name,
        key=key,
        made_from=made_from(recipe),
        built=now(),
        kernel="kernel",
        cmdline=recipe.boot.cmdline,
        modules=tuple(
            ModuleRecord(file=f"module-{name}", args=module.args)
            for name, module in recipe.modules.items()
        ),
        root="root",
        root_format=recipe.root_format,
        inject=tuple(
            InjectRecord(file=f"variant-{name}", guest_path=variant.translator)
            for name, variant in recipe.variants.items()
            if variant.file is not None and variant.translator
        ),
        private_key="ssh-key" if ssh and ssh.key else None,
        host_key="ssh-host_key" if ssh and ssh.host_key else None,
        versions={name: f"sha256 {file_hash(p)[:12]}" for name, (_, p) in _sources(recipe).items()},
    )
